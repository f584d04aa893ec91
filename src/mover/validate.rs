//! `validate`: reads the staged copy again, from its files alone, and gives a verdict as evidence.
//!
//! It shares nothing with `upload` but the manifest: every directory is listed, every file is read from its first byte to its last,
//! and the totals and the tree digest are computed anew.
//! Where nothing was staged, it compares the source with the manifest instead, by all that can be seen without reading it again: see [`super::recorded`].
//! A manifest without a file, where the source has some, is `INVALID`.
//!
//! The verdict is the result, so the exit code is 0 with `VALID` and with `INVALID`; only a copy that could not be judged is an error.
//! (`import` checks every digest itself, so by hand nothing wrong gets past an `INVALID` either.)

use std::collections::{BTreeMap, HashSet};

use super::compare;
use super::content::Copier;
use super::end::End;
use super::entry::{Content, Entry};
use super::error::{At, Error};
use super::manifest::{Adder, Reader, Staging, Totals};
use super::outcome::{Outcome, Verdict};
use super::progress::Progress;
use super::quoted::Quoted;
use super::records::Site;
use super::settings::Settings;
use super::tree::{Cursor, split};
use super::walk::{Found, Join, Pair};
use super::workspace::{Problems, Stopped, Workspace};
use super::{Console, clock, links, manifest, pool, recorded};

/// Runs the step. `source` is needed where nothing was staged.
pub fn run(source: Option<&End>, site: &Site, settings: &Settings, console: &mut Console) -> Result<Outcome, Stopped> {
    let workspace = Workspace::unlock(site, settings)?;
    let mut problems = Problems::new(&workspace, "reports/validate-problems.txt");
    let mut judged = Judged::default();
    let broken = match judge(source, &workspace, &mut problems, &mut judged, settings, console) {
        Ok(()) => None,
        // Evidence against the copy, not a failure to look at it.
        Err(error @ (Error::ManifestBroken { .. } | Error::StageDiffers { .. })) => Some(error.sentence()),
        Err(error) => return Err(error.into()),
    };
    let staging = Reader::open(&workspace.root).ok().map(|reader| reader.header.staging);
    Ok(verdict(&workspace, staging, problems, &judged, broken)?)
}

/// What was found, in numbers.
#[derive(Default)]
pub struct Judged {
    /// Of what was found as it should be.
    pub right: Adder,
    /// In the manifest only.
    pub missing: u64,
    /// In both, and not the same.
    pub different: u64,
    /// Not in the manifest.
    pub extra: u64,
}

fn judge(
    source: Option<&End>,
    workspace: &Workspace,
    problems: &mut Problems,
    judged: &mut Judged,
    settings: &Settings,
    console: &mut Console,
) -> Result<(), Error> {
    let expected = manifest::read_totals(&workspace.root)?;
    links::check(&workspace.root, &expected)?;
    let reader = Reader::open(&workspace.root)?;
    let header = reader.header.clone();
    let mut progress = Progress::new(console.out, clock::now, expected.files);
    match header.staging {
        Staging::Copy if header.packing.is_some() => {
            judge_packs(reader, workspace, problems, judged, settings, &mut progress)?;
        }
        Staging::Copy => judge_stage(reader, workspace, problems, judged, settings, &mut progress)?,
        Staging::None => recorded::judge(source, reader, problems, judged, &mut progress)?,
    }
    progress.finish();
    if expected.entries == 0 && !header.allow_empty {
        problems.add(
            "the manifest names nothing, and nobody said with --allow-empty that nothing is what is to be moved"
                .to_owned(),
        );
    }
    if expected.files == 0 && header.files_at_source > 0 {
        problems.add(format!(
            "the manifest names no file, and the source has {}; correct --include, --exclude or spec.items",
            header.files_at_source
        ));
    }
    if problems.count == 0 && judged.right.totals() != expected {
        problems.add("the totals of what was found are not those of the manifest".to_owned());
    }
    Ok(())
}

fn judge_stage(
    reader: Reader,
    workspace: &Workspace,
    problems: &mut Problems,
    judged: &mut Judged,
    settings: &Settings,
    progress: &mut Progress,
) -> Result<(), Error> {
    let data = workspace.data()?;
    let mut join = Join::new(data.clone(), reader)?;
    let mut firsts = Cursor::new(data);
    let feed = || {
        let Some(pair) = join.next_pair()? else { return Ok(None) };
        let is_linked = is_linked(&pair, &mut firsts)?;
        Ok(Some(Piece { pair, is_linked }))
    };
    pool::in_order(settings.pace.threads(), feed, |(): &mut (), piece| look(piece), judged.taking(problems, progress))
}

