//! The next status while it is being decided, and the decision that comes of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::because::Because;
use super::plan::Plan;
use super::project;
use super::snapshot::{Leftovers, Snapshot};
use crate::api::{
    Failure, FailureReason, HistoryEntry, Relocation, RelocationSpec, RelocationStatus, StatusValue, Step, StepStatus,
    TaskStatus, WorkState, clean_message, failure_id,
};

/// How many entries the history keeps.
const HISTORY_LIMIT: usize = 20;

/// What is to be done next, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The next status, whole; equal to the present one when nothing is to be written.
    pub status: RelocationStatus,
    /// What to do once the status is stored. At most one kind; idempotent by name.
    pub effect: Option<Effect>,
    /// Why it stands where it stands.
    pub because: Because,
    /// What to tell, oldest first.
    pub notices: Vec<Notice>,
    /// When to look again if nothing changes before.
    pub wake: Option<Timestamp>,
}

/// Something to do outside, after the status is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Create the Lease of the mutex.
    TakeLock,
    /// Delete the Lease of the mutex, exactly the one that was seen.
    ReleaseLock {
        /// Its uid, the precondition of the delete.
        uid: String,
    },
    /// Create the workspace volume's claim.
    CreateWorkspace(Box<Plan>),
    /// Store the plan as a `ControllerRevision`.
    FreezePlan {
        /// The plan.
        plan: Box<Plan>,
        /// The name of the revision.
        revision: String,
    },
    /// Create the Job that `status.job` names.
    CreateJob(Box<Plan>),
    /// Delete these Jobs in the foreground.
    DeleteJobs(Vec<ObjectReference>),
    /// Create the `onEnd` Job.
    CreateEndJob(Box<Plan>),
    /// Delete what a success has left behind: the workspace first, so that no Job left means nothing left.
    CleanUp(Leftovers),
}

/// An object to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReference {
    /// Its name.
    pub name: String,
    /// Its uid, the precondition of the delete.
    pub uid: String,
}

/// Something to tell people, as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What kind of change.
    pub reason: NoticeReason,
    /// A sentence.
    pub note: String,
}

/// The closed set of reasons of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the API's own and say what happened")]
pub enum NoticeReason {
    Accepted,
    Queued,
    StepEntered,
    TaskStarted,
    TaskFailed,
    TaskRetrying,
    TaskSucceeded,
    PauseScheduled,
    Paused,
    Unpaused,
    CancelScheduled,
    Cancelled,
    Aborted,
    Recovered,
    Suspended,
    Resumed,
    RequestTooLate,
    JobMissing,
    StrayDeleted,
    PodStuck,
    StatusLost,
    Failed,
    Succeeded,
}

impl NoticeReason {
    /// The reason as it stands in the event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Queued => "Queued",
            Self::StepEntered => "StepEntered",
            Self::TaskStarted => "TaskStarted",
            Self::TaskFailed => "TaskFailed",
            Self::TaskRetrying => "TaskRetrying",
            Self::TaskSucceeded => "TaskSucceeded",
            Self::PauseScheduled => "PauseScheduled",
            Self::Paused => "Paused",
            Self::Unpaused => "Unpaused",
            Self::CancelScheduled => "CancelScheduled",
            Self::Cancelled => "Cancelled",
            Self::Aborted => "Aborted",
            Self::Recovered => "Recovered",
            Self::Suspended => "Suspended",
            Self::Resumed => "Resumed",
            Self::RequestTooLate => "RequestTooLate",
            Self::JobMissing => "JobMissing",
            Self::StrayDeleted => "StrayDeleted",
            Self::PodStuck => "PodStuck",
            Self::StatusLost => "StatusLost",
            Self::Failed => "Failed",
            Self::Succeeded => "Succeeded",
        }
    }

    /// Whether people should look at it: an event of type `Warning`.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        matches!(
            self,
            Self::TaskFailed
                | Self::Cancelled
                | Self::Aborted
                | Self::RequestTooLate
                | Self::JobMissing
                | Self::StrayDeleted
                | Self::PodStuck
                | Self::StatusLost
                | Self::Failed
        )
    }
}

/// Why a task or a relocation failed, before it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FailureCause {
    pub reason: FailureReason,
    pub message: String,
    pub exit_code: Option<i32>,
    pub recoverable: bool,
}

