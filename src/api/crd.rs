//! The custom resource definitions, finished from what the types say.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{ArtifactIndex, Relocation, RelocationPlan};

/// The longest name of a relocation: the names of what belongs to it are derived from it.
pub const NAME_LIMIT: usize = 52;

/// Every definition, in the order in which they are installed.
#[must_use]
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    vec![crd::<Relocation>(), crd::<RelocationPlan>(), crd::<ArtifactIndex>()]
}

/// The definition of one kind, with what a derive cannot say:
/// the bounds of `metadata.name`, the default of `status`, and no `nullable`
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
    remove_noise(schema);
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": NAME_LIMIT, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" }
        }
    });
    if is_relocation {
        schema["properties"]["status"]["default"] = json!({ "observedGeneration": -1 });
    }
    serde_json::from_value(definition).expect("an edited definition is still a definition")
}

/// Removes `nullable` and the formats that the API server does not know.
fn remove_noise(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("nullable").is_some_and(Value::is_boolean) {
                fields.remove("nullable");
            }
            for value in fields.values_mut() {
                remove_noise(value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(remove_noise),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
