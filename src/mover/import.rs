//! `import`: writes the staged copy, or the source itself where nothing was staged, to the target. Into a store: see [`super::send`].
//!
//! **Invariant: a file shows only when it is whole and on the disk.** It is written under a temporary name in its own directory, hashed against the manifest,
//! made durable, and only then renamed, with a rename that never replaces anything.
//! So the target's own files are the checkpoint: a further attempt compares what is there (size, then digest) and writes only what is missing.
//! What a killed attempt left under a temporary name is removed when its directory is reached.
//!
//! **Judgement: one `syncfs` for a few thousand renames** instead of an `fsync` before each, for the same guarantee (see `upload`).
//! Since Linux 5.8 it also reports errors of writing back.
//!
//! What shows under a name of the manifest and is not in the journal (see [`super::journal`]) is somebody else's; [`Existing`] says what becomes of it.
//! A directory that is there is used. Modes and times are `postprocess`' business; until then everything new is private to this user.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::compare;
use super::content::Copier;
use super::end::End;
use super::entry::{Content, Entry};
use super::error::{At, Error, Side};
use super::fence::Fence;
use super::journal::{Journal, Line, earlier};
use super::manifest::{self, Reader};
use super::origin::{Opened, Origin, Place};
use super::outcome::Outcome;
use super::pace::Throttle;
use super::progress::Progress;
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
pub fn run(ends: &Ends, workspace: &Path, settings: &Settings, console: &mut Console) -> Result<Outcome, Stopped> {
    let workspace = Workspace::open(workspace)?;
    let totals = manifest::check(&workspace.root)?;
    let reader = Reader::open(&workspace.root)?;
    let origin = Origin::open(reader.header.staging, ends.source, &workspace)?;
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
    let mut feed = Feed {
        fence: &fence,
        journal: &journal,
        existing: ends.existing,
        join: Join::new(target.clone(), reader)?,
        target: Cursor::new(target.clone()),
        origin,
        leftovers: 0,
    };
    let mut sink = Sink {
        fence: &fence,
        journal: &journal,
        existing: ends.existing,
        root: &target,
        firsts: Cursor::new(target.clone()),
        pending: Vec::new(),
        pending_bytes: 0,
        counts: Counts::default(),
    };
    let writing =
        Writing { fence: &fence, journal: &journal, existing: ends.existing, throttle: &settings.pace.throttle };
    let numbers = AtomicU64::new(0);
    let written = pool::in_order(
        settings.pace.threads(),
        || feed.piece(),
        |copier, piece| writing.work(copier, piece, &numbers),
        |done| {
            sink.take(done);
            if sink.pending.len() < EPOCH && sink.pending_bytes < EPOCH_BYTES {
                return Ok(());
            }
            sink.commit(&mut progress)
        },
    );
    // Also when it failed: what is whole shall not be written again.
    let committed = sink.commit(&mut progress);
    written.and(committed)?;
    rustix::fs::syncfs(&target).at("write", Side::Target, b".").map_err(Stopped::from)?;
    progress.finish();
    let Counts { written, bytes, present, replaced, not_linked } = sink.counts;
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", totals.files),
            ("written", written),
            ("writtenBytes", bytes),
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
    /// A further name of a file that comes earlier.
    Again { entry: Entry, to: Dir },
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match self {
            Self::Check { entry, .. } | Self::Copy { entry, .. } => match entry.content {
                Content::File { size, .. } => size,
                Content::Directory { .. } | Content::Link { .. } => 0,
            },
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
    leftovers: u64,
}

impl Feed<'_> {
    fn piece(&mut self) -> Result<Option<Piece>, Error> {
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
                return Ok(Piece::Copy { entry, from, to });
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

    /// What is not in the manifest is somebody else's, unless its name says that a killed attempt of ours left it.
    fn meet_extra(&mut self, found: &Found) -> Result<Piece, Error> {
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
                return Ok(Piece::Copy { entry, from, to: found.parent });
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
        }
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
        let Content::File { size, digest, .. } = &entry.content else { unreachable!("only files are copied") };
        let mut opened = from.open(&entry)?;
        let name = self.fence.temporary(numbers.fetch_add(1, Ordering::Relaxed));
        let file = to.create_file(&name).at("create", Side::Target, path)?;
        let ino = Facts::of(&file).at("look at", Side::Target, path)?.identity.1;
        let temporary = Temporary { parent: to, name, ino, is_published: false };
        let (length, now) = match &mut opened {
            // This way holes are kept.
            Opened::File { fd, facts, side } => copier
                .copy(fd, facts, &file, self.throttle)
                .map_err(|failed| failed.into_error(*side, Side::Target, path))?,
            Opened::Object(_) => copier.copy_stream(
                |offset, buffer| opened.fill(path, offset, buffer, self.throttle),
                Some(&file),
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

/// Takes finished work in order, makes it durable and gives it its names.
struct Sink<'a> {
    fence: &'a Fence,
    journal: &'a Journal,
    existing: Existing,
    root: &'a Dir,
    firsts: Cursor,
    pending: Vec<Done>,
    pending_bytes: u64,
    counts: Counts,
}

impl Sink<'_> {
    fn take(&mut self, done: Done) {
        match &done {
            Done::Nothing => return,
            Done::Publish(Entry { content: Content::File { size, .. }, .. }, _) => self.pending_bytes += size,
            Done::Publish(..) | Done::Present(..) | Done::Link(..) => {}
        }
        self.pending.push(done);
    }

    fn commit(&mut self, progress: &mut Progress) -> Result<(), Error> {
        if self.pending_bytes > 0 || self.pending.iter().any(|done| matches!(done, Done::Publish(..))) {
            rustix::fs::syncfs(self.root).at("write", Side::Target, b".")?;
        }
        self.pending_bytes = 0;
        self.record()?;
        for done in std::mem::take(&mut self.pending) {
            match done {
                Done::Nothing => {}
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
                Done::Nothing | Done::Present(..) => continue,
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
