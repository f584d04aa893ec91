//! `upload` from a store: reads every object once, copies it into the workspace unless told not to, and writes the manifest.
//!
//! A listing is held in memory, packed (see [`super::listing`]), because keys and paths are not always in the same order.
//! The folders that keys imply become directories of the manifest, marked as such, so that a volume can hold what a store holds.
//! Our own objects that stand for directories and links become these again.
//!
//! An object whose `ETag` and version are as in a line of an earlier attempt, and whose copy is there where there is to be one, is not read again.
//! Objects that are names of one file become these again (see [`super::links`]), in the order of their paths, whoever has read them and when.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use blake3::hazmat::ChainingValue;

use super::attributes::Attributes;
use super::checkpoint::{self, Checkpoint};
use super::content::{Copier, Zeros};
use super::entry::{Bytes, Content, Digest, Entry, RelativePath, Seen};
use super::error::{At, Error, Side};
use super::fence::{DIRECTORY, Fence, is_reserved};
use super::links::Names;
use super::listing::Listing;
use super::manifest::{self, Header, Leftover, Totals, Writer};
use super::object::{self, Held, LONGEST_LINK};
use super::origin::Ranged;
use super::owners::NOBODY_KNOWS;
use super::pace::Pace;
use super::packs::Packs;
use super::parts::{Chain, Cut, FETCHED_PART, Parts, hasher_at, value};
use super::pool;
use super::progress::Progress;
use super::quoted::Quoted;
use super::records;
use super::stage::{Reused, Staged, begin_staged, is_staged, link_staged, prune, save, stage_directory, stage_link};
use super::store::fault::Fault;
use super::store::{About, Object, Revision, Store, key};
use super::tree::{Cursor, Dir, Kind, split};
use super::workspace::{self, Workspace};

/// Entries between two `syncfs`: what a killed attempt loses at most.
const EPOCH: usize = 1024;
/// The same where nothing is staged, and so no disk is waited for; what is said about objects takes memory.
const LISTED_EPOCH: usize = 128;
/// The same in bytes.
const EPOCH_BYTES: u64 = 256 << 20;

/// One thing to read, or to make.
#[derive(Debug)]
pub struct Thing {
    /// Where it is.
    pub path: RelativePath,
    /// What it is.
    pub what: What,
}

/// What a thing of a listing is, before it has been read.
#[derive(Debug)]
pub enum What {
    /// A file or a link.
    Object(Object),
    /// A directory that has an object.
    Directory(Object),
    /// A directory that keys imply.
    Implied,
}

/// What there is at the source.
#[derive(Debug)]
pub struct Listed {
    /// In order of their paths.
    pub things: Things,
    /// Those that are objects.
    pub objects: u64,
    /// Objects there, whatever patterns and items leave out.
    pub at_source: u64,
    /// A path that is an object and a folder.
    pub clash: Option<Vec<u8>>,
}

/// Things in the order of their paths, each unpacked when its turn comes.
#[derive(Debug, Default)]
pub struct Things {
    listing: Listing,
    /// Paths that are not spelt like their keys.
    decoded: HashMap<u32, RelativePath>,
    folders: Vec<RelativePath>,
    spots: std::vec::IntoIter<Spot>,
}

/// Where a thing is kept. What has an object comes before what is implied, and so is the one that is kept of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Spot {
    Directory(u32),
    Object(u32),
    Implied(u32),
}

impl Things {
    /// Whether there are none left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spots.len() == 0
    }

    fn path(&self, spot: Spot) -> Cow<'_, [u8]> {
        let spelt = |number| self.decoded.get(&number).map(|path| Cow::from(path.as_bytes()));
        let key = |number| self.listing.key(number).into_bytes();
        match spot {
            Spot::Object(number) => spelt(number).unwrap_or_else(|| key(number).into()),
            Spot::Directory(number) => spelt(number).unwrap_or_else(|| split(&key(number)).0.to_vec().into()),
            Spot::Implied(number) => self.folders[usize::try_from(number).expect("at least 32 bits")].as_bytes().into(),
        }
    }
}

impl Iterator for Things {
    type Item = Thing;

