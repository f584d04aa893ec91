//! Observe: what the judgement needs to know, from the cache where that is safe and by a live read where it asks for it.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use super::cache::{self, Memory};
use super::error::ReconcileError;
use super::reconcile::Operator;
use crate::api::{
    Labels, Relocation, RelocationPlanSpec, RelocationStatus, RetriedBy, StatusValue, end_job_name, label, lease_name,
    mutex_label, revision_name, workspace_name,
};
use crate::lifecycle::{
    Facet, JobRead, JobSeen, Leftovers, LiveJob, LockSeen, MutexUse, ObjectReference, PlaceSeen, Plan, PlanSeen,
    Snapshot, SourceSeen, Trace, WorkspaceSeen, read_job, read_pod,
};

/// How many names a waiting sentence lists.
const NAMES_SHOWN: usize = 3;

/// The annotation of a Lease: the generation of the relocation that took the lock by it.
pub(super) const LOCK_GENERATION: &str = "generation";

/// The label that the Job controller puts on a Job's pods.
const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";

type Result<T> = std::result::Result<T, ReconcileError>;

/// The snapshot as far as it costs no read but that of a Job which the cache does not show.
pub(super) async fn observe<'r>(
    operator: &Operator,
    relocation: &'r Relocation,
    memory: &Memory,
) -> Result<Snapshot<'r>> {
    let uid = relocation.uid().unwrap_or_default();
    let namespace = relocation.namespace().unwrap_or_default();
    let name = relocation.status.as_ref().and_then(|status| status.job.clone());
    let job = match &name {
        None => JobSeen::NotNamed,
        Some(name) => match operator.jobs.get(&uid, name) {
            Some(job) => read_job(&job, &uid),
            None => see_job(operator, &namespace, &uid, name, memory).await?,
        },
    };
    if let (Some(name), JobSeen::Live { .. }) = (&name, &job)
        && memory.known_job.as_ref() != Some(name)
    {
        operator.memories.change(&uid, |memory| memory.known_job = Some(name.clone()));
    }
    let create_refusal = memory
        .create_refusal
        .as_ref()
        .filter(|(refused, _)| Some(refused) == name.as_ref())
        .map(|(_, why)| why.clone());
    Ok(Snapshot {
        relocation,
        plan: operator.plan_seen(&namespace, &relocation.spec.plan_ref.name),
        frozen: memory
            .frozen
            .as_ref()
            .filter(|(name, _)| *name == expected_revision(relocation))
            .map(|(_, plan)| Some(Arc::clone(plan))),
        job,
        job_read: JobRead::Cached,
        pods: None,
        failed_create: None,
        live_jobs: live_jobs(operator, &namespace, &uid, name.as_deref()).await?,
        mutex_use: None,
        lock: None,
        workspace: None,
        end_job: None,
        end_pods: None,
        create_refusal,
        retried_by: retried_by(operator, relocation),
        traces: None,
        source: None,
        successor: None,
        adopted: None,
        place: None,
        leftovers: None,
    })
}

