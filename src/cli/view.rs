//! A relocation as `status` shows it: steps, tasks, attempts, Jobs and pods, put together from what was observed. Pure.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::legal::{Offer, legal, next_fence};
use super::observed::{JOB_NAME_LABEL, Observed, Unread};
use super::progress::Progress;
use super::sentence::{Words, sentence};
use crate::api::{
    Labels, Relocation, RelocationPlanSpec, RelocationStatus, StatusValue, Step, StepStatus, TaskResult, TaskStatus,
    WorkState, label,
};

/// How many events are shown.
const EVENTS_SHOWN: usize = 5;

/// The task of the plan's `onEnd` Job, as its label names it.
const END_TASK: &str = "on-end";

/// A relocation as `status` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    pub owner: String,
    pub plan: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Where it stands and what it waits for.
    pub sentence: String,
    /// The last request that came too late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<String>,
    /// The step before which it will stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stops_before: Option<Step>,
    /// The step before which it will end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_before: Option<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    pub steps: Vec<StepView>,
    /// What is legal now.
    pub actions: Vec<Offer>,
    pub events: Vec<EventView>,
    /// What is not shown, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepView {
    pub name: Step,
    pub state: WorkState,
    /// Whether the relocation stands still before it or in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The fence or the cancel that stands on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<&'static str>,
    /// Whether the plan has nothing to do in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub passed_through: bool,
    pub tasks: Vec<TaskView>,
}

/// One task.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskView {
    pub name: String,
    pub state: WorkState,
    pub attempts: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_limit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<(String, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    pub launches: Vec<LaunchView>,
}

/// One launch: a Job with its pods.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LaunchView {
    pub attempt: i32,
    pub launch: i64,
    pub job: String,
    pub state: WorkState,
    /// What else there is to say, such as why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    pub pods: Vec<PodView>,
}

/// One pod.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodView {
    pub name: String,
    pub state: WorkState,
    /// Its phase, or the reason why it does not start.
    pub phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    pub warning: bool,
    pub reason: String,
    pub note: String,
}

impl View {
    /// Puts together what was observed.
    pub fn of(observed: &Observed, words: &Words<'_>) -> Self {
        let relocation = &observed.relocation;
        let status = relocation.status.clone().unwrap_or_default();
        let late = status.late.as_ref().map(|late| {
            format!(
                "the request spec.{}: {} came too late at {}: {}",
                late.field,
                late.value,
                words.moment(late.at.0),
                late.why
            )
        });
        let ahead = |step: &Step| !status.has_ended() && !status.is_behind(*step);
        let parts = [
            observed.jobs.as_ref().err(),
            observed.pods.as_ref().err(),
            observed.progress.as_ref().err(),
            observed.plan.as_ref().err(),
            observed.events.as_ref().err(),
        ];
        let unread: Vec<&Unread> = parts.into_iter().flatten().collect();
        Self {
            name: relocation.name_any(),
            namespace: relocation.namespace(),
            uuid: status.uuid.clone(),
            owner: relocation.spec.owner.clone(),
            plan: relocation.spec.plan_ref.name.clone(),
            status: status.status,
            step: status.step,
            sentence: sentence(relocation, words),
            late,
            stops_before: next_fence(relocation).filter(|step| ahead(step) && status.pause.is_none()),
            ends_before: relocation.spec.cancel_at_step.filter(ahead),
            created_at: relocation.creation_timestamp().map(|time| time.0),
            started_at: status.started_at.as_ref().map(|time| time.0),
            finished_at: status.finished_at.as_ref().map(|time| time.0),
            steps: steps(observed, &status),
            actions: legal(relocation, words.flags),
            events: observed.events.as_deref().map(last_events).unwrap_or_default(),
            remarks: Unread::sentences(&unread),
        }
    }
}

fn steps(observed: &Observed, status: &RelocationStatus) -> Vec<StepView> {
    let plan = observed.plan.as_ref().ok().and_then(Option::as_ref);
    let has_end = plan.is_some_and(|plan| plan.on_end.is_some())
        || status.steps.iter().any(|record| record.name == Step::Completed);
    let all = Step::WORKING.into_iter().chain(has_end.then_some(Step::Completed));
    all.map(|step| {
        let record = status.steps.iter().find(|record| record.name == step);
        let tasks = tasks(observed, status, plan, record, step);
        StepView {
            name: step,
            state: step_state(record, status, step),
            paused: status.pause.as_ref().is_some_and(|pause| pause.step == step),
            started_at: record.and_then(|record| record.started_at.as_ref()).map(|time| time.0),
            finished_at: record.and_then(|record| record.finished_at.as_ref()).map(|time| time.0),
            mark: mark(&observed.relocation, status, step),
            passed_through: plan.is_some() && tasks.is_empty(),
            tasks,
        }
    })
    .collect()
}

fn step_state(record: Option<&StepStatus>, status: &RelocationStatus, step: Step) -> WorkState {
    let failed_here = status.failure.as_ref().is_some_and(|failure| failure.step == step && failure.entered);
    match record {
        Some(record) if failed_here && record.state == WorkState::Running => WorkState::Failed,
        Some(record) => record.state,
        None if failed_here => WorkState::Failed,
        None => WorkState::Pending,
    }
}

