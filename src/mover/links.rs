//! Hard links on their way through a store, which has none.
//!
//! | object | says |
//! |---|---|
//! | a further name of a file | `relocationlink`: where the first name is, seen from it, such as `../daily.0/a` |
//! | the first name | `relocationlinked: yes` |
//!
//! Like a symbolic link, that leads to the same file whatever prefix is read.
//! Each of these objects also holds the bytes, so that it is a file of its own where the others are not.
//!
//! **Invariant: what an object holds decides, and not what it says.** [`Names`] links two names only if their objects have the same bytes, by the digest of what was read,
//! and the same mode, time, owner and attributes; whatever somebody has written there since, no file gets other content than its object has.
//! Further names whose first one is not there, is left out, or has changed, are linked among themselves.
//!
//! **Memory:** about 100 bytes for each file that has several names.

use std::collections::{HashMap, HashSet};

use super::attributes::{escape, unescape};
use super::entry::{Content, Digest, Entry, RelativePath, Stored};
use super::error::Error;
use super::manifest::{Reader, Totals};
use super::object;
use super::store::About;
use super::tree::{Dir, split};

/// Longest reference in the metadata of an object, in bytes: with the longest attributes beside it, it is below the 2 KiB that S3 takes.
pub const LONGEST: usize = 700;

/// Where `first` is, seen from `path`; nothing if that is too long for metadata. ASCII without a space, whatever the paths are.
#[must_use]
pub fn reference(path: &RelativePath, first: &RelativePath) -> Option<String> {
    let (folder, first) = (split(path.as_bytes()).0, first.as_bytes());
    let folders: Vec<&[u8]> = parts(folder).collect();
    let names: Vec<&[u8]> = parts(first).collect();
    // The last part of the first name is a name and never a folder that both have.
    let both = folders.iter().zip(&names[..names.len() - 1]).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..".to_owned(), folders.len() - both);
    let text = up.chain(names[both..].iter().map(|name| escape(name))).collect::<Vec<_>>().join("/");
    (text.len() <= LONGEST).then_some(text)
}

