//! `import`: writes the staged copy, or the source itself where nothing was staged, to the target. Into a store: see [`super::send`].
//!
//! **Invariant: a file shows only when it is whole and on the disk.** It is written under a temporary name in its own directory, hashed against the manifest,
//! made durable, and only then renamed, with a rename that never replaces anything.
//! So the target's own files are the checkpoint: a further attempt compares what is there (size, then digest) and writes only what is missing.
//! What a killed attempt left under a temporary name is removed when its directory is reached, but for large files:
//! these are written in parts (see [`super::parts`]) by all threads, the journal says how many parts are on the disk, and the next attempt goes on there.
//!
//! **Judgement: one `syncfs` for a few thousand renames** instead of an `fsync` before each, for the same guarantee (see `upload`).
//! Since Linux 5.8 it also reports errors of writing back.
//!
//! What shows under a name of the manifest and is not in the journal (see [`super::journal`]) is somebody else's; [`Existing`] says what becomes of it.
//! A directory that is there is used. Modes and times are `postprocess`' business; until then everything new is private to this user.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blake3::hazmat::ChainingValue;
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::compare;
use super::content::{Copier, keep_start};
use super::end::End;
use super::entry::{Content, Entry};
use super::error::{At, Error, Side};
use super::fence::Fence;
use super::journal::{Begun, Journal, Line, earlier};
use super::manifest::{self, Reader};
use super::object;
use super::origin::{Opened, Origin, Place, Ranged};
use super::outcome::Outcome;
use super::pace::Throttle;
use super::parts::{Chain, Cut, FETCHED_PART, FILE_PART, Parts, hasher_at, value};
use super::progress::Progress;
use super::records::Site;
use super::settings::Settings;
use super::store::Store;
use super::tree::{Cursor, Dir, Facts, Kind, split};
use super::walk::{Found, Join, Pair};
use super::workspace::{Stopped, Workspace};
use super::{Console, clock, pool, send};

/// Files between two `syncfs`: what a killed attempt loses at most.
const EPOCH: usize = 4096;
/// The same in bytes.
const EPOCH_BYTES: u64 = 256 << 20;

/// What `import` does where the target has a file or object already.
///
/// What this relocation itself has written, and its retries, is known from the journal and never in question.
/// Directories and links that are as they should be are used whoever made them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Existing {
    /// Stops: somebody else's file is not touched, whatever is in it.
    #[default]
    Fail,
    /// Takes a file with the same content as done, and stops at one with another.
    SkipEqual,
    /// Takes a file with the same content as done, and replaces one with another. A directory is never replaced, nor by one.
    Overwrite,
}

impl Existing {
    /// Judges a file with the same content that is not ours.
    pub fn judge_equal(self, path: &[u8]) -> Result<(), Error> {
        match self {
            Self::Fail => Err(Error::Conflict {
                path: path.to_vec(),
                problem: "has the same content but is not from this relocation (--existing=skip-equal takes it as done)",
            }),
            Self::SkipEqual | Self::Overwrite => Ok(()),
        }
    }
}

/// Where data come from and go to, beside the workspace.
#[derive(Debug, Clone)]
pub struct Ends<'a> {
    /// The source, where nothing was staged.
    pub source: Option<&'a End>,
    /// The target.
    pub target: &'a End,
    /// What to do where the target has something.
    pub existing: Existing,
}

