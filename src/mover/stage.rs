//! The second and third pass of `upload`: copies and hashes, and removes what is staged and no longer at the source.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use blake3::hazmat::ChainingValue;

use super::attributes::Attributes;
use super::checkpoint::{self, Checkpoint};
use super::content::{Copier, keep_start, read_at, zeros};
use super::entry::{Bytes, Content, Digest, Entry, RelativePath, Seen};
use super::error::{At, Error, Side};
use super::fence::Fence;
use super::manifest::{self, Header, Leftover, Reader, Totals, Writer};
use super::object::about_holes;
use super::pace::Pace;
use super::packs::Packs;
use super::parts::{Chain, Cut, FILE_PART, Parts, hasher_at, value};
use super::progress::Progress;
use super::records;
use super::scan::{check, walk_source};
use super::tree::{Cursor, Dir, Facts, Kind, Time, split};
use super::walk::{Found, Join, Pair, Walk};
use super::workspace::{self, Workspace};
use super::{clock, pool};

/// Entries between two `syncfs`: what a killed attempt loses at most.
const EPOCH: usize = 4096;
/// The same in bytes.
const EPOCH_BYTES: u64 = 256 << 20;
/// A file changed less than this before it was read may change again without its times showing it: kernels stamp with a clock tick of up to 10 ms.
/// Such a file is copied again by the next attempt.
const TICK_NANOSECONDS: i128 = 50_000_000;

/// Everything that staging needs.
#[derive(Debug)]
pub struct Stage {
    /// The source.
    pub source: Dir,
    /// The staged tree; nothing where the data are only read and listed.
    pub data: Option<Dir>,
    /// The packed copy, instead of that.
    pub packs: Option<Packs>,
    /// The right to write into the workspace.
    pub fence: Fence,
    /// The workspace.
    pub workspace: Workspace,
    /// Room to keep for the manifest.
    pub manifest_bytes: u64,
    /// The first line of the manifest to write; its items and patterns select what is staged.
    pub header: Header,
    /// How fast.
    pub pace: Pace,
}

/// What an earlier attempt had done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reused {
    /// Whole files or objects.
    pub files: u64,
    /// Bytes of large files that were not yet whole.
    pub bytes: u64,
}

/// One path on its way into the manifest.
enum Piece {
    /// Staged. `names` is how many names a file has.
    Done { entry: Entry, identity: (u64, u64), names: u64 },
    /// A file to copy.
    Copy { found: Found, path: RelativePath, to: Option<Dir> },
    /// A part of a large file to copy.
    Part { large: Arc<Large>, number: u64 },
    /// That part, copied.
    Copied { large: Arc<Large>, value: ChainingValue },
    /// A further name of a file that comes earlier.
    Again { facts: Facts, path: RelativePath, to: Option<Dir> },
}

/// A file that is read in parts.
#[derive(Debug)]
struct Large {
    found: Found,
    path: RelativePath,
    from: OwnedFd,
    /// What it was when it was opened.
    before: Facts,
    started: Time,
    cut: Cut,
    /// Its staged copy, if there is to be one.
    staged: Option<Staged>,
    /// What an earlier attempt has read.
    begun: Chain,
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match self {
            Self::Copy { found, .. } => found.facts.size,
            Self::Part { large, number } => large.cut.length(*number),
            Self::Done { .. } | Self::Again { .. } | Self::Copied { .. } => 0,
        }
    }
}

