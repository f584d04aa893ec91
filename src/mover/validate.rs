//! `validate`: reads the staged copy again, from its files alone, and gives a verdict as evidence.
//!
//! It shares nothing with `upload` but the manifest: every directory is listed, every file is read from its first byte to its last,
//! and the totals and the tree digest are computed anew.
//! The verdict is the result, so the exit code is 0 with `VALID` and with `INVALID`; only a copy that could not be judged is an error.
//! (`import` checks every digest itself, so by hand nothing wrong gets past an `INVALID` either.)

use std::collections::BTreeMap;
use std::path::Path;

use super::compare;
use super::entry::{Content, Entry};
use super::error::{At, Error};
use super::manifest::{Adder, Reader, Totals};
use super::outcome::{Outcome, Verdict};
use super::progress::Progress;
use super::quoted::Quoted;
use super::tree::{Cursor, split};
use super::walk::{Found, Join, Pair};
use super::workspace::{Problems, Stopped, Workspace};
use super::{Console, clock, manifest, pool};

/// Runs the step.
pub fn run(workspace: &Path, console: &mut Console) -> Result<Outcome, Stopped> {
    let workspace = Workspace::open(workspace)?;
    let mut problems = Problems::new(&workspace, "reports/validate-problems.txt");
    let mut judged = Judged::default();
    let broken = match judge(&workspace, &mut problems, &mut judged, console) {
        Ok(()) => None,
        // Evidence against the copy, not a failure to look at it.
        Err(error @ (Error::ManifestBroken { .. } | Error::StageDiffers { .. })) => Some(error.sentence()),
        Err(error) => return Err(error.into()),
    };
    Ok(verdict(&workspace, problems, &judged, broken)?)
}

#[derive(Default)]
struct Judged {
    /// Of what was found as it should be.
    right: Adder,
    missing: u64,
    different: u64,
    extra: u64,
}

fn judge(
    workspace: &Workspace,
    problems: &mut Problems,
    judged: &mut Judged,
    console: &mut Console,
) -> Result<(), Error> {
    let expected = manifest::read_totals(&workspace.root)?;
    let reader = Reader::open(&workspace.root)?;
    let allow_empty = reader.header.allow_empty;
    let data = workspace.data()?;
    let mut join = Join::new(data.clone(), reader)?;
    let mut firsts = Cursor::new(data);
    let mut progress = Progress::new(console.out, clock::now, expected.files);
    let feed = || {
        let Some(pair) = join.next_pair()? else { return Ok(None) };
        let is_linked = is_linked(&pair, &mut firsts)?;
        Ok(Some(Piece { pair, is_linked }))
    };
    let drain = |seen: Seen| {
        progress.advance(u64::from(seen.entry().is_some_and(|entry| matches!(entry.content, Content::File { .. }))));
        judged.count(seen, problems);
        Ok(())
    };
    pool::in_order(feed, |(): &mut (), piece| look(piece), drain)?;
    progress.finish();
    if expected.entries == 0 && !allow_empty {
        problems.add(
            "the manifest names nothing, and nobody said with --allow-empty that nothing is what is to be moved"
                .to_owned(),
        );
    }
    if problems.count == 0 && judged.right.totals() != expected {
        problems.add("the staged copy's totals are not those of the manifest".to_owned());
    }
    Ok(())
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
            (Verdict::Valid, format!("the staged copy is what the manifest says: {what}; tree digest {tree_digest}"))
        }
    };
    Ok(Outcome { verdict: Some(verdict), message, counts, artifacts })
}
