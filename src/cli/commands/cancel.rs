//! `cancel`: end instead of entering a step, or take that back.

use clap::Args;
use serde_json::json;

use super::super::acting::{ActingArguments, Decision, Seen, Verdict, act, read_stoppable_step};
use super::super::error::Error;
use super::super::legal::first_open_step;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::Goal;
use crate::api::{FailureReason, PauseReason, StatusValue, Step};

/// The flags of `cancel`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation cancel acme                          instead of the next step, whichever that is
  kubectl relocation cancel acme --at-step importing      instead of IMPORTING
  kubectl relocation cancel acme --withdraw               take it back
  kubectl relocation cancel acme --wait                   and see that it has ended

What runs now runs to its end. On a relocation that is paused before a step, the next one is the one after it;
name that step itself to end at once. To end everything now: kubectl relocation abort")]
pub struct CancelArguments {
    /// The relocation
    name: String,
    /// End instead of entering this step, in any case of letters; the next one when absent
    #[arg(long, value_name = "STEP", value_parser = read_stoppable_step)]
    at_step: Option<Step>,
    /// Take a cancel back that has not happened yet
    #[arg(long, conflicts_with = "at_step")]
    withdraw: bool,
    #[command(flatten)]
    acting: ActingArguments,
}

impl CancelArguments {
    /// Does it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        act(
            session,
            &self.name,
            &self.acting,
            |seen| {
                if self.withdraw { withdraw(seen) } else { cancel(seen, self.at_step) }
            },
        )
        .await
    }
}

fn cancel(seen: &Seen<'_>, at_step: Option<Step>) -> Verdict {
    seen.refuse_deleted()?;
    let (name, status) = (seen.name(), &seen.status);
    match status.status {
        Some(StatusValue::Success) => return Err(format!("{name} has succeeded; there is nothing left to cancel")),
        Some(StatusValue::Failure) => {
            let reason = status.failure.as_ref().map_or("", |failure| failure.reason.as_str());
            return Err(format!(
                "{name} has ended already, {reason}; see what is possible with: {}",
                seen.command("status", "")
            ));
        }
        _ => {}
    }
    let before = status.pause.as_ref().filter(|pause| pause.reason != PauseReason::Suspended).map(|pause| pause.step);
    let next = match before {
        Some(step) => Some(step.next()).filter(|next| *next != Step::Completed),
        None => first_open_step(status),
    };
    let Some(step) = at_step.or(next) else {
        let end_now = match before {
            Some(step) => seen.command("cancel", &format!("--at-step {step}")),
            None => seen.command("abort", ""),
        };
        return Err(format!("no step is left that {name} could end before; to end it now: {end_now}"));
    };
    seen.refuse_stored_without_effect("end", step)?;
    let old = seen.relocation.spec.cancel_at_step.filter(|old| !status.is_behind(*old));
    if old == Some(step) {
        return Ok(Decision::already(format!("{name} ends before {step} already"), Goal::Finished));
    }
    let instead = old.map(|old| format!(", no longer before {old}")).unwrap_or_default();
    let says = if before == Some(step) {
        format!("{name} ends now, before {step}")
    } else {
        format!("{name} ends instead of entering {step}{instead}; it is {}", seen.place())
    };
    let note = before.filter(|before| *before < step).map(|before| {
        let now = seen.command("cancel", &format!("--at-step {before}"));
        format!("it stays paused before {before} until somebody unpauses it; to end it there: {now}")
    });
    Ok(Decision::change(json!({ "cancelAtStep": step }), says, Goal::Finished).noting(note))
}

