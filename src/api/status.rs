//! The truth about a relocation, in `status`. Written only by the controller.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AutoPause, DesiredState, RelocationSpec, Step, admission, short_hash};

/// The truth about a relocation.
///
/// The schema's default is `{observedGeneration: -1}`, so that kstatus does not take a new object for a finished one.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = admission::step_goes_forward(),
    validation = admission::an_ending_stays(),
    validation = admission::attempt_grows(),
    validation = admission::launch_grows(),
    validation = admission::recoveries_grow(),
    validation = admission::uuid_stays(),
    validation = admission::a_failure_has_a_reason(),
    validation = admission::a_pause_has_a_reason(),
    validation = admission::success_is_completed()
)]
pub struct RelocationStatus {
    /// The last generation of the object that was seen and answered; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Identity of the run: `spec.uuid`, or else the object's uid. Written once.
    /// It is the storage prefix and the idempotency key of every task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub uuid: Option<String>,

    /// The uuid of the first relocation of a chain of retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub origin: Option<String>,

    /// What the relocation is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusValue>,

    /// The step that runs, or that is the next to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "Step::any_schema")]
    pub step: Option<Step>,

    /// The task that runs, or that is the next to run. 1 to 63 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub task: Option<String>,

    /// Whether the first launch of `step` has been recorded.
    #[serde(default, skip_serializing_if = "is_false")]
    pub entered: bool,

    /// The attempt of `task`, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,

    /// How many attempts `task` may take: the plan's number when the task was first started, or one more after a
    /// recover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_limit: Option<i32>,

    /// Grows with every intent to start a Job: the greater of the previous one plus 1 and the seconds since 1970.
    /// It is the fencing token and names the Job. At most 2^53 - 1, so that no reader of JSON rounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_990_i64))]
    pub launch: Option<i64>,

    /// When the intent of the last launch was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched_at: Option<Time>,

    /// The Job of the last launch while it may still run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub job: Option<String>,

    /// How many Jobs of the present attempt were lost in a row; three are a failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs_missing: Option<i32>,

    /// The plan in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanInUse>,

    /// The plan's automatic fence, read when the plan was frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "Step::stoppable_schema")]
    pub auto_pause_at_step: Option<Step>,

    /// What became of each step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<StepStatus>,

    /// Why and since when it stands still; present while PAUSE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,

    /// What went wrong; present while FAILURE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,

    /// The last request that came too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<LateRequest>,

    /// How many recovers were accepted. Only grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoveries: Option<i32>,

    /// The requests of `spec` as they were last answered; what differs in a later generation is a new request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<AnsweredRequests>,

    /// The last 20 requests by people, and endings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub history: Vec<HistoryEntry>,

    /// When the first launch was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When the relocation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,

    /// Since when it has been IN_PROGRESS; present while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_since: Option<Time>,

    /// Seconds spent IN_PROGRESS before `activeSince`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_seconds: Option<i64>,

    /// Since when it has waited for a place under the plan's `maxActive`; present while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Time>,

    /// The workspace volume's claim of the relocation that this one starts over, mounted read-only at
    /// `/relocation-source` in every task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub source_workspace: Option<String>,

    /// When the next attempt starts, while a back-off runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,

    /// Ready, Reconciling, Stalled, Succeeded, Paused, Cancelling, Notified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl RelocationStatus {
    /// Whether `step` is behind: earlier than the present step, or equal to it and entered.
    #[must_use]
    pub fn is_behind(&self, step: Step) -> bool {
        self.step.is_some_and(|present| step < present || (step == present && self.entered))
    }

    /// Whether the relocation has ended, for now or for good: SUCCESS or FAILURE.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.status, Some(StatusValue::Success | StatusValue::Failure))
    }
}

/// What a relocation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StatusValue {
    /// Nothing runs; it waits for its plan, a lock or a place.
    #[serde(rename = "PENDING")]
    Pending,
    /// It works, or waits by itself for the next attempt.
    #[serde(rename = "IN_PROGRESS")]
    InProgress,
    /// It stands before a fence, or was suspended.
    #[serde(rename = "PAUSE")]
    Pause,
    /// It has ended without success.
    #[serde(rename = "FAILURE")]
    Failure,
    /// Everything is done.
    #[serde(rename = "SUCCESS")]
    Success,
}

impl StatusValue {
    /// Every value, in the order of the API's documentation.
    pub const ALL: [Self; 5] = [Self::Pending, Self::InProgress, Self::Pause, Self::Failure, Self::Success];

    /// The name as it stands in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::Pause => "PAUSE",
            Self::Failure => "FAILURE",
            Self::Success => "SUCCESS",
        }
    }
}

/// The plan that a relocation runs, frozen when it was first needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanInUse {
    /// The generation of the plan that was frozen.
    pub generation: i64,
    /// The `ControllerRevision` that holds it.
    #[schemars(length(max = 63))]
    pub revision: String,
}

/// What became of a step or a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkState {
    /// Not started.
    #[default]
    Pending,
    /// Started, not ended.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Had nothing to do.
    Skipped,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The step; `COMPLETED` stands for the plan's `onEnd`.
    pub name: Step,
    /// How far it is.
    pub state: WorkState,
    /// When its first launch was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When its last task ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// What became of its tasks that were started, in the order of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tasks: Vec<TaskStatus>,
}