/// Runs the step.
pub fn run(ends: &Ends, site: &Site, settings: &Settings, console: &mut Console) -> Result<Outcome, Stopped> {
    let workspace = Workspace::unlock(site, settings)?;
    let totals = manifest::check(&workspace.root)?;
    let reader = Reader::open(&workspace.root)?;
    let origin = Origin::open(&reader.header, ends.source, &workspace)?;
    let target = match ends.target {
        End::Tree(path) => Dir::open_root(path, Side::Target)?,
        End::Store(location) => {
            let store = Store::open(location, Side::Target)?;
            let send = send::Send { store, workspace, origin, existing: ends.existing, totals, settings };
            return send.run(reader, console);
        }
    };
    let fence = Fence::claim(&target, settings.launch.as_ref())?;
    let journal = Journal::open(&workspace.root, settings.sequence(), &ends.target.to_string(), earlier())?;
    let mut progress = Progress::new(console.out, clock::now, totals.files);
    let numbers = AtomicU64::new(0);
    let mut feed = Feed {
        fence: &fence,
        journal: &journal,
        existing: ends.existing,
        join: Join::new(target.clone(), reader)?,
        target: Cursor::new(target.clone()),
        origin,
        numbers: &numbers,
        begun: begun_inodes(&journal),
        parts: Parts::default(),
        leftovers: 0,
        resumed: 0,
    };
    let mut sink = Sink {
        fence: &fence,
        journal: &journal,
        existing: ends.existing,
        root: &target,
        firsts: Cursor::new(target.clone()),
        pending: Vec::new(),
        pending_bytes: 0,
        large: None,
        counts: Counts::default(),
    };
    let writing =
        Writing { fence: &fence, journal: &journal, existing: ends.existing, throttle: &settings.pace.throttle };
    let written = pool::in_order(
        settings.pace.threads(),
        || feed.piece(),
        |copier, piece| writing.work(copier, piece, &numbers),
        |done| {
            sink.take(done)?;
            if sink.pending.len() < EPOCH && sink.pending_bytes < EPOCH_BYTES {
                return Ok(());
            }
            sink.commit(&mut progress)
        },
    );
    // Also when it failed: what is whole shall not be written again.
    let committed = sink.commit(&mut progress).and_then(|()| sink.checkpoint());
    written.and(committed)?;
    rustix::fs::syncfs(&target).at("write", Side::Target, b".").map_err(Stopped::from)?;
    progress.finish();
    let Counts { written, bytes, present, replaced, not_linked } = sink.counts;
    let resumed = feed.resumed;
    let bytes = bytes.saturating_sub(resumed);
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", totals.files),
            ("written", written),
            ("writtenBytes", bytes),
            // Of large files that an earlier attempt had begun.
            ("resumedBytes", resumed),
            ("alreadyThere", present),
            ("replaced", replaced),
            ("leftoversRemoved", feed.leftovers),
            ("hardLinksNotKept", not_linked),
        ]),
        ..Outcome::said(format!(
            "all {} entries are at the target: {written} files ({bytes} bytes) written, {present} were there already",
            totals.entries
        ))
    })
}

/// One path on its way to the target.
enum Piece {
    /// A directory or link, made or found as it should be.
    Made,
    /// A file that is there and may be right.
    Check { entry: Entry, found: Found, from: Place },
    /// A file to write.
    Copy { entry: Entry, from: Place, to: Dir },
    /// A part of a large file to write.
    Part { large: Arc<Large>, number: u64 },
    /// A further name of a file that comes earlier.
    Again { entry: Entry, to: Dir },
}

/// A file that is written in parts.
#[derive(Debug)]
struct Large {
    entry: Entry,
    cut: Cut,
    from: Place,
    ranged: Ranged,
    to: Dir,
    /// Its temporary name.
    name: String,
    file: OwnedFd,
    ino: u64,
    /// What an earlier attempt has written.
    begun: Chain,
}

/// The inodes of files that an earlier attempt has begun.
fn begun_inodes(journal: &Journal) -> HashSet<u64> {
    let ino = |begun: &Begun| match begun {
        Begun::File { ino, .. } => Some(*ino),
        Begun::Upload { .. } => None,
    };
    journal.begun().filter_map(ino).collect()
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match self {
            Self::Check { entry, .. } | Self::Copy { entry, .. } => match entry.content {
                Content::File { size, .. } => size,
                Content::Directory { .. } | Content::Link { .. } => 0,
            },
            Self::Part { large, number } => large.cut.length(*number),
            Self::Made | Self::Again { .. } => 0,
        }
    }
}

