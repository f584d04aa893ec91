//! The one decision function, in the order of judgement.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::because::Because;
use super::draft::{Decision, Draft, Effect, FailureCause, NoticeReason, ObjectReference};
use super::plan::Plan;
use super::recover::{self, Recovery};
use super::snapshot::{Facet, JobRead, JobSeen, Leftovers, LockSeen, MutexUse, PlanSeen, Snapshot};
use super::{boundary, fold, launch, lost, requests, retry, running};
use crate::api::{
    AnsweredRequests, DesiredState, FailureReason, Pause, PauseReason, StatusValue, Step, WorkState, clean_message,
};

/// How long a plan may be missing or unjudged before that is a person's matter:
/// a folder applied in one command brings the plan within seconds, in any order.
const PLAN_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// How soon to look again at pods that are ending; nobody tells us when a pod that is no longer ours to watch is gone.
pub(super) const ENDING_POLL_SECONDS: i64 = 2;

/// Judges what a relocation does next.
///
/// The order of the statements is the order of judgement: deleted, lost, stray, fold, ended or recovered, done, aborted, out of time,
/// not startable, suspended, running, boundary, launch.
/// It is total: every combination of status and observation has an answer.
///
/// # Errors
///
/// The [`Facet`] that must be observed before the judgement can be made; observe it and ask again.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Result<Decision, Facet> {
    let mut draft = Draft::new(snapshot, now);
    if snapshot.relocation.metadata.deletion_timestamp.is_some() {
        let status = snapshot.relocation.status.clone().unwrap_or_default();
        return Ok(Decision { status, effect: None, because: Because::Deleted, notices: Vec::new(), wake: None });
    }
    // Before the strays: the newest Job is what tells where a lost status stood.
    if lost::end_if_lost(&mut draft, snapshot)? {
        // A fence that was stored meanwhile on a step that turns out to be entered has come too late.
        requests::answer(&mut draft);
        let wake = Some(draft.now);
        return Ok(draft.decide(Because::Failed, None, wake));
    }
    if let Some(decision) = delete_strays(snapshot, now) {
        return Ok(decision);
    }
    accept(&mut draft);
    requests::answer(&mut draft);
    let mut plan = plan_in_use(snapshot, &draft)?;

    if let Some(plan) = plan {
        fold::fold(&mut draft, snapshot, plan)?;
    }
    if draft.status.has_ended() {
        let end_is_owed = end_is_owed(&draft, plan);
        match recover::judge(draft, snapshot, end_is_owed)? {
            Recovery::Ended(ended_draft, because) => return ended(*ended_draft, snapshot, plan, because),
            Recovery::NotYet(decision) => return Ok(*decision),
            Recovery::Resumed(resumed, adopted) => (draft, plan) = (*resumed, Some(adopted)),
        }
    }
    if draft.step() == Step::Completed {
        return Ok(succeed(draft));
    }
    if draft.spec.desired_state == DesiredState::Aborted {
        job_has_not_ended(&draft, snapshot)?;
        return Ok(end_without_success(draft, FailureReason::Aborted, "spec.desiredState is Aborted".to_owned()));
    }
    if draft.status.active_since.is_some()
        && let Some(message) = used_up_budget(&draft)
    {
        job_has_not_ended(&draft, snapshot)?;
        return Ok(end_without_success(draft, FailureReason::DeadlineExceeded, message));
    }
    let wake_for_deadline = deadline(&draft);

    let startable = match retry::obstacle(&mut draft, snapshot)? {
        Some(because) => Err((because, Some(draft.in_seconds(running::POLL_SECONDS)))),
        None => startable(&draft, snapshot, plan),
    };
    let decision = match startable {
        Err((because, wake)) => {
            draft.set_status(StatusValue::Pending);
            Ok(draft.decide(because, None, wake))
        }
        Ok(_) if draft.spec.desired_state == DesiredState::Suspended => suspend(draft, snapshot),
        Ok(plan) => judge_active(draft, snapshot, plan),
    }?;
    Ok(Decision { wake: earliest(decision.wake, wake_for_deadline), ..decision })
}

