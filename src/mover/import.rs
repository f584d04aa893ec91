//! `import`: writes the staged copy to the target.
//!
//! **Invariant: a file shows only when it is whole and on the disk.** It is written under a temporary name in its own directory, hashed against the manifest,
//! made durable, and only then renamed, with a rename that never replaces anything.
//! So the target's own files are the checkpoint: a further attempt compares what is there (size, then digest) and writes only what is missing.
//! What a killed attempt left under a temporary name is removed when its directory is reached.
//!
//! **Judgement: one `syncfs` for a few thousand renames** instead of an `fsync` before each, for the same guarantee (see `upload`).
//! Since Linux 5.8 it also reports errors of writing back.
//!
//! A file that is there, is not what the manifest says and so is not ours stops the step; nothing is ever overwritten.
//! A directory that is there is used. Modes and times are `postprocess`' business; until then everything new is private to this user.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::compare;
use super::content::Copier;
use super::entry::{Content, Entry};
use super::error::{At, Error, Side};
use super::fence::Fence;
use super::manifest::{self, Reader};
use super::outcome::Outcome;
use super::progress::Progress;
use super::settings::Settings;
use super::tree::{Cursor, Dir, Facts, split};
use super::walk::{Found, Join, Pair};
use super::workspace::{Stopped, Workspace};
use super::{Console, clock, pool};

/// Files between two `syncfs`: what a killed attempt loses at most.
const EPOCH: usize = 4096;
/// The same in bytes.
const EPOCH_BYTES: u64 = 256 << 20;

/// Runs the step.
pub fn run(target: &Path, workspace: &Path, settings: &Settings, console: &mut Console) -> Result<Outcome, Stopped> {
    let workspace = Workspace::open(workspace)?;
    let totals = manifest::check(&workspace.root)?;
    let data = workspace.data()?;
    let target = Dir::open_root(target, Side::Target)?;
    let fence = Fence::claim(&target, settings.launch.as_ref())?;
    let mut progress = Progress::new(console.out, clock::now, totals.files);
    let mut feed = Feed {
        fence: &fence,
        join: Join::new(target.clone(), Reader::open(&workspace.root)?)?,
        target: Cursor::new(target.clone()),
        staged: Cursor::new(data),
        leftovers: 0,
    };
    let mut sink = Sink {
        fence: &fence,
        root: &target,
        firsts: Cursor::new(target.clone()),
        pending: Vec::new(),
        pending_bytes: 0,
        counts: Counts::default(),
    };
    let numbers = AtomicU64::new(0);
    let written = pool::in_order(
        || feed.piece(),
        |copier, piece| work(copier, piece, &fence, &numbers),
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
    let Counts { written, bytes, present, not_linked } = sink.counts;
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", totals.files),
            ("written", written),
            ("writtenBytes", bytes),
            ("alreadyThere", present),
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
    Check { entry: Entry, found: Found },
    /// A file to write.
    Copy { entry: Entry, from: Dir, to: Dir },
    /// A further name of a file that comes earlier.
    Again { entry: Entry, to: Dir },
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match self {
            Self::Check { entry, .. } | Self::Copy { entry, .. } => match entry.content {
                Content::File { size, .. } => size,
                Content::Directory | Content::Link { .. } => 0,
            },
            Self::Made | Self::Again { .. } => 0,
        }
    }
}

/// Turns manifest and target into pieces of work, in order. Directories and links are made right here, so a file's directory is there before the file.
struct Feed<'a> {
    fence: &'a Fence,
    join: Join,
    target: Cursor,
    staged: Cursor,
    leftovers: u64,
}

