//! `suspend`: stop the running work now.

use clap::Args;
use serde_json::json;

use super::super::acting::{ActingArguments, Decision, Seen, Verdict, act};
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::Goal;
use crate::api::{DesiredState, StatusValue};

/// The flags of `suspend`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation suspend acme                                 stop its work now, keep step, task and attempt
  kubectl relocation suspend acme --wait                          until nothing of it runs
  kubectl relocation suspend acme --reason 'the target is full'

Go on with: kubectl relocation resume acme. To let the running step end first: kubectl relocation pause acme")]
pub struct SuspendArguments {
    /// The relocation
    name: String,
    #[command(flatten)]
    acting: ActingArguments,
}

impl SuspendArguments {
    /// Does it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        act(session, &self.name, &self.acting, suspend).await
    }
}

fn suspend(seen: &Seen<'_>) -> Verdict {
    seen.refuse_deleted()?;
    let name = seen.name();
    match (seen.status.status, seen.relocation.spec.desired_state) {
        (Some(StatusValue::Success), _) => Err(format!("{name} has succeeded; nothing of it works any more")),
        (Some(StatusValue::Failure), _) => Err(format!(
            "{name} has failed; nothing of it works; see what is possible with: {}",
            seen.command("status", "")
        )),
        (_, DesiredState::Aborted) => Err(format!("{name} is being aborted; its work is stopping already")),
        (_, DesiredState::Suspended) => Ok(Decision::already(format!("{name} is suspended already"), Goal::Paused)),
        (value, DesiredState::Active) => {
            let what = match value {
                Some(StatusValue::Pause) => "stays where it is, also when its fence is opened",
                _ => "stops its work and keeps step, task and attempt",
            };
            let says = format!("{name} {what}; go on with: {}", seen.command("resume", ""));
            Ok(Decision::change(json!({ "desiredState": DesiredState::Suspended }), says, Goal::Paused))
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
    fn what_works_or_waits_is_suspended_and_nothing_else() {
        let check = |spec: Value, status: Value, expected: Expect| row(spec, status, suspend, expected);
        check(
            json!({}),
            running("VALIDATING"),
            expect![[r#"
            {"desiredState":"Suspended"}
            acme stops its work and keeps step, task and attempt; go on with: kubectl relocation resume acme"#]],
        );
        check(
            json!({}),
            paused("IMPORTING", "Fence"),
            expect![[r#"
            {"desiredState":"Suspended"}
            acme stays where it is, also when its fence is opened; go on with: kubectl relocation resume acme"#]],
        );
        check(
            json!({ "desiredState": "Suspended" }),
            running("VALIDATING"),
            expect![[r#"
            nothing
            acme is suspended already"#]],
        );
        check(
            json!({ "desiredState": "Aborted" }),
            running("VALIDATING"),
            expect!["refused: acme is being aborted; its work is stopping already"],
        );
        check(
            json!({}),
            json!({ "status": "SUCCESS", "step": "COMPLETED" }),
            expect!["refused: acme has succeeded; nothing of it works any more"],
        );
        check(
            json!({}),
            failed("IMPORTING", "AttemptsExhausted", true),
            expect![
                "refused: acme has failed; nothing of it works; see what is possible with: kubectl relocation status acme"
            ],
        );
    }
}
