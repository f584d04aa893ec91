//! `resume`: go on with the work that was suspended.

use clap::Args;
use serde_json::json;

use super::super::acting::{ActingArguments, Decision, Seen, Verdict, act};
use super::super::error::Error;
use super::super::legal::next_fence;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::Goal;
use crate::api::{DesiredState, StatusValue};

/// The flags of `resume`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation resume acme           go on with the same attempt of the same task
  kubectl relocation resume acme --wait    and see how it ends

It ends a suspend. A fence is opened with: kubectl relocation unpause acme")]
pub struct ResumeArguments {
    /// The relocation
    name: String,
    #[command(flatten)]
    acting: ActingArguments,
}

impl ResumeArguments {
    /// Does it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        act(session, &self.name, &self.acting, resume).await
    }
}

fn resume(seen: &Seen<'_>) -> Verdict {
    seen.refuse_deleted()?;
    let (name, status) = (seen.name(), &seen.status);
    if seen.relocation.spec.desired_state != DesiredState::Suspended {
        let hint = match status.status {
            Some(StatusValue::Pause) => format!("; it is paused, go on with: {}", seen.command("unpause", "")),
            Some(StatusValue::Failure) => format!("; it has failed, try again with: {}", seen.command("recover", "")),
            _ => format!("; it is {}", seen.place()),
        };
        return Err(format!("there is nothing to resume: {name} is not suspended{hint}"));
    }
    // The step it stands before, when a fence stands there too.
    let fenced = status.step.filter(|step| !status.entered && next_fence(seen.relocation) == Some(*step));
    let (says, note) = match (status.status, fenced) {
        (Some(StatusValue::Failure), _) => (
            format!("{name} is no longer suspended"),
            Some(format!("it has failed; try again with: {}", seen.command("recover", ""))),
        ),
        (_, Some(step)) => (
            format!("{name} is no longer suspended and stays paused before {step}"),
            Some(format!("open that fence with: {}", seen.command("unpause", ""))),
        ),
        (_, None) => (format!("{name} goes on where it was suspended"), None),
    };
    let goal = if next_fence(seen.relocation).is_some() { Goal::Paused } else { Goal::Succeeded };
    Ok(Decision::change(json!({ "desiredState": DesiredState::Active }), says, goal).noting(note))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::Value;

    use super::super::super::acting::tests::{and, check as row, failed, paused, running};
    use super::*;

    #[test]
    fn what_is_suspended_is_resumed_and_nothing_else() {
        let check = |spec: Value, status: Value, expected: Expect| row(spec, status, resume, expected);
        let suspended = json!({ "desiredState": "Suspended" });
        check(
            suspended.clone(),
            and(paused("IMPORTING", "Suspended"), json!({ "entered": true })),
            expect![[r#"
            {"desiredState":"Active"}
            acme goes on where it was suspended"#]],
        );
        check(
            suspended.clone(),
            running("IMPORTING"),
            expect![[r#"
            {"desiredState":"Active"}
            acme goes on where it was suspended"#]],
        );
        let fenced = and(suspended.clone(), json!({ "pauseAtStep": "IMPORTING" }));
        check(
            fenced,
            paused("IMPORTING", "Suspended"),
            expect![[r#"
            {"desiredState":"Active"}
            acme is no longer suspended and stays paused before IMPORTING
            note: open that fence with: kubectl relocation unpause acme"#]],
        );
        check(
            suspended,
            failed("IMPORTING", "AttemptsExhausted", true),
            expect![[r#"
            {"desiredState":"Active"}
            acme is no longer suspended
            note: it has failed; try again with: kubectl relocation recover acme"#]],
        );
        check(
            json!({}),
            paused("IMPORTING", "Fence"),
            expect![
                "refused: there is nothing to resume: acme is not suspended; it is paused, go on with: kubectl relocation unpause acme"
            ],
        );
        check(
            json!({}),
            running("IMPORTING"),
            expect!["refused: there is nothing to resume: acme is not suspended; it is IN_PROGRESS at IMPORTING"],
        );
        check(
            json!({}),
            failed("IMPORTING", "AttemptsExhausted", true),
            expect![
                "refused: there is nothing to resume: acme is not suspended; it has failed, try again with: kubectl relocation recover acme"
            ],
        );
    }
}
