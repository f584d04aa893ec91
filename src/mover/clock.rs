//! The only place of the porter that asks for the time.

#![expect(clippy::disallowed_methods, reason = "this is the one place")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::tree::Time;

/// A moment to measure from.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The time of day as a file system would store it.
#[must_use]
pub fn wall() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// The time of day as RFC 3339.
#[must_use]
pub fn timestamp() -> String {
    jiff::Timestamp::now().to_string()
}