/// Turns manifest and target into pieces of work, in order. Directories and links are made right here, so a file's directory is there before the file.
struct Feed<'a> {
    fence: &'a Fence,
    journal: &'a Journal,
    existing: Existing,
    join: Join,
    target: Cursor,
    origin: Origin,
    numbers: &'a AtomicU64,
    /// The inodes of files that an earlier attempt has begun.
    begun: HashSet<u64>,
    /// The parts of a large file that are still to be handed out.
    parts: Parts<Large>,
    leftovers: u64,
    resumed: u64,
}

impl Feed<'_> {
    fn piece(&mut self) -> Result<Option<Piece>, Error> {
        if let Some((large, number)) = self.parts.next_part() {
            return Ok(Some(Piece::Part { large, number }));
        }
        let Some(pair) = self.join.next_pair()? else { return Ok(None) };
        let piece = match pair {
            Pair::Missing(entry) => self.make(entry)?,
            Pair::Both(entry, found) => self.meet(entry, found)?,
            Pair::Extra(found) => self.meet_extra(&found)?,
        };
        Ok(Some(piece))
    }

    fn make(&mut self, entry: Entry) -> Result<Piece, Error> {
        let path = entry.path.as_bytes();
        let name = split(path).1;
        let to = self.target.parent(path)?;
        let made = match &entry.content {
            Content::File { link_of: None, .. } => {
                let from = self.origin.place(path)?;
                return self.copy(entry, from, to);
            }
            Content::File { link_of: Some(_), .. } => return Ok(Piece::Again { entry, to }),
            Content::Directory { .. } => {
                self.fence.check()?;
                self.journal.add(&Line::Directory { directory: entry.path.clone() })?;
                self.journal.flush()?;
                to.create_dir(name)
            }
            Content::Link { target } => {
                self.fence.check()?;
                self.journal.add(&Line::Link { link: entry.path.clone() })?;
                self.journal.flush()?;
                rustix::fs::symlinkat(target.as_bytes(), &to, name)
            }
        };
        match made {
            Ok(()) => Ok(Piece::Made),
            Err(Errno::EXIST) => came_meanwhile(&entry, &to).map(|()| Piece::Made),
            Err(errno) => Err(errno).at("create", Side::Target, path),
        }
    }

    /// A file to write: as a whole, or in parts if it is large.
    fn copy(&mut self, entry: Entry, from: Place, to: Dir) -> Result<Piece, Error> {
        let Content::File { size, .. } = entry.content else { unreachable!("only files are copied") };
        if size <= FILE_PART {
            return Ok(Piece::Copy { entry, from, to });
        }
        let Some(ranged) = from.open_ranged(&entry)? else { return Ok(Piece::Copy { entry, from, to }) };
        let part_size = match ranged {
            Ranged::File { .. } => FILE_PART,
            Ranged::Object { .. } if size <= FETCHED_PART => return Ok(Piece::Copy { entry, from, to }),
            Ranged::Object { .. } => FETCHED_PART,
        };
        let path = entry.path.as_bytes();
        let (name, file, part_size, begun) = match self.reopen(&entry, &to, size)? {
            Some(reopened) => reopened,
            None => self.begin(&entry, &to, size, part_size)?,
        };
        let ino = Facts::of(&file).at("look at", Side::Target, path)?.identity.1;
        let number = begun.count();
        self.resumed += number * part_size;
        let large = Large { entry, cut: Cut { size, part_size }, from, ranged, to, name, file, ino, begun };
        let parts = number..large.cut.count();
        self.parts.begin(large, parts);
        // What has been handed out for this path are its parts.
        Ok(Piece::Made)
    }

    /// A new file under a temporary name.
    fn begin(
        &self,
        entry: &Entry,
        to: &Dir,
        size: u64,
        part_size: u64,
    ) -> Result<(String, OwnedFd, u64, Chain), Error> {
        let path = entry.path.as_bytes();
        let Content::File { digest, .. } = entry.content else { unreachable!("only files are copied") };
        // An earlier file may have had this name, and this inode after it: what is known of that ends before there is another.
        let announce = |name: &[u8]| {
            self.journal.sync(self.journal.add(&Line::Begun {
                begun: entry.path.clone(),
                digest,
                r#as: String::from_utf8_lossy(name).into_owned(),
                ino: 0,
                part_size,
                parts: 0,
                chain: Chain::default().saved(),
            })?)
        };
        let (name, file) = create_temporary(self.fence, self.numbers, to, path, announce)?;
        rustix::fs::ftruncate(&file, size).at("write", Side::Target, path)?;
        Ok((String::from_utf8_lossy(&name).into_owned(), file, part_size, Chain::default()))
    }

    /// The file that an earlier attempt has begun, if all that the journal says of it is there and it is to become the same.
    /// One of ours that is of no use goes at once: there may be no room for two.
    fn reopen(&self, entry: &Entry, to: &Dir, size: u64) -> Result<Option<(String, OwnedFd, u64, Chain)>, Error> {
        let Some(Begun::File { digest: begun, name, ino, part_size, chain }) = self.journal.begun_of(&entry.path)
        else {
            return Ok(None);
        };
        let path = entry.path.as_bytes();
        let Content::File { digest, .. } = &entry.content else { unreachable!("only files are copied") };
        let file = match to.open_file_to_write(name.as_bytes()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::STALE | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno).at("open", Side::Target, path),
        };
        let facts = Facts::of(&file).at("look at", Side::Target, path)?;
        if facts.identity.1 != *ino {
            return Ok(None);
        }
        let is_of_use =
            begun == digest && facts.size == size && chain.count() < (Cut { size, part_size: *part_size }).count();
        if !is_of_use {
            if self.fence.is_leftover(name.as_bytes()) {
                self.fence.check()?;
                to.remove_file(name.as_bytes()).at("remove", Side::Target, path)?;
            }
            return Ok(None);
        }
        keep_start(&file, chain.count() * *part_size, size).at("write", Side::Target, path)?;
        Ok(Some((name.clone(), file, *part_size, chain.clone())))
    }

    /// What is not in the manifest is somebody else's, unless its name says that a killed attempt of ours left it.
    fn meet_extra(&mut self, found: &Found) -> Result<Piece, Error> {
        if self.begun.contains(&found.facts.identity.1) {
            // Its turn comes. What is not gone on with, `postprocess` removes.
            return Ok(Piece::Made);
        }
        if self.fence.is_leftover(found.name()) {
            self.fence.check()?;
            found.parent.remove_file(found.name()).at("remove", Side::Target, &found.path)?;
            self.leftovers += 1;
        }
        Ok(Piece::Made)
    }

    fn meet(&mut self, entry: Entry, found: Found) -> Result<Piece, Error> {
        if let Some(difference) = compare::outside(&entry, &found.parent, &found.facts)? {
            let is_file = entry.is_file() && found.facts.kind == Kind::File;
            if is_file && self.existing == Existing::Overwrite {
                let from = self.origin.place(entry.path.as_bytes())?;
                return self.copy(entry, from, found.parent);
            }
            return Err(Error::Conflict { path: found.path, problem: difference.phrase() });
        }
        match &entry.content {
            Content::Link { .. } => Ok(Piece::Made),
            Content::Directory { .. } => {
                found.parent.grant_owner(found.name(), &found.facts, Mode::RWXU).at(
                    "set the mode of",
                    Side::Target,
                    &found.path,
                )?;
                Ok(Piece::Made)
            }
            Content::File { .. } => {
                let from = self.origin.place(entry.path.as_bytes())?;
                Ok(Piece::Check { entry, found, from })
            }
        }
    }
}

