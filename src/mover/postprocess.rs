//! `postprocess`: reads the target again, compares it with the manifest, and gives everything its mode and time. At a store: see [`super::confirm`].
//!
//! Files get theirs right after they were read and found right; directories last and deepest first,
//! because writing into a directory changes its time, and a read-only one lets nobody in.
//! Nothing of ours remains in the tree afterwards: leftovers of killed attempts go, and so does a fence file.
//! What is at the target and not in the manifest is only counted: it is somebody else's.
//!
//! A setuid or setgid bit is kept on a file only where the file belongs to the same user and group as at the source;
//! otherwise moving a tenant's file would make a program that runs as whoever ran this step. Such files are counted.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::attributes::Turn;
use super::compare;
use super::end::End;
use super::entry::{Content, Entry};
use super::error::{At, Error, Side};
use super::fence::Fence;
use super::manifest::{self, Picker, Reader};
use super::outcome::Outcome;
use super::owners::{Owned, Owners};
use super::progress::Progress;
use super::quoted::Quoted;
use super::records::Site;
use super::settings::Settings;
use super::store::Store;
use super::tree::{Cursor, Dir, Facts, Time, split};
use super::walk::{Found, Join, Pair};
use super::workspace::{Problems, Stopped, Workspace};
use super::{Console, clock, confirm, pool};

/// What differences at the target have in common.
pub const DIFFERS: &str = "paths of the target are not what was imported, so something else writes to it; stop that, and start over with a retry of the relocation";
/// Setuid and setgid.
const SPECIAL: u32 = 0o6000;

/// Runs the step.
pub fn run(
    target: &End,
    owners: Owners,
    site: &Site,
    settings: &Settings,
    console: &mut Console,
) -> Result<Outcome, Stopped> {
    let workspace = Workspace::unlock(site, settings)?;
    let totals = manifest::check(&workspace.root)?;
    let target = match target {
        End::Tree(path) => Dir::open_root(path, Side::Target)?,
        End::Store(location) => {
            let store = Store::open(location, Side::Target)?;
            return confirm::run(&store, &workspace, &totals, settings, console);
        }
    };
    let fence = Fence::claim(&target, settings.launch.as_ref())?;
    let mut problems = Problems::new(&workspace, "reports/postprocess-problems.txt");
    let mut lost = Lost::default();
    let mut progress = Progress::new(console.out, clock::now, totals.files);
    let mut feed = Feed {
        fence: &fence,
        join: Join::new(target.clone(), Reader::open(&workspace.root)?)?,
        firsts: Cursor::new(target.clone()),
        directories: Vec::new(),
        extra: 0,
        leftovers: 0,
    };
    let drain = |finished: Finished| {
        progress.advance(u64::from(finished.is_file));
        if let Some(problem) = finished.problem {
            problems.add(problem);
        }
        lost.add(finished.lost);
        Ok(())
    };
    pool::in_order(
        settings.pace.threads(),
        || feed.piece(),
        |(): &mut (), piece| finish(piece, owners, &fence),
        drain,
    )?;
    let Feed { directories, extra, leftovers, .. } = feed;
    finish_directories(&directories, owners, &workspace, &target, &mut lost)?;
    rustix::fs::syncfs(&target).at("write", Side::Target, b".").map_err(Stopped::from)?;
    progress.finish();
    if let Some(stopped) = problems.into_error(DIFFERS) {
        return Err(stopped);
    }
    fence.clear()?;
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", totals.files),
            ("directories", totals.directories),
            ("links", totals.links),
            ("bytes", totals.bytes),
            ("extra", extra),
            ("leftoversRemoved", leftovers),
            ("modesNotKept", lost.modes),
            ("timesNotKept", lost.times),
            ("specialBitsDropped", lost.special_bits),
            ("hardLinksNotKept", lost.links),
            ("ownersNotKept", lost.owners),
            ("attributesNotKept", lost.attributes),
        ]),
        ..Outcome::said(format!(
            "the target is what the manifest says: {} files, {} directories, {} links, {} bytes; tree digest {}; {extra} other paths are there",
            totals.files, totals.directories, totals.links, totals.bytes, totals.tree_digest
        ))
    })
}

/// How many properties the target does not keep.
#[derive(Debug, Clone, Copy, Default)]
struct Lost {
    modes: u64,
    times: u64,
    special_bits: u64,
    links: u64,
    owners: u64,
    attributes: u64,
}

