//! Killed at any instruction, started again, the same end; and nothing that was moved is moved again.
//!
//! `RELOCATION_MOVER_KILLS` is the number of rounds for each direction (default 3); each round kills every step up to three times.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::killing::{Chance, run_and_kill};
use crate::moves::fill;
use crate::work::{Work, names, noise, sums};

fn rounds() -> u64 {
    std::env::var("RELOCATION_MOVER_KILLS").map_or(3, |text| text.parse().unwrap())
}

fn add_files(work: &Work) {
    let in_store = work.source.starts_with("s3://");
    let root = if in_store { work.bench.path("more") } else { work.source_folder() };
    for number in 0..120_u64 {
        let path = root.join(format!("many/{}/{number}", number % 5));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(usize::try_from(number * 97 % 30_000).unwrap(), number)).unwrap();
    }
    if in_store {
        work.server.put_tree("source/data", &root);
    }
}

/// Gives some files of a tree a second name.
fn add_names(work: &Work) {
    let root = work.source_folder();
    fs::create_dir(root.join("names")).unwrap();
    for number in (0..120).step_by(7) {
        fs::hard_link(root.join(format!("many/{}/{number}", number % 5)), root.join(format!("names/{number}")))
            .unwrap();
    }
}

fn check(work: Work) {
    fill(&work);
    add_files(&work);
    if !work.source.starts_with("s3://") {
        add_names(&work);
    }
    kill(work, |_| ());
}

fn kill(mut work: Work, judge: impl Fn(&Work)) {
    let has_workspace = work.bench.has_workspace;
    let mut steps = vec!["upload", "preprocess", "validate", "import", "postprocess"];
    if !has_workspace {
        // Removes the records.
        steps.push("notify");
    }
    let mut times = Vec::new();
    for step in &steps {
        let start = Instant::now();
        work.run_all(&[step]);
        times.push(start.elapsed());
    }
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds() {
        work.bench.token += 1;
        if has_workspace {
            fs::remove_dir_all(work.bench.path("workspace")).unwrap();
            fs::create_dir(work.bench.path("workspace")).unwrap();
        }
        let target = work.target_folder();
        fs::remove_dir_all(&target).unwrap();
        if work.target.starts_with('/') {
            fs::create_dir(&target).unwrap();
        } else if !work.target.contains("prefix") {
            // The bucket itself went.
            work.server.make_bucket("target");
        }
        for (step, time) in steps.iter().copied().zip(&times) {
            for _ in 0..=chance.below(3) {
                let delay = chance.below(u64::try_from(time.as_micros()).unwrap());
                run_and_kill(work.command(step), Duration::from_micros(delay));
            }
            work.bench.token += 1;
            let done = work.run(step);
            assert_eq!(done.code, Some(0), "round {round}: {step}: {done:?}");
            assert!(step != "validate" || done.verdict() == "VALID", "round {round}: {done:?}");
            assert!(step != "postprocess" || done.count("extra") == 0, "round {round}: {done:?}");
        }
        work.assert_same_files();
        judge(&work);
    }
}

#[test]
fn killed_at_random_moments_hard_links_come_back_from_a_bucket() {
    for is_sealed in [false, true] {
        let work = Work::to_store("none");
        fill(&work);
        add_files(&work);
        add_names(&work);
        let expected = names(&work.source_folder());
        assert_eq!(expected.len(), 18);
        work.move_all();
        let work = work.turned_round("copy");
        let work = if is_sealed { work.sealed() } else { work };
        kill(work, |work| assert_eq!(names(&work.target_folder()), expected));
    }
}

#[test]
fn killed_at_random_moments_a_tree_arrives_in_a_bucket() {
    check(Work::to_store("none"));
}

#[test]
fn killed_at_random_moments_a_staged_tree_arrives_in_a_bucket() {
    check(Work::to_store("copy"));
}

#[test]
fn killed_at_random_moments_a_sealed_tree_arrives_in_a_bucket() {
    check(Work::to_store("copy").sealed());
}

#[test]
fn killed_at_random_moments_a_sealed_bucket_arrives_in_a_tree() {
    check(Work::from_store("copy").sealed());
}

#[test]
fn killed_at_random_moments_a_bucket_arrives_in_a_tree() {
    check(Work::from_store("none"));
}

#[test]
fn killed_at_random_moments_a_bucket_arrives_in_a_bucket() {
    check(Work::between_stores("none"));
}

#[test]
fn killed_at_random_moments_a_tree_arrives_in_a_bucket_that_keeps_the_records() {
    check(Work::to_store("none").without_workspace());
}

#[test]
fn killed_at_random_moments_a_bucket_arrives_in_a_tree_that_keeps_the_records() {
    check(Work::from_store("none").without_workspace());
}