/// Answers one question of the judgement by a live read.
pub(super) async fn look(operator: &Operator, facet: Facet, snapshot: &mut Snapshot<'_>) -> Result<()> {
    let relocation = snapshot.relocation;
    let namespace = relocation.namespace().unwrap_or_default();
    let uid = relocation.uid().unwrap_or_default();
    let name = relocation.name_any();
    let status = relocation.status.clone().unwrap_or_default();
    match facet {
        Facet::Job => {
            let job = status.job.unwrap_or_default();
            snapshot.job = see_job(operator, &namespace, &uid, &job, &operator.memories.get(&uid)).await?;
            snapshot.job_read = JobRead::Live;
        }
        Facet::Frozen => {
            let revision = expected_revision(relocation);
            let plan = frozen_plan(operator, &namespace, &uid, &revision).await?;
            if let Some(plan) = &plan {
                operator.memories.change(&uid, |memory| memory.frozen = Some((revision, Arc::clone(plan))));
            }
            snapshot.frozen = Some(plan);
        }
        Facet::Adopted => {
            let recoveries = status.recoveries.unwrap_or(0).saturating_add(1);
            let revision = revision_name(&name, &uid, recoveries);
            snapshot.adopted = Some(frozen_plan(operator, &namespace, &uid, &revision).await?);
        }
        Facet::Traces => snapshot.traces = Some(traces(operator, &namespace, relocation).await?),
        Facet::Source => snapshot.source = Some(source(operator, &namespace, relocation).await?),
        Facet::Successor => {
            let successors = successors(operator, &namespace, relocation).await?;
            let standing = successors.iter().find(|successor| stands(successor));
            snapshot.successor = Some(standing.map(as_retried_by));
        }
        Facet::Place => snapshot.place = Some(place(operator, relocation, &snapshot.plan)),
        Facet::Leftovers => snapshot.leftovers = Some(leftovers(operator, &namespace, relocation, &uid).await?),
        Facet::Pods => {
            let job = status.job.unwrap_or_default();
            let pods = pods_of(operator, &namespace, &job).await?;
            if pods.is_empty() && matches!(snapshot.job, JobSeen::Live { .. }) {
                snapshot.failed_create = failed_create(operator, &namespace, &job).await?;
            }
            snapshot.pods = Some(pods);
        }
        Facet::MutexUse => {
            snapshot.mutex_use = Some(mutex_use(operator, &namespace, relocation.spec.effective_mutex()).await?);
        }
        Facet::Lock => snapshot.lock = Some(lock(operator, &namespace, relocation, &uid).await?),
        Facet::Workspace => {
            let claim = operator.cluster.get::<PersistentVolumeClaim>(&namespace, &workspace_name(&name, &uid)).await?;
            snapshot.workspace = Some(match claim {
                None => WorkspaceSeen::Missing,
                Some(claim) if is_owned_by(&claim, &uid) => WorkspaceSeen::Ours,
                Some(_) => WorkspaceSeen::Foreign,
            });
        }
        Facet::EndJob => {
            let job = end_job_name(&name, &uid, status.recoveries.unwrap_or(0));
            snapshot.end_job = Some(match operator.jobs.get(&uid, &job) {
                Some(job) => read_job(&job, &uid),
                None => see_job(operator, &namespace, &uid, &job, &operator.memories.get(&uid)).await?,
            });
        }
        Facet::EndPods => {
            let job = end_job_name(&name, &uid, status.recoveries.unwrap_or(0));
            snapshot.end_pods = Some(pods_of(operator, &namespace, &job).await?);
        }
    }
    Ok(())
}

/// A Job that the cache does not show: the cache may be behind, so only the API server can say that it is missing.
async fn see_job(operator: &Operator, namespace: &str, uid: &str, name: &str, memory: &Memory) -> Result<JobSeen> {
    Ok(match operator.cluster.get::<Job>(namespace, name).await? {
        Some(job) => read_job(&job, uid),
        None => JobSeen::Missing { known: memory.known_job.as_deref() == Some(name) },
    })
}

/// The unfinished Jobs of a relocation. One that the status does not name is read live before it is called unfinished:
/// a cache that is behind shows a Job as running that has ended and was folded by somebody else.
async fn live_jobs(operator: &Operator, namespace: &str, uid: &str, named: Option<&str>) -> Result<Vec<LiveJob>> {
    let mut live = Vec::new();
    for job in operator.jobs.of(uid) {
        if cache::is_end_job(&job) {
            continue;
        }
        let name = job.name_any();
        let Some(mut found) = as_live(&job, uid) else { continue };
        if named != Some(name.as_str()) && !found.deleting {
            let Some(confirmed) = operator.cluster.get::<Job>(namespace, &name).await? else { continue };
            let Some(confirmed) = as_live(&confirmed, uid) else { continue };
            found = confirmed;
        }
        live.push(found);
    }
    live.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(live)
}

