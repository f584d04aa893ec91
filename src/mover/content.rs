//! Bytes of files: read, hashed and written, holes kept.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::entry::Digest;
use super::error::{Error, Side};
use super::pace::Throttle;
use super::tree::Facts;

/// Bytes moved at a time: large enough that system calls do not count, small enough for the processor's cache.
const CHUNK: usize = 256 * 1024;

/// Bytes of a block of a file system, usually.
const BLOCK: usize = 4096;

/// What becomes of zeros that are copied into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeros {
    /// They are written like other bytes.
    Written,
    /// They are left out, and read as what they are.
    AsHoles,
}

/// Which end of a copy failed.
#[derive(Debug)]
pub enum Failed {
    /// Reading.
    Read(io::Error),
    /// Writing.
    Write(io::Error),
}

impl Failed {
    /// The error for a copy of `path` from one tree to another.
    #[must_use]
    pub fn into_error(self, from: Side, to: Side, path: &[u8]) -> Error {
        match self {
            Self::Read(source) => Error::access("read", from, path, source),
            Self::Write(source) => Error::access("write", to, path, source),
        }
    }

    fn cause(self) -> io::Error {
        match self {
            Self::Read(cause) | Self::Write(cause) => cause,
        }
    }
}

/// Reads a file from its start to its end and says how long it is and what its digest is. Holes are hashed and not read.
pub fn digest(from: &OwnedFd) -> io::Result<(u64, Digest)> {
    let facts = Facts::of(from)?;
    // Clearing a whole chunk takes longer than reading a small file.
    let mut copier = Copier { buffer: vec![0; chunk(facts.size.max(1))] };
    let (mut hasher, throttle) = (blake3::Hasher::new(), Throttle::default());
    let known = copier.copy_range(from, &facts, 0..facts.size, None, &mut hasher, &throttle).map_err(Failed::cause)?;
    // To its end also if it has grown since.
    let size = copier.copy_data(from, known..u64::MAX, None, &mut hasher, &throttle).map_err(Failed::cause)?;
    Ok((size, hasher.finalize().into()))
}

/// What becomes of the zeros of a file that is copied as a stream: whether it has holes. A file system may also keep a file in less room than its bytes take.
pub fn zeros(file: &OwnedFd, facts: &Facts) -> io::Result<Zeros> {
    let has_holes = facts.allocated < facts.size && next(file, SeekFrom::Hole(0), facts.size)? < facts.size;
    Ok(if has_holes { Zeros::AsHoles } else { Zeros::Written })
}

/// Copies bytes between files, hashing what it reads.
#[derive(Debug)]
pub struct Copier {
    buffer: Vec<u8>,
}

impl Default for Copier {
    fn default() -> Self {
        Self { buffer: vec![0; CHUNK] }
    }
}

impl Copier {
    /// Copies the file `from`, whose facts are `facts`, into the empty file `to`. Returns how many bytes there were, holes included, and their digest.
    ///
    /// Nothing beyond `facts.size` is read: a file that grows for ever does not keep us for ever, and the caller looks afterwards whether it grew.
    pub fn copy(
        &mut self,
        from: &OwnedFd,
        facts: &Facts,
        to: &OwnedFd,
        throttle: &Throttle,
    ) -> Result<(u64, Digest), Failed> {
        let mut hasher = blake3::Hasher::new();
        let size = self.copy_range(from, facts, 0..facts.size, Some(to), &mut hasher, throttle)?;
        if facts.allocated < facts.size {
            rustix::fs::ftruncate(to, size).map_err(|errno| Failed::Write(errno.into()))?;
        }
        Ok((size, hasher.finalize().into()))
    }

