//! Why a relocation stands where it stands: the value behind every condition message and every waiting sentence.

use k8s_openapi::jiff::Timestamp;

/// Why a relocation stands where it stands. Waiting is a value, never an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// It is being deleted; nothing more starts.
    Deleted,
    /// What the first launch needs is being made: lock, workspace, plan revision.
    Starting,
    /// Its plan is not there.
    PlanMissing {
        /// The plan's name.
        plan: String,
        /// Whether it has been missing for so long that a person should look.
        overdue: bool,
    },
    /// Its plan has not been judged yet.
    PlanNotJudged {
        /// The plan's name.
        plan: String,
        /// Whether that has taken so long that a person should look.
        overdue: bool,
    },
    /// Its plan cannot be used.
    PlanNotAccepted {
        /// The plan's name.
        plan: String,
        /// The exact error.
        message: String,
    },
    /// Its parameters do not fit the plan.
    ParameterRefused {
        /// Which, and what to do.
        message: String,
    },
    /// What `spec.retryOf` names cannot be started over.
    RetryUnusable {
        /// Why.
        message: String,
    },
    /// The frozen plan is gone and cannot be made again.
    RevisionMissing {
        /// The name of the `ControllerRevision`.
        revision: String,
    },
    /// The name of the workspace belongs to somebody else's volume claim.
    WorkspaceTaken {
        /// The name of the claim.
        claim: String,
    },
    /// Another relocation holds the mutex.
    WaitingForLock {
        /// The holder.
        holder: String,
    },
    /// The plan has no place for one more relocation.
    WaitingForPlace {
        /// The plan's name.
        plan: String,
        /// Its `maxActive`.
        limit: i32,
        /// How many wait before this one.
        ahead: usize,
    },
    /// A recover was asked for and cannot act yet.
    RecoverWaiting {
        /// What is in its way.
        message: String,
    },
    /// The mutex was lost to another relocation while this one was running.
    LockLost {
        /// The holder.
        holder: String,
    },
    /// Jobs or pods of the mutex are still unfinished.
    WaitingForPods {
        /// By kind and name.
        what: String,
    },
    /// A Job that must not run is being deleted.
    DeletingStrays {
        /// Their names.
        jobs: String,
    },
    /// A step was left behind, and the one after it is not entered in the same write.
    PassedThrough,
    /// A task runs.
    Running {
        /// `STEP/task`.
        place: String,
        /// Its attempt.
        attempt: i32,
        /// How many attempts it may take.
        limit: i32,
        /// Its Job.
        job: String,
    },
    /// A task's pod does not become ready.
    PodNotReady {
        /// `STEP/task`.
        place: String,
        /// The reason that the pod or the Job gives.
        reason: String,
        /// Its message.
        message: String,
    },
    /// The API server does not accept the Job now.
    JobForbidden {
        /// Its sentence.
        message: String,
    },
    /// Somebody suspended the Job.
    JobSuspendedExternally {
        /// The Job.
        job: String,
    },
    /// The Job is being deleted by somebody; what comes next waits for its end.
    JobEnding {
        /// The Job.
        job: String,
    },
    /// A pod does not end.
    PodStuck {
        /// The pod.
        pod: String,
        /// Its node.
        node: String,
    },
    /// The next attempt waits for its time.
    BackingOff {
        /// `STEP/task`.
        place: String,
        /// When it starts.
        until: Timestamp,
    },
    /// The running work is being stopped because `desiredState` is `Suspended`.
    Suspending,
    /// It stands before a fence or was suspended; `status.pause` says which.
    Paused,
    /// It has ended without success and its pods are still ending.
    StoppingPods {
        /// By kind and name.
        what: String,
    },
    /// It has ended without success; `status.failure` says why.
    Failed,
    /// Everything is done.
    Succeeded,
}

/// What a [`Because`] means to whoever watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It works or waits by itself.
    Reconciling,
    /// It waits for a person.
    Stalled,
    /// Neither.
    Still,
}

