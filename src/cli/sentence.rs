//! One sentence that says where a relocation stands and what it waits for.
//!
//! What it waits for is the message of its conditions; this module adds since when, and the command that helps.

use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::ages;
use crate::api::{
    ConditionType, Failure, Pause, PauseReason, Relocation, RelocationStatus, StatusValue, find_condition,
};

/// An operator that runs looks at a new object within a second.
const SOON: SignedDuration = SignedDuration::from_secs(10);

/// How times and commands are written.
pub(super) struct Words<'a> {
    /// The time now.
    pub now: Timestamp,
    /// The reader's time zone.
    pub zone: &'a TimeZone,
    /// What ends each command, such as ` -n eu`.
    pub flags: &'a str,
    /// Whether times are told with how long ago they were, which is another text every second.
    pub with_ages: bool,
}

impl Words<'_> {
    /// A moment, as in `14:02 (3m ago)`.
    pub fn moment(&self, at: Timestamp) -> String {
        let time = ages::clock_time(at, self.now, self.zone);
        if self.with_ages { format!("{time} ({} ago)", ages::since(at, self.now)) } else { time }
    }

    /// A command about a relocation.
    pub fn command(&self, command: &str, relocation: &Relocation) -> String {
        let name = relocation.metadata.name.as_deref().unwrap_or_default();
        format!("kubectl relocation {command} {name}{}", self.flags)
    }
}

/// Where it stands and what it waits for.
pub(super) fn sentence(relocation: &Relocation, words: &Words<'_>) -> String {
    if relocation.metadata.deletion_timestamp.is_some() {
        return "it is being deleted; nothing more starts".to_owned();
    }
    let nothing = RelocationStatus::default();
    let status = relocation.status.as_ref().unwrap_or(&nothing);
    let Some(value) = status.status else { return unseen(relocation, words) };
    let stands = match (value, &status.pause, &status.failure) {
        (StatusValue::Pause, Some(pause), _) => paused(relocation, status, pause, words),
        (StatusValue::Failure, _, Some(failure)) => failed(status, failure, words),
        (StatusValue::Success, ..) => {
            let since = status.finished_at.as_ref().map(|time| format!(", since {}", words.moment(time.0)));
            format!("every step is done{}", since.unwrap_or_default())
        }
        _ => told(status).unwrap_or_else(|| value.as_str().to_owned()),
    };
    if status.observed_generation == relocation.metadata.generation {
        stands
    } else {
        format!("{stands}; the last change of its spec is not answered yet")
    }
}

fn unseen(relocation: &Relocation, words: &Words<'_>) -> String {
    let created = relocation.metadata.creation_timestamp.as_ref().map(|time| time.0);
    match created {
        Some(created) if words.now.duration_since(created) > SOON => format!(
            "no operator has looked at it since {}; see whether one runs with: kubectl relocation doctor{}",
            words.moment(created),
            words.flags
        ),
        Some(_) | None => "the operator has not looked at it yet".to_owned(),
    }
}

/// What the conditions say: what it works at or waits for.
fn told(status: &RelocationStatus) -> Option<String> {
    let kinds = [ConditionType::Stalled, ConditionType::Reconciling, ConditionType::Ready];
    let condition = kinds.into_iter().find_map(|kind| find_condition(&status.conditions, kind))?;
    Some(condition.message.clone())
}

fn paused(relocation: &Relocation, status: &RelocationStatus, pause: &Pause, words: &Words<'_>) -> String {
    let Pause { step, since, reason, message: _ } = pause;
    let since = words.moment(since.0);
    let (what, command) = match reason {
        PauseReason::Fence => (format!("paused before {step} by spec.pauseAtStep"), "unpause"),
        PauseReason::AutoFence => (format!("paused before {step} by the plan's automatic fence"), "unpause"),
        PauseReason::Suspended => {
            let place = if status.entered { "in" } else { "before" };
            (format!("suspended {place} {step}"), "resume")
        }
    };
    let go_on = words.command(command, relocation);
    let obstacle = find_condition(&status.conditions, ConditionType::Stalled);
    let obstacle = obstacle.map(|condition| format!("; {}", condition.message)).unwrap_or_default();
    format!("{what} since {since}; go on with: {go_on}{obstacle}")
}

