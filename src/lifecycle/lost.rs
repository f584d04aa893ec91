//! Lost status: an object whose status was wiped, or that was restored from a backup, is not run.
//!
//! Nothing is rebuilt by guess. It ends in FAILURE, reason `StatusLost`, at the newest step and task that can be found;
//! recover goes on there, retry starts over.

use super::draft::{Draft, FailureCause};
use super::snapshot::{Facet, Snapshot, Trace};
use crate::api::{FailureReason, StatusValue, Step, revision_name};

/// Whether the status was lost; if so, the draft ends in FAILURE.
pub(super) fn end_if_lost(draft: &mut Draft<'_>, snapshot: &Snapshot<'_>) -> Result<bool, Facet> {
    let message = match draft.status.status {
        None => {
            let traces = snapshot.traces.as_ref().ok_or(Facet::Traces)?;
            if traces.is_empty() {
                return Ok(false);
            }
            stand_where_the_traces_end(draft, traces);
            "the status is gone, and objects of an earlier run with this uuid exist".to_owned()
        }
        Some(StatusValue::Pending | StatusValue::InProgress | StatusValue::Pause) if draft.status.uuid.is_none() => {
            draft.status.uuid = Some(draft.spec.uuid.clone().unwrap_or_else(|| draft.uid().to_owned()));
            "the status does not say which run it is of".to_owned()
        }
        Some(StatusValue::Pending | StatusValue::InProgress | StatusValue::Pause) if is_of_another_object(draft) => {
            let uuid = draft.status.uuid.clone().unwrap_or_default();
            format!("the object was restored: its status is that of the run {uuid}, which is not its own")
        }
        Some(
            StatusValue::Pending
            | StatusValue::InProgress
            | StatusValue::Pause
            | StatusValue::Failure
            | StatusValue::Success,
        ) => return Ok(false),
    };
    let place = draft.place();
    let message = format!("{message}; look at what was done, then recover to go on at {place}, or retry to start over");
    draft.fail(&FailureCause { reason: FailureReason::StatusLost, message, exit_code: None, recoverable: true });
    Ok(true)
}

/// A status whose uuid is neither the object's uid nor `spec.uuid`, until a recovery has made the run this object's own:
/// the name of the plan revision then tells of its uid.
fn is_of_another_object(draft: &Draft<'_>) -> bool {
    let Some(uuid) = &draft.status.uuid else { return false };
    let own = uuid == draft.uid() || Some(uuid) == draft.spec.uuid.as_ref();
    let adopted = draft.status.plan.as_ref().is_some_and(|plan| {
        plan.revision == revision_name(draft.name(), draft.uid(), draft.status.recoveries.unwrap_or(0))
    });
    !own && !adopted
}

fn stand_where_the_traces_end(draft: &mut Draft<'_>, traces: &[Trace]) {
    let uuid = draft.spec.uuid.clone().unwrap_or_else(|| draft.uid().to_owned());
    draft.status.origin.get_or_insert_with(|| uuid.clone());
    draft.status.uuid.get_or_insert(uuid);
    // One revision for the run and one for each recovery: the next one gets a name that was never used.
    let revisions = traces.iter().filter(|trace| matches!(trace, Trace::Revision)).count();
    let recoveries = i32::try_from(revisions.saturating_sub(1)).unwrap_or(i32::MAX);
    if recoveries > 0 {
        draft.status.recoveries = Some(recoveries.max(draft.status.recoveries.unwrap_or(0)));
    }
    let newest = traces
        .iter()
        .filter_map(|trace| match trace {
            Trace::Job { step, task, attempt, launch } => Some((*launch, *step, task, *attempt)),
            Trace::Revision | Trace::Other => None,
        })
        .max();
    if draft.status.step.is_none() {
        draft.status.step = Some(newest.map_or(Step::Uploading, |(_, step, ..)| step));
        draft.status.entered = newest.is_some();
        draft.status.task = newest.map(|(_, _, task, _)| task.clone());
        draft.status.attempt = newest.map(|(.., attempt)| attempt);
    }
    if let Some((launch, ..)) = newest {
        draft.status.launch = Some(launch.max(draft.status.launch.unwrap_or(0)));
    }
}
