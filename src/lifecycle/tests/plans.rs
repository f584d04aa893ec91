//! Reading a plan: every problem, and the sentence that names the field and what to do.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::fixtures::{a_plan_spec, a_template};
use crate::api::{Provenance, RelocationPlanSpec, Step};
use crate::lifecycle::{ParameterProblem, Plan};

fn problem(edit: impl FnOnce(&mut Value), expected: &Expect) {
    let mut spec = serde_json::to_value(a_plan_spec()).unwrap();
    edit(&mut spec);
    let spec: RelocationPlanSpec = serde_json::from_value(spec).unwrap();
    expected.assert_eq(&Plan::read(spec, 1).expect_err("a problem").to_string());
}

fn task(name: &str) -> Value {
    json!({ "name": name, "template": a_template() })
}

#[test]
fn a_plan_with_one_task_per_step_is_valid() {
    let plan = Plan::read(a_plan_spec(), 7).unwrap();
    assert_eq!(plan.generation, 7);
    for step in Step::WORKING {
        assert_eq!(plan.tasks(step, Provenance::SelfHosted).count(), 1, "{step}");
    }
}

#[test]
fn a_step_is_listed_once() {
    problem(
        |spec| spec["steps"].as_array_mut().unwrap().push(json!({ "step": "UPLOADING" })),
        &expect!["spec.steps: UPLOADING is listed twice; list each step once, with all its tasks"],
    );
}

#[test]
fn a_task_of_a_step_has_its_own_name() {
    problem(
        |spec| spec["steps"][0]["tasks"] = json!([task("copy"), task("copy")]),
        &expect!["spec.steps[UPLOADING].tasks: the name \"copy\" is used twice; give each task of a step its own name"],
    );
}

#[test]
fn the_names_of_the_step_contract_are_not_for_parameters() {
    problem(
        |spec| spec["parameters"] = json!([{ "name": "RELOCATION_STEP" }]),
        &expect![
            "spec.parameters: \"RELOCATION_STEP\" begins with RELOCATION_, which the operator sets itself; choose another name"
        ],
    );
}

#[test]
fn the_names_of_the_step_contract_are_not_for_templates_either() {
    for list in ["containers", "initContainers"] {
        let with = |spec: &mut Value| {
            let pod = &mut spec["steps"][0]["tasks"][0]["template"]["spec"];
            pod[list] =
                json!([{ "name": "main", "env": [{ "name": "A" }, { "name": "RELOCATION_UUID", "value": "x" }] }]);
        };
        problem(
            with,
            &expect![
                "spec.steps[UPLOADING].tasks[uploading].template: RELOCATION_UUID is set by the operator; remove it from the template"
            ],
        );
    }
}

#[test]
fn the_template_of_on_end_is_read_like_the_others() {
    problem(
        |spec| spec["onEnd"] = json!({ "template": { "spec": { "containers": [] } } }),
        &expect![
            "spec.onEnd.template: the template needs a container named \"main\", or only one container, so that its result can be read"
        ],
    );
}

#[test]
fn a_template_has_one_container_or_a_main_one() {
    let expected = expect![
        "spec.steps[UPLOADING].tasks[uploading].template: the template needs a container named \"main\", or only one container, so that its result can be read"
    ];
    for containers in [json!([]), json!([{ "name": "a" }, { "name": "b" }]), json!(null), json!("x")] {
        problem(|spec| spec["steps"][0]["tasks"][0]["template"]["spec"]["containers"] = containers, &expected);
    }
    problem(|spec| spec["steps"][0]["tasks"][0]["template"] = json!({}), &expected);
}

#[test]
fn validating_ends_in_evidence_for_everybody() {
    problem(
        |spec| spec["steps"].as_array_mut().unwrap().retain(|planned| planned["step"] != "VALIDATING"),
        &expect![
            "spec.steps[VALIDATING]: the last task must have evidence: true, because nothing is imported without a verdict"
        ],
    );
    problem(
        |spec| spec["steps"][2]["tasks"][0]["evidence"] = json!(false),
        &expect![
            "spec.steps[VALIDATING]: the last task for SELF_HOSTED must have evidence: true, because nothing is imported without a verdict"
        ],
    );
    problem(
        |spec| spec["steps"][2]["tasks"][0]["provenance"] = json!("SELF_HOSTED"),
        &expect![
            "spec.steps[VALIDATING]: the last task for SAAS_TO_SAAS must have evidence: true, because nothing is imported without a verdict"
        ],
    );
    problem(
        |spec| spec["steps"][2]["tasks"].as_array_mut().unwrap().push(task("after")),
        &expect![
            "spec.steps[VALIDATING]: the last task for SELF_HOSTED must have evidence: true, because nothing is imported without a verdict"
        ],
    );
}

fn with_parameters() -> Plan {
    let mut spec = a_plan_spec();
    spec.parameters = serde_json::from_value(json!([
        { "name": "bucket", "required": true },
        { "name": "region", "default": "eu", "required": true },
        { "name": "note" },
    ]))
    .unwrap();
    Plan::read(spec, 1).unwrap()
}

fn given(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn parameters_are_what_is_set_or_else_the_default() {
    let values = with_parameters().resolve(&given(&[("bucket", "b")])).unwrap();
    assert_eq!(values, given(&[("bucket", "b"), ("region", "eu")]));
    let values = with_parameters().resolve(&given(&[("bucket", ""), ("region", "us"), ("note", "n")])).unwrap();
    assert_eq!(values, given(&[("bucket", ""), ("region", "us"), ("note", "n")]));
}

#[test]
fn a_parameter_that_does_not_fit_is_named_with_what_to_do() {
    let missing = with_parameters().resolve(&given(&[])).unwrap_err();
    assert_eq!(missing, ParameterProblem::Missing("bucket".to_owned()));
    expect!["spec.parameters.bucket: the plan requires this parameter; set it"].assert_eq(&missing.to_string());
    let undeclared = with_parameters().resolve(&given(&[("bucket", "b"), ("colour", "red")])).unwrap_err();
    expect!["spec.parameters.colour: the plan declares no such parameter; remove it, or declare it in the plan"]
        .assert_eq(&undeclared.to_string());
}