    /// Copies a part of the file `from` to the same place of `to`, if there is one to fill, and hashes it. Returns where the part ended, which is earlier than asked for if the file does.
    ///
    /// `to` has its length already: a hole is left as it is. A hole that comes while others read the same file is read as the zeros that it is.
    pub fn copy_range(
        &mut self,
        from: &OwnedFd,
        facts: &Facts,
        range: Range<u64>,
        to: Option<&OwnedFd>,
        hasher: &mut blake3::Hasher,
        throttle: &Throttle,
    ) -> Result<u64, Failed> {
        // A hole is zeros by definition: to read one costs five times as much as to hash it, and fills the kernel's cache.
        if facts.allocated >= facts.size {
            return self.copy_data(from, range, to, hasher, throttle);
        }
        let Range { start: mut offset, end } = range;
        while offset < end {
            let data = next(from, SeekFrom::Data(offset), end).map_err(Failed::Read)?;
            self.hash_zeros(hasher, data.saturating_sub(offset));
            let hole = next(from, SeekFrom::Hole(data), end).map_err(Failed::Read)?;
            offset = self.copy_data(from, data..hole, to, hasher, throttle)?;
            if offset < hole {
                break;
            }
        }
        Ok(offset)
    }

    /// Hashes the file `from`, whose facts are `facts`, and nothing beyond `facts.size`. Returns how many bytes there were, holes included, and their digest.
    pub fn hash(&mut self, from: &OwnedFd, facts: &Facts, throttle: &Throttle) -> io::Result<(u64, Digest)> {
        let mut hasher = blake3::Hasher::new();
        let size = self.copy_range(from, facts, 0..facts.size, None, &mut hasher, throttle).map_err(Failed::cause)?;
        Ok((size, hasher.finalize().into()))
    }

    /// Copies what `fill` gives, from where the last ended, into the empty file `to`, if there is one to fill. Returns how many bytes there were and their digest.
    /// `zeros` says what becomes of them in `to`.
    pub fn copy_stream<E>(
        &mut self,
        fill: impl FnMut(u64, &mut [u8]) -> Result<usize, E>,
        to: Option<&OwnedFd>,
        zeros: Zeros,
        failed: impl Fn(io::Error) -> E,
    ) -> Result<(u64, Digest), E> {
        let mut hasher = blake3::Hasher::new();
        let length = self.copy_stream_from(0, fill, to, zeros, &mut hasher, &failed)?;
        if let (Some(to), Zeros::AsHoles) = (to, zeros) {
            rustix::fs::ftruncate(to, length).map_err(|errno| failed(errno.into()))?;
        }
        Ok((length, hasher.finalize().into()))
    }

    /// The same for a part that starts at `start`. Returns where it ended.
    pub fn copy_stream_from<E>(
        &mut self,
        start: u64,
        mut fill: impl FnMut(u64, &mut [u8]) -> Result<usize, E>,
        to: Option<&OwnedFd>,
        zeros: Zeros,
        hasher: &mut blake3::Hasher,
        failed: impl Fn(io::Error) -> E,
    ) -> Result<u64, E> {
        let mut offset = start;
        loop {
            let read = fill(offset, &mut self.buffer)?;
            if read == 0 {
                return Ok(offset);
            }
            let bytes = &self.buffer[..read];
            hasher.update(bytes);
            if let Some(to) = to {
                match zeros {
                    Zeros::Written => write_all_at(to, bytes, offset),
                    Zeros::AsHoles => write_but_zeros(to, bytes, offset),
                }
                .map_err(&failed)?;
            }
            offset += read as u64;
        }
    }

