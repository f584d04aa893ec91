//! Fencing: a launch that has been replaced must not write any more.
//!
//! The token of a launch is recorded where it writes: as the extended attribute `user.relocation.fence.<key>` of the tree's root directory.
//! It is not part of the tree, so nothing of ours shows in a comparison, and it can stay for good:
//! a launch that wakes up after everything is over is still refused.
//! Where the file system has no extended attributes, a file `.relocation-fence-<key>` does it, which `postprocess` removes.
//!
//! The key is a hash of what shares one sequence of tokens (a relocation and its retries), so two relocations into one volume do not fence each other.
//!
//! **Race:** the token is read again right before each write that shows (rename, link, stage), so an outdated launch can slip in one of them
//! between reading and writing. That is harmless: renames never replace a file, and both launches write the same bytes.

use std::sync::Arc;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::entry::Digest;
use super::error::{At, Error};
use super::settings::Launch;
use super::tree::Dir;

/// Start of the names of files that are being written; what a killed attempt left is recognised by it.
pub const TEMPORARY: &str = ".relocation-tmp-";
/// Start of the name of a fence file, and of the object that is one at a store.
pub const FENCE_FILE: &str = ".relocation-fence-";
/// The object that stands for a directory at a store: an empty one below it.
pub const DIRECTORY: &str = ".relocation-directory";
const ATTRIBUTE: &str = "user.relocation.fence.";
/// Records kept on one root: file systems give a directory one block for all attributes. The oldest tokens go first.
const KEPT: usize = 16;

/// The right of this launch to write into one tree.
#[derive(Debug, Clone)]
pub struct Fence {
    root: Dir,
    /// What names of ours in the tree have in common.
    key: Arc<str>,
    launch: Option<(u64, Record)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    Attribute,
    File,
}

impl Fence {
    /// Refuses if a newer launch is recorded at the root of a tree, and writes nothing. Without a launch nothing is fenced.
    pub fn look(root: &Dir, launch: Option<&Launch>) -> Result<Self, Error> {
        let mut fence = Self { root: root.clone(), key: key(launch), launch: None };
        let Some(launch) = launch else {
            return Ok(fence);
        };
        let record = if fence.read(Record::File)?.is_some() { Record::File } else { Record::Attribute };
        refuse_older(launch.token, fence.read(record)?, root)?;
        fence.launch = Some((launch.token, record));
        Ok(fence)
    }

    /// The same, and records this launch, so that older ones are refused from now on.
    pub fn claim(root: &Dir, launch: Option<&Launch>) -> Result<Self, Error> {
        let mut fence = Self::look(root, launch)?;
        let Some((token, record)) = fence.launch else {
            return Ok(fence);
        };
        match fence.write(token, record) {
            Err(Error::Access { source, .. }) if record == Record::Attribute && is_unsupported(&source) => {
                fence.launch = Some((token, Record::File));
                fence.write(token, Record::File)?;
            }
            other => other?,
        }
        fence.forget_oldest();
        Ok(fence)
    }

    /// Refuses if a newer launch has been recorded since.
    pub fn check(&self) -> Result<(), Error> {
        let Some((token, record)) = self.launch else {
            return Ok(());
        };
        let recorded = self.read(record)?;
        refuse_older(token, recorded, &self.root)?;
        // Two claims at the same moment may have left the older token: the newer launch puts that right.
        if recorded == Some(token) { Ok(()) } else { self.write(token, record) }
    }

    /// A name for a file that is being written, different for each `number`.
    #[must_use]
    pub fn temporary(&self, number: u64) -> Vec<u8> {
        let token = self.launch.map_or(0, |(token, _)| token);
        format!("{TEMPORARY}{}-{token}-{number}", self.key).into_bytes()
    }

    /// Whether `name` is a file that a killed attempt of ours did not finish.
    #[must_use]
    pub fn is_leftover(&self, name: &[u8]) -> bool {
        name.starts_with(format!("{TEMPORARY}{}-", self.key).as_bytes())
    }

