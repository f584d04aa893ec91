//! The custom resource definitions, finished from what the types say.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{ArtifactIndex, Relocation, RelocationPlan, condition_status};

/// The longest name of a relocation: the names of what belongs to it are derived from it.
pub const NAME_LIMIT: usize = 52;

/// Every definition, in the order in which they are installed.
#[must_use]
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    vec![crd::<Relocation>(), crd::<RelocationPlan>(), crd::<ArtifactIndex>()]
}

/// The definition of one kind, with what a derive cannot say:
/// the bounds of `metadata.name` and of conditions, the default of `status`, sentences that are not broken in the
/// middle for `kubectl explain`, and no `nullable`
/// (an explicit null is pruned by the API server, so that `has()` in a rule means "is set").
///
/// # Panics
///
/// Never: the derived definition is JSON of the shape that is edited here; a test builds all three.
#[must_use]
pub fn crd<K: CustomResourceExt>() -> CustomResourceDefinition {
    let mut definition = serde_json::to_value(K::crd()).expect("a definition is JSON");
    let is_relocation = definition["spec"]["names"]["kind"] == "Relocation";
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    finish(schema);
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": NAME_LIMIT, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" }
        }
    });
    if is_relocation {
        schema["properties"]["status"]["default"] = json!({ "observedGeneration": -1 });
    }
    if let Some(condition) = schema.pointer_mut("/properties/status/properties/conditions/items/properties") {
        bound_condition(condition);
    }
    serde_json::from_value(definition).expect("an edited definition is still a definition")
}

/// Removes `nullable`, bounds integers and joins the lines of descriptions, in every part of a schema.
fn finish(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // Kubernetes 1.34 takes the format for a word, and would store a number that nobody can read.
            if fields.get("format").is_some_and(|format| format == "int32") {
                fields.entry("minimum").or_insert(json!(f64::from(i32::MIN)));
                fields.entry("maximum").or_insert(json!(f64::from(i32::MAX)));
            }
            if fields.get("nullable").is_some_and(Value::is_boolean) {
                fields.remove("nullable");
            }
            if let Some(Value::String(description)) = fields.get_mut("description") {
                *description = join_sentences(description);
            }
            for value in fields.values_mut() {
                finish(value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(finish),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Joins a line with the one before it unless that one ends a sentence or a paragraph.
fn join_sentences(description: &str) -> String {
    description.lines().map(str::trim_end).fold(String::new(), |mut joined, line| {
        match joined.chars().last() {
            None => {}
            Some('.' | ':' | '\n') => joined.push('\n'),
            Some(_) if line.is_empty() => joined.push('\n'),
            Some(_) => joined.push(' '),
        }
        joined + line
    })
}

/// Gives the fields of a condition the bounds that their documentation states.
fn bound_condition(condition: &mut Value) {
    condition["type"]["maxLength"] = json!(316);
    condition["status"]["enum"] = json!([condition_status::TRUE, condition_status::FALSE, condition_status::UNKNOWN]);
    condition["reason"]["minLength"] = json!(1);
    condition["reason"]["maxLength"] = json!(1024);
    condition["reason"]["pattern"] = json!("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$");
    condition["message"]["maxLength"] = json!(32_768);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas() -> Vec<(String, Value)> {
        all_crds()
            .into_iter()
            .map(|definition| {
                let kind = definition.spec.names.kind.clone();
                let definition = serde_json::to_value(definition).expect("a definition is JSON");
                (kind, definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
            })
            .collect()
    }

    /// Calls `visit` with every part of a schema and its path.
    fn each_node(node: &Value, path: &str, visit: &mut impl FnMut(&Value, &str)) {
        visit(node, path);
        for (name, child) in node["properties"].as_object().into_iter().flatten() {
            each_node(child, &format!("{path}.{name}"), visit);
        }
        for (field, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
            if node[field].is_object() {
                each_node(&node[field], &format!("{path}{mark}"), visit);
            }
        }
    }

    #[test]
    fn every_text_number_list_and_map_is_bounded() {
        for (kind, schema) in schemas() {
            each_node(&schema, &kind, &mut |node, path| {
                let has = |field: &str| node.get(field).is_some();
                if node["type"] == "string" {
                    assert!(has("maxLength") || has("enum") || node["format"] == "date-time", "{path}");
                }
                assert!(node["format"] != "int32" || has("minimum") && has("maximum"), "{path}");
                assert!(node["type"] != "array" || has("maxItems"), "{path}");
                assert!(!has("additionalProperties") || has("maxProperties"), "{path}");
                assert!(!has("nullable"), "{path}");
            });
        }
    }

    #[test]
    fn every_field_is_documented_for_kubectl_explain() {
        for (kind, schema) in schemas() {
            each_node(&schema, &kind, &mut |node, path| {
                let is_element = path.ends_with(']') || path.ends_with('}');
                if is_element || path.contains(".metadata") {
                    return;
                }
                let description = node["description"].as_str().unwrap_or_else(|| panic!("{path} is not documented"));
                assert!(description.ends_with('.'), "{path}: {description}");
                let broken = description.lines().any(|line| !line.is_empty() && !line.ends_with(['.', ':']));
                assert!(!broken, "{path} breaks a sentence: {description}");
            });
        }
    }

    #[test]
    fn a_field_is_explained_in_its_own_words_not_in_those_of_its_type() {
        for (kind, schema) in schemas() {
            each_node(&schema, &kind, &mut |node, path| {
                let description = node["description"].as_str().unwrap_or_default();
                assert!(!description.starts_with("A step of a relocation"), "{path}");
            });
        }
    }

    #[test]
    fn lines_are_joined_within_a_sentence_only() {
        assert_eq!(
            join_sentences("One\nsentence.\nAnother.\n\nA paragraph."),
            "One sentence.\nAnother.\n\nA paragraph."
        );
    }
}
