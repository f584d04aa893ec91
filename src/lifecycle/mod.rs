//! The judgement: what a relocation does next, and why.
//!
//! All rules of the life cycle live in one pure function, [`decide`].
//! It has no clock, no randomness and no I/O: what was observed comes in as a [`Snapshot`], what is to be done goes out
//! as a [`Decision`], and a question that only the outside can answer goes out as a [`Facet`].
//!
//! Architecture invariant: nothing in this module imports a client, a runtime or a clock; a test reads the sources.

mod because;
mod boundary;
mod decide;
mod draft;
mod fold;
mod job;
mod job_reading;
mod launch;
mod lost;
mod plan;
mod project;
mod recover;
mod requests;
mod retry;
mod running;
mod snapshot;

pub use because::Because;
pub use decide::decide;
pub use draft::{Decision, Effect, Notice, NoticeReason, ObjectReference};
pub use job::{build_end_job, build_job, build_sample_job, build_workspace};
pub(crate) use job::{owner_labels, owner_reference};
pub use job_reading::{read_job, read_pod};
pub use plan::{ParameterProblem, Plan, PlanProblem};
pub use project::conditions;
pub use snapshot::{
    CreateRefusal, Facet, JobFailure, JobRead, JobSeen, Leftovers, LiveJob, LockSeen, MutexUse, PlaceSeen, PlanSeen,
    PodSeen, Snapshot, SourceSeen, Trace, WorkspaceSeen,
};

#[cfg(test)]
mod tests;
