//! What a manifest would run, before it is applied: by the plan beside it, or by the one in the cluster.

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ages;
use super::error::Error;
use super::outcome::Outcome;
use super::output::OutputArguments;
use super::session::Session;
use super::terminal::{BAD, FAINT, STRONG, WAITING, harmless, styled};
use crate::api::{
    AutoPause, FailurePolicy, PodTemplate, Relocation, RelocationPlan, RelocationPlanSpec, Step, TaskSpec, admission,
};

/// What one relocation or one plan would run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Forecast {
    kind: &'static str,
    name: String,
    summary: String,
    /// Before which steps it would stop or end, and why.
    stops: Vec<String>,
    steps: Vec<StepForecast>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<String>,
    /// Why it would not run like this.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepForecast {
    step: Step,
    tasks: Vec<String>,
}

/// Explains what the manifest would run. Problems end it with an error's exit code.
pub(super) async fn explain(session: &Session, file: &Path, output: &OutputArguments) -> Result<Outcome, Error> {
    let objects = read(file)?;
    let mut plans = Vec::new();
    let mut relocations = Vec::new();
    for object in objects {
        match object["kind"].as_str() {
            Some("RelocationPlan") => plans.push(typed::<RelocationPlan>(file, object)?),
            Some("Relocation") => relocations.push((typed::<Relocation>(file, object.clone())?, object)),
            _ => {}
        }
    }
    if plans.is_empty() && relocations.is_empty() {
        return Err(wrong(file, "it holds no Relocation and no RelocationPlan"));
    }
    let mut forecasts = Vec::new();
    for (relocation, sent) in &relocations {
        let plan = plan_for(session, &plans, relocation).await;
        forecasts.push(forecast(relocation, sent, plan));
    }
    if relocations.is_empty() {
        forecasts.extend(plans.iter().map(forecast_plan));
    }
    if output.is_for_programs() {
        let value = serde_json::to_value(&forecasts).unwrap_or(Value::Null);
        let names: Vec<String> =
            forecasts.iter().map(|forecast| format!("{}/{}", forecast.kind, forecast.name)).collect();
        output.print_value(session, &value, &names)?;
    } else {
        let texts: Vec<String> = forecasts.iter().map(text).collect();
        session.print(&texts.join("\n"))?;
    }
    let sound = forecasts.iter().all(|forecast| forecast.problems.is_empty());
    Ok(if sound { Outcome::Done } else { Outcome::Error })
}

/// The objects of a file, or of standard input.
pub(super) fn read(file: &Path) -> Result<Vec<Value>, Error> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| wrong(file, &error.to_string()))?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| {
        wrong(file, &format!("it is not YAML: {}", error.to_string().lines().next().unwrap_or_default()))
    })?;
    // A list holds its objects one level deeper.
    Ok(objects
        .into_iter()
        .flat_map(|object| match object["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![object],
        })
        .collect())
}

fn wrong(file: &Path, why: &str) -> Error {
    let path = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    Error::File { path, why: why.to_owned() }
}

fn typed<K: DeserializeOwned>(file: &Path, object: Value) -> Result<K, Error> {
    let what = format!(
        "{} {}",
        object["kind"].as_str().unwrap_or_default(),
        object["metadata"]["name"].as_str().unwrap_or_default()
    );
    serde_json::from_value(object).map_err(|error| wrong(file, &format!("{}: {error}", what.trim())))
}

/// The plan beside the relocation, or the one of the cluster; or why there is none to be seen.
async fn plan_for(
    session: &Session,
    plans: &[RelocationPlan],
    relocation: &Relocation,
) -> Result<(RelocationPlanSpec, &'static str), String> {
    let name = &relocation.spec.plan_ref.name;
    if let Some(plan) = plans.iter().find(|plan| plan.metadata.name.as_ref() == Some(name)) {
        return Ok((plan.spec.clone(), "of this file"));
    }
    let looked_up = async {
        let cluster = session.cluster_in_one_namespace().await?;
        cluster.get_opt::<RelocationPlan>(name).await
    };
    match looked_up.await {
        Ok(Some(found)) => Ok((found.object.spec, "of the cluster")),
        Ok(None) => {
            Err(format!("there is no plan {name:?}, neither in this file nor in the namespace; it would wait for one"))
        }
        Err(error) => Err(format!("the plan {name:?} is not in this file, and {error}")),
    }
}

