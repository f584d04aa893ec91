//! Recover: a compare-and-swap on the failure's id, exactly one more attempt, by the plan as it is now.

use super::fixtures::{Scene, UID, a_relocation, ours, release};
use crate::api::{
    DesiredState, FailureReason, LateRequests, PauseReason, RetriedBy, StatusValue, Step, WorkState, revision_name,
};
use crate::lifecycle::{Decision, Effect, LockSeen, PlanSeen, WorkspaceSeen};

/// IMPORTING has failed for good at its first attempt, and the lock is given back.
fn a_failure() -> Scene {
    a_relocation().at(Step::Importing).failed_with(65).passed().with(|scene| scene.lock = LockSeen::Free)
}

fn id_of(scene: &Scene) -> String {
    scene.status().failure.as_ref().expect("a failure").id.clone()
}

fn recovered(scene: Scene) -> Scene {
    let id = id_of(&scene);
    scene.wanting(|spec| spec.recover = Some(id)).with(|scene| scene.lock = ours())
}

fn reason_of(decision: &Decision) -> &'static str {
    decision.because.reason()
}

#[test]
fn a_recover_is_exactly_one_more_attempt_of_the_failed_task() {
    let decision = recovered(a_failure()).decide();
    let status = &decision.status;
    assert_eq!(
        (status.status, status.step, status.entered),
        (Some(StatusValue::InProgress), Some(Step::Importing), true)
    );
    assert_eq!((status.attempt, status.attempt_limit), (Some(2), Some(2)));
    assert_eq!((status.recoveries, &status.failure, &status.finished_at), (Some(1), &None, &None));
    assert_eq!(status.plan.as_ref().map(|plan| plan.revision.clone()), Some(revision_name("acme", UID, 1)));
    assert!(matches!(decision.effect, Some(Effect::CreateJob(_))), "accepted and launched in one write");
    let last = status.history.last().expect("the recover is remembered");
    assert_eq!(last.action, "Recovered");
    assert!(last.detail.as_ref().is_some_and(|detail| detail.contains("IMPORTING-1-")), "{last:?}");
}

#[test]
fn a_recover_that_fails_again_fails_at_once_with_a_new_id() {
    let first = a_failure();
    let again = recovered(first.clone()).passed().alive().failed_with(1).passed();
    let failure = again.status().failure.clone().expect("a failure");
    assert_eq!((failure.reason, failure.attempt), (FailureReason::AttemptsExhausted, Some(2)));
    assert!(failure.id.starts_with("IMPORTING-2-") && failure.id != id_of(&first), "{}", failure.id);
    // The token of the first failure is still in the spec and does nothing any more.
    assert_eq!(again.decide().effect, Some(release()));
}

#[test]
fn the_lock_is_taken_and_the_plan_frozen_before_the_recover_is_accepted() {
    let asked = recovered(a_failure()).with(|scene| (scene.lock, scene.adopted) = (LockSeen::Free, false));
    let decision = asked.decide();
    assert_eq!((decision.effect, decision.status.recoveries), (Some(Effect::TakeLock), None));
    let locked = asked.with(|scene| scene.lock = ours());
    let decision = locked.decide();
    assert!(
        matches!(decision.effect, Some(Effect::FreezePlan { revision, .. }) if revision == revision_name("acme", UID, 1))
    );
    assert_eq!(decision.status.status, Some(StatusValue::Failure));
}

/// Somebody may be about to give the lock of the failed run back, and would take it from under the recovered one.
#[test]
fn a_recover_does_not_go_on_with_the_lock_of_the_run_that_failed() {
    let old = LockSeen::Ours { uid: "lease-uid".to_owned(), generation: 1 };
    let decision = recovered(a_failure()).with(|scene| scene.lock = old).decide();
    assert_eq!((decision.effect, decision.status.recoveries), (Some(release()), None));
}

