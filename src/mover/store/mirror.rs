//! What a workspace would hold, kept at a store: the records of a relocation whose plan has no workspace (see [`super::super::records`]).
//!
//! A step works on a directory of its own, which goes with its pod. What would be durable in a workspace is sent to the store before it counts,
//! and the next step begins by fetching it:
//!
//! | in the directory | at the store |
//! |---|---|
//! | a file that is replaced as a whole (manifest, checkpoint, report) | an object of its name |
//! | a file that grows (journal, manifest of a killed `upload`) | `NAME/00000001`, `NAME/00000002`, …: what was added, each time |
//!
//! **Invariant: of two launches that add to a file at the same time, one stops.** A piece is written only where none of its number is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::PutMode;

use super::super::end::Location;
use super::super::error::{At, Error, Side};
use super::super::pool;
use super::super::settings::Launch;
use super::super::tree::Dir;
use super::fault::Fault;
use super::fence::StoreFence;
use super::{About, Replace, Store};

/// A piece of this many bytes waits alone for its turn while records are fetched, so that pieces take little memory.
const HELD: u64 = 128 << 10;

/// The records of one relocation at a store.
#[derive(Debug)]
pub struct Mirror {
    /// Below the records' prefix.
    store: Store,
    /// The target, which has the fencing token.
    target: Store,
    launch: Option<Launch>,
    /// The right to write; taken before the first write.
    fence: Mutex<Option<StoreFence>>,
    /// What is there, by name.
    there: Mutex<BTreeMap<String, There>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum There {
    /// A whole file.
    Whole,
    /// What a file has grown by: how long it was after each piece.
    Pieces(Vec<u64>),
}

impl There {
    /// How many pieces there are, and how long the file is with them.
    fn grown(&self) -> (u64, u64) {
        match self {
            Self::Whole => (0, 0),
            Self::Pieces(ends) => (ends.len() as u64, ends.last().copied().unwrap_or_default()),
        }
    }
}

impl Mirror {
    /// Opens the records below `name` at `target`. Nothing is sent.
    pub fn open(target: &Location, name: &str, launch: Option<&Launch>) -> Result<Self, Error> {
        let prefix = if target.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", target.prefix) };
        let records = Location { prefix, ..target.clone() };
        Ok(Self {
            store: Store::open(&records, Side::Target)?,
            target: Store::open(target, Side::Target)?,
            launch: launch.cloned(),
            fence: Mutex::new(None),
            there: Mutex::default(),
        })
    }

    /// Where the records are, as people write it.
    #[must_use]
    pub fn address(&self) -> String {
        self.store.location().to_string()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.there().is_empty()
    }

    /// Fetches the files `names` into `dir`, which is empty. Others may write to the store too, so no other name is taken from it.
    pub fn fetch(&self, dir: &Dir, names: &[&[u8]]) -> Result<(), Error> {
        StoreFence::look(&self.target, self.launch.as_ref())?;
        let mut there = BTreeMap::new();
        let mut pieces = Vec::new();
        self.store.each(|object| {
            match object.key.split_once('/').and_then(|(name, number)| Some((name, number.parse::<u64>().ok()?))) {
                Some((name, number)) => pieces.push(Piece { name: name.to_owned(), number, size: object.size }),
                None => drop(there.insert(object.key, There::Whole)),
            }
            Ok(())
        })?;
        let is_wanted = |name: &str| names.contains(&name.as_bytes());
        for name in there.keys().filter(|name| is_wanted(name)) {
            let mut file = create(dir, name)?;
            self.read(name, |bytes| file.write_all(bytes).at("write", Side::Workspace, name.as_bytes()))?;
        }
        pieces.retain(|piece| is_wanted(&piece.name));
        pieces.sort_unstable_by(|one, other| (&one.name, one.number).cmp(&(&other.name, other.number)));
        let mut pieces = pieces.into_iter();
        let mut open: Option<(String, File)> = None;
        let read = |(): &mut (), piece: Piece| {
            let mut bytes = Vec::new();
            self.read(&key(&piece.name, piece.number), |more| {
                bytes.extend_from_slice(more);
                Ok(())
            })?;
            Ok((piece, bytes))
        };
        let append = |(piece, bytes): (Piece, Vec<u8>)| {
            let Piece { name, number, .. } = piece;
            let (count, before) = there.get(&name).map_or((0, 0), There::grown);
            // What stands behind a gap was not written by us; a list that ends early is one that a killed attempt has left.
            if number != count + 1 {
                return Ok(());
            }
            if open.as_ref().is_none_or(|(of, _)| *of != name) {
                open = Some((name.clone(), create(dir, &name)?));
            }
            if let Some((_, file)) = &mut open {
                file.write_all(&bytes).at("write", Side::Workspace, name.as_bytes())?;
            }
            push(&mut there, &name, before + bytes.len() as u64);
            Ok(())
        };
        pool::in_order(pool::threads(), || Ok(pieces.next()), read, append)?;
        *self.there() = there;
        Ok(())
    }

