//! `postprocess` at a store: lists the target again, reads every object, and compares it with the manifest.
//!
//! It shares nothing with `import` but the manifest. Modes and times are in the objects' metadata since they were written.
//! Nothing of ours remains afterwards: uploads that were never completed go, and so does the record of the fencing token.
//! What is there and not in the manifest is only counted: it is somebody else's.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::content::Copier;
use super::entry::{Content, Entry};
use super::error::Error;
use super::foresee::is_record;
use super::links::{Firsts, Lost};
use super::manifest::{Reader, Totals};
use super::object;
use super::outcome::Outcome;
use super::postprocess::DIFFERS;
use super::preprocess::Known;
use super::progress::Progress;
use super::quoted::Quoted;
use super::send::{abort_uploads, compare};
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
    // What was written is asked for only where somebody's upload is unfinished.
    let ours = OnceCell::new();
    let swept = abort_uploads(store, console, &BTreeSet::new(), |path| {
        if ours.get().is_none() {
            let _ = ours.set(Known::read(workspace, settings, &store.location().to_string())?);
        }
        Ok(ours.get().is_some_and(|ours| ours.has(path)))
    })?;
    let leftovers = swept.aborted;
    let mut there: u64 = 0;
    store.each(|object| {
        there += u64::from(!is_record(&object.key));
        Ok(())
    })?;
    let mut problems = Problems::new(workspace, "reports/postprocess-problems.txt");
    let mut progress = Progress::new(console.out, clock::now, totals.files);
    let mut reader = Reader::open(&workspace.root)?;
    let firsts = Firsts::read(&workspace.root, totals)?;
    let (mut lost, mut expected) = (Lost::default(), 0);
    let feed = || {
        let Some(entry) = reader.next_entry()? else { return Ok(None) };
        let key = object::key(&entry, store.location().service);
        expected += u64::from(key.is_some());
        Ok(Some(Piece { entry, key }))
    };
    let work = |copier: &mut Copier, Piece { entry, key }: Piece| {
        let Some(key) = key else { return Ok((entry, None, true)) };
        let (how, said) = compare(store, &entry, &key, copier, &settings.pace.throttle)?;
        let says_links = firsts.are_said(&entry, &said);
        Ok::<_, Error>((entry, how, says_links))
    };
    let drain = |(entry, how, says_links): (Entry, Option<&str>, bool)| {
        progress.advance(u64::from(entry.is_file()));
        lost.take(&entry, says_links);
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
    // All that is expected has been found, so the rest is somebody else's.
    let extra = there.saturating_sub(expected);
    let Totals { files, directories, links, bytes, tree_digest, .. } = totals;
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", *files),
            ("directories", *directories),
            ("links", *links),
            ("bytes", *bytes),
            ("extra", extra),
            ("leftoversRemoved", leftovers),
            ("hardLinksNotKept", lost.count),
        ]),
        ..Outcome::said(format!(
            "the target is what the manifest says: {files} files, {directories} directories, {links} links, {bytes} bytes; tree digest {tree_digest}; {extra} other objects are there"
        ))
    })
}