impl Lost {
    fn add(&mut self, more: Self) {
        let Self { modes, times, special_bits, links, owners, attributes } = more;
        self.modes += modes;
        self.times += times;
        self.special_bits += special_bits;
        self.links += links;
        self.owners += owners;
        self.attributes += attributes;
    }
}

/// One path to look at.
enum Piece {
    Missing(Entry),
    Both { entry: Entry, found: Found, link: Link },
    Ignored,
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match self {
            Self::Both { found, .. } => found.facts.size,
            Self::Missing(_) | Self::Ignored => 0,
        }
    }
}

/// Whether a file's further name is the file that its first name is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    First,
    Same,
    Other,
}

/// Pairs manifest and target in order.
struct Feed<'a> {
    fence: &'a Fence,
    join: Join,
    firsts: Cursor,
    /// Where the directories' lines start: eight bytes each, instead of their paths.
    directories: Vec<u64>,
    extra: u64,
    leftovers: u64,
}

impl Feed<'_> {
    fn piece(&mut self) -> Result<Option<Piece>, Error> {
        let Some(pair) = self.join.next_pair()? else { return Ok(None) };
        let piece = match pair {
            Pair::Missing(entry) => Piece::Missing(entry),
            Pair::Extra(found) => self.meet_extra(&found)?,
            Pair::Both(entry, found) => self.meet(entry, found)?,
        };
        Ok(Some(piece))
    }

    fn meet_extra(&mut self, found: &Found) -> Result<Piece, Error> {
        if self.fence.is_leftover(found.name()) {
            self.fence.check()?;
            found.parent.remove_file(found.name()).at("remove", Side::Target, &found.path)?;
            self.leftovers += 1;
        } else if !self.fence.is_record(&found.path) && !found.facts.is_lost_and_found(&found.path) {
            self.extra += 1;
        }
        Ok(Piece::Ignored)
    }

    fn meet(&mut self, entry: Entry, found: Found) -> Result<Piece, Error> {
        let mut link = Link::First;
        if compare::outside(&entry, &found.parent, &found.facts)?.is_none() {
            let grant = |mode| {
                found.parent.grant_owner(found.name(), &found.facts, mode).at(
                    "set the mode of",
                    Side::Target,
                    &found.path,
                )
            };
            match &entry.content {
                Content::Directory { .. } => {
                    // An earlier run of this step may have closed it to us.
                    grant(Mode::RWXU)?;
                    self.directories.push(self.join.offset);
                }
                Content::File { link_of, .. } => {
                    grant(Mode::RUSR)?;
                    if let Some(first) = link_of {
                        link = self.link(first.as_bytes(), &found.facts)?;
                    }
                }
                Content::Link { .. } => {}
            }
        }
        Ok(Piece::Both { entry, found, link })
    }

    fn link(&mut self, first: &[u8], facts: &Facts) -> Result<Link, Error> {
        // A first name whose directory is gone is reported as missing itself.
        let Ok(parent) = self.firsts.parent(first) else {
            return Ok(Link::Other);
        };
        let first = parent.look(split(first).1).at("look at", Side::Target, first)?;
        Ok(if first.is_some_and(|first| first.identity == facts.identity) { Link::Same } else { Link::Other })
    }
}

struct Finished {
    is_file: bool,
    problem: Option<String>,
    lost: Lost,
}

