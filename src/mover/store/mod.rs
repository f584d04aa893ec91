//! A part of an object store, as the porter sees it: keys below a prefix, whole objects, and no waiting of its own.
//!
//! The library is asynchronous and the porter is a few threads; each call here blocks its thread until the store has answered.
//!
//! **Invariant: an object shows only when it is complete.** Small ones are one request; larger ones are parts that show when the upload is completed,
//! and before that the caller has compared the digest of what was sent.
//!
//! **Invariant: memory is bounded.** What is on its way to a store takes at most [`BUDGET`], or two parts where parts must be larger than that.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::multipart::PartId;
use object_store::path::Path as ObjectPath;
use object_store::{
    Attribute, Attributes, GetOptions, GetResult, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::end::Location;
use super::error::{Error, Side};
use super::parts::store_part;
use super::records;
use super::tree::Time;

pub mod asking;
pub mod azure;
pub mod fault;
pub mod fence;
pub mod google;
pub mod key;
pub mod leftovers;
pub mod mirror;
pub mod open;
pub mod silence;

use fault::Fault;
use open::Opening;

/// Bytes on their way to a store at the same time.
const BUDGET: u64 = 24 << 20;

/// A prefix of a bucket.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// Which end it is.
    pub side: Side,
}

struct Shared {
    runtime: Runtime,
    opened: open::Opened,
    location: Location,
    budget: Arc<Semaphore>,
    /// Memory of parts that were sent, for the next ones: an allocator would keep some for every thread that took and gave back any.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Debug for Store {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.side, self.shared.location)
    }
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key below the prefix.
    pub key: String,
    /// Its length.
    pub size: u64,
    /// When it was written.
    pub modified: Time,
    /// What changes with its content.
    pub etag: Option<String>,
    /// Which of its versions it is. A listing does not say.
    pub version: Option<String>,
}

/// What tells an object from any other that had its key before or has it later.
///
/// One that was written again with the same bytes has the same `ETag`, and may have other metadata; where the bucket has versions, it has another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its `ETag`.
    pub etag: String,
    /// Its version, as far as the store says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Object {
    /// What tells it from any other; nothing if it has no `ETag`.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.etag.clone().map(|etag| Revision { etag, version: self.version.clone() })
    }
}

impl Revision {
    /// Whether an object that was asked for by this `ETag` is this one, as far as is known of both.
    fn may_be(&self, object: &Object) -> bool {
        match (&self.version, &object.version) {
            (Some(recorded), Some(now)) => recorded == now,
            (None, _) | (_, None) => true,
        }
    }
}

/// What is said about an object beside its bytes: `content-type` and the like by their header, other metadata as `meta-NAME`.
pub type About = BTreeMap<String, String>;

/// An object that is being read.
pub struct Reading {
    store: Store,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    ahead: Bytes,
    /// What the listing would say.
    pub object: Object,
    /// What is said about it.
    pub about: About,
}

/// Whether an object may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Refuse where one is.
    Never,
    /// Replace what is there.
    Whatever,
}