impl Stage {
    /// Stages everything and writes the manifest. Also says what an earlier attempt had staged.
    pub fn copy(&self, progress: &mut Progress) -> Result<(Totals, Reused), Error> {
        let mut writer = Writer::create(&self.workspace.root, manifest::PARTIAL, &self.header)?;
        writer.reserve(self.manifest_bytes)?;
        let mut feed = Feed {
            walk: walk_source(&self.source, &self.header.items, &self.header.filter)?,
            leftover: Leftover::open(&self.workspace.root, manifest::PREVIOUS, &self.header)?,
            staged: self.data.clone().map(Cursor::new),
            packs: self.packs.clone(),
            seen: HashMap::new(),
            stage: self,
            checkpoint: Checkpoint::read(&self.workspace.root, &self.header.uuid)?,
            parts: Parts::default(),
            reused: Reused::default(),
        };
        let mut sink = Sink {
            stage: self,
            growing: None,
            pending: Vec::new(),
            pending_bytes: 0,
            firsts: HashMap::new(),
            staged: self.data.clone().map(Cursor::new),
        };
        let copied = pool::in_order(
            self.pace.threads(),
            || feed.piece(),
            |copier, piece| self.copy_piece(copier, piece),
            |piece| {
                progress.advance(sink.take(piece)?);
                if sink.pending.len() < EPOCH && sink.pending_bytes < EPOCH_BYTES {
                    return Ok(());
                }
                sink.commit(&mut writer)
            },
        );
        // Also when it failed: what has been staged shall not be staged again.
        let committed = sink.commit(&mut writer).and_then(|()| sink.checkpoint());
        copied.and(committed)?;
        let reused = feed.reused;
        self.fence.check()?;
        let totals = writer.finish(manifest::NAME)?;
        prune(self.data.as_ref(), self.packs.as_ref(), &self.workspace)?;
        checkpoint::clear(&self.workspace.root)?;
        records::remove(&self.workspace.root, manifest::PREVIOUS)?;
        Ok((totals, reused))
    }

    fn copy_piece(&self, copier: &mut Copier, piece: Piece) -> Result<Piece, Error> {
        match piece {
            Piece::Copy { found, path, to } => {
                let Facts { identity, links: names, .. } = found.facts;
                Ok(Piece::Done { entry: self.copy_file(copier, &found, path, to.as_ref())?, identity, names })
            }
            Piece::Part { large, number } => self.copy_part(copier, large, number),
            Piece::Done { .. } | Piece::Copied { .. } | Piece::Again { .. } => Ok(piece),
        }
    }

    fn copy_part(&self, copier: &mut Copier, large: Arc<Large>, number: u64) -> Result<Piece, Error> {
        let path = &large.found.path;
        self.fence.check()?;
        let range = large.cut.range(number);
        let mut hasher = hasher_at(range.start);
        let end = copier
            .copy_range(
                &large.from,
                &large.before,
                range.clone(),
                large.staged.as_ref().map(|staged| &staged.file),
                &mut hasher,
                &self.pace.throttle,
            )
            .map_err(|failed| failed.into_error(Side::Source, Side::Workspace, path))?;
        if end != range.end {
            return Err(Error::Changed { path: path.clone() });
        }
        Ok(Piece::Copied { large, value: value(&hasher) })
    }

    /// Opens a large file and its staged copy, which an earlier attempt may have begun.
    fn begin(
        &self,
        found: Found,
        path: RelativePath,
        to: Option<&Dir>,
        earlier: Option<Checkpoint>,
    ) -> Result<Large, Error> {
        let from = open_source(&found)?;
        let before = Facts::of(&from).at("look at", Side::Source, &found.path)?;
        if before.identity != found.facts.identity {
            return Err(Error::Changed { path: found.path });
        }
        let started = clock::wall();
        self.fence.check()?;
        let cut = Cut { size: before.size, part_size: FILE_PART };
        let earlier = Checkpoint::that_counts(&self.workspace.root, earlier, |earlier| {
            earlier.part_size == FILE_PART
                && earlier.seen == (Seen::Inode { ino: before.identity.1, ctime: before.ctime })
                && earlier.parts < cut.count()
                && earlier.staged.is_some() == to.is_some()
        })?;
        let (staged, begun) = begin_staged(&self.workspace.root, to, &found.path, cut.size, earlier.as_ref())?;
        Ok(Large { found, path, from, before, started, cut, staged, begun })
    }

