//! A move between two ends, with a server of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::{self, Bench, Done};
use crate::server::{KEY, SECRET, Server};

pub struct Work {
    pub bench: Bench,
    pub server: Server,
    pub source: String,
    pub target: String,
    pub staging: &'static str,
}

impl Work {
    /// From a tree to a bucket.
    pub fn to_store(staging: &'static str) -> Self {
        let work = Self::new(staging);
        let source = work.bench.path("source").to_str().unwrap().to_owned();
        Self { source: format!("file://{source}"), target: "s3://target/some/prefix".to_owned(), ..work }
    }

    /// From a bucket to a tree.
    pub fn from_store(staging: &'static str) -> Self {
        let work = Self::new(staging);
        let target = work.bench.path("target").to_str().unwrap().to_owned();
        Self { source: "s3://source/data".to_owned(), target, ..work }
    }

    /// From a bucket to a bucket.
    pub fn between_stores(staging: &'static str) -> Self {
        Self { source: "s3://source/data".to_owned(), target: "s3://target".to_owned(), ..Self::new(staging) }
    }

    /// The way back, of what was moved, for another relocation with a workspace and a target of its own.
    pub fn turned_round(self, staging: &'static str) -> Self {
        for folder in ["workspace", "target"] {
            fs::remove_dir_all(self.bench.path(folder)).unwrap();
            fs::create_dir(self.bench.path(folder)).unwrap();
        }
        let target = self.bench.path("target").to_str().unwrap().to_owned();
        let source = if self.target.starts_with("s3://") { self.target } else { self.source };
        Self { source, target, staging, ..self }
    }

    /// Everything in the workspace is sealed from now on.
    pub fn sealed(self) -> Self {
        Self { bench: self.bench.sealed(), ..self }
    }

    /// The target keeps the records from now on.
    pub fn without_workspace(self) -> Self {
        fs::create_dir(self.bench.path("scratch")).unwrap();
        Self { bench: self.bench.without_workspace(), ..self }
    }

    /// From a bucket that keeps versions to another bucket.
    pub fn between_stores_with_versions(staging: &'static str) -> Self {
        let source = "s3://versions/data".to_owned();
        Self { source, target: "s3://target".to_owned(), ..Self::with(Server::start_with_versions_in, staging) }
    }

    fn new(staging: &'static str) -> Self {
        Self::with(Server::start_in, staging)
    }

    fn with(start: impl Fn(&Path) -> Server, staging: &'static str) -> Self {
        let bench = Bench::new();
        let server = start(bench.root.path());
        Self { bench, server, source: String::new(), target: String::new(), staging }
    }

    /// The command for a step, with the credentials of the root user.
    pub fn command(&self, step: &str) -> Command {
        let mut command = command_between(&self.bench, step, &self.source, &self.target, self.staging);
        command.env("RELOCATION_UUID", "11111111-2222-3333-4444-555555555555");
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_REGION", "us-east-1").env("AWS_ALLOW_HTTP", "true");
        command.env("AWS_ENDPOINT_URL", self.server.endpoint());
        command.env("TMPDIR", self.bench.path("scratch"));
        if let Some(keys) = &self.bench.keys {
            keys.give(&mut command, step);
        }
        command
    }

    pub fn run(&self, step: &str) -> Done {
        self.finish(self.command(step))
    }

    /// Runs a command that may differ from the usual one. Nothing it says holds a secret.
    #[track_caller]
    pub fn finish(&self, command: Command) -> Done {
        let done = self.bench.finish(command);
        let said = format!("{} {} {}", done.stdout, done.stderr, done.result);
        assert!(!said.contains(SECRET), "{said}");
        done
    }

    #[track_caller]
    pub fn run_all(&self, steps: &[&str]) -> Done {
        bench::run_all(steps, |step| self.run(step))
    }

    #[track_caller]
    pub fn move_all(&self) -> Done {
        bench::move_all(|step| self.run(step))
    }

    /// Where the target's files are on this machine's disk.
    pub fn target_folder(&self) -> PathBuf {
        match self.target.strip_prefix("s3://") {
            Some(path) => self.server.bucket(path),
            None => self.target.clone().into(),
        }
    }

    /// Where the source's files are on this machine's disk.
    pub fn source_folder(&self) -> PathBuf {
        match self.source.strip_prefix("s3://") {
            Some(path) => self.server.bucket(path),
            None => self.source.strip_prefix("file://").unwrap().into(),
        }
    }

    /// Both ends have the same files with the same content, by `find` and `sha256sum`.
    #[track_caller]
    pub fn assert_same_files(&self) {
        let (source, target) = (sums(&self.source_folder()), sums(&self.target_folder()));
        assert!(!source.is_empty());
        assert_eq!(source, target);
        assert_eq!(self.server.unfinished("target"), [""; 0]);
    }
}

/// Which names below a folder are the same file, by `find`: for each file with several names, how many there are, here and elsewhere, and those here.
pub fn names(folder: &Path) -> Vec<(u64, Vec<String>)> {
    let script = "find . -type f -links +1 -printf '%i %n %p\\0' | LC_ALL=C sort -z";
    let output = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
    for line in output.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let line = line.escape_ascii().to_string();
        let (inode, rest) = line.split_once(' ').unwrap();
        let (links, path) = rest.split_once(' ').unwrap();
        let (count, paths) = files.entry(inode.to_owned()).or_default();
        *count = links.parse().unwrap();
        paths.push(path.to_owned());
    }
    let mut files: Vec<_> = files.into_values().collect();
    for (_, paths) in &mut files {
        paths.sort();
    }
    files.sort();
    files
}

/// The command for a step between two ends, without a relocation's uuid and without credentials.
pub fn command_between(bench: &Bench, step: &str, source: &str, target: &str, staging: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relocation-mover"));
    command.arg("--termination-log").arg(bench.path("result")).arg(step);
    let has_workspace = bench.has_workspace;
    if has_workspace {
        command.arg("--workspace").arg(bench.path("workspace"));
    }
    if step == "upload" && has_workspace {
        command.args(["--staging", staging]);
    }
    if step == "upload" || staging == "none" && matches!(step, "validate" | "import") {
        command.args(["--source", source]);
    }
    if !has_workspace || matches!(step, "preprocess" | "import" | "postprocess" | "cleanup") {
        command.args(["--target", target]);
    }
    command.env_clear().env("RELOCATION_FENCING_TOKEN", bench.token.to_string());
    command.stdin(std::process::Stdio::null());
    command
}

/// Files below a folder with their digests, links and our objects for directories and links left out.
pub fn sums(folder: &Path) -> BTreeMap<String, String> {
    let script = "find . -type f ! -path './.sgwtmp*' ! -name .relocation-directory ! -name '*-link' -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum -z";
    let output = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pair = |line: &str| line.split_once("  ").map(|(sum, path)| (path.to_owned(), sum.to_owned())).unwrap();
    text.split_terminator('\0').map(pair).collect()
}

/// Numbers that look random and are the same every time.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}
