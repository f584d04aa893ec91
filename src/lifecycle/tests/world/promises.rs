//! The promises, judged at every transition.

use std::fmt;

use super::operators::Pending;
use super::{Checked, Ledger, Outcome, SimJob, World};
use crate::api::{
    AutoPause, ConditionType, FailureReason, Relocation, RelocationStatus, StatusValue, Step, TaskStatus, WorkState,
    find_condition,
};
use crate::lifecycle::{JobSeen, NoticeReason};

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Promise {
    /// A pause that was accepted is honoured.
    Pause,
    /// No two launches of one mutex work at once.
    OneAtATime,
    /// Nothing is repeated that succeeded, and no failure is counted twice.
    NothingTwice,
    /// Every ending has a reason, every waiting too, and every request gets an answer.
    Reasons,
    /// Deleting always works.
    Deleting,
    /// What a Job's end said is written down before anything else is judged.
    FoldFirst,
    /// A Job is created only after the status has named it.
    IntentFirst,
    /// The API server never refuses what was decided from its newest state.
    Admission,
    /// A settled state is left alone.
    Silence,
    /// Whatever can go on goes on.
    Liveness,
}

/// A promise that was broken, and how.
#[derive(Clone, Debug)]
pub(in super::super) struct Broken {
    pub promise: Promise,
    pub how: String,
}

impl Broken {
    pub fn new(promise: Promise, how: String) -> Self {
        Self { promise, how }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.promise, self.how)
    }
}

fn broken(promise: Promise, how: impl Into<String>) -> Checked {
    Err(Broken::new(promise, how.into()))
}

impl World {
    /// Promise 2: unfinished pods of the mutex are all of one launch. A stray of a late sender is excepted.
    pub(in super::super) fn one_at_a_time(&self) -> Checked {
        let mut working: Vec<_> = self.pods.iter().filter(|pod| !pod.finished && !pod.stray).collect();
        working.dedup_by_key(|pod| (pod.job.clone(), pod.launch));
        if working.len() > 1 {
            let jobs: Vec<_> = working.iter().map(|pod| pod.job.as_str()).collect();
            return broken(Promise::OneAtATime, format!("pods of {} work at once", jobs.join(" and ")));
        }
        Ok(())
    }

    /// Judges the creation of the Job that `status` names.
    pub(super) fn judge_creation(&mut self, relocation: usize, status: &RelocationStatus, stray: bool) -> Checked {
        let step = status.step.expect("a step");
        if self.ledger.standing[relocation].contains(&step) {
            return broken(Promise::Pause, format!("a Job of {step} starts while an accepted fence stands there"));
        }
        let recorded = status.job.as_ref().is_some_and(|job| self.ledger.named[relocation].contains_key(job));
        if !recorded {
            return broken(Promise::IntentFirst, "a Job is created that no stored status has named");
        }
        if stray {
            return Ok(());
        }
        let launch = status.launch.expect("a launch");
        if launch < self.ledger.highest[relocation] {
            return broken(Promise::NothingTwice, format!("the fencing token goes back to {launch}"));
        }
        self.ledger.highest[relocation] = launch;
        let task = status.task.clone().unwrap_or_default();
        if record_of(&self.status(relocation), step, &task).is_some_and(|known| known.state == WorkState::Succeeded) {
            return broken(Promise::NothingTwice, format!("{step}/{task} runs again after it has succeeded"));
        }
        Ok(())
    }

    /// Counts an end of a Job that costs its task an attempt.
    pub(super) fn count_failure(&mut self, job: usize, outcome: Outcome) {
        let costs = match outcome {
            Outcome::Valid | Outcome::Disrupted | Outcome::Exit(0) => false,
            Outcome::Invalid | Outcome::NoVerdict | Outcome::Unread | Outcome::Exit(_) | Outcome::TimedOut => true,
        };
        let (owner, name) = (self.jobs[job].owner, self.jobs[job].name.clone());
        if costs && let Some((step, task)) = self.ledger.named[owner].get(&name).cloned() {
            *self.ledger.failures.entry((owner, step, task)).or_default() += 1;
        }
    }

