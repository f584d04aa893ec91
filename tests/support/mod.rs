//! The harness of the tests that run against a real API server with the real Job controller.
//!
//! A scenario has a namespace of its own, a stub kubelet that ends its pods as scripted, a record of everything that
//! its watches saw, and operators as child processes. The cluster is the one of the kubeconfig; without one the tests
//! fail, they are never skipped. `run` cleans up also after a panic, and then shows what was there.
//!
//! Nothing here sleeps: every wait is for a change that a watch reports, with a deadline.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part of the harness")]

mod builders;
mod cluster;
pub mod edits;
mod gate;
mod kubelet;
mod operator;
mod record;
mod scenario;
mod server_metrics;

pub use builders::{PlanBuilder, RelocationBuilder, a_plan, a_relocation};
pub use gate::{Gate, Held};
pub use kubelet::{Behaviour, Script, on};
pub use operator::Operator;
pub use record::{Launch, Record};
pub use scenario::{Scenario, run, run_alone};
pub use server_metrics::{RequestCounts, count_requests};