/// What became of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    /// The task's name in the plan.
    #[schemars(length(max = 63))]
    pub name: String,
    /// How far it is.
    pub state: WorkState,
    /// How many attempts were started.
    pub attempts: i32,
    /// The Job of the last launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub job: Option<String>,
    /// The exit code of the last attempt that ended with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The message of the last attempt that ended, at most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The counts that the task reported, at most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub counts: BTreeMap<String, i64>,
}

/// Why and since when a relocation stands still.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// The step before which, or in which, it stands.
    #[schemars(schema_with = "Step::working_schema")]
    pub step: Step,
    /// Since when nothing has worked.
    pub since: Time,
    /// What holds it.
    pub reason: PauseReason,
    /// A sentence that says what holds it and how to go on.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// What holds a paused relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PauseReason {
    /// `spec.pauseAtStep`.
    Fence,
    /// The plan's automatic fence.
    AutoFence,
    /// `spec.desiredState: Suspended`; wins over the others.
    Suspended,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The id that `spec.recover` takes: `<STEP>-<n>-<8 hex digits>`.
    #[schemars(length(max = 63))]
    pub id: String,
    /// The step that failed, or that would have been entered next.
    #[schemars(schema_with = "Step::working_schema")]
    pub step: Step,
    /// The task that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub task: Option<String>,
    /// The attempt that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// Whether the step had been entered.
    #[serde(default)]
    pub entered: bool,
    /// Why, in one word.
    pub reason: FailureReason,
    /// Why, in a sentence; at most 1024 characters.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// The exit code of the last attempt, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Whether `spec.recover` can try again.
    #[serde(default)]
    pub recoverable: bool,
    /// The relocation that starts this one over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_by: Option<RetriedBy>,
    /// When it was recorded.
    pub at: Time,
}

/// The relocation that starts a failed one over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetriedBy {
    /// Its name in the same namespace.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its uid.
    #[schemars(length(max = 36))]
    pub uid: String,
}

/// Why a relocation ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FailureReason {
    /// `spec.desiredState: Aborted`.
    Aborted,
    /// `spec.cancelAtStep` named the next step.
    Cancelled,
    /// `spec.activeDeadlineSeconds` was used up.
    DeadlineExceeded,
    /// Every attempt of the task failed.
    AttemptsExhausted,
    /// The task ended with one of its `fatalExitCodes`.
    FatalExitCode,
    /// A task with `evidence: true` ended without a verdict.
    EvidenceMissing,
    /// A task with `evidence: true` reported `INVALID`.
    ValidationInvalid,
    /// The API server refused the Job for good.
    JobRefused,
    /// Another relocation holds the mutex.
    Locked,
    /// The object was restored or its status was wiped.
    StatusLost,
}

impl FailureReason {
    /// The reason as it stands in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "Aborted",
            Self::Cancelled => "Cancelled",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::AttemptsExhausted => "AttemptsExhausted",
            Self::FatalExitCode => "FatalExitCode",
            Self::EvidenceMissing => "EvidenceMissing",
            Self::ValidationInvalid => "ValidationInvalid",
            Self::JobRefused => "JobRefused",
            Self::Locked => "Locked",
            Self::StatusLost => "StatusLost",
        }
    }
}

/// The last request that came too late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LateRequest {
    /// The field of `spec`.
    #[schemars(length(max = 63))]
    pub field: String,
    /// The value that was asked for.
    #[schemars(length(max = 253))]
    pub value: String,
    /// Why it has no effect.
    #[schemars(length(max = 1024))]
    pub why: String,
    /// When it was noticed.
    pub at: Time,
}

/// The fields of `spec` by which people steer, as they were when their edits were last answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnsweredRequests {
    /// `spec.pauseAtStep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "Step::any_schema")]
    pub pause_at_step: Option<Step>,
    /// `spec.cancelAtStep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "Step::any_schema")]
    pub cancel_at_step: Option<Step>,
    /// `spec.autoPause`.
    #[serde(default)]
    pub auto_pause: AutoPause,
    /// `spec.desiredState`.
    #[serde(default)]
    pub desired_state: DesiredState,
    /// `spec.recover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub recover: Option<String>,
    /// A hash of `spec.parameters`, 8 hex digits.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub parameters: String,
}

impl AnsweredRequests {
    /// The requests that a spec makes.
    #[must_use]
    pub fn of(spec: &RelocationSpec) -> Self {
        let parameters: Vec<&str> =
            spec.parameters.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect();
        Self {
            pause_at_step: spec.pause_at_step,
            cancel_at_step: spec.cancel_at_step,
            auto_pause: spec.auto_pause,
            desired_state: spec.desired_state,
            recover: spec.recover.clone(),
            parameters: short_hash(&parameters),
        }
    }
}

/// One request by a person, or one ending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// When it was noticed.
    pub at: Time,
    /// What was asked, or how it ended: the reason of the event that told it.
    #[schemars(length(max = 63))]
    pub action: String,
    /// The step at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "Step::any_schema")]
    pub step: Option<Step>,
    /// A sentence with the particulars, at most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub detail: Option<String>,
    /// `spec.reason` at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// Who wrote the request, from `metadata.managedFields`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub manager: Option<String>,
}
