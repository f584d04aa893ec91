//! The words of the product: kinds, enums, admission rules, names and conditions.
//!
//! Holds no client, no clock and no randomness, so that every other part can depend on it.

/// The API group of every kind, and the prefix of every label and annotation of ours.
pub const GROUP: &str = "relocation.dev";

/// The API version of every kind.
pub const VERSION: &str = "v1alpha1";

/// Declares a kind: puts group and version on it, which stand in this file and nowhere else.
///
/// The category is not called `relocation`: kubectl looks a category up before a kind of the same name, and
/// `kubectl get relocation NAME` would fail.
macro_rules! kind {
    ($kind:item) => {
        #[derive(
            kube::CustomResource, kube::KubeSchema, Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize,
        )]
        #[allow(clippy::duplicated_attributes, reason = "printer columns of one type repeat `type_`")]
        #[serde(rename_all = "camelCase")]
        #[kube(
            group = "relocation.dev",
            version = "v1alpha1",
            namespaced,
            category = "relocation-operator",
            derive = "PartialEq"
        )]
        $kind
    };
}

pub mod admission;
mod artifact_index;
mod conditions;
mod crd;
mod names;
mod plan;
mod relocation;
mod status;
mod step;
mod task_result;

pub use artifact_index::{ArtifactIndex, ArtifactIndexSpec, IndexedArtifact};
pub use conditions::{ConditionType, condition_status, find_condition};
pub use crd::{all_crds, crd};
pub use names::{Labels, artifact_index_name, failure_id, job_name, label, lease_name, mutex_label, short_hash};
pub use names::{end_job_name, revision_name, workspace_name};
pub use plan::{
    AutoPauseAtStep, FailurePolicy, OnEnd, ParameterDeclaration, PlanStatus, PlanStep, PodTemplate, RelocationPlan,
    RelocationPlanSpec, TaskSpec, WorkspaceSpec,
};
pub use relocation::{
    AutoPause, DesiredState, LateRequests, PlanReference, Provenance, Readiness, Relocation, RelocationSpec, RetryOf,
    WhenLocked,
};
pub use status::{
    AnsweredRequests, Failure, FailureReason, HistoryEntry, LateRequest, Pause, PauseReason, PlanInUse,
    RelocationStatus, RetriedBy, StatusValue, StepStatus, TaskStatus, WorkState,
};
pub use step::Step;
pub use task_result::{Artifact, TaskResult, Verdict, clean_message, environment};

#[cfg(test)]
mod tests {
    use kube::Resource;

    use super::*;

    #[test]
    fn every_kind_is_of_the_one_group_and_version() {
        let api_version = format!("{GROUP}/{VERSION}");
        assert_eq!(Relocation::api_version(&()), api_version);
        assert_eq!(RelocationPlan::api_version(&()), api_version);
        assert_eq!(ArtifactIndex::api_version(&()), api_version);
    }
}
