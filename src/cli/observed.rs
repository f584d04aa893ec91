//! What there is to see of one relocation: itself, its plan, Jobs, pods, events and the progress of what runs.
//!
//! Only the relocation itself must be readable. What else the user may not read is told in a sentence, because half a
//! picture is better than none.

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};

use super::cluster::{Cluster, field_value};
use super::error::Error;
use super::progress::Progress;
use crate::api::{Labels, Relocation, RelocationPlan, RelocationPlanSpec, StatusValue, label};

/// How many lines of a running task's log are searched for its progress.
const LINES_SEARCHED: i64 = 200;

/// A part of the picture, or why it cannot be read.
pub(super) type Part<T> = Result<T, Unread>;

/// A part of the picture that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// What is not shown.
    pub what: &'static str,
    /// The verb and the resource that the user may not use, and why; or nothing where something else went wrong.
    refused: Option<(String, String)>,
    /// The whole sentence.
    why: String,
}

impl Unread {
    /// What is not shown, and why.
    pub fn new(what: &'static str, error: &Error) -> Self {
        let refused = match error {
            Error::Forbidden { verb, resource, why, .. } => Some((format!("{verb} {resource}"), why.clone())),
            _ => None,
        };
        Self { what, refused, why: error.to_string() }
    }

    /// All of them in few sentences: one user who may not do several things is one reason.
    pub fn sentences(all: &[&Self]) -> Vec<String> {
        let mut sentences: Vec<String> = all
            .iter()
            .filter(|unread| unread.refused.is_none())
            .map(|unread| format!("not shown: {}: {}", unread.what, unread.why))
            .collect();
        let refused: Vec<(&str, &String, &String)> = all
            .iter()
            .filter_map(|unread| unread.refused.as_ref().map(|(right, why)| (unread.what, right, why)))
            .collect();
        if let Some((_, _, why)) = refused.first() {
            let rights: Vec<String> = refused.iter().map(|(what, right, _)| format!("{what} ({right})")).collect();
            sentences.push(format!("not shown, because you may not read it: {}; {why}", rights.join(", ")));
        }
        sentences
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&Self::sentences(&[self]).concat())
    }
}

/// What there is to see of one relocation.
pub(super) struct Observed {
    /// Itself.
    pub relocation: Relocation,
    /// The plan that it runs, or would run; nothing when there is none.
    pub plan: Part<Option<RelocationPlanSpec>>,
    /// Its Jobs.
    pub jobs: Part<Vec<Job>>,
    /// Its pods.
    pub pods: Part<Vec<Pod>>,
    /// Its events.
    pub events: Part<Vec<Event>>,
    /// How far the running task is, as its log tells.
    pub progress: Part<Option<Progress>>,
}

impl Observed {
    /// Reads all of it: what can be named at once in one go, what follows from it in a second.
    pub async fn gather(cluster: &Cluster, name: &str) -> Result<Self, Error> {
        let labels = ListParams::default().labels(&selector(name));
        let events = ListParams::default().fields(&about(name));
        let (relocation, jobs, pods, events) = futures::join!(
            cluster.get::<Relocation>(name),
            cluster.list_typed::<Job>(&labels),
            cluster.list_typed::<Pod>(&labels),
            cluster.list_typed::<Event>(&events),
        );
        let relocation = relocation?.object;
        let mut observed = Self {
            relocation,
            plan: Ok(None),
            jobs: jobs.map_err(|error| Unread::new("Jobs", &error)),
            pods: pods.map_err(|error| Unread::new("pods", &error)),
            events: events.map_err(|error| Unread::new("events", &error)),
            progress: Ok(None),
        };
        observed.keep_own();
        let running = observed.running_pod().cloned();
        let (plan, progress) =
            futures::join!(plan_of(cluster, &observed.relocation), progress_of(cluster, running.as_ref()));
        observed.plan = plan;
        observed.progress = progress;
        Ok(observed)
    }

