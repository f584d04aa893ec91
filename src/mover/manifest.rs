//! The manifest: what was staged, one JSON object a line, in the order of the raw path bytes.
//!
//! ```text
//! {"format":"relocation-manifest/1","uuid":"…","items":["acme"],"allowEmpty":false}
//! {"path":"acme","type":"directory","mode":"0755","mtime":[1700000000,0],"uid":0,"gid":0}
//! {"path":"acme/a","type":"file","mode":"0644",…,"size":3,"digest":"blake3:…","seen":{"ino":7,"ctime":[…]}}
//! {"path":{"hex":"61636d652fff"},"type":"link",…,"target":"../etc"}
//! {"path":"acme/b","type":"file",…,"size":3,"digest":"blake3:…","linkOf":"acme/a"}
//! {"end":{"entries":4,"files":2,"directories":1,"links":1,"hardLinks":1,"bytes":3,"treeDigest":"blake3:…"}}
//! ```
//!
//! A path or link target is a JSON string when it is UTF-8, else `{"hex": …}`; times are seconds and nanoseconds; modes are octal.
//! Every further name of a hard-linked file carries `linkOf`, the first name in order; `bytes` counts such a file once.
//! `seen` is how `upload` recognises a source file that has not changed since, for an object its `etag`, and its `version` where the store says one; it is left out when that could not be told.
//! `about` is what a store says about an object, and of a file of a tree that it has holes; a directory is `implied` if it is there only because a key has a slash.
//! `stored` is where a packed copy of a file rests, as `data/` and the first two digits and the others (see [`super::packs`]).
//! A manifest without its `end` line is not complete. While it is written it is called `manifest.jsonl.partial`.
//!
//! The tree digest depends on paths, types, contents and link targets only, and can be had without us:
//!
//! ```sh
//! find . -mindepth 1 -printf '%P\0' | LC_ALL=C sort -z | while IFS= read -r -d '' p; do
//!   if [ -L "$p" ]; then printf 'l %s %s\0' "$(readlink -n -- "$p" | b3sum --no-names)" "$p"
//!   elif [ -d "$p" ]; then printf 'd - %s\0' "$p"
//!   else printf 'f %s %s\0' "$(b3sum --no-names < "$p")" "$p"; fi
//! done | b3sum --no-names
//! ```

use std::io::{self, Read, Seek, SeekFrom, Write};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::entry::{Bytes, Content, Digest, Entry};
use super::error::{At, Error, Side};
use super::filter::Filter;
use super::lines::{self, Pen, Trouble};
use super::links;
use super::records;
use super::seal::Unopened;
use super::tree::{Dir, Facts};

/// The manifest's name in the workspace.
pub const NAME: &[u8] = b"manifest.jsonl";
/// Its name while it is written.
pub const PARTIAL: &[u8] = b"manifest.jsonl.partial";
/// What earlier attempts finished, for the next one to build on.
pub const PREVIOUS: &[u8] = b"manifest.jsonl.previous";
/// The same while it is put together.
pub const MERGED: &[u8] = b"manifest.jsonl.merged";

const FORMAT: &str = "relocation-manifest/1";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    format: String,
    /// The relocation it was made for; empty by hand.
    pub uuid: String,
    /// The selected items; empty = everything.
    pub items: Vec<String>,
    /// Whether a source without anything in it was allowed.
    pub allow_empty: bool,
    /// Whether the workspace holds a copy of the data, or only this list.
    #[serde(default)]
    pub staging: Staging,
    /// Regular files or objects at the source, whatever the patterns and items leave out.
    #[serde(default)]
    pub files_at_source: u64,
    /// What the patterns take and leave out.
    #[serde(default)]
    pub filter: Filter,
    /// A path that is an object and also has objects below it, if there is one: no volume can hold that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clash: Option<Bytes>,
    /// How the staged copy is packed; nothing = its files are as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packing: Option<Packing>,
}

/// How what rests in the workspace is packed: with zstd, and sealed where there are recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packing {
    /// Who can open it, as `age1…`; nobody = it is only compressed.
    pub recipients: Vec<String>,
}

/// Whether data rest in the workspace on their way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Staging {
    /// UPLOADING copies them there, and IMPORTING reads that copy: what is moved is what was judged.
    #[default]
    Copy,
    /// UPLOADING reads and lists them, and IMPORTING reads the source again and compares each digest.
    None,
}