    /// The line of a large file of which all parts have been read, if it is still what it was.
    fn finish(&self, large: &Large, digest: Digest) -> Result<Entry, Error> {
        let Large { found, path, from, before, started, .. } = large;
        let changed = || Error::Changed { path: found.path.clone() };
        let attributes = Attributes::read(from).at("read the attributes of", Side::Source, &found.path)?;
        let look = || Facts::of(from).at("look at", Side::Source, &found.path);
        if !look()?.unchanged_since(before) {
            return Err(changed());
        }
        let seen = seen(before, *started);
        if seen.is_none() {
            self.read_again(from, before, (before.size, digest), &mut Copier::default(), &found.path)?;
        }
        let about = about_holes(zeros(from, before).at("read", Side::Source, &found.path)?);
        let content = Content::File { size: before.size, digest, link_of: None, seen, about, stored: None };
        Ok(Entry { attributes, ..Entry::new(path.clone(), before, content) })
    }

    /// Reads a file that had been written to right before it was read.
    ///
    /// A write changes the times before it changes the bytes. So what was read of it may be partly old and partly new without its times telling;
    /// then it is not what is there now.
    fn read_again(
        &self,
        from: &OwnedFd,
        before: &Facts,
        first: (u64, Digest),
        copier: &mut Copier,
        path: &[u8],
    ) -> Result<(), Error> {
        let again = copier.hash(from, before, &self.pace.throttle).at("read", Side::Source, path)?;
        let now = Facts::of(from).at("look at", Side::Source, path)?;
        if again != first || !now.unchanged_since(before) {
            return Err(Error::Changed { path: path.to_vec() });
        }
        Ok(())
    }

    fn copy_file(
        &self,
        copier: &mut Copier,
        found: &Found,
        path: RelativePath,
        to: Option<&Dir>,
    ) -> Result<Entry, Error> {
        let changed = || Error::Changed { path: found.path.clone() };
        let from = open_source(found)?;
        let before = Facts::of(&from).at("look at", Side::Source, &found.path)?;
        if before.identity != found.facts.identity {
            return Err(changed());
        }
        let started = clock::wall();
        self.fence.check()?;
        let fill = |offset, buffer: &mut [u8]| {
            // A file that grows for ever does not keep us for ever.
            let want = usize::try_from(before.size - offset).unwrap_or(usize::MAX).min(buffer.len());
            let read = read_at(&from, &mut buffer[..want], offset).at("read", Side::Source, &found.path)?;
            self.pace.throttle.pass(read);
            Ok(read)
        };
        let mut stored = None;
        let (size, digest) = match (to, &self.packs) {
            (Some(to), _) => self.copy_bytes(copier, found, &from, &before, to)?,
            (None, Some(packs)) => {
                let (size, digest, name) = packs.add(copier, &found.path, before.size, fill)?;
                stored = Some(name);
                (size, digest)
            }
            (None, None) => copier.hash(&from, &before, &self.pace.throttle).at("read", Side::Source, &found.path)?,
        };
        let attributes = Attributes::read(&from).at("read the attributes of", Side::Source, &found.path)?;
        let after = Facts::of(&from).at("look at", Side::Source, &found.path)?;
        if size != before.size || !after.unchanged_since(&before) {
            return Err(changed());
        }
        let seen = seen(&before, started);
        if seen.is_none() {
            self.read_again(&from, &before, (size, digest), copier, &found.path)?;
        }
        let about = about_holes(zeros(&from, &before).at("read", Side::Source, &found.path)?);
        let content = Content::File { size, digest, link_of: None, seen, about, stored };
        Ok(Entry { attributes, ..Entry::new(path, &before, content) })
    }

    fn copy_bytes(
        &self,
        copier: &mut Copier,
        found: &Found,
        from: &OwnedFd,
        facts: &Facts,
        to: &Dir,
    ) -> Result<(u64, Digest), Error> {
        to.remove_tree(found.name())?;
        let staged = to.create_file(found.name()).at("create", Side::Workspace, &found.path)?;
        copier.copy(from, facts, &staged, &self.pace.throttle).map_err(|failed| {
            // A part of a file only takes the room that the lines of the finished ones may need.
            let _ = to.remove_file(found.name());
            failed.into_error(Side::Source, Side::Workspace, &found.path)
        })
    }
}

/// The staged copy of a large file that is not whole yet.
#[derive(Debug)]
pub struct Staged {
    /// The file, which has its length already.
    pub file: OwnedFd,
    ino: u64,
}

