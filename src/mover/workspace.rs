//! The relocation's own volume between the steps.
//!
//! ```text
//! manifest.jsonl            what was staged (see `manifest`)
//! manifest.jsonl.partial    … while `upload` works
//! manifest.jsonl.previous   … what killed attempts had finished
//! upload.checkpoint.json    … and how far it has come inside a large file (see `checkpoint`)
//! data/                     the staged tree, under the names of the source, or packed (see `packs`); none with `upload --staging=none`
//! import.journal.jsonl      what `import` has written (see `journal`)
//! reports/STEP-problems.txt one sentence a line, when there is more to say than fits into a result
//! ```
//!
//! What is staged belongs to the user who runs the step and can be read by nobody else, whatever its mode at the source;
//! so all tasks of a relocation run as the same user (or as root). The mode is in the manifest.
//!
//! Where a plan has no workspace, the target keeps all of this but `data/`: see `records`.
//!
//! Where `upload` was given a recipient, all of these are sealed (see `seal` and `lines`).

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::end::{End, Location};
use super::error::{At, Error, Side};
use super::lines::Pen;
use super::manifest::{self, Reader};
use super::outcome::Artifact;
use super::packs::Packs;
use super::records::{self, Site};
use super::seal::Seal;
use super::settings::Settings;
use super::store::mirror::Mirror;
use super::tree::Dir;
use super::{checkpoint, journal};

/// The staged tree.
pub const DATA: &[u8] = b"data";
/// Reports of problems.
pub const REPORTS: &[u8] = b"reports";
/// What the next step or attempt goes on with.
const KEPT: [&[u8]; 5] = [manifest::NAME, manifest::PARTIAL, manifest::PREVIOUS, checkpoint::NAME, journal::NAME];

/// The opened workspace, or the records at the target that take its place.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Its root.
    pub root: Dir,
    /// Its path or address, as people write it.
    shown: String,
    /// What a store's records are worked on in; it goes with the last user.
    _scratch: Option<Arc<TempDir>>,
}

/// What happens where the target has no records yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Refuse,
}

impl Workspace {
    /// Opens a volume that is one.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { root: Dir::open_root(path, Side::Workspace)?, shown: path.display().to_string(), _scratch: None })
    }

    /// Opens it for `upload`, which begins the records where there are none.
    pub fn create(site: &Site, settings: &Settings) -> Result<Self, Error> {
        Self::open_at(site, settings, Missing::Create)
    }

    fn open_at(site: &Site, settings: &Settings, missing: Missing) -> Result<Self, Error> {
        match site {
            Site::Workspace(path) => Self::open(path),
            Site::Target(target @ End::Tree(path)) => {
                let name = records::name(settings.launch.as_ref());
                let above = Dir::open_root(path, Side::Target)?;
                if missing == Missing::Create {
                    above.ensure_dir(name.as_bytes()).at("create", Side::Target, name.as_bytes())?;
                    rustix::fs::fsync(&above).at("write", Side::Target, b".")?;
                }
                let mut root = match above.open_dir(name.as_bytes()) {
                    Err(rustix::io::Errno::NOENT) => return Err(Error::NoRecords { target: target.to_string() }),
                    other => other.at("open", Side::Target, name.as_bytes())?,
                };
                let shown = path.join(name).display().to_string();
                root.side = Side::Workspace;
                Ok(Self { root, shown, _scratch: None })
            }
            Site::Target(End::Store(location)) => Self::fetch(location, settings, missing),
        }
    }

    /// Fetches the records of a store.
    fn fetch(location: &Location, settings: &Settings, missing: Missing) -> Result<Self, Error> {
        let launch = settings.launch.as_ref();
        let mirror = Mirror::open(location, &records::name(launch), launch)?;
        let scratch = tempfile::Builder::new().prefix("relocation-").tempdir().map_err(Error::Scratch)?;
        let mut root = Dir::open_root(scratch.path(), Side::Workspace)?;
        mirror.fetch(&root, &KEPT)?;
        if missing == Missing::Refuse && mirror.is_empty() {
            return Err(Error::NoRecords { target: location.to_string() });
        }
        let shown = mirror.address();
        root.mirror = Some(Arc::new(mirror));
        Ok(Self { root, shown, _scratch: Some(Arc::new(scratch)) })
    }

    /// Opens it for a step that comes after `upload`, with what opens it if it is sealed; what the step writes is sealed to the same recipients.
    pub fn unlock(site: &Site, settings: &Settings) -> Result<Self, Error> {
        let mut workspace = Self::open_at(site, settings, Missing::Refuse)?;
        workspace.root.seal = Some(Arc::new(Seal::new(&[], settings.secret.as_ref())?));
        let packing = match Reader::open(&workspace.root) {
            Ok(reader) => reader.header.packing,
            // The step itself says what is wrong with the manifest, if it needs one.
            Err(Error::ManifestMissing | Error::ManifestBroken { .. }) => None,
            // What cannot be read now may be sealed, and then nothing may be written beside it that is not.
            Err(error) => return Err(error),
        };
        if let Some(packing) = packing {
            workspace.seal_to(&packing.recipients, settings)?;
        }
        Ok(workspace)
    }

    /// Seals what is written from now on to these recipients.
    pub fn seal_to(&mut self, recipients: &[String], settings: &Settings) -> Result<(), Error> {
        let seal = Seal::new(recipients, settings.secret.as_ref())?;
        if !seal.opens_its_own() {
            return Err(Error::Locked("the given age identity is not one of its recipients'"));
        }
        self.root.seal = Some(Arc::new(seal));
        Ok(())
    }

    /// The packed copy, which must exist.
    pub fn packs(&self) -> Result<Packs, Error> {
        let is_sealed = self.root.seal.as_ref().is_some_and(|seal| seal.is_sealing());
        self.data().map(|data| Packs::new(data, is_sealed))
    }

    /// The staged tree, which must exist.
    pub fn data(&self) -> Result<Dir, Error> {
        match self.root.open_dir(DATA) {
            Err(rustix::io::Errno::NOENT) => Err(Error::StageDiffers { path: DATA.to_vec(), problem: "is missing" }),
            other => other.at("open", Side::Workspace, DATA),
        }
    }

    /// The staged tree, created if it does not exist.
    pub fn ensure_data(&self) -> Result<Dir, Error> {
        self.root.ensure_dir(DATA).at("create", Side::Workspace, DATA)
    }

    /// Describes one of its files as an artifact.
    pub fn artifact(&self, name: &'static str, path: &str) -> Result<Artifact, Error> {
        let mut parent = self.root.clone();
        let (above, own_name) = super::tree::split(path.as_bytes());
        if !above.is_empty() {
            parent = parent.open_dir(above).at("open", Side::Workspace, above)?;
        }
        let fd = parent.open_file(own_name).at("open", Side::Workspace, path.as_bytes())?;
        let (size_bytes, digest) = super::content::digest(&fd).at("read", Side::Workspace, path.as_bytes())?;
        Ok(Artifact { name, path: self.shown(path), size_bytes, digest })
    }

    /// The path as the task's container sees it.
    #[must_use]
    pub fn shown(&self, path: &str) -> String {
        format!("{}/{path}", self.shown.trim_end_matches('/'))
    }
}

