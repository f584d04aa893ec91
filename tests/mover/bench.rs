//! A workbench: source, workspace and target in a temporary directory, the program, and an independent comparison.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The user that tests run the program as when they are about permissions and run as root themselves.
pub const NOBODY: u32 = 65534;

pub struct Bench {
    pub root: TempDir,
    pub token: u64,
    pub keys: Option<Keys>,
    /// Whether there is a workspace; otherwise the target keeps the records.
    pub has_workspace: bool,
}

/// A recipient, and the file with its identity.
#[derive(Debug, Clone)]
pub struct Keys {
    pub recipient: String,
    pub identity: PathBuf,
}

impl Keys {
    /// Makes a pair by `age-keygen`.
    pub fn make(identity: PathBuf) -> Self {
        let made = Command::new("age-keygen").arg("-o").arg(&identity).output();
        assert!(made.expect("age-keygen runs; `make setup` installs it").status.success());
        let text = fs::read_to_string(&identity).unwrap();
        let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
        Self { recipient, identity }
    }

    /// What a step needs to seal, and to open what is sealed.
    pub fn give(&self, command: &mut Command, step: &str) {
        if step == "upload" {
            command.arg("--recipient").arg(&self.recipient);
        }
        command.env("RELOCATION_AGE_IDENTITY_FILE", &self.identity);
    }
}

/// What the program did.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub result: Value,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    /// On the disk, as in production.
    pub fn new() -> Self {
        Self::at(TempDir::new().unwrap())
    }

    /// In memory where that is large enough: for tests that move many trees, and would wait for the disk most of the time.
    pub fn quick() -> Self {
        let memory = Path::new("/dev/shm");
        let has_room = rustix::fs::statvfs(memory).is_ok_and(|volume| volume.f_bavail * volume.f_frsize > 512 << 20);
        Self::at(if has_room { TempDir::new_in(memory) } else { TempDir::new() }.unwrap())
    }

    fn at(root: TempDir) -> Self {
        let bench = Self { root, token: 100, keys: None, has_workspace: true };
        for name in ["source", "workspace", "target"] {
            fs::create_dir(bench.path(name)).unwrap();
        }
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A source with a bit of everything.
    pub fn with_source(self) -> Self {
        self.write("source/a/one", "one");
        self.write("source/a/two", "two two");
        self.write("source/empty", "");
        fs::create_dir_all(self.path("source/nothing/in/it")).unwrap();
        std::os::unix::fs::symlink("../away", self.path("source/a/link")).unwrap();
        self
    }

    /// The command for a step, with its own directories.
    pub fn command(&self, step: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relocation-mover"));
        command.arg("--termination-log").arg(self.path("result")).arg(step);
        if self.has_workspace {
            command.arg("--workspace").arg(self.path("workspace"));
        }
        if step == "upload" || !self.has_workspace && matches!(step, "validate" | "import") {
            command.arg("--source").arg(self.path("source"));
        }
        if !self.has_workspace || matches!(step, "preprocess" | "import" | "postprocess") {
            command.arg("--target").arg(self.path("target"));
        }
        command.env_clear().env("RELOCATION_UUID", "11111111-2222-3333-4444-555555555555");
        command.env("RELOCATION_FENCING_TOKEN", self.token.to_string());
        command.stdin(Stdio::null());
        if let Some(keys) = &self.keys {
            keys.give(&mut command, step);
        }
        command
    }

    /// The target keeps the records from now on.
    pub fn without_workspace(mut self) -> Self {
        fs::remove_dir(self.path("workspace")).unwrap();
        self.has_workspace = false;
        self
    }

    /// Everything in the workspace is sealed from now on.
    pub fn sealed(mut self) -> Self {
        self.keys = Some(Keys::make(self.path("identity")));
        self
    }

    pub fn run(&self, step: &str) -> Done {
        self.finish(self.command(step))
    }

    /// Runs a command that may differ from the usual one and reads the result it wrote.
    pub fn finish(&self, command: Command) -> Done {
        let _ = fs::remove_file(self.path("result"));
        self.finish_in_place(command)
    }

    /// The same with the result's file as it is: who lacks privileges could not make it.
    pub fn finish_in_place(&self, mut command: Command) -> Done {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let result = fs::read(self.path("result")).unwrap_or_default();
        assert!(result.len() < 2048, "a result of {} bytes", result.len());
        let result =
            if result.is_empty() { Value::Null } else { serde_json::from_slice(&result).expect("a result is JSON") };
        Done {
            code: status.code(),
            result,
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn run_all(&self, steps: &[&str]) -> Done {
        run_all(steps, |step| self.run(step))
    }

    #[track_caller]
    pub fn move_all(&self) -> Done {
        move_all(|step| self.run(step))
    }

    /// Source and target are equal in everything that is promised to survive.
    pub fn assert_moved(&self) {
        let (source, target) = (snapshot(&self.path("source")), snapshot(&self.path("target")));
        for (path, thing) in &source {
            assert_eq!(target.get(path), Some(thing), "{}", path.escape_ascii());
        }
        let extra: Vec<_> = target
            .keys()
            .filter(|path| !source.contains_key(*path))
            .map(|path| path.escape_ascii().to_string())
            .collect();
        assert!(extra.is_empty(), "not at the source: {extra:?}");
    }
}

/// Runs steps that must succeed, and says what the last one did.
#[track_caller]
pub fn run_all(steps: &[&str], run: impl Fn(&str) -> Done) -> Done {
    let mut last = None;
    for step in steps {
        let done = run(step);
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
        last = Some(done);
    }
    last.unwrap()
}

/// Runs all steps of a move, which must find what was read valid.
#[track_caller]
pub fn move_all(run: impl Fn(&str) -> Done) -> Done {
    run_all(&["upload", "preprocess"], &run);
    let validated = run("validate");
    assert_eq!(validated.verdict(), "VALID", "{validated:?}");
    run_all(&["import", "postprocess"], &run)
}

impl Drop for Bench {
    /// Without privileges, nobody can remove a tree with read-only directories.
    fn drop(&mut self) {
        if !is_root() {
            let _ = Command::new("chmod").args(["-R", "u+rwX"]).arg(self.root.path()).stderr(Stdio::null()).status();
        }
    }
}

impl Done {
    pub fn message(&self) -> &str {
        self.result["message"].as_str().unwrap_or_default()
    }

    pub fn verdict(&self) -> &str {
        self.result["verdict"].as_str().unwrap_or_default()
    }

    pub fn count(&self, name: &str) -> u64 {
        self.result["counts"][name].as_u64().unwrap_or_else(|| panic!("no count {name} in {self:?}"))
    }

    /// It stopped with this code and a sentence with all these words.
    #[track_caller]
    pub fn assert_stopped(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.message().contains(word), "no {word:?} in {:?}", self.message());
        }
        assert!(self.stderr.contains(words[0]), "{self:?}");
    }
}

