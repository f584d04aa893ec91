//! One path of the data, as the manifest tells it.
//!
//! A manifest lies in a volume that others can write to, so an [`Entry`] is parsed, not checked:
//! whoever holds one knows that its path stays inside the tree.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::attributes::Attributes;
use super::store::{About, Revision};
use super::tree::{Facts, Time};

/// One line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Entry {
    /// Where it is, below the root.
    pub path: RelativePath,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Owner at the source.
    pub uid: u32,
    /// Group at the source.
    pub gid: u32,
    /// Extended attributes of a file or directory.
    pub attributes: Attributes,
    /// What it holds.
    pub content: Content,
}

/// What an entry holds, by its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory; what is in it are entries of their own.
    Directory {
        /// Whether it is there only because something is in it: a store has no directories.
        is_implied: bool,
    },
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Digest of its bytes.
        digest: Digest,
        /// The first name of the same file, if this is a further one.
        link_of: Option<RelativePath>,
        /// How the source file is recognised as unchanged.
        seen: Option<Seen>,
        /// What a store says about the object: content type and other metadata. Of a file of a tree, whether it has holes.
        about: About,
        /// Where its packed copy rests; nothing where it is not packed.
        stored: Option<Stored>,
    },
    /// A symbolic link, which is never followed.
    Link {
        /// Where it points; any bytes.
        target: Bytes,
    },
}

/// What changes whenever a source file does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Seen {
    /// Of a file, what cannot be forged: its inode and when anything about it last changed.
    Inode {
        /// Inode number.
        ino: u64,
        /// Time of the last change of anything.
        ctime: Time,
    },
    /// Of an object.
    Object(Revision),
}

impl Entry {
    /// An entry with the mode, times and owner of `facts`.
    #[must_use]
    pub fn new(path: RelativePath, facts: &Facts, content: Content) -> Self {
        Self {
            path,
            mode: facts.mode,
            mtime: facts.mtime,
            uid: facts.uid,
            gid: facts.gid,
            attributes: Attributes::default(),
            content,
        }
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.content, Content::Directory { .. })
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.content, Content::File { .. })
    }
}

/// A path that stays below the directory it starts from: no empty, `.` or `..` component, no NUL, not absolute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct RelativePath(Vec<u8>);

impl RelativePath {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for RelativePath {
    type Error = &'static str;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        let is_fine = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        if bytes.split(|byte| *byte == b'/').all(is_fine) { Ok(Self(bytes)) } else { Err("a path leaves the tree") }
    }
}

impl TryFrom<Bytes> for RelativePath {
    type Error = &'static str;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        Self::try_from(bytes.0)
    }
}

impl From<RelativePath> for Bytes {
    fn from(path: RelativePath) -> Self {
        Self(path.0)
    }
}

/// Bytes that are usually text: a JSON string if they are, else `{"hex": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Hex { hex: String },
}

impl From<Bytes> for Text {
    fn from(bytes: Bytes) -> Self {
        match String::from_utf8(bytes.0) {
            Ok(text) => Self::Utf8(text),
            Err(error) => Self::Hex { hex: to_hex(error.as_bytes()) },
        }
    }
}

impl TryFrom<Text> for Bytes {
    type Error = &'static str;

    fn try_from(text: Text) -> Result<Self, Self::Error> {
        match text {
            Text::Utf8(text) => Ok(Self(text.into_bytes())),
            Text::Hex { hex } => from_hex(&hex).map(Self).ok_or("a hex value is not hexadecimal"),
        }
    }
}

/// A BLAKE3 digest, written `blake3:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        blake3::hash(bytes).into()
    }

    /// The first half of the digest of some bytes: a key for tables that hold one for each path, and could not hold the paths.
    #[must_use]
    #[allow(clippy::missing_panics_doc)] // it cannot
    pub fn half_of(bytes: &[u8]) -> [u8; 16] {
        let Self(digest) = Self::of(bytes);
        *digest.first_chunk().expect("half of 32 bytes")
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digits alone.
    #[must_use]
    pub fn hex(&self) -> String {
        to_hex(&self.0)
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

impl Display for Digest {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "blake3:{}", self.hex())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.strip_prefix("blake3:")
            .and_then(from_hex)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or("a digest is not blake3: and 64 hexadecimal digits")
    }
}

/// The name of a packed copy in the workspace: 32 random hexadecimal digits, the first two of which name its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stored([u8; 16]);

