//! `pause`: stop before a step.

use clap::Args;
use serde_json::json;

use super::super::acting::{ActingArguments, Decision, Seen, Verdict, act, read_stoppable_step};
use super::super::error::Error;
use super::super::legal::{first_open_step, next_fence};
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::Goal;
use crate::api::{PauseReason, StatusValue, Step};

/// The flags of `pause`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation pause acme                            before the next step, whichever that is
  kubectl relocation pause acme --at-step importing        before IMPORTING
  kubectl relocation pause acme --reason 'audit first' --wait
  kubectl relocation pause acme --dry-run=server           show the change, store nothing

Once it is accepted, nothing of that step starts. What runs now runs to its end; to stop it: kubectl relocation suspend")]
pub struct PauseArguments {
    /// The relocation
    name: String,
    /// Stop before this step, in any case of letters; the next one to be entered when absent
    #[arg(long, value_name = "STEP", value_parser = read_stoppable_step)]
    at_step: Option<Step>,
    #[command(flatten)]
    acting: ActingArguments,
}

impl PauseArguments {
    /// Does it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        act(session, &self.name, &self.acting, |seen| pause(seen, self.at_step)).await
    }
}

fn pause(seen: &Seen<'_>, at_step: Option<Step>) -> Verdict {
    seen.refuse_deleted()?;
    let (name, status) = (seen.name(), &seen.status);
    match (status.status, &status.pause, at_step) {
        (Some(StatusValue::Success), ..) => {
            return Err(format!("{name} has succeeded; no step is left to stop before"));
        }
        // Moving the fence lets it go, which is not what this word says.
        (Some(StatusValue::Pause), Some(pause), _) if pause.reason != PauseReason::Suspended => {
            let later = at_step.filter(|step| *step > pause.step).unwrap_or(pause.step.next());
            let until = if later == Step::Completed {
                seen.command("unpause", "")
            } else {
                seen.command("unpause", &format!("--until-step {later}"))
            };
            return Err(format!(
                "{name} is paused before {} already; to let it go on until a later step: {until}",
                pause.step
            ));
        }
        (Some(StatusValue::Failure), _, None) => {
            return Err(format!(
                "{name} has failed and enters no step; to try again and stop before a later one: {}",
                seen.command("recover", "--until-step STEP")
            ));
        }
        _ => {}
    }
    let Some(step) = at_step.or_else(|| first_open_step(status)) else {
        return Err(format!(
            "{name} is in its last step, and none is left to stop before; to stop its work now: {}",
            seen.command("suspend", "")
        ));
    };
    seen.refuse_stored_without_effect("pause", step)?;
    let old = seen.relocation.spec.pause_at_step.filter(|old| !status.is_behind(*old));
    if old == Some(step) {
        return Ok(Decision::already(format!("{name} pauses before {step} already"), Goal::Paused));
    }
    if at_step.is_none() && next_fence(seen.relocation) == Some(step) {
        let says = format!("{name} pauses before {step} already, by the plan's automatic fence");
        return Ok(Decision::already(says, Goal::Paused));
    }
    let instead = old.map(|old| format!(", no longer before {old}")).unwrap_or_default();
    let says = format!("{name} pauses before {step}{instead}; it is {}", seen.place());
    let cancelled = seen.relocation.spec.cancel_at_step.filter(|cancel| *cancel <= step && !status.is_behind(*cancel));
    let cancelled = cancelled.map(|cancel| {
        let withdraw = seen.command("cancel", "--withdraw");
        format!("it ends before {cancel} as it was asked to, and never comes there; take that back with: {withdraw}")
    });
    Ok(Decision::change(json!({ "pauseAtStep": step }), says, Goal::Paused).noting(cancelled))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::Value;

    use super::super::super::acting::tests::{and, check as row, failed, paused, running};
    use super::*;

    fn check(spec: Value, status: Value, step: Option<Step>, expected: Expect) {
        row(spec, status, |seen| pause(seen, step), expected);
    }

    #[test]
    fn without_a_step_it_is_the_next_one_to_be_entered() {
        check(
            json!({}),
            json!({ "observedGeneration": -1 }),
            None,
            expect![[r#"
            {"pauseAtStep":"PREPROCESSING"}
            acme pauses before PREPROCESSING; it is new"#]],
        );
        check(
            json!({}),
            running("VALIDATING"),
            None,
            expect![[r#"
            {"pauseAtStep":"IMPORTING"}
            acme pauses before IMPORTING; it is IN_PROGRESS at VALIDATING"#]],
        );
        check(
            json!({}),
            json!({ "status": "PENDING", "step": "IMPORTING" }),
            None,
            expect![[r#"
            {"pauseAtStep":"IMPORTING"}
            acme pauses before IMPORTING; it is PENDING at IMPORTING"#]],
        );
        check(
            json!({}),
            running("NOTIFYING"),
            None,
            expect![
                "refused: acme is in its last step, and none is left to stop before; to stop its work now: kubectl relocation suspend acme"
            ],
        );
    }

    #[test]
    fn a_fence_that_stands_there_needs_no_second_one() {
        check(
            json!({ "pauseAtStep": "IMPORTING" }),
            running("VALIDATING"),
            None,
            expect![[r#"
            nothing
            acme pauses before IMPORTING already"#]],
        );
        let automatic = and(running("VALIDATING"), json!({ "autoPauseAtStep": "IMPORTING" }));
        check(
            json!({}),
            automatic.clone(),
            None,
            expect![[r#"
            nothing
            acme pauses before IMPORTING already, by the plan's automatic fence"#]],
        );
        check(
            json!({}),
            automatic,
            Some(Step::Importing),
            expect![[r#"
            {"pauseAtStep":"IMPORTING"}
            acme pauses before IMPORTING; it is IN_PROGRESS at VALIDATING"#]],
        );
    }

    #[test]
    fn moving_a_fence_that_is_ahead_says_what_no_longer_holds() {
        check(
            json!({ "pauseAtStep": "IMPORTING" }),
            running("UPLOADING"),
            Some(Step::Notifying),
            expect![[r#"
            {"pauseAtStep":"NOTIFYING"}
            acme pauses before NOTIFYING, no longer before IMPORTING; it is IN_PROGRESS at UPLOADING"#]],
        );
    }

    #[test]
    fn a_cancel_that_comes_first_is_named() {
        check(
            json!({ "cancelAtStep": "IMPORTING" }),
            running("VALIDATING"),
            None,
            expect![[r#"
            {"pauseAtStep":"IMPORTING"}
            acme pauses before IMPORTING; it is IN_PROGRESS at VALIDATING
            note: it ends before IMPORTING as it was asked to, and never comes there; take that back with: kubectl relocation cancel acme --withdraw"#]],
        );
    }

    #[test]
    fn a_paused_one_is_not_let_go_by_this_word() {
        let fence = json!({ "pauseAtStep": "IMPORTING" });
        check(
            fence.clone(),
            paused("IMPORTING", "Fence"),
            None,
            expect![
                "refused: acme is paused before IMPORTING already; to let it go on until a later step: kubectl relocation unpause acme --until-step POSTPROCESSING"
            ],
        );
        check(
            fence,
            paused("IMPORTING", "Fence"),
            Some(Step::Notifying),
            expect![
                "refused: acme is paused before IMPORTING already; to let it go on until a later step: kubectl relocation unpause acme --until-step NOTIFYING"
            ],
        );
        check(
            json!({}),
            paused("NOTIFYING", "AutoFence"),
            None,
            expect![
                "refused: acme is paused before NOTIFYING already; to let it go on until a later step: kubectl relocation unpause acme"
            ],
        );
        let suspended = and(paused("IMPORTING", "Suspended"), json!({ "entered": true }));
        check(
            json!({ "desiredState": "Suspended" }),
            suspended,
            None,
            expect![[r#"
            {"pauseAtStep":"POSTPROCESSING"}
            acme pauses before POSTPROCESSING; it is PAUSE at IMPORTING"#]],
        );
    }

    #[test]
    fn what_has_ended_is_refused_with_a_way_on() {
        check(
            json!({}),
            json!({ "status": "SUCCESS", "step": "COMPLETED" }),
            None,
            expect!["refused: acme has succeeded; no step is left to stop before"],
        );
        check(
            json!({}),
            failed("IMPORTING", "AttemptsExhausted", true),
            None,
            expect![
                "refused: acme has failed and enters no step; to try again and stop before a later one: kubectl relocation recover acme --until-step STEP"
            ],
        );
        check(
            json!({}),
            failed("IMPORTING", "AttemptsExhausted", true),
            Some(Step::Notifying),
            expect![[r#"
            {"pauseAtStep":"NOTIFYING"}
            acme pauses before NOTIFYING; it is FAILURE at IMPORTING"#]],
        );
    }

    #[test]
    fn a_step_that_is_behind_is_for_the_api_server_to_refuse_unless_it_would_only_report_it() {
        check(
            json!({}),
            running("IMPORTING"),
            Some(Step::Validating),
            expect![[r#"
            {"pauseAtStep":"VALIDATING"}
            acme pauses before VALIDATING; it is IN_PROGRESS at IMPORTING"#]],
        );
        check(
            json!({ "lateRequests": "Report" }),
            running("IMPORTING"),
            Some(Step::Validating),
            expect![
                "refused: acme cannot pause before VALIDATING, which it has entered; choose one of POSTPROCESSING, NOTIFYING"
            ],
        );
        check(
            json!({ "lateRequests": "Report" }),
            running("NOTIFYING"),
            Some(Step::Validating),
            expect!["refused: acme cannot pause before VALIDATING, which it has entered; no step is left"],
        );
    }
}
