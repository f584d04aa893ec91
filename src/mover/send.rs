//! `import` into a store.
//!
//! **Invariant: an object shows only when it is whole and was compared.** Its bytes are hashed on their way, and the last request is made only when the digest is that of the manifest.
//! The target is listed once; then the journal (see [`super::journal`]) tells what of it is ours:
//! an object whose `ETag` is the one we were given is done, one that was about to be sent is read back and compared, any other is somebody else's.
//! Parts of uploads that killed attempts did not complete are removed first.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use object_store::PutMode;

use super::content::Copier;
use super::entry::{Content, Digest, Entry};
use super::error::Error;
use super::import::Existing;
use super::journal::{Journal, Known, Line, Place as Written, earlier};
use super::manifest::{Reader, Totals};
use super::object::{self, Kind};
use super::origin::{Origin, Place};
use super::outcome::Outcome;
use super::pace::Throttle;
use super::progress::Progress;
use super::settings::Settings;
use super::store::fault::Fault;
use super::store::fence::StoreFence;
use super::store::key::Key;
use super::store::{About, Object, Replace, Store};
use super::workspace::{Stopped, Workspace};
use super::{Console, clock, fence, foresee, pool};

/// Objects between two looks at what the journal has to keep.
const EPOCH: usize = 256;

/// Everything that sending needs.
pub struct Send<'a> {
    /// The target.
    pub store: Store,
    /// The workspace.
    pub workspace: Workspace,
    /// Where bytes come from.
    pub origin: Origin,
    /// What to do where the target has something.
    pub existing: Existing,
    /// What there is to send.
    pub totals: Totals,
    /// The rest.
    pub settings: &'a Settings,
}

/// One entry on its way.
enum Piece {
    /// A directory that is only implied.
    Nothing,
    /// It is there, as the journal says.
    Present(Entry),
    /// Something has its key.
    Check { entry: Entry, key: Key, from: Place, is_ours: bool },
    /// Nothing has.
    Write { entry: Entry, key: Key, from: Place },
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match self {
            Self::Check { entry, .. } | Self::Write { entry, .. } => match entry.content {
                Content::File { size, .. } => size,
                Content::Directory { .. } | Content::Link { .. } => 0,
            },
            Self::Nothing | Self::Present(_) => 0,
        }
    }
}

enum Done {
    Nothing,
    Present(Entry),
    Sent { entry: Entry, etag: Option<String>, has_replaced: bool },
}

impl Send<'_> {
    /// Sends everything.
    pub fn run(mut self, mut reader: Reader, console: &mut Console) -> Result<Outcome, Stopped> {
        let launch = self.settings.launch.as_ref();
        let fence = StoreFence::claim(&self.store, launch)?;
        let address = self.store.location().to_string();
        let journal = Journal::open(&self.workspace.root, self.settings.sequence(), &address, earlier())?;
        let there: HashMap<String, Object> =
            self.store.list()?.into_iter().map(|object| (object.key.clone(), object)).collect();
        let leftovers = abort_uploads(&self.store, console, &journal)?;
        let mut progress = Progress::new(console.out, clock::now, self.totals.files);
        let sender = Sender {
            store: &self.store,
            fence: &fence,
            journal: &journal,
            existing: self.existing,
            throttle: &self.settings.pace.throttle,
            by: fence::key(launch).to_string(),
        };
        let origin = &mut self.origin;
        let mut counts = Counts::default();
        let mut pending = 0;
        let sent = pool::in_order(
            self.settings.pace.threads(),
            || {
                let Some(entry) = reader.next_entry()? else { return Ok(None) };
                piece(entry, &self.store, origin, &there, &journal).map(Some)
            },
            |copier, piece| sender.work(copier, piece),
            |done| {
                progress.advance(counts.take(done, &journal)?);
                pending += 1;
                if pending % EPOCH == 0 { journal.flush() } else { Ok(()) }
            },
        );
        // Also when it failed: what has been sent shall not be sent again.
        let flushed = journal.flush();
        sent.and(flushed)?;
        progress.finish();
        let Counts { sent, bytes, present, replaced, not_linked } = counts;
        Ok(Outcome {
            counts: BTreeMap::from([
                ("files", self.totals.files),
                ("written", sent),
                ("writtenBytes", bytes),
                ("alreadyThere", present),
                ("replaced", replaced),
                ("leftoversRemoved", leftovers),
                ("hardLinksNotKept", not_linked),
            ]),
            ..Outcome::said(format!(
                "all {} entries are at the target: {sent} files ({bytes} bytes) written, {present} were there already",
                self.totals.entries
            ))
        })
    }
}