/// The fence or the cancel that stands on a step which is not behind.
fn mark(relocation: &Relocation, status: &RelocationStatus, step: Step) -> Option<&'static str> {
    if status.is_behind(step) || status.status == Some(StatusValue::Success) {
        return None;
    }
    let automatic = relocation.spec.auto_pause == crate::api::AutoPause::Honour;
    if relocation.spec.cancel_at_step == Some(step) {
        Some("cancelAtStep")
    } else if relocation.spec.pause_at_step == Some(step) {
        Some("pauseAtStep")
    } else if automatic && status.auto_pause_at_step == Some(step) {
        Some("automatic fence")
    } else {
        None
    }
}

/// The tasks of the plan that this relocation runs, and whatever else was started, in the order of the plan.
fn tasks(
    observed: &Observed,
    status: &RelocationStatus,
    plan: Option<&RelocationPlanSpec>,
    record: Option<&StepStatus>,
    step: Step,
) -> Vec<TaskView> {
    let provenance = observed.relocation.spec.provenance;
    let planned = plan.into_iter().flat_map(|plan| &plan.steps).filter(|planned| planned.step == step);
    let planned = planned.flat_map(|planned| &planned.tasks);
    let planned = planned.filter(|task| task.provenance.is_none_or(|wanted| wanted == provenance));
    let mut names: Vec<&str> = planned.map(|task| task.name.as_str()).collect();
    if step == Step::Completed && plan.is_some_and(|plan| plan.on_end.is_some()) {
        names.push(END_TASK);
    }
    let started = record.map(|record| record.tasks.as_slice()).unwrap_or_default();
    for task in started {
        if !names.contains(&task.name.as_str()) {
            names.push(&task.name);
        }
    }
    let limit_of = |name: &str| {
        let planned = plan?.steps.iter().find(|planned| planned.step == step)?;
        planned.tasks.iter().find(|task| task.name == name).map(|task| task.attempts)
    };
    let present = |name: &str| status.step == Some(step) && status.task.as_deref() == Some(name);
    names
        .into_iter()
        .map(|name| {
            let nothing = TaskStatus::default();
            let task = started.iter().find(|task| task.name == name).unwrap_or(&nothing);
            TaskView {
                name: name.to_owned(),
                state: task.state,
                attempts: task.attempts,
                attempt_limit: status.attempt_limit.filter(|_| present(name)).or_else(|| limit_of(name)),
                exit_code: task.exit_code,
                message: task.message.clone(),
                counts: task.counts.iter().map(|(name, count)| (name.clone(), *count)).collect(),
                next_attempt_at: status.next_attempt_at.as_ref().filter(|_| present(name)).map(|time| time.0),
                launches: launches(observed, step, task, name),
            }
        })
        .collect()
}

fn launches(observed: &Observed, step: Step, task: &TaskStatus, name: &str) -> Vec<LaunchView> {
    let Ok(jobs) = &observed.jobs else { return Vec::new() };
    let mut launches: Vec<LaunchView> = jobs
        .iter()
        .filter(|job| is_of(*job, step, name))
        .map(|job| LaunchView { pods: pods(observed, &job.name_any()), ..launch(job) })
        .collect();
    // A Job that is gone is named as long as the status names it, where its pod may still be there.
    if let Some(job) = task.job.as_ref().filter(|job| launches.iter().all(|launch| launch.job != **job)) {
        launches.push(LaunchView {
            attempt: task.attempts,
            launch: 0,
            job: job.clone(),
            state: task.state,
            reason: Some("the Job is not there".to_owned()),
            started_at: None,
            finished_at: None,
            pods: pods(observed, job),
        });
    }
    launches.sort_by_key(|launch| (launch.launch == 0, launch.launch));
    launches
}

fn is_of(object: &impl ResourceExt, step: Step, task: &str) -> bool {
    let has = |name: &str, wanted: &str| object.labels().get(&label(name)).is_some_and(|value| value == wanted);
    let of_step = match step {
        Step::Completed => task == END_TASK && !object.labels().contains_key(&label(Labels::STEP)),
        working => has(Labels::STEP, &working.as_str().to_lowercase()),
    };
    of_step && has(Labels::TASK, task)
}

