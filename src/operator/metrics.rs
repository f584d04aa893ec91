//! Metrics in the Prometheus text format. Labels are bounded: no names of objects.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::{Relocation, Step};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CountLabels {
    status: &'static str,
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    /// Nothing was to be done.
    Settled,
    /// The status was written or something was done.
    Progressed,
    /// Another writer was faster (409).
    Conflict,
    /// The API server refused our own status write (422), which is taken like a conflict.
    Refused,
    /// A call failed.
    Failed,
}

/// All metrics of the operator.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    passes: Family<OutcomeLabels, Counter<u64, AtomicU64>>,
    durations: Histogram,
    relocations: Family<CountLabels, Gauge<i64, AtomicI64>>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let passes = Family::default();
        let relocations = Family::default();
        let durations = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register(
            "relocation_api_requests",
            "Calls to the API server, watches excepted, by verb, resource and HTTP code (0: no answer)",
            Family::clone(&requests),
        );
        registry.register("relocation_reconcile", "Passes by outcome", Family::clone(&passes));
        registry.register(
            "relocation_reconcile_duration_seconds",
            "How long the reconciliation of one relocation took",
            durations.clone(),
        );
        registry.register("relocation_count", "Relocations by status and step", Family::clone(&relocations));
        registry.register("relocation_build_info", "The version that runs", build);
        Self { registry, requests, passes, durations, relocations }
    }

    pub fn count_request(&self, verb: &'static str, resource: &'static str, code: u16) {
        self.requests.get_or_create(&RequestLabels { verb, resource, code }).inc();
    }

    pub fn count_pass(&self, outcome: Outcome) {
        self.passes.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub fn observe_duration(&self, seconds: f64) {
        self.durations.observe(seconds);
    }

    /// The text of all metrics, with the relocations counted as they are now.
    pub fn render<'r>(&self, relocations: impl Iterator<Item = &'r Relocation>) -> String {
        self.relocations.clear();
        for relocation in relocations {
            let status = relocation.status.as_ref();
            let labels = CountLabels {
                status: status.and_then(|status| status.status).map_or("", |value| value.as_str()),
                step: status.and_then(|status| status.step).map_or("", Step::as_str),
            };
            self.relocations.get_or_create(&labels).inc();
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).map_or_else(|error| format!("# {error}\n"), |()| text)
    }
}
