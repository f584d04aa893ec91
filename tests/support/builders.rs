//! Plans and relocations, as short as a test can say them.

use relocation_operator::api::{GROUP, Step, VERSION};
use serde_json::{Value, json};

use super::cluster::STUB_NODE;
use super::edits::merge;

/// The works of a success by a plan with one task `run` in each step.
pub const SIX_WORKS: [&str; 6] = [
    "UPLOADING/run/1",
    "PREPROCESSING/run/1",
    "VALIDATING/run/1",
    "IMPORTING/run/1",
    "POSTPROCESSING/run/1",
    "NOTIFYING/run/1",
];

/// A plan whose pods the stub kubelet runs.
#[derive(Clone, Debug)]
pub struct PlanBuilder(Value);

/// A plan of the name, without any step.
pub fn a_plan(name: &str) -> PlanBuilder {
    PlanBuilder(json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "RelocationPlan",
        "metadata": { "name": name },
        "spec": { "steps": [] }
    }))
}

impl PlanBuilder {
    /// One task in each step, named `run`.
    pub fn with_six_steps(self) -> Self {
        Step::WORKING.into_iter().fold(self, |plan, step| plan.with_step(step, ["run"]))
    }

    /// A step with tasks of these names, in place of the one there may be; the last one of VALIDATING gives evidence.
    pub fn with_step<'t>(mut self, step: Step, tasks: impl IntoIterator<Item = &'t str>) -> Self {
        let mut tasks: Vec<Value> = tasks.into_iter().map(a_task).collect();
        if let (Step::Validating, Some(last)) = (step, tasks.last_mut()) {
            last["evidence"] = json!(true);
        }
        let steps = self.0["spec"]["steps"].as_array_mut().expect("a list of steps");
        steps.retain(|known| known["step"] != step.as_str());
        steps.push(json!({ "step": step, "tasks": tasks }));
        steps.sort_by_key(|known| Step::WORKING.iter().position(|step| known["step"] == step.as_str()));
        self
    }

    /// Changes fields of one task by a merge patch.
    pub fn with_task(mut self, step: Step, task: &str, change: Value) -> Self {
        let steps = self.0["spec"]["steps"].as_array_mut().expect("a list of steps");
        let step = steps.iter_mut().find(|known| known["step"] == step.as_str()).expect("a step of the plan");
        let tasks = step["tasks"].as_array_mut().expect("a list of tasks");
        merge(tasks.iter_mut().find(|known| known["name"] == task).expect("a task of the step"), &change);
        self
    }

    /// Changes fields of every task by a merge patch.
    pub fn with_every_task(mut self, change: &Value) -> Self {
        let steps = self.0["spec"]["steps"].as_array_mut().expect("a list of steps");
        for task in steps.iter_mut().flat_map(|step| step["tasks"].as_array_mut().into_iter().flatten()) {
            merge(task, change);
        }
        self
    }

    /// Changes fields of the plan's spec by a merge patch.
    pub fn with(mut self, change: Value) -> Self {
        merge(&mut self.0["spec"], &change);
        self
    }

    pub fn build(self) -> Value {
        self.0
    }
}

/// A pod template for the stub kubelet.
pub fn a_template() -> Value {
    json!({
        "spec": {
            "nodeName": STUB_NODE,
            "tolerations": [{ "operator": "Exists" }],
            "terminationGracePeriodSeconds": 30,
            "containers": [{ "name": "main", "image": "stub" }]
        }
    })
}

fn a_task(name: &str) -> Value {
    json!({ "name": name, "attempts": 2, "backoffSeconds": 1, "template": a_template() })
}

/// A relocation by a plan.
#[derive(Clone, Debug)]
pub struct RelocationBuilder(Value);

/// A relocation of the name, for an owner of the same name, by the plan `plan`.
pub fn a_relocation(name: &str) -> RelocationBuilder {
    RelocationBuilder(json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Relocation",
        "metadata": { "name": name },
        "spec": { "planRef": { "name": "plan" }, "owner": name }
    }))
}

impl RelocationBuilder {
    /// Changes fields of the relocation's spec by a merge patch.
    pub fn with(mut self, change: Value) -> Self {
        merge(&mut self.0["spec"], &change);
        self
    }

    pub fn paused_at(self, step: Step) -> Self {
        self.with(json!({ "pauseAtStep": step }))
    }

    pub fn build(self) -> Value {
        self.0
    }
}