/// Creates a file under a temporary name, which `announce` learns before.
/// By hand every attempt has the same names, and one that was killed may have left some that are not removed yet.
fn create_temporary(
    fence: &Fence,
    numbers: &AtomicU64,
    to: &Dir,
    path: &[u8],
    announce: impl Fn(&[u8]) -> Result<(), Error>,
) -> Result<(Vec<u8>, OwnedFd), Error> {
    loop {
        let name = fence.temporary(numbers.fetch_add(1, Ordering::Relaxed));
        announce(&name)?;
        match to.create_file(&name) {
            Err(Errno::EXIST) => {}
            created => return Ok((name, created.at("create", Side::Target, path)?)),
        }
    }
}

/// Something has appeared between looking and writing: fine if it is what we were about to write.
fn came_meanwhile(entry: &Entry, parent: &Dir) -> Result<(), Error> {
    let path = entry.path.as_bytes();
    let facts = parent.look(split(path).1).at("look at", Side::Target, path)?;
    let Some(facts) = facts else {
        return Err(Errno::STALE).at("create", Side::Target, path);
    };
    match compare::whole(entry, parent, &facts)? {
        None => Ok(()),
        Some(difference) => Err(Error::Conflict { path: path.to_vec(), problem: difference.phrase() }),
    }
}

