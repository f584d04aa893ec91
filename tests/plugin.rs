//! The kubectl plugin as people use it: the real program, a real API server, and what they see.
//!
//! An operator of the test does the work and the stub kubelet plays the pods; who reads is the program alone.
//! What is seen is compared as it stands, with times, ids and the namespace replaced (`plugin/person.rs`).

#![allow(
    clippy::disallowed_methods,
    clippy::duration_suboptimal_units,
    clippy::format_push_string,
    clippy::needless_pass_by_value,
    clippy::similar_names,
    clippy::struct_field_names,
    reason = "a test writes as people and kubelets do, and one that cannot go on says where"
)]

mod support;

#[path = "plugin/acting.rs"]
mod acting;
#[path = "plugin/creating.rs"]
mod creating;
#[path = "plugin/errors.rs"]
mod errors;
#[path = "plugin/helping.rs"]
mod helping;
#[path = "plugin/person.rs"]
mod person;
#[path = "plugin/reading.rs"]
mod reading;
#[path = "plugin/waiting.rs"]
mod waiting;
