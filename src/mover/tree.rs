//! Trees of other people's files, handled through directory descriptors only.
//!
//! **Invariant: one name at a time.** Every call takes an open directory and a single name, and none follows a symbolic link.
//! So whatever the data contain, and whoever swaps a directory for a link while a step runs, nothing outside the tree is read or written.
//! Because no path is ever handed to the kernel, its `PATH_MAX` does not apply either; and unlike `openat2`, this works on every kernel and sandbox.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::{At, Error, Side};
use super::seal::Seal;
use super::store::mirror::Mirror;

/// Mode of what we create before its own mode is set: nobody else looks into data on their way.
const PRIVATE_DIRECTORY: Mode = Mode::RWXU;
/// The same for files.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The name of an ext file system's directory for what a repair has found.
pub const LOST_AND_FOUND: &[u8] = b"lost+found";

/// An open directory of one of the trees.
#[derive(Debug, Clone)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    /// The tree it belongs to.
    pub side: Side,
    /// How lists in it are sealed; only at the workspace.
    pub seal: Option<Arc<Seal>>,
    /// The store that keeps the files of this directory, where there is no workspace; only at its root.
    pub mirror: Option<Arc<Mirror>>,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// Opens a tree at the path a person gave; only here links are followed.
    pub fn open_root(path: &Path, side: Side) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::Mount {
            side,
            path: path.as_os_str().as_encoded_bytes().to_vec(),
            source: errno.into(),
        })?;
        Ok(Self { fd: Arc::new(fd), side, seal: None, mirror: None })
    }

    /// The same with lists that open by what opens those of `other`.
    #[must_use]
    pub fn sealed_like(self, other: &Self) -> Self {
        Self { seal: other.seal.clone(), ..self }
    }

    /// Opens the directory `name`.
    pub fn open_dir(&self, name: &[u8]) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self, name, flags, Mode::empty())?;
        Ok(Self { fd: Arc::new(fd), side: self.side, seal: self.seal.clone(), mirror: None })
    }

    /// Opens the regular file `name` for reading; anything else that has taken its place is `ESTALE`.
    pub fn open_file(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        // Without NONBLOCK a fifo that took the file's place would hold us for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self, name, flags, Mode::empty())?;
        if Facts::of(&fd)?.kind == Kind::File { Ok(fd) } else { Err(Errno::STALE) }
    }

    /// Opens the regular file `name` for reading and writing; anything else that has taken its place is `ESTALE`.
    pub fn open_file_to_write(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self, name, flags, Mode::empty())?;
        if Facts::of(&fd)?.kind == Kind::File { Ok(fd) } else { Err(Errno::STALE) }
    }

    /// Creates the file `name`, which must not exist.
    pub fn create_file(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self, name, flags, PRIVATE_FILE)
    }

    /// Creates the directory `name`, which must not exist.
    pub fn create_dir(&self, name: &[u8]) -> Result<(), Errno> {
        rustix::fs::mkdirat(self, name, PRIVATE_DIRECTORY)
    }

    /// Creates the directory `name` unless there is one, and opens it.
    pub fn ensure_dir(&self, name: &[u8]) -> Result<Self, Errno> {
        match self.create_dir(name) {
            Ok(()) | Err(Errno::EXIST) => self.open_dir(name),
            Err(errno) => Err(errno),
        }
    }

    /// What `name` is, or nothing if it does not exist.
    pub fn look(&self, name: &[u8]) -> Result<Option<Facts>, Errno> {
        match rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Facts::from(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Where the symbolic link `name` points.
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        rustix::fs::readlinkat(self, name, Vec::new()).map(std::ffi::CString::into_bytes)
    }

    /// Removes the file or link `name` if it exists.
    pub fn remove_file(&self, name: &[u8]) -> Result<(), Errno> {
        match rustix::fs::unlinkat(self, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Removes whatever `name` is, with everything below it. Only for the workspace, where all is ours.
    pub fn remove_tree(&self, name: &[u8]) -> Result<(), Error> {
        let doing = "remove";
        let Some(facts) = self.look(name).at(doing, self.side, name)? else {
            return Ok(());
        };
        if facts.kind != Kind::Directory {
            return self.remove_file(name).at(doing, self.side, name);
        }
        // An explicit stack of names, not recursion: the depth is the data's choice.
        let mut open = vec![(name.to_vec(), self.open_dir(name).at(doing, self.side, name)?)];
        while let Some((own_name, dir)) = open.last() {
            let mut deeper = None;
            for child in dir.names().at(doing, self.side, own_name)? {
                match rustix::fs::unlinkat(dir, &child.name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::ISDIR | Errno::PERM) => {
                        let inner = dir.open_dir(&child.name).at(doing, self.side, &child.name)?;
                        deeper = Some((child.name, inner));
                        break;
                    }
                    Err(errno) => return Err(errno).at(doing, self.side, &child.name),
                }
            }
            if let Some(next) = deeper {
                open.push(next);
                continue;
            }
            let own_name = own_name.clone();
            open.pop();
            let parent = open.last().map_or(self, |(_, parent)| parent);
            rustix::fs::unlinkat(parent, &own_name, AtFlags::REMOVEDIR).at(doing, self.side, &own_name)?;
        }
        Ok(())
    }

    /// The names in this directory, in the kernel's order.
    pub fn names(&self) -> Result<Vec<Named>, Errno> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(self)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(Named { name: name.to_vec(), kind: entry.file_type() });
            }
        }
        Ok(names)
    }

    /// Gives the owner (us) the permissions `wanted` on `name`, if they are missing: read-only trees must stay movable without root.
    /// The mode from the manifest is set at the end by `postprocess`.
    pub fn grant_owner(&self, name: &[u8], facts: &Facts, wanted: Mode) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(facts.mode);
        if mode.contains(wanted) || facts.uid != rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        self.set_mode(name, mode.union(wanted))
    }

    /// Sets the mode of `name`, which is not a link, without needing permission to open it.
    fn set_mode(&self, name: &[u8], mode: Mode) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self, name, flags, Mode::empty())?;
        // fchmod refuses an O_PATH descriptor, and fchmodat can only be told not to follow links since Linux 6.6.
        let through_proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        if Facts::of(&fd)?.kind == Kind::Link {
            return Err(Errno::STALE);
        }
        rustix::fs::chmod(through_proc, mode)
    }
}

