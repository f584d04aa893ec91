//! Judges plans: what can be read in them, and what the API server says to a dry run of each Job and pod.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::cluster::Mode;
use super::error::ReconcileError;
use super::reconcile::Operator;
use super::record::merge_patch;
use super::{clock, cluster::Cluster};
use crate::api::{
    ConditionType, PlanStatus, PodTemplate, Relocation, RelocationPlan, Step, TaskSpec, condition_status,
    find_condition, short_hash,
};
use crate::lifecycle::{Plan, PlanSeen, build_sample_job};

/// A relocation, or one that this version cannot read.
pub(super) type GuardedRelocation = DeserializeGuard<Relocation>;
/// A plan, or one that this version cannot read.
pub(super) type GuardedPlan = DeserializeGuard<RelocationPlan>;

/// How soon a plan is judged again whose dry run was forbidden: a quota or a policy may have changed.
const FORBIDDEN_RETRY: Duration = Duration::from_mins(1);

/// The name that the objects of a dry run bear in messages.
const SAMPLE_NAME: &str = "relocation-plan-check";

type Result<T> = std::result::Result<T, ReconcileError>;

impl Operator {
    /// The plan of a name, as the cache shows it.
    pub fn plan_seen(&self, namespace: &str, name: &str) -> PlanSeen {
        let Some(guarded) = self.plans.get(&ObjectRef::<GuardedPlan>::new(name).within(namespace)) else {
            self.read_plans.write().remove(&(namespace.to_owned(), name.to_owned()));
            return PlanSeen::Missing;
        };
        let plan = match &guarded.0 {
            Ok(plan) => plan,
            Err(invalid) => return PlanSeen::NotAccepted { message: invalid.error.clone() },
        };
        let status = plan.status.clone().unwrap_or_default();
        let generation = plan.metadata.generation;
        let Some(accepted) = find_condition(&status.conditions, ConditionType::Accepted)
            .filter(|_| status.observed_generation == generation)
        else {
            return PlanSeen::NotJudged;
        };
        if accepted.status != condition_status::TRUE {
            return PlanSeen::NotAccepted { message: accepted.message.clone() };
        }
        let version = (plan.uid().unwrap_or_default(), generation.unwrap_or(0));
        let key = (namespace.to_owned(), name.to_owned());
        if let Some((read, known)) = self.read_plans.read().get(&key)
            && *read == version
        {
            return PlanSeen::Accepted(Arc::clone(known));
        }
        match Plan::read(plan.spec.clone(), version.1) {
            Ok(plan) => {
                let plan = Arc::new(plan);
                self.read_plans.write().insert(key, (version, Arc::clone(&plan)));
                PlanSeen::Accepted(plan)
            }
            Err(problem) => PlanSeen::NotAccepted { message: problem.to_string() },
        }
    }
}

/// The plans as they were read last, by namespace and name, each with the uid and generation it was read from.
///
/// Every pass looks at its plan, and a plan changes hardly ever.
pub(super) type ReadPlans = RwLock<HashMap<(String, String), ((String, i64), Arc<Plan>)>>;

/// The verdict on a plan.
struct Verdict {
    accepted: bool,
    reason: &'static str,
    message: String,
    retry: Option<Duration>,
}

impl Verdict {
    fn refused(reason: &'static str, message: String) -> Self {
        Self { accepted: false, reason, message, retry: None }
    }
}

