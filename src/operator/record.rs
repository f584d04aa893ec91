//! Record: one guarded write of the status, before any effect.

use serde_json::{Map, Value};

use super::cluster::Cluster;
use super::error::ReconcileError;
use super::metrics::Outcome;
use crate::api::{Relocation, RelocationStatus};

/// What became of a status write.
pub(super) enum Recorded {
    /// Nothing was to be written.
    Unchanged,
    /// It is stored; this is the object as it is now.
    Stored(Box<Relocation>),
    /// Somebody was faster, or the API server refused it: drop everything and start again.
    Lost(Outcome),
}

/// Writes the status if it differs from the one that was observed.
///
/// Invariant "guarded write": the patch carries the `resourceVersion` of the observation, so that whatever was decided
/// from an older state is refused. A merge patch leaves fields of a newer version alone.
pub(super) async fn record(
    cluster: &Cluster,
    observed: &Relocation,
    next: &RelocationStatus,
) -> Result<Recorded, ReconcileError> {
    let before = serde_json::to_value(observed.status.clone().unwrap_or_default()).unwrap_or_default();
    let after = serde_json::to_value(next).unwrap_or_default();
    let Some(patch) = merge_patch(&before, &after) else { return Ok(Recorded::Unchanged) };
    let metadata = &observed.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    let resource_version = metadata.resource_version.as_deref().unwrap_or_default();
    match cluster.patch_status::<Relocation>(namespace, name, resource_version, &patch).await {
        Ok(stored) => Ok(Recorded::Stored(Box::new(stored))),
        Err(error) => match error.api_status() {
            Some(status) if status.is_conflict() => {
                tracing::debug!("somebody else wrote first; starting again");
                Ok(Recorded::Lost(Outcome::Conflict))
            }
            Some(status) if status.is_not_found() => Ok(Recorded::Lost(Outcome::Conflict)),
            Some(status) if status.is_invalid() => {
                tracing::warn!(message = %status.message, "the API server refused the status; starting again");
                Ok(Recorded::Lost(Outcome::Refused))
            }
            Some(_) | None => Err(error),
        },
    }
}

/// The merge patch (RFC 7396) that makes `before` into `after`; nothing when they are equal.
/// Objects are compared field by field, everything else is replaced whole.
pub(super) fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return Some(after.clone()) };
    let mut patch = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in after {
        let change = match before.get(name) {
            Some(old) => merge_patch(old, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(name.clone(), change);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_statuses_need_no_write() {
        assert_eq!(merge_patch(&json!({"a": 1}), &json!({"a": 1})), None);
    }

    #[test]
    fn what_is_gone_is_removed_and_what_is_unknown_is_left_alone() {
        let patch = merge_patch(&json!({"a": 1, "b": {"c": 1, "d": 2}}), &json!({"b": {"c": 1, "d": 3}, "e": [1]}));
        assert_eq!(patch, Some(json!({"a": null, "b": {"d": 3}, "e": [1]})));
    }
}
