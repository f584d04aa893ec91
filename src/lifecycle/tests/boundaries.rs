//! Step boundaries: cancel, the two fences, empty steps, and what enters a step.

use super::fixtures::{Scene, a_relocation};
use crate::api::{
    AutoPause, AutoPauseAtStep, ConditionType, FailureReason, PauseReason, RelocationStatus, StatusValue, Step,
    WorkState, find_condition,
};
use crate::lifecycle::{Because, Effect, NoticeReason};

fn pausing_at(scene: Scene, step: Option<Step>) -> Scene {
    scene.wanting(|spec| spec.pause_at_step = step)
}

fn with_automatic_fence(scene: Scene, step: Step) -> Scene {
    scene.planned(|plan| {
        plan.auto_pause_at_step = Some(AutoPauseAtStep { self_hosted: Some(step), saas_to_saas: None });
    })
}

fn pause_reason(status: &RelocationStatus) -> Option<PauseReason> {
    status.pause.as_ref().map(|pause| pause.reason)
}

#[test]
fn a_fence_on_every_step_stops_before_it_and_starts_nothing() {
    for step in Step::STOPPABLE {
        let decision = pausing_at(a_relocation().before(step), Some(step)).decide();
        assert_eq!(decision.status.status, Some(StatusValue::Pause), "{step}");
        assert_eq!((decision.status.step, decision.status.entered), (Some(step), false));
        assert_eq!(decision.effect, None);
    }
}

#[test]
fn a_fence_that_is_ahead_stops_nothing_before_it() {
    let decision = pausing_at(a_relocation().before(Step::Validating), Some(Step::Importing)).decide();
    assert!(matches!(decision.effect, Some(Effect::CreateJob(_))));
}

#[test]
fn a_fence_set_while_the_step_before_runs_holds_when_that_ends() {
    let decision = pausing_at(a_relocation().at(Step::Validating), Some(Step::Importing)).succeeded().decide();
    assert_eq!((decision.status.status, decision.status.step), (Some(StatusValue::Pause), Some(Step::Importing)));
}

#[test]
fn looking_again_at_a_standing_fence_changes_nothing() {
    let scene = pausing_at(a_relocation().before(Step::Importing), Some(Step::Importing)).passed().later(1000);
    let decision = scene.decide();
    assert_eq!((&decision.status, &decision.effect), (scene.status(), &None));
    assert!(decision.notices.is_empty());
}

/// A request that comes too late has no effect, and least of all does it start the step that was fenced off.
#[test]
fn moving_the_fence_to_a_step_that_is_over_lets_nothing_go_on() {
    let paused = pausing_at(a_relocation().before(Step::Importing), Some(Step::Importing)).passed();
    let moved = pausing_at(paused, Some(Step::Preprocessing));
    let decision = moved.decide();
    assert_eq!((pause_reason(&decision.status), &decision.effect), (Some(PauseReason::Fence), &None));
    let late = decision.status.late.as_ref().expect("it is answered");
    assert_eq!(late.why, "cannot pause at PREPROCESSING: it is over (the relocation is at IMPORTING/importing)");
    let settled = moved.passed().later(1000);
    assert_eq!(&settled.decide().status, settled.status());
    for goes_on in [None, Some(Step::Notifying)] {
        assert!(matches!(pausing_at(settled.clone(), goes_on).decide().effect, Some(Effect::CreateJob(_))));
    }
}

#[test]
fn clearing_the_fence_enters_the_step_at_once_with_its_first_attempt() {
    let paused = pausing_at(a_relocation().before(Step::Importing), Some(Step::Importing)).passed();
    let decision = pausing_at(paused, None).decide();
    assert_eq!(decision.status.status, Some(StatusValue::InProgress));
    assert_eq!((decision.status.entered, decision.status.attempt), (true, Some(1)));
    assert_eq!(decision.status.next_attempt_at, None);
    let told: Vec<_> = decision.notices.iter().map(|notice| notice.reason).collect();
    assert_eq!(told, [NoticeReason::Unpaused, NoticeReason::StepEntered]);
}

