//! A plan that has been read once and is known to be valid.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::{
    OnEnd, ParameterDeclaration, Provenance, RelocationPlanSpec, Step, TaskSpec, WorkspaceSpec, environment,
};

/// A valid plan at one generation. Nothing after [`Plan::read`] touches the raw spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The generation of the `RelocationPlan` that was read.
    pub generation: i64,
    /// The declared parameters.
    pub parameters: Vec<ParameterDeclaration>,
    /// The volume of each relocation, if there is one.
    pub workspace: Option<WorkspaceSpec>,
    /// What runs after every ending, if anything.
    pub on_end: Option<OnEnd>,
    /// The spec that was read, to be frozen as it is.
    pub spec: RelocationPlanSpec,
}

/// Why a plan cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanProblem {
    /// A step stands twice in the list.
    #[error("spec.steps: {0} is listed twice; list each step once, with all its tasks")]
    StepTwice(Step),
    /// A task's name stands twice in a step.
    #[error("spec.steps[{step}].tasks: the name {task:?} is used twice; give each task of a step its own name")]
    TaskTwice {
        /// The step.
        step: Step,
        /// The name.
        task: String,
    },
    /// A parameter's name belongs to the step contract.
    #[error("spec.parameters: {0:?} begins with RELOCATION_, which the operator sets itself; choose another name")]
    ReservedParameter(String),
    /// A template sets a variable of the step contract.
    #[error("{path}: {variable} is set by the operator; remove it from the template")]
    ReservedVariable {
        /// Where it stands.
        path: String,
        /// The variable.
        variable: String,
    },
    /// VALIDATING does not end in evidence.
    #[error(
        "spec.steps[VALIDATING]: the last task{} must have evidence: true, because nothing is imported without a verdict",
        match .0 { Some(provenance) => format!(" for {}", provenance.as_str()), None => String::new() }
    )]
    NoEvidence(Option<Provenance>),
    /// A template has no container, or none that is the main one.
    #[error(
        "{0}: the template needs a container named \"main\", or only one container, so that its result can be read"
    )]
    NoMainContainer(String),
}

/// Why the parameters of a relocation do not fit the plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterProblem {
    /// The plan does not declare it.
    #[error("spec.parameters.{0}: the plan declares no such parameter; remove it, or declare it in the plan")]
    Undeclared(String),
    /// The plan requires it.
    #[error("spec.parameters.{0}: the plan requires this parameter; set it")]
    Missing(String),
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// The first [`PlanProblem`] found; its text names the field and what to do.
    pub fn read(spec: RelocationPlanSpec, generation: i64) -> Result<Self, PlanProblem> {
        check_parameters(&spec)?;
        check_steps(&spec)?;
        check_evidence(&spec)?;
        Ok(Self {
            generation,
            parameters: spec.parameters.clone(),
            workspace: spec.workspace.clone(),
            on_end: spec.on_end.clone(),
            spec,
        })
    }

    /// The tasks of a step for one provenance, in order.
    pub fn tasks(&self, step: Step, provenance: Provenance) -> impl Iterator<Item = &TaskSpec> {
        tasks_of(&self.spec, step).iter().filter(move |task| task.provenance.is_none_or(|wanted| wanted == provenance))
    }

    /// One task by name.
    #[must_use]
    pub fn task(&self, step: Step, name: &str) -> Option<&TaskSpec> {
        tasks_of(&self.spec, step).iter().find(|task| task.name == name)
    }

    /// The automatic fence for one provenance.
    #[must_use]
    pub fn auto_pause_at_step(&self, provenance: Provenance) -> Option<Step> {
        self.spec.auto_pause_at_step.and_then(|fences| fences.of(provenance))
    }

    /// The values of all parameters: what the relocation sets, else the default.
    ///
    /// # Errors
    ///
    /// A parameter that is set but not declared, or required but not set.
    pub fn resolve(&self, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ParameterProblem> {
        if let Some(name) = given.keys().find(|name| self.parameters.iter().all(|known| known.name != **name)) {
            return Err(ParameterProblem::Undeclared(name.clone()));
        }
        let mut values = BTreeMap::new();
        for parameter in &self.parameters {
            match given.get(&parameter.name).or(parameter.default.as_ref()) {
                Some(value) => {
                    values.insert(parameter.name.clone(), value.clone());
                }
                None if parameter.required == Some(true) => {
                    return Err(ParameterProblem::Missing(parameter.name.clone()));
                }
                None => {}
            }
        }
        Ok(values)
    }
}

fn tasks_of(spec: &RelocationPlanSpec, step: Step) -> &[TaskSpec] {
    spec.steps.iter().find(|planned| planned.step == step).map_or(&[], |planned| &planned.tasks)
}

fn check_parameters(spec: &RelocationPlanSpec) -> Result<(), PlanProblem> {
    match spec.parameters.iter().find(|parameter| parameter.name.starts_with(environment::PREFIX)) {
        Some(parameter) => Err(PlanProblem::ReservedParameter(parameter.name.clone())),
        None => Ok(()),
    }
}

fn check_steps(spec: &RelocationPlanSpec) -> Result<(), PlanProblem> {
    for (index, planned) in spec.steps.iter().enumerate() {
        if spec.steps[..index].iter().any(|earlier| earlier.step == planned.step) {
            return Err(PlanProblem::StepTwice(planned.step));
        }
        for (index, task) in planned.tasks.iter().enumerate() {
            if planned.tasks[..index].iter().any(|earlier| earlier.name == task.name) {
                return Err(PlanProblem::TaskTwice { step: planned.step, task: task.name.clone() });
            }
            check_template(&task.template.0, &format!("spec.steps[{}].tasks[{}].template", planned.step, task.name))?;
        }
    }
    if let Some(on_end) = &spec.on_end {
        check_template(&on_end.template.0, "spec.onEnd.template")?;
    }
    Ok(())
}

fn check_template(template: &serde_json::Map<String, Value>, path: &str) -> Result<(), PlanProblem> {
    let pod = template.get("spec").unwrap_or(&Value::Null);
    let containers = pod.get("containers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let named_main = containers.iter().any(|container| container.get("name") == Some(&Value::from("main")));
    if !named_main && containers.len() != 1 {
        return Err(PlanProblem::NoMainContainer(path.to_owned()));
    }
    let init_containers = pod.get("initContainers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for container in init_containers.iter().chain(containers) {
        let variables = container.get("env").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for variable in variables.iter().filter_map(|variable| variable.get("name").and_then(Value::as_str)) {
            if variable.starts_with(environment::PREFIX) {
                return Err(PlanProblem::ReservedVariable { path: path.to_owned(), variable: variable.to_owned() });
            }
        }
    }
    Ok(())
}

fn check_evidence(spec: &RelocationPlanSpec) -> Result<(), PlanProblem> {
    let tasks = tasks_of(spec, Step::Validating);
    if tasks.is_empty() {
        return Err(PlanProblem::NoEvidence(None));
    }
    for provenance in [Provenance::SelfHosted, Provenance::SaasToSaas] {
        let last = tasks.iter().rfind(|task| task.provenance.is_none_or(|wanted| wanted == provenance));
        if !last.is_some_and(|task| task.evidence) {
            return Err(PlanProblem::NoEvidence(Some(provenance)));
        }
    }
    Ok(())
}