/// The API server lets an ending be left at its own step only.
#[test]
fn a_recover_before_a_step_without_tasks_moves_no_step_in_the_same_write() {
    let scene = a_relocation().with_empty(Step::Postprocessing).before(Step::Postprocessing);
    let failed = scene.wanting(|spec| spec.desired_state = DesiredState::Aborted).passed();
    let decision = recovered(failed).wanting(|spec| spec.desired_state = DesiredState::Active).decide();
    assert_eq!((decision.status.step, decision.status.recoveries), (Some(Step::Postprocessing), Some(1)));
}

#[test]
fn a_workspace_that_is_gone_is_made_again_before_the_recover_is_accepted() {
    let storage = crate::api::WorkspaceSpec { storage: "1Gi".to_owned(), storage_class_name: None, access_modes: None };
    let scene = a_relocation().planned(|plan| plan.workspace = Some(storage));
    let failed = scene.at(Step::Importing).failed_with(65).passed();
    let asked = recovered(failed).with(|scene| scene.workspace = WorkspaceSeen::Missing);
    assert!(matches!(asked.decide().effect, Some(Effect::CreateWorkspace(_))));
}

#[test]
fn a_recover_waits_and_names_what_is_in_its_way() {
    let asked = recovered(a_failure());
    let check = |scene: Scene, what: &str| {
        let decision = scene.decide();
        assert_eq!((decision.status.status, reason_of(&decision)), (Some(StatusValue::Failure), "RecoverWaiting"));
        assert!(decision.because.message().contains(what), "{}", decision.because.message());
        let stalled = crate::api::find_condition(&decision.status.conditions, crate::api::ConditionType::Stalled);
        assert_eq!(stalled.map(|condition| condition.reason.as_str()), Some("RecoverWaiting"));
        assert!(decision.wake.is_some());
    };
    check(asked.clone().locked_by("other"), "\"other\"");
    check(asked.clone().with(|scene| scene.plan = Some(PlanSeen::Missing)), "no RelocationPlan");
    let refused = PlanSeen::NotAccepted { message: "no image".to_owned() };
    check(asked.clone().with(|scene| scene.plan = Some(refused)), "no image");
    let retried = RetriedBy { name: "acme-2".to_owned(), uid: "u2".to_owned() };
    check(asked.clone().with(|scene| scene.successor = Some(retried)), "\"acme-2\"");
    check(asked.with_empty(Step::Importing), "no task \"importing\" in IMPORTING");
}

#[test]
fn a_recover_that_waits_can_be_withdrawn() {
    let waiting = recovered(a_failure()).locked_by("other").passed();
    let decision = waiting.locked_by("other").wanting(|spec| spec.recover = None).decide();
    assert_eq!(reason_of(&decision), "Failed");
}

#[test]
fn an_id_that_is_not_the_one_that_stands_does_nothing() {
    let stale = a_failure().wanting(|spec| {
        spec.recover = Some("IMPORTING-1-00000000".to_owned());
        spec.late_requests = LateRequests::Report;
    });
    let decision = stale.decide();
    assert_eq!((decision.status.recoveries, decision.effect), (None, None));
    let late = decision.status.late.expect("it is answered");
    assert_eq!(late.field, "recover");
    assert!(late.why.contains(&id_of(&stale)), "{}", late.why);
}

#[test]
fn a_recover_of_a_step_that_was_not_entered_stands_before_it_again() {
    let cancelled = a_relocation().before(Step::Importing).wanting(|spec| spec.cancel_at_step = Some(Step::Importing));
    let failed = cancelled.passed();
    assert_eq!(failed.status().failure.as_ref().map(|failure| failure.entered), Some(false));
    // Still cancelled there: it would only end again.
    assert_eq!(recovered(failed.clone()).decide().status.recoveries, None);
    let fenced = recovered(failed).wanting(|spec| {
        spec.cancel_at_step = None;
        spec.pause_at_step = Some(Step::Importing);
    });
    let paused = fenced.decide();
    assert_eq!((paused.status.status, paused.status.recoveries), (Some(StatusValue::Pause), Some(1)));
    let open = fenced.wanting(|spec| spec.pause_at_step = None).decide();
    assert_eq!((open.status.entered, open.status.attempt), (true, Some(1)));
    assert_eq!(open.status.attempt_limit, Some(4), "a task that was never tried has its plan's attempts");
}

