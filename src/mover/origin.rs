//! Where `import` takes a file's bytes from: the staged copy, or the source itself where nothing was staged.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;

use super::content::{Copier, Zeros, read_at};
use super::end::End;
use super::entry::{Content, Entry, Seen};
use super::error::{At, Error, Side};
use super::manifest::{Header, Staging};
use super::object;
use super::pace::Throttle;
use super::packs::{Packs, Unpacked};
use super::store::fault::Fault;
use super::store::key::encode;
use super::store::{Reading, Revision, Store};
use super::tree::{Cursor, Dir, Facts, split};
use super::workspace::Workspace;

/// Bytes that are read into memory at a time.
const STEP: usize = 256 * 1024;

/// Gives the place of each file, in order.
#[derive(Debug)]
pub enum Origin {
    /// A tree.
    Tree(Cursor, Copied),
    /// Objects.
    Store(Store),
    /// The packed copy.
    Packs(Packs),
}

/// Whether a tree is our own copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// The staged copy, which is ours alone.
    Staged,
    /// The source, which others may write to.
    Source,
}

/// Where one file is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a directory.
    Dir(Dir, Copied),
    /// At a store.
    Store(Store),
    /// In the packed copy.
    Packs(Packs),
}

/// One file that is being read.
pub enum Opened {
    /// A file, and how far it has been read.
    File {
        /// The file.
        fd: OwnedFd,
        /// Its facts when it was opened.
        facts: Facts,
        /// Which tree it belongs to.
        side: Side,
    },
    /// An object.
    Object(Box<Reading>),
    /// A packed file.
    Packed(Unpacked),
}

/// One file whose bytes can be had in any order, by several threads.
#[derive(Debug)]
pub enum Ranged {
    /// A file.
    File {
        /// The file.
        fd: OwnedFd,
        /// Its facts when it was opened.
        facts: Facts,
        /// Which tree it belongs to.
        side: Side,
    },
    /// An object.
    Object {
        /// Where it is.
        store: Store,
        /// Its key.
        key: String,
        /// Which it must still be.
        revision: Option<Revision>,
        /// What becomes of its zeros at a tree.
        zeros: Zeros,
    },
}

impl Origin {
    /// Opens what the manifest says to import from.
    pub fn open(header: &Header, source: Option<&End>, workspace: &Workspace) -> Result<Self, Error> {
        match (header.staging, source) {
            (Staging::Copy, _) if header.packing.is_some() => Ok(Self::Packs(workspace.packs()?)),
            (Staging::Copy, _) => Ok(Self::Tree(Cursor::new(workspace.data()?), Copied::Staged)),
            (Staging::None, None) => Err(Error::Staging(
                "nothing was staged (upload --staging=none), so this step needs the same --source as upload",
            )),
            (Staging::None, Some(End::Tree(path))) => Self::open_tree(path),
            (Staging::None, Some(End::Store(location))) => Ok(Self::Store(Store::open(location, Side::Source)?)),
        }
    }

    fn open_tree(path: &Path) -> Result<Self, Error> {
        Ok(Self::Tree(Cursor::new(Dir::open_root(path, Side::Source)?), Copied::Source))
    }

    /// Where the file at `path` is. Paths come in order.
    pub fn place(&mut self, path: &[u8]) -> Result<Place, Error> {
        match self {
            Self::Store(store) => Ok(Place::Store(store.clone())),
            Self::Packs(packs) => Ok(Place::Packs(packs.clone())),
            Self::Tree(cursor, copied) => match cursor.parent(path) {
                Ok(dir) => Ok(Place::Dir(dir, *copied)),
                Err(Error::Access { path, source, .. }) if is_gone(&source) => Err(copied.differs(&path, "is missing")),
                Err(error) => Err(error),
            },
        }
    }
}

impl Copied {
    /// The error for a file that is not what the manifest says. What is ours alone does not heal; nor does a source that has moved on.
    #[must_use]
    pub fn differs(self, path: &[u8], problem: &'static str) -> Error {
        match self {
            Self::Staged => Error::StageDiffers { path: path.to_vec(), problem },
            Self::Source => Error::SourceDiffers { path: path.to_vec(), problem },
        }
    }
}

impl Place {
    /// The error for a file that is not what the manifest says.
    #[must_use]
    pub fn differs(&self, path: &[u8], problem: &'static str) -> Error {
        match self {
            Self::Dir(_, copied) => copied.differs(path, problem),
            Self::Store(_) => Copied::Source.differs(path, problem),
            Self::Packs(_) => Copied::Staged.differs(path, problem),
        }
    }