    fn next(&mut self) -> Option<Thing> {
        let spot = self.spots.next()?;
        let path = RelativePath::try_from(self.path(spot).into_owned()).expect("it was one when it was listed");
        let what = match spot {
            Spot::Object(number) => What::Object(self.listing.object(number)),
            Spot::Directory(number) => What::Directory(self.listing.object(number)),
            Spot::Implied(_) => What::Implied,
        };
        Some(Thing { path, what })
    }
}

/// Lists what is selected of the source.
#[allow(clippy::missing_panics_doc)] // it cannot
pub fn list(store: &Store, header: &Header, items: &[String]) -> Result<Listed, Error> {
    let mut things = Things::default();
    let mut spots = Vec::new();
    let (mut objects, mut at_source) = (0, 0);
    let mut missing: HashSet<&str> = items.iter().map(String::as_str).collect();
    let mut folders: HashSet<Vec<u8>> = HashSet::new();
    store.each(|object| {
        let (above, name) = split(object.key.as_bytes());
        let is_directory = name == DIRECTORY.as_bytes() && !above.is_empty();
        // Records and leftovers of relocations are not data.
        if is_reserved(name) && !is_directory {
            return Ok(());
        }
        at_source += u64::from(!is_directory);
        let key = if is_directory { &object.key[..above.len()] } else { &object.key };
        let top = key.split('/').next().unwrap_or_default();
        missing.remove(top);
        if !items.is_empty() && !items.iter().any(|item| item == top) {
            return Ok(());
        }
        let bytes = path_of(store, &object, key)?;
        let Ok(path) = RelativePath::try_from(bytes) else { return Err(store.failed("name", &object.key, Fault::Key)) };
        let kind = if is_directory { Kind::Directory } else { Kind::File };
        if !header.filter.takes(path.as_bytes(), kind) {
            return Ok(());
        }
        let mut above = split(path.as_bytes()).0;
        while !above.is_empty() && !folders.contains(above) {
            folders.insert(above.to_vec());
            above = split(above).0;
        }
        objects += 1;
        let number = things.listing.push(&object).map_err(|fault| store.failed("name", &object.key, fault))?;
        if path.as_bytes() != key.as_bytes() {
            things.decoded.insert(number, path);
        }
        spots.push(if is_directory { Spot::Directory(number) } else { Spot::Object(number) });
        Ok(())
    })?;
    if let Some(item) = items.iter().find(|item| missing.contains(item.as_str())) {
        return Err(Error::MissingItem { item: item.clone() });
    }
    let count = u32::try_from(folders.len()).map_err(|_| store.failed("list", "", Fault::Key))?;
    spots.extend((0..count).map(Spot::Implied));
    let folder = |path| RelativePath::try_from(path).expect("the start of a path is one");
    things.folders = folders.into_iter().map(folder).collect();
    // Stores list in order, nearly: this one makes use of it.
    spots.sort_by(|one, other| things.path(*one).cmp(&things.path(*other)).then_with(|| one.cmp(other)));
    let (mut twice, mut clash) = (None, None);
    spots.dedup_by(|later, kept| {
        let path = things.path(*later);
        if path != things.path(*kept) {
            return false;
        }
        match (&kept, &later) {
            (Spot::Object(_), Spot::Implied(_)) => clash = Some(path.into_owned()),
            (Spot::Directory(_) | Spot::Implied(_), Spot::Implied(_)) => {}
            (_, Spot::Object(_) | Spot::Directory(_)) => twice = Some(path.into_owned()),
        }
        true
    });
    things.spots = spots.into_iter();
    match twice {
        Some(path) => Err(Error::Problem(format!(
            "two objects of the source stand for {}; remove one of them, then recover",
            Quoted(&path)
        ))),
        None => Ok(Listed { things, objects, at_source, clash }),
    }
}

/// The path of a key. Only a key that may be an escaped path costs a request.
fn path_of(store: &Store, object: &Object, key: &str) -> Result<Vec<u8>, Error> {
    if !key::may_be_escaped(key, store.location().service) {
        return Ok(key.as_bytes().to_vec());
    }
    let is_escaped = store.look(&object.key)?.is_some_and(|(_, about)| object::is_escaped(&about));
    let decoded = if is_escaped { key::decode(key, store.location().service) } else { None };
    Ok(decoded.unwrap_or_else(|| key.as_bytes().to_vec()))
}

