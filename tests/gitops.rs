//! What is shipped for GitOps tools: Argo CD's scripts, run by a real Lua, and the manifests of `examples/gitops`.
//!
//! After a change of a script: `UPDATE_EXPECT=1 cargo test --test gitops` writes the `ConfigMap` and its copy in the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use mlua::serde::ser::Options;
use mlua::{Lua, LuaOptions, LuaSerdeExt, StdLib};
use relocation_operator::api::{GROUP, Relocation, VERSION, admission};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Where the generated part of the page begins and ends.
const GENERATED: (&str, &str) = ("<!-- argocd-cm: begin -->\n", "<!-- argocd-cm: end -->\n");

/// One row of the table in `gitops/states.yaml`; its fields are the columns.
#[allow(clippy::struct_field_names, reason = "a row of states names its state")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    name: String,
    generation: i64,
    spec: Value,
    status: Value,
    health: String,
    message: String,
    /// The actions on offer, and the merge patch that each makes.
    actions: BTreeMap<String, Value>,
}

impl State {
    /// The relocation as Argo CD reads it from the API server.
    fn object(&self) -> Value {
        let mut spec = json!({ "planRef": { "name": "files" }, "owner": "demo" });
        let fields = self.spec.as_object().expect("an object").clone();
        spec.as_object_mut().expect("an object").extend(fields);
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "Relocation",
            "metadata": { "name": "files", "namespace": "demo", "generation": self.generation },
            "spec": spec,
            "status": self.status
        })
    }
}

fn every_state() -> Vec<State> {
    serde_saphyr::from_str(include_str!("gitops/states.yaml")).expect("a table of states")
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gitops").join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a script as Argo CD does: Lua 5.1 with the basic functions and `table` only, the object as the global `obj`.
fn run(script: &str, object: &Value) -> Value {
    let lua = Lua::new_with(StdLib::TABLE, LuaOptions::default()).expect("a Lua");
    let plain = Options::new().set_array_metatable(false).serialize_none_to_null(false).serialize_unit_to_null(false);
    let object = lua.to_value_with(object, plain).expect("JSON becomes tables");
    lua.globals().set("obj", object).expect("a global");
    let answer: mlua::Value = lua.load(script).eval().unwrap_or_else(|error| panic!("{error}\n{script}"));
    lua.from_value(answer).expect("tables become JSON")
}

/// The JSON merge patch from one object to another, which is what Argo CD sends for an action.
fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in after {
        if let Some(change) = merge_patch(before.get(name).unwrap_or(&Value::Null), value) {
            patch.insert(name.clone(), change);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn merged(mut target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let fields = target.as_object_mut().expect("an object");
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            let known = fields.remove(name).unwrap_or_else(|| json!({}));
            fields.insert(name.clone(), merged(known, change));
        }
    }
    target
}

/// The scripts of the actions, by name.
fn actions() -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(example("argocd/actions")).expect("a folder of actions");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, read(&path))
        })
        .collect()
}

/// The part of Argo CD's `ConfigMap` that makes it know relocations.
fn config_map() -> String {
    let mut text = format!(
        "# Makes Argo CD know the health of a Relocation and what can be done with it:\n\
         # kubectl patch configmap argocd-cm -n argocd --patch-file examples/gitops/argocd/argocd-cm.yaml\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  namespace: argocd\ndata:\n  \
         resource.customizations.health.{GROUP}_Relocation: |\n{}",
        indented(&read(&example("argocd/health.lua")), 4)
    );
    let discovery = indented(&read(&example("argocd/discovery.lua")), 6);
    let _ = write!(
        text,
        "  resource.customizations.actions.{GROUP}_Relocation: |\n    discovery.lua: |\n{discovery}    definitions:\n"
    );
    for (name, script) in actions() {
        let _ = write!(text, "      - name: {name}\n        action.lua: |\n{}", indented(&script, 10));
    }
    text
}

fn indented(text: &str, columns: usize) -> String {
    text.lines().fold(String::new(), |mut indented, line| {
        let margin = if line.is_empty() { 0 } else { columns };
        let _ = writeln!(indented, "{:margin$}{line}", "");
        indented
    })
}

