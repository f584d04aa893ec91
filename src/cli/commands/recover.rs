//! `recover`: one more attempt of exactly the failure that stands.

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::acting::{ActingArguments, Decision, Seen, Verdict, act, read_stoppable_step};
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::Goal;
use crate::api::{AutoPause, ConditionType, DesiredState, Failure, FailureReason, StatusValue, Step, find_condition};

/// The flags of `recover`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation recover acme                             try exactly the failed task once more
  kubectl relocation recover acme --until-step notifying      and stop before NOTIFYING
  kubectl relocation recover acme --wait --reason 'disk was enlarged'

It takes the id of the failure from the object, so two people who type it for the same failure get one attempt.
It uses the plan as it is now, because that is how a fix arrives. To start from the beginning: kubectl relocation retry")]
pub struct RecoverArguments {
    /// The relocation
    name: String,
    /// Stop before this step after the recovery, in any case of letters
    #[arg(long, value_name = "STEP", value_parser = read_stoppable_step)]
    until_step: Option<Step>,
    #[command(flatten)]
    acting: ActingArguments,
}

impl RecoverArguments {
    /// Does it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        act(session, &self.name, &self.acting, |seen| recover(seen, self.until_step)).await
    }
}

fn recover(seen: &Seen<'_>, until_step: Option<Step>) -> Verdict {
    seen.refuse_deleted()?;
    let (name, spec, status) = (seen.name(), &seen.relocation.spec, &seen.status);
    let Some(failure) = status.failure.as_ref().filter(|_| status.status == Some(StatusValue::Failure)) else {
        return Err(not_failed(seen));
    };
    let Failure { id, step, entered, .. } = failure;
    if !failure.recoverable {
        return Err(format!(
            "{name} cannot be recovered: {} is not to be repeated once it has failed; start over with: {}",
            place(failure),
            seen.command("retry", "")
        ));
    }
    refuse_used_budget(seen, failure)?;
    if let Some(until) = until_step {
        seen.refuse_stored_without_effect("pause", until)?;
    }
    let mut change = Map::new();
    let mut cleared = Vec::new();
    if spec.recover.as_ref() != Some(id) {
        change.insert("recover".to_owned(), json!(id));
    }
    if spec.desired_state == DesiredState::Aborted {
        change.insert("desiredState".to_owned(), json!(DesiredState::Active));
        cleared.push("desiredState is Active again, it was Aborted".to_owned());
    }
    if !entered && spec.cancel_at_step == Some(*step) {
        change.insert("cancelAtStep".to_owned(), Value::Null);
        cleared.push(format!("cancelAtStep {step} is withdrawn"));
    }
    if until_step.is_some() && until_step != spec.pause_at_step {
        change.insert("pauseAtStep".to_owned(), json!(until_step));
    }
    if change.is_empty() {
        let waits = find_condition(&status.conditions, ConditionType::Stalled)
            .map(|condition| format!(": {}", condition.message))
            .unwrap_or_default();
        return Ok(Decision::already(format!("{name} was asked to recover from {id} already{waits}"), Goal::Succeeded));
    }
    let what = if *entered { format!("tries {} once more", place(failure)) } else { format!("goes on with {step}") };
    let fence = fence_after(seen, failure, until_step);
    let says = match fence {
        Some(fence) if fence == *step && !entered => {
            format!("{name} comes back and pauses before {step} (failure {id})")
        }
        Some(fence) => format!("{name} {what} and pauses before {fence} (failure {id})"),
        None => format!("{name} {what} (failure {id})"),
    };
    let goal = if fence.is_some() { Goal::Paused } else { Goal::Succeeded };
    let mut decision = Decision::change(Value::Object(change), says, goal);
    decision.notes = cleared;
    let suspended = (spec.desired_state == DesiredState::Suspended)
        .then(|| format!("it is suspended and lands in PAUSE; go on then with: {}", seen.command("resume", "")));
    let retried = failure.retried_by.as_ref().map(|by| {
        format!(
            "it was started over as {}; the recover waits while that one works, and for ever when it succeeds",
            by.name
        )
    });
    Ok(decision.noting(suspended).noting(retried))
}