/// What the sink still has to do for a path.
enum Done {
    Nothing,
    Present(Entry, Found),
    Publish(Entry, Temporary),
    Part(Arc<Large>, ChainingValue),
    Link(Entry, Dir),
}

/// What the workers share.
struct Writing<'a> {
    fence: &'a Fence,
    journal: &'a Journal,
    existing: Existing,
    throttle: &'a Throttle,
}

impl Writing<'_> {
    fn work(&self, copier: &mut Copier, piece: Piece, numbers: &AtomicU64) -> Result<Done, Error> {
        match piece {
            Piece::Made => Ok(Done::Nothing),
            Piece::Again { entry, to } => Ok(Done::Link(entry, to)),
            Piece::Check { entry, found, from } => match compare::whole(&entry, &found.parent, &found.facts)? {
                None => {
                    if self.journal.known(&entry.path).is_none() {
                        self.existing.judge_equal(&found.path)?;
                    }
                    Ok(Done::Present(entry, found))
                }
                Some(_) if self.existing == Existing::Overwrite => {
                    self.copy(copier, entry, &from, found.parent, numbers)
                }
                Some(difference) => Err(Error::Conflict { path: found.path, problem: difference.phrase() }),
            },
            Piece::Copy { entry, from, to } => self.copy(copier, entry, &from, to, numbers),
            Piece::Part { large, number } => self.copy_part(copier, large, number),
        }
    }

    fn copy_part(&self, copier: &mut Copier, large: Arc<Large>, number: u64) -> Result<Done, Error> {
        let path = large.entry.path.as_bytes();
        self.fence.check()?;
        let range = large.cut.range(number);
        let mut hasher = hasher_at(range.start);
        let to = Some((&large.file, Side::Target));
        let end = large.ranged.copy(copier, path, range.clone(), to, &mut hasher, self.throttle)?;
        if end != range.end {
            return Err(large.from.differs(path, "is shorter than the manifest says"));
        }
        Ok(Done::Part(large, value(&hasher)))
    }

    fn copy(
        &self,
        copier: &mut Copier,
        entry: Entry,
        from: &Place,
        to: Dir,
        numbers: &AtomicU64,
    ) -> Result<Done, Error> {
        let path = entry.path.as_bytes();
        let Content::File { size, digest, about, .. } = &entry.content else { unreachable!("only files are copied") };
        let mut opened = from.open(&entry)?;
        let (name, file) = create_temporary(self.fence, numbers, &to, path, |_| Ok(()))?;
        let ino = Facts::of(&file).at("look at", Side::Target, path)?.identity.1;
        let temporary = Temporary { parent: to, name, ino, is_published: false };
        let (length, now) = match &mut opened {
            // This way holes are kept.
            Opened::File { fd, facts, side } => copier
                .copy(fd, facts, &file, self.throttle)
                .map_err(|failed| failed.into_error(*side, Side::Target, path))?,
            Opened::Object(_) | Opened::Packed(_) => copier.copy_stream(
                |offset, buffer| opened.fill(path, offset, buffer, self.throttle),
                Some(&file),
                object::zeros(about),
                |source| Error::access("write", Side::Target, path, source),
            )?,
        };
        if length != *size || now != *digest {
            return Err(from.differs(path, "has other content than the manifest says"));
        }
        Ok(Done::Publish(entry, temporary))
    }
}

/// A file under its temporary name; removed unless it is published, so that a step that fails leaves its room to others.
struct Temporary {
    parent: Dir,
    name: Vec<u8>,
    ino: u64,
    is_published: bool,
}