    /// Sends a file as a whole; it replaces the one of that name when it is there completely.
    pub fn replace(&self, name: &str, file: &File) -> Result<(), Error> {
        self.check()?;
        let size = file.metadata().at("read", Side::Workspace, name.as_bytes())?.len();
        let mut place = 0;
        let fill = |buffer: &mut [u8]| {
            let read = file.read_at(buffer, place).at("read", Side::Workspace, name.as_bytes())?;
            place += read as u64;
            Ok(read)
        };
        self.store.write(name, size, &About::new(), Replace::Whatever, fill, || Ok(()))?;
        self.there().insert(name.to_owned(), There::Whole);
        Ok(())
    }

    /// Sends what a file has grown by, up to `length` bytes of it.
    pub fn grow(&self, name: &str, file: &File, length: u64) -> Result<(), Error> {
        let mut there = self.there();
        let (count, before) = there.get(name).map_or((0, 0), There::grown);
        if length <= before {
            return Ok(());
        }
        self.check()?;
        let mut bytes = vec![0; usize::try_from(length - before).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, before).at("read", Side::Workspace, name.as_bytes())?;
        let (bytes, piece) = (Bytes::from(bytes), key(name, count + 1));
        match self.store.put(&piece, bytes.clone(), &About::new(), PutMode::Create) {
            // A request whose answer was lost was sent again.
            Err(Error::Store { fault: Fault::Exists, .. }) if self.holds(&piece, &bytes)? => {}
            other => drop(other?),
        }
        push(&mut there, name, length);
        Ok(())
    }

    /// Takes back what a file has grown by beyond `length` bytes, which were found to be of no use.
    pub fn cut(&self, name: &str, length: u64) -> Result<(), Error> {
        let mut there = self.there();
        let Some(There::Pieces(ends)) = there.get_mut(name) else { return Ok(()) };
        while ends.last().is_some_and(|end| *end > length) {
            self.check()?;
            self.store.remove(&key(name, ends.len() as u64))?;
            ends.pop();
        }
        Ok(())
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let mut there = self.there();
        let Some(kind) = there.get(name) else { return Ok(()) };
        self.check()?;
        match kind {
            There::Whole => self.store.remove(name)?,
            // From the last on, so that what a kill leaves is the beginning of the file.
            There::Pieces(ends) => {
                (1..=ends.len() as u64).rev().try_for_each(|number| self.store.remove(&key(name, number)))?;
            }
        }
        there.remove(name);
        Ok(())
    }

    /// Removes the files of a directory, if there are any.
    pub fn remove_below(&self, directory: &str) -> Result<(), Error> {
        let is_below = |name: &&String| name.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        let names: Vec<String> = self.there().keys().filter(is_below).cloned().collect();
        names.iter().try_for_each(|name| self.remove(name))
    }

    /// Removes all records, and the record of the fencing token.
    pub fn discard(&self) -> Result<(), Error> {
        self.check()?;
        match self.store.abort_uploads(&BTreeSet::new(), |_| Ok(true)) {
            Ok(_) | Err(Error::Store { fault: Fault::Denied(_) | Fault::Unsupported(_), .. }) => {}
            Err(error) => return Err(error),
        }
        let mut keys = Vec::new();
        self.store.each(|object| {
            keys.push(Key(object.key));
            Ok(())
        })?;
        let mut keys = keys.into_iter();
        let remove = |(): &mut (), Key(key)| self.store.remove(&key);
        pool::in_order(pool::threads(), || Ok(keys.next()), remove, Ok)?;
        self.there().clear();
        self.fence.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(Ok(()), StoreFence::clear)
    }

    /// Takes the right to write, or looks whether it is still ours.
    fn check(&self) -> Result<(), Error> {
        let mut fence = self.fence.lock().unwrap_or_else(PoisonError::into_inner);
        match fence.as_ref() {
            Some(fence) => fence.check(),
            None => StoreFence::claim(&self.target, self.launch.as_ref()).map(|claimed| *fence = Some(claimed)),
        }
    }

    fn holds(&self, key: &str, bytes: &[u8]) -> Result<bool, Error> {
        let mut found = Vec::new();
        self.read(key, |more| {
            found.extend_from_slice(more);
            Ok(())
        })?;
        Ok(found == bytes)
    }

    fn read(&self, key: &str, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut reading = self.store.read(key, None)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match reading.fill(&mut buffer).map_err(|fault| reading.failed(key.as_bytes(), fault))? {
                0 => return Ok(()),
                read => take(&buffer[..read])?,
            }
        }
    }

    fn there(&self) -> MutexGuard<'_, BTreeMap<String, There>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One piece of a file that grows.
struct Piece {
    name: String,
    number: u64,
    size: u64,
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        self.size.saturating_mul(pool::HEAVY / HELD)
    }
}

/// An object that is to go.
struct Key(String);

impl pool::Weighed for Key {
    fn weight(&self) -> u64 {
        0
    }
}

/// Adds a piece, after which the file is `length` bytes long.
fn push(there: &mut BTreeMap<String, There>, name: &str, length: u64) {
    match there.get_mut(name) {
        Some(There::Pieces(ends)) => ends.push(length),
        Some(There::Whole) | None => drop(there.insert(name.to_owned(), There::Pieces(vec![length]))),
    }
}

fn key(name: &str, number: u64) -> String {
    format!("{name}/{number:08}")
}

fn create(dir: &Dir, name: &str) -> Result<File, Error> {
    dir.create_file(name.as_bytes()).map(File::from).at("create", Side::Workspace, name.as_bytes())
}