fn not_failed(seen: &Seen<'_>) -> String {
    let name = seen.name();
    match seen.status.status {
        Some(StatusValue::Success) => format!("there is nothing to recover from: {name} has succeeded"),
        Some(StatusValue::Pause) => {
            let word = if seen.relocation.spec.desired_state == DesiredState::Suspended { "resume" } else { "unpause" };
            format!("there is nothing to recover from: {name} is paused; go on with: {}", seen.command(word, ""))
        }
        _ => format!("there is nothing to recover from: {name} is {} and has not failed", seen.place()),
    }
}

fn refuse_used_budget(seen: &Seen<'_>, failure: &Failure) -> Result<(), String> {
    let used = seen.status.active_seconds.unwrap_or(0);
    match seen.relocation.spec.active_deadline_seconds {
        Some(budget) if failure.reason == FailureReason::DeadlineExceeded && budget <= used => {
            let fields = format!("--recover={} --activeDeadlineSeconds={}", failure.id, used.saturating_add(budget));
            Err(format!(
                "{} has used its budget of {budget} s; give it a greater one in the same change: {}",
                seen.name(),
                seen.command("patch", &fields)
            ))
        }
        Some(_) | None => Ok(()),
    }
}

/// The step before which it stops next: a fence on the failed step holds only where the step was not entered.
fn fence_after(seen: &Seen<'_>, failure: &Failure, until_step: Option<Step>) -> Option<Step> {
    let spec = &seen.relocation.spec;
    let own = until_step.or(spec.pause_at_step);
    let automatic = seen.status.auto_pause_at_step.filter(|_| spec.auto_pause == AutoPause::Honour);
    let holds = |step: &Step| *step > failure.step || (*step == failure.step && !failure.entered);
    [own, automatic].into_iter().flatten().filter(holds).min()
}

