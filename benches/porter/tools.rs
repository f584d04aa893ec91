//! Who takes part, and the commands of each.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::{Case, End};
use crate::server::{KEY, SECRET, Server};

/// Whether a command moves data or looks at them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Moves,
    Verifies,
}

/// One command of a tool.
pub struct Step {
    pub name: &'static str,
    pub kind: Kind,
    pub command: Command,
    /// Whether anything on its standard output means that the sides differ.
    pub must_be_silent: bool,
}

/// One tool with one set of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Porter,
    Rclone,
    /// rclone with so many transfers and checkers.
    RcloneMany,
    Rsync,
    Restic,
}

/// Where a tool finds and puts things.
pub struct Places<'a> {
    pub mover: &'a Path,
    pub rclone: &'a Path,
    pub server: &'a Server,
    /// The folder of the source, or the bucket's path.
    pub source: String,
    /// The same of the target.
    pub target: String,
    /// A folder of this run's own.
    pub scratch: PathBuf,
    /// restic's repository: a folder or an URL.
    pub repository: String,
}

/// The transfers and checkers of [`Tool::RcloneMany`].
pub const MANY: &str = "16";

impl Tool {
    /// All, the porter first.
    pub const ALL: [Self; 5] = [Self::Porter, Self::Rclone, Self::RcloneMany, Self::Rsync, Self::Restic];

    /// How it is chosen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Porter => "porter",
            Self::Rclone => "rclone",
            Self::RcloneMany => "rclone-many",
            Self::Rsync => "rsync",
            Self::Restic => "restic",
        }
    }

    /// How the report calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Porter => "porter",
            Self::Rclone => "rclone",
            Self::RcloneMany => "rclone, 16 at once",
            Self::Rsync => "rsync",
            Self::Restic => "restic",
        }
    }

    /// Whether it can do a case.
    pub fn can(self, case: Case) -> bool {
        self != Self::Rsync || (case.from == End::File && case.to == End::File)
    }

    /// Whether the end of its way is the same: the files at the target. In a bucket, restic has a repository in a few large objects.
    pub fn does_the_same(self, case: Case) -> bool {
        self.can(case) && (self != Self::Restic || (case.from == End::File && case.to == End::File))
    }

    /// Its commands for a case, in order.
    pub fn steps(self, case: Case, at: &Places) -> Vec<Step> {
        let mut steps = match self {
            Self::Porter => porter(case, at),
            Self::Rclone => rclone(at, &[]),
            Self::RcloneMany => rclone(at, &["--transfers", MANY, "--checkers", MANY]),
            Self::Rsync => rsync(at),
            Self::Restic => restic(case, at),
        };
        for step in &mut steps {
            surroundings(&mut step.command, at);
        }
        steps
    }
}

/// The same for all: credentials of the server, and nothing of the person who runs this.
fn surroundings(command: &mut Command, at: &Places) {
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &at.scratch);
    command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_REGION", "us-east-1");
    command.env("AWS_ENDPOINT_URL", at.server.endpoint()).env("AWS_ALLOW_HTTP", "true");
    command.env("RELOCATION_UUID", "11111111-2222-3333-4444-555555555555").env("RELOCATION_FENCING_TOKEN", "100");
    command.env("RCLONE_CONFIG", at.scratch.join("rclone.conf"));
    command.env("RCLONE_CONFIG_S3_TYPE", "s3").env("RCLONE_CONFIG_S3_PROVIDER", "Other");
    command.env("RCLONE_CONFIG_S3_ENV_AUTH", "true").env("RCLONE_CONFIG_S3_ENDPOINT", at.server.endpoint());
    command.env("RCLONE_CONFIG_S3_REGION", "us-east-1");
    command.env("RESTIC_PASSWORD", "benchmark").env("RESTIC_CACHE_DIR", at.scratch.join("restic-cache"));
}

fn step(name: &'static str, kind: Kind, program: impl AsRef<std::ffi::OsStr>) -> Step {
    Step { name, kind, command: Command::new(program), must_be_silent: false }
}