/// From "running" on: the relocation is to work.
fn judge_active(draft: Draft<'_>, snapshot: &Snapshot<'_>, plan: Startable<'_>) -> Result<Decision, Facet> {
    let (draft, plan) = match plan {
        Startable::Orphaned(revision) => return Ok(draft.decide(Because::RevisionMissing { revision }, None, None)),
        Startable::Running(plan) => (draft, plan),
        Startable::Fresh(plan) => match launch::prepare(draft, snapshot, plan)? {
            launch::Prepared::Ready(draft, frozen) => (*draft, frozen),
            launch::Prepared::NotYet(decision) => return Ok(*decision),
        },
    };
    if draft.status.job.is_some() {
        return running::judge(draft, snapshot, plan);
    }
    if draft.status.entered { launch::launch(draft, snapshot, plan) } else { boundary::judge(draft, snapshot, plan) }
}

/// Makes a relocation without a status one that has been seen.
fn accept(draft: &mut Draft<'_>) {
    if draft.status.status.is_some() {
        return;
    }
    let uuid = draft.spec.uuid.clone().unwrap_or_else(|| draft.uid().to_owned());
    // A retry has the origin of what it starts over, which is read before it starts.
    draft.status.origin = draft.spec.retry_of.is_none().then(|| uuid.clone());
    draft.status.uuid = Some(uuid);
    draft.status.answered = Some(AnsweredRequests::of(draft.spec));
    draft.status.step = Some(Step::Uploading);
    draft.set_status(StatusValue::Pending);
    draft.notice(NoticeReason::Accepted, format!("accepted, to run the plan {:?}", draft.spec.plan_ref.name));
    if let Some(step) = draft.spec.pause_at_step {
        draft.notice(NoticeReason::PauseScheduled, format!("will pause before {step}"));
    }
    if let Some(step) = draft.spec.cancel_at_step {
        draft.notice(NoticeReason::CancelScheduled, format!("will end instead of entering {step}"));
    }
}

/// The frozen plan of a relocation that has begun; nothing before that, or when the revision is gone.
fn plan_in_use<'s>(snapshot: &'s Snapshot<'_>, draft: &Draft<'_>) -> Result<Option<&'s Plan>, Facet> {
    if draft.status.plan.is_none() {
        return Ok(None);
    }
    Ok(snapshot.frozen.as_ref().ok_or(Facet::Frozen)?.as_deref())
}

/// Invariant "no strays": a live Job of ours that the stored status does not name, and any live Job of a relocation that
/// has ended or is paused, is deleted before anything else is decided. Folding loses nothing by waiting: a terminal Job stays as it is.
fn delete_strays(snapshot: &Snapshot<'_>, now: Timestamp) -> Option<Decision> {
    let status = snapshot.relocation.status.clone().unwrap_or_default();
    let at_rest = status.has_ended() || status.status == Some(StatusValue::Pause);
    let named = status.job.as_deref().filter(|_| !at_rest);
    let strays: Vec<_> = snapshot
        .live_jobs
        .iter()
        .filter(|job| !job.deleting && named != Some(job.name.as_str()))
        .map(|job| ObjectReference { name: job.name.clone(), uid: job.uid.clone() })
        .collect();
    if strays.is_empty() {
        return None;
    }
    let jobs = strays.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(", ");
    let failed = status.status == Some(StatusValue::Failure);
    let notices = if failed {
        Vec::new()
    } else {
        vec![super::Notice {
            reason: NoticeReason::StrayDeleted,
            note: format!("deleting Jobs that the status does not name: {jobs}"),
        }]
    };
    Some(Decision {
        status,
        effect: Some(Effect::DeleteJobs(strays)),
        because: Because::DeletingStrays { jobs },
        notices,
        wake: now.checked_add(SignedDuration::from_secs(ENDING_POLL_SECONDS)).ok(),
    })
}

pub(super) fn succeed(mut draft: Draft<'_>) -> Decision {
    draft.set_status(StatusValue::Success);
    draft.status.task = None;
    draft.status.attempt = None;
    draft.status.attempt_limit = None;
    draft.status.finished_at = Some(draft.time());
    draft.notice(NoticeReason::Succeeded, "every step is done");
    draft.remember_ending(NoticeReason::Succeeded, None);
    if let Some((field, value, why)) = requests::late_abort(&draft) {
        requests::answer_late(&mut draft, field, value, why);
    }
    let wake = Some(draft.now);
    draft.decide(Because::Succeeded, None, wake)
}

