//! The order of judgement: which rule speaks first when several could.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::fixtures::{Scene, a_relocation, noon, ours};
use crate::api::{
    ConditionType, DesiredState, FailureReason, PauseReason, RetryOf, StatusValue, Step, WhenLocked, WorkState,
    find_condition,
};
use crate::lifecycle::{
    Because, Decision, Effect, Facet, JobFailure, JobRead, JobSeen, LiveJob, LockSeen, NoticeReason, PlanSeen, decide,
};

fn reason(decision: &Decision) -> Option<FailureReason> {
    decision.status.failure.as_ref().map(|failure| failure.reason)
}

fn stalled(decision: &Decision) -> Option<(&str, &str)> {
    find_condition(&decision.status.conditions, ConditionType::Stalled)
        .map(|condition| (condition.reason.as_str(), condition.message.as_str()))
}

fn a_stray() -> LiveJob {
    LiveJob { name: "acme-stray".to_owned(), uid: "stray-uid".to_owned(), deleting: false }
}

/// The scene, being deleted.
fn deleted(scene: Scene) -> Scene {
    scene.with(|scene| scene.relocation.metadata.deletion_timestamp = Some(Time(noon())))
}

#[test]
fn a_deleted_relocation_starts_nothing_and_writes_nothing() {
    let scenes = [
        deleted(a_relocation()),
        deleted(a_relocation().before(Step::Importing)),
        deleted(a_relocation().at(Step::Importing).succeeded()),
        deleted(a_relocation().at(Step::Importing).with(|scene| scene.live_jobs.push(a_stray()))),
    ];
    for scene in scenes {
        let decision = scene.decide();
        assert_eq!(decision.because, Because::Deleted);
        assert_eq!((decision.effect, decision.wake), (None, None));
        assert_eq!(decision.status, scene.relocation.status.clone().unwrap_or_default());
    }
}

#[test]
fn a_finished_job_is_folded_before_an_abort_is_judged() {
    let scene = a_relocation().at(Step::Importing).succeeded();
    let decision = scene.wanting(|spec| spec.desired_state = DesiredState::Aborted).decide();
    assert_eq!(reason(&decision), Some(FailureReason::Aborted));
    let failure = decision.status.failure.as_ref().unwrap();
    assert_eq!((failure.step, failure.entered), (Step::Postprocessing, false));
    let importing = decision.status.steps.iter().find(|record| record.name == Step::Importing).unwrap();
    assert_eq!(importing.state, WorkState::Succeeded);
}

#[test]
fn a_finished_job_is_folded_before_the_deadline_is_judged() {
    let scene = a_relocation().at(Step::Importing).succeeded().later(100);
    let decision = scene.wanting(|spec| spec.active_deadline_seconds = Some(60)).decide();
    assert_eq!(reason(&decision), Some(FailureReason::DeadlineExceeded));
    assert_eq!(decision.status.step, Some(Step::Postprocessing));
}

#[test]
fn a_job_that_failed_for_good_wins_over_an_abort() {
    let scene = a_relocation().at(Step::Importing).failed_with(65);
    let decision = scene.wanting(|spec| spec.desired_state = DesiredState::Aborted).decide();
    assert_eq!(reason(&decision), Some(FailureReason::FatalExitCode));
}

#[test]
fn an_abort_that_comes_with_the_last_result_is_too_late_and_is_told_so() {
    let scene = a_relocation().at(Step::Notifying).succeeded();
    let decision = scene.wanting(|spec| spec.desired_state = DesiredState::Aborted).decide();
    assert_eq!(decision.status.status, Some(StatusValue::Success));
    assert_eq!(decision.status.late.as_ref().map(|late| late.field.as_str()), Some("desiredState"));
    assert!(decision.notices.iter().any(|notice| notice.reason == NoticeReason::RequestTooLate));
}

#[test]
fn an_abort_wins_over_the_deadline() {
    let scene = a_relocation().at(Step::Importing).later(100).wanting(|spec| {
        spec.active_deadline_seconds = Some(60);
        spec.desired_state = DesiredState::Aborted;
    });
    assert_eq!(reason(&scene.decide()), Some(FailureReason::Aborted));
}