    /// Hands what `fill` gives, from where the last ended, on to `take`. Returns how many bytes there were and their digest.
    pub fn hand_on<E>(
        &mut self,
        mut fill: impl FnMut(u64, &mut [u8]) -> Result<usize, E>,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(u64, Digest), E> {
        let mut hasher = blake3::Hasher::new();
        let mut offset = 0;
        loop {
            let read = fill(offset, &mut self.buffer)?;
            if read == 0 {
                return Ok((offset, hasher.finalize().into()));
            }
            hasher.update(&self.buffer[..read]);
            take(&self.buffer[..read])?;
            offset += read as u64;
        }
    }

    /// Copies to the end of the range or of the file, and says where it got to.
    fn copy_data(
        &mut self,
        from: &OwnedFd,
        range: Range<u64>,
        to: Option<&OwnedFd>,
        hasher: &mut blake3::Hasher,
        throttle: &Throttle,
    ) -> Result<u64, Failed> {
        let Range { start: mut offset, end } = range;
        while offset < end {
            let want = chunk(end - offset).min(self.buffer.len());
            let read = read_at(from, &mut self.buffer[..want], offset).map_err(Failed::Read)?;
            if read == 0 {
                break;
            }
            throttle.pass(read);
            hasher.update(&self.buffer[..read]);
            if let Some(to) = to {
                write_all_at(to, &self.buffer[..read], offset).map_err(Failed::Write)?;
            }
            offset += read as u64;
        }
        Ok(offset)
    }

    fn hash_zeros(&mut self, hasher: &mut blake3::Hasher, mut count: u64) {
        let most = chunk(count).min(self.buffer.len());
        self.buffer[..most].fill(0);
        while count > 0 {
            let now = chunk(count).min(most);
            hasher.update(&self.buffer[..now]);
            count -= now as u64;
        }
    }
}

/// Leaves the first `kept` bytes of a file of `size` bytes as they are, and makes a hole of the rest:
/// what a killed attempt wrote there may be of another state of the source, and holes are not written.
pub fn keep_start(file: &OwnedFd, kept: u64, size: u64) -> Result<(), Errno> {
    rustix::fs::ftruncate(file, kept.min(size))?;
    rustix::fs::ftruncate(file, size)
}

/// Writes bytes into a file that has nothing there yet, but for the blocks of the file system that would hold zeros only.
fn write_but_zeros(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let to_boundary = BLOCK - usize::try_from(offset % BLOCK as u64).expect("less than a block");
        let (block, rest) = bytes.split_at(to_boundary.min(bytes.len()));
        if block.iter().any(|byte| *byte != 0) {
            write_all_at(file, block, offset)?;
        }
        offset += block.len() as u64;
        bytes = rest;
    }
    Ok(())
}

fn chunk(bytes: u64) -> usize {
    usize::try_from(bytes).map_or(CHUNK, |bytes| bytes.min(CHUNK))
}

/// Where the next data or the next hole starts, at most `end`.
fn next(file: &OwnedFd, from: SeekFrom, end: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, from) {
        Ok(offset) => Ok(offset.min(end)),
        Err(Errno::NXIO) => Ok(end),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads from a place of a file, whatever signals come.
pub fn read_at(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match rustix::io::pread(file, &mut *buffer, offset) {
            Err(Errno::INTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}

fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// Writes `pieces` at their offsets, copies the file, and compares content, digest and holes.
    fn check(pieces: &[(u64, &[u8])], size: u64) {
        let mut from = tempfile::tempfile().unwrap();
        let to = tempfile::tempfile().unwrap();
        let mut expected = vec![0; usize::try_from(size).unwrap()];
        from.set_len(size).unwrap();
        for (offset, bytes) in pieces {
            from.seek(SeekFrom::Start(*offset)).unwrap();
            from.write_all(bytes).unwrap();
            let start = usize::try_from(*offset).unwrap();
            expected[start..start + bytes.len()].copy_from_slice(bytes);
        }
        from.sync_all().unwrap();
        let (from, to) = (OwnedFd::from(from), OwnedFd::from(to));
        let facts = Facts::of(&from).unwrap();
        let copied = Copier::default().copy(&from, &facts, &to, &Throttle::default()).unwrap();
        assert_eq!(copied, (size, Digest::of(&expected)));
        assert_eq!(digest(&to).unwrap(), copied);
        rustix::fs::fsync(&to).unwrap();
        assert!(Facts::of(&to).unwrap().allocated <= facts.allocated, "holes were filled");
    }

    #[test]
    fn files_with_and_without_holes_are_copied_exactly() {
        let block = [7; 4096];
        check(&[], 0);
        check(&[(0, b"x")], 1);
        check(&[(0, &vec![1; 3 * CHUNK + 5])], 3 * CHUNK as u64 + 5);
        check(&[], 5 << 20);
        check(&[(0, &block)], 5 << 20);
        check(&[(1 << 20, &block), (3 << 20, &block)], 5 << 20);
        check(&[((5 << 20) - 4096, &block)], 5 << 20);
        check(&[(1 << 20, b"x")], (5 << 20) + 1);
    }
}
