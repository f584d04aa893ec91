//! The conditions of a relocation and of a plan.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// A type of condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// What kstatus and GitOps tools read; its meaning is chosen by `spec.readiness`.
    Ready,
    /// It works or waits by itself; present only while True. The message says what it waits for.
    Reconciling,
    /// It waits for a person; present only while True, never together with `Reconciling`.
    Stalled,
    /// Unknown while active, then final.
    Succeeded,
    /// Whether it stands before a fence or was suspended.
    Paused,
    /// A cancel is scheduled, or pods are being stopped; present only while True.
    Cancelling,
    /// The outcome of the plan's `onEnd` Job; only with `onEnd`.
    Notified,
    /// Of a plan: whether it can be used.
    Accepted,
}

impl ConditionType {
    /// The type as it stands in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Succeeded => "Succeeded",
            Self::Paused => "Paused",
            Self::Cancelling => "Cancelling",
            Self::Notified => "Notified",
            Self::Accepted => "Accepted",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The values of `Condition::status`.
pub mod condition_status {
    /// It is so.
    pub const TRUE: &str = "True";
    /// It is not so.
    pub const FALSE: &str = "False";
    /// It cannot be said yet.
    pub const UNKNOWN: &str = "Unknown";
}

/// The condition of a type, when there is one.
#[must_use]
pub fn find_condition(conditions: &[Condition], wanted: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == wanted.as_str())
}