    /// Judges a status write that is about to be stored over `old`.
    pub(super) fn judge_write(&mut self, pending: &Pending, old: &Relocation, new: &Relocation) -> Checked {
        self.ledger.writes += 1;
        let relocation = pending.relocation;
        let spec = &old.spec;
        self.late_requests_are_answered(pending, old, new)?;
        let (old, new) = (old.status.clone().unwrap_or_default(), new.status.clone().unwrap_or_default());
        let lost = new.failure.as_ref().is_some_and(|failure| failure.reason == FailureReason::StatusLost);
        if lost && old.status.is_none() {
            // What was left of a run tells that a step had been entered; that is no entry. A fence that was stored while
            // nothing told so is answered as late, and a cancel that was stored after a failure of that step is a wish.
            self.ledger.standing[relocation].retain(|step| !new.is_behind(*step));
        } else {
            self.fences_hold(relocation, spec, &old, &new)?;
        }
        self.nothing_twice(relocation, &old, &new)?;
        fold_comes_first(pending, &old, &new)?;
        reasons_are_told(&new)
    }

    /// A request for a step that is behind is answered by the write that has seen it: each by an event, the last one of
    /// them in `status.late`.
    fn late_requests_are_answered(&mut self, pending: &Pending, old: &Relocation, new: &Relocation) -> Checked {
        let status = new.status.as_ref();
        if status.is_none_or(|status| status.observed_generation != old.metadata.generation) {
            return Ok(());
        }
        let shown = status.and_then(|status| status.late.as_ref()).is_some_and(|late| !late.why.is_empty());
        let told = |field: &str| {
            pending.decision.notices.iter().any(|notice| {
                notice.reason == NoticeReason::RequestTooLate && notice.note.starts_with(&format!("spec.{field}: "))
            })
        };
        for (field, step) in std::mem::take(&mut self.ledger.owed[pending.relocation]) {
            if !shown || !told(field) {
                return broken(Promise::Reasons, format!("{field}: {step} came too late, and nobody answers"));
            }
        }
        Ok(())
    }

    fn fences_hold(
        &self,
        relocation: usize,
        spec: &crate::api::RelocationSpec,
        old: &RelocationStatus,
        new: &RelocationStatus,
    ) -> Checked {
        let entered = new.step.filter(|_| new.entered && (new.step != old.step || !old.entered));
        let passed = old.step.filter(|_| new.step != old.step && !old.entered);
        for step in entered.into_iter().chain(passed) {
            if self.ledger.standing[relocation].contains(&step) {
                return broken(Promise::Pause, format!("{step} is entered while an accepted fence stands there"));
            }
            let automatic = [old.auto_pause_at_step, new.auto_pause_at_step].contains(&Some(step));
            if automatic && spec.auto_pause == AutoPause::Honour {
                return broken(Promise::Pause, format!("{step} is entered through the automatic fence"));
            }
            if spec.cancel_at_step == Some(step) {
                return broken(Promise::Pause, format!("{step} is entered in spite of a cancel there"));
            }
        }
        Ok(())
    }

    /// An accepted recover gives exactly one more attempt, and nothing else gives any.
    fn recovers_are_exact(&mut self, relocation: usize, old: &RelocationStatus, new: &RelocationStatus) -> Checked {
        let grown = new.recoveries.unwrap_or(0) - old.recoveries.unwrap_or(0);
        let same_task = (old.step, &old.task) == (new.step, &new.task) && old.entered && new.entered;
        let (Some(failure), true) = (&old.failure, grown > 0) else {
            if same_task && old.attempt_limit.is_some() && new.attempt_limit > old.attempt_limit {
                return broken(Promise::NothingTwice, "a task gets more attempts without a recover");
            }
            return Ok(());
        };
        self.ledger.lost[relocation] = false;
        if failure.reason == FailureReason::StatusLost {
            // Where it stood is read from what was left. A person has looked and goes on there, even if newer Jobs are gone.
            self.ledger.succeeded.retain(|(owner, step, _)| *owner != relocation || *step < failure.step);
        }
        if let (true, Some(attempt), Some(task)) = (failure.entered, old.attempt, &failure.task) {
            let key = (relocation, failure.step, task.clone());
            *self.ledger.recovered.entry(key).or_default() += 1;
            let one_more = Some(attempt + 1);
            if new.attempt_limit != one_more || new.attempt != one_more {
                let how = format!("a recover of attempt {attempt} allows attempts up to {:?}", new.attempt_limit);
                return broken(Promise::NothingTwice, how);
            }
        }
        Ok(())
    }