fn forecast(
    relocation: &Relocation,
    sent: &Value,
    plan: Result<(RelocationPlanSpec, &'static str), String>,
) -> Forecast {
    let spec = &relocation.spec;
    let items = if spec.items.is_empty() { "everything the plan moves".to_owned() } else { spec.items.join(", ") };
    let mut problems: Vec<String> =
        admission::check(None, sent).err().unwrap_or_default().iter().map(ToString::to_string).collect();
    let mut stops = Vec::new();
    if let Some(step) = spec.cancel_at_step {
        stops.push(format!("ends instead of entering {step}: spec.cancelAtStep"));
    }
    if let Some(step) = spec.pause_at_step {
        stops.push(format!("stops before {step}: spec.pauseAtStep"));
    }
    let mut forecast = Forecast {
        kind: "relocation",
        name: relocation.metadata.name.clone().unwrap_or_default(),
        summary: format!("moves {items} of {} by the plan {}", spec.owner, spec.plan_ref.name),
        stops: Vec::new(),
        steps: Vec::new(),
        parameters: Vec::new(),
        problems: Vec::new(),
    };
    match plan {
        Err(problem) => problems.push(problem),
        Ok((plan, origin)) => {
            forecast.summary.push_str(&format!(" {origin}"));
            let automatic = plan.auto_pause_at_step.as_ref().and_then(|steps| steps.of(spec.provenance));
            match (automatic, spec.auto_pause) {
                (Some(step), AutoPause::Honour) => {
                    stops.push(format!("stops before {step}: the plan's automatic fence"));
                }
                (Some(step), AutoPause::Skip) => {
                    stops.push(format!("does not stop before {step}: spec.autoPause is Skip"));
                }
                (None, _) => {}
            }
            forecast.steps = steps(&plan, |task| task.provenance.is_none_or(|wanted| wanted == spec.provenance));
            forecast.parameters = parameters(&plan, relocation, &mut problems);
        }
    }
    forecast.stops = stops;
    forecast.problems = problems;
    forecast
}

fn forecast_plan(plan: &RelocationPlan) -> Forecast {
    let spec = &plan.spec;
    let automatic = spec.auto_pause_at_step.unwrap_or_default();
    let fences = [("SELF_HOSTED", automatic.self_hosted), ("SAAS_TO_SAAS", automatic.saas_to_saas)];
    let stops = fences
        .into_iter()
        .filter_map(|(provenance, step)| Some(format!("{provenance} stops before {}: the automatic fence", step?)));
    let declared = spec.parameters.iter().map(|parameter| {
        let value = match (&parameter.default, parameter.required) {
            (Some(default), _) => format!("default {default:?}"),
            (None, Some(true)) => "required".to_owned(),
            (None, _) => "optional".to_owned(),
        };
        format!("{}: {value}", parameter.name)
    });
    Forecast {
        kind: "plan",
        name: plan.metadata.name.clone().unwrap_or_default(),
        summary: spec.max_active.map_or_else(
            || "runs as many relocations at once as there are".to_owned(),
            |limit| format!("runs at most {limit} relocations at once"),
        ),
        stops: stops.collect(),
        steps: steps(spec, |_| true),
        parameters: declared.collect(),
        problems: Vec::new(),
    }
}

fn steps(plan: &RelocationPlanSpec, runs: impl Fn(&TaskSpec) -> bool) -> Vec<StepForecast> {
    let working = Step::WORKING.into_iter().map(|step| {
        let planned = plan.steps.iter().filter(|planned| planned.step == step).flat_map(|planned| &planned.tasks);
        let tasks = planned.filter(|task| runs(task)).map(|task| describe(step, task)).collect();
        StepForecast { step, tasks }
    });
    let end = plan.on_end.as_ref().map(|on_end| StepForecast {
        step: Step::Completed,
        tasks: vec![format!("on-end: once, within {}{}", seconds(on_end.timeout_seconds), image(&on_end.template))],
    });
    working.chain(end).collect()
}

fn describe(step: Step, task: &TaskSpec) -> String {
    let attempts = if task.attempts == 1 { "once".to_owned() } else { format!("up to {} times", task.attempts) };
    let evidence = if task.evidence { ", must give a verdict" } else { "" };
    let ignored = match task.effective_failure_policy(step) {
        FailurePolicy::Ignore => ", a failure is ignored",
        FailurePolicy::Fail => "",
    };
    let fixed = if task.recoverable { "" } else { ", cannot be recovered" };
    let within = seconds(task.timeout_seconds);
    format!("{}: {attempts}, within {within} each{evidence}{ignored}{fixed}{}", task.name, image(&task.template))
}

fn seconds(seconds: i64) -> String {
    ages::short(k8s_openapi::jiff::SignedDuration::from_secs(seconds))
}

fn image(template: &PodTemplate) -> String {
    let containers = template.0.get("spec").and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    let containers = containers.map(Vec::as_slice).unwrap_or_default();
    let main = containers.iter().find(|container| container["name"] == "main").or_else(|| containers.first());
    main.and_then(|main| main["image"].as_str()).map(|image| format!(", image {image}")).unwrap_or_default()
}

/// The value of each parameter, and what is wrong with them.
fn parameters(plan: &RelocationPlanSpec, relocation: &Relocation, problems: &mut Vec<String>) -> Vec<String> {
    let given = &relocation.spec.parameters;
    let undeclared = given.keys().filter(|name| plan.parameters.iter().all(|declared| declared.name != **name));
    problems.extend(undeclared.map(|name| format!("the plan declares no parameter {name:?}")));
    let mut values = Vec::new();
    for declared in &plan.parameters {
        let name = &declared.name;
        match (given.get(name), &declared.default, declared.required) {
            (Some(value), _, _) => values.push(format!("{name}={value:?}")),
            (None, Some(default), _) => values.push(format!("{name}={default:?} (the plan's default)")),
            (None, None, Some(true)) => problems.push(format!("the plan requires the parameter {name:?}")),
            (None, None, _) => {}
        }
    }
    values
}

fn text(forecast: &Forecast) -> String {
    let mut text =
        format!("{} {}: {}\n", forecast.kind, styled(&harmless(&forecast.name), STRONG), harmless(&forecast.summary));
    for stop in &forecast.stops {
        text.push_str(&format!("  {}\n", styled(&harmless(stop), WAITING)));
    }
    for step in &forecast.steps {
        let name = if step.step == Step::Completed { "at the end".to_owned() } else { step.step.to_string() };
        if step.tasks.is_empty() {
            text.push_str(&styled(&format!("  {name:<16}nothing to do\n"), FAINT));
        }
        for (place, task) in step.tasks.iter().enumerate() {
            let name = if place == 0 { name.as_str() } else { "" };
            text.push_str(&format!("  {name:<16}{}\n", harmless(task)));
        }
    }
    for parameter in &forecast.parameters {
        text.push_str(&format!("  {:<16}{}\n", "parameter", harmless(parameter)));
    }
    for problem in &forecast.problems {
        text.push_str(&format!("  {}\n", styled(&format!("{:<16}{}", "problem", harmless(problem)), BAD)));
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::terminal::plain;
    use super::*;

    const MANIFEST: &str = r#"
apiVersion: relocation.dev/v1alpha1
kind: Relocation
metadata: { name: acme }
spec:
  planRef: { name: files }
  owner: acme-inc
  items: [wiki, shop]
  pauseAtStep: NOTIFYING
  parameters: { COLOUR: red, SIZE: large }
---
apiVersion: relocation.dev/v1alpha1
kind: RelocationPlan
metadata: { name: files }
spec:
  autoPauseAtStep: { SELF_HOSTED: IMPORTING }
  parameters:
    - { name: COLOUR }
    - { name: SHAPE, default: round }
    - { name: TARGET, required: true }
  steps:
    - step: UPLOADING
      tasks:
        - { name: copy, timeoutSeconds: 7200, template: { spec: { containers: [{ name: main, image: mover }] } } }
        - { name: saas, provenance: SAAS_TO_SAAS, template: {} }
    - step: VALIDATING
      tasks: [{ name: check, evidence: true, attempts: 1, template: {} }]
    - step: NOTIFYING
      tasks: [{ name: mail, recoverable: false, template: {} }]
  onEnd: { template: {} }
"#;

    #[test]
    fn a_manifest_is_explained_with_what_is_wrong_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acme.yaml");
        std::fs::write(&file, MANIFEST).unwrap();
        let objects = read(&file).unwrap();
        let relocation = typed::<Relocation>(&file, objects[0].clone()).unwrap();
        let plan = typed::<RelocationPlan>(&file, objects[1].clone()).unwrap();
        let said = text(&forecast(&relocation, &objects[0], Ok((plan.spec.clone(), "of this file"))));
        expect![[r#"
            relocation acme: moves wiki, shop of acme-inc by the plan files of this file
              stops before NOTIFYING: spec.pauseAtStep
              stops before IMPORTING: the plan's automatic fence
              UPLOADING       copy: up to 4 times, within 120m each, image mover
              PREPROCESSING   nothing to do
              VALIDATING      check: once, within 60m each, must give a verdict
              IMPORTING       nothing to do
              POSTPROCESSING  nothing to do
              NOTIFYING       mail: up to 4 times, within 60m each, a failure is ignored, cannot be recovered
              at the end      on-end: once, within 5m
              parameter       COLOUR="red"
              parameter       SHAPE="round" (the plan's default)
              problem         the plan declares no parameter "SIZE"
              problem         the plan requires the parameter "TARGET"
        "#]]
        .assert_eq(&plain(&said));
        assert!(plain(&text(&forecast_plan(&plan))).contains("TARGET: required"));
    }

    #[test]
    fn the_admission_rules_speak_before_anything_is_applied() {
        let sent: Value = serde_json::json!({
            "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation", "metadata": { "name": "acme" },
            "spec": { "planRef": { "name": "files" }, "owner": "acme", "items": ["42"] }
        });
        let relocation: Relocation = serde_json::from_value(sent.clone()).unwrap();
        let forecast = forecast(&relocation, &sent, Err("no plan".to_owned()));
        assert!(forecast.problems[0].contains("it is all digits"), "{:?}", forecast.problems);
        assert_eq!(forecast.problems[1], "no plan");
    }
}
