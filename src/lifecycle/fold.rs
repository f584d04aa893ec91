//! Fold: a terminal Job that the status names is written into the status before anything else is judged.

use super::boundary;
use super::draft::{Draft, FailureCause, NoticeReason};
use super::plan::Plan;
use super::snapshot::{Facet, JobFailure, JobSeen, PodSeen, Snapshot};
use crate::api::{
    FailurePolicy, FailureReason, StatusValue, Step, TaskResult, TaskSpec, Verdict, WorkState, short_hash,
};

/// Writes the outcome of the Job that `status.job` names into the draft, if it has one.
///
/// # Errors
///
/// [`Facet::Pods`] until its pods have been read: results are read before the write that moves on.
pub(super) fn fold(draft: &mut Draft<'_>, snapshot: &Snapshot<'_>, plan: &Plan) -> Result<(), Facet> {
    if draft.status.job.is_none() || draft.status.has_ended() {
        return Ok(());
    }
    let failure = match &snapshot.job {
        JobSeen::Succeeded => None,
        JobSeen::Failed(failure) => Some(failure),
        JobSeen::NotNamed | JobSeen::Missing { .. } | JobSeen::Foreign { .. } | JobSeen::Live { .. } => return Ok(()),
    };
    let pods = snapshot.pods.as_ref().ok_or(Facet::Pods)?;
    let step = draft.step();
    let name = draft.status.task.clone().unwrap_or_default();
    let Some(task) = plan.task(step, &name) else { return Ok(()) };
    draft.status.job = None;
    draft.status.jobs_missing = None;
    // A pod that goes on, of this Job or of a stray, is more than this Job's end can vouch for.
    draft.just_folded = snapshot.live_jobs.is_empty() && pods.iter().all(|pod| pod.finished);
    match failure {
        None => fold_success(draft, plan, step, task, pods),
        Some(failure) => fold_failure(draft, plan, step, task, failure, pods),
    }
    Ok(())
}

fn fold_success(draft: &mut Draft<'_>, plan: &Plan, step: Step, task: &TaskSpec, pods: &[PodSeen]) {
    let result = pods.iter().find(|pod| pod.exit_code == Some(0)).and_then(|pod| pod.result.clone());
    let record = draft.task_record(step, &task.name);
    record.exit_code = Some(0);
    let Some(result) = result else {
        if task.evidence {
            return fail_attempt(
                draft,
                plan,
                step,
                task,
                "ResultLost: the pod was gone before its verdict was read",
                None,
            );
        }
        draft.task_record(step, &task.name).message = Some("result lost".to_owned());
        return succeed_task(draft, plan, step, task);
    };
    record.message.clone_from(&result.message);
    record.counts.clone_from(&result.counts);
    match (task.evidence, result.verdict) {
        (false, _) | (true, Some(Verdict::Valid)) => succeed_task(draft, plan, step, task),
        (true, None) => {
            let message = format!(
                "{step}/{} ended without a verdict; it must write {{\"verdict\": \"VALID\"}} or \"INVALID\" into its termination message",
                task.name
            );
            fail_task(draft, plan, step, task, FailureReason::EvidenceMissing, message, Some(0));
        }
        (true, Some(Verdict::Invalid)) => {
            let said = said(&result);
            let message = format!("{step}/{} found the data invalid{said}", task.name);
            fail_task(draft, plan, step, task, FailureReason::ValidationInvalid, message, Some(0));
        }
    }
}

fn said(result: &TaskResult) -> String {
    result.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default()
}

fn fold_failure(
    draft: &mut Draft<'_>,
    plan: &Plan,
    step: Step,
    task: &TaskSpec,
    failure: &JobFailure,
    pods: &[PodSeen],
) {
    if failure.disrupted {
        // No attempt is used: the same attempt is launched again.
        draft.notice(NoticeReason::TaskFailed, format!("{step}/{}: its pod was lost to a disruption", task.name));
        draft.status.next_attempt_at = None;
        return;
    }
    let pod = pods.iter().find(|pod| pod.exit_code.is_some_and(|code| code != 0));
    let exit_code = pod.and_then(|pod| pod.exit_code).or(failure.exit_code);
    let result = pod.and_then(|pod| pod.result.clone()).unwrap_or_default();
    let message = match (&result.message, failure.timed_out) {
        (Some(message), true) => format!("timed out after {} s: {message}", task.timeout_seconds),
        (Some(message), false) => message.clone(),
        (None, true) => format!("timed out after {} s", task.timeout_seconds),
        (None, false) => failure.message.clone(),
    };
    let record = draft.task_record(step, &task.name);
    record.exit_code = exit_code;
    record.counts.clone_from(&result.counts);
    if let Some(code) = exit_code.filter(|code| task.fatal_exit_codes.contains(code)) {
        let sentence = format!("{step}/{} ended with the fatal exit code {code}: {message}", task.name);
        draft.task_record(step, &task.name).message = Some(cut(&message));
        return fail_task(draft, plan, step, task, FailureReason::FatalExitCode, sentence, Some(code));
    }
    fail_attempt(draft, plan, step, task, &message, exit_code);
}