/// The five steps that a plan runs, without a staged copy.
fn porter(case: Case, at: &Places) -> Vec<Step> {
    let address =
        |end: End, place: &str| if end == End::File { format!("file://{place}") } else { format!("s3://{place}") };
    let (source, target) = (address(case.from, &at.source), address(case.to, &at.target));
    let one = |name, kind, ends: &[(&str, &str)]| {
        let mut step = step(name, kind, at.mover);
        step.command.arg("--termination-log").arg(at.scratch.join("result")).arg(name);
        step.command.arg("--workspace").arg(at.scratch.join("workspace"));
        for (option, value) in ends {
            step.command.args([option, value]);
        }
        step
    };
    let (source, target) = (("--source", source.as_str()), ("--target", target.as_str()));
    vec![
        one("upload", Kind::Moves, &[("--staging", "none"), source]),
        one("preprocess", Kind::Moves, &[target]),
        one("validate", Kind::Moves, &[source]),
        one("import", Kind::Moves, &[source, target]),
        one("postprocess", Kind::Verifies, &[target]),
    ]
}

fn rclone(at: &Places, options: &[&str]) -> Vec<Step> {
    // A folder's path starts with a slash, a bucket's does not.
    let address = |place: &str| if place.starts_with('/') { place.to_owned() } else { format!("s3:{place}") };
    let one = |name, kind, arguments: &[&str]| {
        let mut step = step(name, kind, at.rclone);
        step.command.args(arguments).args(options).args([address(&at.source), address(&at.target)]);
        step
    };
    vec![
        one("sync --checksum", Kind::Moves, &["sync", "--checksum"]),
        one("check --download", Kind::Verifies, &["check", "--download"]),
    ]
}

fn rsync(at: &Places) -> Vec<Step> {
    let one = |name, kind, arguments: &[&str]| {
        let mut step = step(name, kind, "rsync");
        step.command.args(arguments).args([format!("{}/", at.source), format!("{}/", at.target)]);
        step
    };
    let verify = ["-aHc", "--numeric-ids", "--dry-run", "--out-format=%n"];
    vec![
        one("-aH", Kind::Moves, &["-aH", "--numeric-ids"]),
        Step { must_be_silent: true, ..one("-aHc --dry-run", Kind::Verifies, &verify) },
    ]
}

/// A backup, and for a target that is a folder also its restoration.
fn restic(case: Case, at: &Places) -> Vec<Step> {
    let one = |name, kind, arguments: &[&str]| {
        let mut step = step(name, kind, "restic");
        step.command.arg("--repo").arg(&at.repository).arg("--quiet").args(arguments);
        step
    };
    let backup = || {
        let mut backup = one("backup", Kind::Moves, &["backup", "."]);
        backup.command.current_dir(&at.source);
        backup
    };
    let restore = || one("restore --verify", Kind::Moves, &["restore", "latest", "--verify", "--target", &at.target]);
    match (case.from, case.to) {
        (End::File, End::S3) => vec![backup(), one("check --read-data", Kind::Verifies, &["check", "--read-data"])],
        (End::S3, _) => vec![restore()],
        (End::File, End::File) => vec![backup(), restore()],
    }
}

/// The command that makes restic's repository.
pub fn make_repository(at: &Places) -> Command {
    let mut command = Command::new("restic");
    command.arg("--repo").arg(&at.repository).args(["--quiet", "init"]);
    surroundings(&mut command, at);
    command
}

/// The command that puts a folder into a bucket, before anything is measured.
pub fn fill_bucket(at: &Places) -> Command {
    let mut command = Command::new(at.rclone);
    command.args(["sync", "--transfers", MANY, &at.source, &format!("s3:{}", at.target)]);
    surroundings(&mut command, at);
    command
}

/// The command that waits until what a folder's file system holds is on the disk.
pub fn flush(folder: &Path, at: &Places) -> Command {
    let mut command = Command::new("sync");
    command.arg("--file-system").arg(folder);
    surroundings(&mut command, at);
    command
}