/// Ends by a request or a budget, not by the fault of a task.
pub(super) fn end_without_success(mut draft: Draft<'_>, reason: FailureReason, message: String) -> Decision {
    let stopping = draft.status.job.clone();
    draft.fail(&FailureCause { reason, message, exit_code: None, recoverable: true });
    let because = match stopping {
        Some(job) => Because::StoppingPods { what: format!("job {job}") },
        None => Because::Failed,
    };
    let wake = Some(draft.now);
    draft.decide(because, None, wake)
}

/// Whether the plan's `onEnd` has not been started for this ending.
fn end_is_owed(draft: &Draft<'_>, plan: Option<&Plan>) -> bool {
    let told = draft.status.steps.iter().any(|record| record.name == Step::Completed);
    plan.is_some_and(|plan| plan.on_end.is_some()) && !told
}

/// After an ending: the pods end, the lock is given back once all is quiet, `onEnd` runs, and a success is cleaned up.
fn ended(
    mut draft: Draft<'_>,
    snapshot: &Snapshot<'_>,
    plan: Option<&Plan>,
    because: Because,
) -> Result<Decision, Facet> {
    if let (Some(failure), Some(retried_by)) = (&mut draft.status.failure, &snapshot.retried_by) {
        failure.retried_by = Some(retried_by.clone());
    }
    if draft.status.plan.is_none() {
        return release_if_held(draft, snapshot, because);
    }
    match snapshot.lock.as_ref().ok_or(Facet::Lock)? {
        LockSeen::Ours { uid, .. } => match snapshot.mutex_use.as_ref().ok_or(Facet::MutexUse)? {
            MutexUse::Quiet => {
                let wake = Some(draft.now);
                Ok(draft.decide(because, Some(Effect::ReleaseLock { uid: uid.clone() }), wake))
            }
            MutexUse::Busy { what, .. } => {
                let wake = Some(draft.in_seconds(ENDING_POLL_SECONDS));
                // A success stays one while it waits to give the lock back.
                let succeeded = draft.status.status == Some(StatusValue::Success);
                let because = if succeeded { because } else { Because::StoppingPods { what: what.join(", ") } };
                Ok(draft.decide(because, None, wake))
            }
        },
        LockSeen::Free | LockSeen::Held { .. } => tell_the_end(draft, snapshot, plan, because),
    }
}

/// A relocation that ended before its plan was frozen may still have taken the lock.
fn release_if_held(draft: Draft<'_>, snapshot: &Snapshot<'_>, because: Because) -> Result<Decision, Facet> {
    let effect = match snapshot.lock.as_ref().ok_or(Facet::Lock)? {
        LockSeen::Ours { uid, .. } => Some(Effect::ReleaseLock { uid: uid.clone() }),
        LockSeen::Free | LockSeen::Held { .. } => None,
    };
    // Whoever is to be recovered goes on as soon as the lock is given back.
    let wake = if effect.is_some() { Some(draft.now) } else { wake_of_the_ended(&draft, &because) };
    Ok(draft.decide(because, effect, wake))
}

/// Runs `onEnd` once per ending. Its record is the step COMPLETED of `status.steps`.
fn tell_the_end(
    mut draft: Draft<'_>,
    snapshot: &Snapshot<'_>,
    plan: Option<&Plan>,
    because: Because,
) -> Result<Decision, Facet> {
    let Some(plan) = plan.filter(|plan| plan.on_end.is_some()) else { return clean_up(draft, snapshot, because) };
    let record = draft.step_record(Step::Completed).clone();
    match record.state {
        WorkState::Succeeded | WorkState::Failed | WorkState::Skipped => clean_up(draft, snapshot, because),
        WorkState::Pending => {
            let started_at = Some(draft.time());
            let name = crate::api::end_job_name(draft.name(), draft.uid(), draft.status.recoveries.unwrap_or(0));
            let record = draft.step_record(Step::Completed);
            record.state = WorkState::Running;
            record.started_at = started_at;
            let task = draft.task_record(Step::Completed, super::job::END_TASK);
            task.state = WorkState::Running;
            task.attempts = 1;
            task.job = Some(name);
            Ok(draft.decide(because, Some(Effect::CreateEndJob(Box::new(plan.clone()))), None))
        }
        WorkState::Running => match snapshot.end_job.as_ref().ok_or(Facet::EndJob)? {
            JobSeen::Live { .. } => Ok(draft.decide(because, None, None)),
            JobSeen::NotNamed | JobSeen::Missing { known: false } => {
                let timeout = plan.on_end.as_ref().map_or(0, |on_end| on_end.timeout_seconds);
                let started_at = record.started_at.as_ref().map_or(draft.now, |time| time.0);
                if draft.now.duration_since(started_at).as_secs() >= timeout {
                    let message = format!("no Job of onEnd was seen within {timeout} s");
                    return Ok(close_end(draft, because, WorkState::Failed, Some(message)));
                }
                let wake = Some(draft.in_seconds(running::POLL_SECONDS));
                Ok(draft.decide(because, Some(Effect::CreateEndJob(Box::new(plan.clone()))), wake))
            }
            JobSeen::Succeeded => {
                let pods = snapshot.end_pods.as_ref().ok_or(Facet::EndPods)?;
                let message = pods.iter().find_map(|pod| pod.result.as_ref()?.message.clone());
                Ok(close_end(draft, because, WorkState::Succeeded, message))
            }
            JobSeen::Failed(failure) => {
                let pods = snapshot.end_pods.as_ref().ok_or(Facet::EndPods)?;
                let message = pods.iter().find_map(|pod| pod.result.as_ref()?.message.clone());
                Ok(close_end(draft, because, WorkState::Failed, message.or(Some(failure.message.clone()))))
            }
            JobSeen::Missing { known: true } | JobSeen::Foreign { .. } => {
                Ok(close_end(draft, because, WorkState::Failed, Some("the Job was deleted before it ended".to_owned())))
            }
        },
    }
}

