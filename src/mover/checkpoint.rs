//! How far `upload` has come inside a large file: `upload.checkpoint.json` in the workspace.
//!
//! Files become lines of the manifest in order, so at any time there is one large file at most of which some parts count.
//! The record of it is replaced by a rename, after the parts it speaks of are on the disk; it goes when the manifest is complete.
//! In a sealed workspace there is none, because it names a path: there a large file is read from its start.

use std::fs::File;
use std::io::{Read, Write};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::entry::{RelativePath, Seen};
use super::error::{At, Error, Side};
use super::parts::{Chain, Saved};
use super::records;
use super::tree::Dir;

/// Its name in the workspace.
pub const NAME: &[u8] = b"upload.checkpoint.json";
const PARTIAL: &[u8] = b"upload.checkpoint.json.partial";
/// Longest record: a path of some 10,000 names of the greatest length fits.
const LONGEST: u64 = 32 << 20;

/// The parts of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checkpoint {
    /// The relocation it was written for.
    pub uuid: String,
    /// The file.
    pub path: RelativePath,
    /// How it is recognised as unchanged.
    pub seen: Seen,
    /// The inode of its staged copy, if there is one.
    pub staged: Option<u64>,
    /// Bytes of a part.
    pub part_size: u64,
    /// How many parts have been read, and staged where they are.
    pub parts: u64,
    /// What they were (see [`super::parts`]).
    pub chain: Saved,
}

impl Checkpoint {
    /// The record of an earlier attempt of a relocation. One that cannot be read is none: the file is read from its start then.
    pub fn read(workspace: &Dir, uuid: &str) -> Result<Option<Self>, Error> {
        let file = match workspace.open_file(NAME) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno).at("open", Side::Workspace, NAME),
        };
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text).at("read", Side::Workspace, NAME)?;
        let found: Option<Self> = serde_json::from_slice(&text).ok();
        Ok(found.filter(|found| found.uuid == uuid && found.part_size.is_power_of_two()))
    }

    /// The record of a file about which there is one, if it still counts. One that does not goes: the next staged copy may get the inode that it names.
    pub fn that_counts(
        workspace: &Dir,
        recorded: Option<Self>,
        counts: impl FnOnce(&Self) -> bool,
    ) -> Result<Option<Self>, Error> {
        match recorded {
            Some(recorded) if !counts(&recorded) => forget(workspace).map(|()| None),
            other => Ok(other),
        }
    }

    /// The parts.
    #[must_use]
    pub fn chain(&self) -> Option<Chain> {
        self.chain.chain(self.parts)
    }

    /// Replaces the record, durably. What it speaks of is on the disk already.
    #[allow(clippy::missing_panics_doc)] // it cannot
    pub fn write(&self, workspace: &Dir) -> Result<(), Error> {
        let write = || {
            workspace.remove_file(PARTIAL)?;
            let mut file = File::from(workspace.create_file(PARTIAL)?);
            file.write_all(&serde_json::to_vec(self).expect("text always serialises"))?;
            file.sync_data()?;
            rustix::fs::renameat(workspace, PARTIAL, workspace, NAME)?;
            rustix::fs::fsync(workspace)?;
            Ok::<_, std::io::Error>(())
        };
        write().at("write", Side::Workspace, NAME)?;
        records::replaced(workspace, NAME)
    }
}

/// Removes the record, durably. One of another file may be on its way there at the same time.
pub fn forget(workspace: &Dir) -> Result<(), Error> {
    records::remove(workspace, NAME)?;
    rustix::fs::fsync(workspace).at("remove", Side::Workspace, NAME)
}

/// The same with what a killed attempt left of one, when none is on its way.
pub fn clear(workspace: &Dir) -> Result<(), Error> {
    workspace.remove_file(PARTIAL).at("remove", Side::Workspace, PARTIAL)?;
    forget(workspace)
}
