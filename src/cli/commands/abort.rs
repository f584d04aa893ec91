//! `abort`: end now.

use clap::Args;
use serde_json::json;

use super::super::acting::{ActingArguments, Decision, Seen, Verdict, act};
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::Goal;
use crate::api::{DesiredState, FailureReason, StatusValue};

/// The flags of `abort`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation abort acme --reason 'wrong source'
  kubectl relocation abort acme --wait                     until nothing of it runs any more
  kubectl relocation abort acme --dry-run=server

What runs is stopped and not cleaned up. To end before a step instead: kubectl relocation cancel acme.
An aborted relocation goes on with: kubectl relocation recover acme")]
pub struct AbortArguments {
    /// The relocation
    name: String,
    #[command(flatten)]
    acting: ActingArguments,
}

impl AbortArguments {
    /// Does it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        act(session, &self.name, &self.acting, abort).await
    }
}

fn abort(seen: &Seen<'_>) -> Verdict {
    seen.refuse_deleted()?;
    let (name, status) = (seen.name(), &seen.status);
    let is_aborted = seen.relocation.spec.desired_state == DesiredState::Aborted;
    match (status.status, &status.failure) {
        (Some(StatusValue::Success), _) => Err(format!("{name} has succeeded; it is too late to abort it")),
        (Some(StatusValue::Failure), Some(failure)) if failure.reason == FailureReason::Aborted && is_aborted => {
            Ok(Decision::already(format!("{name} was aborted already"), Goal::Finished))
        }
        // A recover that waits for something would act later; the abort takes it the ground.
        (Some(StatusValue::Failure), failure)
            if failure.as_ref().map(|failure| &failure.id) != seen.relocation.spec.recover.as_ref() =>
        {
            Err(format!("{name} has ended already; see what is possible with: {}", seen.command("status", "")))
        }
        _ if is_aborted => Ok(Decision::already(format!("{name} is being aborted already"), Goal::Finished)),
        _ => {
            let says = format!("{name} ends now; it was {}", seen.place());
            Ok(Decision::change(json!({ "desiredState": DesiredState::Aborted }), says, Goal::Finished))
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::Value;

    use super::super::super::acting::tests::{check as row, failed, paused, running};
    use super::*;

    #[test]
    fn what_has_not_ended_is_aborted_once() {
        let check = |spec: Value, status: Value, expected: Expect| row(spec, status, abort, expected);
        let aborted = json!({ "desiredState": "Aborted" });
        check(
            json!({}),
            running("IMPORTING"),
            expect![[r#"
            {"desiredState":"Aborted"}
            acme ends now; it was IN_PROGRESS at IMPORTING"#]],
        );
        check(
            json!({}),
            paused("IMPORTING", "Fence"),
            expect![[r#"
            {"desiredState":"Aborted"}
            acme ends now; it was PAUSE at IMPORTING"#]],
        );
        check(
            json!({}),
            json!({ "observedGeneration": -1 }),
            expect![[r#"
            {"desiredState":"Aborted"}
            acme ends now; it was new"#]],
        );
        check(
            aborted.clone(),
            running("IMPORTING"),
            expect![[r#"
            nothing
            acme is being aborted already"#]],
        );
        check(
            aborted,
            failed("IMPORTING", "Aborted", true),
            expect![[r#"
            nothing
            acme was aborted already"#]],
        );
        check(
            json!({}),
            failed("IMPORTING", "AttemptsExhausted", true),
            expect!["refused: acme has ended already; see what is possible with: kubectl relocation status acme"],
        );
        check(
            json!({}),
            json!({ "status": "SUCCESS", "step": "COMPLETED" }),
            expect!["refused: acme has succeeded; it is too late to abort it"],
        );
    }
}