impl Header {
    /// A header of the present format.
    #[must_use]
    pub fn new(uuid: String, items: Vec<String>, allow_empty: bool) -> Self {
        Self {
            format: FORMAT.to_owned(),
            uuid,
            items,
            allow_empty,
            staging: Staging::Copy,
            files_at_source: 0,
            filter: Filter::default(),
            clash: None,
            packing: None,
        }
    }
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Lines between the first and this one.
    pub entries: u64,
    /// Names of regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Names of files beyond each file's first.
    pub hard_links: u64,
    /// Bytes of all files, each once.
    pub bytes: u64,
    /// Digest of the whole tree.
    pub tree_digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: Totals,
}

/// Adds up what the last line says, from entries in order.
#[derive(Debug, Default)]
pub struct Adder {
    entries: u64,
    files: u64,
    directories: u64,
    links: u64,
    hard_links: u64,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Adder {
    /// Counts one entry.
    pub fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        let (letter, digest) = match &entry.content {
            Content::Directory { .. } => {
                self.directories += 1;
                ("d", None)
            }
            Content::Link { target } => {
                self.links += 1;
                ("l", Some(Digest::of(target.as_bytes())))
            }
            Content::File { size, digest, link_of, seen: _, about: _, stored: _ } => {
                self.files += 1;
                match link_of {
                    None => self.bytes += size,
                    Some(_) => self.hard_links += 1,
                }
                ("f", Some(*digest))
            }
        };
        let digest = digest.map_or_else(|| "-".to_owned(), |digest| digest.hex());
        for part in [letter.as_bytes(), b" ", digest.as_bytes(), b" ", entry.path.as_bytes(), b"\0"] {
            self.hasher.update(part);
        }
    }

    /// The totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            entries: self.entries,
            files: self.files,
            directories: self.directories,
            links: self.links,
            hard_links: self.hard_links,
            bytes: self.bytes,
            tree_digest: Digest::from(self.hasher.finalize()),
        }
    }
}

/// Writes a manifest under its temporary name.
#[derive(Debug)]
pub struct Writer {
    workspace: Dir,
    name: Vec<u8>,
    out: Pen,
    adder: Adder,
}

impl Writer {
    /// Starts a new one.
    pub fn create(workspace: &Dir, name: &[u8], header: &Header) -> Result<Self, Error> {
        records::remove(workspace, name)?;
        let file = workspace.create_file(name).at("create", Side::Workspace, name)?;
        let out = Pen::new(file.into(), workspace.seal.clone());
        let mut writer = Self { workspace: workspace.clone(), name: name.to_owned(), out, adder: Adder::default() };
        writer.line(header)?;
        Ok(writer)
    }

    /// Keeps room for `bytes` of lines, so that a workspace which the data have filled can still be told what they were.
    pub fn reserve(&self, bytes: u64) -> Result<(), Error> {
        match rustix::fs::fallocate(self.out.get_ref(), FallocateFlags::KEEP_SIZE, 0, bytes.max(1)) {
            // Not every file system can: there, lines that find no room mean that files are copied again.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno).at("write", Side::Workspace, PARTIAL),
        }
    }

    /// Adds the next entry in order.
    pub fn append(&mut self, entry: &Entry) -> Result<(), Error> {
        self.adder.add(entry);
        self.line(entry)
    }

    /// Hands all lines to the kernel, so that they survive this process; and to the store, if that keeps them.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().at("write", Side::Workspace, PARTIAL)?;
        let file = self.out.get_ref();
        let length = Facts::of(file).at("write", Side::Workspace, PARTIAL)?.size;
        records::grown(&self.workspace, &self.name, file, length)
    }

    /// Writes the last line and puts the file under the manifest's name, durably.
    pub fn finish(mut self, to: &[u8]) -> Result<Totals, Error> {
        let end = End { end: self.adder.totals() };
        self.line(&end)?;
        self.out.flush().at("write", Side::Workspace, PARTIAL)?;
        let file = self.out.get_ref();
        // Gives back what was reserved and not needed.
        let length = Facts::of(file).at("write", Side::Workspace, to)?.size;
        rustix::fs::ftruncate(file, length).at("write", Side::Workspace, to)?;
        rustix::fs::fsync(file).at("write", Side::Workspace, to)?;
        records::rename(&self.workspace, &self.name, to)?;
        rustix::fs::fsync(&self.workspace).at("write", Side::Workspace, to)?;
        Ok(end.end)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), Error> {
        serde_json::to_writer(&mut self.out, value)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .at("write", Side::Workspace, PARTIAL)
    }
}

