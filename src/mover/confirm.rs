//! `postprocess` at a store: lists the target again, reads every object, and compares it with the manifest.
//!
//! It shares nothing with `import` but the manifest. Modes and times are in the objects' metadata since they were written.
//! Nothing of ours remains afterwards: uploads that were never completed go, and so does the record of the fencing token.
//! What is there and not in the manifest is only counted: it is somebody else's.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::content::Copier;
use super::entry::{Content, Entry};
use super::error::Error;
use super::foresee::is_record;
use super::journal::{Journal, earlier};
use super::manifest::{Reader, Totals};
use super::object;
use super::outcome::Outcome;
use super::postprocess::DIFFERS;
use super::progress::Progress;
use super::quoted::Quoted;
use super::send::{abort_uploads, difference};
use super::settings::Settings;
use super::store::Store;
use super::store::fence::StoreFence;
use super::store::key::Key;
use super::workspace::{Problems, Stopped, Workspace};
use super::{Console, clock, pool};

struct Piece {
    entry: Entry,
    key: Option<Key>,
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match self.entry.content {
            Content::File { size, .. } => size,
            Content::Directory { .. } | Content::Link { .. } => 0,
        }
    }
}

/// Compares the target with the manifest.
pub fn run(
    store: &Store,
    workspace: &Workspace,
    totals: &Totals,
    settings: &Settings,
    console: &mut Console,
) -> Result<Outcome, Stopped> {
    let fence = StoreFence::claim(store, settings.launch.as_ref())?;
    let address = store.location().to_string();
    let journal = Journal::open(&workspace.root, settings.sequence(), &address, earlier())?;
    let leftovers = abort_uploads(store, console, &journal, &BTreeSet::new())?.aborted;
    let mut there: HashSet<String> = store.list()?.into_iter().map(|object| object.key).collect();
    there.retain(|key| !is_record(key));
    let mut problems = Problems::new(workspace, "reports/postprocess-problems.txt");
    let mut progress = Progress::new(console.out, clock::now, totals.files);
    let mut reader = Reader::open(&workspace.root)?;
    let mut not_linked = 0;
    let feed = || {
        let Some(entry) = reader.next_entry()? else { return Ok(None) };
        let key = object::key(&entry);
        if let Some(key) = &key {
            there.remove(&key.text);
        }
        not_linked += u64::from(matches!(entry.content, Content::File { link_of: Some(_), .. }));
        Ok(Some(Piece { entry, key }))
    };
    let work = |copier: &mut Copier, Piece { entry, key }: Piece| {
        let Some(key) = key else { return Ok((entry, None)) };
        let how = difference(store, &entry, &key, copier, &settings.pace.throttle)?;
        Ok::<_, Error>((entry, how))
    };
    let drain = |(entry, how): (Entry, Option<&str>)| {
        progress.advance(u64::from(entry.is_file()));
        if let Some(how) = how {
            problems.add(format!("{} of the target {how}", Quoted(entry.path.as_bytes())));
        }
        Ok(())
    };
    pool::in_order(settings.pace.threads(), feed, work, drain)?;
    progress.finish();
    if let Some(stopped) = problems.into_error(DIFFERS) {
        return Err(stopped);
    }
    fence.clear()?;
    let extra = there.len() as u64;
    let Totals { files, directories, links, bytes, tree_digest, .. } = totals;
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", *files),
            ("directories", *directories),
            ("links", *links),
            ("bytes", *bytes),
            ("extra", extra),
            ("leftoversRemoved", leftovers),
            ("hardLinksNotKept", not_linked),
        ]),
        ..Outcome::said(format!(
            "the target is what the manifest says: {files} files, {directories} directories, {links} links, {bytes} bytes; tree digest {tree_digest}; {extra} other objects are there"
        ))
    })
}
