//! Tasks, attempts and launches.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::fixtures::{Scene, a_pod, a_relocation, a_template, job_of_launch, noon, verdict};
use crate::api::{
    ConditionType, FailurePolicy, FailureReason, RelocationStatus, StatusValue, Step, TaskStatus, Verdict, WorkState,
    find_condition,
};
use crate::lifecycle::{
    Because, CreateRefusal, Decision, Effect, JobFailure, JobSeen, LiveJob, LockSeen, MutexUse, NoticeReason, PodSeen,
};

fn reason(decision: &Decision) -> Option<FailureReason> {
    decision.status.failure.as_ref().map(|failure| failure.reason)
}

fn creates(decision: &Decision) -> bool {
    matches!(decision.effect, Some(Effect::CreateJob(_)))
}

fn record(status: &RelocationStatus, step: Step) -> TaskStatus {
    let record = status.steps.iter().find(|record| record.name == step).expect("a record of the step");
    record.tasks[0].clone()
}

fn told(decision: &Decision, reason: NoticeReason) -> bool {
    decision.notices.iter().any(|notice| notice.reason == reason)
}

fn disrupted() -> JobFailure {
    let message = "Pod moves/acme-x has condition DisruptionTarget matching FailJob rule at index 0".to_owned();
    JobFailure { disrupted: true, timed_out: false, exit_code: None, message }
}

fn timed_out() -> JobFailure {
    let message = "Job was active longer than specified deadline".to_owned();
    JobFailure { disrupted: false, timed_out: true, exit_code: None, message }
}

/// The step's one task may take this many attempts.
fn with_attempts(scene: Scene, attempts: i32) -> Scene {
    scene.planned(|plan| {
        for task in plan.steps.iter_mut().flat_map(|planned| &mut planned.tasks) {
            task.attempts = attempts;
        }
    })
}

fn with_second_task(scene: Scene, step: Step) -> Scene {
    scene.planned(|plan| {
        let planned = plan.steps.iter_mut().find(|planned| planned.step == step).expect("the step");
        let mut second = planned.tasks[0].clone();
        second.name = "second".to_owned();
        second.template = a_template();
        planned.tasks.push(second);
    })
}

/// The next attempt after the back-off, running.
fn next_attempt(scene: Scene) -> Scene {
    scene.later(700).passed().alive()
}

#[test]
fn the_tasks_of_a_step_run_in_order_and_each_begins_with_attempt_one() {
    let scene = with_second_task(a_relocation(), Step::Importing).at(Step::Importing).failed_once();
    let decision = next_attempt(scene).succeeded().decide();
    let status = &decision.status;
    assert_eq!((status.step, status.task.as_deref()), (Some(Step::Importing), Some("second")));
    assert_eq!((status.attempt, status.entered), (Some(1), true));
    assert!(creates(&decision) && told(&decision, NoticeReason::TaskStarted));
    let decision = Scene::alive(a_with(decision.status)).succeeded().decide();
    assert_eq!(decision.status.step, Some(Step::Postprocessing));
}

/// A scene of two tasks in IMPORTING, with this status.
fn a_with(status: RelocationStatus) -> Scene {
    let scene = with_second_task(a_relocation(), Step::Importing).before(Step::Importing);
    scene.having(|known| *known = status)
}

#[test]
fn a_task_for_another_provenance_is_left_out() {
    let scene = with_second_task(a_relocation(), Step::Importing).planned(|plan| {
        let planned = plan.steps.iter_mut().find(|planned| planned.step == Step::Importing).expect("the step");
        planned.tasks[0].provenance = Some(crate::api::Provenance::SaasToSaas);
    });
    assert_eq!(scene.before(Step::Importing).decide().status.task.as_deref(), Some("second"));
}

