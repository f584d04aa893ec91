//! `preprocess`: finds everything that would stop `import`, before anything is written. At a store: see [`super::foresee`].
//!
//! It looks at the staged copy (there, and of the right type and size; its bytes are `validate`'s business),
//! and at the target: names, sizes, links, room, and what is there already.
//! Every problem is a sentence of its own in `reports/preprocess-problems.txt`; any makes the step fail for good, because only a person can remove it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::compare;
use super::end::End;
use super::entry::{Content, Digest, Entry, RelativePath};
use super::error::{At, Error, Side};
use super::fence::Fence;
use super::import::Existing;
use super::journal::{self, Line};
use super::manifest::{self, Picker, Reader, Staging};
use super::outcome::Outcome;
use super::probe::Probe;
use super::progress::Progress;
use super::quoted::Quoted;
use super::records::Site;
use super::settings::Settings;
use super::store::Store;
use super::tree::{Cursor, Dir, Kind, split};
use super::walk::{Join, Pair};
use super::workspace::{Problems, Stopped, Workspace};
use super::{Console, clock, foresee};

/// Where problems are listed.
pub const REPORT: &str = "reports/preprocess-problems.txt";
/// Below this, how much room a file takes on one file system says nothing about another (small files may be kept in the inode).
const SMALL: u64 = 64 * 1024;

/// What problems at the target have in common.
pub const CANNOT: &str = "the target cannot take the data as they are";

/// Runs the step.
pub fn run(
    target: &End,
    existing: Existing,
    site: &Site,
    settings: &Settings,
    console: &mut Console,
) -> Result<Outcome, Stopped> {
    let workspace = Workspace::unlock(site, settings)?;
    let totals = manifest::check(&workspace.root)?;
    let header = Reader::open(&workspace.root)?.header;
    let journal = Known::read(&workspace, settings, &target.to_string())?;
    if header.staging == Staging::Copy {
        let mut problems = Problems::new(&workspace, REPORT);
        match header.packing {
            None => check_stage(&workspace, &mut problems)?,
            Some(_) => check_packs(&workspace, &mut problems)?,
        }
        if let Some(stopped) = problems
            .into_error("the staged copy is not what the manifest says; start over with a retry of the relocation")
        {
            return Err(stopped);
        }
    }
    let target = match target {
        End::Tree(path) => Dir::open_root(path, Side::Target)?,
        End::Store(location) => {
            let store = Store::open(location, Side::Target)?;
            return foresee::run(&store, existing, &journal, &workspace, &totals, settings, console);
        }
    };
    let fence = Fence::look(&target, settings.launch.as_ref())?;
    let mut check = Check {
        problems: Problems::new(&workspace, REPORT),
        probe: Probe::new(&target, &fence)?,
        staged: match (header.staging, &header.packing) {
            (Staging::Copy, None) => Some(Cursor::new(workspace.data()?)),
            (Staging::Copy, Some(_)) | (Staging::None, _) => None,
        },
        existing,
        journal,
        block: 0,
        need: Room::default(),
        present: 0,
        foreign: 0,
    };
    if let Some(clash) = &header.clash {
        check.problems.add(format!(
            "{} of the source is an object and also the folder of others, which no volume can hold; choose a store as the target, or rename it",
            Quoted(clash.as_bytes())
        ));
    }
    let volume = rustix::fs::fstatvfs(&target).at("measure", Side::Target, b".")?;
    check.block = volume.f_frsize.max(1);
    let mut progress = Progress::new(console.out, clock::now, totals.files);
    let mut join = Join::new(target.clone(), Reader::open(&workspace.root)?)?;
    while let Some(pair) = join.next_pair()? {
        progress.advance(check.pair(pair, &fence)?);
    }
    progress.finish();
    if check.probe.is_blind_to_case()? {
        find_collisions(&workspace, &mut check.problems)?;
    }
    // File systems that make inodes as they go say that they have none.
    let inodes = if volume.f_files == 0 { u64::MAX } else { volume.f_favail };
    // And those that do not count blocks (some in memory, some over the network) that they have no size.
    let bytes = if volume.f_blocks == 0 { u64::MAX } else { volume.f_bavail.saturating_mul(volume.f_frsize) };
    let free = Room { bytes, inodes };
    check.room(free);
    let Check { problems, need, present, foreign, .. } = check;
    if let Some(stopped) = problems.into_error(CANNOT) {
        return Err(stopped);
    }
    Ok(Outcome {
        counts: BTreeMap::from([
            ("files", totals.files),
            ("neededBytes", need.bytes),
            ("freeBytes", free.bytes),
            ("neededInodes", need.inodes),
            ("alreadyThere", present),
            ("foreign", foreign),
        ]),
        ..Outcome::said(format!(
            "the target can take all {} entries: {} bytes and {} inodes are needed, {} bytes are free",
            totals.entries, need.bytes, need.inodes, free.bytes
        ))
    })
}