#[test]
fn an_abort_stores_the_failure_first_and_the_job_is_deleted_in_the_next_pass() {
    let scene = a_relocation().at(Step::Importing).wanting(|spec| spec.desired_state = DesiredState::Aborted);
    let job = scene.status().job.clone().unwrap();
    let decision = scene.decide();
    assert_eq!((reason(&decision), decision.effect), (Some(FailureReason::Aborted), None));
    assert_eq!(decision.status.job, None);
    let next = scene.having(|status| *status = decision.status.clone()).decide();
    let Some(Effect::DeleteJobs(jobs)) = next.effect else { panic!("{:?}", next.effect) };
    assert_eq!(jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), [job.as_str()]);
    assert_eq!(next.status, decision.status, "the stray rule writes nothing");
}

#[test]
fn an_abort_of_what_never_started_names_the_first_step_as_not_entered() {
    let decision = a_relocation().wanting(|spec| spec.desired_state = DesiredState::Aborted).decide();
    let failure = decision.status.failure.as_ref().unwrap();
    assert_eq!((failure.step, failure.entered, failure.attempt), (Step::Uploading, false, None));
    assert!(failure.id.starts_with("UPLOADING-1-"));
}

#[test]
fn time_in_pause_does_not_use_the_budget() {
    let paused = a_relocation().before(Step::Importing).wanting(|spec| spec.pause_at_step = Some(Step::Importing));
    let decision = paused.passed().later(7200).wanting(|spec| spec.active_deadline_seconds = Some(60)).decide();
    assert_eq!(decision.status.status, Some(StatusValue::Pause));
}

#[test]
fn a_budget_that_is_used_up_starts_nothing_when_the_fence_opens() {
    let scene = a_relocation().before(Step::Importing).later(100);
    let paused = scene.wanting(|spec| spec.pause_at_step = Some(Step::Importing)).passed();
    assert_eq!(paused.status().active_seconds, Some(100));
    let decision = paused
        .wanting(|spec| {
            spec.pause_at_step = None;
            spec.active_deadline_seconds = Some(60);
        })
        .decide();
    assert_eq!((reason(&decision), decision.effect), (Some(FailureReason::DeadlineExceeded), None));
    assert!(!decision.status.entered);
}

#[test]
fn the_next_look_comes_no_later_than_the_deadline() {
    let scene = a_relocation().at(Step::Importing).wanting(|spec| spec.active_deadline_seconds = Some(60));
    assert_eq!(scene.decide().wake, scene.clone().later(60).now.into());
}

#[test]
fn a_live_job_that_the_status_does_not_name_is_deleted_by_its_uid_and_told() {
    let scene = a_relocation().at(Step::Importing).with(|scene| scene.live_jobs.push(a_stray()));
    let decision = scene.decide();
    let Some(Effect::DeleteJobs(jobs)) = &decision.effect else { panic!("{:?}", decision.effect) };
    assert_eq!((jobs.len(), jobs[0].name.as_str(), jobs[0].uid.as_str()), (1, "acme-stray", "stray-uid"));
    assert_eq!(decision.notices[0].reason, NoticeReason::StrayDeleted);
    assert_eq!(&decision.status, scene.status());
}

#[test]
fn a_stray_that_is_being_deleted_is_not_deleted_again() {
    let stray = LiveJob { deleting: true, ..a_stray() };
    let decision = a_relocation().at(Step::Importing).with(|scene| scene.live_jobs.push(stray)).decide();
    assert_eq!(decision.effect, None);
}

#[test]
fn any_live_job_of_a_paused_or_ended_relocation_is_a_stray_even_if_it_is_named() {
    for value in [StatusValue::Pause, StatusValue::Failure, StatusValue::Success] {
        let scene = a_relocation().at(Step::Importing).having(|status| status.status = Some(value));
        assert!(matches!(scene.decide().effect, Some(Effect::DeleteJobs(_))), "{value:?}");
    }
}

#[test]
fn a_missing_plan_is_waited_for_a_minute_and_then_a_persons_matter() {
    let scene = a_relocation().with(|scene| scene.plan = Some(PlanSeen::Missing));
    let early = scene.decide();
    assert_eq!((early.status.status, stalled(&early)), (Some(StatusValue::Pending), None));
    assert_eq!(early.wake, Some(scene.clone().later(60).now));
    let late = scene.later(60).decide();
    assert_eq!(stalled(&late).map(|(reason, _)| reason), Some("PlanMissing"));
    assert_eq!(late.wake, None);
}