/// Everything that reading a store needs.
#[derive(Debug)]
pub struct Fetch {
    /// The source.
    pub store: Store,
    /// The staged tree; nothing where the objects are only read and listed.
    pub data: Option<Dir>,
    /// The packed copy, instead of that.
    pub packs: Option<Packs>,
    /// The right to write into the workspace.
    pub fence: Fence,
    /// The workspace.
    pub workspace: Workspace,
    /// The first line of the manifest to write.
    pub header: Header,
    /// How fast.
    pub pace: Pace,
}

enum Piece {
    Done(Entry),
    /// An earlier attempt has read it.
    Earlier {
        entry: Entry,
        object: Object,
        to: Option<Dir>,
    },
    Read {
        path: RelativePath,
        object: Object,
        to: Option<Dir>,
    },
    LookAt {
        path: RelativePath,
        object: Object,
    },
    Part {
        large: Arc<Large>,
        number: u64,
    },
}

/// What was made of a piece.
enum Made {
    /// What a console shows as a folder.
    Nothing,
    Line(Entry),
    /// The line of an earlier attempt.
    Earlier(Entry),
    Part(Arc<Large>, ChainingValue),
}

/// An object that is read in parts.
#[derive(Debug)]
struct Large {
    path: RelativePath,
    object: Object,
    revision: Revision,
    about: About,
    cut: Cut,
    ranged: Ranged,
    staged: Option<Staged>,
    /// What an earlier attempt has read.
    begun: Chain,
}

/// A large object whose parts come in order.
struct Growing {
    large: Arc<Large>,
    chain: Chain,
    /// Bytes that no checkpoint knows of.
    unsaved: u64,
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match self {
            Self::Read { object, .. } => object.size,
            Self::Part { large, number } => large.cut.length(*number),
            Self::Done(_) | Self::Earlier { .. } | Self::LookAt { .. } => 0,
        }
    }
}

impl Fetch {
    /// Reads everything and writes the manifest. Also says how many objects an earlier attempt had read.
    pub fn run(&self, things: Things, progress: &mut Progress) -> Result<(Totals, Reused), Error> {
        let mut writer = Writer::create(&self.workspace.root, manifest::PARTIAL, &self.header)?;
        let mut feed = Feed {
            things,
            leftover: Leftover::open(&self.workspace.root, manifest::PREVIOUS, &self.header)?,
            staged: self.data.clone().map(Cursor::new),
            packs: self.packs.clone(),
            fetch: self,
            checkpoint: Checkpoint::read(&self.workspace.root, &self.header.uuid)?,
            parts: Parts::default(),
            resumed: 0,
        };
        let staged = self.data.clone().map(|data| (Cursor::new(data.clone()), Cursor::new(data)));
        let mut linking = Linking { names: Names::default(), staged };
        let mut earlier = 0;
        let mut growing = None;
        let mut pending: Vec<Entry> = Vec::new();
        let mut pending_bytes = 0;
        let epoch = if self.data.is_none() && self.packs.is_none() { LISTED_EPOCH } else { EPOCH };
        let read = pool::in_order(
            self.pace.threads(),
            || feed.piece(),
            |copier, piece| self.read(copier, piece),
            |made| {
                let mut entry = match made {
                    Made::Nothing => return Ok(()),
                    Made::Line(entry) => entry,
                    Made::Earlier(entry) => {
                        earlier += 1;
                        entry
                    }
                    Made::Part(large, value) => match self.grow(&mut growing, large, value)? {
                        Some(entry) => entry,
                        None => return Ok(()),
                    },
                };
                self.link(&mut linking, &mut entry)?;
                if let Content::File { size, .. } = &entry.content {
                    pending_bytes += size;
                    progress.advance(1);
                }
                pending.push(entry);
                if pending.len() < epoch && pending_bytes < EPOCH_BYTES {
                    return Ok(());
                }
                pending_bytes = 0;
                self.commit(&mut pending, &mut writer)
            },
        );
        // Also when it failed: what has been read shall not be read again.
        let committed = self.commit(&mut pending, &mut writer).and_then(|()| self.checkpoint(&mut growing));
        read.and(committed)?;
        self.fence.check()?;
        let totals = writer.finish(manifest::NAME)?;
        prune(self.data.as_ref(), self.packs.as_ref(), &self.workspace)?;
        checkpoint::clear(&self.workspace.root)?;
        records::remove(&self.workspace.root, manifest::PREVIOUS)?;
        Ok((totals, Reused { files: earlier, bytes: feed.resumed }))
    }

