//! What was observed, as values.

use k8s_openapi::jiff::Timestamp;

use super::draft::ObjectReference;
use std::sync::Arc;

use super::plan::Plan;
use crate::api::{Relocation, RetriedBy, Step, TaskResult};

/// Everything that was observed about one relocation.
///
/// What costs a live read is `None` until [`super::decide`] asks for it by a [`Facet`].
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The relocation as last read. Every write that follows from it carries its `resourceVersion`.
    pub relocation: &'a Relocation,
    /// The plan that `spec.planRef` names, as it is now.
    pub plan: PlanSeen,
    /// The plan that was frozen for this run; `Some(None)` when there is no such revision.
    pub frozen: Option<Option<Arc<Plan>>>,
    /// The Job that `status.job` names.
    pub job: JobSeen,
    /// How that Job was read.
    pub job_read: JobRead,
    /// The pods of the Job that `status.job` names, finished ones included.
    pub pods: Option<Vec<PodSeen>>,
    /// Unfinished Jobs of this relocation, the `onEnd` Job excepted.
    pub live_jobs: Vec<LiveJob>,
    /// Why the Job that `status.job` names has no pod, from the Job controller's last `FailedCreate`; read with the pods.
    pub failed_create: Option<String>,
    /// What is unfinished under the mutex' label: one live list of Jobs and pods.
    pub mutex_use: Option<MutexUse>,
    /// Who holds the mutex.
    pub lock: Option<LockSeen>,
    /// The workspace volume's claim.
    pub workspace: Option<WorkspaceSeen>,
    /// The `onEnd` Job of this ending.
    pub end_job: Option<JobSeen>,
    /// The pods of the `onEnd` Job.
    pub end_pods: Option<Vec<PodSeen>>,
    /// The API server's last refusal to create the Job that `status.job` names.
    pub create_refusal: Option<CreateRefusal>,
    /// The relocation that starts this one over, as the cache shows it; looked for while this one has failed.
    pub retried_by: Option<RetriedBy>,
    /// What exists under the label of this run's uuid although there is no status; newest launch first.
    pub traces: Option<Vec<Trace>>,
    /// The relocation that `spec.retryOf` names.
    pub source: Option<SourceSeen>,
    /// The relocation that starts this one over and is active or has succeeded, read live; `Some(None)` without one.
    pub successor: Option<Option<RetriedBy>>,
    /// The plan as it is frozen for the next recovery; `Some(None)` when there is no such revision yet.
    pub adopted: Option<Option<Arc<Plan>>>,
    /// Whether the plan has a place for this relocation under its `maxActive`.
    pub place: Option<PlaceSeen>,
    /// What a success has left behind.
    pub leftovers: Option<Leftovers>,
}

/// A question that only a live read can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Facet {
    /// [`Snapshot::job`], by [`JobRead::Live`].
    Job,
    /// [`Snapshot::frozen`].
    Frozen,
    /// [`Snapshot::pods`].
    Pods,
    /// [`Snapshot::mutex_use`].
    MutexUse,
    /// [`Snapshot::lock`].
    Lock,
    /// [`Snapshot::workspace`].
    Workspace,
    /// [`Snapshot::end_job`].
    EndJob,
    /// [`Snapshot::end_pods`].
    EndPods,
    /// [`Snapshot::traces`].
    Traces,
    /// [`Snapshot::source`].
    Source,
    /// [`Snapshot::successor`].
    Successor,
    /// [`Snapshot::adopted`].
    Adopted,
    /// [`Snapshot::place`].
    Place,
    /// [`Snapshot::leftovers`].
    Leftovers,
}

/// The plan that `spec.planRef` names, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanSeen {
    /// There is none of that name.
    Missing,
    /// It is there and has not been judged at its present generation.
    NotJudged,
    /// It was judged and cannot be used.
    NotAccepted {
        /// The exact error, from its condition `Accepted`.
        message: String,
    },
    /// It can be used.
    Accepted(Arc<Plan>),
}

/// How the Job that `status.job` names was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobRead {
    /// From a cache, which may not have seen it end yet.
    Cached,
    /// From the API server, for this judgement.
    Live,
}