#[test]
fn a_plan_that_is_not_judged_yet_is_waited_for_in_the_same_way() {
    let scene = a_relocation().with(|scene| scene.plan = Some(PlanSeen::NotJudged));
    assert_eq!(stalled(&scene.decide()), None);
    assert_eq!(stalled(&scene.later(61).decide()).map(|(reason, _)| reason), Some("PlanNotJudged"));
}

#[test]
fn a_plan_that_is_not_accepted_stalls_at_once_with_the_exact_error() {
    let message = "spec.steps: UPLOADING is listed twice".to_owned();
    let decision = a_relocation().with(|scene| scene.plan = Some(PlanSeen::NotAccepted { message })).decide();
    let (reason, message) = stalled(&decision).unwrap();
    assert_eq!(reason, "PlanNotAccepted");
    assert!(message.contains("UPLOADING is listed twice"));
}

#[test]
fn a_parameter_that_the_plan_does_not_declare_stalls_and_goes_on_when_it_is_removed() {
    let scene = a_relocation().wanting(|spec| {
        spec.parameters.insert("bucket".to_owned(), "b".to_owned());
    });
    let decision = scene.decide();
    assert_eq!(stalled(&decision).map(|(reason, _)| reason), Some("ParameterRefused"));
    assert_eq!(decision.status.status, Some(StatusValue::Pending));
    let decision = scene.passed().wanting(|spec| spec.parameters.clear()).decide();
    assert_eq!(decision.effect, Some(Effect::TakeLock));
}

#[test]
fn parameters_that_a_pause_has_broken_start_nothing_and_can_be_put_right() {
    let paused = a_relocation().before(Step::Importing).wanting(|spec| spec.pause_at_step = Some(Step::Importing));
    let scene = paused.passed().wanting(|spec| {
        spec.pause_at_step = None;
        spec.parameters.insert("bucket".to_owned(), "b".to_owned());
    });
    let decision = scene.decide();
    assert_eq!((decision.status.status, &decision.effect), (Some(StatusValue::Pending), &None));
    assert!(stalled(&decision).unwrap().1.starts_with("spec.parameters.bucket:"));
    assert!(!decision.status.entered);
    let decision = scene.passed().wanting(|spec| spec.parameters.clear()).decide();
    assert!(matches!(decision.effect, Some(Effect::CreateJob(_))));
}

#[test]
fn a_retry_waits_as_long_as_this_version_cannot_do_it() {
    let retry_of = RetryOf { name: "old".to_owned(), uid: super::fixtures::UID.to_owned() };
    let decision = a_relocation().wanting(|spec| spec.retry_of = Some(retry_of)).decide();
    assert_eq!(stalled(&decision).map(|(reason, _)| reason), Some("RetryUnusable"));
}

#[test]
fn a_plan_that_is_gone_does_not_stop_a_run_that_has_frozen_it() {
    let scene = a_relocation().before(Step::Importing).with(|scene| scene.plan = Some(PlanSeen::Missing));
    assert!(matches!(scene.decide().effect, Some(Effect::CreateJob(_))));
}

#[test]
fn a_revision_that_is_gone_stalls_without_changing_what_stands() {
    let paused = a_relocation().before(Step::Importing).wanting(|spec| spec.pause_at_step = Some(Step::Importing));
    for scene in [paused.passed(), a_relocation().at(Step::Importing)] {
        let decision = scene.clone().with(|scene| scene.frozen = false).decide();
        assert_eq!(decision.status.status, scene.status().status);
        assert_eq!(stalled(&decision).map(|(reason, _)| reason), Some("RevisionMissing"));
        assert_eq!(decision.effect, None);
    }
}

#[test]
fn suspending_stops_the_running_job_even_if_the_plan_revision_is_gone() {
    let scene = a_relocation().at(Step::Importing).wanting(|spec| spec.desired_state = DesiredState::Suspended);
    let decision = scene.with(|scene| scene.frozen = false).decide();
    assert!(matches!(decision.effect, Some(Effect::DeleteJobs(_))));
}

#[test]
fn suspended_takes_no_lock() {
    let decision = a_relocation().wanting(|spec| spec.desired_state = DesiredState::Suspended).decide();
    assert_eq!((decision.status.status, &decision.effect), (Some(StatusValue::Pause), &None));
    assert_eq!(decision.status.pause.as_ref().map(|pause| pause.reason), Some(PauseReason::Suspended));
}

