//! `import` into a store.
//!
//! **Invariant: an object shows only when it is whole and was compared.** Its bytes are hashed on their way, and the last request is made only when the digest is that of the manifest.
//! The target is listed once; then the journal (see [`super::journal`]) tells what of it is ours:
//! an object whose `ETag` is the one we were given is done, one that was about to be sent is read back and compared, any other is somebody else's.
//!
//! A large file goes in parts (see [`super::parts`]), sent by all threads. The journal says which parts the store has taken, and the next attempt sends the others.
//! Parts of other uploads that killed attempts did not complete are removed first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use blake3::hazmat::ChainingValue;
use bytes::Bytes;
use object_store::PutMode;

use super::content::{Copier, Zeros};
use super::entry::{Content, Digest, Entry, RelativePath};
use super::error::Error;
use super::import::Existing;
use super::journal::{Begun, Journal, Line, Place as Written, earlier};
use super::links::{Firsts, Lost};
use super::listing::There;
use super::manifest::{Reader, Totals};
use super::object::{self, Kind};
use super::origin::{Origin, Place, Ranged};
use super::outcome::Outcome;
use super::pace::Throttle;
use super::parts::{Chain, Cut, Parts, hasher_at, store_part, value};
use super::progress::Progress;
use super::settings::Settings;
use super::store::fault::Fault;
use super::store::fence::StoreFence;
use super::store::key::Key;
use super::store::leftovers::Swept;
use super::store::{About, Reading, Replace, Store};
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
    /// Nothing has. Its line is in the journal already, and those of a whole batch go to the disk together.
    Write { entry: Entry, key: Key, from: Place, announced: Written },
    /// Nothing has, and it is large.
    Part { large: Arc<Large>, number: u64 },
}

/// An object that is sent in parts.
#[derive(Debug)]
struct Large {
    entry: Entry,
    cut: Cut,
    key: Key,
    from: Place,
    ranged: Ranged,
    /// What the store calls the upload.
    id: String,
    /// What the store has of an earlier attempt, and what it calls these parts.
    begun: Chain,
    etags: Vec<String>,
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match self {
            Self::Check { entry, .. } | Self::Write { entry, .. } => match entry.content {
                Content::File { size, .. } => size,
                Content::Directory { .. } | Content::Link { .. } => 0,
            },
            Self::Part { large, number } => large.cut.length(*number),
            Self::Nothing | Self::Present(_) => 0,
        }
    }
}

enum Done {
    Nothing,
    Present { entry: Entry, says_links: bool },
    Sent { entry: Entry, etag: Option<String>, has_replaced: bool },
    Part { large: Arc<Large>, value: ChainingValue, etag: String },
}

impl Send<'_> {
    /// Sends everything.
    pub fn run(self, reader: Reader, console: &mut Console) -> Result<Outcome, Stopped> {
        let launch = self.settings.launch.as_ref();
        let fence = StoreFence::claim(&self.store, launch)?;
        let address = self.store.location().to_string();
        let journal = Journal::open(&self.workspace.root, self.settings.sequence(), &address, earlier())?;
        let there = There::list(&self.store, |_| false)?;
        let begun = journal.begun().filter_map(|begun| match begun {
            Begun::Upload { id, .. } => Some(id.clone()),
            Begun::File { .. } => None,
        });
        let Swept { aborted: leftovers, alive } =
            abort_uploads(&self.store, console, &begun.collect(), |path| Ok(journal.known(path).is_some()))?;
        let firsts = Firsts::read(&self.workspace.root, &self.totals)?;
        let mut progress = Progress::new(console.out, clock::now, self.totals.files);
        let sender = Sender {
            store: &self.store,
            fence: &fence,
            journal: &journal,
            existing: self.existing,
            throttle: &self.settings.pace.throttle,
            by: fence::key(launch).to_string(),
            firsts: &firsts,
        };
        let mut feed = Feed {
            sender: &sender,
            reader,
            origin: self.origin,
            there: &there,
            alive: &alive,
            parts: Parts::default(),
            resumed: 0,
        };
        let mut counts = Counts::default();
        let mut growing = None;
        let mut pending = 0;
        let sent = pool::in_order(
            self.settings.pace.threads(),
            || feed.piece(),
            |copier, piece| sender.work(copier, piece),
            |done| {
                let Some(done) = sender.grow(&mut growing, done)? else { return Ok(()) };
                progress.advance(counts.take(done, &journal, &firsts)?);
                pending += 1;
                if pending % EPOCH == 0 { journal.flush() } else { Ok(()) }
            },
        );
        // Also when it failed: what has been sent shall not be sent again.
        let flushed = journal.flush();
        sent.and(flushed)?;
        progress.finish();
        let Counts { sent, bytes, present, replaced, links, too_many_attributes } = counts;
        let resumed = feed.resumed;
        let bytes = bytes.saturating_sub(resumed);
        Ok(Outcome {
            counts: BTreeMap::from([
                ("files", self.totals.files),
                ("written", sent),
                ("writtenBytes", bytes),
                // Of large files that an earlier attempt had begun.
                ("resumedBytes", resumed),
                ("alreadyThere", present),
                ("replaced", replaced),
                ("leftoversRemoved", leftovers),
                ("hardLinksNotKept", links.count),
                ("attributesNotKept", too_many_attributes),
            ]),
            ..Outcome::said(format!(
                "all {} entries are at the target: {sent} files ({bytes} bytes) written, {present} were there already",
                self.totals.entries
            ))
        })
    }
}

