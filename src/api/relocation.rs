//! `Relocation`: the intent of one move, in `spec`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::admission::{self, Settled};
use super::{RelocationStatus, Step};

kind! {
    /// The intent of one relocation: whose data moves, by which plan, and where people want it to stop.
    ///
    /// The controller never writes it.
    #[kube(
        kind = "Relocation",
        shortname = "reloc",
        status = "RelocationStatus",
        doc = "A Relocation moves one owner's data through six ordered steps. The intent is in spec, the truth is in status.",
        selectable = ".spec.owner",
        selectable = ".spec.planRef.name",
        selectable = ".status.status",
        selectable = ".status.step",
        printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
        printcolumn(name = "Status", type_ = "string", json_path = ".status.status"),
        printcolumn(name = "Task", type_ = "string", json_path = ".status.task"),
        printcolumn(name = "Try", type_ = "integer", json_path = ".status.attempt"),
        printcolumn(name = "Pause-At", type_ = "string", json_path = ".spec.pauseAtStep"),
        printcolumn(
            name = "Ready",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Ready\")].status"
        ),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
        printcolumn(
            name = "Reason",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
            priority = 1
        ),
        printcolumn(name = "Failure", type_ = "string", json_path = ".status.failure.id", priority = 1),
        printcolumn(name = "Job", type_ = "string", json_path = ".status.job", priority = 1),
        printcolumn(name = "Plan", type_ = "string", json_path = ".spec.planRef.name", priority = 1),
        printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner", priority = 1),
        validation = admission::pause_at_step(),
        validation = admission::cancel_at_step(),
        validation = admission::recover(),
        validation = admission::leave_aborted(),
        validation = admission::parameters(),
        validation = admission::enter_step(),
        validation = admission::pass_step(),
        validation = admission::count_recovery()
    )]
    #[x_kube(
        validation = admission::settled(Settled::PLAN),
        validation = admission::settled(Settled::OWNER),
        validation = admission::settled(Settled::PROVENANCE),
        validation = admission::settled_items(),
        validation = admission::settled(Settled::UUID),
        validation = admission::settled(Settled::RETRY_OF),
        validation = admission::settled(Settled::MUTEX)
    )]
    pub struct RelocationSpec {
        /// The plan that says what each step runs. Never changes.
        pub plan_ref: PlanReference,

        /// Who answers for the moved data: an organisation, a tenant, a team. 1 to 253 characters. Never changes.
        #[schemars(length(min = 1, max = 253))]
        pub owner: String,

        /// Where the data comes from. Picks the plan's automatic fence and is given to every task. Never changes.
        #[serde(default)]
        pub provenance: Provenance,

        /// What to move, as named at the source: at most 100 slugs of small letters, digits and hyphens, not all digits.
        /// An empty list means everything the plan moves. Never changes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 100), inner(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")))]
        #[x_kube(
            merge_strategy = ListMerge::Atomic,
            validation = admission::items_are_distinct(),
            validation = admission::items_are_slugs()
        )]
        pub items: Vec<String>,

        /// Identity that survives re-creating the object, as a UUID in small letters.
        /// Default: the object's own uid. Never changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(equal = 36), regex(pattern = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"))]
        pub uuid: Option<String>,

        /// Values for the parameters that the plan declares: at most 64, each value at most 4096 characters.
        /// May change only while no task runs (PENDING, PAUSE or FAILURE).
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        #[schemars(schema_with = "parameters_schema")]
        pub parameters: BTreeMap<String, String>,

        /// The fence: the relocation stops before this step and waits in PAUSE until the fence is cleared or moved.
        /// Once the API server has stored it for a step that has not been entered, no work of that step starts while it stands.
        /// Clearing it lets the relocation go on; moving it to a later step lets it go on until there.
        /// It is a level, not a command: applying the same value again changes nothing at any moment.
        ///
        /// It can be set or moved at any time to a step that has not been entered.
        /// For a step that has been entered, or after SUCCESS, it is too late: the API server refuses the change and says
        /// which step can still be fenced, or, with lateRequests: Report, it is stored, has no effect, and is answered in
        /// status.late.
        /// The plan's automatic fence (status.autoPauseAtStep) holds beside it and is opened by autoPause: Skip.
        ///
        /// Example: kubectl patch relocation NAME --type=merge -p '{"spec":{"pauseAtStep":"IMPORTING"}}'.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "Step::stoppable_schema")]
        pub pause_at_step: Option<Step>,

        /// Whether the automatic fence of the plan holds. `Skip` opens it.
        #[serde(default)]
        pub auto_pause: AutoPause,

        /// End the relocation instead of entering this step: FAILURE, reason Cancelled.
        /// Beats a fence on the same step, and is withdrawn by clearing it.
        /// For a step that has been entered it is too late, as for pauseAtStep; desiredState: Aborted ends the relocation now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "Step::stoppable_schema")]
        pub cancel_at_step: Option<Step>,

        /// `Active` lets the relocation work, `Suspended` stops the running work now, `Aborted` ends the relocation now.
        #[serde(default)]
        pub desired_state: DesiredState,

        /// The id of the failure to recover from, as shown in `status.failure.id`: one more attempt of exactly that failure.
        /// While the relocation is in FAILURE any other value is refused; in every other state a value is stored and does
        /// nothing, so that an id left in a manifest is harmless.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z]+-[0-9]+-[0-9a-f]{8}$"))]
        pub recover: Option<String>,

        /// The failed relocation that this one starts over. Never changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub retry_of: Option<RetryOf>,

        /// The name under which at most one relocation of the namespace may work at a time. Default: the owner.
        /// Never changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1, max = 253))]
        pub mutex: Option<String>,

        /// What to do when another relocation holds the mutex: fail at once, or wait.
        #[serde(default)]
        pub when_locked: WhenLocked,

        /// What happens to a request that comes too late: refused by the API server, or stored and reported in
        /// `status.late`. Manifests kept in Git use `Report`.
        #[serde(default)]
        pub late_requests: LateRequests,

        /// Why the last change was made, at most 256 characters. Copied into the history with each accepted request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(max = 256))]
        pub reason: Option<String>,

        /// Budget of the whole run in seconds, at least 1. Time in PENDING, PAUSE and FAILURE does not count.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        pub active_deadline_seconds: Option<i64>,

        /// This many seconds after SUCCESS the Jobs, pods and workspace are deleted; absent keeps them.
        /// The Relocation itself is never deleted by the controller: it is the record that keeps a GitOps tool from
        /// running the move again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0))]
        pub cleanup_seconds_after_finished: Option<i64>,

        /// What `Ready=True` means to GitOps tools: the move has succeeded, or it has been accepted.
        #[serde(default)]
        pub readiness: Readiness,
    }
}