/// Nobody tells a recover that waits when its obstacle is gone.
fn wake_of_the_ended(draft: &Draft<'_>, because: &Because) -> Option<Timestamp> {
    matches!(because, Because::RecoverWaiting { .. }).then(|| draft.in_seconds(running::POLL_SECONDS))
}

/// After `spec.cleanupSecondsAfterFinished` a success leaves nothing behind but itself: it is the record that keeps the
/// move from being run again.
fn clean_up(draft: Draft<'_>, snapshot: &Snapshot<'_>, because: Because) -> Result<Decision, Facet> {
    let succeeded = draft.status.status == Some(StatusValue::Success);
    let finished_at = draft.status.finished_at.as_ref().map_or(draft.now, |time| time.0);
    let Some(seconds) = draft.spec.cleanup_seconds_after_finished.filter(|_| succeeded) else {
        let wake = wake_of_the_ended(&draft, &because);
        return Ok(draft.decide(because, None, wake));
    };
    let due = finished_at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    if draft.now < due {
        return Ok(draft.decide(because, None, Some(due)));
    }
    let leftovers = snapshot.leftovers.clone().ok_or(Facet::Leftovers)?;
    if leftovers == Leftovers::default() {
        return Ok(draft.decide(because, None, None));
    }
    let wake = Some(draft.in_seconds(ENDING_POLL_SECONDS));
    Ok(draft.decide(because, Some(Effect::CleanUp(leftovers)), wake))
}

fn close_end(mut draft: Draft<'_>, because: Because, state: WorkState, message: Option<String>) -> Decision {
    let finished_at = Some(draft.time());
    let record = draft.step_record(Step::Completed);
    record.state = state;
    record.finished_at = finished_at;
    let task = draft.task_record(Step::Completed, super::job::END_TASK);
    task.state = state;
    task.message = message.map(|message| clean_message(&message));
    draft.decide(because, None, None)
}

/// A plan that can be used, and whether the run has begun with it.
enum Startable<'s> {
    /// The run has begun; this is its frozen plan.
    Running(&'s Plan),
    /// The run has begun, and the revision of this name that holds its plan is gone.
    Orphaned(String),
    /// The run has not begun; this is the plan as it is now.
    Fresh(&'s Plan),
}

/// Whether the relocation can start or go on, as far as plan and parameters are concerned.
fn startable<'s>(
    draft: &Draft<'_>,
    snapshot: &'s Snapshot<'_>,
    frozen: Option<&'s Plan>,
) -> Result<Startable<'s>, (Because, Option<Timestamp>)> {
    if let Some(in_use) = &draft.status.plan {
        return Ok(frozen.map_or_else(|| Startable::Orphaned(in_use.revision.clone()), Startable::Running));
    }
    let plan = draft.spec.plan_ref.name.clone();
    let created = draft.relocation.metadata.creation_timestamp.as_ref().map_or(draft.now, |time| time.0);
    let patience_ends = created.checked_add(PLAN_GRACE).unwrap_or(Timestamp::MAX);
    let overdue = draft.now >= patience_ends;
    let wake = (!overdue).then_some(patience_ends);
    let accepted = match &snapshot.plan {
        PlanSeen::Missing => return Err((Because::PlanMissing { plan, overdue }, wake)),
        PlanSeen::NotJudged => return Err((Because::PlanNotJudged { plan, overdue }, wake)),
        PlanSeen::NotAccepted { message } => {
            return Err((Because::PlanNotAccepted { plan, message: message.clone() }, None));
        }
        PlanSeen::Accepted(plan) => plan,
    };
    match accepted.resolve(&draft.spec.parameters) {
        Ok(_) => Ok(Startable::Fresh(accepted)),
        Err(problem) => Err((Because::ParameterRefused { message: problem.to_string() }, None)),
    }
}

