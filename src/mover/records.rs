//! Where the manifest and the journal are: in the workspace, or where a plan has none, at the target.
//!
//! The target then has a directory `.relocation-records-KEY` (at a store: objects below a prefix of that name, see [`super::store::mirror`]),
//! with all that a workspace holds beside a copy of the data. KEY is that of the fencing token, so a retry finds what the relocation before it has left.
//! It is ours and no data: walks and listings leave it out, at the source too.
//!
//! **Judgement: `notify` and `cleanup` remove it, not `postprocess`.** A step that is killed right after it has removed what it worked from could not be repeated.
//! Both can: neither needs the records to do again what it does.

use std::fs::File;
use std::path::PathBuf;

use super::end::End;
use super::error::{At, Error, Side};
use super::fence::{self, Fence};
use super::settings::{Launch, Settings};
use super::store::mirror::Mirror;
use super::tree::Dir;

/// Start of the name of the records at a target.
pub const PREFIX: &str = ".relocation-records-";

/// Where the records of a relocation are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// In the workspace.
    Workspace(PathBuf),
    /// At the target.
    Target(End),
}

impl Site {
    /// The workspace if there is one, else the target.
    pub fn choose(workspace: Option<PathBuf>, target: Option<&End>) -> Result<Self, Error> {
        match (workspace, target) {
            (Some(path), _) => Ok(Self::Workspace(path)),
            (None, Some(target)) => Ok(Self::Target(target.clone())),
            (None, None) => {
                Err(Error::Staging("there is no workspace, and no --target that could keep the records instead"))
            }
        }
    }
}

/// The name of the records of a launch and of those that share its sequence of tokens.
#[must_use]
pub fn name(launch: Option<&Launch>) -> String {
    format!("{PREFIX}{}", fence::key(launch))
}

/// Removes the records of a relocation that are at its target, if they are. What is in a workspace stays: it goes with that.
pub fn discard(site: &Site, settings: &Settings) -> Result<(), Error> {
    let launch = settings.launch.as_ref();
    match site {
        Site::Workspace(_) => Ok(()),
        Site::Target(End::Tree(path)) => {
            let root = Dir::open_root(path, Side::Target)?;
            Fence::claim(&root, launch)?;
            root.remove_tree(name(launch).as_bytes())?;
            rustix::fs::fsync(&root).at("write", Side::Target, b".")
        }
        Site::Target(End::Store(location)) => Mirror::open(location, &name(launch), launch)?.discard(),
    }
}

/// Whether a directory at the top of a tree holds records.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// Whether an object belongs to records.
#[must_use]
pub fn is_key(key: &str) -> bool {
    key.starts_with(PREFIX) && key.contains('/')
}

/// Makes a file that was written as a whole count; it is in the directory already, and durable where that is.
pub fn replaced(records: &Dir, name: &[u8]) -> Result<(), Error> {
    let Some(mirror) = &records.mirror else { return Ok(()) };
    let file = records.open_file(name).at("open", Side::Workspace, name)?;
    mirror.replace(text(name), &File::from(file))
}

/// Makes what a file has grown by count, up to `length` bytes of it, which end with a whole line.
pub fn grown(records: &Dir, name: &[u8], file: &File, length: u64) -> Result<(), Error> {
    records.mirror.as_ref().map_or(Ok(()), |mirror| mirror.grow(text(name), file, length))
}

/// Cuts a file that grows to its first `length` bytes, the end of the last line that is whole.
pub fn cut(records: &Dir, name: &[u8], file: &File, length: u64) -> Result<(), Error> {
    file.set_len(length).at("write", Side::Workspace, name)?;
    let Some(mirror) = &records.mirror else { return Ok(()) };
    mirror.cut(text(name), length)?;
    mirror.grow(text(name), file, length)
}

/// Removes a file, if it is there.
pub fn remove(records: &Dir, name: &[u8]) -> Result<(), Error> {
    records.remove_file(name).at("remove", Side::Workspace, name)?;
    records.mirror.as_ref().map_or(Ok(()), |mirror| mirror.remove(text(name)))
}

/// Removes a directory with the files in it.
pub fn remove_directory(records: &Dir, name: &[u8]) -> Result<(), Error> {
    records.remove_tree(name)?;
    records.mirror.as_ref().map_or(Ok(()), |mirror| mirror.remove_below(text(name)))
}

/// Gives a file another name, where nothing has that any more afterwards.
pub fn rename(records: &Dir, from: &[u8], to: &[u8]) -> Result<(), Error> {
    rustix::fs::renameat(records, from, records, to).at("rename", Side::Workspace, from)?;
    replaced(records, to)?;
    records.mirror.as_ref().map_or(Ok(()), |mirror| mirror.remove(text(from)))
}

/// Our own names are text.
fn text(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}
