//! Owner and group of what has arrived at a tree.
//!
//! The numbers are kept, not the names: user namespaces and machines differ in names, and a volume stores numbers.
//! Root, or who has the capability `CHOWN`, may give things away; a user may give them to a group of its own. What may not be set is counted.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Gid, Uid};
use rustix::io::Errno;

use super::entry::Entry;
use super::error::{At, Error, Side};
use super::tree::{Dir, Facts};

/// Owner or group of what has none: it is left as it is.
pub const NOBODY_KNOWS: u32 = u32::MAX;

/// Whether owners and groups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Owners {
    /// As at the source, where this user may.
    Keep,
    /// Everything belongs to the user of the step.
    Drop,
}

/// What became of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    /// It was so already, or nobody knows or wants one.
    Before,
    /// It was set.
    Now,
    /// This user may not set it, or the file system has none.
    Not,
}

impl Owners {
    /// Gives an open file or directory its owner.
    pub fn settle(self, entry: &Entry, facts: &Facts, fd: impl AsFd) -> Result<Owned, Error> {
        self.judge(entry, facts, |uid, gid| rustix::fs::fchown(&fd, uid, gid))
    }

    /// Gives the link `name` its owner.
    pub fn settle_link(self, entry: &Entry, facts: &Facts, parent: &Dir, name: &[u8]) -> Result<Owned, Error> {
        self.judge(entry, facts, |uid, gid| rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
    }

    fn judge(
        self,
        entry: &Entry,
        facts: &Facts,
        set: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<Owned, Error> {
        let differs = |wanted: u32, now: u32| self == Self::Keep && wanted != NOBODY_KNOWS && wanted != now;
        let uid = differs(entry.uid, facts.uid).then(|| Uid::from_raw(entry.uid));
        let gid = differs(entry.gid, facts.gid).then(|| Gid::from_raw(entry.gid));
        if uid.is_none() && gid.is_none() {
            return Ok(Owned::Before);
        }
        let may_set = |uid, gid| match set(uid, gid) {
            Ok(()) => Ok(true),
            // INVAL: a number that the user namespace does not map.
            Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(errno) => Err(errno).at("set the owner of", Side::Target, entry.path.as_bytes()),
        };
        if may_set(uid, gid)? {
            return Ok(Owned::Now);
        }
        if uid.is_some() && gid.is_some() {
            // Nobody gives things to another user, but whoever is in a group may give them to that.
            may_set(None, gid)?;
        }
        Ok(Owned::Not)
    }
}
