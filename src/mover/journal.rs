//! What this relocation has written, or was about to write, at the target: `import.journal.jsonl` in the workspace.
//!
//! ```text
//! {"format":"relocation-journal/1","sequence":"…","target":"s3://bucket/prefix"}
//! {"file":"acme/a","ino":7}        about to get its name; it has this inode
//! {"again":"acme/a2","of":"acme/a"} about to become a further name of that file
//! {"begun":"acme/big","digest":"blake3:…","as":".relocation-tmp-…","ino":8,"partSize":33554432,"parts":8,"chain":["blake3:…"]}  so many parts are on the disk under that name
//! {"object":"acme/b"}              about to be sent
//! {"upload":"acme/big","digest":"blake3:…","id":"…","partSize":8388608}  its parts go into this upload
//! {"part":"acme/big","number":0,"etag":"…","chain":["blake3:…"]}  the store has taken this part
//! {"sent":"acme/b","etag":"…"}     is there, with this ETag
//! {"link":"acme/c"}                a symbolic link, about to be made
//! {"directory":"acme"}             about to be made
//! {"replaces":"acme/d"}            somebody's file or object, about to be replaced
//! ```
//!
//! **Invariant: a line before the name.** The line is on the disk before a file or object can show under its name, so what shows and has no line is somebody else's.
//! Directories and links hold no data and are not waited for: their lines are with the kernel before they are made, and on the disk with the next file.
//!
//! A last line that is not whole is dropped; lines are only ever added.
//! A retry has a workspace of its own and sees the old one, so it starts with the lines of the relocation that it starts over.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::entry::{Digest, RelativePath};
use super::error::{At, Error, Side};
use super::lines::{Lines, Pen, Trouble};
use super::parts::{Chain, Saved};
use super::records;
use super::seal::Unopened;
use super::tree::Dir;

/// Its name in the workspace.
pub const NAME: &[u8] = b"import.journal.jsonl";
const FORMAT: &str = "relocation-journal/1";
/// Where a retry finds the workspace of the relocation that it starts over.
const EARLIER: &str = "/relocation-source";