impl Store {
    /// Opens it. Nothing is sent.
    #[allow(clippy::missing_panics_doc)] // it cannot
    pub fn open(location: &Location, side: Side) -> Result<Self, Error> {
        let opened = open::open(location, side, std::env::vars_os())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|source| Error::access("start threads for", side, b".", source))?;
        let budget = Arc::new(Semaphore::new(usize::try_from(BUDGET >> 10).expect("a small number")));
        Ok(Self {
            shared: Arc::new(Shared { runtime, opened, location: location.clone(), budget, buffers: Mutex::default() }),
            side,
        })
    }

    /// Its address.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.shared.location
    }

    /// Looks at everything below the prefix, one object after the other, in the order of the store. Records of relocations are left out.
    pub fn each(&self, mut look: impl FnMut(Object) -> Result<(), Error>) -> Result<(), Error> {
        let prefix = (!self.shared.location.prefix.is_empty()).then(|| self.path("")).transpose()?;
        let mut stream = self.shared.opened.objects.list(prefix.as_ref());
        while let Some(meta) = self.wait(stream.next()) {
            let meta = meta.map_err(|error| match Fault::of(&error) {
                Fault::Missing => self.failed("list", "", Fault::NoBucket),
                fault => self.failed("list", "", fault),
            })?;
            let object = self.object(&meta);
            if !records::is_key(&object.key) {
                look(object)?;
            }
        }
        Ok(())
    }

    /// Opens an object for reading; with a `revision`, only if it is still that one.
    pub fn read(&self, key: &str, revision: Option<&Revision>) -> Result<Reading, Error> {
        self.open_reading(key, revision, GetOptions::default())
    }

    fn open_reading(&self, key: &str, revision: Option<&Revision>, options: GetOptions) -> Result<Reading, Error> {
        let if_match = revision.map(|revision| revision.etag.clone());
        let got = self.get("read", key, GetOptions { if_match, ..options })?;
        let (object, about) = (self.object(&got.meta), about(&got.attributes));
        if revision.is_some_and(|revision| !revision.may_be(&object)) {
            return Err(self.failed("read", key, Fault::Changed));
        }
        Ok(Reading { store: self.clone(), stream: got.into_stream(), ahead: Bytes::new(), object, about })
    }

    /// Opens a part of an object for reading; with a `revision`, only if it is still that one.
    pub fn read_range(&self, key: &str, revision: Option<&Revision>, range: Range<u64>) -> Result<Reading, Error> {
        self.open_reading(key, revision, GetOptions { range: Some(range.into()), ..GetOptions::default() })
    }

    /// What is said about an object, if it is there.
    pub fn look(&self, key: &str) -> Result<Option<(Object, About)>, Error> {
        match self.get("look at", key, GetOptions { head: true, ..GetOptions::default() }) {
            Ok(got) => Ok(Some((self.object(&got.meta), about(&got.attributes)))),
            Err(Error::Store { fault: Fault::Missing, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a small object at once and says its new `ETag`.
    pub fn put(&self, key: &str, bytes: Bytes, about: &About, mode: PutMode) -> Result<Option<String>, Error> {
        let options = PutOptions { mode, attributes: attributes(about), ..PutOptions::default() };
        let path = self.path(key)?;
        let put = self.wait(self.shared.opened.objects.put_opts(&path, PutPayload::from_bytes(bytes), options));
        put.map(|put| quoted(put.e_tag)).map_err(|error| self.failed("write", key, Fault::of(&error)))
    }

    /// Writes an object of `size` bytes that `fill` gives one buffer after the other, and shows it only if `check` agrees at the end.
    /// What can be read in any order goes in parts by several threads instead: [`Store::begin`], [`Store::put_part`], [`Store::complete`].
    #[allow(clippy::missing_panics_doc)] // it cannot
    pub fn write(
        &self,
        key: &str,
        size: u64,
        about: &About,
        replace: Replace,
        mut fill: impl FnMut(&mut [u8]) -> Result<usize, Error>,
        check: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Option<String>, Error> {
        let part = store_part(size);
        let mut next = || {
            // Before the memory is taken: whoever waits holds nothing.
            let room = self.room(part.min(size));
            let mut buffer = vec![0; usize::try_from(part.min(size.max(1))).expect("a part fits into memory")];
            let mut filled = 0;
            while filled < buffer.len() {
                match fill(&mut buffer[filled..])? {
                    0 => break,
                    more => filled += more,
                }
            }
            buffer.truncate(filled);
            Ok::<_, Error>((Bytes::from(buffer), room))
        };
        if size <= part {
            let (bytes, _room) = next()?;
            check()?;
            let mode = match replace {
                Replace::Never => PutMode::Create,
                Replace::Whatever => PutMode::Overwrite,
            };
            return self.put(key, bytes, about, mode);
        }
        let id = self.begin(key, about)?;
        let send_all = || {
            let mut parts = Vec::new();
            let mut left = size;
            while left > 0 {
                let (bytes, _room) = next()?;
                left = left.saturating_sub(bytes.len() as u64);
                // The source ended early: the check will say so.
                if bytes.is_empty() {
                    break;
                }
                parts.push(self.put_part(key, &id, parts.len(), bytes)?);
            }
            check()?;
            self.complete(key, &id, parts, about, replace)
        };
        let sent = send_all();
        if sent.is_err() {
            self.give_up(key, &id);
        }
        sent
    }

    /// Opens an upload for the parts of an object, which shows when it is completed.
    pub fn begin(&self, key: &str, about: &About) -> Result<String, Error> {
        // Azure opens none: it keeps blocks by their keys, and is told about the object at the end.
        if let Opening::Azure(_) = self.shared.opened.service {
            return Ok(key.to_owned());
        }
        let options = PutMultipartOptions { attributes: attributes(about), ..PutMultipartOptions::default() };
        let path = self.path(key)?;
        let begun = self.wait(self.shared.opened.parts.create_multipart_opts(&path, options));
        begun.map_err(|error| self.failed("write", key, Fault::of(&error)))
    }

    /// Waits until `bytes` of memory may be taken for what is on its way.
    #[allow(clippy::missing_panics_doc)] // it cannot
    pub fn room(&self, bytes: u64) -> OwnedSemaphorePermit {
        // A part that is larger than the half takes the half, so that two are on their way.
        let units = u32::try_from((bytes >> 10).clamp(1, BUDGET >> 11)).expect("clamped");
        self.wait(self.shared.budget.clone().acquire_many_owned(units)).expect("the budget is never closed")
    }

    /// Memory for `length` bytes that will be sent. Whoever takes it has [`Store::room`].
    #[must_use]
    pub fn buffer(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.buffers().pop().unwrap_or_default();
        buffer.resize(length, 0);
        buffer
    }

    /// Takes back the memory of what was sent, unless somebody still reads it.
    pub fn give_back(&self, sent: Bytes) {
        if let Ok(buffer) = sent.try_into_mut() {
            self.buffers().push(buffer.into());
        }
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.shared.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one part, counted from 0, and says what the store calls it.
    pub fn put_part(&self, key: &str, id: &String, number: usize, bytes: Bytes) -> Result<String, Error> {
        let path = self.path(key)?;
        let put = self.wait(self.shared.opened.parts.put_part(&path, id, number, PutPayload::from_bytes(bytes)));
        put.map(|part| part.content_id).map_err(|error| self.failed("write a part of", key, Fault::of(&error)))
    }

    /// Makes an object of all its parts, and says its `ETag`. `about` is what the upload was begun with.
    pub fn complete(
        &self,
        key: &str,
        id: &String,
        parts: Vec<String>,
        about: &About,
        replace: Replace,
    ) -> Result<Option<String>, Error> {
        let opened = &self.shared.opened;
        let azure = if let Opening::Azure(azure) = &opened.service { Some(azure) } else { None };
        // But for Azure, the request that completes an upload replaces what is there, so this is looked at as late as can be.
        if azure.is_none() && replace == Replace::Never && self.look(key)?.is_some() {
            return Err(self.failed("write", key, Fault::Exists));
        }
        let path = self.path(key)?;
        let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
        let complete = opened.parts.complete_multipart(&path, id, parts);
        let put = match azure {
            Some(azure) => self.wait(azure.adding(about, replace, complete)),
            None => self.wait(complete),
        };
        put.map(|put| quoted(put.e_tag)).map_err(|error| match Fault::of(&error) {
            Fault::Changed if replace == Replace::Never => self.failed("write", key, Fault::Exists),
            fault => self.failed("write", key, fault),
        })
    }

    /// Ends an upload whose object shall not show. The next attempt does it if this fails.
    pub fn give_up(&self, key: &str, id: &String) {
        if let Ok(path) = self.path(key) {
            let _ = self.wait(self.shared.opened.parts.abort_multipart(&path, id));
        }
    }

    /// Removes an object; one that is not there is removed already.
    pub fn remove(&self, key: &str) -> Result<(), Error> {
        use object_store::ObjectStoreExt as _;
        let path = self.path(key)?;
        match self.wait(self.shared.opened.objects.delete(&path)).map_err(|error| Fault::of(&error)) {
            Ok(()) | Err(Fault::Missing) => Ok(()),
            Err(fault) => Err(self.failed("remove", key, fault)),
        }
    }

    /// An error of this store.
    #[must_use]
    pub fn failed(&self, action: &'static str, key: &str, fault: Fault) -> Error {
        let path = if key.is_empty() { ".".to_owned() } else { key.to_owned() };
        Error::Store {
            action,
            side: self.side,
            store: self.shared.location.to_string().into(),
            path: path.into_bytes(),
            fault,
        }
    }

    fn get(&self, action: &'static str, key: &str, options: GetOptions) -> Result<GetResult, Error> {
        let path = self.path(key)?;
        let got = self.wait(self.shared.opened.objects.get_opts(&path, options));
        got.map_err(|error| self.failed(action, key, Fault::of(&error)))
    }

    fn wait<F: Future>(&self, future: F) -> F::Output {
        self.shared.runtime.block_on(future)
    }

    /// The whole key, for the library. It keeps a key as it is or refuses it.
    fn path(&self, key: &str) -> Result<ObjectPath, Error> {
        let prefix = &self.shared.location.prefix;
        let whole = match (prefix.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => prefix.clone(),
            (false, false) => format!("{prefix}/{key}"),
        };
        ObjectPath::parse(&whole).map_err(|_| self.failed("name", key, Fault::Key))
    }

    fn object(&self, meta: &ObjectMeta) -> Object {
        let whole = meta.location.as_ref();
        let prefix = &self.shared.location.prefix;
        let key = if prefix.is_empty() { Some(whole) } else { whole.strip_prefix(prefix.as_str()) };
        let key = key.unwrap_or(whole).trim_start_matches('/').to_owned();
        let modified = (meta.last_modified.timestamp(), meta.last_modified.timestamp_subsec_nanos());
        let etag = quoted(meta.e_tag.clone());
        Object { key, size: meta.size, modified, etag, version: meta.version.clone() }
    }
}

impl Reading {
    /// The next bytes, into the front of `buffer`; none at the end.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        while self.ahead.is_empty() {
            match self.store.shared.runtime.block_on(self.stream.next()) {
                Some(Ok(bytes)) => self.ahead = bytes,
                Some(Err(error)) => return Err(Fault::of(&error)),
                None => return Ok(0),
            }
        }
        let taken = self.ahead.split_to(self.ahead.len().min(buffer.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }

    /// The error for reading that failed.
    #[must_use]
    pub fn failed(&self, path: &[u8], fault: Fault) -> Error {
        let store = self.store.shared.location.to_string().into();
        Error::Store { action: "read", side: self.store.side, store, path: path.to_vec(), fault }
    }
}

/// An `ETag` as headers have it. Azure lists them without their quotes, and some servers have none for what they found in their folder.
fn quoted(etag: Option<String>) -> Option<String> {
    let etag = etag.filter(|etag| !etag.trim_matches('"').is_empty())?;
    Some(if etag.ends_with('"') { etag } else { format!("\"{etag}\"") })
}

fn about(attributes: &Attributes) -> About {
    let header = |attribute: &Attribute| {
        Some(match attribute {
            Attribute::ContentDisposition => "content-disposition".to_owned(),
            Attribute::ContentEncoding => "content-encoding".to_owned(),
            Attribute::ContentLanguage => "content-language".to_owned(),
            Attribute::ContentType => "content-type".to_owned(),
            Attribute::CacheControl => "cache-control".to_owned(),
            Attribute::Metadata(name) => format!("meta-{name}"),
            // Where it lies is the target's business.
            _ => return None,
        })
    };
    attributes.iter().filter_map(|(attribute, value)| Some((header(attribute)?, value.as_ref().to_owned()))).collect()
}

fn attributes(about: &About) -> Attributes {
    let attribute = |name: &str| {
        Some(match name {
            "content-disposition" => Attribute::ContentDisposition,
            "content-encoding" => Attribute::ContentEncoding,
            "content-language" => Attribute::ContentLanguage,
            "content-type" => Attribute::ContentType,
            "cache-control" => Attribute::CacheControl,
            _ => Attribute::Metadata(name.strip_prefix("meta-")?.to_owned().into()),
        })
    };
    about.iter().filter_map(|(name, value)| Some((attribute(name)?, value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_about_an_object_comes_back() {
        let said: About = [("content-type", "text/plain"), ("meta-colour", "red"), ("cache-control", "no-store")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(about(&attributes(&said)), said);
    }
}