/// Judges a plan once per generation and writes `Accepted`.
pub(super) async fn judge_plan(guarded: Arc<GuardedPlan>, operator: Arc<Operator>) -> Result<Action> {
    if !operator.cluster.leads() {
        return Ok(Action::await_change());
    }
    let plan = match &guarded.0 {
        Ok(plan) => plan,
        Err(invalid) => {
            tracing::warn!(plan = invalid.metadata.name, error = invalid.error, "a plan cannot be read");
            return Ok(Action::await_change());
        }
    };
    let status = plan.status.clone().unwrap_or_default();
    let known = find_condition(&status.conditions, ConditionType::Accepted);
    let settled = status.observed_generation == plan.metadata.generation
        && known.is_some_and(|condition| condition.reason != "TemplateForbidden");
    if settled {
        return Ok(Action::await_change());
    }
    let verdict = match Plan::read(plan.spec.clone(), plan.metadata.generation.unwrap_or(0)) {
        Err(problem) => Verdict::refused("PlanInvalid", problem.to_string()),
        Ok(_) => try_templates(&operator.cluster, plan).await?,
    };
    let status_value = if verdict.accepted { condition_status::TRUE } else { condition_status::FALSE };
    let previous = known.filter(|condition| condition.status == status_value);
    let next = PlanStatus {
        observed_generation: plan.metadata.generation,
        hash: Some(short_hash(&[&serde_json::to_string(&plan.spec).unwrap_or_default()])),
        conditions: vec![Condition {
            type_: ConditionType::Accepted.to_string(),
            status: status_value.to_owned(),
            reason: verdict.reason.to_owned(),
            message: verdict.message,
            observed_generation: plan.metadata.generation,
            last_transition_time: previous
                .map_or_else(|| Time(clock::now()), |condition| condition.last_transition_time.clone()),
        }],
    };
    let before = serde_json::to_value(&status).unwrap_or_default();
    let after = serde_json::to_value(&next).unwrap_or_default();
    if let Some(patch) = merge_patch(&before, &after) {
        let namespace = plan.namespace().unwrap_or_default();
        let resource_version = plan.resource_version().unwrap_or_default();
        let written = operator
            .cluster
            .patch_status::<RelocationPlan>(&namespace, &plan.name_any(), &resource_version, &patch)
            .await;
        match written {
            Ok(_) => {}
            // A newer generation is on its way to us, or the plan is gone.
            Err(error) if error.api_status().is_some_and(|status| status.is_conflict() || status.is_not_found()) => {
                return Ok(Action::await_change());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(verdict.retry.map_or_else(Action::await_change, Action::requeue))
}

/// Lets the API server judge every template: as a Job, and as the pod that the Job controller would make of it,
/// because pod security and quota speak only to pods.
async fn try_templates(cluster: &Cluster, plan: &RelocationPlan) -> Result<Verdict> {
    let namespace = plan.namespace().unwrap_or_default();
    let has_workspace = plan.spec.workspace.is_some();
    let mut warnings = Vec::new();
    for (path, template, task) in templates(plan) {
        let job = build_sample_job(SAMPLE_NAME, template, task, has_workspace);
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": SAMPLE_NAME,
                "labels": job["spec"]["template"]["metadata"]["labels"],
                "annotations": job["spec"]["template"]["metadata"]["annotations"],
            },
            "spec": job["spec"]["template"]["spec"],
        });
        let answers = [
            ("Job", cluster.create::<Job>(&namespace, &with_free_name(job), Mode::DryRun).await.map(drop)),
            ("Pod", cluster.create::<Pod>(&namespace, &with_free_name(pod), Mode::DryRun).await.map(drop)),
        ];
        for (kind, answer) in answers {
            let Err(error) = answer else { continue };
            let Some(status) = error.api_status() else { return Err(error) };
            let message = format!("{path}: the API server refuses the {kind}: {}", status.message);
            match status.code {
                _ if status.message.contains("does not support dry run") => warnings.push(message),
                400 | 422 => return Ok(Verdict::refused("TemplateRefused", message)),
                403 => {
                    let refused = Verdict::refused("TemplateForbidden", message);
                    return Ok(Verdict { retry: Some(FORBIDDEN_RETRY), ..refused });
                }
                _ => return Err(error),
            }
        }
    }
    let message = if warnings.is_empty() { "the plan can be used".to_owned() } else { warnings.join("; ") };
    Ok(Verdict { accepted: true, reason: "Accepted", message, retry: None })
}

fn templates(plan: &RelocationPlan) -> impl Iterator<Item = (String, &PodTemplate, Option<&TaskSpec>)> {
    let tasks = plan.spec.steps.iter().flat_map(|planned| {
        planned.tasks.iter().map(move |task| (path_of(planned.step, task), &task.template, Some(task)))
    });
    let on_end = plan.spec.on_end.iter().map(|on_end| ("spec.onEnd.template".to_owned(), &on_end.template, None));
    tasks.chain(on_end)
}

fn path_of(step: Step, task: &TaskSpec) -> String {
    format!("spec.steps[{step}].tasks[{}].template", task.name)
}

/// A dry run of a name that exists would be refused for that alone.
fn with_free_name(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("name");
        metadata.insert("generateName".to_owned(), json!(format!("{SAMPLE_NAME}-")));
    }
    object
}
