//! A task runs: its Job is there, or should be.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::because::Because;
use super::decide::{self, ENDING_POLL_SECONDS};
use super::draft::{Decision, Draft, Effect, NoticeReason};
use super::fold;
use super::launch::{self, Obstacle, STUCK_SECONDS};
use super::plan::Plan;
use super::project;
use super::snapshot::{CreateRefusal, Facet, JobSeen, PodSeen, Snapshot};
use crate::api::{FailureReason, StatusValue, Step};

/// How long a pod may take to become ready before its waiting reason is shown: longer than most images take to pull,
/// shorter than people take to look.
pub(super) const READY_GRACE_SECONDS: i64 = 30;

/// How long a recorded Job that is not there is taken for one whose creation is still under way.
const CREATION_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// How many Jobs of one attempt may be lost in a row before the attempt counts as failed.
const MISSING_LIMIT: i32 = 3;

/// How often to ask again for what nobody announces.
pub(super) const POLL_SECONDS: i64 = 10;

/// Judges the Job that `status.job` names. Terminal ones were folded before.
pub(super) fn judge(mut draft: Draft<'_>, snapshot: &Snapshot<'_>, plan: &Plan) -> Result<Decision, Facet> {
    draft.set_status(StatusValue::InProgress);
    let job = draft.status.job.clone().unwrap_or_default();
    match &snapshot.job {
        JobSeen::Live { deleted_at: Some(since), .. } => {
            let wake = Some(draft.in_seconds(ENDING_POLL_SECONDS));
            let because = if draft.now.duration_since(*since).as_secs() >= STUCK_SECONDS {
                stuck_pod(snapshot)?.unwrap_or(Because::JobEnding { job })
            } else {
                Because::JobEnding { job }
            };
            Ok(draft.decide(because, None, wake))
        }
        JobSeen::Live { suspended: true, .. } => Ok(draft.decide(Because::JobSuspendedExternally { job }, None, None)),
        JobSeen::Live { ready, deadline_at, .. } => {
            let ready = *ready > 0;
            let stuck_at = deadline_at.and_then(|at| at.checked_add(SignedDuration::from_secs(STUCK_SECONDS)).ok());
            if stuck_at.is_some_and(|at| at <= draft.now)
                && let Some(because) = stuck_pod(snapshot)?
            {
                let wake = Some(draft.in_seconds(POLL_SECONDS));
                return Ok(draft.decide(because, None, wake));
            }
            if ready {
                let because = running(&draft, job);
                return Ok(draft.decide(because, None, stuck_at));
            }
            judge_unready(draft, snapshot, job, stuck_at)
        }
        JobSeen::NotNamed | JobSeen::Missing { .. } | JobSeen::Foreign { .. } => judge_missing(draft, snapshot, plan),
        JobSeen::Succeeded | JobSeen::Failed(_) => {
            // Only a task that the frozen plan does not know is left unfolded.
            let message = format!("the plan of this run does not know the task {}", draft.place());
            Ok(decide::end_without_success(draft, FailureReason::JobRefused, message))
        }
    }
}

fn running(draft: &Draft<'_>, job: String) -> Because {
    let attempt = draft.status.attempt.unwrap_or(1);
    Because::Running { place: draft.place(), attempt, limit: draft.status.attempt_limit.unwrap_or(attempt), job }
}

fn judge_unready(
    draft: Draft<'_>,
    snapshot: &Snapshot<'_>,
    job: String,
    stuck_at: Option<Timestamp>,
) -> Result<Decision, Facet> {
    let launched_at = draft.status.launched_at.as_ref().map_or(draft.now, |time| time.0);
    let grace = SignedDuration::from_secs(READY_GRACE_SECONDS);
    let patience_ends = launched_at.saturating_add(grace).unwrap_or(Timestamp::MAX);
    if draft.now < patience_ends {
        let because = running(&draft, job);
        return Ok(draft.decide(because, None, decide::earliest(Some(patience_ends), stuck_at)));
    }
    let pods = snapshot.pods.as_ref().ok_or(Facet::Pods)?;
    let wake = decide::earliest(Some(draft.in_seconds(POLL_SECONDS)), stuck_at);
    let place = draft.place();
    let fallback = running(&draft, job.clone());
    let told =
        |reason: &str| project::tells_of_unready_pod(&draft.status, &format!("{place} does not start: {reason}"));
    let because = match pods.iter().find_map(|pod| pod.waiting.clone()) {
        Some((reason, message)) => {
            let reason = settled_reason(reason);
            if told(&reason) {
                return Ok(draft.decide_as_told(fallback, wake));
            }
            Because::PodNotReady { place, reason, message }
        }
        None if pods.is_empty() => no_pod(place, &job, snapshot.failed_create.as_deref()),
        // Between two tries a pod gives no reason for a moment; what was told still holds.
        None if told("") => return Ok(draft.decide_as_told(fallback, wake)),
        None => fallback,
    };
    Ok(draft.decide(because, None, wake))
}

