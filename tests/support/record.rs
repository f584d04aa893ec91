//! What the watches of one namespace saw, in order, and what stands there now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use relocation_operator::api::{Labels, Relocation, RelocationPlan, Step, label};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// One Job of a relocation, as it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    pub job: String,
    pub relocation: String,
    /// Nothing for the `onEnd` Job.
    pub step: Option<Step>,
    pub task: String,
    pub attempt: i32,
    pub launch: i64,
}

/// One stored version of a relocation, as far as fences and steps go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub relocation: String,
    pub uid: String,
    pub resource_version: String,
    pub pause_at_step: Option<Step>,
    pub cancel_at_step: Option<Step>,
    pub step: Option<Step>,
    pub entered: bool,
}

impl Version {
    fn of(relocation: &Relocation) -> Self {
        let status = relocation.status.as_ref();
        Self {
            relocation: relocation.name_any(),
            uid: uid_of(relocation),
            resource_version: relocation.resource_version().unwrap_or_default(),
            pause_at_step: relocation.spec.pause_at_step,
            cancel_at_step: relocation.spec.cancel_at_step,
            step: status.and_then(|status| status.step),
            entered: status.is_some_and(|status| status.entered),
        }
    }
}

/// What stands in the namespace now, and what was seen since the record began.
#[derive(Default)]
pub struct Seen {
    pub relocations: BTreeMap<String, Relocation>,
    pub plans: BTreeMap<String, RelocationPlan>,
    /// By uid; what is deleted is no longer here.
    pub jobs: BTreeMap<String, Job>,
    /// By uid; what is deleted is no longer here.
    pub pods: BTreeMap<String, Pod>,
    /// Every Job that was ever there, in the order of creation.
    pub launches: Vec<Launch>,
    /// The names of the Jobs that were ever seen with the condition `Complete`.
    pub completed: BTreeSet<String>,
    /// Every version of every relocation, in order.
    pub versions: Vec<Version>,
    /// Every moment at which two launches of one mutex were unfinished at once.
    pub overlaps: Vec<String>,
    known_jobs: BTreeSet<String>,
}

/// The record of one namespace, kept by watches in the background until it is dropped.
pub struct Record {
    client: Client,
    namespace: String,
    seen: Arc<Mutex<Seen>>,
    changed: watch::Sender<u64>,
    watches: Mutex<JoinSet<()>>,
}