/// What `snapshot` sees of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    pub kind: &'static str,
    pub content: Vec<u8>,
    pub mode: u32,
    pub mtime: (i64, i64),
    /// The first path, in order, of the same file.
    pub first_name: Option<Vec<u8>>,
}

/// Everything below a directory, by the bytes of its path.
pub fn snapshot(root: &Path) -> BTreeMap<Vec<u8>, Thing> {
    let mut things = BTreeMap::new();
    let mut files: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let key = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let facts = fs::symlink_metadata(&path).unwrap();
            let (kind, content) = if facts.is_dir() {
                open.push(path.clone());
                ("directory", Vec::new())
            } else if facts.is_symlink() {
                ("link", fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else if facts.file_type().is_fifo() {
                ("fifo", Vec::new())
            } else {
                files.entry((facts.dev(), facts.ino())).or_default().push(key.clone());
                ("file", fs::read(&path).unwrap())
            };
            let mode = if kind == "link" { 0 } else { facts.permissions().mode() };
            things.insert(
                key,
                Thing { kind, content, mode, mtime: (facts.mtime(), facts.mtime_nsec()), first_name: None },
            );
        }
    }
    for mut names in files.into_values().filter(|names| names.len() > 1) {
        names.sort();
        for name in &names {
            things.get_mut(name).unwrap().first_name = Some(names[0].clone());
        }
    }
    things
}

pub fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The same command as a user without privileges. Who runs the tests without privileges already is one.
pub fn as_nobody(command: &Command) -> Command {
    let mut wrapped = if is_root() {
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string(), "--clear-groups"]);
        wrapped.arg(command.get_program());
        wrapped
    } else {
        Command::new(command.get_program())
    };
    wrapped.args(command.get_args()).env_clear();
    wrapped.envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    wrapped.env("PATH", "/usr/bin:/bin");
    wrapped
}

/// Gives everything below a path to the user of `as_nobody`.
pub fn give_to_nobody(path: &Path) {
    if !is_root() {
        return;
    }
    let status = Command::new("chown").args(["-hR", &format!("{NOBODY}:{NOBODY}")]).arg(path).status().unwrap();
    assert!(status.success());
}
