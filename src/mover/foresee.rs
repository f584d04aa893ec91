//! `preprocess` for a store: finds what would stop `import`, and leaves nothing there.
//!
//! It lists the target, reads what has the key of an entry, and writes and removes one small object, because only trying tells what credentials may do.

use std::collections::BTreeMap;

use bytes::Bytes;
use object_store::PutMode;

use super::content::Copier;
use super::end::Service;
use super::entry::{Content, Entry};
use super::error::Error;
use super::fence::{self, TEMPORARY, is_reserved};
use super::import::Existing;
use super::listing::There;
use super::manifest::{Reader, Totals};
use super::object;
use super::outcome::Outcome;
use super::preprocess::{CANNOT, Known, REPORT};
use super::progress::Progress;
use super::quoted::Quoted;
use super::send::compare;
use super::settings::Settings;
use super::store::fence::StoreFence;
use super::store::key::Key;
use super::store::{About, Store, azure, key};
use super::tree::split;
use super::workspace::{Problems, Stopped, Workspace};
use super::{Console, clock};

/// Largest object of S3, in bytes.
const LARGEST: u64 = 5 << 40;

/// Looks at the target.
pub fn run(
    store: &Store,
    existing: Existing,
    journal: &Known,
    workspace: &Workspace,
    totals: &Totals,
    settings: &Settings,
    console: &mut Console,
) -> Result<Outcome, Stopped> {
    StoreFence::look(store, settings.launch.as_ref())?;
    let mut there = There::list(store, is_record)?;
    try_to_write(store, settings)?;
    let mut problems = Problems::new(workspace, REPORT);
    let mut progress = Progress::new(console.out, clock::now, totals.files);
    let mut reader = Reader::open(&workspace.root)?;
    let mut copier = Copier::default();
    let (mut needed, mut present) = (0, 0);
    while let Some(entry) = reader.next_entry()? {
        progress.advance(u64::from(entry.is_file()));
        let Some(key) = object::key(&entry, store.location().service) else { continue };
        let path = entry.path.as_bytes();
        let size = if let Content::File { size, .. } = entry.content { size } else { 0 };
        if let Some(problem) = too_long(store, &key, path) {
            problems.add(problem);
        }
        if let Some(name) = unfit_metadata(store, &entry) {
            problems.add(format!(
                "Azure takes no metadata called {}, as the source says of {}: a name has letters, digits and '_' and starts with no digit; rename or remove it at the source, or leave the object out",
                Quoted(name.as_bytes()),
                Quoted(path)
            ));
        }
        if size > LARGEST {
            problems.add(format!("a store holds no object of {size} bytes like {}; leave it out", Quoted(path)));
        }
        if !there.remove(&key.text) {
            needed += size;
            continue;
        }
        present += u64::from(entry.is_file());
        match compare(store, &entry, &key, &mut copier, &settings.pace.throttle)?.0 {
            None if entry.is_file() && !journal.has(&entry.path) => {
                if let Err(error) = existing.judge_equal(path) {
                    problems.add(error.sentence());
                }
            }
            None => {}
            Some(_) if existing == Existing::Overwrite => needed += size,
            Some(how) => problems
                .add(format!("{} exists at the target and {how}; move it away or choose another target", Quoted(path))),
        }
    }
    progress.finish();
    if let Some(stopped) = problems.into_error(CANNOT) {
        return Err(stopped);
    }
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", totals.files),
            ("neededBytes", needed),
            ("alreadyThere", present),
            ("foreign", there.count()),
        ]),
        ..Outcome::said(format!(
            "the target can take all {} entries: {needed} bytes are needed, and the credentials may list, write and remove there",
            totals.entries
        ))
    })
}

/// What is wrong with a key that is longer than any store takes.
#[must_use]
pub fn too_long(store: &Store, key: &Key, path: &[u8]) -> Option<String> {
    let length = key.text.len() + store.location().prefix.len() + 1;
    (length > key::LONGEST).then(|| {
        format!(
            "the key of {} would have {length} bytes and a store holds {}; shorten it at the source, or choose a shorter prefix",
            Quoted(path),
            key::LONGEST
        )
    })
}

/// The name of metadata of an object that goes from store to store, if the target cannot hold it.
fn unfit_metadata<'a>(store: &Store, entry: &'a Entry) -> Option<&'a str> {
    let Content::File { about, .. } = &entry.content else { return None };
    if store.location().service == Service::Azure { azure::unfit(about) } else { None }
}

/// Whether a key is a record or a leftover of a relocation.
#[must_use]
pub fn is_record(key: &str) -> bool {
    let name = split(key.as_bytes()).1;
    is_reserved(name) && name != fence::DIRECTORY.as_bytes()
}

/// Writes an object and removes it. One that a killed attempt left is replaced.
fn try_to_write(store: &Store, settings: &Settings) -> Result<(), Error> {
    let name = format!("{TEMPORARY}{}-try", fence::key(settings.launch.as_ref()));
    store.put(&name, Bytes::new(), &About::new(), PutMode::Overwrite)?;
    store.remove(&name)
}
