//! Lists in the workspace: lines of text, as they are or sealed.
//!
//! A sealed list is a sequence of blocks, each the text form of an age file that holds some whole lines.
//! A block is written at once when lines have to survive this process, so a list ends with half a block at worst, as a plain one ends with half a line.
//! Plain lines may stand before sealed ones: a list is never written anew only because a recipient has come.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::seal::{BEGIN, END, Seal, Unopened};

/// Longest line accepted, so that a damaged list cannot fill the memory; some 10,000 names of the greatest length fit.
const LONGEST_LINE: u64 = 32 * 1024 * 1024;
/// Lines that wait for their block.
const BLOCK: usize = 256 * 1024;

/// Writes lines.
#[derive(Debug)]
pub struct Pen {
    out: BufWriter<File>,
    seal: Option<Arc<Seal>>,
    waiting: Vec<u8>,
}

impl Pen {
    /// Writes to the place where the file stands; sealed if `seal` has recipients.
    #[must_use]
    pub fn new(file: File, seal: Option<Arc<Seal>>) -> Self {
        Self { out: BufWriter::new(file), seal: seal.filter(|seal| seal.is_sealing()), waiting: Vec::new() }
    }

    /// The file; what waits has not reached it.
    #[must_use]
    pub fn get_ref(&self) -> &File {
        self.out.get_ref()
    }

    fn seal_waiting(&mut self) -> io::Result<()> {
        let Some(seal) = &self.seal else { return Ok(()) };
        if self.waiting.is_empty() {
            return Ok(());
        }
        let block = seal.block(&self.waiting)?;
        self.waiting.clear();
        self.out.write_all(&block)
    }
}

impl Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.seal.is_none() {
            return self.out.write(bytes);
        }
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= BLOCK && self.waiting.ends_with(b"\n") {
            self.seal_waiting()?;
        }
        Ok(bytes.len())
    }

    /// Hands all lines to the kernel. Only whole lines may have been written before.
    fn flush(&mut self) -> io::Result<()> {
        self.seal_waiting()?;
        self.out.flush()
    }
}

/// Why there is no next line.
#[derive(Debug)]
pub enum Trouble {
    /// The list ends in the middle of a line or a block.
    Torn,
    /// A block does not open.
    Unopened(Unopened),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Unopened(Unopened::Read(error))
    }
}

/// Reads lines.
#[derive(Debug)]
pub struct Lines {
    input: BufReader<File>,
    seal: Arc<Seal>,
    /// How far the file was read.
    place: u64,
    /// Lines of the block read last, and how far they were read.
    block: Vec<u8>,
    taken: usize,
    /// Where blocks start: among the lines, and in the file.
    blocks: Vec<(u64, u64)>,
    /// Where the next line starts, counted in bytes of plain lines.
    pub offset: u64,
    /// Lines read.
    pub number: u64,
}

impl Lines {
    /// Starts at the beginning.
    #[must_use]
    pub fn new(file: File, seal: Option<Arc<Seal>>) -> Self {
        Self {
            input: BufReader::new(file),
            seal: seal.unwrap_or_default(),
            place: 0,
            block: Vec::new(),
            taken: 0,
            blocks: Vec::new(),
            offset: 0,
            number: 0,
        }
    }