/// The next status while it is being decided.
pub(super) struct Draft<'a> {
    pub relocation: &'a Relocation,
    pub spec: &'a RelocationSpec,
    pub status: RelocationStatus,
    pub notices: Vec<Notice>,
    /// The moment of the judgement, cut to the second that the API stores.
    pub now: Timestamp,
    /// A Job of ours was seen terminal in this very judgement, so the mutex is quiet as far as we are concerned.
    pub just_folded: bool,
}

impl<'a> Draft<'a> {
    pub fn new(snapshot: &Snapshot<'a>, now: Timestamp) -> Self {
        let relocation = snapshot.relocation;
        let mut draft = Self {
            relocation,
            spec: &relocation.spec,
            status: relocation.status.clone().unwrap_or_default(),
            notices: Vec::new(),
            now: Timestamp::from_second(now.as_second()).unwrap_or(now),
            just_folded: false,
        };
        draft.status.observed_generation = relocation.metadata.generation;
        draft
    }

    pub fn uid(&self) -> &str {
        self.relocation.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.relocation.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn time(&self) -> Time {
        Time(self.now)
    }

    /// The step that runs or is next.
    pub fn step(&self) -> Step {
        self.status.step.unwrap_or(Step::Uploading)
    }

    pub fn notice(&mut self, reason: NoticeReason, note: impl Into<String>) {
        self.notices.push(Notice { reason, note: note.into() });
    }

    /// `STEP/task`, for sentences.
    pub fn place(&self) -> String {
        match &self.status.task {
            Some(task) => format!("{}/{task}", self.step()),
            None => self.step().to_string(),
        }
    }

    /// Moves the status value, keeping the account of active time and dropping what belongs to the old value alone.
    pub fn set_status(&mut self, value: StatusValue) {
        let working = value == StatusValue::InProgress;
        match (self.status.active_since.take(), working) {
            (Some(since), true) => self.status.active_since = Some(since),
            (None, true) => self.status.active_since = Some(self.time()),
            (Some(since), false) => {
                let spent = self.now.duration_since(since.0).as_secs().max(0);
                self.status.active_seconds = Some(self.status.active_seconds.unwrap_or(0).saturating_add(spent));
            }
            (None, false) => {}
        }
        if value != StatusValue::Pause {
            self.status.pause = None;
        }
        if value != StatusValue::Failure {
            self.status.failure = None;
        }
        self.status.status = Some(value);
    }

    /// How many seconds of the run's budget are used.
    pub fn active_seconds(&self) -> i64 {
        let running = self.status.active_since.as_ref().map_or(0, |since| self.now.duration_since(since.0).as_secs());
        self.status.active_seconds.unwrap_or(0).saturating_add(running.max(0))
    }

    /// The record of a step, made when it is missing and kept in the order of the steps.
    pub fn step_record(&mut self, step: Step) -> &mut StepStatus {
        let index = self.status.steps.iter().position(|record| record.name >= step).unwrap_or(self.status.steps.len());
        if self.status.steps.get(index).is_none_or(|record| record.name != step) {
            let record = StepStatus {
                name: step,
                state: WorkState::Pending,
                started_at: None,
                finished_at: None,
                tasks: Vec::new(),
            };
            self.status.steps.insert(index, record);
        }
        &mut self.status.steps[index]
    }

    /// The record of a task, made when it is missing.
    pub fn task_record(&mut self, step: Step, task: &str) -> &mut TaskStatus {
        let record = self.step_record(step);
        let index = record.tasks.iter().position(|known| known.name == task).unwrap_or(record.tasks.len());
        if index == record.tasks.len() {
            record.tasks.push(TaskStatus { name: task.to_owned(), ..TaskStatus::default() });
        }
        &mut record.tasks[index]
    }

    /// Enters a person's request into the history, with who made it and why.
    ///
    /// `field` is the field of the spec that was set; one that was cleared is owned by nobody, so nobody is named.
    pub fn remember_request(&mut self, action: NoticeReason, detail: Option<String>, field: Option<&str>) {
        let manager = field.and_then(|field| manager_of(self.relocation, field));
        self.remember(action, detail, self.spec.reason.clone(), manager);
    }

    /// Enters an ending into the history that nobody asked for.
    pub fn remember_ending(&mut self, action: NoticeReason, detail: Option<String>) {
        self.remember(action, detail, None, None);
    }

    fn remember(
        &mut self,
        action: NoticeReason,
        detail: Option<String>,
        reason: Option<String>,
        manager: Option<String>,
    ) {
        let action = action.as_str().to_owned();
        let detail = detail.map(|detail| clean_message(&detail));
        let entry = HistoryEntry { at: self.time(), action, step: self.status.step, detail, reason, manager };
        self.status.history.push(entry);
        let surplus = self.status.history.len().saturating_sub(HISTORY_LIMIT);
        self.status.history.drain(..surplus);
    }

    /// Ends without success. A Job that still runs is not named any more from here on, so the stray rule deletes it.
    pub fn fail(&mut self, cause: &FailureCause) {
        let step = self.step();
        let message = clean_message(&cause.message);
        let id = failure_id(step, self.uid(), self.status.recoveries.unwrap_or(0), self.now);
        self.set_status(StatusValue::Failure);
        self.status.job = None;
        self.status.next_attempt_at = None;
        self.status.finished_at = Some(self.time());
        let entered = self.status.entered;
        if entered {
            self.step_record(step).state = WorkState::Failed;
        }
        self.status.failure = Some(Failure {
            id: id.clone(),
            step,
            task: self.status.task.clone(),
            attempt: self.status.attempt,
            entered,
            reason: cause.reason,
            message: message.clone(),
            exit_code: cause.exit_code,
            recoverable: cause.recoverable,
            retried_by: None,
            at: self.time(),
        });
        let (action, requested_by) = match cause.reason {
            FailureReason::Aborted => (NoticeReason::Aborted, Some("desiredState")),
            FailureReason::Cancelled => (NoticeReason::Cancelled, Some("cancelAtStep")),
            FailureReason::StatusLost => (NoticeReason::StatusLost, None),
            FailureReason::DeadlineExceeded
            | FailureReason::AttemptsExhausted
            | FailureReason::FatalExitCode
            | FailureReason::EvidenceMissing
            | FailureReason::ValidationInvalid
            | FailureReason::JobRefused
            | FailureReason::Locked => (NoticeReason::Failed, None),
        };
        self.notice(action, format!("{}: {message} (failure {id})", cause.reason.as_str()));
        match requested_by {
            Some(field) => self.remember_request(action, Some(message), Some(field)),
            None => self.remember_ending(action, Some(message)),
        }
    }

    /// The decision: this draft with its conditions.
    pub fn decide(mut self, because: Because, effect: Option<Effect>, wake: Option<Timestamp>) -> Decision {
        if matches!(because, Because::PodStuck { .. }) && !project::is_told(&self.status, &because) {
            self.notice(NoticeReason::PodStuck, because.message());
        }
        if !matches!(because, Because::WaitingForPlace { .. }) {
            self.status.waiting_since = None;
        }
        self.status.conditions = project::conditions(&self.status, self.relocation, &because, self.now);
        Decision { status: self.status, effect, because, notices: self.notices, wake }
    }

    /// The decision to let the conditions stand as they are, unless the spec has changed since they were told.
    pub fn decide_as_told(self, because: Because, wake: Option<Timestamp>) -> Decision {
        let status = self.relocation.status.as_ref();
        if status.is_none_or(|status| status.observed_generation != self.status.observed_generation) {
            return self.decide(because, None, wake);
        }
        Decision { status: self.status, effect: None, because, notices: self.notices, wake }
    }

    pub fn in_seconds(&self, seconds: i64) -> Timestamp {
        self.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    }
}

/// Who set a field of the spec.
fn manager_of(relocation: &Relocation, field: &str) -> Option<String> {
    let entries = relocation.metadata.managed_fields.as_deref().unwrap_or_default();
    let owners = entries.iter().filter(|entry| {
        let spec = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:spec"));
        let of_the_object = entry.subresource.as_deref().unwrap_or_default().is_empty();
        of_the_object && spec.is_some_and(|spec| spec.get(format!("f:{field}")).is_some())
    });
    owners.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?.manager.clone()
}
