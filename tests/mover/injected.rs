//! Every system call may fail, and every one may be the last: strace makes the n-th call of a kind fail, or kills the mover there.
//!
//! Usually some of the calls are tried; with `RELOCATION_MOVER_KILLS` (any number) each one is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::bench::{Bench, Done, Thing, snapshot};
use super::killing::Chance;

const STEPS: [&str; 5] = ["upload", "preprocess", "validate", "import", "postprocess"];
/// Calls between two that are tried, at most.
const USUAL_GAP: u64 = 2;

/// A bench with the state before each step kept.
struct Ground {
    bench: Bench,
    source: BTreeMap<Vec<u8>, Thing>,
    staging: &'static str,
    chance: Chance,
    gap: u64,
    /// The calls at which a fault was judged.
    met: BTreeSet<String>,
}

/// What strace does to the n-th call.
struct Fault<'a> {
    /// As `--trace` takes them: one call, or one that not every machine has (`?renameat2`).
    call: &'a str,
    /// As `--inject` takes it.
    how: &'a str,
    /// Only calls on these files of the workspace; all where there are none.
    files: &'a [&'a str],
}

struct Attempt {
    code: Option<i32>,
    signal: Option<i32>,
    stderr: String,
    is_hit: bool,
    /// Whether it was hit in a question of the C library's own, which goes on without an answer.
    is_in_library: bool,
}

impl Ground {
    fn new(staging: &'static str, seed: u64) -> Self {
        let bench = Bench::quick().with_source();
        fs::hard_link(bench.path("source/a/one"), bench.path("source/a/other")).unwrap();
        symlink("nowhere", bench.path("source/dangling")).unwrap();
        let sparse = fs::File::create(bench.path("source/sparse")).unwrap();
        sparse.set_len(3 << 20).unwrap();
        sparse.write_all_at(&[7; 4096], 1 << 20).unwrap();
        bench.write("source/z/large", vec![9; 700 << 10]);
        // Older than the clock's tick, so that a further attempt may trust a copy.
        let youngest = bench.path("source/z/large");
        super::kills::wait_until(|| {
            youngest.metadata().unwrap().modified().unwrap().elapsed().unwrap().as_millis() > 100
        });
        let source = snapshot(&bench.path("source"));
        let is_full = std::env::var_os("RELOCATION_MOVER_KILLS").is_some();
        let gap = if is_full { 1 } else { USUAL_GAP };
        let ground = Self { bench, source, staging, chance: Chance(seed), gap, met: BTreeSet::new() };
        for step in STEPS {
            Self::copy(&ground.bench.path("workspace"), &ground.kept(step, "workspace"));
            Self::copy(&ground.bench.path("target"), &ground.kept(step, "target"));
            ground.run_clean(step);
        }
        ground
    }

    fn kept(&self, step: &str, root: &str) -> PathBuf {
        self.bench.path(&format!("before-{step}-{root}"))
    }

    fn copy(from: &Path, to: &Path) {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    }

    fn command(&self, step: &str) -> Command {
        let mut command = self.bench.command(step);
        command.args(["--concurrency", "1"]);
        if step == "upload" {
            command.args(["--staging", self.staging]);
        } else if self.staging == "none" && matches!(step, "validate" | "import") {
            command.arg("--source").arg(self.bench.path("source"));
        }
        command
    }

    fn run_clean(&self, step: &str) -> Done {
        let done = self.bench.finish(self.command(step));
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
        assert!(step != "validate" || done.verdict() == "VALID", "{done:?}");
        done
    }

