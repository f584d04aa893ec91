//! `upload`: reads the whole source, copies it into the workspace unless told not to, and writes the manifest.
//!
//! With `--staging=none` nothing is copied: the manifest says what there is, with every digest, and `import` reads the source a second time and compares.
//! A source at a store goes the same way: see [`super::fetch`].
//!
//! Three passes. *Scan* looks at everything and reads nothing, so that all that cannot be moved is said at once, before a byte is copied.
//! *Copy* stages and hashes. *Prune* removes what earlier attempts staged and the source no longer has.
//!
//! **Invariant: a line means bytes on the disk.** Lines are written to `manifest.jsonl.partial` only after one `syncfs` has made the files they name durable.
//! So the next attempt may trust them: a file whose inode, size, mtime and ctime are as in its line, and whose staged copy is there, is not copied again.
//! Everything else is removed and copied anew; there is no state in which old and new bytes of one file meet.
//!
//! **Judgement: `syncfs` instead of `fsync` per file.** An `fsync` costs about 3 ms here whatever the file's size (a flush of the disk's cache each),
//! which is over a minute for 25,000 files; one `syncfs` for some thousands of them gives the same guarantee and costs a second.
//! It also writes out what others have written to the same file system, which costs them nothing they would not pay later.
//!
//! Fifos, sockets and devices are refused: a tree without them is not the same tree, and only their owner knows whether that matters.

use std::collections::BTreeMap;
use std::path::Path;

use super::end::{End, Location};
use super::entry::Bytes;
use super::error::{At, Error, Side};
use super::fence::Fence;
use super::fetch::Fetch;
use super::filter::Filter;
use super::manifest::{self, Header, Leftover, Packing, Staging, Totals, Writer};
use super::outcome::Outcome;
use super::packs::Packs;
use super::progress::Progress;
use super::quoted::Quoted;
use super::records::{self, Site};
use super::scan::{has_lost_and_found, scan};
use super::settings::Settings;
use super::stage::{Reused, Stage};
use super::store::Store;
use super::tree::Dir;
use super::workspace::{REPORTS, Stopped, Workspace};
use super::{Console, checkpoint, clock, fetch};

/// What `upload` does with a source that has nothing in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// Stops: most likely the wrong volume is mounted.
    Refuse,
    /// Moves nothing, successfully.
    Allow,
}

/// What is wanted of the source.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whether nothing is enough.
    pub empty: Empty,
    /// Whether the workspace gets a copy; nothing = where there is one.
    pub staging: Option<Staging>,
    /// Whether that is packed.
    pub packing: Option<Packing>,
    /// What is taken and left out.
    pub filter: Filter,
}

/// Runs the step.
pub fn run(
    source: &End,
    site: &Site,
    wanted: Wanted,
    settings: &Settings,
    console: &mut Console,
) -> Result<Outcome, Stopped> {
    let staging = match (site, wanted.staging) {
        (Site::Target(_), Some(Staging::Copy)) => {
            return Err(Error::Staging("--staging=copy needs a workspace to copy into, and the plan has none").into());
        }
        (Site::Target(_), _) => Staging::None,
        (Site::Workspace(_), wanted) => wanted.unwrap_or_default(),
    };
    let mut workspace = Workspace::create(site, settings)?;
    let recipients = wanted.packing.as_ref().map_or(&[][..], |packing| &packing.recipients);
    if staging == Staging::None && wanted.packing.is_some() && recipients.is_empty() {
        return Err(Error::Staging("--compress has nothing to compress where nothing is staged").into());
    }
    workspace.seal_to(recipients, settings)?;
    let fence = Fence::claim(&workspace.root, settings.launch.as_ref())?;
    if !recipients.is_empty() {
        // What attempts before there was a recipient have left is in the clear.
        records::remove_directory(&workspace.root, REPORTS)?;
        records::remove(&workspace.root, manifest::MERGED)?;
        checkpoint::clear(&workspace.root)?;
    }
    let mut header = Header::new(settings.about.uuid.clone(), settings.items.clone(), wanted.empty == Empty::Allow);
    header.staging = staging;
    header.packing = wanted.packing;
    header.filter = wanted.filter;
    match source {
        End::Tree(path) => upload_tree(path, workspace, fence, header, settings, console),
        End::Store(location) => upload_store(location, workspace, fence, header, settings, console),
    }
}

fn upload_tree(
    source: &Path,
    workspace: Workspace,
    fence: Fence,
    mut header: Header,
    settings: &Settings,
    console: &mut Console,
) -> Result<Outcome, Stopped> {
    let source = Dir::open_root(source, Side::Source)?;
    let scanned = scan(&source, &workspace, &header.filter, settings)?;
    if scanned.entries == 0 && !header.allow_empty {
        return Err(Error::EmptySource.into());
    }
    console.log(&format!("{} files and {} other entries to read", scanned.files, scanned.entries - scanned.files));
    if has_lost_and_found(&source)? {
        console.log("lost+found belongs to the source's volume and is left out");
    }
    header.files_at_source = scanned.files_at_source;
    gather_leftovers(&workspace.root, &header)?;
    fence.check()?;
    let (data, packs) = staged(&workspace, &header)?;
    let mut progress = Progress::new(console.out, clock::now, scanned.files);
    let pace = settings.pace.clone();
    let stage = Stage { source, data, packs, fence, workspace, manifest_bytes: scanned.manifest_bytes, header, pace };
    let (totals, reused) = stage.copy(&mut progress)?;
    progress.finish();
    report(&stage.workspace, &stage.header, &totals, reused)
}

