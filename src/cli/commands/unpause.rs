//! `unpause`: open whichever fence holds it.

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::acting::{ActingArguments, Decision, Seen, Verdict, act, read_stoppable_step};
use super::super::error::Error;
use super::super::legal::next_fence;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::Goal;
use crate::api::{AutoPause, DesiredState, StatusValue, Step};

/// The flags of `unpause`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation unpause acme                             let it go on
  kubectl relocation unpause acme --until-step notifying      go on, and stop again before NOTIFYING
  kubectl relocation unpause acme --wait                      and see how it ends
  kubectl relocation unpause acme --reason 'data was checked'

It opens the fence that holds it, also the plan's automatic one; exit code 1 when there is nothing to unpause.")]
pub struct UnpauseArguments {
    /// The relocation
    name: String,
    /// Stop again before this later step, in any case of letters
    #[arg(long, value_name = "STEP", value_parser = read_stoppable_step)]
    until_step: Option<Step>,
    #[command(flatten)]
    acting: ActingArguments,
}

impl UnpauseArguments {
    /// Does it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        act(session, &self.name, &self.acting, |seen| unpause(seen, self.until_step)).await
    }
}

fn unpause(seen: &Seen<'_>, until_step: Option<Step>) -> Verdict {
    seen.refuse_deleted()?;
    let (name, spec, status) = (seen.name(), &seen.relocation.spec, &seen.status);
    let Some(pause) = status.pause.as_ref().filter(|_| status.status == Some(StatusValue::Pause)) else {
        return Err(not_paused(seen));
    };
    let step = pause.step;
    match spec.desired_state {
        DesiredState::Suspended => {
            return Err(format!(
                "{name} is suspended, which no fence does; go on with: {}",
                seen.command("resume", "")
            ));
        }
        DesiredState::Aborted => return Err(format!("{name} is being aborted; there is nothing to unpause")),
        DesiredState::Active => {}
    }
    if let Some(until) = until_step.filter(|until| *until <= step) {
        return Err(format!(
            "{name} is paused before {step}, so --until-step {until} lets nothing go on; choose a later step"
        ));
    }
    let own = spec.pause_at_step == Some(step);
    let automatic = spec.auto_pause == AutoPause::Honour && status.auto_pause_at_step == Some(step);
    let mut change = Map::new();
    if own || until_step.is_some() {
        change.insert("pauseAtStep".to_owned(), json!(until_step));
    }
    if automatic {
        change.insert("autoPause".to_owned(), json!(AutoPause::Skip));
    }
    if !own && !automatic {
        return Err(format!(
            "nothing holds {name} any more, there is nothing to unpause; the operator goes on with it as soon as it looks: {}",
            seen.command("status", "")
        ));
    }
    let opened = match (own, automatic) {
        (true, true) => "its own and the plan's automatic fence are",
        (true, false) => "its fence is",
        _ => "the plan's automatic fence is",
    };
    let next = next_stop(seen, step, &change);
    let until = next.map(|step| format!(" and pauses before {step}")).unwrap_or_default();
    let goal = if next.is_some() { Goal::Paused } else { Goal::Succeeded };
    let sooner = next.filter(|next| until_step.is_some_and(|until| *next < until));
    let note = sooner.map(|step| format!("the plan's automatic fence before {step} comes first"));
    let says = format!("{name} goes on with {step}{until}: {opened} open");
    Ok(Decision::change(Value::Object(change), says, goal).noting(note))
}

/// The step before which it stops next after this change.
fn next_stop(seen: &Seen<'_>, entered: Step, change: &Map<String, Value>) -> Option<Step> {
    let mut after = seen.relocation.clone();
    if let Some(step) = change.get("pauseAtStep") {
        after.spec.pause_at_step = serde_json::from_value(step.clone()).ok().flatten();
    }
    if change.contains_key("autoPause") {
        after.spec.auto_pause = AutoPause::Skip;
    }
    if let Some(status) = &mut after.status {
        status.step = Some(entered);
        status.entered = true;
    }
    next_fence(&after)
}

