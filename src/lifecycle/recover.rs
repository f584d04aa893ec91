//! Recover: one more attempt of exactly the failure that `spec.recover` names, with the plan as it is now.
//!
//! The id is a compare-and-swap: it acts only while it names the failure that stands, so that a token left in a manifest
//! does nothing, and two people who recover the same failure get one attempt.

use super::because::Because;
use super::boundary;
use super::draft::{Decision, Draft, Effect, NoticeReason};
use super::plan::Plan;
use super::snapshot::{Facet, LockSeen, PlanSeen, Snapshot, WorkspaceSeen};
use crate::api::{
    DesiredState, Failure, FailureReason, PlanInUse, StatusValue, Step, WorkState, revision_name, workspace_name,
};

/// What becomes of a relocation that has ended.
pub(super) enum Recovery<'a, 's> {
    /// It stays ended; this is why.
    Ended(Box<Draft<'a>>, Because),
    /// It goes on in this very judgement, by this plan.
    Resumed(Box<Draft<'a>>, &'s Plan),
    /// This comes first.
    NotYet(Box<Decision>),
}

/// Why `spec.recover`, if it is set, cannot act on the failure that stands.
pub(super) fn refusal(draft: &Draft<'_>) -> Option<String> {
    let failure = draft.status.failure.as_ref()?;
    let wanted = draft.spec.recover.as_ref()?;
    if *wanted != failure.id {
        return Some(format!("cannot recover {wanted}: the failure that stands is {}", failure.id));
    }
    if !failure.recoverable {
        return Some(format!("cannot recover {wanted}: the task that failed is declared recoverable: false"));
    }
    if draft.spec.desired_state == DesiredState::Aborted {
        return Some(format!("cannot recover {wanted}: desiredState is Aborted; set it to Active in the same change"));
    }
    if draft.spec.cancel_at_step == draft.status.step && !draft.status.entered {
        return Some(format!("cannot recover {wanted}: cancelAtStep would end it again before {}", failure.step));
    }
    let budget = draft.spec.active_deadline_seconds;
    if failure.reason == FailureReason::DeadlineExceeded && budget.is_some_and(|limit| limit <= draft.active_seconds())
    {
        let used = draft.active_seconds();
        return Some(format!(
            "cannot recover {wanted}: its {used} seconds are used up; raise activeDeadlineSeconds above that"
        ));
    }
    None
}

/// Whether the failure that stands is to be recovered.
pub(super) fn is_asked(draft: &Draft<'_>) -> bool {
    draft.status.failure.is_some() && draft.spec.recover.is_some() && refusal(draft).is_none()
}

/// Judges whether an ended relocation goes on.
///
/// The lock is taken and the plan frozen before the one write that accepts the recovery, so that a crash between them
/// leaves the failure as it was.
pub(super) fn judge<'a, 's>(
    draft: Draft<'a>,
    snapshot: &'s Snapshot<'_>,
    end_is_owed: bool,
) -> Result<Recovery<'a, 's>, Facet> {
    let draft = Box::new(draft);
    let Some(failure) = draft.status.failure.clone().filter(|_| is_asked(&draft)) else {
        let succeeded = draft.status.status == Some(StatusValue::Success);
        return Ok(Recovery::Ended(draft, if succeeded { Because::Succeeded } else { Because::Failed }));
    };
    // Each ending is told before the next one can come.
    if end_is_owed {
        return Ok(Recovery::Ended(draft, Because::Failed));
    }
    if let Some(successor) = snapshot.successor.as_ref().ok_or(Facet::Successor)? {
        let message = format!(
            "the relocation {:?} starts this one over and is active or has succeeded; recover goes on when that one has failed",
            successor.name
        );
        return Ok(waiting(draft, message));
    }
    let never_started = draft.status.plan.is_none() && failure.reason != FailureReason::StatusLost;
    let plan = match usable_plan(&draft, snapshot, &failure) {
        Ok(plan) => plan,
        // It waits for its plan as every relocation does that has not begun.
        Err(_) if never_started => return resume_from_the_start(draft, snapshot, &failure),
        Err(message) => return Ok(waiting(draft, message)),
    };
    if let Some(obstacle) = lock(&draft, snapshot)? {
        return Ok(match obstacle {
            Obstacle::Waiting(message) => waiting(draft, message),
            // It is given back once all is quiet, as after every ending.
            Obstacle::OldLock => Recovery::Ended(draft, Because::Failed),
            Obstacle::Missing(effect) => not_yet(*draft, effect),
        });
    }
    if never_started {
        return resume_from_the_start(draft, snapshot, &failure);
    }
    if plan.workspace.is_some() {
        match snapshot.workspace.as_ref().ok_or(Facet::Workspace)? {
            WorkspaceSeen::Missing => return Ok(not_yet(*draft, Effect::CreateWorkspace(Box::new(plan.clone())))),
            WorkspaceSeen::Ours => {}
            WorkspaceSeen::Foreign => {
                let claim = workspace_name(draft.name(), draft.uid());
                return Ok(waiting(draft, Because::WorkspaceTaken { claim }.message()));
            }
        }
    }
    let revision = next_revision(&draft);
    let Some(adopted) = snapshot.adopted.as_ref().ok_or(Facet::Adopted)? else {
        return Ok(not_yet(*draft, Effect::FreezePlan { plan: Box::new(plan.clone()), revision }));
    };
    if let Some(message) = lacks_the_task(&draft, adopted, &failure) {
        return Ok(waiting(draft, message));
    }
    Ok(Recovery::Resumed(Box::new(resume(*draft, adopted, revision, &failure)), adopted))
}

/// What stands in the way of a recovery, or what must be made first.
enum Obstacle {
    Waiting(String),
    /// The lock is still that of the run that failed.
    OldLock,
    Missing(Effect),
}

fn waiting(draft: Box<Draft<'_>>, message: String) -> Recovery<'_, 'static> {
    Recovery::Ended(draft, Because::RecoverWaiting { message })
}

fn not_yet(draft: Draft<'_>, effect: Effect) -> Recovery<'_, 'static> {
    let wake = Some(draft.now);
    Recovery::NotYet(Box::new(draft.decide(Because::Failed, Some(effect), wake)))
}

/// A suspended relocation takes no lock; it does when it goes on.
///
/// A recovery never goes on with the lock of the run that failed: somebody may be about to give that one back, late,
/// and would take it from under the recovered run. It has a Lease of its own, taken after the edit that asked for it.
fn lock(draft: &Draft<'_>, snapshot: &Snapshot<'_>) -> Result<Option<Obstacle>, Facet> {
    if draft.spec.desired_state == DesiredState::Suspended {
        return Ok(None);
    }
    Ok(match snapshot.lock.as_ref().ok_or(Facet::Lock)? {
        LockSeen::Ours { generation, .. } if Some(*generation) == draft.relocation.metadata.generation => None,
        LockSeen::Ours { .. } => Some(Obstacle::OldLock),
        LockSeen::Free => Some(Obstacle::Missing(Effect::TakeLock)),
        LockSeen::Held { holder } => Some(Obstacle::Waiting(format!(
            "the mutex is held by the relocation {holder:?}; recover goes on when that one has ended"
        ))),
    })
}

/// The plan as it is now, if the failed task can be tried again by it; else what is in the way.
fn usable_plan<'s>(draft: &Draft<'_>, snapshot: &'s Snapshot<'_>, failure: &Failure) -> Result<&'s Plan, String> {
    let plan = draft.spec.plan_ref.name.clone();
    match &snapshot.plan {
        PlanSeen::Missing => Err(Because::PlanMissing { plan, overdue: true }.message()),
        PlanSeen::NotJudged => Err(Because::PlanNotJudged { plan, overdue: true }.message()),
        PlanSeen::NotAccepted { message } => Err(Because::PlanNotAccepted { plan, message: message.clone() }.message()),
        PlanSeen::Accepted(accepted) => match lacks_the_task(draft, accepted, failure) {
            Some(message) => Err(message),
            None => Ok(accepted),
        },
    }
}