/// One name in a directory.
#[derive(Debug, Clone)]
pub struct Named {
    /// The bytes of the name.
    pub name: Vec<u8>,
    /// What the directory says it is; `Unknown` on some file systems.
    pub kind: FileType,
}

/// What kind of thing a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A fifo, socket or device, which is not data.
    Other(&'static str),
}

/// A time as the file system stores it: seconds since 1970 and nanoseconds.
pub type Time = (i64, u32);

/// What `lstat` says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its kind.
    pub kind: Kind,
    /// Bytes of a file.
    pub size: u64,
    /// Bytes that take room on the disk; less than `size` for a file with holes.
    pub allocated: u64,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Time of the last change of anything; nobody can set it back.
    pub ctime: Time,
    /// Device and inode number.
    pub identity: (u64, u64),
    /// How many names it has.
    pub links: u64,
}

impl Facts {
    /// The facts of an open file or directory.
    pub fn of(fd: impl AsFd) -> Result<Self, Errno> {
        rustix::fs::fstat(fd).map(|stat| Self::from(&stat))
    }

    /// Whether this, at `path`, is what ext file systems keep in their root: it belongs to the volume and not to the data, and root alone may open it.
    #[must_use]
    pub fn is_lost_and_found(&self, path: &[u8]) -> bool {
        path == LOST_AND_FOUND && self.kind == Kind::Directory && self.uid == 0 && self.mode == 0o700
    }

    /// Whether both are the same file with the same content as far as the file system can tell.
    #[must_use]
    pub fn unchanged_since(&self, earlier: &Self) -> bool {
        self.identity == earlier.identity
            && self.size == earlier.size
            && self.mtime == earlier.mtime
            && self.ctime == earlier.ctime
    }
}

impl From<&Stat> for Facts {
    // The width and sign of these fields differ between architectures.
    #[allow(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        clippy::unnecessary_cast,
        clippy::useless_conversion
    )]
    fn from(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            FileType::Fifo => Kind::Other("fifo"),
            FileType::Socket => Kind::Other("socket"),
            FileType::CharacterDevice => Kind::Other("character device"),
            FileType::BlockDevice => Kind::Other("block device"),
            FileType::Unknown => Kind::Other("thing of unknown type"),
        };
        Self {
            kind,
            size: stat.st_size as u64,
            allocated: stat.st_blocks as u64 * 512,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
            identity: (stat.st_dev as u64, stat.st_ino as u64),
            links: u64::from(stat.st_nlink),
        }
    }
}

/// Splits a path into its parent's path and its own name.
#[must_use]
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Opens parents of paths that come in order, keeping the way to the last one open.
#[derive(Debug)]
pub struct Cursor {
    root: Dir,
    /// The last parent and some of its ancestors, outermost first.
    open: Vec<(Vec<u8>, Dir)>,
}

impl Cursor {
    /// Descriptors kept; deeper trees reopen from further up now and then.
    const KEPT: usize = 32;

    /// Starts at the root of a tree.
    #[must_use]
    pub fn new(root: Dir) -> Self {
        Self { root, open: Vec::new() }
    }

    /// The open parent directory of `path`.
    pub fn parent(&mut self, path: &[u8]) -> Result<Dir, Error> {
        let (wanted, _) = split(path);
        while self.open.last().is_some_and(|(path, _)| !is_within(wanted, path)) {
            self.open.pop();
        }
        let mut reached = self.open.last().map_or(0, |(path, _)| path.len());
        while reached < wanted.len() {
            let start = if reached == 0 { 0 } else { reached + 1 };
            let end = wanted[start..].iter().position(|byte| *byte == b'/').map_or(wanted.len(), |at| start + at);
            let dir = self.current().open_dir(&wanted[start..end]).at("open", self.root.side, &wanted[..end])?;
            if self.open.len() == Self::KEPT {
                self.open.remove(0);
            }
            self.open.push((wanted[..end].to_vec(), dir));
            reached = end;
        }
        Ok(self.current().clone())
    }

    fn current(&self) -> &Dir {
        self.open.last().map_or(&self.root, |(_, dir)| dir)
    }
}

fn is_within(path: &[u8], ancestor: &[u8]) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}
