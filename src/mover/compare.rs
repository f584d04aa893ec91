//! Whether a path of a tree is what the manifest says, judged by reading it.

use std::fmt::{self, Display, Formatter};

use super::entry::{Content, Entry};
use super::error::{At, Error};
use super::tree::{Dir, Facts, Kind, split};

/// How a path differs from its manifest line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// A file where a directory should be, and the like.
    Type,
    /// Another length.
    Size,
    /// The same length and other bytes.
    Content,
    /// A link that points elsewhere.
    LinkTarget,
}

impl Difference {
    /// A verb phrase that fits after the path.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Type => "is of another type",
            Self::Size => "has another size",
            Self::Content => "has other content",
            Self::LinkTarget => "is a link to somewhere else",
        }
    }
}

impl Display for Difference {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.phrase())
    }
}

/// The difference that can be seen without reading a file.
pub fn outside(entry: &Entry, parent: &Dir, facts: &Facts) -> Result<Option<Difference>, Error> {
    let path = entry.path.as_bytes();
    Ok(match (&entry.content, facts.kind) {
        (Content::Directory { .. }, Kind::Directory) => None,
        (Content::File { size, .. }, Kind::File) => (*size != facts.size).then_some(Difference::Size),
        (Content::Link { target }, Kind::Link) => {
            let now = parent.read_link(split(path).1).at("read", parent.side, path)?;
            (target.as_bytes() != now).then_some(Difference::LinkTarget)
        }
        (
            Content::Directory { .. } | Content::File { .. } | Content::Link { .. },
            Kind::Directory | Kind::File | Kind::Link | Kind::Other(_),
        ) => Some(Difference::Type),
    })
}

/// The difference when everything is read.
pub fn whole(entry: &Entry, parent: &Dir, facts: &Facts) -> Result<Option<Difference>, Error> {
    let outside = outside(entry, parent, facts)?;
    let Content::File { size, digest, .. } = &entry.content else {
        return Ok(outside);
    };
    if outside.is_some() {
        return Ok(outside);
    }
    let path = entry.path.as_bytes();
    let file = parent.open_file(split(path).1).at("open", parent.side, path)?;
    let (read, now) = super::content::digest(&file).at("read", parent.side, path)?;
    if read != *size {
        return Ok(Some(Difference::Size));
    }
    Ok((now != *digest).then_some(Difference::Content))
}