/// Removes parts of uploads of ours that were never completed. A store that does not let us look for them keeps nobody from moving data.
/// The uploads with an id in `spared` stay.
pub fn abort_uploads(
    store: &Store,
    console: &Console,
    spared: &BTreeSet<String>,
    mut knows: impl FnMut(&RelativePath) -> Result<bool, Error>,
) -> Result<Swept, Error> {
    let is_ours = |key: &str| {
        let literal = RelativePath::try_from(key.as_bytes().to_vec()).ok();
        let decoded = super::store::key::decode(key, store.location().service).and_then(|path| path.try_into().ok());
        for path in [literal, decoded].iter().flatten() {
            if knows(path)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match store.abort_uploads(spared, is_ours) {
        Err(error @ Error::Store { fault: Fault::Denied(_) | Fault::Unsupported(_), .. }) => {
            console.log(&format!("unfinished uploads of killed attempts, if there are any, stay: {error}"));
            Ok(Swept::default())
        }
        other => other,
    }
}

/// Turns the manifest into pieces of work, in order. An upload in parts is opened right here.
struct Feed<'a> {
    sender: &'a Sender<'a>,
    reader: Reader,
    origin: Origin,
    /// What the target has.
    there: &'a There,
    /// The uploads of earlier attempts that can be gone on with.
    alive: &'a BTreeSet<String>,
    /// The parts of a large file that are still to be handed out.
    parts: Parts<Large>,
    resumed: u64,
}

impl Feed<'_> {
    fn piece(&mut self) -> Result<Option<Piece>, Error> {
        if let Some((large, number)) = self.parts.next_part() {
            return Ok(Some(Piece::Part { large, number }));
        }
        let Some(entry) = self.reader.next_entry()? else { return Ok(None) };
        let Some(key) = object::key(&entry, self.sender.store.location().service) else {
            return Ok(Some(Piece::Nothing));
        };
        // A store would refuse it in words of its own, and some as if another attempt could help.
        if let Some(problem) = foresee::too_long(self.sender.store, &key, entry.path.as_bytes()) {
            return Err(Error::Problem(problem));
        }
        let from = self.origin.place(entry.path.as_bytes())?;
        let known = self.sender.journal.known(&entry.path);
        if !self.there.has(&key.text) {
            return self.write(entry, key, from).map(Some);
        }
        let is_done = |etag: &String| self.there.has_with(&key.text, etag);
        Ok(Some(if known.is_some_and(|known| known.etag.as_ref().is_some_and(is_done)) {
            Piece::Present(entry)
        } else {
            Piece::Check { is_ours: known.is_some_and(|known| !known.replaces), entry, key, from }
        }))
    }

    /// An entry to send: at once, or in parts if it is large.
    fn write(&mut self, entry: Entry, key: Key, from: Place) -> Result<Piece, Error> {
        let sender = self.sender;
        let size = if let Content::File { size, .. } = entry.content { size } else { 0 };
        let ranged = if size > store_part(size) { from.open_ranged(&entry)? } else { None };
        let Some(ranged) = ranged else {
            let announced = announce(&entry, sender.journal)?;
            return Ok(Piece::Write { entry, key, from, announced });
        };
        let Content::File { digest, .. } = entry.content else { unreachable!("only files are in parts") };
        let (id, part_size, etags, begun) = match sender.journal.begun_of(&entry.path) {
            Some(Begun::Upload { digest: begun, id, part_size, etags, chain })
                if self.alive.contains(id)
                    && *begun == digest
                    && chain.count() < (Cut { size, part_size: *part_size }).count() =>
            {
                (id.clone(), *part_size, etags.clone(), chain.clone())
            }
            earlier => {
                sender.journal.sync(announce(&entry, sender.journal)?)?;
                sender.fence.check()?;
                if let Some(Begun::Upload { id, .. }) = earlier
                    && self.alive.contains(id)
                {
                    // Its parts are of what the source no longer has.
                    sender.store.give_up(&key.text, id);
                }
                let id = sender.store.begin(&key.text, &sender.about(&entry, &key))?;
                let part_size = store_part(size);
                sender.journal.add(&Line::Upload { upload: entry.path.clone(), digest, id: id.clone(), part_size })?;
                (id, part_size, Vec::new(), Chain::default())
            }
        };
        let number = begun.count();
        self.resumed += number * part_size;
        let large = Large { entry, cut: Cut { size, part_size }, key, from, ranged, id, begun, etags };
        let parts = number..large.cut.count();
        self.parts.begin(large, parts);
        // What is handed out for this path are its parts.
        Ok(Piece::Nothing)
    }
}