/// Compares one path and, if it is right and no directory, gives it its mode and time.
fn finish(piece: Piece, owners: Owners, fence: &Fence) -> Result<Finished, Error> {
    let (entry, found, link) = match piece {
        Piece::Ignored => {
            return Ok(Finished { is_file: false, problem: None, lost: Lost::default() });
        }
        Piece::Missing(entry) => {
            let problem = Some(format!("{} is missing at the target", Quoted(entry.path.as_bytes())));
            return Ok(Finished {
                is_file: matches!(entry.content, Content::File { .. }),
                problem,
                lost: Lost::default(),
            });
        }
        Piece::Both { entry, found, link } => (entry, found, link),
    };
    let path = entry.path.as_bytes();
    let is_file = matches!(entry.content, Content::File { .. });
    // The first name has been read, and this is the same file.
    let difference = match link {
        Link::Same => compare::outside(&entry, &found.parent, &found.facts)?,
        Link::First | Link::Other => compare::whole(&entry, &found.parent, &found.facts)?,
    };
    if let Some(difference) = difference {
        let problem = Some(format!("{} of the target {difference}", Quoted(path)));
        return Ok(Finished { is_file, problem, lost: Lost::default() });
    }
    let mut lost =
        match &entry.content {
            Content::Directory { .. } => Lost::default(),
            Content::File { .. } if link == Link::Same => Lost::default(),
            Content::File { .. } => {
                fence.check()?;
                let file = found.parent.open_file(found.name()).at("open", Side::Target, path)?;
                settle(&entry, owners, &file)?
            }
            Content::Link { .. } => {
                fence.check()?;
                rustix::fs::utimensat(&found.parent, found.name(), &stamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
                    .at("set the time of", Side::Target, path)?;
                let owned = owners.settle_link(&entry, &found.facts, &found.parent, found.name())?;
                let now = found.parent.look(found.name()).at("look at", Side::Target, path)?;
                Lost {
                    times: u64::from(!now.is_some_and(|now| is_close(now.mtime, entry.mtime))),
                    owners: u64::from(owned == Owned::Not),
                    ..Lost::default()
                }
            }
        };
    lost.links = u64::from(link == Link::Other);
    Ok(Finished { is_file, problem: None, lost })
}

fn finish_directories(
    offsets: &[u64],
    owners: Owners,
    workspace: &Workspace,
    target: &Dir,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut picker = Picker::open(&workspace.root)?;
    let mut cursor = Cursor::new(target.clone());
    for offset in offsets.iter().rev() {
        let entry = picker.pick(*offset)?;
        let path = entry.path.as_bytes();
        let dir = cursor.parent(path)?.open_dir(split(path).1).at("open", Side::Target, path)?;
        lost.add(settle(&entry, owners, &dir)?);
    }
    Ok(())
}

/// Gives an open file or directory its attributes, mode, time and owner, and looks whether they stuck.
///
/// The owner comes last, because whoever has given a file away may no longer change it without a further capability.
/// Only setuid and setgid, which the kernel takes when the owner changes, are set after it.
fn settle(entry: &Entry, owners: Owners, fd: impl AsFd) -> Result<Lost, Error> {
    let path = entry.path.as_bytes();
    let look = || Facts::of(&fd).at("look at", Side::Target, path);
    let plain_attributes = entry.attributes.settle(Turn::BeforeMode, path, &fd)?;
    let before = look()?;
    let is_special = !entry.is_directory() && entry.mode & SPECIAL != 0;
    let plain = if is_special { entry.mode & !SPECIAL } else { entry.mode };
    let is_ready = (before.uid, before.gid, before.mode) == (entry.uid, entry.gid, entry.mode);
    if !is_ready && before.mode != plain {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(plain)).at("set the mode of", Side::Target, path)?;
    }
    // What is only implied has no time of its own.
    let mtime = match entry.content {
        Content::Directory { is_implied: true } => before.mtime,
        Content::Directory { is_implied: false } | Content::File { .. } | Content::Link { .. } => entry.mtime,
    };
    if before.mtime != mtime {
        rustix::fs::futimens(&fd, &stamps(mtime)).at("set the time of", Side::Target, path)?;
    }
    let owned = owners.settle(entry, &before, &fd)?;
    let given = look()?;
    let is_owner_kept = (given.uid, given.gid) == (entry.uid, entry.gid);
    let may_set = || match rustix::fs::fchmod(&fd, Mode::from_raw_mode(entry.mode)) {
        Ok(()) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(errno) => Err(errno).at("set the mode of", Side::Target, path),
    };
    let needs_bits = given.mode != entry.mode && (is_special || entry.is_directory());
    let has_bits = is_owner_kept && (!needs_bits || may_set()?);
    let drops_bits = is_special && !has_bits;
    let guarded_attributes = entry.attributes.settle(Turn::AfterOwner, path, &fd)?;
    let mode = if drops_bits { plain } else { entry.mode };
    let after = look()?;
    Ok(Lost {
        modes: u64::from(after.mode != mode),
        times: u64::from(!is_close(after.mtime, mtime)),
        special_bits: u64::from(drops_bits),
        links: 0,
        owners: u64::from(owned == Owned::Not),
        attributes: plain_attributes + guarded_attributes,
    })
}

fn stamps(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.0, tv_nsec: mtime.1.into() },
    }
}

/// Within what file systems round to; the coarsest in use keeps every second second.
fn is_close(now: Time, wanted: Time) -> bool {
    now.0.abs_diff(wanted.0) < 2
}
