//! A plan without a workspace: the target keeps the manifest and the journal until the end.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::moves::fill;
use crate::work::{Work, noise};

/// Where the records are on this machine's disk.
fn records(work: &Work) -> PathBuf {
    let key = &blake3::hash(b"11111111-2222-3333-4444-555555555555").to_hex()[..16];
    work.target_folder().join(format!(".relocation-records-{key}"))
}

/// Everything of ours that is still at the target, but for the objects that stand for directories.
fn left(work: &Work) -> Vec<String> {
    let keys = work.server.keys("target");
    keys.into_iter().filter(|key| key.contains(".relocation-") && !key.ends_with("/.relocation-directory")).collect()
}

#[test]
fn between_any_two_ends_the_records_go_at_the_end() {
    for work in [Work::to_store("none"), Work::from_store("none"), Work::between_stores("none")] {
        let work = work.without_workspace();
        fill(&work);
        work.server.put("target/some/prefix/theirs", "theirs", &[]);
        let done = work.move_all();
        assert_eq!(done.count("files"), 7, "{done:?}");
        assert_eq!(done.count("extra"), u64::from(work.target.starts_with("s3://")), "{done:?}");
        assert!(records(&work).join("manifest.jsonl").exists());
        // Started again after the end, as after a kill at its last moment.
        let done = work.run_all(&["postprocess", "notify", "notify"]);
        let removed = format!("the records of the move at {} are no longer needed and removed", work.target);
        assert!(done.message().ends_with(&removed), "{done:?}");
        assert!(!records(&work).exists());
        assert_eq!(left(&work), [""; 0]);
        assert_eq!(fs::read_dir(work.bench.path("scratch")).unwrap().count(), 0, "nothing is left where it worked");
        work.server.curl(&["-X", "DELETE"], "target/some/prefix/theirs");
        work.assert_same_files();
    }
}