impl Feed<'_> {
    fn piece(&mut self) -> Result<Option<Piece>, Error> {
        let Some(pair) = self.join.next_pair()? else { return Ok(None) };
        let piece = match pair {
            Pair::Missing(entry) => self.make(entry)?,
            Pair::Both(entry, found) => meet(entry, found)?,
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
                let from = self.staged_parent(path)?;
                return Ok(Piece::Copy { entry, from, to });
            }
            Content::File { link_of: Some(_), .. } => return Ok(Piece::Again { entry, to }),
            Content::Directory => {
                self.fence.check()?;
                to.create_dir(name)
            }
            Content::Link { target } => {
                self.fence.check()?;
                rustix::fs::symlinkat(target.as_bytes(), &to, name)
            }
        };
        match made {
            Ok(()) => Ok(Piece::Made),
            Err(Errno::EXIST) => came_meanwhile(&entry, &to).map(|()| Piece::Made),
            Err(errno) => Err(errno).at("create", Side::Target, path),
        }
    }

    fn staged_parent(&mut self, path: &[u8]) -> Result<Dir, Error> {
        match self.staged.parent(path) {
            // The stage is ours alone, so a directory that is not there does not come back.
            Err(Error::Access { path, source, .. }) if is_gone(&source) => {
                Err(Error::StageDiffers { path, problem: "is missing" })
            }
            other => other,
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
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

fn meet(entry: Entry, found: Found) -> Result<Piece, Error> {
    if let Some(difference) = compare::outside(&entry, &found.parent, &found.facts)? {
        return Err(Error::Conflict { path: found.path, problem: difference.phrase() });
    }
    match &entry.content {
        Content::Link { .. } => Ok(Piece::Made),
        Content::Directory => {
            found.parent.grant_owner(found.name(), &found.facts, Mode::RWXU).at(
                "set the mode of",
                Side::Target,
                &found.path,
            )?;
            Ok(Piece::Made)
        }
        Content::File { .. } => Ok(Piece::Check { entry, found }),
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

fn work(copier: &mut Copier, piece: Piece, fence: &Fence, numbers: &AtomicU64) -> Result<Done, Error> {
    match piece {
        Piece::Made => Ok(Done::Nothing),
        Piece::Again { entry, to } => Ok(Done::Link(entry, to)),
        Piece::Check { entry, found } => match compare::whole(&entry, &found.parent, &found.facts)? {
            None => Ok(Done::Present(entry, found)),
            Some(difference) => Err(Error::Conflict { path: found.path, problem: difference.phrase() }),
        },
        Piece::Copy { entry, from, to } => {
            let name = fence.temporary(numbers.fetch_add(1, Ordering::Relaxed));
            let temporary = copy(copier, &entry, &from, to, name)?;
            Ok(Done::Publish(entry, temporary))
        }
    }
}

fn copy(copier: &mut Copier, entry: &Entry, from: &Dir, to: Dir, temporary: Vec<u8>) -> Result<Temporary, Error> {
    let path = entry.path.as_bytes();
    let Content::File { size, digest, .. } = &entry.content else { unreachable!("only files are copied") };
    let differs = |problem| Error::StageDiffers { path: path.to_vec(), problem };
    let staged = match from.open_file(split(path).1) {
        Err(Errno::NOENT) => return Err(differs("is missing")),
        Err(Errno::LOOP | Errno::STALE) => return Err(differs("is no file")),
        other => other.at("open", Side::Workspace, path)?,
    };
    let facts = Facts::of(&staged).at("look at", Side::Workspace, path)?;
    if facts.size != *size {
        return Err(differs("has another size than the manifest says"));
    }
    let file = to.create_file(&temporary).at("create", Side::Target, path)?;
    let temporary = Temporary { parent: to, name: temporary, is_published: false };
    let (length, now) =
        copier.copy(&staged, &facts, &file).map_err(|failed| failed.into_error(Side::Workspace, Side::Target, path))?;
    if length != *size || now != *digest {
        return Err(differs("has other content than the manifest says"));
    }
    Ok(temporary)
}

/// A file under its temporary name; removed unless it is published, so that a step that fails leaves its room to others.
struct Temporary {
    parent: Dir,
    name: Vec<u8>,
    is_published: bool,
}

impl Temporary {
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
    not_linked: u64,
}

/// Takes finished work in order, makes it durable and gives it its names.
struct Sink<'a> {
    fence: &'a Fence,
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
                    temporary.publish(&entry)?;
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