/// Opens the staged copy of a large file, if there is to be one, and says which parts of the file an earlier attempt has read, and staged there.
pub fn begin_staged(
    workspace: &Dir,
    to: Option<&Dir>,
    path: &[u8],
    size: u64,
    earlier: Option<&Checkpoint>,
) -> Result<(Option<Staged>, Chain), Error> {
    let chain = earlier.and_then(Checkpoint::chain);
    let Some(to) = to else { return Ok((None, chain.unwrap_or_default())) };
    let name = split(path).1;
    let look = |file: &OwnedFd| Facts::of(file).at("look at", Side::Workspace, path);
    if let (Some(chain), Some(ino)) = (chain, earlier.and_then(|earlier| earlier.staged))
        && let Ok(file) = to.open_file_to_write(name)
        && let Facts { identity: (_, now), size: long, .. } = look(&file)?
        && (now, long) == (ino, size)
    {
        let kept = chain.count() * earlier.map_or(0, |earlier| earlier.part_size);
        keep_start(&file, kept, size).at("write", Side::Workspace, path)?;
        return Ok((Some(Staged { file, ino }), chain));
    }
    if earlier.is_some() {
        // The next file may get the same inode: what is known of this one ends before there is another.
        // A record of another file stays: its last parts may still be on their way.
        checkpoint::forget(workspace)?;
    }
    to.remove_tree(name)?;
    let file = to.create_file(name).at("create", Side::Workspace, path)?;
    rustix::fs::ftruncate(&file, size).at("write", Side::Workspace, path)?;
    let ino = look(&file)?.identity.1;
    Ok((Some(Staged { file, ino }), Chain::default()))
}

/// Makes the staged parts of a large file durable, and writes down how many there are.
pub fn save(
    workspace: &Dir,
    uuid: &str,
    path: &RelativePath,
    seen: Seen,
    staged: Option<&Staged>,
    part_size: u64,
    chain: &Chain,
) -> Result<(), Error> {
    if workspace.seal.as_ref().is_some_and(|seal| seal.is_sealing()) {
        return Ok(());
    }
    if let Some(staged) = staged {
        rustix::fs::fdatasync(&staged.file).at("write", Side::Workspace, path.as_bytes())?;
    }
    let checkpoint = Checkpoint {
        uuid: uuid.to_owned(),
        path: path.clone(),
        seen,
        staged: staged.map(|staged| staged.ino),
        part_size,
        parts: chain.count(),
        chain: chain.saved(),
    };
    checkpoint.write(workspace)
}

/// Opens a file of the source. One that is gone, or another thing by now, has changed.
fn open_source(found: &Found) -> Result<OwnedFd, Error> {
    match found.parent.open_file(found.name()) {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::STALE | rustix::io::Errno::LOOP) => {
            Err(Error::Changed { path: found.path.clone() })
        }
        other => other.at("open", Side::Source, &found.path),
    }
}

/// Removes what earlier attempts staged and the manifest does not have.
pub fn prune(data: Option<&Dir>, packs: Option<&Packs>, workspace: &Workspace) -> Result<(), Error> {
    if let Some(packs) = packs {
        return packs.prune_to_named();
    }
    let Some(data) = data else { return workspace.root.remove_tree(workspace::DATA) };
    let mut join = Join::new(data.clone(), Reader::open(&workspace.root)?)?;
    while let Some(pair) = join.next_pair()? {
        match pair {
            Pair::Extra(found) => found.parent.remove_tree(found.name())?,
            // `validate` judges these.
            Pair::Missing(_) | Pair::Both(..) => {}
        }
    }
    Ok(())
}

/// Turns the walk into pieces of work, in order. Directories and links are staged right here, so a file's directory is there before the file.
struct Feed<'a> {
    stage: &'a Stage,
    /// How far an earlier attempt had come inside a large file.
    checkpoint: Option<Checkpoint>,
    /// The parts of a large file that are still to be handed out.
    parts: Parts<Large>,
    walk: Walk,
    leftover: Leftover,
    staged: Option<Cursor>,
    packs: Option<Packs>,
    /// The files met that have several names, and how many of those are still to come.
    seen: HashMap<(u64, u64), u64>,
    /// What was not copied because an earlier attempt had done it.
    reused: Reused,
}