/// What a reference leads to from `path`: parts of a path, the first of them `..` where it leaves what is read. Nothing of what is no reference.
fn resolve(path: &RelativePath, text: &str) -> Option<Vec<u8>> {
    let mut reached: Vec<Vec<u8>> = parts(split(path.as_bytes()).0).map(<[u8]>::to_vec).collect();
    for part in text.split('/') {
        if part == ".." && reached.last().is_some_and(|last| last != b"..") {
            reached.pop();
        } else {
            reached.push(unescape(part)?);
        }
    }
    Some(reached.join(&b'/'))
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// The first names of a manifest, so that their objects can say that they are such.
#[derive(Debug, Default)]
pub struct Firsts(HashSet<[u8; 16]>);

impl Firsts {
    /// Reads the manifest once more if it has further names.
    pub fn read(workspace: &Dir, totals: &Totals) -> Result<Self, Error> {
        let mut firsts = HashSet::new();
        if totals.hard_links > 0 {
            each_file(workspace, |_, _, _, link_of| {
                firsts.extend(link_of.map(|first| Digest::half_of(first.as_bytes())));
                Ok(())
            })?;
        }
        Ok(Self(firsts))
    }

    /// Whether further names follow this one.
    #[must_use]
    pub fn has(&self, path: &RelativePath) -> bool {
        !self.0.is_empty() && self.0.contains(&Digest::half_of(path.as_bytes()))
    }

    /// Whether the object of an entry can say of links what it should.
    #[must_use]
    pub fn can_be_said(&self, entry: &Entry) -> bool {
        !matches!(entry.content, Content::File { link_of: Some(_), .. }) || object::said_of_links(entry, self).is_some()
    }

    /// Whether an object says of links what it should.
    #[must_use]
    pub fn are_said(&self, entry: &Entry, said: &About) -> bool {
        match &entry.content {
            Content::File { link_of: None, .. } if !self.has(&entry.path) => true,
            Content::File { link_of, .. } => match object::said_of_links(entry, self) {
                Some((name, value)) => said.get(name) == Some(&value),
                None => link_of.is_none(),
            },
            Content::Directory { .. } | Content::Link { .. } => true,
        }
    }
}

/// Looks whether each further name of a manifest says the same of its file as the first name, which is an entry of its own.
/// Whoever links them need not compare them again.
pub fn check(workspace: &Dir, totals: &Totals) -> Result<(), Error> {
    if totals.hard_links == 0 {
        return Ok(());
    }
    let broken = |line: u64, problem: &str| Error::ManifestBroken { line, problem: problem.to_owned() };
    let mut firsts: HashMap<[u8; 16], (u64, u64, Digest)> = HashMap::new();
    each_file(workspace, |line, _, (size, digest), link_of| {
        let Some(first) = link_of else { return Ok(()) };
        let (_, size_before, digest_before) =
            *firsts.entry(Digest::half_of(first.as_bytes())).or_insert((line, size, digest));
        if (size_before, digest_before) == (size, digest) {
            return Ok(());
        }
        Err(broken(line, "a further name of a file has other content than the one before"))
    })?;
    each_file(workspace, |line, path, (size, digest), link_of| {
        let wanted = if link_of.is_none() { firsts.remove(&Digest::half_of(path.as_bytes())) } else { None };
        if wanted.is_none_or(|(_, size_there, digest_there)| (size_there, digest_there) == (size, digest)) {
            return Ok(());
        }
        Err(broken(line, "the first name of a file has other content than a further one"))
    })?;
    match firsts.into_values().map(|(line, ..)| line).min() {
        None => Ok(()),
        Some(line) => Err(broken(line, "the first name of this file is not there")),
    }
}

/// Takes each file of the manifest: its line, path, content, and first name if it is a further one.
fn each_file(
    workspace: &Dir,
    mut take: impl FnMut(u64, &RelativePath, (u64, Digest), Option<&RelativePath>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut reader = Reader::open(workspace)?;
    // The first line is no entry.
    let mut line = 1;
    while let Some(entry) = reader.next_entry()? {
        line += 1;
        if let Content::File { size, digest, link_of, .. } = &entry.content {
            take(line, &entry.path, (*size, *digest), link_of.as_ref())?;
        }
    }
    Ok(())
}

/// Counts further names that a reader of the store will not know as such.
#[derive(Debug, Default)]
pub struct Lost {
    unsaid: HashSet<RelativePath>,
    /// How many.
    pub count: u64,
}

impl Lost {
    /// Takes the next entry in order. `is_said` is whether its object says of links what it should.
    pub fn take(&mut self, entry: &Entry, is_said: bool) {
        match &entry.content {
            Content::File { link_of: Some(first), .. } => {
                self.count += u64::from(!is_said || self.unsaid.contains(first));
            }
            Content::File { link_of: None, .. } if !is_said => {
                self.unsaid.insert(entry.path.clone());
            }
            Content::File { .. } | Content::Directory { .. } | Content::Link { .. } => {}
        }
    }
}

/// Finds out, of entries that come in order, which are further names of an earlier one.
///
/// By digests of where the first name is or would be, and of all that the names of a file have in common.
#[derive(Debug, Default)]
pub struct Names(HashMap<[u8; 16], Head>);

/// The name that others are linked to.
#[derive(Debug)]
struct Head {
    /// Its packed copy.
    stored: Option<Stored>,
    /// Its path, if it is not the first name itself.
    path: Option<RelativePath>,
}

impl Names {
    /// Makes an entry that was read from a store a further name of an earlier one if it is, and a file of its own otherwise, whatever an earlier attempt made of it.
    /// Returns that earlier name.
    pub fn judge(&mut self, entry: &mut Entry) -> Option<RelativePath> {
        let what = what(entry)?;
        let Content::File { link_of, about, stored, .. } = &mut entry.content else { return None };
        *link_of = None;
        let Some(first) = object::link(about).and_then(|text| resolve(&entry.path, text)) else {
            if object::is_linked(about) {
                let key = Digest::half_of(&[entry.path.as_bytes(), what.as_bytes()].concat());
                self.0.insert(key, Head { stored: *stored, path: None });
            }
            return None;
        };
        let key = Digest::half_of(&[first.as_slice(), what.as_bytes()].concat());
        if let Some(head) = self.0.get(&key)
            && let Some(path) = head.path.clone().or_else(|| RelativePath::try_from(first).ok())
        {
            *stored = head.stored;
            *link_of = Some(path.clone());
            return Some(path);
        }
        self.0.insert(key, Head { stored: *stored, path: Some(entry.path.clone()) });
        None
    }
}

/// What all names of a file have in common; nothing for what is no file.
fn what(entry: &Entry) -> Option<Digest> {
    let Entry { path: _, mode, mtime, uid, gid, attributes, content } = entry;
    let Content::File { size, digest, .. } = content else { return None };
    let all = serde_json::to_vec(&(size, digest, mode, mtime, uid, gid, attributes)).expect("text always serialises");
    Some(Digest::of(&all))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mover::attributes::Attributes;
    use crate::mover::manifest;
    use crate::mover::workspace::Workspace;

    fn path(bytes: &[u8]) -> RelativePath {
        RelativePath::try_from(bytes.to_vec()).unwrap()
    }

    fn a_path() -> impl Strategy<Value = RelativePath> {
        let name = proptest::collection::vec(any::<u8>(), 1..4);
        proptest::collection::vec(prop_oneof![Just(b"a".to_vec()), Just(b"b".to_vec()), name], 1..5)
            .prop_filter_map("no path", |names| RelativePath::try_from(names.join(&b'/')).ok())
    }

    proptest! {
        #[test]
        fn a_reference_leads_to_the_first_name_whatever_is_before_both(one in a_path(), other in a_path(), before in a_path()) {
            let text = reference(&one, &other).unwrap();
            prop_assert!(text.is_ascii() && !text.contains(' '), "{text}");
            prop_assert_eq!(resolve(&one, &text), Some(other.as_bytes().to_vec()));
            let below = |end: &RelativePath| path(&[before.as_bytes(), end.as_bytes()].join(&b'/'));
            prop_assert_eq!(resolve(&below(&one), &text), Some(below(&other).as_bytes().to_vec()));
        }
    }

    #[test]
    fn a_reference_is_what_a_person_would_write() {
        let said = |one: &str, other: &str| reference(&path(one.as_bytes()), &path(other.as_bytes())).unwrap();
        assert_eq!(said("daily.1/a/f", "daily.0/a/f"), "../../daily.0/a/f");
        assert_eq!(said("a/c", "a/b b"), "b%20b");
        assert_eq!(said("a/b/c", "a/b"), "../b");
        assert_eq!(said("a", "b/c"), "b/c");
    }

    #[test]
    fn a_reference_that_is_too_long_for_metadata_is_none() {
        assert_eq!(reference(&path(b"b"), &path("ä".repeat(120).as_bytes())), None);
        assert!(reference(&path(b"b"), &path("ä".repeat(116).as_bytes())).is_some());
    }

    /// An entry of a store with this content and these words about links.
    fn entry(name: &str, content: &str, said: &[(&str, &str)]) -> Entry {
        let about = said.iter().map(|(name, value)| (format!("meta-{name}"), (*value).to_owned())).collect();
        let (size, digest) = (content.len() as u64, Digest::of(content.as_bytes()));
        let content = Content::File { size, digest, link_of: None, seen: None, about, stored: None };
        let path = path(name.as_bytes());
        Entry { path, mode: 0o644, mtime: (1, 2), uid: 3, gid: 4, attributes: Attributes::default(), content }
    }

    const FIRST: &[(&str, &str)] = &[("relocationlinked", "yes")];

    fn further(first: &str) -> [(&str, &str); 1] {
        [("relocationlink", first)]
    }

    /// Which name each is linked to.
    fn judge(entries: Vec<Entry>) -> Vec<Option<String>> {
        let mut names = Names::default();
        let judge = |mut entry: Entry| {
            let first = names.judge(&mut entry);
            let Content::File { link_of, .. } = entry.content else { unreachable!() };
            assert_eq!(first, link_of);
            first.map(|first| String::from_utf8(first.as_bytes().to_vec()).unwrap())
        };
        entries.into_iter().map(judge).collect()
    }

    #[test]
    fn further_names_are_linked_to_the_first() {
        let linked = judge(vec![
            entry("a/1", "x", FIRST),
            entry("a/2", "x", &further("1")),
            entry("b", "x", &further("a/1")),
            entry("c", "x", &[]),
        ]);
        assert_eq!(linked, [None, Some("a/1".to_owned()), Some("a/1".to_owned()), None]);
    }

    #[test]
    fn further_names_whose_first_is_not_there_are_linked_among_themselves() {
        let linked = judge(vec![entry("b", "x", &further("a")), entry("c", "x", &further("a"))]);
        assert_eq!(linked, [None, Some("b".to_owned())]);
        // Also when it is outside of what is read.
        let linked = judge(vec![entry("b", "x", &further("../a")), entry("c/d", "x", &further("../../a"))]);
        assert_eq!(linked, [None, Some("b".to_owned())]);
        let linked = judge(vec![entry("b", "x", &further("../a")), entry("c/d", "x", &further("../a"))]);
        assert_eq!(linked, [None, None]);
    }

    #[test]
    fn what_an_object_holds_decides_and_not_what_it_says() {
        let further = further("a");
        let linked = judge(vec![entry("a", "new", FIRST), entry("b", "x", &further), entry("c", "x", &further)]);
        assert_eq!(linked, [None, None, Some("b".to_owned())], "the first name has changed");
        let linked = judge(vec![entry("a", "x", FIRST), entry("b", "new", &further), entry("c", "x", &further)]);
        assert_eq!(linked, [None, None, Some("a".to_owned())], "a further one has changed");
        let mut closed = entry("b", "x", &further);
        closed.mode = 0o600;
        assert_eq!(judge(vec![entry("a", "x", FIRST), closed]), [None, None], "it has another mode");
        assert_eq!(judge(vec![entry("a", "x", &[]), entry("b", "x", &further)]), [None, None]);
        let out_of_order = vec![entry("A", "x", &further), entry("a", "x", FIRST)];
        assert_eq!(judge(out_of_order), [None, None]);
        for lie in ["", "%", "/", "a/", "..", "../..", "a\u{e4}", "%00"] {
            assert_eq!(
                judge(vec![entry("a", "x", FIRST), entry("b/c", "x", &[("relocationlink", lie)])]),
                [None, None],
                "{lie}"
            );
        }
    }

    /// Whether a manifest of these names, with the content and the first name of each, may be written by.
    fn check_manifest(files: &[(&str, &str, Option<&str>)]) -> Result<(), String> {
        let temporary = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(temporary.path()).unwrap();
        let header = manifest::Header::new(String::new(), Vec::new(), false);
        let mut writer = manifest::Writer::create(&workspace.root, manifest::PARTIAL, &header).unwrap();
        for (name, content, first) in files {
            let mut entry = entry(name, content, &[]);
            let Content::File { link_of, .. } = &mut entry.content else { unreachable!() };
            *link_of = first.map(|first| path(first.as_bytes()));
            writer.append(&entry).unwrap();
        }
        writer.finish(manifest::NAME).unwrap();
        manifest::check(&workspace.root).map(drop).map_err(|error| error.sentence())
    }

    #[test]
    fn a_manifest_that_links_what_is_not_the_same_is_broken() {
        let right = [("a", "x", None), ("b", "y", None), ("c", "x", Some("a")), ("d", "x", Some("a"))];
        assert_eq!(check_manifest(&right), Ok(()));
        let wrong = [
            ([("a", "x", None), ("b", "x", Some("a")), ("c", "y", Some("a"))], 4, "other content than the one before"),
            ([("a", "x", None), ("b", "y", Some("a")), ("c", "y", Some("a"))], 2, "other content than a further one"),
            ([("a", "x", None), ("b", "x", Some("a")), ("c", "x", Some("b"))], 4, "is not there"),
            ([("b", "x", Some("a")), ("c", "x", Some("a")), ("d", "x", None)], 2, "is not there"),
        ];
        for (files, line, problem) in wrong {
            let sentence = check_manifest(&files).unwrap_err();
            assert!(sentence.contains(problem) && sentence.contains(&format!("line {line}")), "{sentence}");
        }
    }

    #[test]
    fn a_name_that_an_earlier_attempt_linked_is_judged_anew() {
        let mut again = entry("b", "x", &further("a"));
        let Content::File { link_of, .. } = &mut again.content else { unreachable!() };
        *link_of = Some(path(b"a"));
        assert_eq!(judge(vec![entry("a", "new", FIRST), again]), [None, None]);
    }
}
