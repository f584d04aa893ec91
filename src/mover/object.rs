//! Entries of the manifest as objects, and objects as entries.
//!
//! | entry | object |
//! |---|---|
//! | file | key = path (see [`super::store::key`]), its bytes |
//! | symbolic link | the same, the bytes are where it points, `relocationtype: link` |
//! | directory | `PATH/.relocation-directory`, empty, `relocationtype: directory`; a directory that is only implied by a key has none |
//! | further name of a hard-linked file | the same as a file, and where its first name is (see [`super::links`]) |
//!
//! The metadata of an object that comes from a tree: `relocationmode` (octal), `relocationmtime` (seconds.nanoseconds), `relocationowner` (uid:gid), `relocationattributes` (see [`super::attributes`]), `relocationlink` and `relocationlinked` (see [`super::links`]), `relocationholes` (of a file with holes).
//! Every object we write says by `relocationby` which relocation wrote it. The names have no `-` and no `_`, because some service or proxy drops either and Azure refuses the former.
//! What a store said about an object (content type, metadata) goes with it from store to store, and waits in the manifest meanwhile.

use super::attributes::Attributes;
use super::content::Zeros;
use super::end::Service;
use super::entry::{Bytes, Content, Digest, Entry, RelativePath, Seen, Stored};
use super::fence::DIRECTORY;
use super::links::{self, Firsts};
use super::owners::NOBODY_KNOWS;
use super::store::key::{Key, encode};
use super::store::{About, Object};
use super::tree::Time;

const MODE: &str = "meta-relocationmode";
const MTIME: &str = "meta-relocationmtime";
const OWNER: &str = "meta-relocationowner";
const ATTRIBUTES: &str = "meta-relocationattributes";
/// The file had holes.
const HOLES: &str = "meta-relocationholes";
/// Where the first name of the same file is.
const LINK: &str = "meta-relocationlink";
/// The file has further names.
const LINKED: &str = "meta-relocationlinked";
const TYPE: &str = "meta-relocationtype";
const NAME: &str = "meta-relocationname";
/// Which relocation wrote an object.
pub const BY: &str = "meta-relocationby";
const ESCAPED: &str = "escaped";
/// Longest target of a link that is read back: the kernel's own limit.
pub const LONGEST_LINK: u64 = 4096;

/// What kind of thing an object stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A symbolic link.
    Link,
    /// A directory.
    Directory,
}

/// The key of an entry at a service; nothing for a directory that is only implied.
#[must_use]
pub fn key(entry: &Entry, service: Service) -> Option<Key> {
    let key = encode(entry.path.as_bytes(), service);
    match &entry.content {
        Content::Directory { is_implied: true } => None,
        Content::Directory { is_implied: false } => Some(Key { text: format!("{}/{DIRECTORY}", key.text), ..key }),
        Content::File { .. } | Content::Link { .. } => Some(key),
    }
}

/// What to say about the object of an entry, written by the relocation `by`.
#[must_use]
pub fn about(entry: &Entry, key: &Key, by: &str) -> About {
    let Entry { path: _, mode, mtime, uid, gid, attributes, content } = entry;
    let mut said = About::new();
    match content {
        Content::File { about, .. } => said.clone_from(about),
        Content::Link { .. } => drop(said.insert(TYPE.to_owned(), "link".to_owned())),
        Content::Directory { .. } => drop(said.insert(TYPE.to_owned(), "directory".to_owned())),
    }
    if !is_file_of_store(content) {
        said.insert(MODE.to_owned(), format!("{mode:04o}"));
        said.insert(MTIME.to_owned(), format!("{}.{:09}", mtime.0, mtime.1));
        said.insert(OWNER.to_owned(), format!("{uid}:{gid}"));
        if let Some(text) = attributes.as_text().filter(|text| !text.is_empty()) {
            said.insert(ATTRIBUTES.to_owned(), text);
        }
    }
    if key.is_escaped {
        said.insert(NAME.to_owned(), ESCAPED.to_owned());
    }
    said.insert(BY.to_owned(), by.to_owned());
    said
}

fn is_file_of_store(content: &Content) -> bool {
    match content {
        // Of a file of a tree, that it has holes is all that the manifest says so.
        Content::File { about, seen, .. } => {
            matches!(seen, Some(Seen::Object(_))) || about.keys().any(|name| name != HOLES)
        }
        Content::Link { .. } | Content::Directory { .. } => false,
    }
}

/// What the object of an entry says of hard links, if anything: the name and the value. What came from a store goes on as it is.
#[must_use]
pub fn said_of_links(entry: &Entry, firsts: &Firsts) -> Option<(&'static str, String)> {
    let Content::File { link_of, about, .. } = &entry.content else { return None };
    if is_file_of_store(&entry.content) {
        return [LINK, LINKED].into_iter().find_map(|name| Some((name, about.get(name)?.clone())));
    }
    match link_of {
        Some(first) => links::reference(&entry.path, first).map(|text| (LINK, text)),
        None => firsts.has(&entry.path).then(|| (LINKED, "yes".to_owned())),
    }
}

/// Where an object says that the first name of its file is.
#[must_use]
pub fn link(about: &About) -> Option<&str> {
    about.get(LINK).map(String::as_str)
}

/// Whether an object says that its file has further names.
#[must_use]
pub fn is_linked(about: &About) -> bool {
    about.contains_key(LINKED)
}