/// Writes down what is about to show.
fn announce(entry: &Entry, journal: &Journal) -> Result<Written, Error> {
    journal.add(&Line::Object { object: entry.path.clone() })
}

/// What the workers share.
struct Sender<'a> {
    store: &'a Store,
    fence: &'a StoreFence,
    journal: &'a Journal,
    existing: Existing,
    throttle: &'a Throttle,
    by: String,
    firsts: &'a Firsts,
}

impl Sender<'_> {
    fn work(&self, copier: &mut Copier, piece: Piece) -> Result<Done, Error> {
        match piece {
            Piece::Nothing => Ok(Done::Nothing),
            // It was written with what it says.
            Piece::Present(entry) => Ok(Done::Present { says_links: self.firsts.can_be_said(&entry), entry }),
            Piece::Write { entry, key, from, announced } => self.send(copier, entry, &key, &from, announced),
            Piece::Part { large, number } => self.send_part(large, number),
            Piece::Check { entry, key, from, is_ours } => {
                let path = entry.path.as_bytes();
                let (difference, said) = compare(self.store, &entry, &key, copier, self.throttle)?;
                match difference {
                    None => {
                        if !is_ours && entry.is_file() {
                            self.existing.judge_equal(path)?;
                        }
                        Ok(Done::Present { says_links: self.firsts.are_said(&entry, &said), entry })
                    }
                    Some(_) if self.existing == Existing::Overwrite => {
                        self.journal.add(&Line::Replaces { replaces: entry.path.clone() })?;
                        let announced = announce(&entry, self.journal)?;
                        self.write(entry, &key, &from, Replace::Whatever, announced)
                    }
                    Some(problem) => Err(Error::Conflict { path: path.to_vec(), problem }),
                }
            }
        }
    }

    /// What to say about the object of an entry.
    fn about(&self, entry: &Entry, key: &Key) -> About {
        let mut about = object::about(entry, key, &self.by);
        about.extend(object::said_of_links(entry, self.firsts).map(|(name, value)| (name.to_owned(), value)));
        about
    }

    fn send_part(&self, large: Arc<Large>, number: u64) -> Result<Done, Error> {
        let path = large.entry.path.as_bytes();
        let range = large.cut.range(number);
        let length = large.cut.length(number);
        // Before the memory is taken: whoever waits holds nothing.
        let _room = self.store.room(length);
        let mut buffer = self.store.buffer(usize::try_from(length).expect("a part fits into memory"));
        if large.ranged.read(path, range.start, &mut buffer, self.throttle)? != buffer.len() {
            return Err(large.from.differs(path, "is shorter than the manifest says"));
        }
        let mut hasher = hasher_at(range.start);
        hasher.update(&buffer);
        self.fence.check()?;
        let index = usize::try_from(number).expect("a store takes 10,000 parts");
        let bytes = Bytes::from(buffer);
        let etag = self.store.put_part(&large.key.text, &large.id, index, bytes.clone())?;
        self.store.give_back(bytes);
        Ok(Done::Part { large, value: value(&hasher), etag })
    }

    /// Takes the parts of large files in order. After the last one of a file its object is made, if it is what the manifest says.
    fn grow(&self, growing: &mut Option<Growing>, done: Done) -> Result<Option<Done>, Error> {
        let Done::Part { large, value, etag } = done else { return Ok(Some(done)) };
        let mut now =
            growing.take().unwrap_or_else(|| Growing { chain: large.begun.clone(), etags: large.etags.clone() });
        let number = now.chain.count();
        now.chain.push(value);
        let chain = now.chain.saved();
        self.journal.add(&Line::Part { part: large.entry.path.clone(), number, etag: etag.clone(), chain })?;
        now.etags.push(etag);
        if now.chain.count() < large.cut.count() {
            *growing = Some(now);
            // What this process has been told survives it; a part is worth a line that a machine may lose.
            return self.journal.flush().map(|()| None);
        }
        let Content::File { digest, .. } = &large.entry.content else { unreachable!("only files are in parts") };
        let path = large.entry.path.as_bytes();
        if now.chain.digest() != Some(*digest) {
            self.store.give_up(&large.key.text, &large.id);
            return Err(large.from.differs(path, "has other content than the manifest says"));
        }
        self.fence.check()?;
        let entry = large.entry.clone();
        let about = self.about(&entry, &large.key);
        match self.store.complete(&large.key.text, &large.id, now.etags, &about, Replace::Never) {
            Err(Error::Store { fault: Fault::Exists, .. }) => {
                self.store.give_up(&large.key.text, &large.id);
                self.meet(&mut Copier::default(), entry, &large.key).map(Some)
            }
            other => Ok(Some(Done::Sent { entry, etag: other?, has_replaced: false })),
        }
    }

    /// Sends an entry whose key is free; fine also if the same content has come there meanwhile.
    fn send(
        &self,
        copier: &mut Copier,
        entry: Entry,
        key: &Key,
        from: &Place,
        announced: Written,
    ) -> Result<Done, Error> {
        match self.write(entry.clone(), key, from, Replace::Never, announced) {
            Err(Error::Store { fault: Fault::Exists, .. }) => self.meet(copier, entry, key),
            other => other,
        }
    }

    /// Something has come to a key between looking and writing: fine if it is what we were about to write.
    fn meet(&self, copier: &mut Copier, entry: Entry, key: &Key) -> Result<Done, Error> {
        let (difference, said) = compare(self.store, &entry, key, copier, self.throttle)?;
        match difference {
            None => Ok(Done::Present { says_links: self.firsts.are_said(&entry, &said), entry }),
            Some(problem) => Err(Error::Conflict { path: entry.path.as_bytes().to_vec(), problem }),
        }
    }

    /// Writes an entry, as soon as the line that announces it is on the disk.
    fn write(
        &self,
        entry: Entry,
        key: &Key,
        from: &Place,
        replace: Replace,
        announced: Written,
    ) -> Result<Done, Error> {
        let about = self.about(&entry, key);
        let has_replaced = replace == Replace::Whatever;
        self.journal.sync(announced)?;
        self.fence.check()?;
        let etag = match &entry.content {
            Content::File { .. } => self.write_file(&entry, key, from, &about, replace)?,
            Content::Link { target } => self.put(key, target.0.clone(), &about, replace)?,
            Content::Directory { .. } => self.put(key, Vec::new(), &about, replace)?,
        };
        Ok(Done::Sent { entry, etag, has_replaced })
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

/// A large object whose parts come in order.
struct Growing {
    chain: Chain,
    etags: Vec<String>,
}

/// How the object of an entry differs from the manifest, judged by reading it, and what is said about it.
pub fn compare(
    store: &Store,
    entry: &Entry,
    key: &Key,
    copier: &mut Copier,
    throttle: &Throttle,
) -> Result<(Option<&'static str>, About), Error> {
    let mut reading = match store.read(&key.text, None) {
        Err(Error::Store { fault: Fault::Missing, .. }) => return Ok((Some("is missing"), About::new())),
        other => other?,
    };
    let difference = difference_of(store, entry, key, &mut reading, copier, throttle)?;
    Ok((difference, reading.about))
}

fn difference_of(
    store: &Store,
    entry: &Entry,
    key: &Key,
    reading: &mut Reading,
    copier: &mut Copier,
    throttle: &Throttle,
) -> Result<Option<&'static str>, Error> {
    let path = entry.path.as_bytes();
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
    let (length, now) = copier.copy_stream(fill, None, Zeros::Written, failed)?;
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
    links: Lost,
    /// Entries whose attributes do not fit into an object's metadata.
    too_many_attributes: u64,
}

impl Counts {
    /// Counts one entry, writes its line, and says how many files it was.
    fn take(&mut self, done: Done, journal: &Journal, firsts: &Firsts) -> Result<u64, Error> {
        let (entry, says_links) = match done {
            Done::Nothing | Done::Part { .. } => return Ok(0),
            Done::Present { entry, says_links } => {
                self.present += u64::from(entry.is_file());
                (entry, says_links)
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
                let says_links = firsts.can_be_said(&entry);
                (entry, says_links)
            }
        };
        self.links.take(&entry, says_links);
        self.too_many_attributes += u64::from(entry.attributes.as_text().is_none());
        Ok(u64::from(entry.is_file()))
    }
}
