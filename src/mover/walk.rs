//! A tree's paths in the order of their bytes, one directory's names in memory at a time.
//!
//! **Invariant: byte order.** `a`, `a-b`, `a/c` is the order of the raw path bytes, because `-` sorts before `/`.
//! A plain depth-first walk would give `a`, `a/c`, `a-b`.
//! The manifest is in the same order, so a tree and a manifest are compared by one pass over both ([`Join`]), however large they are.

use std::cmp::Ordering;

use rustix::fs::FileType;

use super::entry::Entry;
use super::error::{At, Error};
use super::filter::{Filter, Taken};
use super::manifest::Reader;
use super::records;
use super::tree::{Dir, Facts, Kind};

/// One path of a tree.
#[derive(Debug)]
pub struct Found {
    /// Path from the root of the tree.
    pub path: Vec<u8>,
    /// The directory that holds it.
    pub parent: Dir,
    /// What it is.
    pub facts: Facts,
}

impl Found {
    /// The last component of the path.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        super::tree::split(&self.path).1
    }
}

/// Walks a tree in byte order.
#[derive(Debug)]
pub struct Walk {
    frames: Vec<Frame>,
    /// The path of the innermost directory and, as its starts, of all others: each on its own would take the square of the depth.
    path: Vec<u8>,
    filter: Filter,
}

#[derive(Debug)]
struct Frame {
    dir: Dir,
    /// How much of the walk's path is the path of this directory.
    path_length: usize,
    stops: Vec<Stop>,
    next: usize,
}

/// A directory gets two stops: itself, and later, under `name/`, its children.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stop {
    key: Vec<u8>,
    is_pruned: bool,
}

impl Walk {
    /// Starts below `root`; the root itself belongs to the volume, not to the data, and is never reported, nor are records of relocations in it.
    pub fn new(root: Dir) -> Result<Self, Error> {
        let mut top = Frame::new(root, b"")?;
        let is_records = |stop: &Stop| stop.key.ends_with(b"/") && records::is_name(&stop.key);
        let records: Vec<_> = top.stops.iter().filter(|stop| is_records(stop)).map(|stop| stop.key.clone()).collect();
        top.stops
            .retain(|stop| !records.iter().any(|key| *key == stop.key || key.strip_suffix(b"/") == Some(&stop.key)));
        Ok(Self { frames: vec![top], path: Vec::new(), filter: Filter::default() })
    }

    /// Leaves out what the patterns say.
    #[must_use]
    pub fn filtered(mut self, filter: &Filter) -> Self {
        self.filter = filter.clone();
        self
    }

    /// Leaves out names at the top level.
    pub fn keep_top(&mut self, keep: impl Fn(&[u8]) -> bool) {
        if let Some(top) = self.frames.first_mut() {
            top.stops.retain(|stop| keep(stop.key.strip_suffix(b"/").unwrap_or(&stop.key)));
        }
    }

    /// The next path. After an error the walk can go on; what could not be read is left out.
    pub fn next_found(&mut self) -> Result<Option<Found>, Error> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(stop) = frame.stops.get(frame.next) else {
                self.frames.pop();
                continue;
            };
            frame.next += 1;
            if let Some(name) = stop.key.strip_suffix(b"/") {
                if !stop.is_pruned {
                    let path = join(&self.path[..frame.path_length], name);
                    let dir = frame.dir.open_dir(name).at("open", frame.dir.side, &path)?;
                    self.frames.push(Frame::new(dir, &path)?);
                    self.path = path;
                }
                continue;
            }
            let path = join(&self.path[..frame.path_length], &stop.key);
            let facts = frame.dir.look(&stop.key).at("look at", frame.dir.side, &path)?;
            // Gone since it was listed: as if it had been removed before we came.
            let Some(facts) = facts else { continue };
            match self.filter.judge(&path, facts.kind) {
                Taken::Yes => {}
                Taken::Not => continue,
                Taken::NorBelow => {
                    self.prune(&path);
                    continue;
                }
            }
            let Some(frame) = self.frames.last() else { continue };
            return Ok(Some(Found { path, parent: frame.dir.clone(), facts }));
        }
        Ok(None)
    }

    /// Does not go into the directory `path` that was reported last.
    pub fn prune(&mut self, path: &[u8]) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        let mut key = super::tree::split(path).1.to_vec();
        key.push(b'/');
        if let Ok(index) = frame.stops.binary_search_by(|stop| stop.key.cmp(&key)) {
            frame.stops[index].is_pruned = true;
        }
    }
}

impl Frame {
    fn new(dir: Dir, path: &[u8]) -> Result<Self, Error> {
        let mut stops = Vec::new();
        for named in dir.names().at("list", dir.side, path)? {
            #[allow(clippy::wildcard_enum_match_arm)] // the kernel's enum; all but two are leaves
            let is_directory = match named.kind {
                FileType::Unknown => {
                    let facts = dir.look(&named.name).at("look at", dir.side, &join(path, &named.name))?;
                    facts.is_some_and(|facts| facts.kind == Kind::Directory)
                }
                kind => kind == FileType::Directory,
            };
            if is_directory {
                let mut key = named.name.clone();
                key.push(b'/');
                stops.push(Stop { key, is_pruned: false });
            }
            stops.push(Stop { key: named.name, is_pruned: false });
        }
        stops.sort_unstable();
        Ok(Self { dir, path_length: path.len(), stops, next: 0 })
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    [parent, b"/", name].concat()
}

/// A path that is in the manifest, in the tree, or in both.
#[derive(Debug)]
pub enum Pair {
    /// Only in the manifest.
    Missing(Entry),
    /// Only in the tree; what is below it is not reported.
    Extra(Found),
    /// In both.
    Both(Entry, Found),
}

/// One pass over a manifest and a tree.
#[derive(Debug)]
pub struct Join {
    walk: Walk,
    manifest: Reader,
    found: Option<Found>,
    entry: Option<Entry>,
    /// Where in the manifest the entry reported last stands.
    pub offset: u64,
    entry_offset: u64,
}

impl Join {
    /// Starts at the beginning of both.
    pub fn new(root: Dir, manifest: Reader) -> Result<Self, Error> {
        Ok(Self::over(Walk::new(root)?, manifest))
    }

    /// Starts at the beginning of a manifest and of a walk that may leave things out.
    #[must_use]
    pub fn over(walk: Walk, manifest: Reader) -> Self {
        Self { walk, manifest, found: None, entry: None, offset: 0, entry_offset: 0 }
    }

    /// The next path of either.
    pub fn next_pair(&mut self) -> Result<Option<Pair>, Error> {
        if self.entry.is_none() {
            self.entry_offset = self.manifest.offset();
            self.entry = self.manifest.next_entry()?;
        }
        if self.found.is_none() {
            self.found = self.walk.next_found()?;
        }
        let order = match (&self.entry, &self.found) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(entry), Some(found)) => entry.path.as_bytes().cmp(&found.path),
        };
        self.offset = self.entry_offset;
        Ok(match order {
            Ordering::Less => self.entry.take().map(Pair::Missing),
            Ordering::Greater => self.found.take().map(|found| {
                self.walk.prune(&found.path);
                Pair::Extra(found)
            }),
            Ordering::Equal => self.entry.take().zip(self.found.take()).map(|(entry, found)| {
                if found.facts.kind == Kind::Directory && !entry.is_directory() {
                    self.walk.prune(&found.path);
                }
                Pair::Both(entry, found)
            }),
        })
    }
}