#[test]
fn what_a_killed_upload_had_read_is_not_read_again() {
    let work = Work::to_store("none").without_workspace();
    for number in 0..6000 {
        let folder = work.source_folder().join(format!("d{:02}", number / 500));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(number.to_string()), number.to_string()).unwrap();
    }
    // Larger than all the others, slow, and last.
    fs::write(work.source_folder().join("last"), noise(8 << 20, 1)).unwrap();
    let mut command = work.command("upload");
    command.args(["--bandwidth", "100K"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while !records(&work).join("manifest.jsonl.partial/00000001").exists() {
        assert!(start.elapsed() < Duration::from_mins(1), "nothing is recorded");
        assert!(child.try_wait().unwrap().is_none(), "it is over too soon");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let done = work.run_all(&["upload"]);
    assert!(done.count("alreadyStaged") >= 4000, "{done:?}");
    assert_eq!(done.count("files"), 6001, "{done:?}");
    assert!(!records(&work).join("manifest.jsonl.partial").exists(), "what is complete has no beginning beside it");
}

#[test]
fn a_launch_that_was_replaced_adds_nothing_to_the_records() {
    let mut work = Work::to_store("none").without_workspace();
    fill(&work);
    work.run_all(&["upload", "import"]);
    let journal = || fs::read_dir(records(&work).join("import.journal.jsonl")).unwrap().count();
    let before = journal();
    work.bench.token -= 1;
    for step in ["upload", "preprocess", "import", "postprocess", "notify", "cleanup"] {
        work.run(step).assert_stopped(65, &["newer launch"]);
    }
    let after = fs::read_dir(records(&work).join("import.journal.jsonl")).unwrap().count();
    assert_eq!(before, after);
}

#[test]
fn a_retry_knows_what_the_relocation_before_it_wrote() {
    let work = Work::to_store("none").without_workspace();
    fill(&work);
    work.run_all(&["upload", "import"]);
    let retry = |step: &str| {
        let mut command = work.command(step);
        command.env("RELOCATION_UUID", "99999999-2222-3333-4444-555555555555");
        command.env("RELOCATION_ORIGIN", "11111111-2222-3333-4444-555555555555");
        let done = work.finish(command);
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
        done
    };
    retry("upload");
    retry("preprocess");
    let done = retry("import");
    assert_eq!((done.count("alreadyThere"), done.count("written")), (7, 0), "{done:?}");
    retry("postprocess");
    retry("notify");
    assert_eq!(left(&work), [""; 0]);
    work.assert_same_files();
}

#[test]
fn a_line_that_cannot_be_read_ends_the_journal_and_the_next_ones_count() {
    let work = Work::to_store("none").without_workspace();
    fill(&work);
    work.run_all(&["upload", "import"]);
    let folder = records(&work).join("import.journal.jsonl");
    let pieces = fs::read_dir(&folder).unwrap().count();
    let last = folder.join(format!("{pieces:08}"));
    let text = fs::read_to_string(&last).unwrap();
    let first = text.lines().next().unwrap();
    work.server.put(
        &format!("target/some/prefix/{}", last.strip_prefix(work.target_folder()).unwrap().display()),
        &format!("{first}\n{}", "not a line\n".repeat(1000)),
        &[],
    );
    fs::write(work.source_folder().join("new"), "new").unwrap();
    work.run_all(&["upload", "import"]);
    // What the journal says now is all that this relocation has written; a second attempt finds all of it there.
    let done = work.run_all(&["import"]);
    assert_eq!((done.count("alreadyThere"), done.count("written")), (8, 0), "{done:?}");
    let whole: String = (1..=fs::read_dir(&folder).unwrap().count())
        .map(|number| fs::read_to_string(folder.join(format!("{number:08}"))).unwrap())
        .collect();
    assert!(whole.contains("\"new\"") && !whole.contains("not a line"), "{whole}");
}

#[test]
fn cleanup_removes_what_was_written_and_the_records() {
    for work in [Work::to_store("none"), Work::from_store("none")] {
        let work = work.without_workspace();
        fill(&work);
        let folder = work.target_folder();
        if work.target.starts_with("s3://") {
            work.server.put("target/some/prefix/a/theirs", "theirs", &[]);
        } else {
            fs::create_dir(folder.join("a")).unwrap();
            fs::write(folder.join("a/theirs"), "theirs").unwrap();
        }
        work.run_all(&["upload", "import"]);
        let done = work.run_all(&["cleanup"]);
        assert_eq!(done.count("removedFiles"), if work.target.starts_with('/') { 7 } else { 8 }, "{done:?}");
        assert!(!records(&work).exists());
        assert_eq!(left(&work), [""; 0]);
        assert_eq!(fs::read(folder.join("a/theirs")).unwrap(), b"theirs");
        let again = work.run_all(&["cleanup"]);
        assert!(again.message().contains("has written nothing"), "{again:?}");
        assert_eq!(left(&work), [""; 0]);
    }
}

#[test]
fn after_a_failure_notify_leaves_the_records_to_whoever_recovers() {
    let work = Work::to_store("none").without_workspace();
    fill(&work);
    work.run_all(&["upload"]);
    let mut command = work.command("notify");
    command.env("RELOCATION_RESULT", "FAILURE");
    assert_eq!(work.finish(command).code, Some(0));
    assert!(records(&work).join("manifest.jsonl").exists());
    work.run_all(&["import", "postprocess"]);
    // As `onEnd` after a success: what it wrote stays, the records go.
    let mut command = work.command("cleanup");
    command.env("RELOCATION_RESULT", "SUCCESS");
    assert_eq!(work.finish(command).code, Some(0));
    assert_eq!(left(&work), [""; 0]);
    work.assert_same_files();
}

#[test]
fn a_report_of_problems_is_kept_with_the_records() {
    let work = Work::to_store("none").without_workspace();
    fill(&work);
    for name in ["a/one", "a-b"] {
        work.server.put(&format!("target/some/prefix/{name}"), "theirs", &[]);
    }
    work.run_all(&["upload"]);
    let done = work.run("preprocess");
    done.assert_stopped(65, &["s3://target/some/prefix/.relocation-records-", "reports/preprocess-problems.txt"]);
    let report = fs::read_to_string(records(&work).join("reports/preprocess-problems.txt")).unwrap();
    assert_eq!(report.lines().count(), 2, "{report}");
    for name in ["a/one", "a-b"] {
        work.server.curl(&["-X", "DELETE"], &format!("target/some/prefix/{name}"));
    }
    work.run_all(&["preprocess"]);
    assert!(!records(&work).join("reports").exists(), "a report of what is mended goes");
}

#[test]
fn sealed_records_name_nothing() {
    let work = Work::from_store("none").without_workspace().sealed();
    fill(&work);
    work.run_all(&["upload", "preprocess", "validate", "import"]);
    let manifest = fs::read_to_string(records(&work).join("manifest.jsonl")).unwrap();
    let journal = fs::read_to_string(records(&work).join("import.journal.jsonl")).unwrap();
    assert!(manifest.starts_with("-----BEGIN AGE") && journal.starts_with("-----BEGIN AGE"));
    assert!(!manifest.contains("two.css") && !journal.contains("two.css"));
    work.run_all(&["postprocess", "notify"]);
    work.assert_same_files();
}

#[test]
fn records_of_another_move_are_no_data() {
    for work in [Work::to_store("none"), Work::between_stores("none")] {
        let work = work.without_workspace();
        fill(&work);
        if work.source.starts_with("s3://") {
            work.server.put("source/data/.relocation-records-0000000000000000/manifest.jsonl", "theirs", &[]);
        } else {
            let theirs = work.source_folder().join(".relocation-records-0000000000000000");
            fs::create_dir(&theirs).unwrap();
            fs::write(theirs.join("manifest.jsonl"), "theirs").unwrap();
        }
        work.server.put("target/some/prefix/.relocation-records-1111111111111111/manifest.jsonl", "theirs", &[]);
        let done = work.move_all();
        assert_eq!(done.count("files"), 7, "{done:?}");
        assert!(!work.target_folder().join(".relocation-records-0000000000000000").exists());
        if work.target.ends_with("prefix") {
            assert_eq!(done.count("extra"), 0, "{done:?}");
        }
    }
}

#[test]
fn what_lacks_records_says_what_to_do() {
    let work = Work::to_store("none").without_workspace();
    fill(&work);
    for step in ["preprocess", "validate", "import", "postprocess"] {
        work.run(step)
            .assert_stopped(65, &["there are no records of this relocation at s3://target/some/prefix", "upload"]);
    }
    assert_eq!(left(&work), [""; 0]);
    let mut command = work.command("upload");
    command.args(["--staging", "copy"]);
    work.finish(command).assert_stopped(65, &["--staging=copy needs a workspace", "then recover"]);
    let mut command = work.command("upload");
    command.env("TMPDIR", work.bench.path("nowhere"));
    work.finish(command).assert_stopped(65, &["no directory can be made in", "nowhere", "emptyDir", "TMPDIR"]);
    assert_eq!(left(&work), [""; 0]);
}