/// Reads a complete manifest and does not trust it: order, paths, counts and digest must all hold.
#[derive(Debug)]
pub struct Reader {
    lines: Lines,
    /// The first line.
    pub header: Header,
    last: Option<Vec<u8>>,
    adder: Adder,
    is_at_end: bool,
}

impl Reader {
    /// Opens the workspace's manifest.
    pub fn open(workspace: &Dir) -> Result<Self, Error> {
        let mut lines = Lines::open(workspace, NAME)?.ok_or(Error::ManifestMissing)?;
        let header = match lines.next()? {
            Some(line) => parse(&line).map_err(|problem| lines.broken(problem))?,
            None => return Err(lines.broken("it is empty".to_owned())),
        };
        check_format(&header).map_err(|problem| lines.broken(problem))?;
        Ok(Self { lines, header, last: None, adder: Adder::default(), is_at_end: false })
    }

    /// The next entry; nothing after the last line, which must agree with what was read.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        if self.is_at_end {
            return Ok(None);
        }
        let Some(line) = self.lines.next()? else {
            return Err(self.lines.broken("its last line is missing".to_owned()));
        };
        if line.starts_with(b"{\"end\"") {
            let end: End = parse(&line).map_err(|problem| self.lines.broken(problem))?;
            if end.end != self.adder.totals() {
                return Err(self.lines.broken("its last line does not agree with the lines before".to_owned()));
            }
            self.is_at_end = true;
            return Ok(None);
        }
        let entry: Entry = parse(&line).map_err(|problem| self.lines.broken(problem))?;
        if self.last.as_deref().is_some_and(|last| last >= entry.path.as_bytes()) {
            return Err(self.lines.broken("its paths are out of order".to_owned()));
        }
        self.last = Some(entry.path.as_bytes().to_vec());
        self.adder.add(&entry);
        Ok(Some(entry))
    }

    /// Where the next line starts.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.lines.lines.offset
    }

    /// What was counted while reading.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.adder.totals()
    }
}

/// Reads the whole manifest and gives its totals: a step that writes does so only after the manifest has turned out whole.
pub fn check(workspace: &Dir) -> Result<Totals, Error> {
    let mut reader = Reader::open(workspace)?;
    while reader.next_entry()?.is_some() {}
    let totals = reader.totals();
    links::check(workspace, &totals)?;
    Ok(totals)
}

/// The totals of a complete manifest, from its last line only.
pub fn read_totals(workspace: &Dir) -> Result<Totals, Error> {
    const TAIL: u64 = 4096;
    let mut lines = Lines::open(workspace, NAME)?.ok_or(Error::ManifestMissing)?;
    lines.next()?;
    if lines.lines.is_sealed() {
        let mut last = None;
        while let Some(line) = lines.next()? {
            last = Some(line);
        }
        let end = last.and_then(|line| serde_json::from_slice::<End>(&line).ok());
        return end.map(|end| end.end).ok_or_else(|| lines.broken("its last line is missing".to_owned()));
    }
    let file = lines.lines.get_mut();
    let size = file.metadata().at("read", Side::Workspace, NAME)?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL))).at("read", Side::Workspace, NAME)?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).at("read", Side::Workspace, NAME)?;
    let last = tail.strip_suffix(b"\n").and_then(|tail| tail.rsplit(|byte| *byte == b'\n').next());
    last.and_then(|line| serde_json::from_slice::<End>(line).ok())
        .map(|end| end.end)
        .ok_or_else(|| lines.broken("its last line is missing".to_owned()))
}

/// Reads entries again, by where they stand.
#[derive(Debug)]
pub struct Picker {
    lines: Lines,
}

impl Picker {
    /// Opens the workspace's manifest.
    pub fn open(workspace: &Dir) -> Result<Self, Error> {
        Ok(Self { lines: Lines::open(workspace, NAME)?.ok_or(Error::ManifestMissing)? })
    }