fn no_pod(place: String, job: &str, failed_create: Option<&str>) -> Because {
    let (reason, message) = match failed_create {
        Some(message) => ("FailedCreate", message.to_owned()),
        None => ("NoPod", format!("the Job {job} has no pod yet; see: kubectl describe job {job}")),
    };
    Because::PodNotReady { place, reason: reason.to_owned(), message }
}

/// The kubelet changes between these two with every try; one of them is enough to tell.
fn settled_reason(reason: String) -> String {
    if reason == "ErrImagePull" { "ImagePullBackOff".to_owned() } else { reason }
}

/// The recorded Job is not there: its creation is still to be done, was refused, or it was lost.
fn judge_missing(mut draft: Draft<'_>, snapshot: &Snapshot<'_>, plan: &Plan) -> Result<Decision, Facet> {
    let launched_at = draft.status.launched_at.as_ref().map_or(draft.now, |time| time.0);
    let age = draft.now.duration_since(launched_at);
    let step = draft.step();
    let name = draft.status.task.clone().unwrap_or_default();
    let task = plan.task(step, &name);

    if let Some(CreateRefusal::Invalid(message)) = &snapshot.create_refusal {
        let message = format!("the API server refuses the Job of {}: {message}", draft.place());
        return Ok(decide::end_without_success(draft, FailureReason::JobRefused, message));
    }
    if snapshot.create_refusal == Some(CreateRefusal::NameTaken) || matches!(snapshot.job, JobSeen::Foreign { .. }) {
        draft.status.job = None;
        return launch::launch(draft, snapshot, plan);
    }
    if let Some(Obstacle { because, effect, wake }) = launch::obstacle(&draft, snapshot)? {
        return Ok(draft.decide(because, effect, Some(wake)));
    }
    if let (Some(CreateRefusal::Forbidden(message)), Some(task)) = (&snapshot.create_refusal, task) {
        if age.as_secs() < task.timeout_seconds {
            let wake = Some(draft.in_seconds(POLL_SECONDS));
            let because = Because::JobForbidden { message: message.clone() };
            let effect = Some(Effect::CreateJob(Box::new(plan.clone())));
            return Ok(draft.decide(because, effect, wake));
        }
        let message = format!("the API server did not accept the Job within {} s: {message}", task.timeout_seconds);
        draft.status.job = None;
        fold::fail_attempt(&mut draft, plan, step, task, &message, None);
        return Ok(after_failed_attempt(draft));
    }
    let known = matches!(snapshot.job, JobSeen::Missing { known: true });
    if !known && age < CREATION_GRACE {
        let because = running(&draft, draft.status.job.clone().unwrap_or_default());
        let wake = Some(draft.in_seconds(READY_GRACE_SECONDS));
        return Ok(draft.decide(because, Some(Effect::CreateJob(Box::new(plan.clone()))), wake));
    }
    let missing = draft.status.jobs_missing.unwrap_or(0).saturating_add(1);
    let lost = draft.status.job.take().unwrap_or_default();
    draft.notice(NoticeReason::JobMissing, format!("{}: the Job {lost} is gone without a result", draft.place()));
    match task {
        Some(task) if missing >= MISSING_LIMIT => {
            draft.status.jobs_missing = None;
            let message = format!("JobMissing: {missing} Jobs in a row were gone without a result");
            fold::fail_attempt(&mut draft, plan, step, task, &message, None);
            Ok(after_failed_attempt(draft))
        }
        Some(_) | None => {
            draft.status.jobs_missing = Some(missing);
            let now = draft.now;
            let decision = launch::launch(draft, snapshot, plan)?;
            // Until this is stored somebody may still create the Job that was lost: the next look creates the new one,
            // after the strays and the quiet rule have met the old one.
            let effect = decision.effect.filter(|effect| !matches!(effect, Effect::CreateJob(_)));
            Ok(Decision { effect, wake: Some(now), ..decision })
        }
    }
}

fn after_failed_attempt(draft: Draft<'_>) -> Decision {
    if draft.step() == Step::Completed {
        // The last task of all has failed, and its failure is ignored.
        return decide::succeed(draft);
    }
    let because = match (&draft.status.next_attempt_at, draft.status.status) {
        (_, Some(StatusValue::Failure)) => Because::Failed,
        (Some(until), _) => Because::BackingOff { place: draft.place(), until: until.0 },
        (None, _) => Because::PassedThrough,
    };
    let wake = Some(draft.now);
    draft.decide(because, None, wake)
}

/// The first pod of the Job that has been ending for too long.
fn stuck_pod(snapshot: &Snapshot<'_>) -> Result<Option<Because>, Facet> {
    let pods = snapshot.pods.as_ref().ok_or(Facet::Pods)?;
    Ok(pods.iter().find(|pod| !pod.finished).map(|PodSeen { name, node, .. }| Because::PodStuck {
        pod: name.clone(),
        node: node.clone().unwrap_or_else(|| "(none)".to_owned()),
    }))
}
