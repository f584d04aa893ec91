//! Every rule of the API and of the life cycle, on a real API server with the real Job controller.
//!
//! The tests watch the API server and the Jobs, not logs. They need a cluster and fail without one.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod steps;