impl Stored {
    /// A new one.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        // Up to 256 bytes come at once.
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes))
    }

    /// The name of its folder.
    #[must_use]
    pub fn folder(&self) -> String {
        to_hex(&self.0[..1])
    }

    /// Its name there.
    #[must_use]
    pub fn name(&self) -> String {
        to_hex(&self.0[1..])
    }

    /// Both.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.folder(), self.name())
    }

    /// Whether a name is one of a folder.
    #[must_use]
    pub fn is_folder(name: &[u8]) -> bool {
        name.len() == 2 && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// From the names of its folder and itself.
    #[must_use]
    pub fn from_names(folder: &[u8], name: &[u8]) -> Option<Self> {
        let text = String::from_utf8([folder, name].concat()).ok()?;
        Self::try_from(text).ok()
    }
}

impl From<Stored> for String {
    fn from(stored: Stored) -> Self {
        to_hex(&stored.0)
    }
}

impl TryFrom<String> for Stored {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = from_hex(&text).and_then(|bytes| bytes.try_into().ok()).map(Self);
        bytes.filter(|stored| String::from(*stored) == text).ok_or("a stored name is not 32 hexadecimal digits")
    }
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| {
            let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            Some(digit(high)? << 4 | digit(low)?)
        })
        .collect()
}

/// The line itself, flat and with every field optional that only one type has.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    path: RelativePath,
    #[serde(rename = "type")]
    kind: WireKind,
    mode: String,
    mtime: Time,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_of: Option<RelativePath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Seen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Bytes>,
    #[serde(default, skip_serializing_if = "About::is_empty")]
    about: About,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    implied: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored: Option<Stored>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireKind {
    Directory,
    File,
    Link,
}

impl From<Entry> for Wire {
    fn from(entry: Entry) -> Self {
        let Entry { path, mode, mtime, uid, gid, attributes, content } = entry;
        let mode = format!("{mode:04o}");
        let bare = |kind| Self {
            path,
            kind,
            mode,
            mtime,
            uid,
            gid,
            size: None,
            digest: None,
            link_of: None,
            seen: None,
            target: None,
            about: About::new(),
            attributes,
            implied: false,
            stored: None,
        };
        match content {
            Content::Directory { is_implied } => Self { implied: is_implied, ..bare(WireKind::Directory) },
            Content::Link { target } => Self { target: Some(target), ..bare(WireKind::Link) },
            Content::File { size, digest, link_of, seen, about, stored } => {
                Self { size: Some(size), digest: Some(digest), link_of, seen, about, stored, ..bare(WireKind::File) }
            }
        }
    }
}

impl TryFrom<Wire> for Entry {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let Wire {
            path,
            kind,
            mode,
            mtime,
            uid,
            gid,
            size,
            digest,
            link_of,
            seen,
            target,
            about,
            attributes,
            implied,
            stored,
        } = wire;
        let mode = u32::from_str_radix(&mode, 8).ok().filter(|mode| *mode <= 0o7777).ok_or("a mode is not octal")?;
        if mtime.1 >= 1_000_000_000 {
            return Err("a time has too many nanoseconds");
        }
        let content = match (kind, size, digest, target) {
            (WireKind::Directory, None, None, None) if link_of.is_none() => Content::Directory { is_implied: implied },
            (WireKind::Link, None, None, Some(target)) if link_of.is_none() => Content::Link { target },
            (WireKind::File, Some(size), Some(digest), None) => {
                Content::File { size, digest, link_of, seen, about, stored }
            }
            (WireKind::Directory | WireKind::Link | WireKind::File, ..) => {
                return Err("an entry has not the fields of its type");
            }
        };
        // The first name of a file stands before its other names.
        if let Content::File { link_of: Some(first), .. } = &content
            && *first >= path
        {
            return Err("a hard link is named before the file");
        }
        if !attributes.are_known() {
            return Err("an attribute is of no known kind");
        }
        Ok(Self { path, mode, mtime, uid, gid, attributes, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_tree_is_no_path() {
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0b"] {
            assert!(RelativePath::try_from(bad.as_bytes().to_vec()).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", "...", "a/..b", " ", "\n"] {
            assert!(RelativePath::try_from(good.as_bytes().to_vec()).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_survive_json() {
        for bytes in [b"a\nb".to_vec(), vec![0xff, 0x00, 0x41], Vec::new()] {
            let json = serde_json::to_string(&Bytes(bytes.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap().0, bytes, "{json}");
        }
    }

    #[test]
    fn an_entry_with_fields_of_another_type_is_refused() {
        let line = r#"{"path":"a","type":"directory","mode":"0755","mtime":[0,0],"uid":0,"gid":0,"size":3}"#;
        assert!(serde_json::from_str::<Entry>(line).is_err());
    }
}
