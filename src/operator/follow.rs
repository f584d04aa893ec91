//! Follows one relocation to its end: what `helm test` runs, in an image that has no shell and no kubectl.

use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

use crate::api::{Relocation, RelocationStatus, StatusValue, Step};

/// Why a relocation did not end in SUCCESS before our eyes.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It ended otherwise.
    #[error("the relocation {name} ended in FAILURE: {why}")]
    Failed {
        /// Its name.
        name: String,
        /// The message of its failure.
        why: String,
    },
    /// It did not end in time.
    #[error(
        "the relocation {name} has not ended after {} s, it is {last}; is an operator running that watches its namespace?",
        limit.as_secs()
    )]
    Late {
        /// Its name.
        name: String,
        /// How long was waited.
        limit: Duration,
        /// What was last seen of it.
        last: String,
    },
}

/// Tells every change of a relocation through `tell` until it has ended in SUCCESS.
///
/// # Errors
///
/// [`FollowError`] when it ends otherwise, or not within `limit`.
pub async fn follow(
    client: Client,
    namespace: &str,
    name: &str,
    limit: Duration,
    mut tell: impl FnMut(&str),
) -> Result<(), FollowError> {
    let relocations: Api<Relocation> = Api::namespaced(client, namespace);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut seen = pin!(watcher(relocations, only).default_backoff().applied_objects());
    let mut last = "not there".to_owned();
    let mut say = |now: String| {
        if now != last {
            tell(&now);
            last = now;
        }
    };
    let ended = async {
        loop {
            let status = match seen.try_next().await {
                Ok(next) => next.and_then(|relocation| relocation.status).unwrap_or_default(),
                // It is tried again: a pod's network may take a moment.
                Err(error) => {
                    say(format!("not to be seen: {error}"));
                    continue;
                }
            };
            say(sentence(&status));
            match status.status {
                Some(StatusValue::Success) => return Ok(()),
                Some(StatusValue::Failure) => {
                    let why = status.failure.map(|failure| failure.message).unwrap_or_default();
                    return Err(FollowError::Failed { name: name.to_owned(), why });
                }
                Some(StatusValue::Pending | StatusValue::InProgress | StatusValue::Pause) | None => {}
            }
        }
    };
    match tokio::time::timeout(limit, ended).await {
        Ok(outcome) => outcome,
        Err(_) => Err(FollowError::Late { name: name.to_owned(), limit, last }),
    }
}

fn sentence(status: &RelocationStatus) -> String {
    let value = status.status.map_or("not looked at yet", StatusValue::as_str);
    match status.step {
        Some(step) if step != Step::Completed => format!("{value} at {step}"),
        Some(_) | None => value.to_owned(),
    }
}