#[test]
fn a_failed_attempt_backs_off_and_costs_exactly_one() {
    let scene = a_relocation().at(Step::Importing).failed_with(1);
    let decision = scene.decide();
    let until = decision.status.next_attempt_at.clone().unwrap().0;
    assert_eq!(until, noon() + SignedDuration::from_secs(10), "below ten seconds nothing is spread");
    assert_eq!((decision.wake, &decision.effect), (Some(until), &None));
    assert_eq!((decision.status.attempt, &decision.status.job), (Some(1), &None));
    assert_eq!(record(&decision.status, Step::Importing).exit_code, Some(1));
    let waiting = scene.passed().later(9);
    assert_eq!(waiting.decide().effect, None);
    let again = waiting.later(1).decide();
    assert!(creates(&again) && told(&again, NoticeReason::TaskRetrying));
    assert_eq!((again.status.attempt, again.status.next_attempt_at.as_ref()), (Some(2), None));
    assert_eq!(record(&again.status, Step::Importing).attempts, 2);
}

#[test]
fn the_back_off_doubles_up_to_its_cap_and_is_spread_by_at_most_a_tenth() {
    let mut scene = with_attempts(a_relocation(), 100).at(Step::Importing);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let failed = scene.failed_with(1);
        let until = failed.decide().status.next_attempt_at.unwrap().0;
        waits.push(until.duration_since(failed.now).as_secs());
        scene = next_attempt(failed.passed());
    }
    let expected = [10, 20, 40, 80, 160, 320, 600, 600, 600, 600];
    for (wait, expected) in waits.iter().zip(expected) {
        assert!((expected..=expected + expected / 10).contains(wait), "{waits:?}");
    }
}

#[test]
fn the_spread_of_the_back_off_is_the_same_at_every_look() {
    let scene = a_relocation().at(Step::Importing).failed_with(1);
    assert_eq!(scene.decide().status.next_attempt_at, scene.clone().decide().status.next_attempt_at);
}

#[test]
fn out_of_attempts_is_a_failure_with_exit_code_and_last_message() {
    let scene = with_attempts(a_relocation(), 2).at(Step::Importing).failed_once();
    let scene = next_attempt(scene).failed_with(7).with(|scene| {
        scene.pods = vec![a_pod().exited(7, "no space left on device")];
    });
    let decision = scene.decide();
    let failure = decision.status.failure.as_ref().unwrap();
    assert_eq!((failure.reason, failure.attempt), (FailureReason::AttemptsExhausted, Some(2)));
    assert_eq!((failure.exit_code, failure.task.as_deref()), (Some(7), Some("importing")));
    assert_eq!(failure.message, "IMPORTING/importing failed with exit code 7, attempt 2 of 2: no space left on device");
    assert_eq!(record(&decision.status, Step::Importing).state, WorkState::Failed);
}

#[test]
fn the_limit_is_the_plans_number_when_the_task_was_first_started() {
    let scene = with_attempts(a_relocation(), 2).at(Step::Importing);
    assert_eq!(scene.status().attempt_limit, Some(2));
    let decision =
        next_attempt(scene.failed_once()).with(|scene| scene.plan_spec = with_attempts(a_relocation(), 9).plan_spec);
    assert_eq!(reason(&decision.failed_with(1).decide()), Some(FailureReason::AttemptsExhausted));
}

#[test]
fn a_fatal_exit_code_fails_at_once_also_when_only_the_condition_tells_it() {
    let decision = a_relocation().at(Step::Importing).failed_with(65).decide();
    let failure = decision.status.failure.as_ref().unwrap();
    assert_eq!((failure.reason, failure.exit_code), (FailureReason::FatalExitCode, Some(65)));
    assert_eq!(decision.status.attempt, Some(1));
}

#[test]
fn a_task_that_cannot_be_recovered_says_so() {
    let scene = a_relocation().planned(|plan| {
        for task in plan.steps.iter_mut().flat_map(|planned| &mut planned.tasks) {
            task.recoverable = false;
        }
    });
    assert!(!scene.at(Step::Importing).failed_with(65).decide().status.failure.unwrap().recoverable);
}

#[test]
fn a_disruption_uses_no_attempt_and_waits_for_nothing() {
    let scene = with_attempts(a_relocation(), 1).at(Step::Importing).later(5);
    let launch = scene.status().launch;
    let decision = scene.failed(disrupted()).decide();
    assert!(creates(&decision));
    assert_eq!((decision.status.attempt, reason(&decision)), (Some(1), None));
    assert!(decision.status.launch > launch);
}