    /// The entry whose line starts at `offset`.
    pub fn pick(&mut self, offset: u64) -> Result<Entry, Error> {
        self.lines.lines.seek(offset).map_err(|trouble| self.lines.failed(trouble))?;
        let line = self.lines.next()?.unwrap_or_default();
        parse(&line).map_err(|problem| self.lines.broken(problem))
    }
}

/// Reads what an attempt that was killed has left, up to the first line that is not whole.
#[derive(Debug)]
pub struct Leftover {
    lines: Option<Lines>,
    last: Vec<u8>,
    ahead: Option<Entry>,
}

impl Leftover {
    /// Opens `name`; a file that is missing, belongs to another relocation, is packed in another way or sealed to somebody else, is an empty one.
    pub fn open(workspace: &Dir, name: &[u8], wanted: &Header) -> Result<Self, Error> {
        let mut lines = Lines::open(workspace, name)?;
        if let Some(open) = &mut lines {
            let header = open.next().ok().flatten().and_then(|line| parse::<Header>(&line).ok());
            let is_ours = |header: Header| {
                check_format(&header).is_ok() && header.uuid == wanted.uuid && header.packing == wanted.packing
            };
            if !header.is_some_and(is_ours) {
                lines = None;
            }
        }
        let mut leftover = Self { lines, last: Vec::new(), ahead: None };
        leftover.advance();
        Ok(leftover)
    }

    /// The entry for `path`, if there is one. Paths must be asked for in order.
    pub fn find(&mut self, path: &[u8]) -> Option<Entry> {
        while self.ahead.as_ref().is_some_and(|ahead| ahead.path.as_bytes() < path) {
            self.advance();
        }
        if self.ahead.as_ref().is_some_and(|ahead| ahead.path.as_bytes() == path) { self.take() } else { None }
    }

    /// The path of the next entry.
    #[must_use]
    pub fn peek(&self) -> Option<&[u8]> {
        self.ahead.as_ref().map(|entry| entry.path.as_bytes())
    }

    /// The next entry.
    pub fn take(&mut self) -> Option<Entry> {
        let entry = self.ahead.take();
        self.advance();
        entry
    }

    fn advance(&mut self) {
        let line = self.lines.as_mut().and_then(|lines| lines.next().ok().flatten());
        self.ahead = line.and_then(|line| parse::<Entry>(&line).ok());
        match &self.ahead {
            Some(entry) if entry.path.as_bytes() > self.last.as_slice() => {
                entry.path.as_bytes().clone_into(&mut self.last);
            }
            Some(_) | None => {
                self.ahead = None;
                self.lines = None;
            }
        }
    }
}

#[derive(Debug)]
struct Lines {
    lines: lines::Lines,
}

impl Lines {
    fn open(workspace: &Dir, name: &[u8]) -> Result<Option<Self>, Error> {
        match workspace.open_file(name) {
            Ok(fd) => Ok(Some(Self { lines: lines::Lines::new(fd.into(), workspace.seal.clone()) })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).at("open", Side::Workspace, name),
        }
    }

    /// The next whole line without its newline.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.lines.next_line().map_err(|trouble| self.failed(trouble))
    }

    fn failed(&self, trouble: Trouble) -> Error {
        let unopened = match trouble {
            Trouble::Torn => {
                let line = self.lines.number + 1;
                return Error::ManifestBroken { line, problem: "it ends in the middle of a line".to_owned() };
            }
            Trouble::Unopened(unopened) => unopened,
        };
        unopened.locked().unwrap_or_else(|| match unopened {
            Unopened::Read(source) => Error::access("read", Side::Workspace, NAME, source),
            Unopened::Damaged | Unopened::NoIdentity | Unopened::WrongIdentity => {
                self.broken("what follows was sealed and does not open".to_owned())
            }
        })
    }

    fn broken(&self, problem: String) -> Error {
        Error::ManifestBroken { line: self.lines.number, problem }
    }
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| super::quoted::cut(&error.to_string(), 200))
}

fn check_format(header: &Header) -> Result<(), String> {
    if header.format == FORMAT { Ok(()) } else { Err(format!("its format is not {FORMAT}")) }
}