impl Feed<'_> {
    fn piece(&mut self) -> Result<Option<Piece>, Error> {
        if let Some((large, number)) = self.parts.next_part() {
            return Ok(Some(Piece::Part { large, number }));
        }
        let Some(found) = self.walk.next_found()? else { return Ok(None) };
        let to = self.staged.as_mut().map(|staged| staged.parent(&found.path)).transpose()?;
        let path = RelativePath::try_from(found.path.clone()).expect("a walk joins names that a directory holds");
        let facts = found.facts;
        let mut attributes = Attributes::default();
        let content = match facts.kind {
            Kind::Directory => {
                let dir = found.parent.open_dir(found.name()).at("open", Side::Source, &found.path)?;
                attributes = Attributes::read(&dir).at("read the attributes of", Side::Source, &found.path)?;
                if let Some(to) = &to {
                    stage_directory(to, &found.path)?;
                }
                Content::Directory { is_implied: false }
            }
            Kind::Link => {
                let target = Bytes(found.parent.read_link(found.name()).at("read", Side::Source, &found.path)?);
                if let Some(to) = &to {
                    stage_link(to, &found.path, &target)?;
                }
                Content::Link { target }
            }
            Kind::File if self.is_again(&facts) => return Ok(Some(Piece::Again { facts, path, to })),
            Kind::File => match self.reusable(&found, to.as_ref())? {
                Some((earlier, content)) => {
                    attributes = earlier;
                    content
                }
                None if facts.size > FILE_PART && self.packs.is_none() => return self.begin(found, path, to.as_ref()),
                None => return Ok(Some(Piece::Copy { found, path, to })),
            },
            // The scan saw none: it has come since.
            Kind::Other(_) => return Err(check(&found).err().unwrap_or(Error::Changed { path: found.path })),
        };
        let entry = Entry { attributes, ..Entry::new(path, &facts, content) };
        Ok(Some(Piece::Done { entry, identity: facts.identity, names: facts.links }))
    }

    /// The first part of a large file that is still to be read.
    fn begin(&mut self, found: Found, path: RelativePath, to: Option<&Dir>) -> Result<Option<Piece>, Error> {
        let earlier = self.checkpoint.take_if(|checkpoint| checkpoint.path == path);
        let large = self.stage.begin(found, path, to, earlier)?;
        if large.cut.count() < 2 {
            // It has shrunk since it was listed.
            return Err(Error::Changed { path: large.found.path });
        }
        let number = large.begun.count();
        self.reused.bytes += number * large.cut.part_size;
        let parts = number..large.cut.count();
        self.parts.begin(large, parts);
        self.piece()
    }

    /// Whether this is a further name of a file met before. Remembers only files of which names are still to come.
    fn is_again(&mut self, facts: &Facts) -> bool {
        if facts.links < 2 {
            return false;
        }
        match self.seen.get_mut(&facts.identity) {
            Some(1) => {
                self.seen.remove(&facts.identity);
                true
            }
            Some(left) => {
                *left -= 1;
                true
            }
            None => {
                self.seen.insert(facts.identity, facts.links - 1);
                false
            }
        }
    }

    /// The content of an earlier attempt's copy, if both it and the source file are as they were then.
    fn reusable(&mut self, found: &Found, to: Option<&Dir>) -> Result<Option<(Attributes, Content)>, Error> {
        let Some(earlier) = self.leftover.find(&found.path) else {
            return Ok(None);
        };
        let Content::File { size, digest, link_of: _, seen: Some(seen), about, stored } = earlier.content else {
            return Ok(None);
        };
        let facts = &found.facts;
        let is_unchanged = size == facts.size
            && earlier.mtime == facts.mtime
            && seen == (Seen::Inode { ino: facts.identity.1, ctime: facts.ctime });
        if !is_unchanged {
            return Ok(None);
        }
        let is_staged = match (to, &self.packs) {
            (Some(to), _) => is_staged(to, &found.path, size)?,
            (None, Some(packs)) => stored.map_or(Ok(false), |stored| packs.has(&stored))?,
            (None, None) => true,
        };
        self.reused.files += u64::from(is_staged);
        let content = Content::File { size, digest, link_of: None, seen: Some(seen), about, stored };
        // They change with the time of the last change of anything, so they are as they were too.
        Ok(is_staged.then_some((earlier.attributes, content)))
    }
}