#[test]
fn moving_the_fence_to_a_later_step_goes_on_until_there() {
    let paused = pausing_at(a_relocation().before(Step::Importing), Some(Step::Importing)).passed();
    let running = pausing_at(paused, Some(Step::Notifying)).passed().alive().succeeded().passed();
    assert_eq!((running.status().step, running.status().entered), (Some(Step::Postprocessing), true));
    let decision = running.alive().succeeded().decide();
    assert_eq!((decision.status.status, decision.status.step), (Some(StatusValue::Pause), Some(Step::Notifying)));
}

#[test]
fn an_unpause_is_answered_also_when_pods_have_to_be_waited_for() {
    let paused = pausing_at(a_relocation().before(Step::Importing), Some(Step::Importing)).passed();
    let decision = pausing_at(paused, None).busy_with("pod old-x").decide();
    assert_eq!((decision.status.status, &decision.effect), (Some(StatusValue::InProgress), &None));
    assert_eq!(decision.notices[0].reason, NoticeReason::Unpaused);
    assert!(!decision.status.entered);
}

#[test]
fn the_automatic_fence_holds_by_itself_and_says_how_it_is_opened() {
    let scene = with_automatic_fence(a_relocation(), Step::Importing).before(Step::Importing);
    let decision = scene.decide();
    assert_eq!(pause_reason(&decision.status), Some(PauseReason::AutoFence));
    assert!(decision.status.pause.unwrap().message.contains("spec.autoPause to Skip"));
}

#[test]
fn skipping_opens_the_automatic_fence_and_not_the_one_in_the_spec() {
    let scene = with_automatic_fence(a_relocation(), Step::Importing).before(Step::Importing);
    let skipping = scene.wanting(|spec| spec.auto_pause = AutoPause::Skip);
    assert!(skipping.decide().status.entered);
    assert_eq!(pause_reason(&pausing_at(skipping, Some(Step::Importing)).decide().status), Some(PauseReason::Fence));
}

#[test]
fn with_a_cleared_fence_and_the_automatic_one_standing_it_stays_paused_and_says_so() {
    let scene = with_automatic_fence(a_relocation(), Step::Importing).before(Step::Importing);
    let both = pausing_at(scene, Some(Step::Importing));
    let decision = both.decide();
    assert_eq!(pause_reason(&decision.status), Some(PauseReason::Fence));
    assert!(decision.status.pause.as_ref().unwrap().message.contains("and spec.autoPause to Skip"));
    let cleared = pausing_at(both.passed(), None).decide();
    assert_eq!(pause_reason(&cleared.status), Some(PauseReason::AutoFence));
}

#[test]
fn the_automatic_fence_is_that_of_the_provenance() {
    let scene = a_relocation().planned(|plan| {
        plan.auto_pause_at_step = Some(AutoPauseAtStep { self_hosted: None, saas_to_saas: Some(Step::Importing) });
    });
    assert!(scene.clone().before(Step::Importing).decide().status.entered);
    let scene = scene.wanting(|spec| spec.provenance = crate::api::Provenance::SaasToSaas);
    assert_eq!(pause_reason(&scene.before(Step::Importing).decide().status), Some(PauseReason::AutoFence));
}

#[test]
fn a_cancel_ends_instead_of_entering_and_beats_a_fence_on_the_same_step() {
    let scene = pausing_at(a_relocation().before(Step::Importing), Some(Step::Importing));
    let decision = scene.wanting(|spec| spec.cancel_at_step = Some(Step::Importing)).decide();
    let failure = decision.status.failure.as_ref().unwrap();
    assert_eq!((failure.reason, failure.step, failure.entered), (FailureReason::Cancelled, Step::Importing, false));
    assert_eq!(decision.status.pause, None);
}

