//! What is kept in memory between passes: the Jobs of relocations, and what this process knows that the status does not.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use parking_lot::RwLock;
use serde_json::json;

use super::plans::GuardedRelocation;
use crate::api::{Labels, label};
use crate::lifecycle::{CreateRefusal, Plan};

/// The Jobs of relocations, by the uid of the relocation that owns them.
///
/// An index of its own, because a pass asks for the Jobs of one relocation, and because a Job that vanished while the
/// watch was cut must wake its relocation, which a plain reflector does not do.
#[derive(Default)]
pub(super) struct JobCache {
    jobs: RwLock<Jobs>,
}

#[derive(Default)]
struct Jobs {
    by_owner: HashMap<String, HashMap<String, Arc<Job>>>,
    /// What the list that is just being received holds.
    incoming: Option<HashMap<String, HashMap<String, Arc<Job>>>>,
}

impl JobCache {
    /// Takes in one event of the watch; gives back the relocations whose Jobs have vanished unseen.
    pub fn apply(&self, event: &watcher::Event<Job>) -> Vec<ObjectRef<GuardedRelocation>> {
        let mut jobs = self.jobs.write();
        match event {
            watcher::Event::Init => {
                jobs.incoming = Some(HashMap::new());
                Vec::new()
            }
            watcher::Event::InitApply(job) => {
                if let Some(incoming) = &mut jobs.incoming {
                    insert(incoming, job);
                }
                Vec::new()
            }
            watcher::Event::InitDone => {
                let incoming = jobs.incoming.take().unwrap_or_default();
                let previous = std::mem::replace(&mut jobs.by_owner, incoming);
                previous
                    .iter()
                    .flat_map(|(owner, known)| known.values().map(move |job| (owner, job)))
                    .filter(|(owner, job)| !contains(&jobs.by_owner, owner, job))
                    .filter_map(|(_, job)| relocation_of(job))
                    .collect()
            }
            watcher::Event::Apply(job) => {
                insert(&mut jobs.by_owner, job);
                Vec::new()
            }
            watcher::Event::Delete(job) => {
                if let Some((owner, name)) = owner_and_name(job)
                    && let Some(known) = jobs.by_owner.get_mut(&owner)
                {
                    known.remove(&name);
                    if known.is_empty() {
                        jobs.by_owner.remove(&owner);
                    }
                }
                Vec::new()
            }
        }
    }

    /// The Jobs of one relocation.
    pub fn of(&self, uid: &str) -> Vec<Arc<Job>> {
        self.jobs.read().by_owner.get(uid).map(|known| known.values().cloned().collect()).unwrap_or_default()
    }

    /// One Job of a relocation.
    pub fn get(&self, uid: &str, name: &str) -> Option<Arc<Job>> {
        self.jobs.read().by_owner.get(uid)?.get(name).cloned()
    }
}

fn owner_and_name(job: &Job) -> Option<(String, String)> {
    let owner = job.metadata.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))?;
    Some((owner.uid.clone(), job.metadata.name.clone()?))
}

fn insert(jobs: &mut HashMap<String, HashMap<String, Arc<Job>>>, job: &Job) {
    if let Some((owner, name)) = owner_and_name(job) {
        jobs.entry(owner).or_default().insert(name, Arc::new(job.clone()));
    }
}

fn contains(jobs: &HashMap<String, HashMap<String, Arc<Job>>>, owner: &str, job: &Job) -> bool {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    jobs.get(owner).is_some_and(|known| known.contains_key(name))
}

fn relocation_of(job: &Job) -> Option<ObjectRef<GuardedRelocation>> {
    let owner = job.metadata.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))?;
    Some(ObjectRef::new(&owner.name).within(job.metadata.namespace.as_deref()?))
}

/// Drops from a Job what nobody reads: the pod template and the managed fields are most of its size.
pub(super) fn trim_job(job: &mut Job) {
    job.metadata.managed_fields = None;
    job.metadata.annotations = None;
    if let Some(spec) = &mut job.spec {
        spec.template = PodTemplateSpec::default();
        spec.pod_failure_policy = None;
    }
}

/// The fields of the spec by which people steer: the history of requests says who set them.
const STEERING: [&str; 5] = ["f:pauseAtStep", "f:autoPause", "f:cancelAtStep", "f:desiredState", "f:recover"];

/// Drops from a relocation what nobody reads, and the room that its lists have for more: each of them was grown one by
/// one, and a list of one task has room for four.
pub(super) fn trim_relocation(guarded: &mut GuardedRelocation) {
    trim_managed_fields(guarded.managed_fields_mut());
    let Ok(relocation) = &mut guarded.0 else { return };
    let Some(status) = &mut relocation.status else { return };
    for step in &mut status.steps {
        step.tasks.shrink_to_fit();
    }
    status.steps.shrink_to_fit();
    status.conditions.shrink_to_fit();
    status.history.shrink_to_fit();
}

/// Drops from the managed fields all but who owns the steering fields.
pub(super) fn trim_managed_fields(fields: &mut Vec<ManagedFieldsEntry>) {
    fields.retain_mut(|entry| {
        let owned = entry.fields_v1.take().and_then(|fields| fields.0.get("f:spec")?.as_object().cloned());
        let mut owned = owned.unwrap_or_default();
        owned.retain(|field, _| STEERING.contains(&field.as_str()));
        let steers = entry.subresource.as_deref().unwrap_or_default().is_empty() && !owned.is_empty();
        entry.fields_v1 = Some(FieldsV1(json!({ "f:spec": owned })));
        steers
    });
}

/// Whether the Job is the one that tells of an ending: it has no step.
pub(super) fn is_end_job(job: &Job) -> bool {
    job.metadata.labels.as_ref().is_none_or(|labels| !labels.contains_key(&label(Labels::STEP)))
}

/// What this process knows about one relocation beyond what is stored. Losing it costs reads, never safety.
#[derive(Clone, Default)]
pub(super) struct Memory {
    /// Our last write, until the watch has caught up with it.
    pub latest: Option<Arc<crate::api::Relocation>>,
    /// The name of a Job that this process has seen exist.
    pub known_job: Option<String>,
    /// The API server's last refusal to create a Job, by the Job's name.
    pub create_refusal: Option<(String, CreateRefusal)>,
    /// The frozen plan by the name of its revision.
    pub frozen: Option<(String, Arc<Plan>)>,
    /// Whether this process has looked at it, or has put off its first look.
    pub seen: bool,
    /// Whether the workspace of a success was seen to be gone.
    pub workspace_gone: bool,
}

/// The memory of all relocations, by uid.
#[derive(Default)]
pub(super) struct Memories {
    by_uid: RwLock<HashMap<String, Memory>>,
}

impl Memories {
    pub fn get(&self, uid: &str) -> Memory {
        self.by_uid.read().get(uid).cloned().unwrap_or_default()
    }

    pub fn change(&self, uid: &str, change: impl FnOnce(&mut Memory)) {
        change(self.by_uid.write().entry(uid.to_owned()).or_default());
    }

    pub fn forget(&self, uid: &str) {
        self.by_uid.write().remove(uid);
    }

    pub fn forget_all(&self) {
        self.by_uid.write().clear();
    }
}