/// Opens and reads every packed file. Directories and links rest in the manifest only.
fn judge_packs(
    mut reader: Reader,
    workspace: &Workspace,
    problems: &mut Problems,
    judged: &mut Judged,
    settings: &Settings,
    progress: &mut Progress,
) -> Result<(), Error> {
    let packs = workspace.packs()?;
    let mut named = HashSet::new();
    let feed = || {
        let entry = reader.next_entry()?;
        if let Some(Entry { content: Content::File { stored, .. }, .. }) = &entry {
            named.extend(*stored);
        }
        Ok(entry)
    };
    let look = |copier: &mut Copier, entry: Entry| {
        let Content::File { size, digest, stored, .. } = &entry.content else { return Ok(Seen::Right(entry)) };
        match packs.digest(copier, entry.path.as_bytes(), stored.as_ref(), *size) {
            Ok(now) if now == (*size, *digest) => Ok(Seen::Right(entry)),
            Ok((length, _)) if length != *size => Ok(Seen::Different(entry, "has another size")),
            Ok(_) => Ok(Seen::Different(entry, "has other content")),
            Err(Error::StageDiffers { problem: "is missing", .. }) => Ok(Seen::Missing(entry)),
            Err(Error::StageDiffers { problem, .. }) => Ok(Seen::Different(entry, problem)),
            Err(error) => Err(error),
        }
    };
    pool::in_order(settings.pace.threads(), feed, look, judged.taking(problems, progress))?;
    let extra = packs.count_others(&named)?;
    judged.extra += extra;
    if extra > 0 {
        problems.add(format!("{extra} files are in the staged copy and not in the manifest"));
    }
    Ok(())
}

impl pool::Weighed for Entry {
    fn weight(&self) -> u64 {
        match &self.content {
            Content::File { size, .. } => *size,
            Content::Directory { .. } | Content::Link { .. } => 0,
        }
    }
}

/// One path to look at.
struct Piece {
    pair: Pair,
    /// Whether a further name of a file really is the same file as its first name.
    is_linked: bool,
}

impl pool::Weighed for Piece {
    fn weight(&self) -> u64 {
        match &self.pair {
            Pair::Both(_, found) => found.facts.size,
            Pair::Missing(_) | Pair::Extra(_) => 0,
        }
    }
}

/// Whether a further name of a file really is the same file as its first name.
fn is_linked(pair: &Pair, firsts: &mut Cursor) -> Result<bool, Error> {
    let Pair::Both(Entry { content: Content::File { link_of: Some(first), .. }, .. }, found) = pair else {
        return Ok(true);
    };
    // A first name whose directory is missing is reported as missing itself.
    let Ok(parent) = firsts.parent(first.as_bytes()) else {
        return Ok(false);
    };
    let first = parent.look(split(first.as_bytes()).1).at("look at", parent.side, first.as_bytes())?;
    Ok(first.is_some_and(|first| first.identity == found.facts.identity))
}

enum Seen {
    Right(Entry),
    Different(Entry, &'static str),
    Missing(Entry),
    Extra(Found),
}

impl Seen {
    fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Right(entry) | Self::Different(entry, _) | Self::Missing(entry) => Some(entry),
            Self::Extra(_) => None,
        }
    }
}

fn look(Piece { pair, is_linked }: Piece) -> Result<Seen, Error> {
    Ok(match pair {
        Pair::Missing(entry) => Seen::Missing(entry),
        Pair::Extra(found) => Seen::Extra(found),
        Pair::Both(entry, _) if !is_linked => Seen::Different(entry, "is not the same file as its other name"),
        Pair::Both(entry, found) => match compare::whole(&entry, &found.parent, &found.facts)? {
            None => Seen::Right(entry),
            Some(difference) => Seen::Different(entry, difference.phrase()),
        },
    })
}

impl Judged {
    /// Counts what the pool gives back, in order.
    fn taking(&mut self, problems: &mut Problems, progress: &mut Progress) -> impl FnMut(Seen) -> Result<(), Error> {
        move |seen| {
            progress.advance(u64::from(seen.entry().is_some_and(Entry::is_file)));
            self.count(seen, problems);
            Ok(())
        }
    }

    fn count(&mut self, seen: Seen, problems: &mut Problems) {
        match seen {
            Seen::Right(entry) => self.right.add(&entry),
            Seen::Different(entry, how) => {
                self.different += 1;
                problems.add(format!("the staged copy of {} {how}", Quoted(entry.path.as_bytes())));
            }
            Seen::Missing(entry) => {
                self.missing += 1;
                problems.add(format!("{} is missing in the staged copy", Quoted(entry.path.as_bytes())));
            }
            Seen::Extra(found) => {
                self.extra += 1;
                problems.add(format!("{} is staged but not in the manifest", Quoted(&found.path)));
            }
        }
    }
}

fn verdict(
    workspace: &Workspace,
    staging: Option<Staging>,
    mut problems: Problems,
    judged: &Judged,
    broken: Option<String>,
) -> Result<Outcome, Error> {
    let Totals { files, directories, links, bytes, tree_digest, .. } = judged.right.totals();
    let counts = BTreeMap::from([
        ("files", files),
        ("directories", directories),
        ("links", links),
        ("bytes", bytes),
        ("missing", judged.missing),
        ("different", judged.different),
        ("extra", judged.extra),
    ]);
    let mut artifacts = vec![workspace.artifact("manifest", "manifest.jsonl")?];
    artifacts.extend(problems.artifact());
    let (verdict, message) = match (broken, problems.first()) {
        (Some(broken), _) => (Verdict::Invalid, broken),
        (None, Some(first)) => {
            let count = problems.count;
            (
                Verdict::Invalid,
                format!(
                    "{count} problems, the first: {first}; the source is untouched, start over with a retry of the relocation"
                ),
            )
        }
        (None, None) => {
            let what = format!("{files} files, {directories} directories, {links} links, {bytes} bytes");
            let subject = match staging {
                Some(Staging::None) => "the source is still what was recorded of it",
                Some(Staging::Copy) | None => "the staged copy is what the manifest says",
            };
            (Verdict::Valid, format!("{subject}: {what}; tree digest {tree_digest}"))
        }
    };
    Ok(Outcome { verdict: Some(verdict), message, counts, artifacts })
}
