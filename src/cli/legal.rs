//! What people may ask of a relocation now, each as a command that can be copied. Pure.
//!
//! It follows the admission rules, so that what is offered is not refused a moment later; the API server has the last
//! word, because the relocation may have moved on. What would be accepted and change nothing is not offered.

use serde::Serialize;

use crate::api::{
    AutoPause, DesiredState, FailureReason, PauseReason, Relocation, RelocationStatus, StatusValue, Step,
};

/// Something that people may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Action {
    /// Stop before a step.
    Pause,
    /// Take a fence that is ahead back.
    ClearFence,
    /// Go on.
    Unpause,
    /// Go on until a later step.
    UnpauseUntil,
    /// End instead of entering a step.
    Cancel,
    /// Take a cancel back.
    WithdrawCancel,
    /// Stop the running work now.
    Suspend,
    /// Go on with the work that was stopped.
    Resume,
    /// End now.
    Abort,
    /// One more attempt of exactly the failure that stands.
    Recover,
    /// Start over as a new relocation.
    Retry,
}

/// An action that is legal now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Offer {
    /// The action.
    pub action: Action,
    /// The whole command.
    pub command: String,
    /// What it does, in a few words.
    pub effect: String,
}

/// The actions that are legal now, the likeliest first. `flags` end each command, such as ` -n eu`.
pub(super) fn legal(relocation: &Relocation, flags: &str) -> Vec<Offer> {
    if relocation.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let status = relocation.status.clone().unwrap_or_default();
    let name = relocation.metadata.name.as_deref().unwrap_or_default();
    let mut offers = Offers { name, flags, all: Vec::new() };
    match (status.status, relocation.spec.desired_state) {
        (Some(StatusValue::Failure), _) => after_failure(&mut offers, relocation, &status),
        // All is done, or it is being stopped for good.
        (Some(StatusValue::Success), _) | (_, DesiredState::Aborted) => {}
        (_, DesiredState::Suspended) => {
            offers.add(Action::Resume, "resume", "", "go on with the work that was stopped");
            cancels(&mut offers, relocation, &status);
            offers.add(Action::Abort, "abort", "", "end now");
        }
        (Some(StatusValue::Pause), DesiredState::Active) if !is_suspended(&status) => {
            unpauses(&mut offers, &status);
            cancels(&mut offers, relocation, &status);
            offers.add(Action::Abort, "abort", "", "end now");
        }
        // What was suspended and is active again goes on in a moment.
        (Some(StatusValue::Pending | StatusValue::InProgress | StatusValue::Pause) | None, DesiredState::Active) => {
            pauses(&mut offers, relocation, &status);
            cancels(&mut offers, relocation, &status);
            offers.add(Action::Suspend, "suspend", "", "stop the running work now, keep step, task and attempt");
            offers.add(Action::Abort, "abort", "", "end now");
        }
    }
    offers.all
}

/// The first step that can still be fenced off or cancelled: not entered, and not the first of all.
pub(super) fn first_open_step(status: &RelocationStatus) -> Option<Step> {
    Step::STOPPABLE.into_iter().find(|step| !status.is_behind(*step))
}

/// The step that it stops before next, unless somebody moves a fence: the earliest one that is not behind.
pub(super) fn next_fence(relocation: &Relocation) -> Option<Step> {
    let status = relocation.status.clone().unwrap_or_default();
    let automatic = status.auto_pause_at_step.filter(|_| relocation.spec.auto_pause == AutoPause::Honour);
    let fences = [relocation.spec.pause_at_step, automatic].into_iter().flatten();
    fences.filter(|step| !status.is_behind(*step)).min()
}

fn is_suspended(status: &RelocationStatus) -> bool {
    status.pause.as_ref().is_some_and(|pause| pause.reason == PauseReason::Suspended)
}

struct Offers<'a> {
    name: &'a str,
    flags: &'a str,
    all: Vec<Offer>,
}

impl Offers<'_> {
    fn add(&mut self, action: Action, command: &str, rest: &str, effect: &str) {
        let Self { name, flags, .. } = self;
        let gap = if rest.is_empty() { "" } else { " " };
        let command = format!("kubectl relocation {command} {name}{gap}{rest}{flags}");
        self.all.push(Offer { action, command, effect: effect.to_owned() });
    }
}

fn pauses(offers: &mut Offers<'_>, relocation: &Relocation, status: &RelocationStatus) {
    let fence = relocation.spec.pause_at_step.filter(|step| !status.is_behind(*step));
    if let Some(step) = first_open_step(status).filter(|step| next_fence(relocation) != Some(*step)) {
        offers.add(Action::Pause, "pause", &format!("--at-step {step}"), &format!("stop before {step}"));
    }
    if let Some(step) = fence {
        let effect = format!("do not stop before {step}");
        offers.add(Action::ClearFence, "patch", "--pauseAtStep=''", &effect);
    }
}