/// Most problems that are written down one by one; whoever has more needs the pattern, not the list.
const LISTED: u64 = 10_000;

/// Collects what is wrong, so that a person gets all of it at once instead of one thing an attempt.
#[derive(Debug)]
pub struct Problems {
    workspace: Workspace,
    report: &'static str,
    first: Option<String>,
    /// How many there are.
    pub count: u64,
    out: Option<Pen>,
}

impl Problems {
    /// Starts with none, and removes the report of an earlier attempt. `report` is a path like `reports/upload-problems.txt`.
    #[must_use]
    pub fn new(workspace: &Workspace, report: &'static str) -> Self {
        let problems = Self { workspace: workspace.clone(), report, first: None, count: 0, out: None };
        if let Ok(reports) = workspace.root.open_dir(REPORTS) {
            // An old report that cannot be removed is replaced or not named below.
            let _ = reports.remove_file(problems.name());
        }
        if let Some(mirror) = &workspace.root.mirror {
            let _ = mirror.remove(report);
        }
        problems
    }

    /// Adds one sentence.
    pub fn add(&mut self, sentence: String) {
        self.count += 1;
        if self.count == 1 {
            self.out = self.create();
        }
        if let Some(out) = &mut self.out {
            let line = match self.count {
                ..=LISTED => writeln!(out, "{sentence}"),
                _ if self.count == LISTED + 1 => {
                    writeln!(out, "… and more, which are only counted")
                }
                _ => Ok(()),
            };
            // A full workspace must not hide the problem itself: its first sentence is in the result.
            if line.is_err() {
                self.out = None;
            }
        }
        self.first.get_or_insert(sentence);
    }

    /// The first one's sentence.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// The report as an artifact, if there is one.
    pub fn artifact(&mut self) -> Option<Artifact> {
        let out = self.out.as_mut()?;
        out.flush().ok()?;
        if let Some(mirror) = &self.workspace.root.mirror {
            mirror.replace(self.report, out.get_ref()).ok()?;
        }
        self.workspace.artifact("problems", self.report).ok()
    }

    /// One error for all of them, or none.
    #[must_use]
    pub fn into_error(mut self, summary: &'static str) -> Option<Stopped> {
        let first = self.first.take()?;
        let artifact = self.artifact();
        let error = if self.count == 1 {
            Error::Problem(first)
        } else {
            let report = if artifact.is_some() {
                self.workspace.shown(self.report)
            } else {
                "no report: the workspace is full".to_owned()
            };
            Error::Problems { summary, count: self.count, first: super::quoted::cut(&first, 700), report }
        };
        Some(Stopped { error, artifacts: artifact.into_iter().collect() })
    }

    fn create(&self) -> Option<Pen> {
        let reports = self.workspace.root.ensure_dir(REPORTS).ok()?;
        reports.create_file(self.name()).ok().map(|fd| Pen::new(File::from(fd), self.workspace.root.seal.clone()))
    }

    fn name(&self) -> &'static [u8] {
        super::tree::split(self.report.as_bytes()).1
    }
}

/// Why a step stopped, and the files that tell more.
#[derive(Debug)]
pub struct Stopped {
    /// The error.
    pub error: Error,
    /// Reports in the workspace.
    pub artifacts: Vec<Artifact>,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self { error, artifacts: Vec::new() }
    }
}