    fn nothing_twice(&mut self, relocation: usize, old: &RelocationStatus, new: &RelocationStatus) -> Checked {
        for record in &old.steps {
            for task in record.tasks.iter().filter(|task| task.state == WorkState::Succeeded) {
                let kept = record_of(new, record.name, &task.name).is_some_and(|known| known.state == task.state);
                if !kept {
                    return broken(Promise::NothingTwice, format!("the success of {} is taken back", task.name));
                }
            }
        }
        for record in &new.steps {
            let succeeded = record.tasks.iter().filter(|task| task.state == WorkState::Succeeded);
            let keys = succeeded.map(|task| (relocation, record.name, task.name.clone()));
            self.ledger.succeeded.extend(keys);
        }
        self.recovers_are_exact(relocation, old, new)?;
        let launched = new.job.is_some() && new.job != old.job;
        let (Some(step), Some(task), true) = (new.step, new.task.clone(), launched) else { return Ok(()) };
        if self.ledger.lost[relocation] {
            return broken(Promise::NothingTwice, format!("{step}/{task} runs although the status was lost"));
        }
        if self.ledger.succeeded.contains(&(relocation, step, task.clone())) {
            return broken(Promise::NothingTwice, format!("{step}/{task} runs again after it has succeeded"));
        }
        if new.launch <= old.launch {
            return broken(Promise::NothingTwice, "a launch without a new fencing token");
        }
        let key = (relocation, step, task.clone());
        let launches = self.ledger.launches.entry(key.clone()).or_default();
        let failures = self.ledger.failures.get(&key).copied().unwrap_or(0);
        // Each attempt after the first needs a failure, or three Jobs that were lost.
        let recovered = self.ledger.recovered.get(&key).copied().unwrap_or(0);
        let allowed = 1 + failures + recovered + (*launches - failures).max(0) / 3;
        *launches += 1;
        let attempt = new.attempt.unwrap_or(0);
        if attempt > allowed {
            let how = format!("{step}/{task} is at attempt {attempt} after {failures} failures");
            return broken(Promise::NothingTwice, how);
        }
        if new.attempt_limit.is_none_or(|limit| attempt > limit) {
            return broken(
                Promise::NothingTwice,
                format!("{step}/{task}: attempt {attempt} of {:?}", new.attempt_limit),
            );
        }
        Ok(())
    }
}

impl Ledger {
    /// After a wipe the newest Job tells where the run stood; what it hides may be done again, by a person's wish.
    pub(super) fn forget_what_the_traces_hide(&mut self, relocation: usize, jobs: &[SimJob]) {
        let newest = jobs.iter().filter(|job| job.owner == relocation).max_by_key(|job| job.launch);
        let shown = newest.map(|job| (job.step, job.task.clone()));
        self.succeeded.retain(|(owner, step, task)| {
            *owner != relocation || shown.as_ref().is_some_and(|(at, name)| step < at || (step == at && task != name))
        });
    }
}

/// What of a Job as it is created would hold back the deletion of its owner, or of the namespace.
pub(super) fn what_holds_its_owner(job: &serde_json::Value) -> Option<&'static str> {
    let metadata = &job["metadata"];
    let owners = metadata["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    if owners.iter().any(|owner| owner["blockOwnerDeletion"] == true) {
        return Some("blockOwnerDeletion");
    }
    metadata["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()).then_some("a finalizer")
}

/// Promise 5: neither the relocation nor one of its Jobs has anything that a delete would wait for.
pub(super) fn nothing_holds_it(world: &World, relocation: usize) -> Checked {
    let Some(stored) = &world.relocations[relocation] else { return Ok(()) };
    if let Some(finalizer) = stored.current.metadata.finalizers.iter().flatten().next() {
        return broken(Promise::Deleting, format!("the delete waits for the finalizer {finalizer}"));
    }
    let held = world.jobs.iter().filter(|job| job.owner == relocation).find_map(|job| Some((&job.name, job.holds?)));
    match held {
        Some((job, by)) => broken(Promise::Deleting, format!("the delete waits for the Job {job}, by {by}")),
        None => Ok(()),
    }
}

