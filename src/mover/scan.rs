//! The first pass of `upload`: looks at everything and reads nothing.

use rustix::fs::{Access, AtFlags, accessat};

use super::error::{At, Disposition, Error, Side};
use super::fence::is_reserved;
use super::filter::Filter;
use super::quoted::Quoted;
use super::settings::Settings;
use super::tree::{Dir, Facts, Kind, LOST_AND_FOUND};
use super::walk::{Found, Walk};
use super::workspace::{Problems, Stopped, Workspace};

/// Bytes of a line of the manifest but for the path.
const LINE: u64 = 320;

/// What there is to stage.
#[derive(Debug)]
pub struct Scanned {
    /// Paths.
    pub entries: u64,
    /// Those that are regular files.
    pub files: u64,
    /// Regular files, and those that the patterns or items leave out: whether there is anything at all.
    pub files_at_source: u64,
    /// Room that the manifest will take at most, roughly.
    pub manifest_bytes: u64,
}

/// Looks at the whole source and collects what cannot be moved.
pub fn scan(source: &Dir, workspace: &Workspace, filter: &Filter, settings: &Settings) -> Result<Scanned, Stopped> {
    for item in &settings.items {
        if source.look(item.as_bytes()).at("look at", Side::Source, item.as_bytes())?.is_none() {
            return Err(Error::MissingItem { item: item.clone() }.into());
        }
    }
    let own = Facts::of(&workspace.root).at("look at", Side::Workspace, b".")?.identity;
    if Facts::of(source).at("look at", Side::Source, b".")?.identity == own {
        return Err(Error::WorkspaceInsideSource { path: b".".to_vec() }.into());
    }
    let mut problems = Problems::new(workspace, "reports/upload-problems.txt");
    let mut scanned = Scanned { entries: 0, files: 0, files_at_source: 0, manifest_bytes: 0 };
    let mut walk = walk_source(source, &settings.items, filter)?;
    loop {
        let found = match walk.next_found() {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(error) => {
                collect(error, &mut problems)?;
                continue;
            }
        };
        if found.facts.identity == own {
            return Err(Error::WorkspaceInsideSource { path: found.path }.into());
        }
        scanned.entries += 1;
        scanned.manifest_bytes += LINE + 2 * found.path.len() as u64;
        scanned.files += u64::from(found.facts.kind == Kind::File);
        check(&found).or_else(|error| collect(error, &mut problems))?;
    }
    scanned.files_at_source = scanned.files;
    if scanned.files == 0 {
        // Nothing is to be moved: then it matters whether there was something to choose from.
        let mut all = Walk::new(source.clone())?;
        while let Some(found) = all.next_found()? {
            scanned.files_at_source += u64::from(found.facts.kind == Kind::File && found.facts.identity != own);
        }
    }
    match problems.into_error("some paths of the source cannot be moved") {
        Some(stopped) => Err(stopped),
        None => Ok(scanned),
    }
}

/// Adds what only a person can put right to the list; anything else may be gone at the next attempt.
fn collect(error: Error, problems: &mut Problems) -> Result<(), Error> {
    match error.disposition() {
        Disposition::Permanent => {
            problems.add(error.sentence());
            Ok(())
        }
        Disposition::Transient => Err(error),
    }
}

/// Walks what is selected of the source.
pub fn walk_source(source: &Dir, items: &[String], filter: &Filter) -> Result<Walk, Error> {
    let mut walk = Walk::new(source.clone())?.filtered(filter);
    let leaves_out = has_lost_and_found(source)?;
    let is_selected = |name: &[u8]| items.is_empty() || items.iter().any(|item| item.as_bytes() == name);
    walk.keep_top(|name| is_selected(name) && !(leaves_out && name == LOST_AND_FOUND));
    Ok(walk)
}

/// Whether there is a `lost+found` that belongs to the volume and not to the data. It is left out.
pub fn has_lost_and_found(source: &Dir) -> Result<bool, Error> {
    let facts = source.look(LOST_AND_FOUND).at("look at", Side::Source, LOST_AND_FOUND)?;
    Ok(facts.is_some_and(|facts| facts.is_lost_and_found(LOST_AND_FOUND)))
}

/// Whether a path can be moved, as far as looking at it tells.
pub fn check(found: &Found) -> Result<(), Error> {
    let path = Quoted(&found.path);
    if is_reserved(found.name()) {
        return Err(Error::Problem(format!(
            "{path} of the source is named like a temporary file of a relocation; remove it if one was killed there, or rename it"
        )));
    }
    match found.facts.kind {
        Kind::Other(kind) => Err(Error::Problem(format!(
            "{path} of the source is a {kind}, which is not data and cannot be moved; remove it, or leave it out with --exclude or spec.items"
        ))),
        // By the real user, which is also the effective one; opening the file decides in the end.
        Kind::File => accessat(&found.parent, found.name(), Access::READ_OK, AtFlags::empty()).at(
            "read",
            Side::Source,
            &found.path,
        ),
        Kind::Directory | Kind::Link => Ok(()),
    }
}