#[test]
fn suspended_deletes_the_running_job_waits_for_quiet_and_then_stands_in_pause() {
    let suspend = |scene: Scene| scene.wanting(|spec| spec.desired_state = DesiredState::Suspended);
    let scene = suspend(a_relocation().at(Step::Importing));
    let deleting = scene.decide();
    assert!(matches!(deleting.effect, Some(Effect::DeleteJobs(_))));
    assert_eq!(deleting.status.status, Some(StatusValue::InProgress));
    let ending = scene.clone().missing(true).busy_with("pod acme-x").decide();
    assert_eq!((ending.status.status, ending.effect), (Some(StatusValue::InProgress), None));
    let quiet = scene.missing(true).decide();
    assert_eq!(quiet.status.status, Some(StatusValue::Pause));
    assert_eq!((quiet.status.step, quiet.status.attempt), (Some(Step::Importing), Some(1)));
    assert_eq!(quiet.status.job, None);
}

#[test]
fn resuming_is_a_new_launch_of_the_same_attempt() {
    let suspended = a_relocation().at(Step::Importing).wanting(|spec| spec.desired_state = DesiredState::Suspended);
    let before = suspended.status().clone();
    let scene = suspended.missing(true).passed().later(5);
    let decision = scene.wanting(|spec| spec.desired_state = DesiredState::Active).decide();
    assert_eq!(decision.status.attempt, Some(1));
    assert!(decision.status.launch > before.launch);
    assert!(decision.notices.iter().any(|notice| notice.reason == NoticeReason::Resumed));
}

#[test]
fn suspended_wins_over_a_fence_and_gives_it_back_with_the_same_beginning() {
    let scene = a_relocation().before(Step::Importing).wanting(|spec| spec.pause_at_step = Some(Step::Importing));
    let at_fence = scene.passed();
    let since = at_fence.status().pause.clone().unwrap().since;
    let suspended = at_fence.later(50).wanting(|spec| spec.desired_state = DesiredState::Suspended).passed();
    let pause = suspended.status().pause.clone().unwrap();
    assert_eq!((pause.reason, &pause.since), (PauseReason::Suspended, &since));
    let pause = suspended.wanting(|spec| spec.desired_state = DesiredState::Active).decide().status.pause.unwrap();
    assert_eq!((pause.reason, pause.since), (PauseReason::Fence, since));
}

#[test]
fn a_job_is_read_live_before_it_is_stopped_and_what_has_ended_is_folded_instead() {
    type Edit = fn(&mut crate::api::RelocationSpec);
    let edits: [Edit; 3] = [
        |spec| spec.desired_state = DesiredState::Aborted,
        |spec| spec.desired_state = DesiredState::Suspended,
        |spec| spec.active_deadline_seconds = Some(60),
    ];
    for edit in edits {
        let scene = a_relocation().at(Step::Importing).later(100).wanting(edit);
        let mut snapshot = scene.snapshot();
        snapshot.job_read = JobRead::Cached;
        assert_eq!(decide(&snapshot, scene.now), Err(Facet::Job));
        let decision = scene.succeeded().decide();
        assert_eq!(decision.status.step, Some(Step::Postprocessing));
        assert_eq!(decision.effect, None);
    }
}

#[test]
fn the_first_launch_needs_lock_workspace_and_plan_in_this_order() {
    let storage = crate::api::WorkspaceSpec { storage: "1Gi".to_owned(), storage_class_name: None, access_modes: None };
    let mut scene = a_relocation().planned(|plan| plan.workspace = Some(storage));
    assert_eq!(scene.decide().effect, Some(Effect::TakeLock));
    scene.lock = ours();
    assert!(matches!(scene.decide().effect, Some(Effect::CreateWorkspace(_))));
    scene.workspace = crate::lifecycle::WorkspaceSeen::Ours;
    assert!(matches!(scene.decide().effect, Some(Effect::FreezePlan { .. })));
    scene.frozen = true;
    let decision = scene.decide();
    assert!(matches!(decision.effect, Some(Effect::CreateJob(_))));
    assert_eq!(decision.status.plan.as_ref().map(|plan| plan.generation), Some(1));
    assert!(decision.status.entered);
}

#[test]
fn a_workspace_of_somebody_else_stalls_and_names_the_claim() {
    let storage = crate::api::WorkspaceSpec { storage: "1Gi".to_owned(), storage_class_name: None, access_modes: None };
    let decision = a_relocation()
        .planned(|plan| plan.workspace = Some(storage))
        .with(|scene| {
            scene.lock = ours();
            scene.workspace = crate::lifecycle::WorkspaceSeen::Foreign;
        })
        .decide();
    let (reason, message) = stalled(&decision).unwrap();
    assert_eq!(reason, "WorkspaceTaken");
    assert!(message.contains("acme-"));
}