#[test]
fn a_pod_that_was_deleted_by_hand_is_a_failed_attempt() {
    let message = "Job has reached the specified backoff limit".to_owned();
    let failure = JobFailure { disrupted: false, timed_out: false, exit_code: None, message };
    let decision = a_relocation().at(Step::Importing).failed(failure).decide();
    assert!(decision.status.next_attempt_at.is_some());
    assert_eq!(record(&decision.status, Step::Importing).exit_code, None);
}

#[test]
fn a_task_that_ran_out_of_time_says_so_whatever_else_it_said() {
    let decision = a_relocation().at(Step::Importing).failed(timed_out()).decide();
    assert_eq!(record(&decision.status, Step::Importing).message.as_deref(), Some("timed out after 3600 s"));
    let scene = a_relocation().at(Step::Importing).failed(timed_out());
    let decision = scene.with(|scene| scene.pods = vec![a_pod().exited(143, "at file 7")]).decide();
    let record = record(&decision.status, Step::Importing);
    assert_eq!((record.message.as_deref(), record.exit_code), (Some("timed out after 3600 s: at file 7"), Some(143)));
}

#[test]
fn evidence_decides() {
    let validating = || a_relocation().at(Step::Validating);
    let valid = validating().succeeded_saying(&verdict(Verdict::Valid)).decide();
    assert_eq!((valid.status.step, reason(&valid)), (Some(Step::Importing), None));
    let invalid = validating().succeeded_saying(&verdict(Verdict::Invalid)).decide();
    assert_eq!(reason(&invalid), Some(FailureReason::ValidationInvalid));
    assert!(invalid.status.failure.unwrap().message.contains("12 files differ"));
    for said in ["", "done", "{}", r#"{"verdict":"MAYBE"}"#, r#"{"verdict":"valid"}"#] {
        let missing = validating().succeeded_saying(said).decide();
        assert_eq!(reason(&missing), Some(FailureReason::EvidenceMissing), "{said:?}");
        assert!(missing.status.failure.unwrap().message.contains("\"verdict\""));
    }
}

#[test]
fn a_result_that_is_lost_is_a_success_without_evidence_and_a_failed_attempt_with_it() {
    let lost = |scene: Scene| scene.succeeded().with(|scene| scene.pods.clear()).decide();
    let importing = lost(a_relocation().at(Step::Importing));
    assert_eq!(record(&importing.status, Step::Importing).message.as_deref(), Some("result lost"));
    assert_eq!(importing.status.step, Some(Step::Postprocessing));
    let validating = lost(a_relocation().at(Step::Validating));
    assert_eq!((reason(&validating), validating.status.attempt), (None, Some(1)));
    assert!(validating.status.next_attempt_at.is_some());
    assert!(record(&validating.status, Step::Validating).message.unwrap().starts_with("ResultLost"));
}

#[test]
fn what_a_task_says_and_counts_is_kept() {
    let said = r#"{"message":"copied","counts":{"files":20143}}"#;
    let decision = a_relocation().at(Step::Importing).succeeded_saying(said).decide();
    let record = record(&decision.status, Step::Importing);
    assert_eq!((record.message.as_deref(), record.counts.get("files")), (Some("copied"), Some(&20143)));
    assert_eq!(record.state, WorkState::Succeeded);
}

#[test]
fn an_ignored_failure_is_recorded_and_the_relocation_goes_on() {
    let decision = a_relocation().at(Step::Notifying).failed_with(65).decide();
    assert_eq!(decision.status.status, Some(StatusValue::Success), "NOTIFYING ignores failures by default");
    assert_eq!(record(&decision.status, Step::Notifying).state, WorkState::Failed);
    let strict = a_relocation().with_policy(Step::Notifying, FailurePolicy::Fail).at(Step::Notifying);
    assert_eq!(reason(&strict.failed_with(65).decide()), Some(FailureReason::FatalExitCode));
    let lenient = a_relocation().with_policy(Step::Importing, FailurePolicy::Ignore).at(Step::Importing);
    assert_eq!(lenient.failed_with(65).decide().status.step, Some(Step::Postprocessing));
}