fn upload_store(
    source: &Location,
    workspace: Workspace,
    fence: Fence,
    mut header: Header,
    settings: &Settings,
    console: &mut Console,
) -> Result<Outcome, Stopped> {
    let store = Store::open(source, Side::Source)?;
    let listed = fetch::list(&store, &header, &settings.items)?;
    if listed.things.is_empty() && !header.allow_empty {
        return Err(Error::EmptySource.into());
    }
    if header.staging == Staging::Copy
        && let Some(path) = &listed.clash
    {
        return Err(Error::Problem(format!(
            "{} of the source is an object and also the folder of others, which no volume can hold; move it with --staging=none to another store, or rename it",
            Quoted(path)
        ))
        .into());
    }
    console.log(&format!("{} objects to read", listed.objects));
    header.files_at_source = listed.at_source;
    header.clash = listed.clash.clone().map(Bytes);
    gather_leftovers(&workspace.root, &header)?;
    fence.check()?;
    let (data, packs) = staged(&workspace, &header)?;
    let mut progress = Progress::new(console.out, clock::now, listed.objects);
    let fetch = Fetch { store, data, packs, fence, workspace, header, pace: settings.pace.clone() };
    let (totals, reused) = fetch.run(listed.things, &mut progress)?;
    progress.finish();
    report(&fetch.workspace, &fetch.header, &totals, reused)
}

/// The staged tree or the packed copy, where there is to be one. Of the latter only what an earlier attempt has finished.
fn staged(workspace: &Workspace, header: &Header) -> Result<(Option<Dir>, Option<Packs>), Error> {
    match (header.staging, &header.packing) {
        (Staging::None, _) => Ok((None, None)),
        (Staging::Copy, None) => Ok((Some(workspace.ensure_data()?), None)),
        (Staging::Copy, Some(_)) => {
            workspace.ensure_data()?;
            let packs = workspace.packs()?;
            packs.prune_to(Leftover::open(&workspace.root, manifest::PREVIOUS, header)?)?;
            Ok((None, Some(packs)))
        }
    }
}

fn report(workspace: &Workspace, header: &Header, totals: &Totals, reused: Reused) -> Result<Outcome, Stopped> {
    let did = match header.staging {
        Staging::Copy => "staged",
        Staging::None => "read and listed",
    };
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", totals.files),
            ("directories", totals.directories),
            ("links", totals.links),
            ("hardLinks", totals.hard_links),
            ("bytes", totals.bytes),
            // Of an earlier attempt, and not read again.
            ("alreadyStaged", reused.files),
            // Of large files that an earlier attempt had begun.
            ("resumedBytes", reused.bytes),
            ("filesAtSource", header.files_at_source),
        ]),
        artifacts: vec![workspace.artifact("manifest", "manifest.jsonl")?],
        ..Outcome::said(format!(
            "{did} {} files, {} directories and {} links ({} bytes); tree digest {}",
            totals.files, totals.directories, totals.links, totals.bytes, totals.tree_digest
        ))
    })
}

/// Puts what earlier attempts finished into `manifest.jsonl.previous`, whatever moment they were killed at.
fn gather_leftovers(workspace: &Dir, header: &Header) -> Result<(), Error> {
    if workspace.look(manifest::NAME).at("look at", Side::Workspace, manifest::NAME)?.is_some() {
        records::rename(workspace, manifest::NAME, manifest::PREVIOUS)?;
    }
    let mut older = Leftover::open(workspace, manifest::PREVIOUS, header)?;
    let mut newer = Leftover::open(workspace, manifest::PARTIAL, header)?;
    if older.peek().is_none() {
        // What rests there may be in the clear, and now there is a recipient.
        records::remove(workspace, manifest::PREVIOUS)?;
    }
    if newer.peek().is_none() {
        return Ok(());
    }
    let mut writer = Writer::create(workspace, manifest::MERGED, header)?;
    loop {
        let takes_newer = match (older.peek(), newer.peek()) {
            (None, None) => break,
            (Some(old), Some(new)) if old == new => {
                older.take();
                true
            }
            (Some(old), Some(new)) => new < old,
            (old, _) => old.is_none(),
        };
        let entry = if takes_newer { newer.take() } else { older.take() };
        if let Some(entry) = entry {
            writer.append(&entry)?;
        }
    }
    writer.finish(manifest::PREVIOUS)?;
    records::remove(workspace, manifest::PARTIAL)
}