fn unpauses(offers: &mut Offers<'_>, status: &RelocationStatus) {
    let Some(pause) = &status.pause else { return };
    offers.add(Action::Unpause, "unpause", "", "go on");
    let later = Step::STOPPABLE.into_iter().find(|step| *step > pause.step);
    if let Some(step) = later {
        let effect = format!("go on and stop before {step}");
        offers.add(Action::UnpauseUntil, "unpause", &format!("--until-step {step}"), &effect);
    }
}

fn cancels(offers: &mut Offers<'_>, relocation: &Relocation, status: &RelocationStatus) {
    if let Some(step) = relocation.spec.cancel_at_step.filter(|step| !status.is_behind(*step)) {
        let effect = format!("do not end before {step}");
        offers.add(Action::WithdrawCancel, "cancel", "--withdraw", &effect);
    } else if let Some(step) = first_open_step(status) {
        let effect = format!("end instead of entering {step}");
        offers.add(Action::Cancel, "cancel", &format!("--at-step {step}"), &effect);
    }
}

fn after_failure(offers: &mut Offers<'_>, relocation: &Relocation, status: &RelocationStatus) {
    let Some(failure) = &status.failure else { return };
    // Somebody starts it over already: a recover would wait for that one's end, a second retry too.
    if failure.retried_by.is_some() {
        return;
    }
    if failure.recoverable {
        let place =
            failure.task.as_ref().map_or_else(|| failure.step.to_string(), |task| format!("{}/{task}", failure.step));
        let effect = if failure.entered {
            format!("one more attempt of {place}")
        } else {
            format!("go on before {}", failure.step)
        };
        let used = status.active_seconds.unwrap_or(0);
        match relocation.spec.active_deadline_seconds {
            Some(budget) if failure.reason == FailureReason::DeadlineExceeded && budget <= used => {
                let more = used.saturating_add(budget);
                let fields = format!("--recover={} --activeDeadlineSeconds={more}", failure.id);
                offers.add(Action::Recover, "patch", &fields, &format!("{effect}, with a greater budget"));
            }
            Some(_) | None => offers.add(Action::Recover, "recover", "", &effect),
        }
    }
    offers.add(Action::Retry, "retry", "", "start over as a new relocation");
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::*;

    fn relocation(spec: &Value, status: &Value) -> Relocation {
        let mut whole = json!({ "planRef": { "name": "files" }, "owner": "acme" });
        if let (Some(whole), Some(spec)) = (whole.as_object_mut(), spec.as_object()) {
            whole.extend(spec.clone());
        }
        serde_json::from_value(json!({
            "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation",
            "metadata": { "name": "acme" }, "spec": whole, "status": status
        }))
        .unwrap()
    }

    fn check(spec: Value, status: Value, expected: Expect) {
        let offers = legal(&relocation(&spec, &status), "");
        let lines: Vec<String> = offers
            .iter()
            .map(|offer| format!("{}: {}\n", offer.command.trim_start_matches("kubectl relocation "), offer.effect))
            .collect();
        expected.assert_eq(&lines.concat());
    }

    fn failure(reason: &str, entered: bool, recoverable: bool) -> Value {
        json!({
            "id": "IMPORTING-1-0badcafe", "step": "IMPORTING", "task": "run", "entered": entered, "reason": reason,
            "message": "no", "recoverable": recoverable, "at": "2026-01-01T00:00:00Z"
        })
    }

    fn pause(step: &str, reason: &str) -> Value {
        json!({ "step": step, "reason": reason, "message": "paused", "since": "2026-01-01T00:00:00Z" })
    }

    #[test]
    fn a_new_one_can_be_stopped_before_the_second_step_at_the_earliest() {
        check(
            json!({}),
            json!({ "observedGeneration": -1 }),
            expect![[r#"
            pause acme --at-step PREPROCESSING: stop before PREPROCESSING
            cancel acme --at-step PREPROCESSING: end instead of entering PREPROCESSING
            suspend acme: stop the running work now, keep step, task and attempt
            abort acme: end now
        "#]],
        );
    }

    #[test]
    fn a_running_one_can_be_stopped_before_the_next_step() {
        check(
            json!({}),
            json!({ "status": "IN_PROGRESS", "step": "VALIDATING", "entered": true }),
            expect![[r#"
                pause acme --at-step IMPORTING: stop before IMPORTING
                cancel acme --at-step IMPORTING: end instead of entering IMPORTING
                suspend acme: stop the running work now, keep step, task and attempt
                abort acme: end now
            "#]],
        );
    }

    #[test]
    fn a_fence_and_a_cancel_that_are_ahead_can_be_taken_back() {
        check(
            json!({ "pauseAtStep": "IMPORTING", "cancelAtStep": "NOTIFYING" }),
            json!({ "status": "IN_PROGRESS", "step": "VALIDATING", "entered": true }),
            expect![[r#"
                patch acme --pauseAtStep='': do not stop before IMPORTING
                cancel acme --withdraw: do not end before NOTIFYING
                suspend acme: stop the running work now, keep step, task and attempt
                abort acme: end now
            "#]],
        );
    }

    #[test]
    fn the_automatic_fence_needs_no_second_one() {
        check(
            json!({}),
            json!({ "status": "IN_PROGRESS", "step": "VALIDATING", "entered": true, "autoPauseAtStep": "IMPORTING" }),
            expect![[r#"
                cancel acme --at-step IMPORTING: end instead of entering IMPORTING
                suspend acme: stop the running work now, keep step, task and attempt
                abort acme: end now
            "#]],
        );
    }

    #[test]
    fn in_the_last_step_no_fence_is_left() {
        check(
            json!({}),
            json!({ "status": "IN_PROGRESS", "step": "NOTIFYING", "entered": true }),
            expect![[r#"
            suspend acme: stop the running work now, keep step, task and attempt
            abort acme: end now
        "#]],
        );
    }

    #[test]
    fn a_paused_one_can_go_on_or_end_where_it_stands() {
        check(
            json!({ "pauseAtStep": "IMPORTING" }),
            json!({ "status": "PAUSE", "step": "IMPORTING", "pause": pause("IMPORTING", "Fence") }),
            expect![[r#"
                unpause acme: go on
                unpause acme --until-step POSTPROCESSING: go on and stop before POSTPROCESSING
                cancel acme --at-step IMPORTING: end instead of entering IMPORTING
                abort acme: end now
            "#]],
        );
        check(
            json!({ "pauseAtStep": "NOTIFYING" }),
            json!({ "status": "PAUSE", "step": "NOTIFYING", "pause": pause("NOTIFYING", "Fence") }),
            expect![[r#"
                unpause acme: go on
                cancel acme --at-step NOTIFYING: end instead of entering NOTIFYING
                abort acme: end now
            "#]],
        );
    }

    #[test]
    fn a_suspended_one_is_resumed() {
        check(
            json!({ "desiredState": "Suspended" }),
            json!({ "status": "PAUSE", "step": "IMPORTING", "entered": true, "pause": pause("IMPORTING", "Suspended") }),
            expect![[r#"
                resume acme: go on with the work that was stopped
                cancel acme --at-step POSTPROCESSING: end instead of entering POSTPROCESSING
                abort acme: end now
            "#]],
        );
    }

    #[test]
    fn what_was_just_resumed_needs_no_unpause() {
        check(
            json!({}),
            json!({ "status": "PAUSE", "step": "NOTIFYING", "entered": true, "pause": pause("NOTIFYING", "Suspended") }),
            expect![[r#"
                suspend acme: stop the running work now, keep step, task and attempt
                abort acme: end now
            "#]],
        );
    }

    #[test]
    fn a_failed_one_is_recovered_or_started_over() {
        check(
            json!({}),
            json!({ "status": "FAILURE", "step": "IMPORTING", "entered": true, "failure": failure("AttemptsExhausted", true, true) }),
            expect![[r#"
                recover acme: one more attempt of IMPORTING/run
                retry acme: start over as a new relocation
            "#]],
        );
        check(
            json!({ "cancelAtStep": "IMPORTING" }),
            json!({ "status": "FAILURE", "step": "IMPORTING", "failure": failure("Cancelled", false, true) }),
            expect![[r#"
                recover acme: go on before IMPORTING
                retry acme: start over as a new relocation
            "#]],
        );
        check(
            json!({}),
            json!({ "status": "FAILURE", "step": "IMPORTING", "entered": true, "failure": failure("AttemptsExhausted", true, false) }),
            expect![[r#"
                retry acme: start over as a new relocation
            "#]],
        );
    }

    #[test]
    fn a_budget_that_is_used_up_is_raised_in_the_same_change() {
        check(
            json!({ "activeDeadlineSeconds": 60 }),
            json!({
                "status": "FAILURE", "step": "IMPORTING", "entered": true, "activeSeconds": 61,
                "failure": failure("DeadlineExceeded", true, true)
            }),
            expect![[r#"
                patch acme --recover=IMPORTING-1-0badcafe --activeDeadlineSeconds=121: one more attempt of IMPORTING/run, with a greater budget
                retry acme: start over as a new relocation
            "#]],
        );
    }

    #[test]
    fn nothing_is_left_to_ask_of_what_has_succeeded_or_is_being_stopped_or_started_over() {
        let mut retried = failure("AttemptsExhausted", true, true);
        retried["retriedBy"] = json!({ "name": "acme-2", "uid": "u" });
        for (spec, status) in [
            (json!({}), json!({ "status": "SUCCESS", "step": "COMPLETED" })),
            (
                json!({ "desiredState": "Aborted" }),
                json!({ "status": "IN_PROGRESS", "step": "IMPORTING", "entered": true }),
            ),
            (json!({}), json!({ "status": "FAILURE", "step": "IMPORTING", "entered": true, "failure": retried })),
        ] {
            check(spec, status, expect![""]);
        }
    }

    #[test]
    fn the_flags_that_lead_to_the_same_object_are_repeated() {
        let offers = legal(&relocation(&json!({}), &json!({ "status": "PENDING", "step": "UPLOADING" })), " -n eu");
        assert!(offers.iter().all(|offer| offer.command.ends_with(" -n eu")), "{offers:#?}");
    }
}