/// What the manifest says of a file of a tree so that it gets its holes again.
#[must_use]
pub fn about_holes(zeros: Zeros) -> About {
    match zeros {
        Zeros::AsHoles => About::from([(HOLES.to_owned(), "yes".to_owned())]),
        Zeros::Written => About::new(),
    }
}

/// What becomes of the zeros of an object at a tree.
#[must_use]
pub fn zeros(about: &About) -> Zeros {
    if about.contains_key(HOLES) { Zeros::AsHoles } else { Zeros::Written }
}

/// Whether a key's spelling is the escaped form of a path.
#[must_use]
pub fn is_escaped(about: &About) -> bool {
    about.get(NAME).is_some_and(|name| name == ESCAPED)
}

/// What an object stands for.
#[must_use]
pub fn kind(about: &About) -> Kind {
    match about.get(TYPE).map(String::as_str) {
        Some("link") => Kind::Link,
        Some("directory") => Kind::Directory,
        Some(_) | None => Kind::File,
    }
}

/// The entry of an object, given what it holds. Metadata that cannot be read are as if they were not there.
#[must_use]
pub fn entry(path: RelativePath, object: &Object, mut about: About, held: Held) -> Entry {
    let mode = about.get(MODE).and_then(|mode| u32::from_str_radix(mode, 8).ok()).filter(|mode| *mode <= 0o7777);
    let mtime = about.get(MTIME).and_then(|time| parse_time(time)).unwrap_or(object.modified);
    let owner = about.get(OWNER).and_then(|owner| {
        let (uid, gid) = owner.split_once(':')?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    });
    let (uid, gid) = owner.unwrap_or((NOBODY_KNOWS, NOBODY_KNOWS));
    let attributes = about.get(ATTRIBUTES).and_then(|text| Attributes::from_text(text)).unwrap_or_default();
    about.remove(BY);
    about.remove(NAME);
    about.remove(TYPE);
    let (default_mode, content) = match held {
        Held::File { size, digest, stored } => {
            let seen = object.revision().map(Seen::Object);
            (0o644, Content::File { size, digest, link_of: None, seen, about, stored })
        }
        Held::Link { target } => (0o777, Content::Link { target: Bytes(target) }),
        Held::Directory => (0o755, Content::Directory { is_implied: false }),
    };
    Entry { path, mode: mode.unwrap_or(default_mode), mtime, uid, gid, attributes, content }
}

/// What was read of an object.
#[derive(Debug)]
pub enum Held {
    /// A file's bytes.
    File {
        /// How many.
        size: u64,
        /// Their digest.
        digest: Digest,
        /// Where they rest, packed.
        stored: Option<Stored>,
    },
    /// Where a link points.
    Link {
        /// Any bytes.
        target: Vec<u8>,
    },
    /// Nothing.
    Directory,
}

fn parse_time(text: &str) -> Option<Time> {
    let (seconds, nanoseconds) = text.split_once('.')?;
    let nanoseconds = nanoseconds.parse().ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000)?;
    Some((seconds.parse().ok()?, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Object {
        Object { key: String::new(), size: 3, modified: (9, 0), etag: Some("e".to_owned()), version: None }
    }

    #[test]
    fn a_file_of_a_tree_comes_back_from_its_object() {
        let content = Content::File {
            size: 3,
            digest: Digest::of(b"abc"),
            link_of: None,
            seen: Some(Seen::Inode { ino: 1, ctime: (1, 1) }),
            about: About::new(),
            stored: None,
        };
        let path = RelativePath::try_from(b"a/\xff".to_vec()).unwrap();
        let file =
            Entry { path, mode: 0o4750, mtime: (-5, 7), uid: 3, gid: 4, attributes: Attributes::default(), content };
        let key = key(&file, Service::S3).unwrap();
        let said = about(&file, &key, "me");
        assert!(is_escaped(&said) && kind(&said) == Kind::File);
        let back =
            entry(file.path.clone(), &object(), said, Held::File { size: 3, digest: Digest::of(b"abc"), stored: None });
        assert_eq!((back.mode, back.mtime, back.uid, back.gid), (0o4750, (-5, 7), 3, 4));
    }

    #[test]
    fn what_a_store_says_goes_to_the_next_store_and_nothing_is_added_but_who_wrote_it() {
        let said: About =
            [("content-type", "text/css"), ("meta-x", "y")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let path = RelativePath::try_from(b"a".to_vec()).unwrap();
        let file =
            entry(path, &object(), said.clone(), Held::File { size: 3, digest: Digest::of(b"abc"), stored: None });
        assert_eq!((file.mode, file.mtime), (0o644, (9, 0)));
        let mut next = about(&file, &key(&file, Service::S3).unwrap(), "me");
        assert_eq!(next.remove(BY).as_deref(), Some("me"));
        assert_eq!(next, said);
    }

    #[test]
    fn an_implied_directory_has_no_object() {
        let path = RelativePath::try_from(b"a".to_vec()).unwrap();
        let directory = |is_implied| Entry {
            path: path.clone(),
            mode: 0o755,
            mtime: (0, 0),
            uid: 0,
            gid: 0,
            attributes: Attributes::default(),
            content: Content::Directory { is_implied },
        };
        assert_eq!(key(&directory(true), Service::S3), None);
        assert_eq!(key(&directory(false), Service::S3).unwrap().text, "a/.relocation-directory");
    }
}
