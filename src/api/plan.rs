//! `RelocationPlan`: what each step of a relocation runs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Provenance, Step};

kind! {
    /// What each step of a relocation runs, which parameters it takes, and where it stops by itself.
    #[kube(
        kind = "RelocationPlan",
        shortname = "relocplan",
        status = "PlanStatus",
        doc = "A RelocationPlan says what each step of a relocation runs. Writing one equals creating pods in its namespace.",
        printcolumn(
            name = "Accepted",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
        ),
        printcolumn(
            name = "Reason",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Accepted\")].reason"
        ),
        printcolumn(name = "Max-Active", type_ = "integer", json_path = ".spec.maxActive"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
        printcolumn(
            name = "Message",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Accepted\")].message",
            priority = 1
        )
    )]
    pub struct RelocationPlanSpec {
        /// The parameters that a relocation may set, at most 64. Each reaches every task as an environment variable of its name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
        pub parameters: Vec<ParameterDeclaration>,

        /// The step before which every relocation stops by itself, by provenance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub auto_pause_at_step: Option<AutoPauseAtStep>,

        /// At most this many relocations of the plan work at once; the rest wait in the order in which they began to wait.
        /// 0 closes the plan; absent means no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0))]
        pub max_active: Option<i32>,

        /// One volume per relocation, mounted at `/relocation` in every task.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub workspace: Option<WorkspaceSpec>,

        /// What each step runs, keyed by `step`. A step that is missing or has no tasks is passed through.
        #[schemars(length(min = 1, max = 6))]
        #[x_kube(merge_strategy = ListMerge::Map(vec!["step".into()]))]
        pub steps: Vec<PlanStep>,

        /// One Job after every ending, told the result. Its outcome is the condition `Notified` and never changes the result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub on_end: Option<OnEnd>,
    }
}

/// A parameter that a relocation may set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterDeclaration {
    /// A C identifier of at most 63 characters that does not begin with `RELOCATION_`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// What it is for, at most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The value when the relocation sets none, at most 4096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub default: Option<String>,
    /// Whether a relocation must set it. Means nothing beside a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}

/// The step before which every relocation stops by itself, by provenance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AutoPauseAtStep {
    /// For data from an installation that the owner runs.
    #[serde(rename = "SELF_HOSTED", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "Step::stoppable_schema")]
    pub self_hosted: Option<Step>,
    /// For data from one hosted region or service to another.
    #[serde(rename = "SAAS_TO_SAAS", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "Step::stoppable_schema")]
    pub saas_to_saas: Option<Step>,
}

impl AutoPauseAtStep {
    /// The fence for one provenance.
    #[must_use]
    pub const fn of(&self, provenance: Provenance) -> Option<Step> {
        match provenance {
            Provenance::SelfHosted => self.self_hosted,
            Provenance::SaasToSaas => self.saas_to_saas,
        }
    }
}

/// One volume per relocation, owned by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceSpec {
    /// How much is asked for, as a Kubernetes quantity such as `10Gi`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i?|[mk])?$"))]
    pub storage: String,
    /// The storage class; absent means the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// The access modes; absent means `ReadWriteOnce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), inner(length(max = 63)))]
    pub access_modes: Option<Vec<String>>,
}

/// What one step runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// The step.
    #[schemars(schema_with = "Step::working_schema")]
    pub step: Step,
    /// Its tasks in order, at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub tasks: Vec<TaskSpec>,
}

/// A named unit of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSpec {
    /// The task's name within its step: a DNS label of at most 63 characters.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// How many attempts it may take, 1 to 100.
    #[serde(default = "default_attempts")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts: i32,
    /// How long one attempt may take, in seconds, 1 to 31536000 (one year).
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub timeout_seconds: i64,
    /// How long to wait after the first failed attempt, in seconds, at most 86400; doubled after each further one.
    #[serde(default = "default_backoff_seconds")]
    #[schemars(range(min = 0, max = 86_400))]
    pub backoff_seconds: i64,
    /// The longest wait between two attempts, in seconds, at most 86400.
    #[serde(default = "default_max_backoff_seconds")]
    #[schemars(range(min = 0, max = 86_400))]
    pub max_backoff_seconds: i64,
    /// Exit codes from 1 to 255 that fail the task at once, at most 32.
    #[serde(default = "default_fatal_exit_codes")]
    #[schemars(length(max = 32), inner(range(min = 1, max = 255)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub fatal_exit_codes: Vec<i32>,
    /// Whether a failure of the task can be recovered from.
    #[serde(default = "default_recoverable")]
    pub recoverable: bool,
    /// Whether the task must report a verdict. The last task of VALIDATING must.
    #[serde(default)]
    pub evidence: bool,
    /// What a failure of the task does. Default: `Ignore` in NOTIFYING, `Fail` elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "FailurePolicy::schema")]
    pub failure_policy: Option<FailurePolicy>,
    /// Run the task only for relocations of this provenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "Provenance::schema")]
    pub provenance: Option<Provenance>,
    /// The pod that does the work.
    pub template: PodTemplate,
}

impl TaskSpec {
    /// The failure policy in force when the task stands in `step`.
    #[must_use]
    pub fn effective_failure_policy(&self, step: Step) -> FailurePolicy {
        self.failure_policy.unwrap_or(if step == Step::Notifying { FailurePolicy::Ignore } else { FailurePolicy::Fail })
    }
}

const fn default_attempts() -> i32 {
    4
}

const fn default_timeout_seconds() -> i64 {
    3600
}

const fn default_backoff_seconds() -> i64 {
    10
}

const fn default_max_backoff_seconds() -> i64 {
    600
}

fn default_fatal_exit_codes() -> Vec<i32> {
    vec![65]
}

const fn default_recoverable() -> bool {
    true
}

/// What a failure of a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// The relocation fails.
    Fail,
    /// The failure is recorded and the relocation goes on.
    Ignore,
}

impl FailurePolicy {
    /// The schema of an optional field; keeps the field's own description.
    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": [Self::Fail, Self::Ignore] })
    }
}

/// One Job after every ending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnEnd {
    /// The pod that tells of the ending.
    pub template: PodTemplate,
    /// How long it may take, in seconds, 1 to 86400.
    #[serde(default = "default_on_end_timeout_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: i64,
}

const fn default_on_end_timeout_seconds() -> i64 {
    300
}

/// A `PodTemplateSpec`, kept as it was written so that no field of a newer server is lost.
///
/// The schema leaves it open; the API server judges it by a dry run when the plan is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodTemplate(pub Map<String, Value>);

impl JsonSchema for PodTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PodTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true
        })
    }
}

/// The truth about a plan. Written only by the controller.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// The last generation of the plan that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// A hash of the spec that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub hash: Option<String>,
    /// `Accepted`, with the exact error when False.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