impl Temporary {
    /// Gives the file its name and takes that from the file which has it.
    fn replace(mut self, entry: &Entry) -> Result<(), Error> {
        let path = entry.path.as_bytes();
        rustix::fs::renameat(&self.parent, &self.name, &self.parent, split(path).1).at("rename", Side::Target, path)?;
        self.is_published = true;
        Ok(())
    }

    /// Gives the file its name, if that name is free.
    fn publish(mut self, entry: &Entry) -> Result<(), Error> {
        let path = entry.path.as_bytes();
        let (parent, name) = (&self.parent, split(path).1);
        let renamed = rustix::fs::renameat_with(parent, &self.name, parent, name, RenameFlags::NOREPLACE);
        let renamed = match renamed {
            // NFS and some others: a link does not replace either, and the temporary name goes on drop.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(parent, &self.name, parent, name, AtFlags::empty())
            }
            Ok(()) => {
                self.is_published = true;
                Ok(())
            }
            Err(errno) => Err(errno),
        };
        match renamed {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => came_meanwhile(entry, parent),
            Err(errno) => Err(errno).at("rename", Side::Target, path),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_published {
            // The next attempt removes it if this fails.
            let _ = self.parent.remove_file(&self.name);
        }
    }
}

#[derive(Default)]
struct Counts {
    written: u64,
    bytes: u64,
    present: u64,
    replaced: u64,
    not_linked: u64,
}

/// A large file whose parts come in order.
struct Growing {
    large: Arc<Large>,
    /// The parts up to here.
    chain: Chain,
    /// Bytes that the journal does not know of.
    unsaved: u64,
}

/// Takes finished work in order, makes it durable and gives it its names.
struct Sink<'a> {
    fence: &'a Fence,
    journal: &'a Journal,
    existing: Existing,
    root: &'a Dir,
    firsts: Cursor,
    pending: Vec<Done>,
    pending_bytes: u64,
    /// The large file that is being written, and its parts up to here.
    large: Option<Growing>,
    counts: Counts,
}

