//! Metrics and probes over HTTP: `/metrics`, `/livez`, `/readyz`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use kube::runtime::reflector::Store;
use tokio::net::TcpListener;

use super::clock;
use super::lease::Leadership;
use super::metrics::Metrics;
use super::plans::GuardedRelocation;

/// What must be so before the operator is ready.
#[derive(Default)]
pub(super) struct Readiness {
    /// The watch of relocations has listed them all.
    pub relocations: AtomicBool,
    /// The watch of plans has listed them all.
    pub plans: AtomicBool,
    /// The watch of Jobs has listed them all.
    pub jobs: AtomicBool,
}

impl Readiness {
    fn missing(&self, leadership: &Leadership) -> Vec<&'static str> {
        let listed = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        [
            (listed(&self.relocations), "the relocations have not been listed yet"),
            (listed(&self.plans), "the plans have not been listed yet"),
            (listed(&self.jobs), "the Jobs have not been listed yet"),
            (leadership.is_known(), "it is not known who holds the lease: it has not been read, or not for long"),
        ]
        .into_iter()
        .filter(|(done, _)| !done)
        .map(|(_, what)| what)
        .collect()
    }
}

/// What the pages show.
#[derive(Clone)]
pub(super) struct Pages {
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<Readiness>,
    pub leadership: Arc<Leadership>,
    pub relocations: Store<GuardedRelocation>,
}

/// Serves the pages until `shutdown` resolves.
///
/// # Errors
///
/// When the listener fails.
pub(super) async fn serve(
    listener: TcpListener,
    pages: Pages,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(pages);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, String) {
    let missing = pages.readiness.missing(&pages.leadership);
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", missing.join("\n")))
}

async fn metrics(State(pages): State<Pages>) -> ([(&'static str, &'static str); 1], String) {
    let relocations = pages.relocations.state();
    let readable = relocations.iter().filter_map(|guarded| guarded.0.as_ref().ok());
    let content_type = ("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([content_type], pages.metrics.render(readable, pages.leadership.leads(), clock::now()))
}
