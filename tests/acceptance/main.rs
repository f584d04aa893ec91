//! Every rule of the API and of the life cycle, on a real API server with the real Job controller.
//!
//! The tests watch the API server and the Jobs, not logs. They need a cluster and fail without one.

#![allow(
    clippy::disallowed_methods,
    clippy::duration_suboptimal_units,
    clippy::redundant_closure_for_method_calls,
    clippy::similar_names,
    clippy::struct_field_names,
    reason = "a test writes as people and kubelets do, and starts what it needs"
)]

#[path = "../support/mod.rs"]
mod support;

mod actions;
mod admission;
mod election;
mod failures;
mod faults;
mod fences;
mod gitops;
mod input;
mod kills;
mod nonsense;
mod permissions;
mod races;
mod silence;
mod steps;
mod writers;