/// Removes parts of uploads of ours that were never completed. A store that does not let us look for them keeps nobody from moving data.
pub fn abort_uploads(store: &Store, console: &Console, journal: &Journal) -> Result<u64, Error> {
    let is_ours = |key: &str| {
        let path = key.as_bytes().to_vec();
        let literal = path.try_into().ok().is_some_and(|path| journal.known(&path).is_some());
        let decoded = || super::store::key::decode(key)?.try_into().ok();
        literal || decoded().is_some_and(|path| journal.known(&path).is_some())
    };
    match store.abort_uploads(is_ours) {
        Err(error @ Error::Store { fault: Fault::Denied(_) | Fault::Unsupported(_), .. }) => {
            console.log(&format!("unfinished uploads of killed attempts, if there are any, stay: {error}"));
            Ok(0)
        }
        other => other,
    }
}

fn piece(
    entry: Entry,
    store: &Store,
    origin: &mut Origin,
    there: &HashMap<String, Object>,
    journal: &Journal,
) -> Result<Piece, Error> {
    let Some(key) = object::key(&entry) else { return Ok(Piece::Nothing) };
    // A store would refuse it in words of its own, and some as if another attempt could help.
    if let Some(problem) = foresee::too_long(store, &key, entry.path.as_bytes()) {
        return Err(Error::Problem(problem));
    }
    let from = origin.place(entry.path.as_bytes())?;
    let known = journal.known(&entry.path);
    Ok(match there.get(&key.text) {
        None => Piece::Write { entry, key, from },
        Some(object) if is_done(known, object) => Piece::Present(entry),
        Some(_) => Piece::Check { is_ours: known.is_some_and(|known| !known.replaces), entry, key, from },
    })
}

fn is_done(known: Option<&Known>, object: &Object) -> bool {
    known.and_then(|known| known.etag.as_ref()).is_some_and(|etag| Some(etag) == object.etag.as_ref())
}

/// What the workers share.
struct Sender<'a> {
    store: &'a Store,
    fence: &'a StoreFence,
    journal: &'a Journal,
    existing: Existing,
    throttle: &'a Throttle,
    by: String,
}

impl Sender<'_> {
    fn work(&self, copier: &mut Copier, piece: Piece) -> Result<Done, Error> {
        match piece {
            Piece::Nothing => Ok(Done::Nothing),
            Piece::Present(entry) => Ok(Done::Present(entry)),
            Piece::Write { entry, key, from } => self.send(copier, entry, &key, &from),
            Piece::Check { entry, key, from, is_ours } => {
                let path = entry.path.as_bytes();
                match difference(self.store, &entry, &key, copier, self.throttle)? {
                    None if is_ours || !entry.is_file() => Ok(Done::Present(entry)),
                    None => self.existing.judge_equal(path).map(|()| Done::Present(entry)),
                    Some(_) if self.existing == Existing::Overwrite => {
                        self.write(entry, &key, &from, Replace::Whatever)
                    }
                    Some(problem) => Err(Error::Conflict { path: path.to_vec(), problem }),
                }
            }
        }
    }

    /// Sends an entry whose key is free; fine also if the same content has come there meanwhile.
    fn send(&self, copier: &mut Copier, entry: Entry, key: &Key, from: &Place) -> Result<Done, Error> {
        match self.write(entry.clone(), key, from, Replace::Never) {
            Err(Error::Store { fault: Fault::Exists, .. }) => {
                match difference(self.store, &entry, key, copier, self.throttle)? {
                    None => Ok(Done::Present(entry)),
                    Some(problem) => Err(Error::Conflict { path: entry.path.as_bytes().to_vec(), problem }),
                }
            }
            other => other,
        }
    }

    fn write(&self, entry: Entry, key: &Key, from: &Place, replace: Replace) -> Result<Done, Error> {
        let about = object::about(&entry, key, &self.by);
        let has_replaced = replace == Replace::Whatever;
        if has_replaced {
            self.journal.add(&Line::Replaces { replaces: entry.path.clone() })?;
        }
        self.announce(&entry)?;
        self.fence.check()?;
        let etag = match &entry.content {
            Content::File { .. } => self.write_file(&entry, key, from, &about, replace)?,
            Content::Link { target } => self.put(key, target.0.clone(), &about, replace)?,
            Content::Directory { .. } => self.put(key, Vec::new(), &about, replace)?,
        };
        Ok(Done::Sent { entry, etag, has_replaced })
    }

    /// Writes down what is about to show, and returns when that is on the disk.
    fn announce(&self, entry: &Entry) -> Result<(), Error> {
        let place: Written = self.journal.add(&Line::Object { object: entry.path.clone() })?;
        self.journal.sync(place)
    }

    fn put(&self, key: &Key, bytes: Vec<u8>, about: &About, replace: Replace) -> Result<Option<String>, Error> {
        let mode = match replace {
            Replace::Never => PutMode::Create,
            Replace::Whatever => PutMode::Overwrite,
        };
        self.store.put(&key.text, Bytes::from(bytes), about, mode)
    }

    fn write_file(
        &self,
        entry: &Entry,
        key: &Key,
        from: &Place,
        about: &About,
        replace: Replace,
    ) -> Result<Option<String>, Error> {
        let path = entry.path.as_bytes();
        let Content::File { size, digest, .. } = &entry.content else { unreachable!("only files have bytes") };
        let mut opened = from.open(entry)?;
        let hashed = std::cell::RefCell::new((0, blake3::Hasher::new()));
        let fill = |buffer: &mut [u8]| {
            let mut hashed = hashed.borrow_mut();
            let read = opened.fill(path, hashed.0, buffer, self.throttle)?;
            hashed.0 += read as u64;
            hashed.1.update(&buffer[..read]);
            Ok(read)
        };
        let check = || {
            let (length, hasher) = &*hashed.borrow();
            let is_right = length == size && Digest::from(hasher.finalize()) == *digest;
            if is_right { Ok(()) } else { Err(from.differs(path, "has other content than the manifest says")) }
        };
        self.store.write(&key.text, *size, about, replace, fill, check)
    }
}