#[test]
fn a_cancel_at_the_step_that_it_is_paused_before_ends_at_once() {
    let paused = pausing_at(a_relocation().before(Step::Importing), Some(Step::Importing)).passed();
    let decision = paused.wanting(|spec| spec.cancel_at_step = Some(Step::Importing)).decide();
    assert_eq!(decision.status.status, Some(StatusValue::Failure));
}

#[test]
fn a_cancel_at_a_later_step_waits_for_the_unpause_and_is_shown() {
    let paused = pausing_at(a_relocation().before(Step::Importing), Some(Step::Importing)).passed();
    let decision = paused.wanting(|spec| spec.cancel_at_step = Some(Step::Notifying)).decide();
    assert_eq!(decision.status.status, Some(StatusValue::Pause));
    let cancelling = find_condition(&decision.status.conditions, ConditionType::Cancelling).unwrap();
    assert_eq!(cancelling.reason, "Scheduled");
}

#[test]
fn a_withdrawn_cancel_leaves_nothing_behind() {
    let scene = a_relocation().at(Step::Validating).wanting(|spec| spec.cancel_at_step = Some(Step::Importing));
    let scene = scene.having(|_| {}).wanting(|spec| spec.cancel_at_step = None).succeeded();
    let decision = scene.decide();
    assert!(decision.status.entered);
    assert!(find_condition(&decision.status.conditions, ConditionType::Cancelling).is_none());
}

#[test]
fn entering_is_one_write_that_says_everything() {
    let scene = a_relocation().at(Step::Validating).succeeded().later(5);
    let decision = scene.decide();
    let status = &decision.status;
    assert_eq!((status.step, status.entered), (Some(Step::Importing), true));
    assert_eq!((status.task.as_deref(), status.attempt), (Some("importing"), Some(1)));
    assert_eq!((status.status, status.attempt_limit), (Some(StatusValue::InProgress), Some(4)));
    assert!(status.launch > scene.status().launch);
    assert_eq!(status.job.as_deref(), Some(super::fixtures::job_of_launch(status.launch.unwrap()).as_str()));
    assert!(matches!(decision.effect, Some(Effect::CreateJob(_))));
}

#[test]
fn an_empty_step_is_passed_through_in_a_write_of_its_own() {
    let scene = a_relocation().with_empty(Step::Preprocessing).at(Step::Uploading).succeeded();
    let folded = scene.decide();
    assert_eq!((folded.status.step, folded.status.entered), (Some(Step::Preprocessing), false));
    assert_eq!((&folded.because, folded.wake), (&Because::PassedThrough, Some(scene.now)));
    let passed = scene.passed().decide();
    assert_eq!((passed.status.step, passed.status.entered), (Some(Step::Validating), false));
    let record = passed.status.steps.iter().find(|record| record.name == Step::Preprocessing).unwrap();
    assert_eq!(record.state, WorkState::Skipped);
}

#[test]
fn a_fence_and_a_cancel_hold_at_an_empty_step_too() {
    let scene = a_relocation().with_empty(Step::Preprocessing).before(Step::Preprocessing);
    let paused = pausing_at(scene.clone(), Some(Step::Preprocessing)).decide();
    assert_eq!(paused.status.status, Some(StatusValue::Pause));
    let cancelled = scene.wanting(|spec| spec.cancel_at_step = Some(Step::Preprocessing)).decide();
    assert_eq!(cancelled.status.status, Some(StatusValue::Failure));
}

#[test]
fn the_last_step_may_be_empty() {
    let scene = a_relocation().with_empty(Step::Notifying).at(Step::Postprocessing).succeeded().passed();
    assert_eq!(scene.status().step, Some(Step::Notifying));
    assert_eq!(scene.decide().status.status, Some(StatusValue::Success));
}

#[test]
fn the_first_step_may_be_empty_and_nothing_has_started_then() {
    let scene = a_relocation().with_empty(Step::Uploading).before(Step::Uploading);
    let decision = scene.decide();
    assert_eq!((decision.status.status, decision.status.step), (Some(StatusValue::Pending), Some(Step::Preprocessing)));
    assert_eq!(decision.status.started_at, None);
}
