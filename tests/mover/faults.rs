//! Volumes that are too small, or cannot hold what they should.

use std::process::{Command, Output};

use serde_json::Value;

use super::bench::{Bench, is_root};

/// Runs a shell script in a mount namespace of its own, so that its mounts end with it. Every step it runs is `step NAME`, whose result it prints.
pub fn with_mounts(bench: &Bench, script: &str) -> Vec<(i64, Value)> {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !is_root() {
        command.arg("--map-root-user");
    }
    let prelude = r#"
        step() {
            step=$1; shift; code=0
            "$MOVER" --termination-log "$ROOT/result" "$step" --workspace "$ROOT/workspace" "$@" >/dev/null 2>&1 || code=$?
            printf '%s %s\n' "$code" "$(cat "$ROOT/result")"
        }
    "#;
    command.args(["sh", "-euc", &format!("{prelude}{script}")]);
    command.env("MOVER", env!("CARGO_BIN_EXE_relocation-mover")).env("ROOT", bench.root.path());
    command.env("RELOCATION_UUID", "faults").env("RELOCATION_FENCING_TOKEN", "1");
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let stdout = String::from_utf8(stdout).unwrap();
    let parse = |line: &str| {
        let (code, result) = line.split_once(' ').unwrap();
        (code.parse().unwrap(), serde_json::from_str(result).unwrap_or_else(|_| panic!("{line}")))
    };
    stdout.lines().map(parse).collect()
}

#[track_caller]
fn assert_stopped((code, result): &(i64, Value), words: &[&str]) {
    assert_eq!(*code, 65, "{result}");
    for word in words {
        assert!(result["message"].as_str().unwrap().contains(word), "no {word:?} in {result}");
    }
}

fn with_large_source(bench: &Bench) {
    for number in 0..40 {
        bench.write(&format!("source/d{}/{number:02}", number % 4), vec![number; 64 * 1024]);
    }
    // A copy that is older than the clock's tick is trusted by the next attempt.
    let youngest = bench.path("source/d3/39");
    super::kills::wait_until(|| youngest.metadata().unwrap().modified().unwrap().elapsed().unwrap().as_millis() > 100);
}

#[test]
fn a_full_workspace_is_named_and_what_was_staged_is_kept() {
    let bench = Bench::new();
    with_large_source(&bench);
    let steps = with_mounts(
        &bench,
        r#"
        mount -t tmpfs -o size=16m tmpfs "$ROOT/workspace"
        head -c 15728640 /dev/zero > "$ROOT/workspace/ballast"
        step upload --source "$ROOT/source"
        ! find "$ROOT/workspace/data" -type f -size -64k | grep .
        rm "$ROOT/workspace/ballast"
        step upload --source "$ROOT/source"
        step validate
        step import --target "$ROOT/target"
        step postprocess --target "$ROOT/target"
        "#,
    );
    assert_stopped(
        &steps[0],
        &["cannot write 'd", "of the workspace: no space left on device; enlarge the workspace's volume"],
    );
    let kept = steps[1].1["counts"]["alreadyStaged"].as_u64().unwrap();
    assert!((1..40).contains(&kept), "{steps:?}");
    assert_eq!(steps[2].1["verdict"], "VALID", "{steps:?}");
    assert_eq!(steps[4].0, 0, "{steps:?}");
    bench.assert_moved();
}

#[test]
fn a_full_target_is_foreseen_and_what_was_written_is_kept() {
    let bench = Bench::new();
    with_large_source(&bench);
    let steps = with_mounts(
        &bench,
        r#"
        mount -t tmpfs -o size=16m tmpfs "$ROOT/target"
        head -c 15728640 /dev/zero > "$ROOT/target/ballast"
        step upload --source "$ROOT/source"
        step preprocess --target "$ROOT/target"
        step import --target "$ROOT/target"
        ! find "$ROOT/target" -name '.relocation*' | grep .
        rm "$ROOT/target/ballast"
        step preprocess --target "$ROOT/target"
        step import --target "$ROOT/target"
        step postprocess --target "$ROOT/target"
        diff -r "$ROOT/source" "$ROOT/target" >&2
        "#,
    );
    assert_eq!(steps[0].0, 0, "{steps:?}");
    assert_stopped(&steps[1], &["bytes free and", "enlarge the target's volume"]);
    assert_stopped(
        &steps[2],
        &["cannot write 'd", "of the target: no space left on device; enlarge the target's volume"],
    );
    assert_eq!(steps[3].0, 0, "{steps:?}");
    let kept = steps[4].1["counts"]["alreadyThere"].as_u64().unwrap();
    assert!((1..40).contains(&kept), "{steps:?}");
    assert_eq!(steps[5].0, 0, "{steps:?}");
}

#[test]
fn a_target_without_inodes_is_foreseen() {
    let bench = Bench::new().with_source();
    let steps = with_mounts(
        &bench,
        r#"
        mount -t tmpfs -o nr_inodes=6 tmpfs "$ROOT/target"
        step upload --source "$ROOT/source"
        step preprocess --target "$ROOT/target"
        step import --target "$ROOT/target"
        "#,
    );
    assert_stopped(&steps[1], &["inodes free and 8 are needed"]);
    assert_stopped(&steps[2], &["of the target: no space left on device", "inodes"]);
}

#[test]
fn a_read_only_target_is_named() {
    let bench = Bench::new().with_source();
    let steps = with_mounts(
        &bench,
        r#"
        mount -t tmpfs -o ro tmpfs "$ROOT/target"
        step upload --source "$ROOT/source"
        step preprocess --target "$ROOT/target"
        step import --target "$ROOT/target"
        "#,
    );
    for step in &steps[1..] {
        assert_stopped(step, &["of the target: read-only file system; mount the target writable"]);
    }
}

#[test]
fn a_workspace_without_room_for_a_report_still_says_the_problem() {
    let bench = Bench::new().with_source();
    for number in 0..200 {
        assert!(Command::new("mkfifo").arg(bench.path(&format!("source/fifo{number}"))).status().unwrap().success());
    }
    let steps = with_mounts(
        &bench,
        r#"
        mount -t tmpfs -o nr_inodes=2 tmpfs "$ROOT/workspace"
        step upload --source "$ROOT/source"
        "#,
    );
    assert_stopped(&steps[0], &["the first of 200: 'fifo0' of the source is a fifo", "no report"]);
}