    /// Opens the file of an entry, which must look as the manifest says.
    pub fn open(&self, entry: &Entry) -> Result<Opened, Error> {
        let path = entry.path.as_bytes();
        let Content::File { size, seen, stored, .. } = &entry.content else { unreachable!("only files are opened") };
        match self {
            Self::Packs(packs) => packs.open(path, stored.as_ref(), *size).map(Opened::Packed),
            Self::Dir(dir, copied) => {
                let fd = match dir.open_file(split(path).1) {
                    Err(Errno::NOENT) => return Err(copied.differs(path, "is missing")),
                    Err(Errno::LOOP | Errno::STALE) => return Err(copied.differs(path, "is no file")),
                    other => other.at("open", dir.side, path)?,
                };
                let facts = Facts::of(&fd).at("look at", dir.side, path)?;
                if facts.size != *size {
                    return Err(copied.differs(path, "has another size than the manifest says"));
                }
                Ok(Opened::File { fd, facts, side: dir.side })
            }
            Self::Store(store) => {
                let revision = match seen {
                    Some(Seen::Object(revision)) => Some(revision),
                    Some(Seen::Inode { .. }) | None => None,
                };
                match store.read(&encode(path, store.location().service).text, revision) {
                    Ok(reading) if reading.object.size != *size => {
                        Err(self.differs(path, "has another size than the manifest says"))
                    }
                    Ok(reading) => Ok(Opened::Object(Box::new(reading))),
                    Err(Error::Store { fault: Fault::Missing, .. }) => Err(self.differs(path, "is missing")),
                    Err(Error::Store { fault: Fault::Changed, .. }) => Err(self.differs(path, "has changed")),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

impl Place {
    /// Opens the file of an entry for reading in parts; nothing if it can be read from its start to its end only.
    pub fn open_ranged(&self, entry: &Entry) -> Result<Option<Ranged>, Error> {
        let Content::File { seen, about, .. } = &entry.content else { unreachable!("only files are opened") };
        match self {
            Self::Dir(..) => match self.open(entry)? {
                Opened::File { fd, facts, side } => Ok(Some(Ranged::File { fd, facts, side })),
                Opened::Object(_) | Opened::Packed(_) => Ok(None),
            },
            Self::Packs(_) => Ok(None),
            Self::Store(store) => {
                let revision = match seen {
                    Some(Seen::Object(revision)) => Some(revision.clone()),
                    Some(Seen::Inode { .. }) | None => None,
                };
                let key = encode(entry.path.as_bytes(), store.location().service).text;
                let zeros = object::zeros(about);
                Ok(Some(Ranged::Object { store: store.clone(), key, revision, zeros }))
            }
        }
    }
}

impl Ranged {
    /// Copies a part to the same place of `to`, if there is one to fill, which belongs to the side `written`, and hashes it. Returns where the part ended.
    pub fn copy(
        &self,
        copier: &mut Copier,
        path: &[u8],
        range: Range<u64>,
        to: Option<(&OwnedFd, Side)>,
        hasher: &mut blake3::Hasher,
        throttle: &Throttle,
    ) -> Result<u64, Error> {
        let written = to.map_or(Side::Source, |(_, side)| side);
        let to = to.map(|(file, _)| file);
        match self {
            Self::File { fd, facts, side } => copier
                .copy_range(fd, facts, range, to, hasher, throttle)
                .map_err(|failed| failed.into_error(*side, written, path)),
            Self::Object { zeros, .. } => {
                let mut reading = self.read_object(path, range.clone())?;
                let fill = |_, buffer: &mut [u8]| {
                    let read = reading.fill(buffer).map_err(|fault| reading.failed(path, fault))?;
                    throttle.pass(read);
                    Ok(read)
                };
                let failed = |source| Error::access("write", written, path, source);
                copier.copy_stream_from(range.start, fill, to, *zeros, hasher, failed)
            }
        }
    }

    /// Reads from `start` on into memory until that is full or the file ends, and says how many bytes there were.
    pub fn read(&self, path: &[u8], start: u64, buffer: &mut [u8], throttle: &Throttle) -> Result<usize, Error> {
        let length = buffer.len();
        let mut reading = match self {
            Self::File { .. } => None,
            Self::Object { .. } => Some(self.read_object(path, start..start + length as u64)?),
        };
        let mut filled = 0;
        while filled < length {
            // In steps, so that a limit of the bandwidth is not waited for in one piece.
            let end = length.min(filled + STEP);
            let rest = &mut buffer[filled..end];
            let read = match (self, &mut reading) {
                (Self::File { fd, side, .. }, _) => read_at(fd, rest, start + filled as u64).at("read", *side, path)?,
                (Self::Object { .. }, Some(reading)) => {
                    reading.fill(rest).map_err(|fault| reading.failed(path, fault))?
                }
                (Self::Object { .. }, None) => 0,
            };
            if read == 0 {
                break;
            }
            throttle.pass(read);
            filled += read;
        }
        Ok(filled)
    }

    fn read_object(&self, path: &[u8], range: Range<u64>) -> Result<Reading, Error> {
        let Self::Object { store, key, revision, .. } = self else { unreachable!("only objects are read by requests") };
        match store.read_range(key, revision.as_ref(), range) {
            Err(Error::Store { fault: Fault::Missing, .. }) => Err(Copied::Source.differs(path, "is missing")),
            Err(Error::Store { fault: Fault::Changed, .. }) => Err(Copied::Source.differs(path, "has changed")),
            other => other,
        }
    }
}

impl Opened {
    /// The next bytes from `offset` on, which is where the last ones ended. Nothing beyond the size it was opened with.
    pub fn fill(&mut self, path: &[u8], offset: u64, buffer: &mut [u8], throttle: &Throttle) -> Result<usize, Error> {
        let read = match self {
            Self::File { fd, facts, side } => {
                let left = usize::try_from(facts.size.saturating_sub(offset)).unwrap_or(usize::MAX);
                let want = left.min(buffer.len());
                if want == 0 { 0 } else { read_at(fd, &mut buffer[..want], offset).at("read", *side, path)? }
            }
            Self::Object(reading) => reading.fill(buffer).map_err(|fault| reading.failed(path, fault))?,
            Self::Packed(unpacked) => unpacked.fill(path, buffer)?,
        };
        throttle.pass(read);
        Ok(read)
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}
