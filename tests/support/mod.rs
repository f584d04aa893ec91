//! The harness of the tests that run against a real API server with the real Job controller.
//!
//! A scenario has a namespace of its own, a stub kubelet that ends its pods as scripted, a record of everything that
//! its watches saw, and operators as child processes. The cluster is the one of the kubeconfig; without one the tests
//! fail, they are never skipped. `run` cleans up also after a panic, and then shows what was there.
//!
//! Nothing here sleeps: every wait is for a change that a watch reports, with a deadline.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part of the harness")]
#![allow(clippy::needless_pass_by_value, reason = "a test writes its JSON where it hands it over")]

mod amounts;
mod builders;
mod cluster;
pub mod edits;
mod election;
mod gate;
mod kubelet;
mod operator;
mod record;
mod scenario;
mod server_metrics;

pub use amounts::amount;
pub use builders::{PlanBuilder, RelocationBuilder, SIX_WORKS, a_plan, a_relocation, a_template};
pub use cluster::{await_deletions, create_namespace, delete_namespace};
pub use election::{LEASE, SHORT, TAKEOVER, candidate, candidate_with, leads, wait_for_leader};
pub use gate::{Asked, Gate, Held, write_kubeconfig};
pub use kubelet::{Behaviour, Happening, Ran, Script, on};
pub use operator::{Operator, a_free_address};
pub use record::{Launch, Record, Seen, Version, is_terminal, label_of};
pub use scenario::{Scenario, run, run_alone};
pub use server_metrics::{RequestCounts, count_requests, is_write_of_an_operator};
