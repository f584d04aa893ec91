//! The one place of the plugin that reads the clock.

use k8s_openapi::jiff::Timestamp;

/// The time now, by this machine's clock. Ages are only shown, never decided from.
pub(super) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    Timestamp::now()
}