/// What earlier attempts wrote, as halves of the digests of the paths.
pub struct Known(HashSet<[u8; 16]>);

impl Known {
    /// Reads the journal of this relocation at `target`, or of the one that it starts over.
    pub fn read(workspace: &Workspace, settings: &Settings, target: &str) -> Result<Self, Error> {
        let mut paths = HashSet::new();
        let mut learn = |line: Line| {
            if line.shows() {
                paths.insert(Digest::half_of(line.path().as_bytes()));
            }
        };
        let sequence = settings.sequence();
        if !journal::read_all(&workspace.root, sequence, target, &mut learn)?
            && let Some(earlier) = journal::earlier()
        {
            let earlier = earlier.sealed_like(&workspace.root);
            journal::read_all(&earlier, sequence, target, learn)?;
        }
        Ok(Self(paths))
    }

    /// Whether a path is ours.
    #[must_use]
    pub fn has(&self, path: &RelativePath) -> bool {
        self.0.contains(&Digest::half_of(path.as_bytes()))
    }
}

/// Compares the staged copy with the manifest, without reading files.
fn check_stage(workspace: &Workspace, problems: &mut Problems) -> Result<(), Error> {
    let mut join = Join::new(workspace.data()?, Reader::open(&workspace.root)?)?;
    while let Some(pair) = join.next_pair()? {
        match pair {
            Pair::Missing(entry) => {
                problems.add(format!("the staged copy of {} is missing", Quoted(entry.path.as_bytes())));
            }
            Pair::Extra(found) => problems.add(format!("{} is staged but not in the manifest", Quoted(&found.path))),
            Pair::Both(entry, found) => {
                if let Some(difference) = compare::outside(&entry, &found.parent, &found.facts)? {
                    problems.add(format!("the staged copy of {} {difference}", Quoted(&found.path)));
                }
            }
        }
    }
    Ok(())
}

/// The same where it is packed.
fn check_packs(workspace: &Workspace, problems: &mut Problems) -> Result<(), Error> {
    let packs = workspace.packs()?;
    let mut reader = Reader::open(&workspace.root)?;
    while let Some(entry) = reader.next_entry()? {
        let Content::File { stored, .. } = &entry.content else { continue };
        if !stored.as_ref().map_or(Ok(false), |stored| packs.has(stored))? {
            problems.add(format!("the staged copy of {} is missing", Quoted(entry.path.as_bytes())));
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, Default)]
struct Room {
    bytes: u64,
    inodes: u64,
}

struct Check<'a> {
    problems: Problems,
    probe: Probe<'a>,
    staged: Option<Cursor>,
    existing: Existing,
    journal: Known,
    block: u64,
    need: Room,
    present: u64,
    foreign: u64,
}