fn as_live(job: &Job, uid: &str) -> Option<LiveJob> {
    match read_job(job, uid) {
        JobSeen::Live { uid, deleted_at, .. } => {
            Some(LiveJob { name: job.name_any(), uid, deleting: deleted_at.is_some() })
        }
        JobSeen::NotNamed
        | JobSeen::Missing { .. }
        | JobSeen::Foreign { .. }
        | JobSeen::Succeeded
        | JobSeen::Failed(_) => None,
    }
}

/// The name of the revision that holds the plan of this run, or will hold it.
pub(super) fn expected_revision(relocation: &Relocation) -> String {
    let status = relocation.status.as_ref();
    status.and_then(|status| status.plan.as_ref()).map_or_else(
        || {
            let recoveries = status.and_then(|status| status.recoveries).unwrap_or(0);
            revision_name(&relocation.name_any(), &relocation.uid().unwrap_or_default(), recoveries)
        },
        |plan| plan.revision.clone(),
    )
}

/// The plan that the revision of a name holds.
async fn frozen_plan(operator: &Operator, namespace: &str, uid: &str, name: &str) -> Result<Option<Arc<Plan>>> {
    let Some(revision) = operator.cluster.get::<ControllerRevision>(namespace, name).await? else { return Ok(None) };
    if !is_owned_by(&revision, uid) {
        return Err(ReconcileError::Unreadable {
            what: "the plan revision",
            message: format!("the ControllerRevision {name} belongs to somebody else"),
        });
    }
    let unreadable = |message| ReconcileError::Unreadable { what: "the plan revision", message };
    let data = revision.data.map(|data| data.0).unwrap_or_default();
    let spec: RelocationPlanSpec = serde_json::from_value(data).map_err(|error| unreadable(error.to_string()))?;
    Plan::read(spec, revision.revision).map(Arc::new).map(Some).map_err(|problem| unreadable(problem.to_string()))
}

/// What exists under the label of the uuid that the run has or would have.
async fn traces(operator: &Operator, namespace: &str, relocation: &Relocation) -> Result<Vec<Trace>> {
    let selector = format!("{}={}", label(Labels::UUID), uuid_of(relocation));
    let revisions = operator.cluster.list::<ControllerRevision>(namespace, &selector).await?;
    let claims = operator.cluster.list::<PersistentVolumeClaim>(namespace, &selector).await?;
    let jobs = operator.cluster.list::<Job>(namespace, &selector).await?;
    let revisions = revisions.iter().map(|_| Trace::Revision);
    let claims = claims.iter().map(|_| Trace::Other);
    Ok(revisions.chain(claims).chain(jobs.iter().map(trace_of)).collect())
}

fn trace_of(job: &Job) -> Trace {
    let read = |name: &str| job.labels().get(&label(name)).cloned();
    let step = read(Labels::STEP).and_then(|step| step.to_uppercase().parse().ok());
    let launch = read(Labels::LAUNCH).and_then(|launch| launch.parse().ok());
    match (step, read(Labels::TASK), launch) {
        (Some(step), Some(task), Some(launch)) => {
            let attempt = read(Labels::ATTEMPT).and_then(|attempt| attempt.parse().ok()).unwrap_or(1);
            Trace::Job { step, task, attempt, launch }
        }
        _ => Trace::Other,
    }
}

fn uuid_of(relocation: &Relocation) -> String {
    let status = relocation.status.as_ref().and_then(|status| status.uuid.clone());
    status.or_else(|| relocation.spec.uuid.clone()).or_else(|| relocation.uid()).unwrap_or_default()
}