/// `desiredState: Suspended`: the running Job is deleted, and once all is quiet the relocation stands in PAUSE.
fn suspend(mut draft: Draft<'_>, snapshot: &Snapshot<'_>) -> Result<Decision, Facet> {
    job_has_not_ended(&draft, snapshot)?;
    let wake = Some(draft.in_seconds(ENDING_POLL_SECONDS));
    if let (Some(job), JobSeen::Live { uid, deleted_at, .. }) = (&draft.status.job, &snapshot.job) {
        // A pod that has ended is about to end its Job: deleted now, what it did would be lost and done again.
        let pods = snapshot.pods.as_ref().ok_or(Facet::Pods)?;
        if deleted_at.is_none() && !pods.is_empty() && pods.iter().all(|pod| pod.finished) {
            return Ok(draft.decide(Because::Suspending, None, wake));
        }
        let reference = ObjectReference { name: job.clone(), uid: uid.clone() };
        let effect = deleted_at.is_none().then(|| Effect::DeleteJobs(vec![reference]));
        return Ok(draft.decide(Because::Suspending, effect, wake));
    }
    // A Job that is gone may have left a pod that goes on until its grace period is over.
    let may_work = draft.status.status == Some(StatusValue::InProgress) && !draft.just_folded;
    if may_work && let MutexUse::Busy { ending, .. } = snapshot.mutex_use.as_ref().ok_or(Facet::MutexUse)? {
        let stuck = launch::stuck(&draft, ending.as_ref());
        let because = stuck.unwrap_or(Because::Suspending);
        return Ok(draft.decide(because, None, wake));
    }
    draft.status.job = None;
    let message = "suspended; go on by setting spec.desiredState to Active".to_owned();
    pause(&mut draft, PauseReason::Suspended, message);
    Ok(draft.decide(Because::Paused, None, None))
}

/// Stands still, and says so once.
pub(super) fn pause(draft: &mut Draft<'_>, reason: PauseReason, message: String) {
    let step = draft.step();
    let standing = draft.status.pause.clone();
    draft.set_status(StatusValue::Pause);
    let since = match &standing {
        Some(pause) => pause.since.clone(),
        None => draft.time(),
    };
    let same = standing.is_some_and(|pause| pause.reason == reason && pause.step == step);
    draft.status.pause = Some(Pause { step, since, reason, message: message.clone() });
    if !same {
        let notice = if reason == PauseReason::Suspended { NoticeReason::Suspended } else { NoticeReason::Paused };
        draft.notice(notice, message);
    }
}

/// Invariant "fold first", against a cache that is behind: before work is stopped by a request or a budget, the Job is
/// read live, because one that has ended must be folded, not deleted and then repeated.
fn job_has_not_ended(draft: &Draft<'_>, snapshot: &Snapshot<'_>) -> Result<(), Facet> {
    let may_have = draft.status.job.is_some() && matches!(snapshot.job, JobSeen::Live { deleted_at: None, .. });
    if may_have && snapshot.job_read == JobRead::Cached { Err(Facet::Job) } else { Ok(()) }
}

/// The sentence about the budget of the whole run, once nothing is left of it.
pub(super) fn used_up_budget(draft: &Draft<'_>) -> Option<String> {
    let limit = draft.spec.active_deadline_seconds?;
    (draft.active_seconds() >= limit).then(|| format!("spec.activeDeadlineSeconds: the budget of {limit} s is used up"))
}

fn deadline(draft: &Draft<'_>) -> Option<Timestamp> {
    let left = draft.spec.active_deadline_seconds?.saturating_sub(draft.active_seconds());
    draft.status.active_since.as_ref().map(|_| draft.in_seconds(left.max(0)))
}

pub(super) fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