    fn commit(&self, pending: &mut Vec<Entry>, writer: &mut Writer) -> Result<(), Error> {
        if let Some(data) = self.data.as_ref().or(self.packs.as_ref().map(|packs| &packs.root))
            && !pending.is_empty()
        {
            rustix::fs::syncfs(data).at("write", Side::Workspace, workspace::DATA)?;
        }
        pending.drain(..).try_for_each(|entry| {
            if let Some(packs) = &self.packs {
                packs.name(&entry);
            }
            writer.append(&entry)
        })?;
        writer.flush()
    }

    /// Makes an entry a further name of an earlier one if it is, in the staged copy too.
    fn link(&self, linking: &mut Linking, entry: &mut Entry) -> Result<(), Error> {
        let Some(first) = linking.names.judge(entry) else { return Ok(()) };
        let Some((firsts, others)) = &mut linking.staged else { return Ok(()) };
        let path = entry.path.as_bytes();
        let to = others.parent(path)?;
        self.fence.check()?;
        link_staged(firsts, first.as_bytes(), path, &to)
    }

    /// Reads a part of a large object, and stages it where there is a copy to be.
    fn read_part(&self, copier: &mut Copier, large: Arc<Large>, number: u64) -> Result<Made, Error> {
        let path = large.path.as_bytes();
        self.fence.check()?;
        let range = large.cut.range(number);
        let mut hasher = hasher_at(range.start);
        let to = large.staged.as_ref().map(|staged| (&staged.file, Side::Workspace));
        let copied = large.ranged.copy(copier, path, range.clone(), to, &mut hasher, &self.pace.throttle);
        match copied {
            Ok(end) if end == range.end => Ok(Made::Part(large, value(&hasher))),
            Ok(_) | Err(Error::SourceDiffers { .. }) => Err(Error::Changed { path: path.to_vec() }),
            Err(error) => Err(error),
        }
    }

    /// Takes the next part of a large object. After the last one it is a line of the manifest.
    fn grow(
        &self,
        growing: &mut Option<Growing>,
        large: Arc<Large>,
        value: ChainingValue,
    ) -> Result<Option<Entry>, Error> {
        let mut now = growing.take().unwrap_or_else(|| {
            let chain = large.begun.clone();
            Growing { large, chain, unsaved: 0 }
        });
        now.chain.push(value);
        if now.chain.count() < now.large.cut.count() {
            now.unsaved += now.large.cut.part_size;
            let is_due = now.unsaved >= EPOCH_BYTES;
            *growing = Some(now);
            return if is_due { self.checkpoint(growing).map(|()| None) } else { Ok(None) };
        }
        let digest = now.chain.digest().expect("it has several parts");
        let Large { path, object, about, cut, .. } = &*now.large;
        let held = Held::File { size: cut.size, digest, stored: None };
        Ok(Some(object::entry(path.clone(), object, about.clone(), held)))
    }

    fn checkpoint(&self, growing: &mut Option<Growing>) -> Result<(), Error> {
        let Some(Growing { large, chain, unsaved }) = growing.as_mut().filter(|growing| growing.unsaved > 0) else {
            return Ok(());
        };
        *unsaved = 0;
        let seen = Seen::Object(large.revision.clone());
        let (root, part_size) = (&self.workspace.root, large.cut.part_size);
        save(root, &self.header.uuid, &large.path, seen, large.staged.as_ref(), part_size, chain)
    }

    /// Opens a large object and its staged copy, which an earlier attempt may have begun. Nothing if it is none that can be read in parts.
    fn begin(
        &self,
        path: &RelativePath,
        object: &Object,
        to: Option<&Dir>,
        earlier: Option<Checkpoint>,
    ) -> Result<Option<Large>, Error> {
        // Only by its ETag is every part known to be of the same object.
        if object.etag.is_none() {
            return Ok(None);
        }
        let (object, about) = match self.store.look(&object.key)? {
            Some((now, about)) if now.etag == object.etag && now.size == object.size => {
                (Object { version: now.version, ..object.clone() }, about)
            }
            Some(_) | None => return Err(Error::Changed { path: path.as_bytes().to_vec() }),
        };
        let Some(revision) = object.revision() else { return Ok(None) };
        let cut = Cut { size: object.size, part_size: FETCHED_PART };
        let seen = Seen::Object(revision.clone());
        self.fence.check()?;
        let earlier = Checkpoint::that_counts(&self.workspace.root, earlier, |earlier| {
            earlier.part_size == FETCHED_PART
                && earlier.seen == seen
                && earlier.parts < cut.count()
                && earlier.staged.is_some() == to.is_some()
        })?;
        let (staged, begun) = begin_staged(&self.workspace.root, to, path.as_bytes(), cut.size, earlier.as_ref())?;
        let ranged = Ranged::Object {
            store: self.store.clone(),
            key: object.key.clone(),
            revision: Some(revision.clone()),
            zeros: object::zeros(&about),
        };
        Ok(Some(Large { path: path.clone(), object, revision, about, cut, ranged, staged, begun }))
    }