/// What `spec.retryOf` names, with its workspace and with whoever else starts it over.
async fn source(operator: &Operator, namespace: &str, relocation: &Relocation) -> Result<SourceSeen> {
    let Some(retry_of) = &relocation.spec.retry_of else { return Ok(SourceSeen::Missing) };
    let found = operator.cluster.get::<Relocation>(namespace, &retry_of.name).await?;
    let Some(found) = found.filter(|found| found.uid().as_ref() == Some(&retry_of.uid)) else {
        return Ok(SourceSeen::Missing);
    };
    let claim = workspace_name(&retry_of.name, &retry_of.uid);
    let workspace = operator.cluster.get::<PersistentVolumeClaim>(namespace, &claim).await?.map(|_| claim);
    let rivals = successors(operator, namespace, &found).await?;
    let begun = |rival: &&Relocation| rival.status.as_ref().is_some_and(|status| status.plan.is_some());
    let rival = rivals.iter().filter(|rival| rival.uid() != relocation.uid() && stands(rival)).find(begun);
    let rival = rival.map(ResourceExt::name_any);
    Ok(SourceSeen::Found { relocation: Box::new(found), workspace, rival })
}

/// The relocations that start this one over, read live. They have the same owner, which keeps the list short.
async fn successors(operator: &Operator, namespace: &str, relocation: &Relocation) -> Result<Vec<Relocation>> {
    let fields = format!("spec.owner={}", relocation.spec.owner);
    let uid = relocation.uid();
    let peers = operator.cluster.list_by_fields::<Relocation>(namespace, &fields).await?;
    let starts_it_over = |peer: &Relocation| peer.spec.retry_of.as_ref().map(|source| &source.uid) == uid.as_ref();
    Ok(peers.into_iter().filter(starts_it_over).collect())
}

/// Whether a relocation is active or has succeeded.
fn stands(relocation: &Relocation) -> bool {
    let failed = relocation.status.as_ref().is_some_and(|status| status.status == Some(StatusValue::Failure));
    !failed && relocation.metadata.deletion_timestamp.is_none()
}

fn as_retried_by(relocation: &Relocation) -> RetriedBy {
    RetriedBy { name: relocation.name_any(), uid: relocation.uid().unwrap_or_default() }
}

/// The newest relocation that starts a failed one over, as the cache shows it.
fn retried_by(operator: &Operator, relocation: &Relocation) -> Option<RetriedBy> {
    relocation.status.as_ref()?.failure.as_ref()?;
    let uid = relocation.uid()?;
    let successors = operator.relocations.state_filter(|guarded| {
        let source = guarded.0.as_ref().ok().and_then(|peer| peer.spec.retry_of.as_ref());
        source.is_some_and(|source| source.uid == uid)
    });
    let newest = successors.iter().filter_map(|guarded| guarded.0.as_ref().ok());
    newest.max_by_key(|peer| peer.creation_timestamp().map(|time| time.0)).map(as_retried_by)
}

fn place(operator: &Operator, relocation: &Relocation, plan: &PlanSeen) -> PlaceSeen {
    match plan {
        PlanSeen::Accepted(plan) => match plan.spec.max_active {
            Some(limit) => operator.places.take(relocation, limit, &operator.relocations),
            None => PlaceSeen::Free,
        },
        PlanSeen::Missing | PlanSeen::NotJudged | PlanSeen::NotAccepted { .. } => PlaceSeen::Free,
    }
}

/// What a success has left behind: its Jobs by the cache, and its workspace, read live until it was seen to be gone.
async fn leftovers(operator: &Operator, namespace: &str, relocation: &Relocation, uid: &str) -> Result<Leftovers> {
    let reference = |name: String, uid: Option<String>| ObjectReference { name, uid: uid.unwrap_or_default() };
    let jobs = operator.jobs.of(uid);
    let jobs = jobs.iter().filter(|job| job.metadata.deletion_timestamp.is_none());
    let jobs = jobs.map(|job| reference(job.name_any(), job.uid())).collect();
    let name = workspace_name(&relocation.name_any(), uid);
    let claim = if operator.memories.get(uid).workspace_gone {
        None
    } else {
        operator.cluster.get::<PersistentVolumeClaim>(namespace, &name).await?
    };
    let claim = claim.filter(|claim| is_owned_by(claim, uid));
    if claim.is_none() {
        operator.memories.change(uid, |memory| memory.workspace_gone = true);
    }
    let workspace = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none());
    Ok(Leftovers { jobs, workspace: workspace.map(|claim| reference(name, claim.uid())) })
}

