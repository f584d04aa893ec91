//! A relocation that this operator cannot read, because a newer version wrote it: it is told so, and left alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clock;
use super::cluster::{Cluster, Kind};
use super::error::ReconcileError;
use crate::api::{ConditionType, Relocation, condition_status};

/// The reason of its `Stalled` condition.
const UNKNOWN_STATUS: &str = "UnknownStatus";

/// A relocation of which nothing is taken for granted but that it is an object.
#[derive(Clone, Debug, Serialize, Deserialize, Resource)]
#[resource(inherit = Relocation)]
struct AnyRelocation {
    metadata: ObjectMeta,
    #[serde(flatten)]
    content: Value,
}

impl Kind for AnyRelocation {
    const PLURAL: &'static str = Relocation::PLURAL;
}

/// Puts a `Stalled` condition on a relocation that cannot be read. Nothing else of it is touched, and it is written once.
pub(super) async fn tell(cluster: &Cluster, metadata: &ObjectMeta, error: &str) -> Result<(), ReconcileError> {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    tracing::warn!(namespace, name, error, "a relocation cannot be read, perhaps because a newer version wrote it");
    let Some(live) = cluster.get::<AnyRelocation>(namespace, name).await? else { return Ok(()) };
    let generation = live.metadata.generation;
    let Some(conditions) = stalled(&live.content["status"]["conditions"], generation, error, clock::now()) else {
        return Ok(());
    };
    let resource_version = live.resource_version().unwrap_or_default();
    let patch = json!({ "conditions": conditions });
    match cluster.patch_status::<AnyRelocation>(namespace, name, &resource_version, &patch).await {
        Ok(_) => Ok(()),
        // Whoever was faster has changed it, so it is looked at again.
        Err(error) if error.api_status().is_some_and(|status| status.is_conflict() || status.is_not_found()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The conditions with `Stalled` among them, and without `Reconciling`; nothing when they say so already.
fn stalled(stored: &Value, generation: Option<i64>, error: &str, now: Timestamp) -> Option<Value> {
    let message = format!(
        "version {} of the operator cannot read this relocation and leaves it alone: {error}; \
         a newer version has written it, run that one",
        env!("CARGO_PKG_VERSION")
    );
    let mut conditions = stored.as_array().cloned().unwrap_or_default();
    let is = |condition: &Value, wanted: ConditionType| condition["type"] == wanted.as_str();
    let told = conditions.iter().any(|condition| {
        is(condition, ConditionType::Stalled)
            && condition["reason"] == UNKNOWN_STATUS
            && condition["message"] == message.as_str()
    });
    if told {
        return None;
    }
    let since = conditions.iter().find(|condition| is(condition, ConditionType::Stalled));
    let since = since.and_then(|stalled| serde_json::from_value(stalled["lastTransitionTime"].clone()).ok());
    conditions.retain(|condition| !is(condition, ConditionType::Stalled) && !is(condition, ConditionType::Reconciling));
    let condition = Condition {
        type_: ConditionType::Stalled.as_str().to_owned(),
        status: condition_status::TRUE.to_owned(),
        reason: UNKNOWN_STATUS.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    };
    conditions.push(json!(condition));
    Some(Value::Array(conditions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_and_all_that_is_not_understood_stays() {
        let stored = json!([
            { "type": "Ready", "status": "False", "reason": "Rehearsing", "message": "from the future" },
            { "type": "Reconciling", "status": "True", "reason": "Rehearsing", "message": "from the future" },
        ]);
        let now = Timestamp::UNIX_EPOCH;
        let told = stalled(&stored, Some(3), "unknown variant `REHEARSING`", now).expect("it was not told yet");
        let types: Vec<&Value> = told.as_array().expect("a list").iter().map(|condition| &condition["type"]).collect();
        assert_eq!(types, ["Ready", "Stalled"]);
        assert_eq!(told[0], stored[0]);
        assert_eq!(
            (told[1]["reason"].as_str(), told[1]["observedGeneration"].as_i64()),
            (Some(UNKNOWN_STATUS), Some(3))
        );
        assert_eq!(stalled(&told, Some(3), "unknown variant `REHEARSING`", now), None);
    }
}
