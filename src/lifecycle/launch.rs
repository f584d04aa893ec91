//! What a launch needs, and the one status write that records it.

use k8s_openapi::jiff::Timestamp;

use super::because::Because;
use super::boundary;
use super::decide::{self, ENDING_POLL_SECONDS};
use super::draft::{Decision, Draft, Effect, FailureCause, NoticeReason};
use super::plan::Plan;
use super::snapshot::{Facet, LockSeen, MutexUse, PlaceSeen, PlanSeen, Snapshot, WorkspaceSeen};
use crate::api::{
    FailureReason, PauseReason, PlanInUse, StatusValue, WhenLocked, WorkState, job_name, revision_name, workspace_name,
};

/// How long a pod may take to end after it was asked to before it is called stuck: the default grace period of
/// 30 s, a kubelet that was restarting, and as much again.
pub(super) const STUCK_SECONDS: i64 = 120;

/// Whether everything is there that the first launch needs.
pub(super) enum Prepared<'a, 's> {
    /// It is; this is the plan, frozen.
    Ready(Box<Draft<'a>>, &'s Plan),
    /// It is not; this is what to do.
    NotYet(Box<Decision>),
}

/// Before the first step: lock, workspace, and the plan frozen as it is at this moment.
pub(super) fn prepare<'a, 's>(
    mut draft: Draft<'a>,
    snapshot: &'s Snapshot<'_>,
    plan: &Plan,
) -> Result<Prepared<'a, 's>, Facet> {
    tell_unpaused(&mut draft);
    draft.set_status(StatusValue::Pending);
    let effect = match snapshot.lock.as_ref().ok_or(Facet::Lock)? {
        LockSeen::Held { holder } => return Ok(Prepared::NotYet(Box::new(locked(draft, holder)))),
        LockSeen::Free => Some(Effect::TakeLock),
        LockSeen::Ours { .. } => None,
    };
    let wake = Some(draft.now);
    if effect.is_some() {
        return Ok(Prepared::NotYet(Box::new(draft.decide(Because::Starting, effect, wake))));
    }
    // After a crash the plan may be frozen already, and edited since; the frozen one is what will run.
    let frozen = snapshot.frozen.as_ref().ok_or(Facet::Frozen)?;
    let plan = frozen.as_deref().unwrap_or(plan);
    let effect = match &plan.workspace {
        None => None,
        Some(_) => match snapshot.workspace.as_ref().ok_or(Facet::Workspace)? {
            WorkspaceSeen::Missing => Some(Effect::CreateWorkspace(Box::new(plan.clone()))),
            WorkspaceSeen::Ours => None,
            WorkspaceSeen::Foreign => {
                let claim = workspace_name(draft.name(), draft.uid());
                let decision = draft.decide(Because::WorkspaceTaken { claim }, None, None);
                return Ok(Prepared::NotYet(Box::new(decision)));
            }
        },
    };
    if effect.is_some() {
        return Ok(Prepared::NotYet(Box::new(draft.decide(Because::Starting, effect, wake))));
    }
    let Some(frozen) = frozen else {
        let revision = revision_name(draft.name(), draft.uid(), draft.status.recoveries.unwrap_or(0));
        let effect = Some(Effect::FreezePlan { plan: Box::new(plan.clone()), revision });
        return Ok(Prepared::NotYet(Box::new(draft.decide(Because::Starting, effect, wake))));
    };
    draft.status.plan = Some(PlanInUse {
        generation: frozen.generation,
        revision: revision_name(draft.name(), draft.uid(), draft.status.recoveries.unwrap_or(0)),
    });
    draft.status.auto_pause_at_step = frozen.auto_pause_at_step(draft.spec.provenance);
    let step = draft.step();
    boundary::stand_before(&mut draft, frozen, step);
    Ok(Prepared::Ready(Box::new(draft), frozen))
}

fn locked(mut draft: Draft<'_>, holder: &str) -> Decision {
    // What is started over has ended, and gives the lock back as soon as its pods have.
    let started_over = draft.spec.retry_of.as_ref().is_some_and(|retry_of| retry_of.name == holder);
    match (draft.spec.when_locked, started_over) {
        (WhenLocked::Wait, _) | (WhenLocked::Fail, true) => {
            let first = draft.relocation.status.as_ref().is_none_or(|status| status.status.is_none());
            let because = Because::WaitingForLock { holder: holder.to_owned() };
            if first {
                draft.notice(NoticeReason::Queued, because.message());
            }
            let wake = Some(draft.in_seconds(ENDING_POLL_SECONDS));
            draft.decide(because, None, wake)
        }
        (WhenLocked::Fail, false) => {
            let message = format!(
                "the mutex {:?} is held by the relocation {holder:?}; wait until it has ended, or set spec.whenLocked to Wait",
                draft.spec.effective_mutex()
            );
            draft.fail(&FailureCause { reason: FailureReason::Locked, message, exit_code: None, recoverable: true });
            draft.decide(Because::Failed, None, None)
        }
    }
}