impl RelocationSpec {
    /// The mutex in force: `mutex`, or else the owner.
    #[must_use]
    pub fn effective_mutex(&self) -> &str {
        self.mutex.as_deref().unwrap_or(&self.owner)
    }
}

fn parameters_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 4096 }
    })
}

/// Names a plan of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanReference {
    /// The plan's name, 1 to 253 characters.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Names the failed relocation that a retry starts over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryOf {
    /// The relocation's name in the same namespace, 1 to 52 characters.
    #[schemars(length(min = 1, max = 52))]
    pub name: String,
    /// The relocation's uid, so that another object of the same name is never meant.
    #[schemars(length(equal = 36))]
    pub uid: String,
}

/// Where the data comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Provenance {
    /// From an installation that the owner runs.
    #[default]
    #[serde(rename = "SELF_HOSTED")]
    SelfHosted,
    /// From one hosted region or service to another.
    #[serde(rename = "SAAS_TO_SAAS")]
    SaasToSaas,
}

impl Provenance {
    /// The name as it stands in the API and in `RELOCATION_PROVENANCE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SelfHosted => "SELF_HOSTED",
            Self::SaasToSaas => "SAAS_TO_SAAS",
        }
    }

    /// The schema of an optional field; keeps the field's own description.
    pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": [Self::SelfHosted, Self::SaasToSaas] })
    }
}

/// Whether the automatic fence of the plan holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AutoPause {
    /// The automatic fence holds.
    #[default]
    Honour,
    /// The automatic fence is open.
    Skip,
}

/// What people want the relocation to do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    /// Work.
    #[default]
    Active,
    /// Stop the running work now and keep step, task and attempt.
    Suspended,
    /// End now.
    Aborted,
}

/// What to do when another relocation holds the mutex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WhenLocked {
    /// End in FAILURE, reason `Locked`.
    #[default]
    Fail,
    /// Wait in PENDING.
    Wait,
}

/// What happens to a request that comes too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LateRequests {
    /// The API server refuses it.
    #[default]
    Refuse,
    /// It is stored, has no effect, and is answered in `status.late`.
    Report,
}

/// What `Ready=True` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Readiness {
    /// The move has succeeded.
    #[default]
    WhenSucceeded,
    /// The move has been accepted.
    WhenAccepted,
}