#[test]
fn a_fence_on_the_failed_step_does_not_hold_once_it_was_entered() {
    let decision = recovered(a_failure()).wanting(|spec| spec.pause_at_step = Some(Step::Importing)).decide();
    assert!(matches!(decision.effect, Some(Effect::CreateJob(_))));
}

#[test]
fn a_suspended_relocation_that_is_recovered_lands_in_pause_without_a_lock() {
    let suspended = recovered(a_failure())
        .wanting(|spec| spec.desired_state = DesiredState::Suspended)
        .with(|scene| scene.lock = LockSeen::Free);
    let decision = suspended.decide();
    assert_eq!(decision.status.pause.as_ref().map(|pause| pause.reason), Some(PauseReason::Suspended));
    assert_eq!((decision.status.recoveries, decision.effect), (Some(1), None));
}

#[test]
fn after_its_deadline_a_relocation_needs_a_larger_budget() {
    let spent = a_relocation().at(Step::Importing).wanting(|spec| spec.active_deadline_seconds = Some(60)).later(61);
    let failed = spent.passed().with(|scene| scene.lock = LockSeen::Free);
    assert_eq!(failed.status().failure.as_ref().map(|failure| failure.reason), Some(FailureReason::DeadlineExceeded));
    assert_eq!(recovered(failed.clone()).decide().status.recoveries, None);
    let raised = recovered(failed).wanting(|spec| spec.active_deadline_seconds = Some(600)).decide();
    assert_eq!((raised.status.recoveries, raised.status.attempt), (Some(1), Some(2)));
}

#[test]
fn an_aborted_relocation_goes_on_with_the_task_that_was_stopped() {
    let aborted =
        a_relocation().at(Step::Importing).wanting(|spec| spec.desired_state = DesiredState::Aborted).passed();
    assert_eq!(recovered(aborted.clone()).decide().status.recoveries, None, "desiredState stays Aborted");
    let active = recovered(aborted).wanting(|spec| spec.desired_state = DesiredState::Active).decide();
    assert_eq!((active.status.step, active.status.attempt), (Some(Step::Importing), Some(2)));
    let earlier = active.status.steps.iter().filter(|record| record.name < Step::Importing);
    assert!(earlier.clone().count() == 3 && earlier.clone().all(|record| record.state == WorkState::Succeeded));
}

#[test]
fn an_ending_is_told_before_the_recover_goes_on_and_the_next_one_is_told_again() {
    let failed = a_relocation().with_on_end().at(Step::Importing).failed_with(65).passed();
    let asked = recovered(failed);
    assert_eq!(asked.decide().effect, Some(release()));
    let released = asked.with(|scene| scene.lock = LockSeen::Free);
    assert!(matches!(released.decide().effect, Some(Effect::CreateEndJob(_))));
    let told = released.passed().with(|scene| scene.lock = ours()).decide();
    assert_eq!(told.status.recoveries, Some(1));
    assert!(
        told.status.steps.iter().all(|record| record.name != Step::Completed),
        "nothing is told of the next ending"
    );
}

#[test]
fn a_failure_before_the_start_is_recovered_by_starting() {
    let locked = a_relocation().locked_by("other").passed();
    assert_eq!(locked.status().failure.as_ref().map(|failure| failure.reason), Some(FailureReason::Locked));
    let waiting = recovered(locked.clone()).locked_by("other").decide();
    assert_eq!(reason_of(&waiting), "RecoverWaiting");
    let decision = recovered(locked).decide();
    assert_eq!((decision.status.status, decision.status.recoveries), (Some(StatusValue::Pending), Some(1)));
    assert!(decision.status.plan.is_none());
}

#[test]
fn a_recover_gives_the_old_lock_back_only_when_the_pods_of_the_failed_run_have_ended() {
    let old = LockSeen::Ours { uid: "lease-uid".to_owned(), generation: 1 };
    let busy = recovered(a_failure()).busy_with("pod acme-x").with(|scene| scene.lock = old);
    let decision = busy.decide();
    assert_eq!((decision.effect, reason_of(&busy.decide())), (None, "StoppingPods"));
}
