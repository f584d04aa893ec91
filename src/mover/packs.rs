//! The packed copy in the workspace: one file for each file of the source, under a name that says nothing.
//!
//! Names are random, so they tell nothing of paths; the manifest says which is which. Directories, links and further names of a file are in the manifest only.
//! What stays visible of a sealed copy is how many files there are, how large each is when packed, and when it was written.
//!
//! **Invariant: nothing rests that the manifest does not name.** What killed attempts left is removed before anything is added, and again at the end.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FileType;

use super::content::Copier;
use super::entry::{Content, Digest, Entry, Stored};
use super::error::{At, Error, Side};
use super::manifest::Leftover;
use super::seal::{Seal, Unopened};
use super::tree::{Dir, Kind};
use super::workspace::DATA;

/// Bytes that wait before they are written.
const BUFFER: usize = 128 << 10;

/// The packed copy.
#[derive(Debug, Clone)]
pub struct Packs {
    /// Its folder.
    pub root: Dir,
    seal: Arc<Seal>,
    is_sealed: bool,
    /// What the manifest that is being written names; it may be sealed to others.
    named: Arc<Mutex<HashSet<Stored>>>,
}

/// A packed file that is being read.
pub struct Unpacked {
    bytes: Box<dyn Read + Send>,
}

impl Packs {
    /// The copy below `root`.
    #[must_use]
    pub fn new(root: Dir, is_sealed: bool) -> Self {
        let seal = root.seal.clone().unwrap_or_default();
        Self { root, seal, is_sealed, named: Arc::default() }
    }

    /// Packs what `fill` gives, about `size` bytes, and says how many there were, their digest and where they are. It is on the disk after the next `syncfs`.
    pub fn add(
        &self,
        copier: &mut Copier,
        path: &[u8],
        size: u64,
        fill: impl FnMut(u64, &mut [u8]) -> Result<usize, Error>,
    ) -> Result<(u64, Digest, Stored), Error> {
        let stored = Stored::random().at("name", Side::Workspace, path)?;
        let folder = self.root.ensure_dir(stored.folder().as_bytes()).at("create", Side::Workspace, path)?;
        let name = stored.name();
        let file = folder.create_file(name.as_bytes()).at("create", Side::Workspace, path)?;
        let packed = self.pack(copier, path, size, File::from(file), fill);
        if packed.is_err() {
            // A part of a file only takes room.
            let _ = folder.remove_file(name.as_bytes());
        }
        packed.map(|(size, digest)| (size, digest, stored))
    }

    fn pack(
        &self,
        copier: &mut Copier,
        path: &[u8],
        size: u64,
        file: File,
        fill: impl FnMut(u64, &mut [u8]) -> Result<usize, Error>,
    ) -> Result<(u64, Digest), Error> {
        let out = BufWriter::with_capacity(BUFFER, file);
        let mut packing = self.seal.pack(out, size).at("write", Side::Workspace, path)?;
        let copied = copier.hand_on(fill, |bytes| packing.write_all(bytes).at("write", Side::Workspace, path))?;
        packing.finish().at("write", Side::Workspace, path)?;
        Ok(copied)
    }