/// What to say of a plan that no longer has the task that failed.
fn lacks_the_task(draft: &Draft<'_>, plan: &Plan, failure: &Failure) -> Option<String> {
    let task = failure.task.as_ref().filter(|_| failure.entered)?;
    let known = plan.tasks(failure.step, draft.spec.provenance).any(|planned| planned.name == *task);
    (!known).then(|| {
        format!(
            "the RelocationPlan {:?} has no task {task:?} in {} any more; add it and recover goes on by itself",
            draft.spec.plan_ref.name, failure.step
        )
    })
}

/// The name of the revision that holds the plan of the next recovery.
fn next_revision(draft: &Draft<'_>) -> String {
    revision_name(draft.name(), draft.uid(), draft.status.recoveries.unwrap_or(0).saturating_add(1))
}

/// What every accepted recovery writes: the failure moves into the history and is counted.
fn accept(draft: &mut Draft<'_>, failure: &Failure) {
    let detail = format!("{}: {}: {}", failure.id, failure.reason.as_str(), failure.message);
    draft.remember_request(NoticeReason::Recovered, Some(detail), Some("recover"));
    draft.notice(NoticeReason::Recovered, format!("going on after the failure {}", failure.id));
    draft.status.recoveries = Some(draft.status.recoveries.unwrap_or(0).saturating_add(1));
    draft.status.finished_at = None;
    draft.status.job = None;
    draft.status.jobs_missing = None;
    draft.status.next_attempt_at = None;
    // The next ending is told by a Job of its own.
    draft.status.steps.retain(|record| record.name != Step::Completed);
    let started = draft.status.started_at.is_some();
    draft.set_status(if started { StatusValue::InProgress } else { StatusValue::Pending });
}