/// The workspace of the relocation that this one starts over, if there is one.
#[must_use]
pub fn earlier() -> Option<Dir> {
    Dir::open_root(Path::new(EARLIER), Side::Workspace).ok()
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Line {
    /// A file is about to get its name.
    File {
        /// Its path.
        file: RelativePath,
        /// The inode that it has already.
        ino: u64,
    },
    /// A file is about to get a further name.
    Again {
        /// The further name.
        again: RelativePath,
        /// The first one.
        of: RelativePath,
    },
    /// The first parts of a file are on the disk.
    #[serde(rename_all = "camelCase")]
    Begun {
        /// Its path.
        begun: RelativePath,
        /// What its bytes will be when all parts are there: parts of a source that has changed since are of no use.
        digest: Digest,
        /// The temporary name, in its own directory.
        r#as: String,
        /// The inode.
        ino: u64,
        /// Bytes of a part.
        part_size: u64,
        /// How many parts are there.
        parts: u64,
        /// What they were (see [`super::parts`]).
        chain: Saved,
    },
    /// An upload for the parts of an object was opened.
    #[serde(rename_all = "camelCase")]
    Upload {
        /// Its path.
        upload: RelativePath,
        /// What its bytes will be when all parts are there.
        digest: Digest,
        /// What the store calls it.
        id: String,
        /// Bytes of a part.
        part_size: u64,
    },
    /// The store has taken a part.
    Part {
        /// The path.
        part: RelativePath,
        /// Which part, from 0 on; they are written down in order.
        number: u64,
        /// What the store calls it.
        etag: String,
        /// What the parts up to this one were (see [`super::parts`]).
        chain: Saved,
    },
    /// An object is about to be sent.
    Object {
        /// Its path.
        object: RelativePath,
    },
    /// An object is there.
    Sent {
        /// Its path.
        sent: RelativePath,
        /// What the store calls this content.
        etag: String,
    },
    /// A symbolic link is about to be made.
    Link {
        /// Its path.
        link: RelativePath,
    },
    /// A directory is about to be made.
    Directory {
        /// Its path.
        directory: RelativePath,
    },
    /// Something that is not ours is about to be replaced, so it cannot be undone.
    Replaces {
        /// Its path.
        replaces: RelativePath,
    },
}

impl Line {
    /// Whether it says that something shows, or is about to.
    #[must_use]
    pub fn shows(&self) -> bool {
        !matches!(self, Self::Begun { .. } | Self::Upload { .. } | Self::Part { .. })
    }

    /// The path it is about.
    #[must_use]
    pub fn path(&self) -> &RelativePath {
        match self {
            Self::File { file: path, .. }
            | Self::Again { again: path, .. }
            | Self::Begun { begun: path, .. }
            | Self::Upload { upload: path, .. }
            | Self::Part { part: path, .. }
            | Self::Object { object: path }
            | Self::Sent { sent: path, .. }
            | Self::Link { link: path }
            | Self::Directory { directory: path }
            | Self::Replaces { replaces: path } => path,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    format: String,
    sequence: String,
    target: String,
}

/// What earlier attempts had to do with a path. The last line of each kind counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The inode of a file.
    pub ino: Option<u64>,
    /// The `ETag` of an object that is there.
    pub etag: Option<String>,
    /// Whether somebody's file or object was there before.
    pub replaces: bool,
}

/// What there is already of a large file or object that does not show yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// At a tree.
    File {
        /// What its bytes will be.
        digest: Digest,
        /// The temporary name.
        name: String,
        /// The inode.
        ino: u64,
        /// Bytes of a part.
        part_size: u64,
        /// The parts that are there.
        chain: Chain,
    },
    /// At a store.
    Upload {
        /// What its bytes will be.
        digest: Digest,
        /// What the store calls the upload.
        id: String,
        /// Bytes of a part.
        part_size: u64,
        /// What the store calls the parts that it has, in order.
        etags: Vec<String>,
        /// The same parts.
        chain: Chain,
    },
}

/// What the lines of earlier attempts say.
#[derive(Debug, Default)]
struct Learnt {
    known: HashMap<[u8; 16], Known>,
    begun: HashMap<[u8; 16], Begun>,
}

impl Learnt {
    fn learn(&mut self, line: &Line) {
        let path = short(line.path());
        match line {
            Line::Begun { begun: _, digest, r#as, ino, part_size, parts, chain } => {
                // The workspace is a volume that others may write to: a name with a slash would lead out of the directory.
                let is_sound = part_size.is_power_of_two() && !r#as.contains('/');
                if let Some(chain) = chain.chain(*parts).filter(|_| is_sound) {
                    let (name, ino, part_size) = (r#as.clone(), *ino, *part_size);
                    let begun = Begun::File { digest: *digest, name, ino, part_size, chain };
                    self.begun.insert(path, begun);
                }
            }
            Line::Upload { upload: _, digest, id, part_size } if part_size.is_power_of_two() => {
                let (id, chain) = (id.clone(), Chain::default());
                let (digest, part_size, etags) = (*digest, *part_size, Vec::new());
                self.begun.insert(path, Begun::Upload { digest, id, part_size, etags, chain });
            }
            Line::Upload { .. } => {
                self.begun.remove(&path);
            }
            Line::Part { number, etag, chain, .. } => {
                if let Some(Begun::Upload { etags, chain: known, .. }) = self.begun.get_mut(&path)
                    && etags.len() as u64 == *number
                    && let Some(chain) = chain.chain(number + 1)
                {
                    etags.push(etag.clone());
                    *known = chain;
                }
            }
            Line::File { ino, .. } => {
                self.begun.remove(&path);
                self.shown(path).ino = Some(*ino);
            }
            Line::Sent { etag, .. } => {
                self.begun.remove(&path);
                self.shown(path).etag = Some(etag.clone());
            }
            Line::Object { .. } => self.shown(path).etag = None,
            Line::Replaces { .. } => self.shown(path).replaces = true,
            Line::Again { .. } | Line::Link { .. } | Line::Directory { .. } => {
                self.shown(path);
            }
        }
    }

    fn shown(&mut self, path: [u8; 16]) -> &mut Known {
        self.known.entry(path).or_default()
    }
}

/// The journal, open for adding.
#[derive(Debug)]
pub struct Journal {
    records: Dir,
    out: Mutex<Out>,
    /// The same file, for waiting for the disk while others add lines.
    disk: File,
    has_synced: Condvar,
    learnt: Learnt,
}

#[derive(Debug)]
struct Out {
    file: Pen,
    added: u64,
    synced: u64,
    is_syncing: bool,
    /// Why the disk did not take lines. It stays: asked once more, a kernel may say that all is well, without them.
    broken: Option<std::io::ErrorKind>,
}

impl Out {
    /// Hands all lines to the kernel, and says how long the file is then.
    fn hand_over(&mut self) -> std::io::Result<u64> {
        self.file.flush()?;
        Ok(self.file.get_ref().metadata()?.len())
    }
}

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

impl Journal {
    /// Opens the journal of a relocation (and its retries) and a target, or starts one with the lines of an `earlier` workspace.
    #[allow(clippy::missing_panics_doc)] // it cannot
    pub fn open(workspace: &Dir, sequence: &str, target: &str, earlier: Option<Dir>) -> Result<Self, Error> {
        let header = Header { format: FORMAT.to_owned(), sequence: sequence.to_owned(), target: target.to_owned() };
        let mut learnt = Learnt::default();
        let kept = read(workspace, &header, Access::Write, |line| learnt.learn(&line))?;
        let mut carried = Vec::new();
        if kept.is_none()
            && let Some(earlier) = earlier
        {
            let earlier = earlier.sealed_like(workspace);
            read(&earlier, &header, Access::Read, |line| {
                learnt.learn(&line);
                carried.push(line);
            })?;
        }
        fn at<T>(done: std::io::Result<T>) -> Result<T, Error> {
            done.at("write", Side::Workspace, NAME)
        }
        let file = if let Some((mut file, end)) = kept {
            records::cut(workspace, NAME, &file, end)?;
            at(file.seek(SeekFrom::Start(end)))?;
            file
        } else {
            records::remove(workspace, NAME)?;
            let file = File::from(workspace.create_file(NAME).at("create", Side::Workspace, NAME)?);
            let mut line = serde_json::to_vec(&header).expect("text always serialises");
            line.push(b'\n');
            let mut pen = Pen::new(file, workspace.seal.clone());
            at(pen.write_all(&line).and_then(|()| pen.flush()).and_then(|()| pen.get_ref().sync_data()))?;
            rustix::fs::fsync(workspace).at("write", Side::Workspace, NAME)?;
            let file = at(pen.get_ref().try_clone())?;
            records::grown(workspace, NAME, &file, at(file.metadata())?.len())?;
            file
        };
        let disk = file.try_clone().at("open", Side::Workspace, NAME)?;
        let out =
            Out { file: Pen::new(file, workspace.seal.clone()), added: 0, synced: 0, is_syncing: false, broken: None };
        let records = workspace.clone();
        let journal = Self { records, out: Mutex::new(out), disk, has_synced: Condvar::new(), learnt };
        let mut last = None;
        for line in &carried {
            last = Some(journal.add(line)?);
        }
        last.map_or(Ok(()), |place| journal.sync(place))?;
        Ok(journal)
    }

    /// What earlier attempts had to do with a path; nothing if it is not ours.
    #[must_use]
    pub fn known(&self, path: &RelativePath) -> Option<&Known> {
        self.learnt.known.get(&short(path))
    }

    /// What there is already of large files and objects that do not show yet.
    pub fn begun(&self) -> impl Iterator<Item = &Begun> {
        self.learnt.begun.values()
    }

    /// What there is already of a large file or object, if it does not show yet.
    #[must_use]
    pub fn begun_of(&self, path: &RelativePath) -> Option<&Begun> {
        self.learnt.begun.get(&short(path))
    }

    /// Adds a line, which is not on the disk yet.
    pub fn add(&self, line: &Line) -> Result<Place, Error> {
        let mut out = self.lock();
        let written = serde_json::to_writer(&mut out.file, line).map_err(std::io::Error::from);
        written.and_then(|()| out.file.write_all(b"\n")).at("write", Side::Workspace, NAME)?;
        out.added += 1;
        Ok(Place(out.added))
    }

    /// Hands all lines to the kernel, so that they survive this process; and to the store, if that keeps them.
    pub fn flush(&self) -> Result<(), Error> {
        let length = self.lock().hand_over().at("write", Side::Workspace, NAME)?;
        records::grown(&self.records, NAME, &self.disk, length)
    }

    /// Returns when the line at `place`, and all before it, are on the disk. Lines of others go along: whoever comes while one waits for the disk waits for the next time, together.
    pub fn sync(&self, place: Place) -> Result<(), Error> {
        let mut out = self.lock();
        while out.is_syncing && out.synced < place.0 {
            out = self.has_synced.wait(out).unwrap_or_else(PoisonError::into_inner);
        }
        if out.synced >= place.0 {
            return Ok(());
        }
        if let Some(broken) = out.broken {
            return Err(std::io::Error::from(broken)).at("write", Side::Workspace, NAME);
        }
        out.is_syncing = true;
        let (flushed, added) = (out.hand_over(), out.added);
        drop(out);
        let synced = flushed.and_then(|length| self.disk.sync_data().map(|()| length));
        let broken = synced.as_ref().err().map(std::io::Error::kind);
        let synced = synced
            .at("write", Side::Workspace, NAME)
            .and_then(|length| records::grown(&self.records, NAME, &self.disk, length));
        let mut out = self.lock();
        out.is_syncing = false;
        out.broken = broken;
        if synced.is_ok() {
            out.synced = added;
        }
        drop(out);
        self.has_synced.notify_all();
        synced
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads all lines that are whole, if there is the journal of this relocation and target, and says whether there is.
pub fn read_all(workspace: &Dir, sequence: &str, target: &str, each: impl FnMut(Line)) -> Result<bool, Error> {
    let header = Header { format: FORMAT.to_owned(), sequence: sequence.to_owned(), target: target.to_owned() };
    Ok(read(workspace, &header, Access::Read, each)?.is_some())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// The file and where its last whole line ends.
fn read(
    workspace: &Dir,
    header: &Header,
    access: Access,
    mut each: impl FnMut(Line),
) -> Result<Option<(File, u64)>, Error> {
    let opened = match access {
        Access::Read => workspace.open_file(NAME),
        Access::Write => workspace.open_file_to_write(NAME),
    };
    let file = match opened {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno).at("open", Side::Workspace, NAME),
    };
    let mut lines = Lines::new(file, workspace.seal.clone());
    let mut end = 0;
    loop {
        let line = match lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) | Err(Trouble::Torn | Trouble::Unopened(Unopened::Damaged)) => break,
            Err(Trouble::Unopened(Unopened::Read(source))) => {
                return Err(source).at("read", Side::Workspace, NAME);
            }
            Err(Trouble::Unopened(unopened)) => match unopened.locked() {
                Some(error) => return Err(error),
                None => break,
            },
        };
        if end == 0 {
            if serde_json::from_slice::<Header>(&line).ok().as_ref() != Some(header) {
                return Ok(None);
            }
        } else {
            let Ok(line) = serde_json::from_slice(&line) else { break };
            each(line);
        }
        end = lines.end();
    }
    Ok((end > 0).then(|| (lines.into_inner(), end)))
}

fn short(path: &RelativePath) -> [u8; 16] {
    Digest::half_of(path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        text.as_bytes().to_vec().try_into().unwrap()
    }

    #[test]
    fn what_was_added_is_known_to_the_next_attempt_and_half_a_line_is_not() {
        let temporary = tempfile::tempdir().unwrap();
        let workspace = Dir::open_root(temporary.path(), Side::Workspace).unwrap();
        let journal = Journal::open(&workspace, "u", "t", None).unwrap();
        journal.add(&Line::File { file: path("a"), ino: 7 }).unwrap();
        journal.add(&Line::Object { object: path("b") }).unwrap();
        let place = journal.add(&Line::Sent { sent: path("b"), etag: "e".to_owned() }).unwrap();
        journal.sync(place).unwrap();
        drop(journal);
        let file = temporary.path().join("import.journal.jsonl");
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, [&whole[..], b"{\"object\":\"c"].concat()).unwrap();
        let journal = Journal::open(&workspace, "u", "t", None).unwrap();
        assert_eq!(journal.known(&path("a")).unwrap().ino, Some(7));
        assert_eq!(journal.known(&path("b")).unwrap().etag.as_deref(), Some("e"));
        assert_eq!(journal.known(&path("c")), None);
        drop(journal);
        assert_eq!(std::fs::read(&file).unwrap(), whole);
        let journal = Journal::open(&workspace, "u", "elsewhere", None).unwrap();
        assert_eq!(journal.known(&path("a")), None, "another target is another journal");
    }

    #[test]
    fn a_temporary_name_that_leads_elsewhere_is_none() {
        for (name, is_known) in [(".relocation-tmp-1", true), ("../somebody", false), ("/etc/passwd", false)] {
            let mut learnt = Learnt::default();
            learnt.learn(&Line::Begun {
                begun: path("a"),
                digest: Digest::of(b""),
                r#as: name.to_owned(),
                ino: 7,
                part_size: 8,
                parts: 0,
                chain: Saved::default(),
            });
            assert_eq!(learnt.begun.len(), usize::from(is_known), "{name}");
        }
    }

    #[test]
    fn whoever_waits_for_the_disk_finds_the_line_in_the_file() {
        let temporary = tempfile::tempdir().unwrap();
        let workspace = Dir::open_root(temporary.path(), Side::Workspace).unwrap();
        let journal = Journal::open(&workspace, "u", "t", None).unwrap();
        let file = temporary.path().join("import.journal.jsonl");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (journal, file) = (&journal, &file);
                scope.spawn(move || {
                    for number in 0..20 {
                        let place = journal.add(&Line::Object { object: path(&format!("{thread}-{number}")) }).unwrap();
                        journal.sync(place).unwrap();
                        let text = std::fs::read_to_string(file).unwrap();
                        assert!(text.contains(&format!("\"{thread}-{number}\"")), "{thread}-{number}");
                    }
                });
            }
        });
    }

    #[test]
    fn a_retry_knows_what_the_relocation_before_it_wrote() {
        let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |path: &Path| Dir::open_root(path, Side::Workspace).unwrap();
        let journal = Journal::open(&open(before.path()), "u", "t", None).unwrap();
        let place = journal.add(&Line::File { file: path("a"), ino: 7 }).unwrap();
        journal.sync(place).unwrap();
        for earlier in [Some(open(before.path())), None] {
            let journal = Journal::open(&open(after.path()), "u", "t", earlier).unwrap();
            assert_eq!(journal.known(&path("a")).unwrap().ino, Some(7));
        }
    }
}