    /// Whether there is a copy, as far as looking at it tells.
    pub fn has(&self, stored: &Stored) -> Result<bool, Error> {
        let name = stored.path();
        let folder = match self.root.open_dir(stored.folder().as_bytes()) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(false),
            other => other.at("open", Side::Workspace, name.as_bytes())?,
        };
        let facts = folder.look(stored.name().as_bytes()).at("look at", Side::Workspace, name.as_bytes())?;
        Ok(facts.is_some_and(|facts| facts.kind == Kind::File))
    }

    /// Opens the copy of the file at `path`, which has `size` bytes; not many more are given.
    pub fn open(&self, path: &[u8], stored: Option<&Stored>, size: u64) -> Result<Unpacked, Error> {
        let missing = || Error::StageDiffers { path: path.to_vec(), problem: "is missing" };
        let stored = stored.ok_or_else(missing)?;
        if !self.has(stored)? {
            return Err(missing());
        }
        let folder = self.root.open_dir(stored.folder().as_bytes()).at("open", Side::Workspace, path)?;
        let file = folder.open_file(stored.name().as_bytes()).at("open", Side::Workspace, path)?;
        let bytes =
            self.seal.unpack(File::from(file), self.is_sealed).map_err(|unopened| does_not_open(path, unopened))?;
        // One more, so that a longer file shows.
        Ok(Unpacked { bytes: Box::new(bytes.take(size.saturating_add(1))) })
    }

    /// Reads the copy of the file at `path` to its end.
    pub fn digest(
        &self,
        copier: &mut Copier,
        path: &[u8],
        stored: Option<&Stored>,
        size: u64,
    ) -> Result<(u64, Digest), Error> {
        let mut unpacked = self.open(path, stored, size)?;
        copier.hand_on(|_, buffer| unpacked.fill(path, buffer), |_| Ok(()))
    }

    /// Removes what earlier attempts did not finish.
    pub fn prune_to(&self, mut earlier: Leftover) -> Result<(), Error> {
        let mut kept = HashSet::new();
        while let Some(entry) = earlier.take() {
            kept.extend(stored_of(&entry.content));
        }
        self.prune(&kept).map(drop)
    }

    /// Remembers that the manifest names the copy of an entry.
    pub fn name(&self, entry: &Entry) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.extend(stored_of(&entry.content));
    }

    /// Removes what the manifest that has been written does not name.
    pub fn prune_to_named(&self) -> Result<(), Error> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        self.prune(&named).map(drop)
    }

    /// How many files there are that are not among `kept`.
    pub fn count_others(&self, kept: &HashSet<Stored>) -> Result<u64, Error> {
        self.each(|folder, _, stored| {
            Ok(u64::from(folder.is_none() || !stored.is_some_and(|stored| kept.contains(&stored))))
        })
    }

    fn prune(&self, kept: &HashSet<Stored>) -> Result<u64, Error> {
        self.each(|folder, name, stored| {
            if stored.is_some_and(|stored| kept.contains(&stored)) {
                return Ok(0);
            }
            folder.unwrap_or(&self.root).remove_tree(name)?;
            Ok(1)
        })
    }

    /// Adds up what `each` says of every thing there: of what is no folder of ours without one, of what has no name of ours without that.
    fn each(
        &self,
        mut each: impl FnMut(Option<&Dir>, &[u8], Option<Stored>) -> Result<u64, Error>,
    ) -> Result<u64, Error> {
        let mut sum = 0;
        for outer in self.root.names().at("list", Side::Workspace, DATA)? {
            if outer.kind != FileType::Directory || !Stored::is_folder(&outer.name) {
                sum += each(None, &outer.name, None)?;
                continue;
            }
            let folder = self.root.open_dir(&outer.name).at("open", Side::Workspace, &outer.name)?;
            for inner in folder.names().at("list", Side::Workspace, &outer.name)? {
                sum += each(Some(&folder), &inner.name, Stored::from_names(&outer.name, &inner.name))?;
            }
        }
        Ok(sum)
    }
}

fn stored_of(content: &Content) -> Option<Stored> {
    match content {
        Content::File { stored, .. } => *stored,
        Content::Directory { .. } | Content::Link { .. } => None,
    }
}

fn does_not_open(path: &[u8], unopened: Unopened) -> Error {
    unopened.locked().unwrap_or_else(|| match unopened {
        Unopened::Read(source) => Error::access("read", Side::Workspace, path, source),
        Unopened::Damaged | Unopened::NoIdentity | Unopened::WrongIdentity => {
            Error::StageDiffers { path: path.to_vec(), problem: "does not open: it is cut short or damaged" }
        }
    })
}

impl Unpacked {
    /// The next bytes, into the front of `buffer`; none at the end.
    pub fn fill(&mut self, path: &[u8], buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.bytes.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| does_not_open(path, Unopened::of(error))),
            }
        }
    }
}
