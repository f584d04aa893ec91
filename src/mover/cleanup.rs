//! `cleanup`: removes from the target what this relocation has written, and nothing else, for a move that was called off.
//!
//! What that is, the journal says (see [`super::journal`]), and each thing is looked at before it goes:
//! a file must still be the inode that was written, an object must still say that this relocation wrote it, a link must still point where the manifest says,
//! a directory must be empty. Whatever is not, or has replaced something, stays and is counted.
//! Temporary files, unfinished uploads and the record of the fencing token go too. Killed and started again, it goes on.
//!
//! A source is never touched, without a journal there is nothing to do, and after a success everything stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::Console;
use super::end::End;
use super::entry::{Bytes, Content, RelativePath};
use super::error::{At, Error, Side};
use super::fence::{self, Fence};
use super::journal::{self, Journal, Line, earlier};
use super::manifest::Reader;
use super::object;
use super::outcome::Outcome;
use super::records::{self, Site};
use super::send::abort_uploads;
use super::settings::{SUCCESS, Settings};
use super::store::Store;
use super::store::fence::StoreFence;
use super::store::key::encode;
use super::tree::{Cursor, Dir, Kind, split};
use super::walk::Walk;
use super::workspace::{Stopped, Workspace};

/// Runs the step.
pub fn run(target: &End, site: &Site, settings: &Settings, console: &mut Console) -> Result<Outcome, Stopped> {
    // A plan has one `onEnd` for every ending.
    if settings.about.result == SUCCESS {
        records::discard(site, settings)?;
        return Ok(Outcome::said("the relocation has succeeded, so what it wrote stays".to_owned()));
    }
    let nothing = || Outcome::said(format!("this relocation has written nothing to {target}"));
    let workspace = match Workspace::unlock(site, settings) {
        Err(Error::NoRecords { .. }) => return Ok(nothing()),
        other => other?,
    };
    let mut lines = BTreeMap::new();
    let mut replaced = 0;
    let has_journal = journal::read_all(&workspace.root, settings.sequence(), &target.to_string(), |line| {
        if let Line::Replaces { .. } = line {
            replaced += 1;
        }
        // Of the lines about one path the first that says what it is; a file that was written twice has its newest inode.
        if !line.shows() {
            return;
        }
        let path = line.path().clone();
        match (&line, lines.get(&path)) {
            (_, Some(Line::Replaces { .. })) | (Line::Sent { .. }, Some(_)) => {}
            _ => drop(lines.insert(path, line)),
        }
    })?;
    if !has_journal {
        records::discard(site, settings)?;
        return Ok(nothing());
    }
    let removed = match target {
        End::Tree(path) => clean_tree(path, &workspace, &lines, settings)?,
        End::Store(location) => {
            clean_store(&Store::open(location, Side::Target)?, &workspace, &lines, settings, console)?
        }
    };
    records::remove(&workspace.root, journal::NAME)?;
    records::discard(site, settings)?;
    let Removed { files, directories, leftovers, kept } = removed;
    Ok(Outcome {
        counts: BTreeMap::from([
            ("removedFiles", files),
            ("removedDirectories", directories),
            ("leftoversRemoved", leftovers),
            ("kept", kept),
            ("replaced", replaced),
        ]),
        ..Outcome::said(format!(
            "removed {files} files and {directories} directories that this relocation had written; {kept} that others use or have changed stay"
        ))
    })
}

type Lines = BTreeMap<RelativePath, Line>;

#[derive(Default)]
struct Removed {
    files: u64,
    directories: u64,
    leftovers: u64,
    kept: u64,
}

