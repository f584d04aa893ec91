//! `upload`: copies the source into the workspace and writes the manifest.
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

use super::error::{At, Error, Side};
use super::fence::Fence;
use super::manifest::{self, Header, Leftover, Totals, Writer};
use super::outcome::Outcome;
use super::progress::Progress;
use super::scan::{has_lost_and_found, scan};
use super::settings::Settings;
use super::stage::Stage;
use super::tree::Dir;
use super::workspace::{Stopped, Workspace};
use super::{Console, clock};

/// What `upload` does with a source that has nothing in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// Stops: most likely the wrong volume is mounted.
    Refuse,
    /// Moves nothing, successfully.
    Allow,
}

/// Runs the step.
pub fn run(
    source: &Path,
    workspace: &Path,
    empty: Empty,
    settings: &Settings,
    console: &mut Console,
) -> Result<Outcome, Stopped> {
    let workspace = Workspace::open(workspace)?;
    let source = Dir::open_root(source, Side::Source)?;
    let fence = Fence::claim(&workspace.root, settings.launch.as_ref())?;
    let scanned = scan(&source, &workspace, settings)?;
    if scanned.entries == 0 && empty == Empty::Refuse {
        return Err(Error::EmptySource.into());
    }
    console.log(&format!("{} files and {} other entries to stage", scanned.files, scanned.entries - scanned.files));
    if has_lost_and_found(&source)? {
        console.log("lost+found belongs to the source's volume and is left out");
    }
    let header = Header::new(settings.about.uuid.clone(), settings.items.clone(), empty == Empty::Allow);
    gather_leftovers(&workspace.root, &header)?;
    let data = workspace.ensure_data()?;
    let mut progress = Progress::new(console.out, clock::now, scanned.files);
    let stage = Stage { source, data, fence, workspace, manifest_bytes: scanned.manifest_bytes, header };
    let (totals, reused) = stage.copy(&mut progress)?;
    progress.finish();
    report(&stage.workspace, &totals, reused)
}

fn report(workspace: &Workspace, totals: &Totals, reused: u64) -> Result<Outcome, Stopped> {
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", totals.files),
            ("directories", totals.directories),
            ("links", totals.links),
            ("hardLinks", totals.hard_links),
            ("bytes", totals.bytes),
            ("alreadyStaged", reused),
        ]),
        artifacts: vec![workspace.artifact("manifest", "manifest.jsonl")?],
        ..Outcome::said(format!(
            "staged {} files, {} directories and {} links ({} bytes); tree digest {}",
            totals.files, totals.directories, totals.links, totals.bytes, totals.tree_digest
        ))
    })
}

/// Puts what earlier attempts finished into `manifest.jsonl.previous`, whatever moment they were killed at.
fn gather_leftovers(workspace: &Dir, header: &Header) -> Result<(), Error> {
    let uuid = &header.uuid;
    match rustix::fs::renameat(workspace, manifest::NAME, workspace, manifest::PREVIOUS) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno).at("rename", Side::Workspace, manifest::NAME),
    }
    let mut older = Leftover::open(workspace, manifest::PREVIOUS, uuid)?;
    let mut newer = Leftover::open(workspace, manifest::PARTIAL, uuid)?;
    if newer.peek().is_none() {
        return Ok(());
    }
    let merged = b"manifest.jsonl.merged";
    let mut writer = Writer::create(workspace, merged, header)?;
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
    writer.finish(merged, manifest::PREVIOUS)?;
    workspace.remove_file(manifest::PARTIAL).at("remove", Side::Workspace, manifest::PARTIAL)
}
