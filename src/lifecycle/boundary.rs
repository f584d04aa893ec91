//! Step boundaries: cancel, fence, pass through, or enter.

use super::because::Because;
use super::decide;
use super::draft::{Decision, Draft};
use super::launch;
use super::plan::Plan;
use super::snapshot::{Facet, Snapshot};
use crate::api::{AutoPause, FailureReason, PauseReason, StatusValue, Step, WorkState};

/// Judges the boundary before the step that the draft stands at.
///
/// Invariant "fences are levels": nothing here changes or remembers a fence; each look compares the spec as it is.
pub(super) fn judge(mut draft: Draft<'_>, snapshot: &Snapshot<'_>, plan: &Plan) -> Result<Decision, Facet> {
    let step = draft.step();
    if draft.spec.cancel_at_step == Some(step) {
        let message = format!("spec.cancelAtStep is {step}");
        return Ok(decide::end_without_success(draft, FailureReason::Cancelled, message));
    }
    if let Some((reason, message)) = fence_at(&draft, step) {
        decide::pause(&mut draft, reason, message);
        return Ok(draft.decide(Because::Paused, None, None));
    }
    if plan.tasks(step, draft.spec.provenance).next().is_none() {
        if draft.relocation.status.as_ref().is_some_and(|stored| stored.step != Some(step) || stored.has_ended()) {
            // The step before has just ended, or a failure before this one is being recovered.
            // One write moves one step, so that the API server can hold the fences and the ending.
            let wake = Some(draft.now);
            return Ok(draft.decide(Because::PassedThrough, None, wake));
        }
        return Ok(pass_through(draft, plan, step));
    }
    launch::launch(draft, snapshot, plan)
}

/// The fence that holds before `step`, and how it is opened. The one in the spec is named first, but each holds by itself.
///
/// A fence that is moved to a step which is over came too late and has no effect: above all it does not let go.
fn fence_at(draft: &Draft<'_>, step: Step) -> Option<(PauseReason, String)> {
    let automatic = draft.spec.auto_pause == AutoPause::Honour && draft.status.auto_pause_at_step == Some(step);
    if draft.spec.pause_at_step == Some(step) {
        let also = if automatic { ", and spec.autoPause to Skip, because the plan pauses there too" } else { "" };
        let message = format!(
            "paused before {step} by spec.pauseAtStep; go on by clearing it or moving it to a later step{also}"
        );
        return Some((PauseReason::Fence, message));
    }
    let paused_here =
        draft.status.pause.as_ref().is_some_and(|pause| pause.reason == PauseReason::Fence && pause.step == step);
    if let Some(late) = draft.spec.pause_at_step.filter(|fence| paused_here && *fence < step) {
        let message = format!(
            "paused before {step} by spec.pauseAtStep, which was moved to {late}; that is over and lets nothing go on; \
             go on by clearing it or moving it to a later step"
        );
        return Some((PauseReason::Fence, message));
    }
    automatic.then(|| {
        let message =
            format!("paused before {step} by the plan's automatic fence; go on by setting spec.autoPause to Skip");
        (PauseReason::AutoFence, message)
    })
}

/// A step without tasks is left behind in one status write of its own, so that a fence on it is never jumped.
fn pass_through(mut draft: Draft<'_>, plan: &Plan, step: Step) -> Decision {
    let now = draft.time();
    let record = draft.step_record(step);
    record.state = WorkState::Skipped;
    record.started_at = Some(now.clone());
    record.finished_at = Some(now);
    let started = draft.status.started_at.is_some();
    launch::tell_unpaused(&mut draft);
    draft.set_status(if started { StatusValue::InProgress } else { StatusValue::Pending });
    stand_before(&mut draft, plan, step.next());
    if draft.step() == Step::Completed {
        return decide::succeed(draft);
    }
    let wake = Some(draft.now);
    draft.decide(Because::PassedThrough, None, wake)
}

/// The one place where the step moves.
pub(super) fn stand_before(draft: &mut Draft<'_>, plan: &Plan, step: Step) {
    draft.status.step = Some(step);
    draft.status.entered = false;
    draft.status.task = plan.tasks(step, draft.spec.provenance).next().map(|task| task.name.clone());
    draft.status.attempt = None;
    draft.status.attempt_limit = None;
    draft.status.next_attempt_at = None;
    draft.status.jobs_missing = None;
}