/// How the object of an entry differs from the manifest, judged by reading it.
pub fn difference(
    store: &Store,
    entry: &Entry,
    key: &Key,
    copier: &mut Copier,
    throttle: &Throttle,
) -> Result<Option<&'static str>, Error> {
    let path = entry.path.as_bytes();
    let mut reading = match store.read(&key.text, None) {
        Err(Error::Store { fault: Fault::Missing, .. }) => return Ok(Some("is missing")),
        other => other?,
    };
    let kind = object::kind(&reading.about);
    if object::is_escaped(&reading.about) != key.is_escaped {
        return Ok(Some("is the object of another path"));
    }
    let (wanted, size, digest) = match &entry.content {
        Content::Directory { .. } => (Kind::Directory, 0, Digest::of(b"")),
        Content::Link { target } => (Kind::Link, target.0.len() as u64, Digest::of(target.as_bytes())),
        Content::File { size, digest, .. } => (Kind::File, *size, *digest),
    };
    if kind != wanted {
        return Ok(Some("is of another type"));
    }
    if reading.object.size != size {
        return Ok(Some("has another size"));
    }
    let fill = |_, buffer: &mut [u8]| {
        let read = reading.fill(buffer).map_err(|fault| reading.failed(path, fault))?;
        throttle.pass(read);
        Ok(read)
    };
    let failed = |source| Error::access("read", store.side, path, source);
    let (length, now) = copier.copy_stream(fill, None, failed)?;
    Ok(match wanted {
        _ if (length, now) == (size, digest) => None,
        Kind::Link => Some("is a link to somewhere else"),
        Kind::File | Kind::Directory => Some("has other content"),
    })
}

#[derive(Default)]
struct Counts {
    sent: u64,
    bytes: u64,
    present: u64,
    replaced: u64,
    not_linked: u64,
}

impl Counts {
    /// Counts one entry, writes its line, and says how many files it was.
    fn take(&mut self, done: Done, journal: &Journal) -> Result<u64, Error> {
        let entry = match done {
            Done::Nothing => return Ok(0),
            Done::Present(entry) => {
                self.present += u64::from(entry.is_file());
                entry
            }
            Done::Sent { entry, etag, has_replaced } => {
                if let Some(etag) = etag {
                    journal.add(&Line::Sent { sent: entry.path.clone(), etag })?;
                }
                self.replaced += u64::from(has_replaced);
                if let Content::File { size, .. } = entry.content {
                    self.sent += 1;
                    self.bytes += size;
                }
                entry
            }
        };
        let is_further = matches!(entry.content, Content::File { link_of: Some(_), .. });
        self.not_linked += u64::from(is_further);
        Ok(u64::from(entry.is_file()))
    }
}