    fn read(&self, copier: &mut Copier, piece: Piece) -> Result<Made, Error> {
        let changed = |path: &RelativePath| Error::Changed { path: path.as_bytes().to_vec() };
        match piece {
            Piece::Done(entry) => Ok(Made::Line(entry)),
            Piece::Earlier { entry, object, to } => {
                if self.is_still(&entry, &object)? {
                    return Ok(Made::Earlier(entry));
                }
                self.read(copier, Piece::Read { path: entry.path, object, to })
            }
            Piece::Part { large, number } => self.read_part(copier, large, number),
            Piece::LookAt { path, object } => match self.store.look(&object.key)? {
                Some((object, about)) => Ok(Made::Line(object::entry(path, &object, about, Held::Directory))),
                None => Err(changed(&path)),
            },
            Piece::Read { path, mut object, to } => {
                let mut reading = match self.store.read(&object.key, object.revision().as_ref()) {
                    // What a console shows as a folder: the library lists `a/` as `a`, and there is no `a`.
                    Err(Error::Store { fault: Fault::Missing, .. }) if object.size == 0 => return Ok(Made::Nothing),
                    Err(Error::Store { fault: Fault::Missing | Fault::Changed, .. }) => return Err(changed(&path)),
                    other => other?,
                };
                let about = std::mem::take(&mut reading.about);
                object.version = reading.object.version.take();
                let fill = |_, buffer: &mut [u8]| {
                    let read = reading.fill(buffer).map_err(|fault| reading.failed(path.as_bytes(), fault))?;
                    self.pace.throttle.pass(read);
                    Ok(read)
                };
                let held = match object::kind(&about) {
                    object::Kind::Link if object.size <= LONGEST_LINK => read_link(fill)?,
                    object::Kind::Link | object::Kind::File | object::Kind::Directory => {
                        let (size, digest, stored) = if let Some(packs) = &self.packs {
                            self.fence.check()?;
                            let (size, digest, name) = packs.add(copier, path.as_bytes(), object.size, fill)?;
                            (size, digest, Some(name))
                        } else {
                            let (size, digest) = self.stage(copier, &path, to.as_ref(), object::zeros(&about), fill)?;
                            (size, digest, None)
                        };
                        if size != object.size {
                            return Err(changed(&path));
                        }
                        Held::File { size, digest, stored }
                    }
                };
                if let (Held::Link { target }, Some(to)) = (&held, &to) {
                    self.fence.check()?;
                    stage_link(to, path.as_bytes(), &Bytes(target.clone()))?;
                }
                Ok(Made::Line(object::entry(path, &object, about, held)))
            }
        }
    }

    /// Whether an object with the `ETag` of an earlier attempt's entry also has its version.
    fn is_still(&self, entry: &Entry, object: &Object) -> Result<bool, Error> {
        let Content::File { seen: Some(Seen::Object(Revision { version: Some(version), .. })), .. } = &entry.content
        else {
            return Ok(true);
        };
        let now = self.store.look(&object.key)?;
        Ok(now.is_some_and(|(now, _)| now.version.as_ref() == Some(version)))
    }

