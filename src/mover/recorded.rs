//! `validate` where nothing was staged: whether the source is still what the manifest says.
//!
//! It lists the source anew and compares names, types, sizes, times, and what cannot be forged (inode and change time of a file, `ETag` of an object; a listing has no versions, so `import` compares these).
//! The bytes were read once, by `upload`; they are read again by `import`, which compares every digest before anything shows.

use std::cmp::Ordering;

use super::compare;
use super::end::End;
use super::entry::{Content, Entry, Seen};
use super::error::{Error, Side};
use super::fetch::{self, Thing, What};
use super::manifest::Reader;
use super::progress::Progress;
use super::quoted::Quoted;
use super::scan::walk_source;
use super::store::Store;
use super::tree::Dir;
use super::validate::Judged;
use super::walk::{Found, Join, Pair};
use super::workspace::Problems;

/// Compares the source with the manifest.
pub fn judge(
    source: Option<&End>,
    reader: Reader,
    problems: &mut Problems,
    judged: &mut Judged,
    progress: &mut Progress,
) -> Result<(), Error> {
    let mut take = |seen: Sight| {
        progress.advance(u64::from(seen.is_file()));
        seen.count(problems, judged);
    };
    match source {
        None => Err(Error::Staging(
            "nothing was staged (upload --staging=none), so this step needs the same --source as upload",
        )),
        Some(End::Tree(path)) => {
            let root = Dir::open_root(path, Side::Source)?;
            let walk = walk_source(&root, &reader.header.items, &reader.header.filter)?;
            let mut join = Join::over(walk, reader);
            while let Some(pair) = join.next_pair()? {
                take(match pair {
                    Pair::Missing(entry) => Sight::Missing(entry),
                    Pair::Extra(found) => Sight::Extra(found.path),
                    Pair::Both(entry, found) => match file_differs(&entry, &found)? {
                        Some(how) => Sight::Different(entry, how),
                        None => Sight::Right(entry),
                    },
                });
            }
            Ok(())
        }
        Some(End::Store(location)) => {
            let store = Store::open(location, Side::Source)?;
            judge_store(&store, reader, take)
        }
    }
}

fn judge_store(store: &Store, mut reader: Reader, mut take: impl FnMut(Sight)) -> Result<(), Error> {
    let items = reader.header.items.clone();
    let mut things = fetch::list(store, &reader.header, &items)?.things.peekable();
    let mut maybe_entry = reader.next_entry()?;
    loop {
        let order = match (&maybe_entry, things.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(entry), Some(thing)) => entry.path.cmp(&thing.path),
        };
        let entry = if order == Ordering::Greater { None } else { maybe_entry.take() };
        let thing = if order == Ordering::Less { None } else { things.next() };
        if order != Ordering::Greater {
            maybe_entry = reader.next_entry()?;
        }
        match (entry, thing) {
            (Some(entry), Some(thing)) => take(match object_differs(&entry, &thing) {
                Some(how) => Sight::Different(entry, how),
                None => Sight::Right(entry),
            }),
            (Some(entry), None) => take(Sight::Missing(entry)),
            // What a console shows as a folder was left out by `upload` too: it is listed, and there is no such object.
            (None, Some(Thing { what: What::Object(object), .. }))
                if object.size == 0 && store.look(&object.key)?.is_none() => {}
            (None, Some(thing)) => take(Sight::Extra(thing.path.as_bytes().to_vec())),
            (None, None) => {}
        }
    }
}

fn file_differs(entry: &Entry, found: &Found) -> Result<Option<&'static str>, Error> {
    if let Some(difference) = compare::outside(entry, &found.parent, &found.facts)? {
        return Ok(Some(difference.phrase()));
    }
    let Content::File { seen, .. } = &entry.content else { return Ok(None) };
    let now = Seen::Inode { ino: found.facts.identity.1, ctime: found.facts.ctime };
    let is_same = entry.mtime == found.facts.mtime && seen.as_ref().is_none_or(|seen| *seen == now);
    Ok((!is_same).then_some("was written to"))
}

fn object_differs(entry: &Entry, thing: &Thing) -> Option<&'static str> {
    match (&entry.content, &thing.what) {
        (Content::Directory { .. }, What::Directory(_) | What::Implied) => None,
        // Where it points is in the manifest and not read again; another length says that it has changed.
        (Content::Link { target }, What::Object(object)) => {
            (object.size != target.as_bytes().len() as u64).then_some("was written to")
        }
        (Content::File { size, .. }, What::Object(object)) if *size != object.size => Some("has another size"),
        (Content::File { seen, .. }, What::Object(object)) => {
            let recorded = match seen {
                Some(Seen::Object(revision)) => Some(&revision.etag),
                Some(Seen::Inode { .. }) | None => None,
            };
            (recorded != object.etag.as_ref()).then_some("was written to")
        }
        (Content::Directory { .. } | Content::Link { .. } | Content::File { .. }, _) => Some("is of another type"),
    }
}

enum Sight {
    Right(Entry),
    Different(Entry, &'static str),
    Missing(Entry),
    Extra(Vec<u8>),
}

impl Sight {
    fn is_file(&self) -> bool {
        match self {
            Self::Right(entry) | Self::Different(entry, _) | Self::Missing(entry) => entry.is_file(),
            Self::Extra(_) => false,
        }
    }

    fn count(self, problems: &mut Problems, judged: &mut Judged) {
        match self {
            Self::Right(entry) => judged.right.add(&entry),
            Self::Different(entry, how) => {
                judged.different += 1;
                problems.add(format!("{} of the source {how} since it was recorded", Quoted(entry.path.as_bytes())));
            }
            Self::Missing(entry) => {
                judged.missing += 1;
                problems.add(format!("{} is no longer at the source", Quoted(entry.path.as_bytes())));
            }
            Self::Extra(path) => {
                judged.extra += 1;
                problems.add(format!("{} has come to the source since it was recorded", Quoted(&path)));
            }
        }
    }
}