    /// Leaves out what belongs to an earlier object of the same name.
    pub fn keep_own(&mut self) {
        let Some(uid) = self.relocation.uid() else { return };
        let uuid =
            self.relocation.status.as_ref().and_then(|status| status.uuid.clone()).unwrap_or_else(|| uid.clone());
        let is_own = |uuid_label: Option<&String>| uuid_label.is_none_or(|known| *known == uuid);
        if let Ok(jobs) = &mut self.jobs {
            jobs.retain(|job| is_own(job.labels().get(&label(Labels::UUID))));
        }
        if let Ok(pods) = &mut self.pods {
            pods.retain(|pod| is_own(pod.labels().get(&label(Labels::UUID))));
        }
        if let Ok(events) = &mut self.events {
            events.retain(|event| event.involved_object.uid.as_ref().is_none_or(|known| *known == uid));
        }
    }

    /// The pod whose log tells the progress: one that runs, for the Job of the present launch.
    pub fn running_pod(&self) -> Option<&Pod> {
        let status = self.relocation.status.as_ref()?;
        if status.status != Some(StatusValue::InProgress) {
            return None;
        }
        let job = status.job.as_deref()?;
        let pods = self.pods.as_ref().ok()?;
        pods.iter().find(|pod| {
            let of_job = pod.labels().get(JOB_NAME_LABEL).is_some_and(|name| name == job);
            of_job && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
        })
    }
}

/// The label by which the Job controller marks its pods.
pub(super) const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";

/// The labels of everything that a relocation runs.
pub(super) fn selector(name: &str) -> String {
    format!("{}={name}", label(Labels::NAME))
}

/// The field selector of the events about a relocation.
pub(super) fn about(name: &str) -> String {
    format!("involvedObject.kind=Relocation,involvedObject.name={}", field_value(name))
}

/// The plan as it was frozen for the run; before the first launch, or where that may not be read, as it is now.
pub(super) async fn plan_of(cluster: &Cluster, relocation: &Relocation) -> Part<Option<RelocationPlanSpec>> {
    if let Some(plan) = relocation.status.as_ref().and_then(|status| status.plan.as_ref()) {
        let frozen = cluster.get_opt::<ControllerRevision>(&plan.revision).await;
        let data = frozen.ok().flatten().and_then(|found| found.object.data);
        if let Some(spec) = data.and_then(|data| serde_json::from_value(data.0).ok()) {
            return Ok(Some(spec));
        }
    }
    let plan = cluster.get_opt::<RelocationPlan>(&relocation.spec.plan_ref.name).await;
    plan.map(|found| found.map(|found| found.object.spec)).map_err(|error| Unread::new("the plan", &error))
}

async fn progress_of(cluster: &Cluster, pod: Option<&Pod>) -> Part<Option<Progress>> {
    let Some(pod) = pod else { return Ok(None) };
    let parameters = LogParams { tail_lines: Some(LINES_SEARCHED), timestamps: true, ..log_parameters(pod) };
    let api = cluster.api::<Pod>();
    let name = pod.name_any();
    let read = async {
        let stream = api.log_stream(&name, &parameters).await?;
        stream.lines().try_collect::<Vec<String>>().await.map_err(kube::Error::ReadEvents)
    };
    let lines = cluster.within(read).await.map_err(|error| unread_progress(&error))?;
    let lines = lines.map_err(|error| unread_progress(&cluster.explain("get", "pods/log", cluster.place(), error)))?;
    Ok(Progress::of_log(lines.iter().map(String::as_str)))
}

pub(super) fn unread_progress(error: &Error) -> Unread {
    Unread::new("the progress", error)
}

/// Whose log to read: the container `main`, or the first.
pub(super) fn log_parameters(pod: &Pod) -> LogParams {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let main = containers.iter().find(|container| container.name == "main").or_else(|| containers.first());
    LogParams { container: main.map(|container| container.name.clone()), ..LogParams::default() }
}