impl Record {
    pub fn of(client: &Client, namespace: &str) -> Self {
        let record = Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            seen: Arc::default(),
            changed: watch::channel(0).0,
            watches: Mutex::default(),
        };
        record.begin();
        record
    }

    /// Begins all watches, also for the second time: after the API server went back to an earlier state,
    /// a watch that knows a later version hears nothing. What was seen stays seen.
    pub fn begin(&self) {
        let mut watches = JoinSet::new();
        self.follow(&mut watches, |seen, event| match event {
            Happened::Stands(relocation) => seen.see_relocation(relocation),
            Happened::Gone(relocation) => drop(seen.relocations.remove(&relocation.name_any())),
            Happened::Listed(uids) => seen.relocations.retain(|_, relocation| uids.contains(&uid_of(relocation))),
        });
        self.follow(&mut watches, |seen, event: Happened<RelocationPlan>| match event {
            Happened::Stands(plan) => drop(seen.plans.insert(plan.name_any(), plan)),
            Happened::Gone(plan) => drop(seen.plans.remove(&plan.name_any())),
            Happened::Listed(uids) => seen.plans.retain(|_, plan| uids.contains(&uid_of(plan))),
        });
        self.follow(&mut watches, |seen, event| match event {
            Happened::Stands(job) => seen.see_job(job),
            Happened::Gone(job) => drop(seen.jobs.remove(&uid_of(&job))),
            Happened::Listed(uids) => seen.jobs.retain(|uid, _| uids.contains(uid)),
        });
        self.follow(&mut watches, |seen, event| match event {
            Happened::Stands(pod) => seen.see_pod(pod),
            Happened::Gone(pod) => drop(seen.pods.remove(&uid_of(&pod))),
            Happened::Listed(uids) => seen.pods.retain(|uid, _| uids.contains(uid)),
        });
        *self.watches.lock().expect("nobody panics here") = watches;
    }

    fn follow<K>(&self, watches: &mut JoinSet<()>, note: impl Fn(&mut Seen, Happened<K>) + Send + 'static)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        let (seen, changed) = (Arc::clone(&self.seen), self.changed.clone());
        watches.spawn(async move {
            let mut events = watcher(api, watcher::Config::default()).backoff(Soon).boxed();
            let mut listed = BTreeSet::new();
            while let Some(event) = events.next().await {
                let happened = match event {
                    Ok(Event::InitApply(object)) => {
                        listed.insert(uid_of(&object));
                        Happened::Stands(object)
                    }
                    Ok(Event::Apply(object)) => Happened::Stands(object),
                    Ok(Event::Delete(object)) => Happened::Gone(object),
                    Ok(Event::InitDone) => Happened::Listed(std::mem::take(&mut listed)),
                    Ok(Event::Init) | Err(_) => {
                        listed.clear();
                        continue;
                    }
                };
                note(&mut seen.lock().expect("no watch panics"), happened);
                changed.send_modify(|count| *count += 1);
            }
        });
    }

    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no watch panics")
    }

    /// Tells of every change from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl Seen {
    fn see_relocation(&mut self, relocation: Relocation) {
        let version = Version::of(&relocation);
        let last = self.versions.iter().rev().find(|known| known.relocation == version.relocation);
        if last != Some(&version) {
            self.versions.push(version);
        }
        self.relocations.insert(relocation.name_any(), relocation);
    }

    fn see_job(&mut self, job: Job) {
        let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        if conditions.iter().any(|known| known.type_ == "Complete" && known.status == "True") {
            self.completed.insert(job.name_any());
        }
        let uid = uid_of(&job);
        if self.known_jobs.insert(uid.clone()) {
            if let Some(mutex) = label_of(&job, Labels::MUTEX) {
                let unfinished = self
                    .jobs
                    .values()
                    .find(|other| label_of(*other, Labels::MUTEX) == Some(mutex) && !is_terminal(other));
                if let Some(other) = unfinished {
                    let overlap = format!("job {} was created before job {} ended", job.name_any(), other.name_any());
                    self.overlaps.push(overlap);
                }
            }
            self.launches.push(Launch {
                job: job.name_any(),
                relocation: label_of(&job, Labels::NAME).unwrap_or_default().to_owned(),
                step: label_of(&job, Labels::STEP).and_then(|step| step.parse().ok()),
                task: label_of(&job, Labels::TASK).unwrap_or_default().to_owned(),
                attempt: number_of(&job, Labels::ATTEMPT),
                launch: number_of(&job, Labels::LAUNCH),
            });
        }
        self.jobs.insert(uid, job);
    }

    fn see_pod(&mut self, pod: Pod) {
        let unfinished = |pod: &Pod| !is_finished(pod) && label_of(pod, Labels::MUTEX).is_some();
        if unfinished(&pod) {
            let uid = uid_of(&pod);
            let other = self.pods.iter().find(|(other_uid, other)| {
                **other_uid != uid
                    && unfinished(other)
                    && label_of(*other, Labels::MUTEX) == label_of(&pod, Labels::MUTEX)
            });
            if let Some((_, other)) = other {
                let overlap = format!("pods {} and {} were unfinished at once", other.name_any(), pod.name_any());
                if !self.overlaps.contains(&overlap) {
                    self.overlaps.push(overlap);
                }
            }
        }
        self.pods.insert(uid_of(&pod), pod);
    }
}

/// Whether no container of the pod runs any more or ever will.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether the Job controller has judged the Job for good.
pub fn is_terminal(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions
        .iter()
        .any(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True")
}

/// The value of one of our labels.
pub fn label_of<'k>(object: &'k impl ResourceExt, name: &str) -> Option<&'k str> {
    object.labels().get(&label(name)).map(String::as_str)
}

pub fn number_of<N: std::str::FromStr + Default>(object: &impl ResourceExt, name: &str) -> N {
    label_of(object, name).and_then(|number| number.parse().ok()).unwrap_or_default()
}

pub fn uid_of(object: &impl ResourceExt) -> String {
    object.uid().unwrap_or_default()
}

/// A broken watch is taken up again soon and always: a test waits for what it sees.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(200))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}

enum Happened<K> {
    Stands(K),
    Gone(K),
    /// These uids are all that there is.
    Listed(BTreeSet<String>),
}