    /// Whether a block has been met.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Where in the file the last whole line ends, or the block that holds it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.place
    }

    /// The file.
    #[must_use]
    pub fn into_inner(self) -> File {
        self.input.into_inner()
    }

    /// The file, to read it elsewhere.
    pub fn get_mut(&mut self) -> &mut File {
        self.input.get_mut()
    }

    /// The next whole line without its newline.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        loop {
            if self.taken < self.block.len() {
                let rest = &self.block[self.taken..];
                let length = rest.iter().position(|byte| *byte == b'\n').ok_or(Trouble::Torn)?;
                let line = rest[..length].to_vec();
                self.taken += length + 1;
                self.offset += length as u64 + 1;
                self.number += 1;
                return Ok(Some(line));
            }
            let Some(line) = self.raw()? else { return Ok(None) };
            if line != BEGIN {
                self.place += line.len() as u64 + 1;
                self.offset += line.len() as u64 + 1;
                self.number += 1;
                return Ok(Some(line));
            }
            self.read_block()?;
        }
    }

    /// Reads the block whose first line was read just now.
    fn read_block(&mut self) -> Result<(), Trouble> {
        let mut text = [BEGIN, b"\n"].concat();
        loop {
            let Some(line) = self.raw()? else { return Err(Trouble::Torn) };
            text.extend_from_slice(&line);
            text.push(b'\n');
            if line == END {
                break;
            }
            if text.len() as u64 > 2 * LONGEST_LINE {
                return Err(Trouble::Unopened(Unopened::Damaged));
            }
        }
        self.block = self.seal.open_block(&text).map_err(Trouble::Unopened)?;
        self.taken = 0;
        if self.blocks.last().is_none_or(|(_, place)| *place < self.place) {
            self.blocks.push((self.offset, self.place));
        }
        self.place += text.len() as u64;
        Ok(())
    }

    /// The next line of the file.
    fn raw(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        let mut line = Vec::new();
        let read = (&mut self.input).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') if read > 0 => Ok(Some(line)),
            Some(_) => Err(Trouble::Torn),
        }
    }

    /// Goes to the line that starts at `offset`, which was an offset of this list before.
    pub fn seek(&mut self, offset: u64) -> Result<(), Trouble> {
        if self.blocks.is_empty() && self.offset == 0 {
            // The first line says which kind of list it is.
            self.next_line()?;
        }
        if self.blocks.is_empty() {
            self.input.seek(SeekFrom::Start(offset))?;
            (self.place, self.offset) = (offset, offset);
            return Ok(());
        }
        let block_start = self.offset - self.taken as u64;
        if !(block_start..block_start + self.block.len() as u64).contains(&offset) {
            let index = self.blocks.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
            let (start, place) = self.blocks[index];
            self.input.seek(SeekFrom::Start(place))?;
            (self.place, self.offset) = (place, start);
            (self.block, self.taken) = (Vec::new(), 0);
            loop {
                self.raw()?;
                self.read_block()?;
                if offset < self.offset + self.block.len() as u64 || self.block.is_empty() {
                    break;
                }
                self.offset += self.block.len() as u64;
            }
        }
        let block_start = self.offset - self.taken as u64;
        self.taken = usize::try_from(offset - block_start).unwrap_or(self.block.len()).min(self.block.len());
        self.offset = block_start + self.taken as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret;

    use super::super::seal::Secret;
    use super::*;

    fn seal() -> Arc<Seal> {
        let identity = age::x25519::Identity::generate();
        let secret = Secret::Text(identity.to_string().expose_secret().to_owned());
        Arc::new(Seal::new(&[identity.to_public().to_string()], Some(&secret)).unwrap())
    }

    fn lines_of(path: &std::path::Path, seal: &Arc<Seal>) -> Lines {
        Lines::new(File::open(path).unwrap(), Some(seal.clone()))
    }

    #[test]
    fn sealed_lines_come_back_in_order_and_from_where_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        for seal in [Arc::new(Seal::default()), seal()] {
            let mut pen = Pen::new(File::create(&path).unwrap(), Some(seal.clone()));
            for number in 0..40_000 {
                writeln!(pen, "line {number} {}", "x".repeat(number % 50)).unwrap();
                if number % 3000 == 0 {
                    pen.flush().unwrap();
                }
            }
            pen.flush().unwrap();
            let text = std::fs::read(&path).unwrap();
            assert_eq!(text.windows(6).any(|window| window == b"line 7"), !seal.is_sealing());
            let mut lines = lines_of(&path, &seal);
            let mut offsets = Vec::new();
            loop {
                let offset = lines.offset;
                let Some(line) = lines.next_line().unwrap() else { break };
                offsets.push((offset, line));
            }
            assert_eq!((offsets.len(), lines.number, lines.end()), (40_000, 40_000, text.len() as u64));
            let mut picker = lines_of(&path, &seal);
            for (offset, line) in offsets.iter().rev().step_by(977).chain(offsets.iter().step_by(1111)) {
                picker.seek(*offset).unwrap();
                assert_eq!(picker.next_line().unwrap().as_ref(), Some(line));
            }
        }
    }

    #[test]
    fn half_a_block_is_no_block_and_what_was_plain_before_stays_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        std::fs::write(&path, "plain\n").unwrap();
        let seal = seal();
        let mut pen = Pen::new(File::options().append(true).open(&path).unwrap(), Some(seal.clone()));
        for line in ["one\n", "two\n"] {
            pen.write_all(line.as_bytes()).unwrap();
            pen.flush().unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        for (cut, expected) in [(0, 3), (1, 2), (whole.len() - 20, 0)] {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut lines = lines_of(&path, &seal);
            let mut read = 0;
            let end = loop {
                match lines.next_line() {
                    Ok(Some(_)) => read += 1,
                    other => break other,
                }
            };
            if expected > 0 {
                assert_eq!(read, expected, "{cut}");
                assert_eq!(end.is_err(), cut > 0);
                assert_eq!(lines.end() == whole.len() as u64, cut == 0);
            }
        }
        let mut locked = Lines::new(File::open(&path).unwrap(), None);
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(locked.next_line().unwrap().unwrap(), b"plain");
        assert!(matches!(locked.next_line(), Err(Trouble::Unopened(Unopened::NoIdentity))));
    }
}
