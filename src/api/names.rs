//! Names and labels of everything that belongs to a relocation.
//!
//! A name is derived when the intent is recorded; afterwards it is read from the status, never derived again.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{GROUP, Step};

/// How many characters of a relocation's name go into the names of what belongs to it:
/// 40 and a hyphen and 8 hex digits leave room for the suffix that the Job controller gives to pods (63 in all).
const NAME_PREFIX_LENGTH: usize = 40;

/// The first 8 hex digits of SHA-256 over the parts, each closed by a zero byte so that no two lists of parts collide.
#[must_use]
pub fn short_hash(parts: &[&str]) -> String {
    long_hash(parts)[..8].to_owned()
}

fn long_hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn name_with_hash(relocation: &str, parts: &[&str]) -> String {
    let prefix: String = relocation.chars().take(NAME_PREFIX_LENGTH).collect();
    format!("{}-{}", prefix.trim_end_matches(['-', '.']), short_hash(parts))
}

/// The name of the Job of one launch: `<relocation, at most 40 characters>-<8 hex digits of a hash of uid and launch>`.
#[must_use]
pub fn job_name(relocation: &str, uid: &str, launch: i64) -> String {
    name_with_hash(relocation, &["job", uid, &launch.to_string()])
}

/// The name of the `onEnd` Job of one ending, told apart by how many recoveries came before it.
#[must_use]
pub fn end_job_name(relocation: &str, uid: &str, recoveries: i32) -> String {
    name_with_hash(relocation, &["end", uid, &recoveries.to_string()])
}

/// The name of the `ControllerRevision` that freezes the plan for one run or recovery.
#[must_use]
pub fn revision_name(relocation: &str, uid: &str, recoveries: i32) -> String {
    name_with_hash(relocation, &["revision", uid, &recoveries.to_string()])
}

/// The name of the workspace volume's claim.
#[must_use]
pub fn workspace_name(relocation: &str, uid: &str) -> String {
    name_with_hash(relocation, &["workspace", uid])
}

/// The name of the index of a relocation's artifacts: the relocation's own.
#[must_use]
pub fn artifact_index_name(relocation: &str) -> &str {
    relocation
}

/// The name of the Lease that stands for a mutex; the mutex may hold characters that a name may not.
#[must_use]
pub fn lease_name(mutex: &str) -> String {
    format!("relocation-{}", &long_hash(&["mutex", mutex])[..32])
}

/// The value of the mutex label.
#[must_use]
pub fn mutex_label(mutex: &str) -> String {
    long_hash(&["mutex", mutex])[..32].to_owned()
}

/// The id of a failure, `<STEP>-<n>-<8 hex digits>` with n = recoveries + 1.
///
/// The digits are a hash of uid, n and time, so that a token left in Git never becomes live again.
#[must_use]
pub fn failure_id(step: Step, uid: &str, recoveries: i32, now: Timestamp) -> String {
    let number = recoveries.saturating_add(1);
    format!("{step}-{number}-{}", short_hash(&["failure", uid, &number.to_string(), &now.as_nanosecond().to_string()]))
}

/// The key of a label or annotation of ours.
#[must_use]
pub fn label(name: &str) -> String {
    format!("{GROUP}/{name}")
}

/// The labels of a Job and of its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels<'a> {
    /// The relocation's name; cut to 63 characters by the rule on names.
    pub relocation: &'a str,
    /// The identity of the run.
    pub uuid: &'a str,
    /// The mutex in force.
    pub mutex: &'a str,
    /// The step, or nothing for the `onEnd` Job.
    pub step: Option<Step>,
    /// The task, or `on-end`.
    pub task: &'a str,
    /// The attempt, from 1.
    pub attempt: i32,
    /// The fencing token.
    pub launch: i64,
}

impl Labels<'_> {
    /// The name, without the group, of the label that every Job and pod of ours carries.
    pub const NAME: &'static str = "name";
    /// The label of the run's identity.
    pub const UUID: &'static str = "uuid";
    /// The label of the mutex; pods and Jobs of the `onEnd` hook do not carry it, because they are not part of it.
    pub const MUTEX: &'static str = "mutex";
    /// The label of the step, in lower case.
    pub const STEP: &'static str = "step";
    /// The label of the task.
    pub const TASK: &'static str = "task";
    /// The label of the attempt.
    pub const ATTEMPT: &'static str = "attempt";
    /// The label of the fencing token.
    pub const LAUNCH: &'static str = "launch";

    /// The labels as a map.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            ("app.kubernetes.io/managed-by".to_owned(), "relocation-operator".to_owned()),
            (label(Self::NAME), self.relocation.to_owned()),
            (label(Self::UUID), self.uuid.to_owned()),
            (label(Self::TASK), self.task.to_owned()),
            (label(Self::ATTEMPT), self.attempt.to_string()),
            (label(Self::LAUNCH), self.launch.to_string()),
        ]);
        if let Some(step) = self.step {
            labels.insert(label(Self::STEP), step.as_str().to_lowercase());
            labels.insert(label(Self::MUTEX), mutex_label(self.mutex));
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_name_leaves_room_for_a_pod_suffix() {
        let name = job_name(&"a".repeat(52), "3f0c", 7);
        assert_eq!(name.len(), 49);
        assert!(name.len() + "-xxxxx".len() <= 63);
    }

    #[test]
    fn a_cut_name_does_not_end_in_a_hyphen_before_the_hash() {
        let relocation = format!("{}-tail", "a".repeat(39));
        assert!(!job_name(&relocation, "u", 1).contains("--"));
    }

    #[test]
    fn names_of_different_launches_differ() {
        assert_ne!(job_name("acme", "u", 1), job_name("acme", "u", 2));
        assert_ne!(short_hash(&["ab", "c"]), short_hash(&["a", "bc"]));
    }
}