fn failed(status: &RelocationStatus, failure: &Failure, words: &Words<'_>) -> String {
    let at = words.moment(failure.at.0);
    let place = failure.task.as_ref().filter(|_| failure.entered);
    let place = place.map_or_else(|| failure.step.to_string(), |task| format!("{}/{task}", failure.step));
    // Most messages begin with the place.
    let place = match failure.entered {
        true if failure.message.contains(&place) => "failed".to_owned(),
        true => format!("failed in {place}"),
        false => format!("ended before {place}"),
    };
    let retried = failure.retried_by.as_ref().map(|by| format!("; started over as {}", by.name)).unwrap_or_default();
    // A recover that waits, or pods that are still ending, say so in the condition.
    let more = find_condition(&status.conditions, ConditionType::Stalled)
        .filter(|condition| condition.reason != failure.reason.as_str())
        .map(|condition| format!("; {}", condition.message))
        .unwrap_or_default();
    let Failure { reason, message, id, .. } = failure;
    format!("{place} at {at}, {}: {message} (failure {id}){retried}{more}", reason.as_str())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::*;

    fn check(status: Value, expected: Expect) {
        let relocation: Relocation = serde_json::from_value(json!({
            "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation",
            "metadata": { "name": "acme", "generation": 3, "creationTimestamp": "2026-07-02T13:00:00Z" },
            "spec": { "planRef": { "name": "files" }, "owner": "acme" }, "status": status
        }))
        .unwrap();
        let words = Words {
            now: "2026-07-02T14:05:00Z".parse().unwrap(),
            zone: &TimeZone::UTC,
            flags: " -n eu",
            with_ages: true,
        };
        expected.assert_eq(&sentence(&relocation, &words));
    }

    fn condition(kind: &str, reason: &str, message: &str) -> Value {
        json!({ "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": "2026-07-02T14:00:00Z" })
    }

    #[test]
    fn a_pause_says_by_what_since_when_and_how_to_go_on() {
        let pause = |reason: &str| {
            json!({
                "observedGeneration": 3, "status": "PAUSE", "step": "IMPORTING",
                "pause": { "step": "IMPORTING", "reason": reason, "message": "m", "since": "2026-07-02T14:02:00Z" }
            })
        };
        check(
            pause("AutoFence"),
            expect![[
                r#"paused before IMPORTING by the plan's automatic fence since 14:02 (3m ago); go on with: kubectl relocation unpause acme -n eu"#
            ]],
        );
        check(
            pause("Fence"),
            expect![[
                r#"paused before IMPORTING by spec.pauseAtStep since 14:02 (3m ago); go on with: kubectl relocation unpause acme -n eu"#
            ]],
        );
        check(
            pause("Suspended"),
            expect![[
                r#"suspended before IMPORTING since 14:02 (3m ago); go on with: kubectl relocation resume acme -n eu"#
            ]],
        );
    }

    #[test]
    fn a_failure_says_where_why_and_its_id() {
        let failure = json!({
            "observedGeneration": 3, "status": "FAILURE", "step": "IMPORTING", "entered": true,
            "conditions": [condition("Stalled", "RecoverWaiting", "recover waits: the plan has no such task")],
            "failure": {
                "id": "IMPORTING-1-0badcafe", "step": "IMPORTING", "task": "write", "entered": true,
                "reason": "FatalExitCode", "message": "disk full", "recoverable": true, "at": "2026-07-02T14:04:00Z"
            }
        });
        check(
            failure,
            expect![[
                r#"failed in IMPORTING/write at 14:04 (60s ago), FatalExitCode: disk full (failure IMPORTING-1-0badcafe); recover waits: the plan has no such task"#
            ]],
        );
    }

    #[test]
    fn what_works_or_waits_by_itself_says_what_its_conditions_say() {
        let waiting = condition("Reconciling", "Running", "IMPORTING/write runs, attempt 1 of 4, as Job acme-1");
        check(
            json!({ "observedGeneration": 2, "status": "IN_PROGRESS", "step": "IMPORTING", "conditions": [waiting] }),
            expect![[
                r#"IMPORTING/write runs, attempt 1 of 4, as Job acme-1; the last change of its spec is not answered yet"#
            ]],
        );
        check(
            json!({ "observedGeneration": -1 }),
            expect![[
                r#"no operator has looked at it since 13:00 (65m ago); see whether one runs with: kubectl relocation doctor -n eu"#
            ]],
        );
        check(
            json!({ "observedGeneration": 3, "status": "SUCCESS", "step": "COMPLETED", "finishedAt": "2026-07-01T14:00:00Z" }),
            expect![[r#"every step is done, since 2026-07-01 14:00 (24h ago)"#]],
        );
    }
}