fn place(failure: &Failure) -> String {
    failure.task.as_ref().map_or_else(|| failure.step.to_string(), |task| format!("{}/{task}", failure.step))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::super::acting::tests::{and, check as row, failed, paused, running};
    use super::*;

    fn check(spec: Value, status: Value, step: Option<Step>, expected: Expect) {
        row(spec, status, |seen| recover(seen, step), expected);
    }

    #[test]
    fn the_id_comes_from_the_object() {
        check(
            json!({}),
            failed("IMPORTING", "AttemptsExhausted", true),
            None,
            expect![[r#"
            {"recover":"IMPORTING-1-0badcafe"}
            acme tries IMPORTING/run once more (failure IMPORTING-1-0badcafe)"#]],
        );
        let asked = json!({ "recover": "IMPORTING-1-0badcafe" });
        check(
            asked,
            failed("IMPORTING", "AttemptsExhausted", true),
            None,
            expect![[r#"
            nothing
            acme was asked to recover from IMPORTING-1-0badcafe already"#]],
        );
    }

    #[test]
    fn what_stands_in_the_way_is_cleared_and_said() {
        check(
            json!({ "desiredState": "Aborted" }),
            failed("IMPORTING", "Aborted", true),
            None,
            expect![[r#"
            {"recover":"IMPORTING-1-0badcafe","desiredState":"Active"}
            acme tries IMPORTING/run once more (failure IMPORTING-1-0badcafe)
            note: desiredState is Active again, it was Aborted"#]],
        );
        let cancelled = json!({ "cancelAtStep": "IMPORTING" });
        check(
            cancelled.clone(),
            failed("IMPORTING", "Cancelled", false),
            None,
            expect![[r#"
                {"recover":"IMPORTING-1-0badcafe","cancelAtStep":null}
                acme goes on with IMPORTING (failure IMPORTING-1-0badcafe)
                note: cancelAtStep IMPORTING is withdrawn"#]],
        );
        // A cancel on a step that was entered stands in nobody's way.
        check(
            cancelled,
            failed("IMPORTING", "AttemptsExhausted", true),
            None,
            expect![[r#"
            {"recover":"IMPORTING-1-0badcafe"}
            acme tries IMPORTING/run once more (failure IMPORTING-1-0badcafe)"#]],
        );
    }

    #[test]
    fn a_fence_is_set_in_the_same_change_and_one_that_stands_is_named() {
        let status = failed("IMPORTING", "AttemptsExhausted", true);
        check(
            json!({}),
            status.clone(),
            Some(Step::Notifying),
            expect![[r#"
            {"recover":"IMPORTING-1-0badcafe","pauseAtStep":"NOTIFYING"}
            acme tries IMPORTING/run once more and pauses before NOTIFYING (failure IMPORTING-1-0badcafe)"#]],
        );
        check(
            json!({ "pauseAtStep": "NOTIFYING" }),
            status,
            None,
            expect![[r#"
            {"recover":"IMPORTING-1-0badcafe"}
            acme tries IMPORTING/run once more and pauses before NOTIFYING (failure IMPORTING-1-0badcafe)"#]],
        );
        let automatic = and(failed("IMPORTING", "Cancelled", false), json!({ "autoPauseAtStep": "IMPORTING" }));
        check(
            json!({ "cancelAtStep": "IMPORTING" }),
            automatic,
            None,
            expect![[r#"
                {"recover":"IMPORTING-1-0badcafe","cancelAtStep":null}
                acme comes back and pauses before IMPORTING (failure IMPORTING-1-0badcafe)
                note: cancelAtStep IMPORTING is withdrawn"#]],
        );
    }

    #[test]
    fn what_cannot_be_recovered_is_refused_with_a_way_on() {
        let mut status = failed("IMPORTING", "AttemptsExhausted", true);
        status["failure"]["recoverable"] = json!(false);
        check(
            json!({}),
            status,
            None,
            expect![
                "refused: acme cannot be recovered: IMPORTING/run is not to be repeated once it has failed; start over with: kubectl relocation retry acme"
            ],
        );
        let used = and(failed("IMPORTING", "DeadlineExceeded", true), json!({ "activeSeconds": 61 }));
        check(
            json!({ "activeDeadlineSeconds": 60 }),
            used,
            None,
            expect![
                "refused: acme has used its budget of 60 s; give it a greater one in the same change: kubectl relocation patch acme --recover=IMPORTING-1-0badcafe --activeDeadlineSeconds=121"
            ],
        );
        check(
            json!({}),
            running("IMPORTING"),
            None,
            expect!["refused: there is nothing to recover from: acme is IN_PROGRESS at IMPORTING and has not failed"],
        );
        check(
            json!({}),
            paused("IMPORTING", "Fence"),
            None,
            expect![
                "refused: there is nothing to recover from: acme is paused; go on with: kubectl relocation unpause acme"
            ],
        );
        check(
            json!({ "desiredState": "Suspended" }),
            paused("IMPORTING", "Suspended"),
            None,
            expect![
                "refused: there is nothing to recover from: acme is paused; go on with: kubectl relocation resume acme"
            ],
        );
        check(
            json!({}),
            json!({ "status": "SUCCESS", "step": "COMPLETED" }),
            None,
            expect!["refused: there is nothing to recover from: acme has succeeded"],
        );
    }

    #[test]
    fn what_makes_it_wait_is_said() {
        let mut status = failed("IMPORTING", "AttemptsExhausted", true);
        status["failure"]["retriedBy"] = json!({ "name": "acme-2", "uid": "u" });
        check(
            json!({ "desiredState": "Suspended" }),
            status,
            None,
            expect![[r#"
            {"recover":"IMPORTING-1-0badcafe"}
            acme tries IMPORTING/run once more (failure IMPORTING-1-0badcafe)
            note: it is suspended and lands in PAUSE; go on then with: kubectl relocation resume acme
            note: it was started over as acme-2; the recover waits while that one works, and for ever when it succeeds"#]],
        );
    }
}
