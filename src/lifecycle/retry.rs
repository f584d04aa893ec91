//! Retry: a new relocation that starts a failed one over from the beginning.

use super::because::Because;
use super::draft::Draft;
use super::snapshot::{Facet, Snapshot, SourceSeen};
use crate::api::{Relocation, RetryOf, StatusValue};

/// Judges what `spec.retryOf` names, before anything is launched: nothing when there is none or it can be started over.
///
/// Both relocations have the same mutex, and each looks at the other while it holds the lock, so that a failure is
/// never recovered and started over at once.
pub(super) fn obstacle(draft: &mut Draft<'_>, snapshot: &Snapshot<'_>) -> Result<Option<Because>, Facet> {
    let Some(retry_of) = draft.spec.retry_of.clone().filter(|_| draft.status.plan.is_none()) else { return Ok(None) };
    Ok(match snapshot.source.as_ref().ok_or(Facet::Source)? {
        SourceSeen::Missing => Some(unusable(
            &retry_of,
            &format!(
                "there is no relocation of that name with the uid {}; correct it in a new relocation",
                retry_of.uid
            ),
        )),
        SourceSeen::Found { relocation, workspace, rival } => {
            if let Some(why) = problem(draft, relocation, rival.as_deref()) {
                return Ok(Some(unusable(&retry_of, &why)));
            }
            let source = relocation.status.clone().unwrap_or_default();
            draft.status.origin = source.origin.or(source.uuid).or_else(|| draft.status.uuid.clone());
            draft.status.source_workspace.clone_from(workspace);
            None
        }
    })
}

fn problem(draft: &Draft<'_>, source: &Relocation, rival: Option<&str>) -> Option<String> {
    let status = source.status.as_ref().and_then(|status| status.status);
    match status {
        Some(StatusValue::Failure) => {}
        Some(StatusValue::Success) => return Some("it has succeeded, there is nothing to start over".to_owned()),
        Some(StatusValue::Pending | StatusValue::InProgress | StatusValue::Pause) | None => {
            return Some("it has not ended; it is started over once it has failed".to_owned());
        }
    }
    if source.spec.owner != draft.spec.owner {
        return Some(format!("its owner is {:?}, not {:?}", source.spec.owner, draft.spec.owner));
    }
    if source.spec.items != draft.spec.items {
        return Some("its items are others; a retry moves the same ones".to_owned());
    }
    if source.spec.effective_mutex() != draft.spec.effective_mutex() {
        return Some(format!("its mutex is {:?}; a retry has the same one", source.spec.effective_mutex()));
    }
    rival.map(|rival| format!("the relocation {rival:?} starts it over already"))
}

fn unusable(retry_of: &RetryOf, why: &str) -> Because {
    Because::RetryUnusable { message: format!("spec.retryOf: cannot start {:?} over: {why}", retry_of.name) }
}
