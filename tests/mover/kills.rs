//! Killed at any instruction, started again, the same end.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::bench::{Bench, Done, snapshot};
use super::killing::{Chance, run_and_kill};

/// Waits for a condition, not for a time.
#[track_caller]
pub fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_mins(1), "it does not come true");
        std::thread::yield_now();
    }
}

fn with_mixed_source() -> Bench {
    let bench = Bench::quick().with_source();
    for number in 0..300 {
        bench.write(&format!("source/d{}/e/{number}", number % 7), vec![b'x'; number * 37 % 9000]);
    }
    // Of two parts.
    bench.write("source/larger", vec![7; (8 << 20) + 5]);
    for number in 0..3 {
        bench.write(&format!("source/large{number}"), vec![number; 3 << 20]);
        fs::hard_link(bench.path(&format!("source/large{number}")), bench.path(&format!("source/d1/linked{number}")))
            .unwrap();
    }
    bench
}

/// Kills `step` at random moments, several times in a row, then lets it end.
fn kill_and_finish(bench: &Bench, step: &str, chance: &mut Chance, time: Duration) -> Done {
    for _ in 0..=chance.below(3) {
        let delay = Duration::from_micros(chance.below(u64::try_from(time.as_micros()).unwrap()));
        run_and_kill(bench.command(step), delay);
    }
    let done = bench.run(step);
    assert_eq!(done.code, Some(0), "{step}: {done:?}");
    done
}

#[test]
fn killed_at_random_moments_every_step_ends_the_same() {
    check_kills(with_mixed_source());
}

#[test]
fn killed_at_random_moments_every_step_ends_the_same_in_a_sealed_workspace() {
    check_kills(with_mixed_source().sealed());
}