/// Whether an earlier attempt's copy of a file is there, as far as looking at it tells.
pub fn is_staged(to: &Dir, path: &[u8], size: u64) -> Result<bool, Error> {
    let staged = to.look(split(path).1).at("look at", Side::Workspace, path)?;
    Ok(staged.is_some_and(|staged| staged.kind == Kind::File && staged.size == size))
}

/// Makes a directory of the staged copy.
pub fn stage_directory(to: &Dir, path: &[u8]) -> Result<(), Error> {
    let name = split(path).1;
    match to.look(name).at("look at", Side::Workspace, path)? {
        Some(staged) if staged.kind == Kind::Directory => return Ok(()),
        Some(_) => to.remove_file(name).at("replace", Side::Workspace, path)?,
        None => {}
    }
    to.create_dir(name).at("create", Side::Workspace, path)
}

/// Makes a symbolic link of the staged copy.
pub fn stage_link(to: &Dir, path: &[u8], target: &Bytes) -> Result<(), Error> {
    let name = split(path).1;
    match to.look(name).at("look at", Side::Workspace, path)? {
        Some(staged) if staged.kind == Kind::Link && to.read_link(name).is_ok_and(|now| now == target.0) => {
            return Ok(());
        }
        Some(_) => to.remove_tree(name)?,
        None => {}
    }
    rustix::fs::symlinkat(target.as_bytes(), to, name).at("create", Side::Workspace, path)
}

/// Makes `path`, which goes into `to`, a further name of the staged `first`.
pub fn link_staged(staged: &mut Cursor, first: &[u8], path: &[u8], to: &Dir) -> Result<(), Error> {
    let (first_parent, first_name) = (staged.parent(first)?, split(first).1);
    let look = |dir: &Dir, name: &[u8]| dir.look(name).at("look at", Side::Workspace, path);
    let name = split(path).1;
    let first_staged = look(&first_parent, first_name)?;
    let staged = look(to, name)?;
    if staged.map(|staged| staged.identity) == first_staged.map(|first| first.identity) {
        return Ok(());
    }
    to.remove_tree(name)?;
    rustix::fs::linkat(&first_parent, first_name, to, name, rustix::fs::AtFlags::empty()).at(
        "link",
        Side::Workspace,
        path,
    )
}

/// How the file will be recognised, unless it may still change without showing it.
fn seen(facts: &Facts, now: Time) -> Option<Seen> {
    let nanoseconds = |time: Time| i128::from(time.0) * 1_000_000_000 + i128::from(time.1);
    let is_settled = nanoseconds(facts.ctime) + TICK_NANOSECONDS < nanoseconds(now);
    is_settled.then_some(Seen::Inode { ino: facts.identity.1, ctime: facts.ctime })
}

/// Takes finished pieces in order, makes them durable and writes their lines.
struct Sink<'a> {
    stage: &'a Stage,
    /// The large file that is being read, its parts up to here, and the bytes that no checkpoint knows of.
    growing: Option<(Arc<Large>, Chain, u64)>,
    pending: Vec<Entry>,
    pending_bytes: u64,
    /// First names of files that have several, and how many names are still to come.
    firsts: HashMap<(u64, u64), (Entry, u64)>,
    staged: Option<Cursor>,
}

