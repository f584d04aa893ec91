//! Being told to stop while something is watched: from the keyboard, or by whoever started the plugin.
//!
//! What is watched is then dropped, and with it everything that has to be put back, such as the cursor of the terminal.
//! A signal that comes while nothing is watched ends the process, as it ends any other.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};

use super::error::Error;
use super::outcome::Outcome;

/// Goes on with the work until it is done, or until the process is told to stop.
pub(super) async fn unless_told_to_stop(work: impl Future<Output = Result<Outcome, Error>>) -> Result<Outcome, Error> {
    tokio::select! {
        // Signals are listened to before the work begins: one that came right after the first frame would end the
        // process where it stands.
        biased;
        stopped = told_to_stop() => Ok(stopped),
        done = work => done,
    }
}

async fn told_to_stop() -> Outcome {
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