#[test]
fn a_recorded_job_that_is_not_there_is_created_under_its_name_for_ten_seconds() {
    let scene = a_relocation().at(Step::Importing).missing(false).later(9);
    let decision = scene.decide();
    assert!(creates(&decision));
    assert_eq!(&decision.status, scene.status(), "the name and the token stay");
}

#[test]
fn a_job_that_was_there_and_is_gone_gets_a_new_launch_of_the_same_attempt() {
    for scene in [
        a_relocation().at(Step::Importing).missing(true).later(1),
        a_relocation().at(Step::Importing).missing(false).later(10),
    ] {
        let decision = scene.decide();
        assert!(told(&decision, NoticeReason::JobMissing));
        // Until this is stored another operator may still create the Job that was lost.
        assert!(decision.effect.is_none() && decision.wake == Some(scene.now));
        assert!(creates(&scene.clone().passed().missing(false).decide()), "the next look creates it");
        assert_eq!((decision.status.attempt, decision.status.jobs_missing), (Some(1), Some(1)));
        assert!(decision.status.launch > scene.status().launch);
        assert_ne!(decision.status.job, scene.status().job);
    }
}

#[test]
fn three_jobs_lost_in_a_row_are_one_failed_attempt() {
    let mut scene = a_relocation().at(Step::Importing);
    for lost in 1..=2 {
        scene = scene.missing(true).later(1).passed();
        assert_eq!((scene.status().jobs_missing, scene.status().attempt), (Some(lost), Some(1)));
    }
    let decision = scene.missing(true).later(1).decide();
    assert_eq!((decision.status.jobs_missing, decision.status.attempt), (None, Some(1)));
    assert!(decision.status.next_attempt_at.is_some());
    assert!(record(&decision.status, Step::Importing).message.unwrap().starts_with("JobMissing"));
}

/// Random histories found IN_PROGRESS at COMPLETED here, which no API server stores.
#[test]
fn a_last_task_whose_jobs_are_lost_and_whose_failure_is_ignored_ends_in_success() {
    let once = |plan: &mut crate::api::RelocationPlanSpec| {
        for task in plan.steps.iter_mut().flat_map(|planned| &mut planned.tasks) {
            task.attempts = 1;
        }
    };
    let mut scene = a_relocation().planned(once).at(Step::Notifying);
    for _ in 1..=2 {
        scene = scene.missing(true).later(1).passed();
    }
    let status = scene.missing(true).later(1).decide().status;
    assert_eq!((status.status, status.step), (Some(crate::api::StatusValue::Success), Some(Step::Completed)));
}

#[test]
fn a_job_that_ends_breaks_the_row_of_lost_ones() {
    let scene = a_relocation().at(Step::Importing).missing(true).later(1).passed();
    assert_eq!(scene.status().jobs_missing, Some(1));
    assert_eq!(scene.alive().failed(disrupted()).decide().status.jobs_missing, None);
}

#[test]
fn nothing_is_created_again_while_a_pod_of_the_lost_job_goes_on() {
    for scene in [a_relocation().at(Step::Importing).missing(true), a_relocation().at(Step::Importing).missing(false)] {
        let decision = scene.busy_with("pod acme-x").decide();
        assert_eq!(decision.effect, None);
        assert_eq!(decision.because, Because::WaitingForPods { what: "pod acme-x".to_owned() });
    }
}

#[test]
fn nothing_is_created_again_without_the_lock() {
    for known in [true, false] {
        let scene = a_relocation().at(Step::Importing).missing(known);
        let held = scene.clone().locked_by("other").decide();
        assert_eq!((held.effect, held.because.reason()), (None, "LockLost"));
        let free = scene.with(|scene| scene.lock = LockSeen::Free).decide();
        assert_eq!(free.effect, Some(Effect::TakeLock));
    }
}