fn withdraw(seen: &Seen<'_>) -> Verdict {
    seen.refuse_deleted()?;
    let (name, status) = (seen.name(), &seen.status);
    let Some(step) = seen.relocation.spec.cancel_at_step else {
        return Err(format!("there is nothing to withdraw: nobody has asked to cancel {name}"));
    };
    match &status.failure {
        Some(failure) if failure.reason == FailureReason::Cancelled => {
            return Err(format!(
                "{name} was cancelled before {}, which cannot be withdrawn any more; go on with: {}",
                failure.step,
                seen.command("recover", "")
            ));
        }
        _ => {}
    }
    if status.is_behind(step) || status.status == Some(StatusValue::Success) {
        return Err(format!("there is nothing to withdraw: {name} has entered {step}, the cancel is without effect"));
    }
    let says = format!("{name} no longer ends before {step}");
    Ok(Decision::change(json!({ "cancelAtStep": null }), says, Goal::Succeeded))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::Value;

    use super::super::super::acting::tests::{check as row, failed, paused, running};
    use super::*;

    fn check(spec: Value, status: Value, step: Option<Step>, expected: Expect) {
        row(spec, status, |seen| cancel(seen, step), expected);
    }

    #[test]
    fn without_a_step_it_is_the_next_one_to_be_entered() {
        check(
            json!({}),
            running("VALIDATING"),
            None,
            expect![[r#"
            {"cancelAtStep":"IMPORTING"}
            acme ends instead of entering IMPORTING; it is IN_PROGRESS at VALIDATING"#]],
        );
        check(
            json!({}),
            running("NOTIFYING"),
            None,
            expect![
                "refused: no step is left that acme could end before; to end it now: kubectl relocation abort acme"
            ],
        );
    }

    #[test]
    fn on_a_paused_one_it_is_the_one_after_the_step_it_is_paused_before() {
        check(
            json!({}),
            paused("IMPORTING", "AutoFence"),
            None,
            expect![[r#"
            {"cancelAtStep":"POSTPROCESSING"}
            acme ends instead of entering POSTPROCESSING; it is PAUSE at IMPORTING
            note: it stays paused before IMPORTING until somebody unpauses it; to end it there: kubectl relocation cancel acme --at-step IMPORTING"#]],
        );
        check(
            json!({}),
            paused("IMPORTING", "Fence"),
            Some(Step::Importing),
            expect![[r#"
            {"cancelAtStep":"IMPORTING"}
            acme ends now, before IMPORTING"#]],
        );
        check(
            json!({}),
            paused("NOTIFYING", "Fence"),
            None,
            expect![
                "refused: no step is left that acme could end before; to end it now: kubectl relocation cancel acme --at-step NOTIFYING"
            ],
        );
    }

    #[test]
    fn asked_twice_it_changes_nothing_and_elsewhere_it_moves() {
        let cancelled = json!({ "cancelAtStep": "IMPORTING" });
        check(
            cancelled.clone(),
            running("VALIDATING"),
            None,
            expect![[r#"
            nothing
            acme ends before IMPORTING already"#]],
        );
        check(
            cancelled,
            running("VALIDATING"),
            Some(Step::Notifying),
            expect![[r#"
            {"cancelAtStep":"NOTIFYING"}
            acme ends instead of entering NOTIFYING, no longer before IMPORTING; it is IN_PROGRESS at VALIDATING"#]],
        );
    }

    #[test]
    fn what_has_ended_or_would_only_be_reported_is_refused() {
        check(
            json!({}),
            json!({ "status": "SUCCESS", "step": "COMPLETED" }),
            None,
            expect!["refused: acme has succeeded; there is nothing left to cancel"],
        );
        check(
            json!({}),
            failed("IMPORTING", "AttemptsExhausted", true),
            None,
            expect![
                "refused: acme has ended already, AttemptsExhausted; see what is possible with: kubectl relocation status acme"
            ],
        );
        check(
            json!({ "lateRequests": "Report" }),
            running("IMPORTING"),
            Some(Step::Importing),
            expect![
                "refused: acme cannot end before IMPORTING, which it has entered; choose one of POSTPROCESSING, NOTIFYING"
            ],
        );
    }

    #[test]
    fn it_is_withdrawn_while_it_is_ahead() {
        let check = |spec, status, expected| row(spec, status, withdraw, expected);
        let cancelled = json!({ "cancelAtStep": "IMPORTING" });
        check(
            cancelled.clone(),
            running("VALIDATING"),
            expect![[r#"
            {"cancelAtStep":null}
            acme no longer ends before IMPORTING"#]],
        );
        check(
            json!({}),
            running("VALIDATING"),
            expect!["refused: there is nothing to withdraw: nobody has asked to cancel acme"],
        );
        check(
            cancelled.clone(),
            running("IMPORTING"),
            expect!["refused: there is nothing to withdraw: acme has entered IMPORTING, the cancel is without effect"],
        );
        check(
            cancelled,
            failed("IMPORTING", "Cancelled", false),
            expect![
                "refused: acme was cancelled before IMPORTING, which cannot be withdrawn any more; go on with: kubectl relocation recover acme"
            ],
        );
    }
}
