//! The chart, installed, upgraded and removed by the real Helm, and the rights of its users.
//!
//! The tests need a cluster with a kubelet, Helm (`HELM`, default `helm`) and the images of `make images`. What the chart
//! has for the whole cluster is there once, so the tests run one after the other.

#![allow(
    clippy::disallowed_methods,
    clippy::duration_suboptimal_units,
    clippy::similar_names,
    clippy::struct_field_names,
    dead_code,
    reason = "a test writes as people do; it uses its part of the support"
)]

mod support;

#[path = "helm/account.rs"]
mod account;
#[path = "helm/lifetime.rs"]
mod lifetime;
#[path = "helm/namespaced.rs"]
mod namespaced;
#[path = "helm/release.rs"]
mod release;
#[path = "helm/roles.rs"]
mod roles;
#[path = "helm/values.rs"]
mod values;