impl Sink<'_> {
    fn take(&mut self, done: Done) -> Result<(), Error> {
        let done = match done {
            Done::Nothing => return Ok(()),
            Done::Part(large, value) => match self.take_part(large, value)? {
                Some(done) => done,
                None => return Ok(()),
            },
            Done::Publish(..) | Done::Present(..) | Done::Link(..) => done,
        };
        if let Done::Publish(Entry { content: Content::File { size, .. }, .. }, _) = &done {
            self.pending_bytes += size;
        }
        self.pending.push(done);
        Ok(())
    }

    /// Takes the next part of a large file. After the last one the file can get its name, if it is what the manifest says.
    fn take_part(&mut self, large: Arc<Large>, value: ChainingValue) -> Result<Option<Done>, Error> {
        let mut begun = self.large.take().unwrap_or_else(|| Growing { chain: large.begun.clone(), unsaved: 0, large });
        begun.chain.push(value);
        begun.unsaved += begun.large.cut.part_size;
        if begun.chain.count() < begun.large.cut.count() {
            let is_due = begun.unsaved >= EPOCH_BYTES;
            self.large = Some(begun);
            return if is_due { self.checkpoint().map(|()| None) } else { Ok(None) };
        }
        let Large { entry, from, to, name, ino, .. } = &*begun.large;
        let temporary =
            Temporary { parent: to.clone(), name: name.clone().into_bytes(), ino: *ino, is_published: false };
        let Content::File { digest, .. } = &entry.content else { unreachable!("only files are copied") };
        if begun.chain.digest() != Some(*digest) {
            return Err(from.differs(entry.path.as_bytes(), "has other content than the manifest says"));
        }
        Ok(Some(Done::Publish(entry.clone(), temporary)))
    }

    /// Makes the parts of the large file durable that is being written, and writes that down.
    fn checkpoint(&mut self) -> Result<(), Error> {
        let Some(Growing { large, chain, unsaved }) = &mut self.large else { return Ok(()) };
        if *unsaved == 0 {
            return Ok(());
        }
        rustix::fs::fdatasync(&large.file).at("write", Side::Target, large.entry.path.as_bytes())?;
        let Content::File { digest, .. } = large.entry.content else { unreachable!("only files are copied") };
        let place = self.journal.add(&Line::Begun {
            begun: large.entry.path.clone(),
            digest,
            r#as: large.name.clone(),
            ino: large.ino,
            part_size: large.cut.part_size,
            parts: chain.count(),
            chain: chain.saved(),
        })?;
        *unsaved = 0;
        self.journal.sync(place)
    }

    fn commit(&mut self, progress: &mut Progress) -> Result<(), Error> {
        if self.pending_bytes > 0 || self.pending.iter().any(|done| matches!(done, Done::Publish(..))) {
            rustix::fs::syncfs(self.root).at("write", Side::Target, b".")?;
        }
        self.pending_bytes = 0;
        self.record()?;
        for done in std::mem::take(&mut self.pending) {
            match done {
                Done::Nothing | Done::Part(..) => {}
                Done::Present(entry, found) => {
                    self.counts.present += 1;
                    if let Content::File { link_of: Some(first), .. } = &entry.content {
                        let first = self.look(first.as_bytes())?;
                        self.counts.not_linked +=
                            u64::from(first.is_none_or(|first| first.identity != found.facts.identity));
                    }
                }
                Done::Publish(entry, temporary) => {
                    self.fence.check()?;
                    if self.replaces(&entry, &temporary.parent)? {
                        temporary.replace(&entry)?;
                        self.counts.replaced += 1;
                    } else {
                        temporary.publish(&entry)?;
                    }
                    self.counts.written += 1;
                    if let Content::File { size, .. } = entry.content {
                        self.counts.bytes += size;
                    }
                }
                Done::Link(entry, to) => {
                    self.fence.check()?;
                    self.link(&entry, &to)?;
                    self.counts.written += 1;
                }
            }
            progress.advance(1);
        }
        Ok(())
    }

    /// Writes down what is about to show, and returns when that is on the disk.
    fn record(&mut self) -> Result<(), Error> {
        let mut last = None;
        for done in &self.pending {
            let line = match done {
                Done::Nothing | Done::Part(..) | Done::Present(..) => continue,
                Done::Publish(entry, temporary) => {
                    if self.replaces(entry, &temporary.parent)? {
                        self.journal.add(&Line::Replaces { replaces: entry.path.clone() })?;
                    }
                    Line::File { file: entry.path.clone(), ino: temporary.ino }
                }
                Done::Link(entry, _) => {
                    let Content::File { link_of: Some(first), .. } = &entry.content else { continue };
                    // Its first name may be in this same batch and have no name yet; the manifest knows that it is the same file.
                    Line::Again { again: entry.path.clone(), of: first.clone() }
                }
            };
            last = Some(self.journal.add(&line)?);
        }
        last.map_or(Ok(()), |place| self.journal.sync(place))
    }

    /// Whether something has the name already: only with `--existing=overwrite` does a file get this far then.
    fn replaces(&self, entry: &Entry, parent: &Dir) -> Result<bool, Error> {
        if self.existing != Existing::Overwrite {
            return Ok(false);
        }
        let path = entry.path.as_bytes();
        let there = parent.look(split(path).1).at("look at", Side::Target, path)?;
        Ok(there.is_some_and(|there| there.kind == Kind::File))
    }

    fn link(&mut self, entry: &Entry, to: &Dir) -> Result<(), Error> {
        let Content::File { link_of: Some(first), .. } = &entry.content else {
            unreachable!("only further names are linked")
        };
        let (path, first) = (entry.path.as_bytes(), first.as_bytes());
        let parent = self.firsts.parent(first)?;
        match rustix::fs::linkat(&parent, split(first).1, to, split(path).1, AtFlags::empty()) {
            Err(Errno::EXIST) => came_meanwhile(entry, to),
            other => other.at("link", Side::Target, path),
        }
    }

    fn look(&mut self, path: &[u8]) -> Result<Option<Facts>, Error> {
        self.firsts.parent(path)?.look(split(path).1).at("look at", Side::Target, path)
    }
}
