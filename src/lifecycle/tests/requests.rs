//! Requests are answered once: in the history with who made them and why, and by an event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};

use super::fixtures::{Scene, a_relocation};
use crate::api::{AutoPause, DesiredState, LateRequests, Step};
use crate::lifecycle::NoticeReason;

/// What the decision adds to the history, as `action: detail`.
fn remembered(scene: &Scene) -> Vec<String> {
    let before = scene.status().history.len();
    let entry =
        |entry: &crate::api::HistoryEntry| format!("{}: {}", entry.action, entry.detail.clone().unwrap_or_default());
    scene.decide().status.history[before..].iter().map(entry).collect()
}

fn a_running_one() -> Scene {
    a_relocation().at(Step::Uploading)
}

#[test]
fn a_fence_is_remembered_with_who_set_it_and_why_and_only_once() {
    let mut scene = a_running_one().wanting(|spec| {
        spec.pause_at_step = Some(Step::Importing);
        spec.reason = Some("the window opens at ten".to_owned());
    });
    let writer = |manager: &str, field: &str, second: i64, subresource: Option<&str>| ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        fields_v1: Some(FieldsV1(serde_json::json!({ "f:spec": { field: {} } }))),
        subresource: subresource.map(ToOwned::to_owned),
        time: k8s_openapi::jiff::Timestamp::from_second(second)
            .ok()
            .map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time),
        ..ManagedFieldsEntry::default()
    };
    scene.relocation.metadata.managed_fields = Some(vec![
        writer("argocd", "f:owner", 4, None),
        writer("kubectl-patch", "f:pauseAtStep", 2, None),
        writer("relocation-operator", "f:pauseAtStep", 3, Some("status")),
    ]);
    let decision = scene.decide();
    let entry = decision.status.history.last().expect("an entry");
    assert_eq!((entry.action.as_str(), entry.manager.as_deref()), ("PauseScheduled", Some("kubectl-patch")));
    assert_eq!(entry.reason.as_deref(), Some("the window opens at ten"));
    assert!(decision.notices.iter().any(|notice| notice.reason == NoticeReason::PauseScheduled));
    assert!(remembered(&scene.passed().alive()).is_empty());
}

#[test]
fn an_edit_of_something_else_answers_no_old_request_again() {
    let scene = a_running_one().wanting(|spec| spec.pause_at_step = Some(Step::Importing)).passed().alive();
    let edited = scene.wanting(|spec| spec.readiness = crate::api::Readiness::WhenAccepted);
    assert!(remembered(&edited).is_empty());
}

#[test]
fn what_is_taken_back_is_remembered_too() {
    let fenced = a_running_one().wanting(|spec| spec.pause_at_step = Some(Step::Importing)).passed().alive();
    assert_eq!(remembered(&fenced.wanting(|spec| spec.pause_at_step = None)).len(), 1);
    let cancelled = a_running_one().wanting(|spec| spec.cancel_at_step = Some(Step::Importing)).passed().alive();
    let withdrawn = remembered(&cancelled.wanting(|spec| spec.cancel_at_step = None));
    assert_eq!(withdrawn, ["CancelScheduled: the cancel is withdrawn"]);
}

#[test]
fn a_suspend_and_a_resume_are_each_remembered_once() {
    let suspended = a_running_one().wanting(|spec| spec.desired_state = DesiredState::Suspended);
    assert_eq!(remembered(&suspended), ["Suspended: "]);
    let stopped = suspended.passed().missing(true).passed();
    assert!(stopped.status().pause.is_some());
    let resumed = stopped.wanting(|spec| spec.desired_state = DesiredState::Active);
    assert_eq!(remembered(&resumed), ["Resumed: "]);
}

#[test]
fn opening_the_automatic_fence_while_it_is_ahead_is_remembered() {
    let fences = crate::api::AutoPauseAtStep { self_hosted: Some(Step::Importing), saas_to_saas: None };
    let scene = a_relocation().planned(|plan| plan.auto_pause_at_step = Some(fences)).at(Step::Uploading);
    assert_eq!(remembered(&scene.wanting(|spec| spec.auto_pause = AutoPause::Skip)).len(), 1);
}

#[test]
fn an_ending_that_nobody_asked_for_names_nobody() {
    let failed = a_relocation()
        .at(Step::Importing)
        .wanting(|spec| spec.reason = Some("not this".to_owned()))
        .failed_with(65)
        .decide();
    let entry = failed.status.history.last().expect("an entry");
    assert_eq!((entry.action.as_str(), &entry.reason, &entry.manager), ("Failed", &None, &None));
}

#[test]
fn parameters_that_change_while_a_task_runs_are_answered_and_taken_by_the_next_launch() {
    let scene = a_running_one().wanting(|spec| spec.reason = Some("seen".to_owned())).passed().alive();
    let changed = scene.wanting(|spec| {
        spec.late_requests = LateRequests::Report;
        spec.parameters.insert("undeclared".to_owned(), "1".to_owned());
    });
    let late = changed.decide().status.late.expect("it is answered");
    assert_eq!(late.field, "parameters");
}

#[test]
fn a_suspend_waits_for_a_job_whose_pod_has_ended_already() {
    let scene = a_running_one().wanting(|spec| spec.desired_state = DesiredState::Suspended);
    assert!(matches!(scene.decide().effect, Some(crate::lifecycle::Effect::DeleteJobs(_))));
    let ended = scene.with(|scene| scene.pods = vec![super::fixtures::a_pod().exited(0, "done")]);
    assert_eq!(ended.decide().effect, None);
}