fn number<N: std::str::FromStr + Default>(object: &impl ResourceExt, name: &str) -> N {
    object.labels().get(&label(name)).and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn launch(job: &Job) -> LaunchView {
    let status = job.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let holds = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
    let (complete, failed) = (holds("Complete"), holds("Failed"));
    let being_deleted = job.metadata.deletion_timestamp.is_some();
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    let (state, reason) = if complete.is_some() {
        (WorkState::Succeeded, None)
    } else if let Some(failed) = failed {
        (WorkState::Failed, failed.message.as_deref().map(in_short).or_else(|| failed.reason.clone()))
    } else if being_deleted {
        (WorkState::Running, Some("is being deleted".to_owned()))
    } else if suspended {
        (WorkState::Running, Some("was suspended by somebody".to_owned()))
    } else {
        (WorkState::Running, None)
    };
    let ended = complete.or(failed).and_then(|condition| condition.last_transition_time.as_ref());
    LaunchView {
        attempt: number(job, Labels::ATTEMPT),
        launch: number(job, Labels::LAUNCH),
        job: job.name_any(),
        state,
        reason,
        started_at: status.start_time.or_else(|| job.creation_timestamp()).map(|time| time.0),
        finished_at: status.completion_time.as_ref().or(ended).map(|time| time.0),
        pods: Vec::new(),
    }
}

/// What the Job controller says about a failure, without the names that stand beside it anyway.
fn in_short(message: &str) -> String {
    let code = message.split_once("failed with exit code ").map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
    match code {
        Some(code) => format!("exit code {code}"),
        None if message.contains("DisruptionTarget") => "its pod was lost to a disruption".to_owned(),
        None => message.to_owned(),
    }
}

fn pods(observed: &Observed, job: &str) -> Vec<PodView> {
    let Ok(pods) = &observed.pods else { return Vec::new() };
    let running = observed.running_pod().map(ResourceExt::name_any);
    let of_job = pods.iter().filter(|pod| pod.labels().get(JOB_NAME_LABEL).is_some_and(|name| name == job));
    let mut views: Vec<PodView> = of_job
        .map(|pod| {
            let progress = observed.progress.as_ref().ok().and_then(Clone::clone);
            PodView { progress: progress.filter(|_| running.as_deref() == Some(&pod.name_any())), ..pod_view(pod) }
        })
        .collect();
    views.sort_by_key(|pod| (pod.started_at, pod.name.clone()));
    views
}

fn pod_view(pod: &Pod) -> PodView {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.clone().unwrap_or_default();
    let containers = status.container_statuses.clone().unwrap_or_default();
    let main = containers.iter().find(|container| container.name == "main").or_else(|| containers.first());
    let state_of = |container: &ContainerStatus| container.state.clone().unwrap_or_default();
    let terminated = main.and_then(|container| state_of(container).terminated);
    let running = main.and_then(|container| state_of(container).running);
    let waiting = why_not_started(pod).filter(|_| phase == "Pending");
    let said = terminated.as_ref().and_then(|ended| TaskResult::read(ended.message.as_deref()?).message);
    let being_deleted = pod.metadata.deletion_timestamp.is_some();
    let state = match phase.as_str() {
        "Succeeded" => WorkState::Succeeded,
        "Failed" => WorkState::Failed,
        "Running" => WorkState::Running,
        _ => WorkState::Pending,
    };
    let shown_phase = match (&waiting, being_deleted) {
        (_, true) if !matches!(phase.as_str(), "Succeeded" | "Failed") => "Terminating".to_owned(),
        (Some((reason, _)), _) => reason.clone(),
        (None, _) => phase,
    };
    let started = terminated.as_ref().and_then(|ended| ended.started_at.clone());
    let started = started.or_else(|| running.and_then(|running| running.started_at)).or(status.start_time);
    PodView {
        name: pod.name_any(),
        state,
        phase: shown_phase,
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        exit_code: terminated.as_ref().map(|ended| ended.exit_code),
        message: waiting.map(|(_, message)| message).filter(|message| !message.is_empty()).or(said),
        started_at: started.map(|time| time.0),
        finished_at: terminated.and_then(|ended| ended.finished_at).map(|time| time.0),
        progress: None,
    }
}

/// Why a pod does not start: what a container waits for, or that no node takes it.
pub(super) fn why_not_started(pod: &Pod) -> Option<(String, String)> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let waiting = all.filter_map(|container| container.state.as_ref()?.waiting.as_ref()).find_map(|waiting| {
        let reason = waiting
            .reason
            .clone()
            .filter(|reason| !matches!(reason.as_str(), "ContainerCreating" | "PodInitializing"))?;
        Some((reason, waiting.message.clone().unwrap_or_default()))
    });
    waiting.or_else(|| {
        let conditions = status.conditions.iter().flatten();
        let mut unscheduled =
            conditions.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
        let condition = unscheduled.next()?;
        let reason = condition.reason.clone().unwrap_or_else(|| "Unschedulable".to_owned());
        Some((reason, condition.message.clone().unwrap_or_default()))
    })
}

/// The last events, newest first.
fn last_events(events: &[Event]) -> Vec<EventView> {
    let mut views: Vec<EventView> = events
        .iter()
        .map(|event| EventView {
            at: event_time(event),
            warning: event.type_.as_deref() == Some("Warning"),
            reason: event.reason.clone().unwrap_or_default(),
            note: event.message.clone().unwrap_or_default(),
        })
        .collect();
    views.sort_by_key(|event| std::cmp::Reverse(event.at));
    views.truncate(EVENTS_SHOWN);
    views
}

fn event_time(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let created = event.creation_timestamp().map(|time| time.0);
    series.or(last).or_else(|| event.event_time.as_ref().map(|time| time.0)).or(created)
}