#[test]
fn a_name_that_is_taken_costs_no_attempt_and_leads_to_the_next_launch() {
    let foreign = a_relocation().at(Step::Importing).missing(false);
    let refused = foreign.clone().with(|scene| scene.create_refusal = Some(CreateRefusal::NameTaken));
    let foreign = foreign.with(|scene| scene.job = JobSeen::Foreign { owner: "CronJob x".to_owned() });
    for scene in [foreign, refused] {
        let decision = scene.decide();
        assert!(creates(&decision));
        assert_ne!(decision.status.job, scene.status().job);
        assert_eq!((decision.status.attempt, decision.status.jobs_missing), (Some(1), None));
        assert_eq!(scene.locked_by("other").decide().effect, None, "not without the lock");
    }
}

#[test]
fn a_job_that_the_api_server_refuses_for_good_is_a_failure_whose_message_can_be_stored() {
    let scene = a_relocation().at(Step::Importing).missing(false);
    let refusal = CreateRefusal::Invalid("spec.template: \n".to_owned() + &"x".repeat(5000));
    let decision = scene.with(|scene| scene.create_refusal = Some(refusal)).decide();
    let failure = decision.status.failure.as_ref().unwrap();
    assert_eq!((failure.reason, failure.attempt), (FailureReason::JobRefused, Some(1)));
    assert!(failure.message.len() <= 1024 && !failure.message.contains('\n'));
    assert!(decision.status.history.iter().all(|entry| entry.detail.as_ref().is_none_or(|text| text.len() <= 1024)));
}

#[test]
fn a_job_that_is_forbidden_now_is_asked_for_until_its_timeout_and_then_the_attempt_has_failed() {
    let refusal = CreateRefusal::Forbidden("exceeded quota: pods".to_owned());
    let scene = a_relocation().at(Step::Importing).missing(false).with(|scene| scene.create_refusal = Some(refusal));
    let asked = scene.clone().later(3599).decide();
    assert!(creates(&asked));
    assert_eq!(asked.because, Because::JobForbidden { message: "exceeded quota: pods".to_owned() });
    assert_eq!(asked.status.launch, scene.status().launch);
    let failed = scene.later(3600).decide();
    assert_eq!((failed.effect, failed.status.attempt), (None, Some(1)));
    assert!(failed.status.next_attempt_at.is_some());
}

#[test]
fn the_fencing_token_grows_also_when_the_clock_goes_back() {
    let scene = a_relocation().at(Step::Importing);
    let launch = scene.status().launch.unwrap();
    let decision = scene.missing(true).with(|scene| scene.now = Timestamp::UNIX_EPOCH).decide();
    assert_eq!(decision.status.launch, Some(launch + 1));
    assert_eq!(decision.status.job, Some(job_of_launch(launch + 1)));
}

#[test]
fn a_launch_after_a_restore_from_backup_has_a_token_from_the_clock() {
    let scene = a_relocation().before(Step::Importing).having(|status| status.launch = Some(7)).later(50);
    assert_eq!(scene.decide().status.launch, Some(scene.now.as_second()));
}

#[test]
fn a_job_that_somebody_suspended_is_reported_and_not_fought() {
    let scene = a_relocation().at(Step::Importing).with(|scene| {
        if let JobSeen::Live { suspended, .. } = &mut scene.job {
            *suspended = true;
        }
    });
    let decision = scene.decide();
    assert_eq!((decision.effect, decision.because.reason()), (None, "JobSuspendedExternally"));
}

/// The named Job, deleted by somebody at the scene's time.
fn being_deleted(scene: Scene) -> Scene {
    let now = scene.now;
    scene.with(|scene| {
        if let JobSeen::Live { deleted_at, .. } = &mut scene.job {
            *deleted_at = Some(now);
        }
        scene.live_jobs = vec![LiveJob { deleting: true, ..scene.live_jobs[0].clone() }];
        scene.pods = vec![PodSeen { deleted_at: Some(now), ..a_pod() }];
    })
}