/// A Job by name, as observed.
#[derive(Clone, Debug, PartialEq)]
pub enum JobSeen {
    /// The status names none.
    NotNamed,
    /// There is none of that name.
    Missing {
        /// Whether this process has seen it exist.
        known: bool,
    },
    /// An object of that name belongs to somebody else.
    Foreign {
        /// Whom it belongs to.
        owner: String,
    },
    /// It has not ended.
    Live {
        /// Its uid, the precondition of a delete.
        uid: String,
        /// How many of its pods are ready.
        ready: i32,
        /// Since when it is being deleted.
        deleted_at: Option<Timestamp>,
        /// Whether somebody has suspended it.
        suspended: bool,
        /// When it runs out of time, once it has started.
        deadline_at: Option<Timestamp>,
    },
    /// It has the condition `Complete`.
    Succeeded,
    /// It has the condition `Failed`.
    Failed(JobFailure),
}

/// What the condition `Failed` of a Job says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    /// The pod was lost to a disruption (the first rule of the pod failure policy).
    pub disrupted: bool,
    /// The Job was out of time.
    pub timed_out: bool,
    /// The exit code that the condition's message names; it survives the pod.
    pub exit_code: Option<i32>,
    /// The condition's message.
    pub message: String,
}

/// An unfinished Job of a relocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveJob {
    /// Its name.
    pub name: String,
    /// Its uid, the precondition of a delete.
    pub uid: String,
    /// Whether it is being deleted already.
    pub deleting: bool,
}

/// A pod, as far as the judgement needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// The node it was bound to.
    pub node: Option<String>,
    /// Whether it has ended.
    pub finished: bool,
    /// When its deletion was asked for.
    pub deleted_at: Option<Timestamp>,
    /// Why it does not start, when it says so: the reason and the message.
    pub waiting: Option<(String, String)>,
    /// The exit code of the main container, once it has ended.
    pub exit_code: Option<i32>,
    /// What the main container said, once it has ended.
    pub result: Option<TaskResult>,
}

/// What is unfinished under a mutex' label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MutexUse {
    /// Nothing: quiet.
    Quiet,
    /// These Jobs and pods, by kind and name, the first few.
    Busy {
        /// For the message: `pod a-1`, `job b-2`.
        what: Vec<String>,
        /// A pod that has been ending for long: its name, its node, and since when.
        ending: Option<(String, Option<String>, Timestamp)>,
    },
}

/// Who holds the mutex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockSeen {
    /// Nobody, or a holder that is gone.
    Free,
    /// This relocation.
    Ours {
        /// The uid of the Lease, the precondition of giving it back.
        uid: String,
        /// The relocation's generation when it took the lock.
        generation: i64,
    },
    /// Another relocation.
    Held {
        /// Its name.
        holder: String,
    },
}

/// The workspace volume's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkspaceSeen {
    /// Not there yet.
    Missing,
    /// There, and ours.
    Ours,
    /// There, and somebody else's.
    Foreign,
}

/// The API server's refusal to create a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateRefusal {
    /// It will never accept it (422).
    Invalid(String),
    /// It does not accept it now (403: quota, pod security).
    Forbidden(String),
    /// An object of that name belongs to somebody else.
    NameTaken,
}

/// An object that an earlier life of a run has left, found by the label of its uuid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// A frozen plan.
    Revision,
    /// A workspace volume's claim, or the Job of `onEnd`.
    Other,
    /// A Job of a step.
    Job {
        /// Its step.
        step: Step,
        /// Its task.
        task: String,
        /// Its attempt.
        attempt: i32,
        /// Its fencing token.
        launch: i64,
    },
}

/// The relocation that `spec.retryOf` names.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSeen {
    /// There is none of that name and uid.
    Missing,
    /// It is there.
    Found {
        /// The object, read live.
        relocation: Box<Relocation>,
        /// The claim of its workspace, when that still exists.
        workspace: Option<String>,
        /// Another relocation that has started it over, and is active or has succeeded.
        rival: Option<String>,
    },
}

/// Whether the plan has a place for one more relocation to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceSeen {
    /// It has, or sets no limit.
    Free,
    /// It has none now.
    Taken {
        /// The plan's `maxActive`.
        limit: i32,
        /// How many relocations wait before this one.
        ahead: usize,
    },
}

/// What a success has left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Its Jobs that are not being deleted yet.
    pub jobs: Vec<ObjectReference>,
    /// The name and uid of its workspace volume's claim, unless that is being deleted.
    pub workspace: Option<ObjectReference>,
}