async fn pods_of(operator: &Operator, namespace: &str, job: &str) -> Result<Vec<crate::lifecycle::PodSeen>> {
    let pods = operator.cluster.list::<Pod>(namespace, &format!("{JOB_NAME_LABEL}={job}")).await?;
    Ok(pods.iter().map(read_pod).collect())
}

/// What the Job controller last said about a pod that it could not create: a quota, or pod security.
async fn failed_create(operator: &Operator, namespace: &str, job: &str) -> Result<Option<String>> {
    let fields = format!("involvedObject.kind=Job,involvedObject.name={job},reason=FailedCreate");
    let events = operator.cluster.list_by_fields::<Event>(namespace, &fields).await?;
    let last = events.into_iter().max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    Ok(last.and_then(|event| event.message))
}

/// Invariant "quiet": one live list of the Jobs and of the pods with the mutex' label. A deleted Job is gone at once
/// while its pod goes on for its whole grace period, so the pods decide.
async fn mutex_use(operator: &Operator, namespace: &str, mutex: &str) -> Result<MutexUse> {
    let selector = format!("{}={}", label(Labels::MUTEX), mutex_label(mutex));
    let jobs = operator.cluster.list::<Job>(namespace, &selector).await?;
    let pods = operator.cluster.list::<Pod>(namespace, &selector).await?;
    let live_jobs = jobs.iter().filter(|job| !is_terminal(job)).map(|job| format!("job {}", job.name_any()));
    let pods: Vec<_> = pods.iter().map(read_pod).filter(|pod| !pod.finished).collect();
    let what: Vec<_> = live_jobs.chain(pods.iter().map(|pod| format!("pod {}", pod.name))).take(NAMES_SHOWN).collect();
    if what.is_empty() {
        return Ok(MutexUse::Quiet);
    }
    let ending = pods.iter().find_map(|pod| Some((pod.name.clone(), pod.node.clone(), pod.deleted_at?)));
    Ok(MutexUse::Busy { what, ending })
}

fn is_terminal(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|known| matches!(known.type_.as_str(), "Complete" | "Failed") && known.status == "True")
}

async fn lock(operator: &Operator, namespace: &str, relocation: &Relocation, uid: &str) -> Result<LockSeen> {
    let name = lease_name(relocation.spec.effective_mutex());
    let Some(lease) = operator.cluster.get::<Lease>(namespace, &name).await? else { return Ok(LockSeen::Free) };
    if is_owned_by(&lease, uid) {
        let generation =
            lease.annotations().get(&label(LOCK_GENERATION)).and_then(|generation| generation.parse().ok());
        let uid = lease.uid().unwrap_or_default();
        return Ok(LockSeen::Ours { uid, generation: generation.unwrap_or(0) });
    }
    match living_holder(operator, namespace, &lease).await? {
        None => Ok(LockSeen::Free),
        Some(holder) => {
            // A holder that has ended gives the lock back when it is looked at; a late sender may have taken it again.
            if holder.status.as_ref().is_some_and(RelocationStatus::has_ended) {
                operator.places.nudge(&holder);
            }
            Ok(LockSeen::Held { holder: holder.name_any() })
        }
    }
}

/// The holder of a Lease, unless it is gone: a Lease outlives its owner for the moment until it is collected.
pub(super) async fn living_holder(operator: &Operator, namespace: &str, lease: &Lease) -> Result<Option<Relocation>> {
    let Some(owner) = lease.owner_references().iter().find(|owner| owner.kind == "Relocation") else {
        return Ok(None);
    };
    let living = operator.cluster.get::<Relocation>(namespace, &owner.name).await?;
    Ok(living.filter(|relocation| relocation.uid().as_ref() == Some(&owner.uid)))
}

pub(super) fn is_owned_by(object: &impl ResourceExt, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.uid == uid)
}