#[test]
fn a_held_lock_fails_at_once_or_is_waited_for_as_the_spec_says() {
    let failed = a_relocation().locked_by("other").decide();
    assert_eq!(reason(&failed), Some(FailureReason::Locked));
    assert!(failed.status.failure.as_ref().unwrap().message.contains("\"other\""));
    let waiting = a_relocation().locked_by("other").wanting(|spec| spec.when_locked = WhenLocked::Wait).decide();
    assert_eq!((waiting.status.status, &waiting.effect), (Some(StatusValue::Pending), &None));
    assert_eq!(waiting.because, Because::WaitingForLock { holder: "other".to_owned() });
    assert!(waiting.notices.iter().any(|notice| notice.reason == NoticeReason::Queued));
}

#[test]
fn the_first_launch_waits_in_pending_until_the_mutex_is_quiet() {
    let scene = a_relocation().with(|scene| scene.lock = ours()).busy_with("pod old-x");
    let decision = scene.with(|scene| scene.frozen = true).decide();
    assert_eq!((decision.status.status, &decision.effect), (Some(StatusValue::Pending), &None));
    assert_eq!(decision.because, Because::WaitingForPods { what: "pod old-x".to_owned() });
}

#[test]
fn quiet_is_not_asked_for_right_after_a_job_of_ours_was_seen_to_end() {
    let scene = a_relocation().at(Step::Importing).succeeded();
    let mut snapshot = scene.snapshot();
    snapshot.mutex_use = None;
    assert!(decide(&snapshot, scene.now).is_ok());
    let scene = scene.with(|scene| scene.pods.push(super::fixtures::a_pod()));
    let mut snapshot = scene.snapshot();
    snapshot.mutex_use = None;
    assert_eq!(decide(&snapshot, scene.now), Err(Facet::MutexUse), "a pod of it goes on");
}

#[test]
fn a_lock_that_was_lost_in_mid_run_stalls_or_is_taken_again() {
    let scene = a_relocation().at(Step::Importing).succeeded();
    let lost = scene.clone().locked_by("other").decide();
    assert_eq!(stalled(&lost).map(|(reason, _)| reason), Some("LockLost"));
    assert_eq!(lost.status.step, Some(Step::Postprocessing), "the result is folded all the same");
    assert!(!lost.status.entered);
    let free = scene.with(|scene| scene.lock = LockSeen::Free).decide();
    assert_eq!(free.effect, Some(Effect::TakeLock));
}

#[test]
fn the_result_of_a_task_that_the_plan_does_not_know_is_a_failure_with_a_sentence() {
    for scene in [a_relocation().at(Step::Importing).succeeded(), a_relocation().at(Step::Importing).failed_with(1)] {
        let decision = scene.having(|status| status.task = Some("unknown".to_owned())).decide();
        assert_eq!(reason(&decision), Some(FailureReason::JobRefused));
        assert!(decision.status.failure.unwrap().message.contains("IMPORTING/unknown"));
    }
}

#[test]
fn a_disruption_is_no_ending_whatever_else_is_asked_for() {
    let failure = JobFailure { disrupted: true, timed_out: false, exit_code: None, message: "lost".to_owned() };
    let scene = a_relocation().at(Step::Importing).failed(failure);
    let decision = scene.wanting(|spec| spec.desired_state = DesiredState::Suspended).decide();
    assert_eq!(decision.status.status, Some(StatusValue::Pause));
    assert_eq!(decision.status.attempt, Some(1));
}

#[test]
fn a_late_fence_and_a_late_cancel_are_both_answered_and_once() {
    let scene = a_relocation().at(Step::Importing).wanting(|spec| {
        spec.pause_at_step = Some(Step::Validating);
        spec.cancel_at_step = Some(Step::Importing);
    });
    let decision = scene.decide();
    let told = decision.notices.iter().filter(|notice| notice.reason == NoticeReason::RequestTooLate).count();
    assert_eq!(told, 2);
    assert!(matches!(scene.job, JobSeen::Live { .. }));
    let again = scene.having(|status| *status = decision.status.clone()).decide();
    assert_eq!((again.status, again.notices.len()), (decision.status, 0));
}