    /// Whether `path` is our record of the token.
    #[must_use]
    pub fn is_record(&self, path: &[u8]) -> bool {
        path == self.file_name().as_slice()
    }

    /// Removes the record if it shows in the tree.
    pub fn clear(&self) -> Result<(), Error> {
        let name = self.file_name();
        self.root.remove_file(&name).at("remove", self.root.side, &name)
    }

    fn read(&self, record: Record) -> Result<Option<u64>, Error> {
        let mut buffer = [0; 32];
        let side = self.root.side;
        let length = match record {
            Record::Attribute => match rustix::fs::fgetxattr(&self.root, self.attribute(), &mut buffer) {
                Ok(length) => length,
                Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
                Err(errno) => return Err(errno).at("read the fencing token of", side, b"."),
            },
            Record::File => match self.root.open_file(&self.file_name()) {
                Ok(file) => rustix::io::pread(file, &mut buffer, 0).at("read", side, &self.file_name())?,
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(errno).at("open", side, &self.file_name()),
            },
        };
        let text = std::str::from_utf8(&buffer[..length]).ok();
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }

    fn write(&self, token: u64, record: Record) -> Result<(), Error> {
        let (side, text) = (self.root.side, token.to_string());
        match record {
            Record::Attribute => {
                let flags = XattrFlags::empty();
                rustix::fs::fsetxattr(&self.root, self.attribute(), text.as_bytes(), flags).at(
                    "record the fencing token of",
                    side,
                    b".",
                )?;
            }
            Record::File => {
                let (name, temporary) = (self.file_name(), self.temporary(u64::MAX));
                let write = || {
                    self.root.remove_file(&temporary)?;
                    let file = self.root.create_file(&temporary)?;
                    rustix::io::pwrite(&file, text.as_bytes(), 0)?;
                    rustix::fs::fsync(&file)?;
                    rustix::fs::renameat(&self.root, &temporary, &self.root, &name)
                };
                write().at("write", side, &name)?;
            }
        }
        rustix::fs::fsync(&self.root).at("record the fencing token of", side, b".")
    }

    /// Best effort: the record of a launch that ended long ago protects little, and a full attribute block would stop us all.
    fn forget_oldest(&self) {
        let mut names = vec![0; 16 * 1024];
        let Ok(length) = rustix::fs::flistxattr(&self.root, &mut names) else {
            return;
        };
        let mut tokens: Vec<(u64, &[u8])> = names[..length]
            .split(|byte| *byte == 0)
            .filter(|name| name.starts_with(ATTRIBUTE.as_bytes()))
            .map(|name| {
                let mut value = [0; 32];
                let length = rustix::fs::fgetxattr(&self.root, name, &mut value).unwrap_or(0);
                let token = std::str::from_utf8(&value[..length]).ok().and_then(|text| text.parse().ok());
                (token.unwrap_or(0), name)
            })
            .collect();
        tokens.sort_unstable();
        let excess = tokens.len().saturating_sub(KEPT);
        for (_, name) in tokens.drain(..excess) {
            let _ = rustix::fs::fremovexattr(&self.root, name);
        }
    }

    fn attribute(&self) -> String {
        format!("{ATTRIBUTE}{}", self.key)
    }

    fn file_name(&self) -> Vec<u8> {
        format!("{FENCE_FILE}{}", self.key).into_bytes()
    }
}

/// Whether a name at the source looks like ours, so that it could not be told from a leftover at the target.
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(TEMPORARY.as_bytes()) || name.starts_with(FENCE_FILE.as_bytes()) || name == DIRECTORY.as_bytes()
}

/// What names of a sequence of launches have in common.
#[must_use]
pub fn key(launch: Option<&Launch>) -> Arc<str> {
    let sequence = launch.map_or("", |launch| &launch.sequence);
    Digest::of(sequence.as_bytes()).hex()[..16].into()
}