/// A launch is due: the back-off is over, the lock is held, all is quiet; then one status write records it.
pub(super) fn launch(mut draft: Draft<'_>, snapshot: &Snapshot<'_>, plan: &Plan) -> Result<Decision, Facet> {
    // A pause does not use the budget, so it may be found used up, or lowered, only now.
    if let Some(message) = decide::used_up_budget(&draft) {
        return Ok(decide::end_without_success(draft, FailureReason::DeadlineExceeded, message));
    }
    // Parameters may be edited while nothing runs. PENDING, because there they may be edited again.
    if let Err(problem) = plan.resolve(&draft.spec.parameters) {
        tell_unpaused(&mut draft);
        draft.set_status(StatusValue::Pending);
        return Ok(draft.decide(Because::ParameterRefused { message: problem.to_string() }, None, None));
    }
    if let Some(until) = draft.status.next_attempt_at.as_ref().map(|time| time.0)
        && until > draft.now
    {
        tell_unpaused(&mut draft);
        draft.set_status(StatusValue::InProgress);
        let because = Because::BackingOff { place: draft.place(), until };
        return Ok(draft.decide(because, None, Some(until)));
    }
    match obstacle(&draft, snapshot)? {
        Some(Obstacle { because, effect, wake }) => {
            waiting(&mut draft, &because);
            Ok(draft.decide(because, effect, Some(wake)))
        }
        None => Ok(record_launch(draft, plan)),
    }
}

/// What stands in the way of a Job, and what to do about it.
pub(super) struct Obstacle {
    pub because: Because,
    pub effect: Option<Effect>,
    pub wake: Timestamp,
}

/// Invariant "one at a time": no Job is asked for, not even one that was recorded before, unless the lock is held and
/// nothing of the mutex is unfinished.
pub(super) fn obstacle(draft: &Draft<'_>, snapshot: &Snapshot<'_>) -> Result<Option<Obstacle>, Facet> {
    let soon = draft.in_seconds(ENDING_POLL_SECONDS);
    match snapshot.lock.as_ref().ok_or(Facet::Lock)? {
        LockSeen::Ours { .. } => {}
        LockSeen::Free => {
            let effect = Some(Effect::TakeLock);
            return Ok(Some(Obstacle { because: Because::Starting, effect, wake: draft.now }));
        }
        LockSeen::Held { holder } => {
            let because = Because::LockLost { holder: holder.clone() };
            return Ok(Some(Obstacle { because, effect: None, wake: soon }));
        }
    }
    if let Some(because) = missing_place(draft, snapshot)? {
        let wake = draft.in_seconds(PLACE_POLL_SECONDS);
        return Ok(Some(Obstacle { because, effect: None, wake }));
    }
    // Right after a Job of ours was seen terminal under our lock nothing else of the mutex can have started.
    if draft.just_folded {
        return Ok(None);
    }
    Ok(match snapshot.mutex_use.as_ref().ok_or(Facet::MutexUse)? {
        MutexUse::Quiet => None,
        MutexUse::Busy { what, ending } => {
            Some(Obstacle { because: busy(draft, what, ending.as_ref()), effect: None, wake: soon })
        }
    })
}

/// What is still unfinished under the mutex, or which pod of it is stuck.
fn busy(draft: &Draft<'_>, what: &[String], ending: Option<&(String, Option<String>, Timestamp)>) -> Because {
    stuck(draft, ending).unwrap_or_else(|| Because::WaitingForPods { what: what.join(", ") })
}

/// The pod that has been ending for too long, if there is one.
pub(super) fn stuck(draft: &Draft<'_>, ending: Option<&(String, Option<String>, Timestamp)>) -> Option<Because> {
    let (pod, node, since) = ending?;
    let long_ago = draft.now.duration_since(*since).as_secs() >= STUCK_SECONDS;
    long_ago.then(|| Because::PodStuck { pod: pod.clone(), node: node.clone().unwrap_or_else(|| "(none)".to_owned()) })
}

fn waiting(draft: &mut Draft<'_>, because: &Because) {
    tell_unpaused(draft);
    let for_a_place = matches!(because, Because::WaitingForPlace { .. });
    let works = draft.status.started_at.is_some() && !for_a_place;
    draft.set_status(if works { StatusValue::InProgress } else { StatusValue::Pending });
    if for_a_place {
        let since = draft.time();
        draft.status.waiting_since.get_or_insert(since);
    }
}