/// The scripts as Argo CD reads them from the stored `ConfigMap`: health, discovery, actions.
fn shipped() -> (String, String, BTreeMap<String, String>) {
    let config_map: Value = serde_saphyr::from_str(&read(&example("argocd/argocd-cm.yaml"))).expect("YAML");
    let data = |what: &str| {
        let key = format!("resource.customizations.{what}.{GROUP}_Relocation");
        config_map["data"][&key].as_str().unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let customization: Value = serde_saphyr::from_str(&data("actions")).expect("YAML in YAML");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let definitions = customization["definitions"].as_array().expect("a list");
    let actions = definitions.iter().map(|action| (text(&action["name"]), text(&action["action.lua"]))).collect();
    (data("health"), text(&customization["discovery.lua"]), actions)
}

#[test]
fn the_config_map_and_its_copy_in_the_page_hold_the_scripts() {
    let config_map = config_map();
    expect_file![example("argocd/argocd-cm.yaml")].assert_eq(&config_map);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gitops.md");
    let page = read(&path);
    let (before, rest) = page.split_once(GENERATED.0).expect("the page says where the generated part begins");
    let (_, after) = rest.split_once(GENERATED.1).expect("the page says where the generated part ends");
    let wanted = format!("{before}{}```yaml\n{config_map}```\n{}{after}", GENERATED.0, GENERATED.1);
    expect_file![path].assert_eq(&wanted);
}

#[test]
fn every_state_has_the_health_that_people_expect() {
    let (health, ..) = shipped();
    for state in every_state() {
        let expected = json!({ "status": state.health, "message": state.message });
        assert_eq!(run(&health, &state.object()), expected, "{}", state.name);
    }
}

#[test]
fn every_action_on_offer_changes_what_it_says_and_is_admitted() {
    let (_, discovery, scripts) = shipped();
    for state in every_state() {
        let object = state.object();
        let offered = run(&discovery, &object);
        let offered = offered.as_object().expect("a table of actions");
        let names = |keys: &mut dyn Iterator<Item = &String>| keys.cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&mut offered.keys()), names(&mut scripts.keys()), "each action has its script");
        for (name, action) in offered {
            let expected = state.actions.get(name);
            let disabled = action["disabled"].as_bool().expect("a boolean");
            assert_eq!(!disabled, expected.is_some(), "{}: whether {name} is on offer", state.name);
            let Some(expected) = expected else { continue };
            // Lua does not tell an empty table from an empty list, so both sides have gone through it.
            let patch = merge_patch(&run("return obj", &object), &run(&scripts[name], &object));
            assert_eq!(patch.as_ref(), Some(expected), "{}: {name}", state.name);
            let refused = admission::check(Some(&object), &merged(object.clone(), expected));
            assert_eq!(refused, Ok(()), "{}: {name}", state.name);
        }
        let listed = state.actions.keys().find(|name| !offered.contains_key(*name));
        assert_eq!(listed, None, "{}: an action that does not exist", state.name);
    }
}

#[test]
fn every_state_of_the_table_is_a_relocation() {
    for state in every_state() {
        let mut object = state.object();
        let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            condition["lastTransitionTime"] = json!("2026-03-01T12:00:00Z");
        }
        let read = serde_json::from_value::<Relocation>(object).map(drop);
        assert!(read.is_ok(), "{}: {read:?}", state.name);
    }
}

#[test]
fn the_relocation_in_git_is_ours_and_admitted_and_no_tool_deletes_it() {
    let object: Value = serde_saphyr::from_str(&read(&example("moves/relocation.yaml"))).expect("YAML");
    let relocation: Relocation = serde_json::from_value(object.clone()).expect("a relocation");
    assert_eq!(admission::check(None, &object), Ok(()));
    assert_eq!(relocation.spec.late_requests, relocation_operator::api::LateRequests::Report);
    let annotations = relocation.metadata.annotations.unwrap_or_default();
    assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled");
    assert!(annotations["argocd.argoproj.io/sync-options"].contains("Prune=false"));

    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&read(&example("flux/kustomization.yaml"))).expect("two documents");
    let kustomization = &documents[1]["spec"];
    assert_eq!((&kustomization["prune"], &kustomization["force"]), (&json!(false), &json!(false)));
    let checked = &kustomization["healthChecks"][0];
    assert_eq!(checked["apiVersion"], object["apiVersion"]);
    assert_eq!((&checked["kind"], &checked["name"]), (&object["kind"], &object["metadata"]["name"]));

    let application: Value = serde_saphyr::from_str(&read(&example("argocd/application.yaml"))).expect("YAML");
    let ignored = &application["spec"]["ignoreDifferences"][0];
    assert_eq!((&ignored["group"], &ignored["kind"]), (&json!(GROUP), &object["kind"]));
    let pointers = ignored["jsonPointers"].as_array().expect("a list");
    let patches = every_state().into_iter().flat_map(|state| state.actions.into_values());
    for (field, _) in patches.flat_map(|patch| patch["spec"].as_object().cloned().unwrap_or_default()) {
        let pointer = json!(format!("/spec/{field}"));
        assert!(pointers.contains(&pointer), "an action writes {pointer}, and selfHeal would take it back");
    }
}
