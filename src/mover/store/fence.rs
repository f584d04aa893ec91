//! Fencing at a store: the token of a launch is an object, `.relocation-fence-KEY`, below the prefix.
//!
//! It is written only under the condition that nobody has written since it was read, so the newest launch wins whatever the order of requests.
//! `postprocess` removes it, as it removes a fence file: nothing of ours stays among somebody's objects.
//!
//! **Race:** it is read again at most once a second, so an outdated launch can write for that long.
//! That is harmless: both launches write the same bytes, and an object that is there is never replaced by default.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::{PutMode, UpdateVersion};

use super::super::clock;
use super::super::error::Error;
use super::super::fence::{self, FENCE_FILE};
use super::super::settings::Launch;
use super::fault::Fault;
use super::{About, Store};

/// Shortest time between two looks at the token.
const PAUSE: Duration = Duration::from_secs(1);
/// Launches that may come in between before somebody is plainly doing something else.
const RACES: usize = 10;
/// Longest token: a number.
const LONGEST: usize = 32;

/// The right of this launch to write below one prefix.
#[derive(Debug)]
pub struct StoreFence {
    store: Store,
    name: String,
    token: Option<u64>,
    looked: Mutex<Instant>,
}

impl StoreFence {
    /// Refuses if a newer launch is recorded, and writes nothing. Without a launch nothing is fenced.
    pub fn look(store: &Store, launch: Option<&Launch>) -> Result<Self, Error> {
        let name = format!("{FENCE_FILE}{}", fence::key(launch));
        let token = launch.map(|launch| launch.token);
        let fence = Self { store: store.clone(), name, token, looked: Mutex::new(clock::now()) };
        fence.refuse_older()?;
        Ok(fence)
    }

    /// The same, and records this launch.
    pub fn claim(store: &Store, launch: Option<&Launch>) -> Result<Self, Error> {
        let fence = Self::look(store, launch)?;
        let Some(token) = fence.token else { return Ok(fence) };
        for _ in 0..RACES {
            let mode = match fence.refuse_older()? {
                Some((recorded, _)) if recorded == token => return Ok(fence),
                Some((_, version)) => PutMode::Update(version),
                None => PutMode::Create,
            };
            let bytes = Bytes::from(token.to_string());
            match store.put(&fence.name, bytes.clone(), &About::new(), mode) {
                Err(Error::Store { fault: Fault::Exists | Fault::Changed, .. }) => {}
                Err(Error::Store { fault: Fault::Unsupported(_), .. }) => {
                    store.put(&fence.name, bytes, &About::new(), PutMode::Overwrite)?;
                    return Ok(fence);
                }
                other => return other.map(|_| fence),
            }
        }
        Err(store.failed(
            "record the fencing token as",
            &fence.name,
            Fault::Busy("others write it all the time".to_owned()),
        ))
    }

    /// Refuses if a newer launch has been recorded since.
    pub fn check(&self) -> Result<(), Error> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if self.token.is_none() || now.duration_since(*looked) < PAUSE {
            return Ok(());
        }
        *looked = now;
        drop(looked);
        self.refuse_older().map(drop)
    }

    /// Whether a key is our record of the token.
    #[must_use]
    pub fn is_record(&self, key: &str) -> bool {
        key == self.name
    }

    /// Removes the record.
    pub fn clear(&self) -> Result<(), Error> {
        if self.token.is_some() { self.store.remove(&self.name) } else { Ok(()) }
    }

    /// What is recorded, and which version of the record says so, unless that is newer than we are.
    fn refuse_older(&self) -> Result<Option<(u64, UpdateVersion)>, Error> {
        let Some(ours) = self.token else { return Ok(None) };
        let mut reading = match self.store.read(&self.name, None) {
            Err(Error::Store { fault: Fault::Missing, .. }) => return Ok(None),
            other => other?,
        };
        let mut text = [0; LONGEST];
        let mut length = 0;
        while length < LONGEST {
            match reading.fill(&mut text[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(fault) => return Err(self.store.failed("read", &self.name, fault)),
            }
        }
        let recorded = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if recorded > ours {
            return Err(Error::Fenced { ours, recorded, side: self.store.side });
        }
        // Google compares versions, the others `ETag`s.
        Ok(Some((recorded, UpdateVersion { e_tag: reading.object.etag, version: reading.object.version })))
    }
}