impl Sink<'_> {
    /// Takes one piece and says how many files it was.
    fn take(&mut self, piece: Piece) -> Result<u64, Error> {
        let entry = match piece {
            Piece::Copy { .. } | Piece::Part { .. } => unreachable!("the pool copies every such piece"),
            Piece::Copied { large, value } => {
                let Some(entry) = self.take_part(large, value)? else { return Ok(0) };
                return self.take(entry);
            }
            Piece::Done { entry, identity, names } => {
                if names > 1 && matches!(entry.content, Content::File { .. }) {
                    self.firsts.insert(identity, (entry.clone(), names - 1));
                }
                entry
            }
            Piece::Again { facts, path, to } => self.link(&facts, path, to.as_ref())?,
        };
        let mut files = 0;
        if let Content::File { size, .. } = &entry.content {
            files = 1;
            self.pending_bytes += size;
        }
        self.pending.push(entry);
        Ok(files)
    }

    /// Takes the next part of a large file. After the last one it is done.
    fn take_part(&mut self, large: Arc<Large>, value: ChainingValue) -> Result<Option<Piece>, Error> {
        let (large, mut chain, unsaved) = self.growing.take().unwrap_or_else(|| {
            let begun = large.begun.clone();
            (large, begun, 0)
        });
        chain.push(value);
        if chain.count() < large.cut.count() {
            let unsaved = unsaved + large.cut.part_size;
            self.growing = Some((large, chain, unsaved));
            return if unsaved >= EPOCH_BYTES { self.checkpoint().map(|()| None) } else { Ok(None) };
        }
        let digest = chain.digest().expect("it has several parts");
        let entry = self.stage.finish(&large, digest)?;
        Ok(Some(Piece::Done { entry, identity: large.before.identity, names: large.before.links }))
    }

    /// Makes the parts of the large file durable that is being read, and writes that down.
    fn checkpoint(&mut self) -> Result<(), Error> {
        let stage = self.stage;
        let Some((large, chain, unsaved)) = &mut self.growing else { return Ok(()) };
        let Some(seen) = seen(&large.before, large.started) else { return Ok(()) };
        if *unsaved == 0 {
            return Ok(());
        }
        *unsaved = 0;
        let (root, part_size) = (&stage.workspace.root, large.cut.part_size);
        save(root, &stage.header.uuid, &large.path, seen, large.staged.as_ref(), part_size, chain)
    }

    /// Stages a further name of a file whose first name is staged.
    fn link(&mut self, facts: &Facts, path: RelativePath, to: Option<&Dir>) -> Result<Entry, Error> {
        let (first, left) = self.firsts.get_mut(&facts.identity).expect("the first name comes before the others");
        *left -= 1;
        let is_last = *left == 0;
        let first = first.clone();
        if is_last {
            self.firsts.remove(&facts.identity);
        }
        let Content::File { size, digest, about, stored, .. } = first.content else {
            unreachable!("only files are remembered")
        };
        if let (Some(staged), Some(to)) = (&mut self.staged, to) {
            link_staged(staged, first.path.as_bytes(), path.as_bytes(), to)?;
        }
        let content = Content::File { size, digest, link_of: Some(first.path), seen: None, about, stored };
        // At a store it has them too.
        Ok(Entry { attributes: first.attributes, ..Entry::new(path, facts, content) })
    }

    fn commit(&mut self, writer: &mut Writer) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Some(data) = self.stage.data.as_ref().or(self.stage.packs.as_ref().map(|packs| &packs.root)) {
            rustix::fs::syncfs(data).at("write", Side::Workspace, workspace::DATA)?;
        }
        for entry in self.pending.drain(..) {
            if let Some(packs) = &self.stage.packs {
                packs.name(&entry);
            }
            writer.append(&entry)?;
        }
        self.pending_bytes = 0;
        writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::seal::Seal;
    use super::super::store::Revision;
    use super::*;

    #[test]
    fn a_sealed_workspace_gets_no_checkpoint_because_that_names_a_path() {
        let recipient = age::x25519::Identity::generate().to_public().to_string();
        for (recipients, is_there) in [(&[][..], true), (&[recipient][..], false)] {
            let temporary = tempfile::tempdir().unwrap();
            let mut root = Dir::open_root(temporary.path(), Side::Workspace).unwrap();
            root.seal = Some(Arc::new(Seal::new(recipients, None).unwrap()));
            let path = RelativePath::try_from(b"large".to_vec()).unwrap();
            let seen = Seen::Object(Revision { etag: "e".to_owned(), version: None });
            save(&root, "u", &path, seen, None, FILE_PART, &Chain::default()).unwrap();
            assert_eq!(temporary.path().join("upload.checkpoint.json").exists(), is_there);
        }
    }
}