impl Check<'_> {
    /// Judges one path and says how many files it was.
    fn pair(&mut self, pair: Pair, fence: &Fence) -> Result<u64, Error> {
        match pair {
            Pair::Extra(found) => {
                let is_known = fence.is_leftover(found.name())
                    || fence.is_record(&found.path)
                    || found.facts.is_lost_and_found(&found.path);
                self.foreign += u64::from(!is_known);
                Ok(0)
            }
            Pair::Missing(entry) => {
                self.name(&entry);
                self.holdable(&entry)?;
                self.add_need(&entry)?;
                Ok(u64::from(matches!(entry.content, Content::File { .. })))
            }
            Pair::Both(entry, found) => {
                let difference = compare::whole(&entry, &found.parent, &found.facts)?;
                let is_replaceable = entry.is_file() && found.facts.kind == Kind::File;
                match difference {
                    None if is_replaceable && !self.journal.has(&entry.path) => {
                        if let Err(error) = self.existing.judge_equal(&found.path) {
                            self.problems.add(error.sentence());
                        }
                    }
                    Some(_) if is_replaceable && self.existing == Existing::Overwrite => self.add_need(&entry)?,
                    Some(difference) => self.problems.add(format!(
                        "{} exists at the target and {difference}; move it away or choose another target",
                        Quoted(&found.path)
                    )),
                    None => {}
                }
                let is_file = u64::from(matches!(entry.content, Content::File { .. }));
                self.present += is_file;
                Ok(is_file)
            }
        }
    }

    fn name(&mut self, entry: &Entry) {
        let path = entry.path.as_bytes();
        let name = split(path).1;
        let longest = self.probe.longest_name;
        if name.len() as u64 > longest {
            self.problems.add(format!(
                "the name of {} has {} bytes and the target holds {longest}; shorten it at the source",
                Quoted(path),
                name.len()
            ));
        } else if let Some(forbidden) = self.probe.forbidden_in(name) {
            let what =
                forbidden.map_or_else(|| "bytes that are not UTF-8".to_owned(), |byte| Quoted(&[byte]).to_string());
            self.problems.add(format!(
                "the target does not allow {what} in the name of {}; rename it at the source",
                Quoted(path)
            ));
        }
    }

    fn holdable(&mut self, entry: &Entry) -> Result<(), Error> {
        let path = Quoted(entry.path.as_bytes());
        match &entry.content {
            Content::Directory { .. } => {}
            Content::Link { .. } => {
                if !self.probe.holds_links()? {
                    self.problems.add(format!("the target has no symbolic links for {path}; choose another volume"));
                }
            }
            Content::File { link_of: Some(_), .. } => {
                if !self.probe.holds_hard_links()? {
                    self.problems.add(format!("the target has no hard links for {path}; choose another volume, or make it a file of its own at the source"));
                }
            }
            Content::File { size, .. } => {
                if *size > u64::from(u32::MAX) / 2 && !self.probe.holds_size(*size)? {
                    self.problems
                        .add(format!("the target holds no file of {size} bytes like {path}; choose another volume"));
                }
            }
        }
        Ok(())
    }

    fn add_need(&mut self, entry: &Entry) -> Result<(), Error> {
        match &entry.content {
            Content::File { link_of: Some(_), .. } => {}
            Content::File { size, .. } => {
                let path = entry.path.as_bytes();
                let allocated = match &mut self.staged {
                    None => *size,
                    Some(staged) => {
                        let staged = staged.parent(path)?.look(split(path).1).at("look at", Side::Workspace, path)?;
                        staged.map_or(*size, |staged| staged.allocated)
                    }
                };
                let bytes = if *size > SMALL { allocated.min(*size) } else { *size };
                self.need.bytes += bytes.next_multiple_of(self.block);
                self.need.inodes += 1;
            }
            Content::Directory { .. } | Content::Link { .. } => {
                self.need.bytes += self.block;
                self.need.inodes += 1;
            }
        }
        Ok(())
    }

    fn room(&mut self, free: Room) {
        if self.need.bytes > free.bytes {
            self.problems.add(format!(
                "'.' of the target has {} bytes free and {} are needed; enlarge the target's volume or free space on it",
                free.bytes, self.need.bytes
            ));
        }
        if self.need.inodes > free.inodes {
            self.problems.add(format!(
                "'.' of the target has {} inodes free and {} are needed; use a volume with more inodes or remove files",
                free.inodes, self.need.inodes
            ));
        }
    }
}

/// Names that differ in case only. Needs one small record for each path, and only for a target that is blind to case.
fn find_collisions(workspace: &Workspace, problems: &mut Problems) -> Result<(), Error> {
    let mut reader = Reader::open(&workspace.root)?;
    let mut picker = Picker::open(&workspace.root)?;
    let mut seen: HashMap<[u8; 16], u64> = HashMap::new();
    loop {
        let offset = reader.offset();
        let Some(entry) = reader.next_entry()? else {
            return Ok(());
        };
        if let Some(earlier) = seen.insert(folded(entry.path.as_bytes()), offset) {
            let other = picker.pick(earlier)?;
            problems.add(format!(
                "{} and {} differ only in case, which the target does not tell apart; rename one of them at the source",
                Quoted(other.path.as_bytes()),
                Quoted(entry.path.as_bytes())
            ));
        }
    }
}

fn folded(path: &[u8]) -> [u8; 16] {
    Digest::half_of(String::from_utf8_lossy(path).to_lowercase().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_case_only_are_both_named() {
        let temporary = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(temporary.path()).unwrap();
        let header = manifest::Header::new(String::new(), Vec::new(), false);
        let mut writer = manifest::Writer::create(&workspace.root, manifest::PARTIAL, &header).unwrap();
        for path in ["A", "B", "B/x", "a", "b", "c"] {
            let path = path.as_bytes().to_vec().try_into().unwrap();
            writer
                .append(&Entry {
                    path,
                    mode: 0,
                    mtime: (0, 0),
                    uid: 0,
                    gid: 0,
                    attributes: crate::mover::attributes::Attributes::default(),
                    content: Content::Directory { is_implied: false },
                })
                .unwrap();
        }
        writer.finish(manifest::NAME).unwrap();
        let mut problems = Problems::new(&workspace, "reports/test.txt");
        find_collisions(&workspace, &mut problems).unwrap();
        assert_eq!(problems.count, 2);
        assert!(problems.first().unwrap().starts_with("'A' and 'a' differ only in case"), "{problems:?}");
    }

    #[test]
    fn names_that_differ_in_case_fold_to_the_same() {
        assert_eq!(folded("Straße/A".as_bytes()), folded("straße/a".as_bytes()));
        assert_eq!(folded("ÄB".as_bytes()), folded("äb".as_bytes()));
        assert_ne!(folded(b"a/b"), folded(b"a-b"));
    }
}