#[test]
fn killed_at_random_moments_a_sealed_bucket_arrives_in_a_bucket_that_keeps_the_records() {
    check(Work::between_stores("none").without_workspace().sealed());
}

#[test]
fn what_a_killed_import_had_sent_is_not_sent_again() {
    check_killed_import(&Work::to_store("none"));
}

#[test]
fn what_a_killed_import_had_sent_is_not_sent_again_where_the_target_keeps_the_records() {
    check_killed_import(&Work::to_store("none").without_workspace());
}

fn check_killed_import(work: &Work) {
    add_files(work);
    work.run_all(&["upload"]);
    let mut command = work.command("import");
    // Slow enough to be killed in the middle.
    command.args(["--bandwidth", "1M", "--concurrency", "2"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while work.server.requests("PUT", "/target/some/prefix/many/") < 20 {
        assert!(start.elapsed() < Duration::from_mins(1), "nothing is sent");
        assert!(child.try_wait().unwrap().is_none(), "it is over too soon");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let done = work.run_all(&["import"]);
    let before = done.count("alreadyThere");
    assert!(before >= 10 && before + done.count("written") == 120, "{done:?}");
    // Counted at the server: what was on its way when it was killed may have been sent twice, and nothing else.
    let files = work.server.requests("PUT", "/target/some/prefix/many/") - directories(work);
    assert!(files <= 120 + 2, "{files} requests for 120 files");
    work.run_all(&["postprocess", "notify"]);
    work.assert_same_files();
}

#[test]
fn what_an_upload_has_read_is_not_read_again() {
    for staging in ["copy", "none"] {
        let work = Work::from_store(staging);
        add_files(&work);
        let read = || work.server.requests("GET", "/source/data/many/");
        work.run_all(&["upload"]);
        assert_eq!(read(), 120, "{staging}: the count counts");
        work.server.put("source/data/many/0/5", "changed", &[]);
        let done = work.run_all(&["upload"]);
        assert_eq!((done.count("alreadyStaged"), read()), (119, 121), "{staging}: {done:?}");
    }
}

fn directories(work: &Work) -> usize {
    work.server
        .keys("target")
        .iter()
        .filter(|key| key.starts_with("some/prefix/many/") && key.ends_with("/.relocation-directory"))
        .count()
}

/// Moves a file of 40 MiB slowly, and kills that when the server has some of its parts.
fn kill_in_the_middle_of_a_file(work: &Work) {
    fs::write(work.source_folder().join("parts"), noise(40 << 20, 5)).unwrap();
    work.run_all(&["upload"]);
    let mut command = work.command("import");
    command.args(["--bandwidth", "20M", "--concurrency", "2"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while work.server.requests("PUT", PARTS) < 3 {
        assert!(start.elapsed() < Duration::from_mins(1), "no part is sent");
        assert!(child.try_wait().unwrap().is_none(), "it is over too soon");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(work.server.unfinished("target"), ["some/prefix/parts"]);
    assert_eq!(work.server.curl(&["-X", "POST"], "target/some/prefix/theirs?uploads=").0, 200);
}

const PARTS: &str = "/target/some/prefix/parts";

#[test]
fn parts_that_a_killed_import_had_sent_are_not_sent_again() {
    check_killed_parts(&Work::to_store("none"));
}

#[test]
fn parts_that_a_killed_import_had_sent_are_not_sent_again_where_the_target_keeps_the_records() {
    check_killed_parts(&Work::to_store("none").without_workspace());
}

fn check_killed_parts(work: &Work) {
    kill_in_the_middle_of_a_file(work);
    let done = work.run_all(&["import"]);
    assert!(done.count("resumedBytes") >= 8 << 20, "{done:?}");
    assert_eq!(done.count("resumedBytes") + done.count("writtenBytes"), 40 << 20, "{done:?}");
    // What was on its way when it was killed may have been sent twice, and nothing else.
    let parts = work.server.requests("PUT", PARTS);
    assert!(parts <= 5 + 2, "{parts} requests for 5 parts");
    assert_eq!(done.count("leftoversRemoved"), 0, "{done:?}");
    assert_eq!(work.server.unfinished("target"), ["some/prefix/theirs"]);
    work.run_all(&["postprocess", "notify"]);
    assert_eq!(sums(&work.source_folder()), sums(&work.target_folder()));
}

#[test]
fn an_upload_that_the_store_has_dropped_is_begun_anew() {
    let work = Work::to_store("none");
    kill_in_the_middle_of_a_file(&work);
    for id in work.server.unfinished_ids("target") {
        let path = format!("target/some/prefix/parts?uploadId={id}");
        work.server.curl(&["-X", "DELETE"], &path);
    }
    assert_eq!(work.server.unfinished("target"), ["some/prefix/theirs"]);
    let done = work.run_all(&["import"]);
    assert_eq!((done.count("resumedBytes"), done.count("writtenBytes")), (0, 40 << 20), "{done:?}");
    work.run_all(&["postprocess"]);
    assert_eq!(sums(&work.source_folder()), sums(&work.target_folder()));
}

#[test]
fn a_source_that_changed_under_a_half_sent_file_is_not_mixed_with_it() {
    let work = Work::to_store("none");
    kill_in_the_middle_of_a_file(&work);
    // The same size: only the bytes tell.
    fs::write(work.source_folder().join("parts"), noise(40 << 20, 6)).unwrap();
    let done = work.run("import");
    done.assert_stopped(65, &["'parts' of the source has other content than the manifest says"]);
    assert_eq!(work.server.unfinished("target"), ["some/prefix/theirs"]);
    assert!(!work.target_folder().join("parts").exists());
}

#[test]
fn parts_of_a_source_that_was_read_anew_are_not_gone_on_with() {
    let work = Work::to_store("none");
    kill_in_the_middle_of_a_file(&work);
    fs::write(work.source_folder().join("parts"), noise(40 << 20, 6)).unwrap();
    work.run_all(&["upload"]);
    let done = work.run_all(&["import"]);
    assert_eq!((done.count("resumedBytes"), done.count("writtenBytes")), (0, 40 << 20), "{done:?}");
    assert_eq!(work.server.unfinished("target"), ["some/prefix/theirs"]);
    work.run_all(&["postprocess"]);
    assert_eq!(sums(&work.source_folder()), sums(&work.target_folder()));
}

#[test]
fn parts_of_a_killed_upload_that_nobody_knows_are_removed_and_those_of_others_are_not() {
    let work = Work::to_store("none");
    kill_in_the_middle_of_a_file(&work);
    // As a machine leaves it that has lost what it had not yet written to its disk.
    let journal = work.bench.path("workspace/import.journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take_while(|line| !line.starts_with("{\"upload\"")).collect();
    fs::write(&journal, kept.concat()).unwrap();
    let done = work.run_all(&["import"]);
    assert_eq!((done.count("leftoversRemoved"), done.count("resumedBytes")), (1, 0), "{done:?}");
    assert_eq!(work.server.unfinished("target"), ["some/prefix/theirs"]);
}

/// More than lies between two checkpoints.
const LARGE: u64 = 330 << 20;

/// Reads a large object slowly, and kills that when there is a checkpoint inside it.
fn kill_the_upload(work: &Work) {
    let more = work.bench.path("more");
    fs::create_dir(&more).unwrap();
    let file = fs::File::create(more.join("large")).unwrap();
    for (number, start) in (0..LARGE).step_by(32 << 20).enumerate() {
        file.write_all_at(&noise(100_000, number as u64), start).unwrap();
    }
    file.set_len(LARGE).unwrap();
    work.server.put_tree("source/data", &more);
    let mut command = work.command("upload");
    command.args(["--bandwidth", "200M"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while !work.bench.path("workspace/upload.checkpoint.json").exists() {
        assert!(start.elapsed() < Duration::from_mins(1), "there is no checkpoint");
        assert!(child.try_wait().unwrap().is_none(), "it is over too soon");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn parts_that_a_killed_upload_had_read_are_not_read_again() {
    for staging in ["copy", "none"] {
        let work = Work::from_store(staging);
        kill_the_upload(&work);
        let before = work.server.requests("GET", "/source/data/large");
        let done = work.run_all(&["upload"]);
        assert_eq!((done.count("resumedBytes"), done.count("bytes")), (256 << 20, LARGE), "{staging}: {done:?}");
        // Of six parts two were left.
        assert_eq!(work.server.requests("GET", "/source/data/large") - before, 2, "{staging}");
        assert_eq!(work.run("validate").verdict(), "VALID", "{staging}");
        work.run_all(&["preprocess", "import", "postprocess"]);
        work.assert_same_files();
    }
}

#[test]
fn what_a_killed_upload_had_read_of_an_object_that_changed_does_not_count() {
    let work = Work::from_store("copy");
    kill_the_upload(&work);
    let file = fs::File::options().write(true).open(work.bench.path("more/large")).unwrap();
    file.write_all_at(b"other", 7).unwrap();
    work.server.put_tree("source/data", &work.bench.path("more"));
    let done = work.run_all(&["upload"]);
    assert_eq!(done.count("resumedBytes"), 0, "{done:?}");
    assert_eq!(work.run("validate").verdict(), "VALID");
    work.run_all(&["preprocess", "import", "postprocess"]);
    work.assert_same_files();
}
