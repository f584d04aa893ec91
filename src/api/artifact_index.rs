//! `ArtifactIndex`: what the tasks of one relocation left behind, as a resource with permissions of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Step;

kind! {
    /// What the tasks of one relocation reported as artifacts. It has the relocation's name and is owned by it.
    #[kube(
        kind = "ArtifactIndex",
        plural = "artifactindices",
        doc = "An ArtifactIndex lists what the tasks of one relocation left behind. Only relocation-admin may read it.",
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
    )]
    pub struct ArtifactIndexSpec {
        /// The artifacts in the order in which they were reported; at most 1024.
        #[serde(default)]
        #[schemars(length(max = 1024))]
        #[x_kube(merge_strategy = ListMerge::Atomic)]
        pub artifacts: Vec<IndexedArtifact>,
    }
}

/// One artifact and the task that reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IndexedArtifact {
    /// Its name, at most 253 characters.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Where it lies, as the task wrote it; at most 1024 characters.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// The step of the task that reported it.
    pub step: Step,
    /// The task that reported it.
    #[schemars(length(max = 63))]
    pub task: String,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Its digest as `algorithm:hex`, at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub digest: Option<String>,
}