impl Because {
    /// The reason in one word, as it stands in conditions.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Deleted => "Deleted",
            Self::Starting => "Starting",
            Self::PlanMissing { .. } => "PlanMissing",
            Self::PlanNotJudged { .. } => "PlanNotJudged",
            Self::PlanNotAccepted { .. } => "PlanNotAccepted",
            Self::ParameterRefused { .. } => "ParameterRefused",
            Self::RetryUnusable { .. } => "RetryUnusable",
            Self::RevisionMissing { .. } => "RevisionMissing",
            Self::WorkspaceTaken { .. } => "WorkspaceTaken",
            Self::WaitingForLock { .. } => "WaitingForLock",
            Self::WaitingForPlace { .. } => "WaitingForPlace",
            Self::RecoverWaiting { .. } => "RecoverWaiting",
            Self::LockLost { .. } => "LockLost",
            Self::WaitingForPods { .. } => "WaitingForPods",
            Self::DeletingStrays { .. } => "DeletingStrays",
            Self::PassedThrough => "PassedThrough",
            Self::Running { .. } => "Running",
            Self::PodNotReady { .. } => "PodNotReady",
            Self::JobForbidden { .. } => "JobForbidden",
            Self::JobSuspendedExternally { .. } => "JobSuspendedExternally",
            Self::JobEnding { .. } => "JobEnding",
            Self::PodStuck { .. } => "PodStuck",
            Self::BackingOff { .. } => "BackingOff",
            Self::Suspending => "Suspending",
            Self::Paused => "Paused",
            Self::StoppingPods { .. } => "StoppingPods",
            Self::Failed => "Failed",
            Self::Succeeded => "Succeeded",
        }
    }

    /// The reason in a sentence that says what it waits for and, where a person can help, how.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Deleted => "the relocation is being deleted; nothing more starts".to_owned(),
            Self::Starting => "preparing the first launch: lock, workspace and plan revision".to_owned(),
            Self::PlanMissing { plan, .. } => {
                format!(
                    "spec.planRef.name: there is no RelocationPlan {plan:?} in this namespace; create it and the relocation goes on by itself"
                )
            }
            Self::PlanNotJudged { plan, .. } => format!("waiting until the RelocationPlan {plan:?} has been checked"),
            Self::PlanNotAccepted { plan, message } => {
                format!(
                    "the RelocationPlan {plan:?} is not accepted: {message}; correct it and the relocation goes on by itself"
                )
            }
            Self::ParameterRefused { message } | Self::RetryUnusable { message } => message.clone(),
            Self::RevisionMissing { revision } => format!(
                "the ControllerRevision {revision:?} that holds the plan of this run is gone; restore it, or abort"
            ),
            Self::WorkspaceTaken { claim } => format!(
                "the PersistentVolumeClaim {claim:?} belongs to somebody else; delete it, and the relocation makes its own"
            ),
            Self::WaitingForLock { holder } => {
                format!(
                    "the mutex is held by the relocation {holder:?}; waiting until that has ended and nothing of it runs any more"
                )
            }
            Self::WaitingForPlace { plan, limit: 0, .. } => {
                format!("the RelocationPlan {plan:?} is closed (spec.maxActive is 0); waiting until it is opened")
            }
            Self::WaitingForPlace { plan, limit, ahead } => format!(
                "{limit} relocations of the RelocationPlan {plan:?} are active, as many as its spec.maxActive allows; \
                 waiting for a place, {ahead} before this one"
            ),
            Self::RecoverWaiting { message } => format!("recover waits: {message}"),
            Self::LockLost { holder } => format!(
                "the mutex was lost to the relocation {holder:?} in mid-run; nothing more starts until that one has ended"
            ),
            Self::WaitingForPods { what } => format!("waiting until nothing of the same mutex runs any more: {what}"),
            Self::DeletingStrays { jobs } => format!("deleting Jobs that must not run: {jobs}"),
            Self::PassedThrough => "going on to the next step".to_owned(),
            Self::Running { place, attempt, limit, job } => {
                format!("{place} runs, attempt {attempt} of {limit}, as Job {job}")
            }
            Self::PodNotReady { place, reason, message } => {
                let colon = if message.is_empty() { "" } else { ": " };
                format!("{place} does not start: {reason}{colon}{message}{}", cure_of_the_template(reason))
            }
            Self::JobForbidden { message } => {
                format!("the API server does not accept the Job now and is asked again: {message}")
            }
            Self::JobSuspendedExternally { job } => format!(
                "somebody suspended the Job {job}; resume it with: kubectl patch job {job} --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'"
            ),
            Self::JobEnding { job } => format!("the Job {job} is being deleted; waiting until its pods have ended"),
            Self::PodStuck { pod, node } => format!(
                "the pod {pod} on node {node} does not end; bring the node back, or, once the node is certainly off, \
                 delete the pod with: kubectl delete pod {pod} --force"
            ),
            Self::BackingOff { place, until } => {
                format!("{place} failed and is tried again at {}", until.strftime("%Y-%m-%dT%H:%M:%SZ"))
            }
            Self::Suspending => "stopping the running work, because spec.desiredState is Suspended".to_owned(),
            Self::Paused => "paused".to_owned(),
            Self::StoppingPods { what } => format!("ended; waiting until its pods have ended: {what}"),
            Self::Failed => "failed".to_owned(),
            Self::Succeeded => "every step is done".to_owned(),
        }
    }

    pub(super) const fn flow(&self) -> Flow {
        match self {
            Self::PlanMissing { overdue, .. } | Self::PlanNotJudged { overdue, .. } => {
                if *overdue {
                    Flow::Stalled
                } else {
                    Flow::Reconciling
                }
            }
            Self::PlanNotAccepted { .. }
            | Self::ParameterRefused { .. }
            | Self::RetryUnusable { .. }
            | Self::RevisionMissing { .. }
            | Self::WorkspaceTaken { .. }
            | Self::LockLost { .. }
            | Self::RecoverWaiting { .. }
            | Self::StoppingPods { .. }
            | Self::Failed => Flow::Stalled,
            Self::Starting
            | Self::WaitingForLock { .. }
            | Self::WaitingForPlace { .. }
            | Self::WaitingForPods { .. }
            | Self::DeletingStrays { .. }
            | Self::PassedThrough
            | Self::Running { .. }
            | Self::PodNotReady { .. }
            | Self::JobForbidden { .. }
            | Self::JobSuspendedExternally { .. }
            | Self::JobEnding { .. }
            | Self::PodStuck { .. }
            | Self::BackingOff { .. }
            | Self::Suspending => Flow::Reconciling,
            Self::Deleted | Self::Paused | Self::Succeeded => Flow::Still,
        }
    }
}

/// What a person can do when a pod does not start for a reason that may lie in the plan.
fn cure_of_the_template(reason: &str) -> &'static str {
    match reason {
        "ImagePullBackOff"
        | "ErrImagePull"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "CreateContainerConfigError"
        | "CreateContainerError"
        | "ContainerCreating" => {
            "; if the plan is wrong, correct it, set spec.desiredState to Aborted, and recover: the failed task then runs \
             by the plan as it is"
        }
        _ => "",
    }
}
