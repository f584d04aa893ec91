//! Being told to stop while something is watched: from the keyboard, or by whoever started the plugin.
//!
//! Whoever waits for this drops what it was at when it comes, and with it everything that has to be put back, such as
//! the cursor of the terminal. A signal that nobody waits for ends the process, as it ends any other.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};

use super::outcome::Outcome;

/// Waits until the process is told to stop, and answers with how it is to end.
pub(super) async fn told_to_stop() -> Outcome {
    tokio::select! {
        () = told(SignalKind::interrupt()) => Outcome::Interrupted,
        () = told(SignalKind::terminate()) => Outcome::Terminated,
    }
}

async fn told(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        // It cannot be listened to, so it keeps its own effect.
        Err(_) => pending().await,
    }
}