/// How often a relocation that waits for a place looks by itself; whoever leaves a place wakes it before.
const PLACE_POLL_SECONDS: i64 = 30;

/// The place that a relocation needs that does not work yet; one that works has its place.
fn missing_place(draft: &Draft<'_>, snapshot: &Snapshot<'_>) -> Result<Option<Because>, Facet> {
    let stored = snapshot.relocation.status.as_ref().and_then(|status| status.status);
    let has_a_place = stored == Some(StatusValue::InProgress);
    // The plan as it is now: closing it is meant for relocations that have begun as well.
    let limited = matches!(&snapshot.plan, PlanSeen::Accepted(plan) if plan.spec.max_active.is_some());
    if has_a_place || !limited {
        return Ok(None);
    }
    Ok(match snapshot.place.as_ref().ok_or(Facet::Place)? {
        PlaceSeen::Free => None,
        PlaceSeen::Taken { limit, ahead } => {
            let plan = draft.spec.plan_ref.name.clone();
            Some(Because::WaitingForPlace { plan, limit: *limit, ahead: *ahead })
        }
    })
}

/// Answers the request that ended a pause, whatever comes next.
pub(super) fn tell_unpaused(draft: &mut Draft<'_>) {
    let place = draft.place();
    let step = draft.step();
    match draft.status.pause.take().map(|pause| pause.reason) {
        Some(PauseReason::Suspended) => {
            draft.notice(NoticeReason::Resumed, format!("going on with {place}"));
            draft.remember_request(NoticeReason::Resumed, None, Some("desiredState"));
        }
        Some(reason @ (PauseReason::Fence | PauseReason::AutoFence)) => {
            draft.notice(NoticeReason::Unpaused, format!("going on into {step}"));
            let moved = draft.spec.pause_at_step.map(|_| "pauseAtStep");
            let field = if reason == PauseReason::AutoFence { Some("autoPause") } else { moved };
            draft.remember_request(NoticeReason::Unpaused, None, field);
        }
        None => {}
    }
}

/// Invariant "intent before effect": this write names the Job, the attempt and the fencing token before the Job exists.
fn record_launch(mut draft: Draft<'_>, plan: &Plan) -> Decision {
    let step = draft.step();
    tell_unpaused(&mut draft);
    let name = draft.status.task.clone().unwrap_or_default();
    let Some(task) = plan.task(step, &name) else {
        let message = format!("the plan of this run has no task {name:?} in {step}");
        return decide::end_without_success(draft, FailureReason::JobRefused, message);
    };
    let entering = !draft.status.entered;
    let attempt = match (draft.status.attempt, &draft.status.next_attempt_at) {
        (None, _) => 1,
        (Some(attempt), Some(_)) => attempt.saturating_add(1),
        (Some(attempt), None) => attempt,
    };
    if draft.status.attempt != Some(attempt) {
        draft.status.jobs_missing = None;
    }
    let launch = draft.status.launch.unwrap_or(0).saturating_add(1).max(draft.now.as_second());
    let job = job_name(draft.name(), draft.uid(), launch);
    let now = draft.time();

    draft.set_status(StatusValue::InProgress);
    draft.status.entered = true;
    draft.status.attempt = Some(attempt);
    draft.status.attempt_limit = Some(draft.status.attempt_limit.unwrap_or(task.attempts));
    draft.status.next_attempt_at = None;
    draft.status.launch = Some(launch);
    draft.status.launched_at = Some(now.clone());
    draft.status.job = Some(job.clone());
    draft.status.started_at.get_or_insert_with(|| now.clone());
    let record = draft.step_record(step);
    record.state = WorkState::Running;
    record.started_at.get_or_insert(now);
    let record = draft.task_record(step, &name);
    let first = record.attempts == 0;
    record.state = WorkState::Running;
    record.attempts = attempt;
    record.job = Some(job.clone());

    let place = draft.place();
    if entering {
        draft.notice(NoticeReason::StepEntered, format!("entered {step}: task {name} runs as Job {job}"));
    } else if first {
        draft.notice(NoticeReason::TaskStarted, format!("{place} runs as Job {job}"));
    } else {
        draft.notice(NoticeReason::TaskRetrying, format!("{place} runs again as Job {job}, attempt {attempt}"));
    }
    let limit = draft.status.attempt_limit.unwrap_or(attempt);
    let wake = Some(draft.in_seconds(super::running::READY_GRACE_SECONDS));
    draft.decide(Because::Running { place, attempt, limit, job }, Some(Effect::CreateJob(Box::new(plan.clone()))), wake)
}