/// A failure before the plan was frozen: there is nothing to go on with, so it begins anew.
fn resume_from_the_start<'a, 's>(
    mut draft: Box<Draft<'a>>,
    snapshot: &Snapshot<'_>,
    failure: &Failure,
) -> Result<Recovery<'a, 's>, Facet> {
    // Otherwise it would fail again in this very judgement.
    match lock(&draft, snapshot)? {
        Some(Obstacle::Waiting(message)) => return Ok(waiting(draft, message)),
        Some(Obstacle::OldLock) => return Ok(Recovery::Ended(draft, Because::Failed)),
        Some(Obstacle::Missing(_)) | None => {}
    }
    accept(&mut draft, failure);
    // Recorded by itself: what is frozen from here on is named after this recovery.
    let wake = Some(draft.now);
    Ok(Recovery::NotYet(Box::new(draft.decide(Because::Starting, None, wake))))
}

/// Exactly one more attempt of the failed task, or the boundary again before a step that was not entered.
fn resume<'a>(mut draft: Draft<'a>, plan: &Plan, revision: String, failure: &Failure) -> Draft<'a> {
    accept(&mut draft, failure);
    let lost = draft.status.plan.is_none();
    draft.status.plan = Some(PlanInUse { generation: plan.generation, revision });
    // The automatic fence is read once in a run; only a lost status has to read it again.
    if lost {
        draft.status.auto_pause_at_step = plan.auto_pause_at_step(draft.spec.provenance);
    }
    if !draft.status.entered {
        let step = draft.step();
        boundary::stand_before(&mut draft, plan, step);
        return draft;
    }
    // A task that had not been started yet keeps the plan's limit.
    draft.status.attempt = draft.status.attempt.map(|attempt| attempt.saturating_add(1));
    draft.status.attempt_limit = draft.status.attempt;
    let step = draft.step();
    let record = draft.step_record(step);
    record.state = WorkState::Running;
    record.finished_at = None;
    draft
}