    fn stage(
        &self,
        copier: &mut Copier,
        path: &RelativePath,
        to: Option<&Dir>,
        zeros: Zeros,
        fill: impl FnMut(u64, &mut [u8]) -> Result<usize, Error>,
    ) -> Result<(u64, Digest), Error> {
        let (path, name) = (path.as_bytes(), split(path.as_bytes()).1);
        let failed = |source| Error::access("write", Side::Workspace, path, source);
        let Some(to) = to else { return copier.copy_stream(fill, None, zeros, failed) };
        self.fence.check()?;
        to.remove_tree(name)?;
        let file = to.create_file(name).at("create", Side::Workspace, path)?;
        let copied = copier.copy_stream(fill, Some(&file), zeros, failed);
        if copied.is_err() {
            // A part of a file only takes room.
            let _ = to.remove_file(name);
        }
        copied
    }
}

fn read_link(mut fill: impl FnMut(u64, &mut [u8]) -> Result<usize, Error>) -> Result<Held, Error> {
    let mut target = vec![0; usize::try_from(LONGEST_LINK).expect("a small number")];
    let mut length = 0;
    while length < target.len() {
        match fill(length as u64, &mut target[length..])? {
            0 => break,
            more => length += more,
        }
    }
    target.truncate(length);
    Ok(Held::Link { target })
}

/// Turns the listing into pieces of work, in order. Directories are staged right here, so a file's directory is there before the file.
struct Feed<'a> {
    fetch: &'a Fetch,
    /// How far an earlier attempt had come inside a large object.
    checkpoint: Option<Checkpoint>,
    /// The parts of a large object that are still to be handed out.
    parts: Parts<Large>,
    things: Things,
    leftover: Leftover,
    staged: Option<Cursor>,
    packs: Option<Packs>,
    /// Bytes of large objects that an earlier attempt had read.
    resumed: u64,
}

/// What making further names of files takes.
struct Linking {
    names: Names,
    /// The staged tree, for first names and for others, which are far apart.
    staged: Option<(Cursor, Cursor)>,
}

impl Feed<'_> {
    fn piece(&mut self) -> Result<Option<Piece>, Error> {
        if let Some((large, number)) = self.parts.next_part() {
            return Ok(Some(Piece::Part { large, number }));
        }
        let Some(Thing { path, what }) = self.things.next() else { return Ok(None) };
        let to = self.staged.as_mut().map(|staged| staged.parent(path.as_bytes())).transpose()?;
        Ok(Some(match what {
            What::Object(object) => match self.reusable(&path, &object, to.as_ref())? {
                Some(entry) => Piece::Earlier { entry, object, to },
                None if object.size > FETCHED_PART && self.packs.is_none() => {
                    let earlier = self.checkpoint.take_if(|checkpoint| checkpoint.path == path);
                    match self.fetch.begin(&path, &object, to.as_ref(), earlier)? {
                        Some(large) => {
                            let number = large.begun.count();
                            self.resumed += number * large.cut.part_size;
                            let parts = number..large.cut.count();
                            self.parts.begin(large, parts);
                            return self.piece();
                        }
                        None => Piece::Read { path, object, to },
                    }
                }
                None => Piece::Read { path, object, to },
            },
            What::Directory(object) => {
                to.map_or(Ok(()), |to| stage_directory(&to, path.as_bytes()))?;
                Piece::LookAt { path, object }
            }
            What::Implied => {
                to.map_or(Ok(()), |to| stage_directory(&to, path.as_bytes()))?;
                let content = Content::Directory { is_implied: true };
                Piece::Done(Entry {
                    path,
                    mode: 0o755,
                    mtime: (0, 0),
                    uid: NOBODY_KNOWS,
                    gid: NOBODY_KNOWS,
                    attributes: Attributes::default(),
                    content,
                })
            }
        }))
    }

    /// An earlier attempt's entry, if both the object and its copy are as they were then.
    fn reusable(&mut self, path: &RelativePath, object: &Object, to: Option<&Dir>) -> Result<Option<Entry>, Error> {
        let Some(earlier) = self.leftover.find(path.as_bytes()) else { return Ok(None) };
        let Content::File { size, seen: Some(Seen::Object(revision)), stored, .. } = &earlier.content else {
            return Ok(None);
        };
        if *size != object.size || Some(&revision.etag) != object.etag.as_ref() {
            return Ok(None);
        }
        let is_there = match (to, &self.packs) {
            (Some(to), _) => is_staged(to, path.as_bytes(), *size)?,
            (None, Some(packs)) => stored.as_ref().map_or(Ok(false), |stored| packs.has(stored))?,
            (None, None) => true,
        };
        Ok(is_there.then_some(earlier))
    }
}