fn check_kills(mut bench: Bench) {
    let mut times = Vec::new();
    for step in ["upload", "validate", "import", "postprocess"] {
        let start = Instant::now();
        bench.run_all(&[step]);
        times.push((step, start.elapsed()));
    }
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for round in 0..25 {
        for root in ["workspace", "target"] {
            fs::remove_dir_all(bench.path(root)).unwrap();
            fs::create_dir(bench.path(root)).unwrap();
        }
        // Something is changed at the source between the attempts, too.
        bench.write("source/a/one", format!("one {round}"));
        for (step, time) in &times {
            bench.token += 1;
            let done = kill_and_finish(&bench, step, &mut chance, *time);
            assert!(*step != "validate" || done.verdict() == "VALID", "round {round}: {done:?}");
        }
        bench.assert_moved();
        let left: Vec<_> =
            fs::read_dir(bench.path("workspace")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        // The manifest, the staged copy, and the journal.
        assert_eq!(left.len(), 3, "round {round}: {left:?}");
    }
}

#[test]
fn a_source_that_changes_between_killed_uploads_is_never_mixed() {
    let bench = with_mixed_source();
    let start = Instant::now();
    bench.run_all(&["upload"]);
    let time = start.elapsed();
    let mut chance = Chance(0x0123_4567_89ab_cdef);
    for round in 0..25_u8 {
        // The same size, so that only times and bytes differ.
        fs::write(bench.path("source/large1"), vec![round; 3 << 20]).unwrap();
        bench.write("source/d1/e/1", vec![round; 37]);
        match round % 3 {
            0 => drop(fs::remove_file(bench.path("source/d1/linked0"))),
            1 => drop(fs::hard_link(bench.path("source/large0"), bench.path("source/d1/linked0"))),
            _ => drop(fs::write(bench.path("source/d1/linked0"), vec![round; 3 << 20])),
        }
        kill_and_finish(&bench, "upload", &mut chance, time);
        let done = bench.run("validate");
        assert_eq!(done.verdict(), "VALID", "round {round}: {done:?}");
        let (source, staged) = (snapshot(&bench.path("source")), snapshot(&bench.path("workspace/data")));
        assert!(source.keys().eq(staged.keys()), "round {round}");
        for (path, thing) in &source {
            assert_eq!(staged[path].content, thing.content, "round {round}: {}", path.escape_ascii());
            assert_eq!(staged[path].first_name, thing.first_name, "round {round}: {}", path.escape_ascii());
        }
    }
}

fn with_many_files() -> Bench {
    let bench = Bench::new();
    for number in 0..6000 {
        let dir = number / 500;
        if number % 500 == 0 {
            fs::create_dir(bench.path(&format!("source/d{dir:02}"))).unwrap();
        }
        fs::write(bench.path(&format!("source/d{dir:02}/{number}")), number.to_string()).unwrap();
    }
    bench
}

#[test]
fn what_a_killed_upload_had_staged_is_not_staged_again() {
    let bench = with_many_files();
    let mut child = bench.command("upload").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let partial = bench.path("workspace/manifest.jsonl.partial");
    wait_until(|| {
        partial.metadata().is_ok_and(|facts| facts.len() > 100_000) || bench.path("workspace/manifest.jsonl").exists()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let ino = |path: &str| fs::metadata(bench.path(path)).unwrap().ino();
    let first = ino("workspace/data/d00/0");
    let done = bench.run_all(&["upload"]);
    // A line of the manifest is some 250 bytes.
    assert!(done.count("alreadyStaged") > 300, "{done:?}");
    assert_eq!(ino("workspace/data/d00/0"), first);
    assert_eq!(bench.run("validate").verdict(), "VALID");
}

#[test]
fn what_a_killed_import_had_written_is_not_written_again() {
    let bench = with_many_files();
    bench.run_all(&["upload"]);
    let mut child = bench.command("import").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let shown = bench.path("target/d00/0");
    wait_until(|| shown.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let ino = fs::metadata(&shown).unwrap().ino();
    let done = bench.run_all(&["import"]);
    assert!(done.count("alreadyThere") > 0, "{done:?}");
    assert_eq!(done.count("alreadyThere") + done.count("written"), 6000, "{done:?}");
    assert_eq!(fs::metadata(&shown).unwrap().ino(), ino);
    bench.run_all(&["postprocess"]);
    bench.assert_moved();
}

#[test]
fn leftovers_of_a_killed_import_are_removed_and_those_of_others_are_not() {
    let bench = Bench::new().with_source();
    bench.run_all(&["upload", "import"]);
    let key = &blake3::hash(b"11111111-2222-3333-4444-555555555555").to_hex()[..16];
    let (ours, theirs) = (format!(".relocation-tmp-{key}-7-1"), ".relocation-tmp-0000000000000000-7-1".to_owned());
    for name in [&ours, &theirs] {
        bench.write(&format!("target/a/{name}"), "half");
        bench.write(&format!("target/{name}"), "half");
    }
    let done = bench.run_all(&["import"]);
    assert_eq!(done.count("leftoversRemoved"), 2);
    bench.write(&format!("target/a/{ours}"), "half");
    let done = bench.run_all(&["postprocess"]);
    assert_eq!((done.count("leftoversRemoved"), done.count("extra")), (1, 2));
    assert!(bench.path(&format!("target/{theirs}")).exists());
}

#[test]
fn by_hand_a_leftover_that_has_the_name_of_the_next_file_is_no_obstacle() {
    let bench = Bench::new();
    // More than are handed out before the leftover is reached, under names that come before its own.
    for number in 0..200 {
        bench.write(&format!("source/-{number:03}"), number.to_string());
    }
    let by_hand = |step: &str| {
        let mut command = bench.command(step);
        command.args(["--concurrency", "1"]).env_remove("RELOCATION_UUID").env_remove("RELOCATION_FENCING_TOKEN");
        let done = bench.finish(command);
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
        done
    };
    by_hand("upload");
    let key = &blake3::hash(b"").to_hex()[..16];
    for number in 0..3 {
        bench.write(&format!("target/.relocation-tmp-{key}-0-{number}"), "half");
    }
    assert_eq!(by_hand("import").count("leftoversRemoved"), 3);
    by_hand("postprocess");
    bench.assert_moved();
}