#[test]
fn a_job_that_somebody_deletes_is_waited_for_and_its_pod_is_called_stuck_after_two_minutes() {
    let scene = being_deleted(a_relocation().at(Step::Importing));
    let early = scene.clone().later(119).decide();
    assert_eq!((early.effect, early.because.reason()), (None, "JobEnding"));
    let late = scene.later(120).decide();
    assert_eq!(late.because, Because::PodStuck { pod: "acme-x".to_owned(), node: "node-1".to_owned() });
    assert!(told(&late, NoticeReason::PodStuck));
    assert_eq!(late.effect, None, "it is never forced");
}

#[test]
fn a_stuck_pod_is_told_once() {
    let scene = being_deleted(a_relocation().at(Step::Importing)).later(120);
    let decision = scene.decide();
    let again = scene.having(|status| *status = decision.status.clone()).later(100).decide();
    assert!(again.notices.is_empty());
    assert_eq!(again.status, decision.status);
}

#[test]
fn a_pod_that_goes_on_after_its_deadline_is_stuck() {
    let scene = a_relocation().at(Step::Importing).with(|scene| scene.pods = vec![a_pod()]);
    assert_eq!(scene.clone().later(3600 + 119).decide().because.reason(), "Running");
    assert_eq!(scene.later(3600 + 120).decide().because.reason(), "PodStuck");
}

#[test]
fn a_pod_of_the_mutex_that_does_not_end_is_named_with_its_node_and_the_ways_out() {
    let ending = Some(("old-x".to_owned(), Some("node-2".to_owned()), noon()));
    let scene = a_relocation().before(Step::Importing);
    let busy = MutexUse::Busy { what: vec!["pod old-x".to_owned()], ending };
    let decision = scene.with(|scene| scene.mutex_use = busy).later(120).decide();
    let told = find_condition(&decision.status.conditions, ConditionType::Reconciling).unwrap();
    assert_eq!(told.reason, "PodStuck");
    for part in ["old-x", "node-2", "bring the node back", "kubectl delete pod old-x --force"] {
        assert!(told.message.contains(part), "{}", told.message);
    }
}

/// The named Job without a ready pod, which waits for this.
fn unready(scene: Scene, waiting: Option<(&str, &str)>) -> Scene {
    scene.with(|scene| {
        if let JobSeen::Live { ready, .. } = &mut scene.job {
            *ready = 0;
        }
        let waiting = waiting.map(|(reason, message)| (reason.to_owned(), message.to_owned()));
        scene.pods = vec![PodSeen { waiting, ..a_pod() }];
    })
}

#[test]
fn a_pod_that_does_not_start_is_told_after_half_a_minute_and_once_per_reason() {
    let scene = unready(a_relocation().at(Step::Importing), Some(("ErrImagePull", "not found")));
    assert_eq!(scene.clone().later(29).decide().because.reason(), "Running");
    let first = scene.later(30);
    let told = first.decide();
    assert_eq!(told.because.reason(), "PodNotReady");
    assert!(told.because.message().contains("ImagePullBackOff: not found"));
    let stored = first.having(|status| *status = told.status.clone());
    for waiting in [Some(("ImagePullBackOff", "Back-off pulling image")), Some(("ErrImagePull", "again")), None] {
        let decision = unready(stored.clone(), waiting).later(10).decide();
        assert_eq!((&decision.status, decision.notices.len()), (&told.status, 0), "{waiting:?}");
    }
    let other = unready(stored, Some(("Unschedulable", "0/1 nodes"))).later(10).decide();
    assert_ne!(other.status, told.status);
}

#[test]
fn a_job_without_a_pod_says_so_and_why_if_the_job_controller_does() {
    let scene = unready(a_relocation().at(Step::Importing), None).later(30).with(|scene| scene.pods.clear());
    assert!(scene.decide().because.message().contains("NoPod"));
    let mut snapshot = scene.snapshot();
    snapshot.failed_create = Some("exceeded quota".to_owned());
    let decision = crate::lifecycle::decide(&snapshot, scene.now).unwrap();
    assert!(decision.because.message().contains("FailedCreate: exceeded quota"));
}
