//! The index of what tasks left behind: a resource of its own, because reading it is a right of its own.

use kube::ResourceExt;
use serde_json::json;

use super::cluster::Mode;
use super::error::ReconcileError;
use super::reconcile::Operator;
use crate::api::{ArtifactIndex, IndexedArtifact, Relocation, artifact_index_name};
use crate::lifecycle::{PodSeen, owner_labels, owner_reference};

/// How many artifacts an index holds.
const ARTIFACT_LIMIT: usize = 1024;

/// Adds what the pods of a finished task reported. Done before the status moves on, and idempotent by step, task and
/// name: a pass that is repeated replaces what it wrote.
pub(super) async fn store(
    operator: &Operator,
    relocation: &Relocation,
    pods: &[PodSeen],
) -> Result<(), ReconcileError> {
    let status = relocation.status.clone().unwrap_or_default();
    let (Some(step), Some(task)) = (status.step, status.task) else { return Ok(()) };
    let reported: Vec<_> = pods
        .iter()
        .filter_map(|pod| pod.result.as_ref())
        .flat_map(|result| &result.artifacts)
        .map(|artifact| IndexedArtifact {
            name: artifact.name.clone(),
            path: artifact.path.clone(),
            step,
            task: task.clone(),
            size_bytes: artifact.size_bytes,
            digest: artifact.digest.clone(),
        })
        .collect();
    if reported.is_empty() {
        return Ok(());
    }
    let namespace = relocation.namespace().unwrap_or_default();
    let relocation_name = relocation.name_any();
    let name = artifact_index_name(&relocation_name);
    let existing = operator.cluster.get::<ArtifactIndex>(&namespace, name).await?;
    let Some(existing) = existing else {
        let index = json!({
            "apiVersion": format!("{}/{}", crate::api::GROUP, crate::api::VERSION),
            "kind": "ArtifactIndex",
            "metadata": {
                "name": name,
                "labels": owner_labels(relocation),
                "ownerReferences": [owner_reference(relocation)],
            },
            "spec": { "artifacts": reported },
        });
        operator.cluster.create::<ArtifactIndex>(&namespace, &index, Mode::Persist).await?;
        return Ok(());
    };
    let mut artifacts = existing.spec.artifacts.clone();
    artifacts.retain(|known| {
        !reported.iter().any(|new| new.step == known.step && new.task == known.task && new.name == known.name)
    });
    artifacts.extend(reported);
    artifacts.truncate(ARTIFACT_LIMIT);
    if artifacts == existing.spec.artifacts {
        return Ok(());
    }
    let patch = json!({
        "metadata": { "resourceVersion": existing.resource_version() },
        "spec": { "artifacts": artifacts },
    });
    operator.cluster.patch::<ArtifactIndex>(&namespace, name, &patch).await?;
    Ok(())
}
