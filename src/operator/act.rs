//! Act: the one effect of a pass, after its intent is stored. Each is idempotent by name.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::cluster::{Kind, Mode};
use super::error::ReconcileError;
use super::observe::{LOCK_GENERATION, is_owned_by, living_holder};
use super::reconcile::Operator;
use crate::api::{Relocation, label, lease_name};
use crate::lifecycle::{
    CreateRefusal, Effect, ObjectReference, Plan, build_end_job, build_job, build_workspace, owner_labels,
    owner_reference,
};

type Result<T> = std::result::Result<T, ReconcileError>;

/// What became of a create.
enum Created {
    /// It is there, and it is ours: made now or before.
    Ours,
    /// The API server refused it.
    Refused(CreateRefusal),
}

/// Does what was decided. `relocation` carries the status that was recorded for it.
pub(super) async fn act(operator: &Operator, relocation: &Relocation, effect: &Effect) -> Result<()> {
    let namespace = relocation.namespace().unwrap_or_default();
    let uid = relocation.uid().unwrap_or_default();
    match effect {
        Effect::TakeLock => take_lock(operator, relocation, &namespace, &uid).await,
        Effect::ReleaseLock { uid } => {
            let lease = lease_name(relocation.spec.effective_mutex());
            operator.cluster.delete::<Lease>(&namespace, &lease, uid).await
        }
        Effect::CreateWorkspace(plan) => {
            let Some(claim) = build_workspace(relocation, plan) else { return Ok(()) };
            create_idempotently::<PersistentVolumeClaim>(operator, &namespace, &claim).await.map(drop)
        }
        Effect::FreezePlan { plan, revision: name } => {
            let revision = revision(relocation, plan, name);
            let made = create_idempotently::<ControllerRevision>(operator, &namespace, &revision).await?;
            // One that was there already may hold another plan and is read before it is used.
            if made == Made::Now {
                let frozen = Arc::new((**plan).clone());
                operator.memories.change(&uid, |memory| memory.frozen = Some((name.clone(), frozen)));
            }
            Ok(())
        }
        Effect::CleanUp(leftovers) => {
            if let Some(claim) = &leftovers.workspace {
                operator.cluster.delete::<PersistentVolumeClaim>(&namespace, &claim.name, &claim.uid).await?;
            }
            delete_jobs(operator, &namespace, &leftovers.jobs).await
        }
        Effect::CreateJob(plan) => {
            let status = relocation.status.clone().unwrap_or_default();
            let Some(job) = build_job(relocation, &status, plan) else { return Ok(()) };
            create_job(operator, &namespace, &uid, &job).await
        }
        Effect::CreateEndJob(plan) => {
            let status = relocation.status.clone().unwrap_or_default();
            let Some(job) = build_end_job(relocation, &status, plan) else { return Ok(()) };
            create_job(operator, &namespace, &uid, &job).await
        }
        Effect::DeleteJobs(jobs) => delete_jobs(operator, &namespace, jobs).await,
    }
}

async fn delete_jobs(operator: &Operator, namespace: &str, jobs: &[ObjectReference]) -> Result<()> {
    for job in jobs {
        operator.cluster.delete::<Job>(namespace, &job.name, &job.uid).await?;
    }
    Ok(())
}

/// The refusal is remembered, so that the next pass can judge it; a name that is ours is as good as created.
async fn create_job(operator: &Operator, namespace: &str, uid: &str, job: &Value) -> Result<()> {
    let name = job["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    match create::<Job>(operator, namespace, uid, &name, job).await? {
        Created::Ours => operator.memories.change(uid, |memory| {
            memory.known_job = Some(name);
            memory.create_refusal = None;
        }),
        Created::Refused(refusal) => {
            tracing::warn!(job = %name, ?refusal, "the API server refused a Job");
            operator.memories.change(uid, |memory| memory.create_refusal = Some((name, refusal)));
        }
    }
    Ok(())
}

async fn create<K: Kind>(
    operator: &Operator,
    namespace: &str,
    uid: &str,
    name: &str,
    object: &Value,
) -> Result<Created> {
    let Err(error) = operator.cluster.create::<K>(namespace, object, Mode::Persist).await else {
        return Ok(Created::Ours);
    };
    let Some(status) = error.api_status() else { return Err(error) };
    let message = status.message.clone();
    match status.code {
        409 if status.is_already_exists() => {
            let existing = operator.cluster.get::<K>(namespace, name).await?;
            Ok(match existing {
                Some(existing) if is_owned_by(&existing, uid) => Created::Ours,
                Some(_) | None => Created::Refused(CreateRefusal::NameTaken),
            })
        }
        400 | 422 => Ok(Created::Refused(CreateRefusal::Invalid(message))),
        403 => Ok(Created::Refused(CreateRefusal::Forbidden(message))),
        _ => Err(error),
    }
}

/// When an object was made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Now,
    Before,
}

async fn create_idempotently<K: Kind>(operator: &Operator, namespace: &str, object: &Value) -> Result<Made> {
    match operator.cluster.create::<K>(namespace, object, Mode::Persist).await {
        Ok(_) => Ok(Made::Now),
        Err(error) if error.api_status().is_some_and(kube::core::Status::is_already_exists) => Ok(Made::Before),
        Err(error) => Err(error),
    }
}

/// Invariant "one holder": a Lease is only ever created and deleted, never updated, so that its name is the lock.
/// One whose holder is gone is deleted exactly as it was seen; the next pass takes the lock.
async fn take_lock(operator: &Operator, relocation: &Relocation, namespace: &str, uid: &str) -> Result<()> {
    let name = lease_name(relocation.spec.effective_mutex());
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "labels": owner_labels(relocation),
            "annotations": { label(LOCK_GENERATION): relocation.metadata.generation.unwrap_or(0).to_string() },
            "ownerReferences": [owner_reference(relocation)],
        },
        "spec": { "holderIdentity": relocation.name_any() },
    });
    match operator.cluster.create::<Lease>(namespace, &lease, Mode::Persist).await {
        Ok(_) => return Ok(()),
        Err(error) if error.api_status().is_some_and(kube::core::Status::is_already_exists) => {}
        Err(error) => return Err(error),
    }
    let Some(existing) = operator.cluster.get::<Lease>(namespace, &name).await? else { return Ok(()) };
    if is_owned_by(&existing, uid) || living_holder(operator, namespace, &existing).await?.is_some() {
        return Ok(());
    }
    operator.cluster.delete::<Lease>(namespace, &name, &existing.uid().unwrap_or_default()).await
}

/// The plan as it is frozen: the spec whole, under the generation it had.
fn revision(relocation: &Relocation, plan: &Plan, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "labels": owner_labels(relocation),
            "ownerReferences": [owner_reference(relocation)],
        },
        "data": plan.spec,
        "revision": plan.generation,
    })
}