fn clean_tree(path: &Path, workspace: &Workspace, lines: &Lines, settings: &Settings) -> Result<Removed, Error> {
    let root = Dir::open_root(path, Side::Target)?;
    let fence = Fence::claim(&root, settings.launch.as_ref())?;
    let mut removed = Removed::default();
    let mut walk = Walk::new(root.clone())?;
    while let Some(found) = walk.next_found()? {
        if fence.is_leftover(found.name()) && found.facts.kind == Kind::File {
            fence.check()?;
            found.parent.remove_file(found.name()).at("remove", Side::Target, &found.path)?;
            removed.leftovers += 1;
        }
    }
    let links = link_targets(workspace, lines)?;
    let mut cursor = Cursor::new(root.clone());
    // From the deepest up, so that a directory is empty when its turn comes.
    for (path, line) in lines.iter().rev() {
        let bytes = path.as_bytes();
        let (name, parent) = match cursor.parent(bytes) {
            Ok(parent) => (split(bytes).1, parent),
            // Its directory is gone, and it with that.
            Err(Error::Access { source, .. }) if is_gone(&source) => continue,
            Err(error) => return Err(error),
        };
        let Some(facts) = parent.look(name).at("look at", Side::Target, bytes)? else { continue };
        let ino = |path: &RelativePath| match lines.get(path) {
            Some(Line::File { ino, .. }) => Some(*ino),
            Some(_) | None => None,
        };
        let is_ours = match line {
            Line::File { ino, .. } => facts.kind == Kind::File && facts.identity.1 == *ino,
            Line::Again { of, .. } => facts.kind == Kind::File && ino(of) == Some(facts.identity.1),
            Line::Link { .. } => {
                facts.kind == Kind::Link
                    && links.get(path).is_some_and(|target| parent.read_link(name).is_ok_and(|now| now == target.0))
            }
            Line::Directory { .. } => facts.kind == Kind::Directory,
            Line::Object { .. }
            | Line::Sent { .. }
            | Line::Replaces { .. }
            | Line::Begun { .. }
            | Line::Upload { .. }
            | Line::Part { .. } => false,
        };
        if !is_ours {
            removed.kept += 1;
            continue;
        }
        fence.check()?;
        if facts.kind == Kind::Directory {
            let grant = parent.grant_owner(name, &facts, Mode::RWXU);
            grant.at("set the mode of", Side::Target, bytes)?;
            match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
                Ok(()) => removed.directories += 1,
                Err(Errno::NOTEMPTY | Errno::EXIST) => removed.kept += 1,
                Err(errno) => return Err(errno).at("remove", Side::Target, bytes),
            }
        } else {
            parent.remove_file(name).at("remove", Side::Target, bytes)?;
            removed.files += 1;
        }
    }
    rustix::fs::syncfs(&root).at("write", Side::Target, b".")?;
    fence.clear()?;
    Ok(removed)
}

/// Where the links that we made point: the manifest knows.
fn link_targets(workspace: &Workspace, lines: &Lines) -> Result<HashMap<RelativePath, Bytes>, Error> {
    let mut targets = HashMap::new();
    if !lines.values().any(|line| matches!(line, Line::Link { .. })) {
        return Ok(targets);
    }
    let mut reader = match Reader::open(&workspace.root) {
        // Nobody knows then whether a link is still ours, so it stays.
        Err(Error::ManifestMissing) => return Ok(targets),
        other => other?,
    };
    while let Some(entry) = reader.next_entry()? {
        if let Content::Link { target } = entry.content {
            targets.insert(entry.path, target);
        }
    }
    Ok(targets)
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

fn clean_store(
    store: &Store,
    workspace: &Workspace,
    lines: &Lines,
    settings: &Settings,
    console: &Console,
) -> Result<Removed, Error> {
    let launch = settings.launch.as_ref();
    let fence = StoreFence::claim(store, launch)?;
    let by = fence::key(launch);
    let address = store.location().to_string();
    let journal = Journal::open(&workspace.root, settings.sequence(), &address, earlier())?;
    let leftovers = abort_uploads(store, console, &BTreeSet::new(), |path| Ok(journal.known(path).is_some()))?.aborted;
    let mut removed = Removed { leftovers, ..Removed::default() };
    for (path, line) in lines.iter().rev() {
        let key = encode(path.as_bytes(), store.location().service).text;
        // The journal names the path; whether that is a directory's object, the store tells.
        let keys = [key.clone(), format!("{key}/{}", fence::DIRECTORY)];
        for key in keys {
            let Some((_, about)) = store.look(&key)? else { continue };
            let is_ours = about.get(object::BY).is_some_and(|said| **said == *by);
            if !is_ours || matches!(line, Line::Replaces { .. }) {
                removed.kept += 1;
                continue;
            }
            fence.check()?;
            store.remove(&key)?;
            if object::kind(&about) == object::Kind::Directory {
                removed.directories += 1;
            } else {
                removed.files += 1;
            }
        }
    }
    fence.clear()?;
    Ok(removed)
}