/// A terminal Job that the operator saw and the status named is in the status that replaces the name.
fn fold_comes_first(pending: &Pending, old: &RelocationStatus, new: &RelocationStatus) -> Checked {
    let observed = pending.copy.status.clone().unwrap_or_default();
    if old.job.is_none() || old.job != observed.job || new.job == old.job {
        return Ok(());
    }
    let (Some(step), Some(task)) = (old.step, &old.task) else { return Ok(()) };
    let record = record_of(new, step, task).unwrap_or_default();
    // An ending by request is rare and final enough to be judged by the Job as it really is.
    let by_request = new
        .failure
        .as_ref()
        .is_some_and(|failure| matches!(failure.reason, FailureReason::Aborted | FailureReason::DeadlineExceeded));
    let told = match if by_request { &pending.truth } else { &pending.seen } {
        JobSeen::Succeeded => {
            record.exit_code.is_some() || record.state == WorkState::Succeeded || record.message.is_some()
        }
        JobSeen::Failed(failure) if failure.disrupted => true,
        JobSeen::Failed(failure) => record.exit_code.is_some() || failure.timed_out && record.message.is_some(),
        JobSeen::NotNamed | JobSeen::Missing { .. } | JobSeen::Foreign { .. } | JobSeen::Live { .. } => true,
    };
    if told { Ok(()) } else { broken(Promise::FoldFirst, format!("{step}/{task} had ended and nothing tells of it")) }
}

/// A Job that had ended when it was looked at is not deleted: its result would be lost, and its task repeated.
pub(super) fn nothing_finished_is_deleted(pending: &Pending) -> Checked {
    let named = pending.copy.status.as_ref().and_then(|status| status.job.as_ref());
    let deletes_it = matches!(&pending.decision.effect, Some(crate::lifecycle::Effect::DeleteJobs(jobs))
        if jobs.iter().any(|job| Some(&job.name) == named));
    if deletes_it && matches!(pending.truth, JobSeen::Succeeded | JobSeen::Failed(_)) {
        return broken(Promise::FoldFirst, "a Job is deleted that had ended already");
    }
    Ok(())
}

/// Promise 4: whoever reads the status finds out why it stands where it stands.
pub(in super::super) fn reasons_are_told(status: &RelocationStatus) -> Checked {
    let condition = |type_| find_condition(&status.conditions, type_);
    let said = |type_| condition(type_).is_some_and(|known| !known.message.is_empty() && !known.reason.is_empty());
    let (reconciling, stalled) = (condition(ConditionType::Reconciling), condition(ConditionType::Stalled));
    if reconciling.is_some() && stalled.is_some() {
        return broken(Promise::Reasons, "it is Reconciling and Stalled");
    }
    if !said(ConditionType::Ready) || !said(ConditionType::Succeeded) || !said(ConditionType::Paused) {
        return broken(Promise::Reasons, "Ready, Succeeded or Paused says nothing");
    }
    let Some(value) = status.status else { return broken(Promise::Reasons, "a write without a status value") };
    let told = match value {
        StatusValue::Pending | StatusValue::InProgress => {
            let accepted = condition(ConditionType::Ready).is_some_and(|ready| ready.reason == "Accepted");
            said(ConditionType::Reconciling) || said(ConditionType::Stalled) || accepted
        }
        StatusValue::Pause => {
            let told = status.pause.as_ref().is_some_and(|pause| !pause.message.is_empty());
            told && reconciling.is_none()
        }
        StatusValue::Failure => {
            let told = status.failure.as_ref().is_some_and(|failure| {
                let exhausted = failure.reason != FailureReason::AttemptsExhausted
                    || failure.attempt.zip(status.attempt_limit).is_some_and(|(attempt, limit)| attempt == limit);
                exhausted && !failure.message.is_empty() && !failure.id.is_empty()
            });
            told && said(ConditionType::Stalled)
        }
        StatusValue::Success => {
            stalled.is_none() && reconciling.is_none() && status.step == Some(Step::Completed) && status.job.is_none()
        }
    };
    if told { Ok(()) } else { broken(Promise::Reasons, format!("{value:?} is not told: {status:#?}")) }
}

fn record_of(status: &RelocationStatus, step: Step, task: &str) -> Option<TaskStatus> {
    let record = status.steps.iter().find(|record| record.name == step)?;
    record.tasks.iter().find(|known| known.name == task).cloned()
}