fn not_paused(seen: &Seen<'_>) -> String {
    let (name, status) = (seen.name(), &seen.status);
    match status.status {
        Some(StatusValue::Success) => format!("there is nothing to unpause: {name} has succeeded"),
        Some(StatusValue::Failure) => {
            format!("there is nothing to unpause: {name} has failed; try again with: {}", seen.command("recover", ""))
        }
        _ => {
            let ahead = seen.relocation.spec.pause_at_step.filter(|step| !status.is_behind(*step));
            let ahead = ahead.map(|step| {
                let clear = seen.command("patch", "--pauseAtStep=");
                format!("; the fence before {step}, which is ahead, is taken back with: {clear}")
            });
            format!(
                "there is nothing to unpause: {name} is {} and not paused{}",
                seen.place(),
                ahead.unwrap_or_default()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::super::acting::tests::{and, check as row, failed, paused, running};
    use super::*;

    fn check(spec: Value, status: Value, step: Option<Step>, expected: Expect) {
        row(spec, status, |seen| unpause(seen, step), expected);
    }

    fn automatic(status: Value, step: &str) -> Value {
        and(status, json!({ "autoPauseAtStep": step }))
    }

    #[test]
    fn whichever_fence_holds_it_is_opened() {
        let own = json!({ "pauseAtStep": "IMPORTING" });
        check(
            own.clone(),
            paused("IMPORTING", "Fence"),
            None,
            expect![[r#"
            {"pauseAtStep":null}
            acme goes on with IMPORTING: its fence is open"#]],
        );
        check(
            json!({}),
            automatic(paused("IMPORTING", "AutoFence"), "IMPORTING"),
            None,
            expect![[r#"
            {"autoPause":"Skip"}
            acme goes on with IMPORTING: the plan's automatic fence is open"#]],
        );
        check(
            own,
            automatic(paused("IMPORTING", "Fence"), "IMPORTING"),
            None,
            expect![[r#"
            {"pauseAtStep":null,"autoPause":"Skip"}
            acme goes on with IMPORTING: its own and the plan's automatic fence are open"#]],
        );
    }

    #[test]
    fn a_fence_that_is_ahead_stays_and_is_named() {
        let own = json!({ "pauseAtStep": "NOTIFYING" });
        check(
            own,
            automatic(paused("IMPORTING", "AutoFence"), "IMPORTING"),
            None,
            expect![[r#"
            {"autoPause":"Skip"}
            acme goes on with IMPORTING and pauses before NOTIFYING: the plan's automatic fence is open"#]],
        );
        let own = json!({ "pauseAtStep": "VALIDATING" });
        check(
            own,
            automatic(paused("VALIDATING", "Fence"), "IMPORTING"),
            None,
            expect![[r#"
            {"pauseAtStep":null}
            acme goes on with VALIDATING and pauses before IMPORTING: its fence is open"#]],
        );
    }

    #[test]
    fn until_a_later_step_the_fence_moves() {
        let own = json!({ "pauseAtStep": "IMPORTING" });
        check(
            own.clone(),
            paused("IMPORTING", "Fence"),
            Some(Step::Notifying),
            expect![[r#"
            {"pauseAtStep":"NOTIFYING"}
            acme goes on with IMPORTING and pauses before NOTIFYING: its fence is open"#]],
        );
        check(
            own.clone(),
            paused("IMPORTING", "Fence"),
            Some(Step::Importing),
            expect![
                "refused: acme is paused before IMPORTING, so --until-step IMPORTING lets nothing go on; choose a later step"
            ],
        );
        check(
            json!({}),
            automatic(paused("IMPORTING", "AutoFence"), "IMPORTING"),
            Some(Step::Notifying),
            expect![[r#"
                {"pauseAtStep":"NOTIFYING","autoPause":"Skip"}
                acme goes on with IMPORTING and pauses before NOTIFYING: the plan's automatic fence is open"#]],
        );
        let own = json!({ "pauseAtStep": "VALIDATING" });
        check(
            own,
            automatic(paused("VALIDATING", "Fence"), "IMPORTING"),
            Some(Step::Notifying),
            expect![[r#"
            {"pauseAtStep":"NOTIFYING"}
            acme goes on with VALIDATING and pauses before IMPORTING: its fence is open
            note: the plan's automatic fence before IMPORTING comes first"#]],
        );
    }

    #[test]
    fn what_is_not_paused_has_nothing_to_unpause() {
        check(
            json!({}),
            running("VALIDATING"),
            None,
            expect!["refused: there is nothing to unpause: acme is IN_PROGRESS at VALIDATING and not paused"],
        );
        check(
            json!({ "pauseAtStep": "IMPORTING" }),
            running("VALIDATING"),
            None,
            expect![
                "refused: there is nothing to unpause: acme is IN_PROGRESS at VALIDATING and not paused; the fence before IMPORTING, which is ahead, is taken back with: kubectl relocation patch acme --pauseAtStep="
            ],
        );
        check(
            json!({}),
            json!({ "status": "SUCCESS", "step": "COMPLETED" }),
            None,
            expect!["refused: there is nothing to unpause: acme has succeeded"],
        );
        check(
            json!({}),
            failed("IMPORTING", "AttemptsExhausted", true),
            None,
            expect![
                "refused: there is nothing to unpause: acme has failed; try again with: kubectl relocation recover acme"
            ],
        );
        check(
            json!({ "desiredState": "Suspended" }),
            paused("IMPORTING", "Suspended"),
            None,
            expect!["refused: acme is suspended, which no fence does; go on with: kubectl relocation resume acme"],
        );
        check(
            json!({}),
            paused("IMPORTING", "Fence"),
            None,
            expect![
                "refused: nothing holds acme any more, there is nothing to unpause; the operator goes on with it as soon as it looks: kubectl relocation status acme"
            ],
        );
    }
}
