//! Real data, moved by real pods: the examples as they stand, what people do wrong with them, and kills in the middle.
//!
//! The tests need a cluster with a kubelet, a default storage class, and the images of `make images` and of the examples' S3 server.

#![allow(
    clippy::disallowed_methods,
    clippy::similar_names,
    clippy::struct_field_names,
    dead_code,
    reason = "a test writes as people do; the stub kubelet's part of the support is not used here"
)]

mod support;

#[path = "e2e/bucket.rs"]
mod bucket;
#[path = "e2e/called_off.rs"]
mod called_off;
#[path = "e2e/ground.rs"]
mod ground;
#[path = "e2e/resumes.rs"]
mod resumes;
#[path = "e2e/short.rs"]
mod short;
#[path = "e2e/tree.rs"]
mod tree;
#[path = "e2e/volumes.rs"]
mod volumes;
