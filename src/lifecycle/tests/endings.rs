//! After an ending: pods end, the lock is given back, `onEnd` runs, and then nothing moves any more.

use super::fixtures::{Scene, a_pod, a_relocation, ours, release};
use crate::api::{ConditionType, DesiredState, StatusValue, Step, WorkState, condition_status, find_condition};
use crate::lifecycle::{Effect, JobFailure, JobSeen, LockSeen};

fn a_success() -> Scene {
    a_relocation().with_on_end().at(Step::Notifying).succeeded().passed()
}

fn a_failure() -> Scene {
    a_relocation().with_on_end().at(Step::Importing).failed_with(65).passed()
}

fn released(scene: Scene) -> Scene {
    scene.with(|scene| scene.lock = LockSeen::Free)
}

/// What became of the `onEnd` Job.
fn with_end_job(scene: Scene, seen: JobSeen) -> Scene {
    released(scene).passed().with(|scene| scene.end_job = seen)
}

#[test]
fn the_lock_is_given_back_only_when_all_is_quiet() {
    for scene in [a_success(), a_failure()] {
        assert_eq!(scene.clone().busy_with("pod acme-x").decide().effect, None);
        assert_eq!(scene.decide().effect, Some(release()));
    }
}

#[test]
fn a_failure_shows_that_its_pods_are_being_stopped_until_they_are() {
    let aborted =
        a_relocation().at(Step::Importing).wanting(|spec| spec.desired_state = DesiredState::Aborted).passed();
    let busy = aborted.busy_with("pod acme-x");
    let decision = busy.decide();
    let cancelling = find_condition(&decision.status.conditions, ConditionType::Cancelling).unwrap();
    assert_eq!(cancelling.reason, "StoppingPods");
    assert!(cancelling.message.contains("pod acme-x"));
    let quiet = released(busy.passed()).decide();
    assert!(find_condition(&quiet.status.conditions, ConditionType::Cancelling).is_none());
}

#[test]
fn a_success_that_waits_to_give_the_lock_back_is_not_called_stalled() {
    let decision = a_success().busy_with("pod other-x").decide();
    assert!(find_condition(&decision.status.conditions, ConditionType::Stalled).is_none());
    let ready = find_condition(&decision.status.conditions, ConditionType::Ready).unwrap();
    assert_eq!(ready.status, condition_status::TRUE);
    assert!(decision.wake.is_some());
}

#[test]
fn an_ending_before_the_first_launch_gives_its_lock_back_too() {
    let scene = a_relocation().with(|scene| scene.lock = ours());
    let aborted = scene.wanting(|spec| spec.desired_state = DesiredState::Aborted).passed();
    assert_eq!(aborted.decide().effect, Some(release()));
    assert_eq!(released(aborted).decide().effect, None);
}

#[test]
fn on_end_runs_once_after_every_ending_and_never_changes_the_result() {
    for scene in [a_success(), a_failure()] {
        let result = scene.status().status;
        let decision = released(scene.clone()).decide();
        assert!(matches!(decision.effect, Some(Effect::CreateEndJob(_))));
        let notified = find_condition(&decision.status.conditions, ConditionType::Notified).unwrap();
        assert_eq!(notified.status, condition_status::UNKNOWN);

        let done = with_end_job(scene.clone(), JobSeen::Succeeded)
            .with(|scene| scene.end_pods = vec![a_pod().exited(0, "told them")]);
        let told = done.decide();
        let notified = find_condition(&told.status.conditions, ConditionType::Notified).unwrap();
        assert_eq!((notified.status.as_str(), notified.message.as_str()), (condition_status::TRUE, "told them"));
        assert_eq!((done.clone().passed().decide().effect, told.status.status), (None, result));

        let message = "m".repeat(3000);
        let failure = JobFailure { disrupted: false, timed_out: true, exit_code: None, message };
        let failed = with_end_job(scene, JobSeen::Failed(failure)).decide();
        let record = failed.status.steps.iter().find(|record| record.name == Step::Completed).unwrap();
        assert_eq!(record.state, WorkState::Failed);
        assert!(record.tasks[0].message.as_ref().unwrap().len() <= 1024);
        assert_eq!(failed.status.status, result);
    }
}

#[test]
fn an_on_end_job_that_is_not_there_is_created_until_its_timeout_and_then_given_up() {
    let scene = with_end_job(a_success(), JobSeen::Missing { known: false });
    let decision = scene.decide();
    assert!(matches!(decision.effect, Some(Effect::CreateEndJob(_))));
    assert!(decision.wake.is_some_and(|wake| wake > scene.now));
    let late = scene.later(300).decide();
    assert_eq!(late.effect, None);
    let notified = find_condition(&late.status.conditions, ConditionType::Notified).unwrap();
    assert_eq!(notified.status, condition_status::FALSE);
}

#[test]
fn an_on_end_job_that_somebody_deleted_is_not_run_again() {
    let decision = with_end_job(a_success(), JobSeen::Missing { known: true }).decide();
    assert_eq!(decision.effect, None);
    let notified = find_condition(&decision.status.conditions, ConditionType::Notified).unwrap();
    assert_eq!(notified.status, condition_status::FALSE);
}

#[test]
fn an_ended_relocation_is_silent() {
    for scene in [
        a_relocation().at(Step::Notifying).succeeded().passed(),
        a_relocation().at(Step::Importing).failed_with(65).passed(),
    ] {
        let scene = released(scene).passed().later(100_000);
        let decision = scene.decide();
        assert_eq!((&decision.status, decision.effect, decision.wake), (scene.status(), None, None));
    }
}

#[test]
fn edits_of_an_ended_relocation_are_seen_and_change_nothing() {
    let scene = released(a_relocation().at(Step::Notifying).succeeded().passed()).passed();
    let edited = scene.clone().wanting(|spec| {
        spec.desired_state = DesiredState::Suspended;
        spec.cancel_at_step = Some(Step::Importing);
    });
    let decision = edited.decide();
    assert_eq!(decision.status.status, Some(StatusValue::Success));
    assert_eq!(decision.status.observed_generation, edited.relocation.metadata.generation);
    assert_eq!(decision.effect, None);
}