    fn run_with(&self, step: &str, fault: &Fault, number: u64) -> Attempt {
        let plain = self.command(step);
        let trace = self.bench.path("trace");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(&trace);
        // Much faster, but then strace (6.1) sends no signal to the first thread.
        if !fault.how.contains("signal=") {
            command.arg("--seccomp-bpf");
        }
        command.arg(format!("--trace={}", fault.call));
        command.arg(format!("--inject={}:{}:when={number}", fault.call, fault.how));
        for file in fault.files {
            command.arg("-P").arg(self.bench.path("workspace").join(file));
        }
        command.arg(plain.get_program()).args(plain.get_args()).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let Output { status, stderr, .. } =
            command.stdin(Stdio::null()).output().expect("strace starts; `make setup` installs it");
        let trace = fs::read_to_string(trace).unwrap();
        Attempt {
            code: status.code(),
            signal: status.signal(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            is_hit: status.signal().is_some() || trace.contains("INJECTED"),
            // The mover asks about open files by another call.
            is_in_library: trace.lines().any(|line| line.contains("INJECTED") && line.contains("AT_EMPTY_PATH")),
        }
    }

    /// Tries a fault at the calls of a step, and after each lets everything come to its end without one.
    fn check(&mut self, step: &str, fault: &Fault, judge: impl Fn(&Attempt)) {
        // The first one always, and then some of the others.
        let mut number = 1;
        loop {
            for root in ["workspace", "target"] {
                fs::remove_dir_all(self.bench.path(root)).unwrap();
                Self::copy(&self.kept(step, root), &self.bench.path(root));
            }
            let attempt = self.run_with(step, fault, number);
            if !attempt.is_hit {
                return;
            }
            let told = format!(
                "{step}, {} {} at {number}: {:?} {:?} {}",
                fault.call, fault.how, attempt.code, attempt.signal, attempt.stderr
            );
            assert!(matches!(attempt.code, None | Some(0 | 1 | 65 | 127)), "{told}");
            // 127: the program had not even been loaded.
            if attempt.code != Some(127) && !attempt.is_in_library {
                judge(&attempt);
                self.met.insert(fault.call.to_owned());
            }
            // A step that says it is done is not done again, as with the operator.
            let is_done = attempt.code == Some(0);
            let from = STEPS.iter().position(|name| *name == step).unwrap() + usize::from(is_done);
            STEPS[from..].iter().for_each(|step| drop(self.run_clean(step)));
            let (source, target) = (snapshot(&self.bench.path("source")), snapshot(&self.bench.path("target")));
            assert!(source == self.source, "the source is not what it was: {told}");
            assert!(target == self.source, "the target is not the source: {told}");
            number += 1 + self.chance.below(self.gap);
        }
    }
}

/// Each of these calls is made in some step, and a fault was judged there. Of two names for the same one is enough.
#[track_caller]
fn assert_met(met: &BTreeSet<String>, calls: &[&str]) {
    for call in calls {
        let twins: &[&str] = match *call {
            "?renameat" | "?renameat2" => &["?renameat", "?renameat2"],
            "?newfstatat" | "?fstat" | "?statx" => &["?newfstatat", "?fstat", "?statx"],
            ref other => std::slice::from_ref(other),
        };
        assert!(twins.iter().any(|twin| met.contains(*twin)), "no fault was met at {call}: {met:?}");
    }
}

/// Calls that change something, or decide about it.
const CHANGES: [&str; 12] = [
    "pwrite64",
    "ftruncate",
    "fdatasync",
    "fsync",
    "syncfs",
    "?mkdirat",
    "?renameat",
    "?renameat2",
    "?linkat",
    "?symlinkat",
    "?unlinkat",
    "fallocate",
];
/// The files of the workspace that are written through a buffer.
const LISTS: [&str; 2] = ["import.journal.jsonl", "manifest.jsonl.partial"];

#[test]
fn killed_at_a_system_call_every_step_ends_the_same() {
    const SETTLES: [&str; 3] = ["fsetxattr", "?utimensat", "?fchmod"];
    for (staging, seed) in [("copy", 0x9e37_79b9), ("none", 0x1234_5678)] {
        let mut ground = Ground::new(staging, seed);
        for step in STEPS {
            for call in CHANGES.into_iter().chain(SETTLES) {
                let fault = Fault { call, how: "signal=KILL", files: &[] };
                ground.check(step, &fault, |attempt| assert_eq!(attempt.signal, Some(9), "{}", attempt.stderr));
            }
            let fault = Fault { call: "write", how: "signal=KILL", files: &LISTS };
            ground.check(step, &fault, |attempt| assert_eq!(attempt.signal, Some(9), "{}", attempt.stderr));
        }
        assert_met(&ground.met, &CHANGES);
        assert_met(&ground.met, &SETTLES);
        assert_met(&ground.met, &["write"]);
    }
}

#[test]
fn a_disk_that_cannot_write_is_said_and_nothing_is_lost() {
    for (how, code, word, seed) in [
        ("error=EIO", 1, "input/output error", 0x0bad_cafe),
        ("error=ENOSPC", 65, "no space left on device", 0x0fee_1bad),
        ("error=EDQUOT", 65, "quota exceeded", 0x0dec_ade5),
    ] {
        let mut ground = Ground::new("copy", seed);
        for step in STEPS {
            let judge = |call: &str, attempt: &Attempt| {
                // What only tidies up may fail: the next attempt does it. A preallocation only foresees.
                // Where there is no room for an attribute, a file is the record of the fencing token.
                let may_be_ignored =
                    matches!(call, "?unlinkat" | "fallocate") || (call, how) == ("fsync", "error=ENOSPC");
                if attempt.code == Some(0) && may_be_ignored {
                    return;
                }
                let told = format!("{step} {call} {how}: {:?} {}", attempt.code, attempt.stderr);
                assert_eq!(attempt.code, Some(code), "{told}");
                assert!(attempt.stderr.to_lowercase().contains(word), "{told}");
            };
            for call in CHANGES {
                ground.check(step, &Fault { call, how, files: &[] }, |attempt| judge(call, attempt));
            }
            ground.check(step, &Fault { call: "write", how, files: &LISTS }, |attempt| judge("write", attempt));
        }
        assert_met(&ground.met, &CHANGES);
        assert_met(&ground.met, &["write"]);
    }
}

#[test]
fn a_disk_that_cannot_read_is_said_and_nothing_is_lost() {
    const READS: [&str; 7] = ["pread64", "getdents64", "lseek", "?newfstatat", "?fstat", "?statx", "?readlinkat"];
    let mut ground = Ground::new("copy", 0x0dd5_eed5);
    for step in STEPS {
        for call in READS {
            let fault = Fault { call, how: "error=EIO", files: &[] };
            ground.check(step, &fault, |attempt| {
                assert_eq!(attempt.code, Some(1), "{step} {call}: {}", attempt.stderr);
                assert!(attempt.stderr.contains("input/output error"), "{step} {call}: {}", attempt.stderr);
            });
        }
    }
    assert_met(&ground.met, &READS);
}