fn refuse_older(ours: u64, recorded: Option<u64>, root: &Dir) -> Result<(), Error> {
    match recorded {
        Some(recorded) if recorded > ours => Err(Error::Fenced { ours, recorded, side: root.side }),
        Some(_) | None => Ok(()),
    }
}

/// Also a directory that is ours to write into but not ours to put attributes on (another owner and the sticky bit).
fn is_unsupported(error: &std::io::Error) -> bool {
    let unsupported = [Errno::OPNOTSUPP, Errno::PERM, Errno::ACCESS, Errno::NOSPC, Errno::RANGE];
    Errno::from_io_error(error).is_some_and(|errno| unsupported.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::super::error::Side;
    use super::*;

    fn launch(token: u64) -> Launch {
        Launch { token, sequence: "one".to_owned() }
    }

    /// Runs a check on a root whose record is an attribute, and on one whose record is a file.
    fn check(test: impl Fn(&Dir)) {
        for has_file in [false, true] {
            let temporary = tempfile::tempdir().unwrap();
            let root = Dir::open_root(temporary.path(), Side::Target).unwrap();
            if has_file {
                let fence = Fence::look(&root, Some(&launch(1))).unwrap();
                fence.write(1, Record::File).unwrap();
            }
            test(&root);
            let files = root.names().unwrap().len();
            assert_eq!(files, usize::from(has_file), "only a file fence shows");
            Fence::look(&root, Some(&launch(9))).unwrap().clear().unwrap();
            assert!(root.names().unwrap().is_empty(), "and it can be cleared");
        }
    }

    #[test]
    fn an_older_launch_is_refused_and_the_same_or_a_newer_one_is_not() {
        check(|root| {
            for (token, is_refused) in [(5, false), (5, false), (4, true), (6, false), (5, true)] {
                assert_eq!(Fence::claim(root, Some(&launch(token))).is_err(), is_refused, "{token}");
                assert_eq!(Fence::look(root, Some(&launch(token))).is_err(), is_refused, "{token}");
            }
        });
    }

    #[test]
    fn a_launch_that_is_replaced_while_it_works_is_stopped() {
        check(|root| {
            let older = Fence::claim(root, Some(&launch(5))).unwrap();
            older.check().unwrap();
            let newer = Fence::claim(root, Some(&launch(6))).unwrap();
            assert!(matches!(older.check(), Err(Error::Fenced { ours: 5, recorded: 6, .. })));
            newer.check().unwrap();
        });
    }

    #[test]
    fn two_claims_at_the_same_moment_end_with_the_newer() {
        check(|root| {
            let older = Fence::claim(root, Some(&launch(5))).unwrap();
            let newer = Fence::claim(root, Some(&launch(6))).unwrap();
            // The older one had read before and writes after.
            let (_, record) = older.launch.unwrap();
            older.write(5, record).unwrap();
            newer.check().unwrap();
            assert!(older.check().is_err());
        });
    }

    #[test]
    fn without_a_launch_nothing_is_recorded_and_nothing_refused() {
        check(|root| {
            Fence::claim(root, Some(&launch(5))).unwrap();
            Fence::claim(root, None).unwrap().check().unwrap();
        });
    }

    #[test]
    fn leftovers_of_another_sequence_are_not_ours() {
        check(|root| {
            let ours = Fence::look(root, Some(&launch(5))).unwrap();
            let other = Launch { token: 5, sequence: "two".to_owned() };
            let theirs = Fence::look(root, Some(&other)).unwrap();
            let later = Fence::look(root, Some(&launch(7))).unwrap();
            assert!(later.is_leftover(&ours.temporary(3)) && !theirs.is_leftover(&ours.temporary(3)));
            assert!(is_reserved(&ours.temporary(3)) && is_reserved(&ours.file_name()));
        });
    }
}