/// One attempt failed: back off and try again, or, out of attempts, the task has failed.
pub(super) fn fail_attempt(
    draft: &mut Draft<'_>,
    plan: &Plan,
    step: Step,
    task: &TaskSpec,
    message: &str,
    exit_code: Option<i32>,
) {
    let attempt = draft.status.attempt.unwrap_or(1);
    let limit = draft.status.attempt_limit.unwrap_or(task.attempts);
    let record = draft.task_record(step, &task.name);
    record.exit_code = exit_code;
    record.message = Some(cut(message));
    let code = exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
    if attempt >= limit {
        let sentence = format!("{step}/{} failed{code}, attempt {attempt} of {limit}: {message}", task.name);
        return fail_task(draft, plan, step, task, FailureReason::AttemptsExhausted, sentence, exit_code);
    }
    let seconds = backoff_seconds(task, attempt, draft.status.uuid.as_deref().unwrap_or_default());
    draft.status.next_attempt_at =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(draft.in_seconds(seconds)));
    draft.notice(
        NoticeReason::TaskFailed,
        format!(
            "{step}/{} failed{code}, attempt {attempt} of {limit}; tried again in {seconds} s: {message}",
            task.name
        ),
    );
}

/// `backoffSeconds · 2^(n-1)`, capped, and then spread by up to a tenth, derived from uuid and attempt so that
/// relocations that failed together do not come back together.
fn backoff_seconds(task: &TaskSpec, attempt: i32, uuid: &str) -> i64 {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(32);
    let seconds = task.backoff_seconds.saturating_mul(1 << doublings).min(task.max_backoff_seconds);
    let spread = i64::from_str_radix(&short_hash(&["backoff", uuid, &attempt.to_string()]), 16).unwrap_or(0);
    seconds + (seconds / 10).saturating_mul(spread) / i64::from(u32::MAX)
}

/// A task has failed for good: the relocation fails, or records it and goes on.
pub(super) fn fail_task(
    draft: &mut Draft<'_>,
    plan: &Plan,
    step: Step,
    task: &TaskSpec,
    reason: FailureReason,
    message: String,
    exit_code: Option<i32>,
) {
    draft.task_record(step, &task.name).state = WorkState::Failed;
    match task.effective_failure_policy(step) {
        FailurePolicy::Fail => {
            draft.fail(&FailureCause { reason, message, exit_code, recoverable: task.recoverable });
        }
        FailurePolicy::Ignore => {
            draft.notice(NoticeReason::TaskFailed, format!("{message}; ignored by the task's failurePolicy"));
            advance(draft, plan, step, &task.name);
        }
    }
}

fn succeed_task(draft: &mut Draft<'_>, plan: &Plan, step: Step, task: &TaskSpec) {
    let record = draft.task_record(step, &task.name);
    record.state = WorkState::Succeeded;
    let said = record.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    draft.notice(NoticeReason::TaskSucceeded, format!("{step}/{} succeeded{said}", task.name));
    advance(draft, plan, step, &task.name);
}

/// To the next task of the step, or to the boundary after it.
fn advance(draft: &mut Draft<'_>, plan: &Plan, step: Step, task: &str) {
    let provenance = draft.spec.provenance;
    let next = plan.tasks(step, provenance).skip_while(|planned| planned.name != task).nth(1);
    draft.status.next_attempt_at = None;
    draft.status.attempt_limit = None;
    draft.set_status(StatusValue::InProgress);
    if let Some(next) = next {
        draft.status.task = Some(next.name.clone());
        draft.status.attempt = None;
        return;
    }
    let now = draft.time();
    let record = draft.step_record(step);
    record.state = WorkState::Succeeded;
    record.finished_at = Some(now);
    boundary::stand_before(draft, plan, step.next());
}

fn cut(message: &str) -> String {
    crate::api::clean_message(message)
}
