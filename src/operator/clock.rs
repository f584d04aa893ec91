//! The one place that reads the clock.

use k8s_openapi::jiff::Timestamp;

/// The time now, by the host's clock. Steps of that clock move when things are tried again, never what is safe.
pub(super) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    Timestamp::now()
}
