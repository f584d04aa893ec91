//! Large files: parts that are there are not written again, and holes stay holes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};

use super::bench::Bench;
use super::kills::wait_until;

/// Longer than what lies between two checkpoints.
const SIZE: u64 = 600 << 20;

/// A file of mostly holes, with some bytes in every part.
fn write_large(bench: &Bench, seed: u8) {
    let file = File::create(bench.path("source/large")).unwrap();
    file.set_len(SIZE).unwrap();
    for start in (0..SIZE).step_by(8 << 20) {
        let byte = u8::try_from((start >> 20) % 251).unwrap() ^ seed;
        file.write_all_at(&vec![byte; 128 << 10], start + (1 << 20)).unwrap();
    }
}

/// Imports slowly, and kills that when there is a checkpoint inside the file, after the line that begins it.
fn kill_in_the_middle(bench: &Bench) {
    bench.run_all(&["upload"]);
    let mut command = bench.command("import");
    let mut child = command.args(["--bandwidth", "2M"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let journal = bench.path("workspace/import.journal.jsonl");
    wait_until(|| fs::read_to_string(&journal).is_ok_and(|text| text.matches("{\"begun\"").count() > 1));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("target/large").exists(), "it is over too soon");
}

/// The only file at the target, whatever its name is.
fn inode(bench: &Bench) -> u64 {
    let inodes: Vec<_> =
        fs::read_dir(bench.path("target")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().ino()).collect();
    let [inode] = inodes[..] else { panic!("not one file: {inodes:?}") };
    inode
}

#[test]
fn parts_that_a_killed_import_had_written_are_not_written_again() {
    let mut bench = Bench::new();
    write_large(&bench, 0);
    kill_in_the_middle(&bench);
    let begun = inode(&bench);
    // What a killed attempt wrote behind the checkpoint may be of another state, and there is a hole now.
    let half = fs::read_dir(bench.path("target")).unwrap().next().unwrap().unwrap().path();
    File::options().write(true).open(half).unwrap().write_all_at(b"stale", SIZE - 9).unwrap();
    bench.token += 1;
    let done = bench.run_all(&["import"]);
    assert!(done.count("resumedBytes") >= 256 << 20, "{done:?}");
    assert_eq!(done.count("resumedBytes") + done.count("writtenBytes"), SIZE, "{done:?}");
    assert_eq!((done.count("leftoversRemoved"), inode(&bench)), (0, begun), "{done:?}");
    bench.run_all(&["postprocess"]);
    let ends = [bench.path("source/large"), bench.path("target/large")];
    assert!(Command::new("cmp").args(ends).status().unwrap().success());
    let blocks = |path: &str| fs::metadata(bench.path(path)).unwrap().blocks();
    assert!(blocks("target/large") <= blocks("source/large"), "holes were filled");
}

#[test]
fn what_was_begun_under_a_name_that_is_another_file_by_now_is_not_gone_on_with() {
    let bench = Bench::new();
    write_large(&bench, 0);
    kill_in_the_middle(&bench);
    let name = fs::read_dir(bench.path("target")).unwrap().next().unwrap().unwrap().path();
    // Kept elsewhere, so that its inode is not free for the next one.
    fs::rename(&name, bench.path("aside")).unwrap();
    File::create(&name).unwrap().set_len(SIZE).unwrap();
    let done = bench.run_all(&["import"]);
    assert_eq!((done.count("resumedBytes"), done.count("writtenBytes")), (0, SIZE), "{done:?}");
    bench.run_all(&["postprocess"]);
}

#[test]
fn a_source_that_changed_under_a_half_written_file_is_not_mixed_with_it() {
    let bench = Bench::new();
    write_large(&bench, 0);
    bench.run_all(&["upload"]);
    kill_in_the_middle(&bench);
    // The staged copy is what is read; only somebody with access to the workspace can change it.
    let staged = File::options().write(true).open(bench.path("workspace/data/large")).unwrap();
    staged.write_all_at(b"other", SIZE - 7).unwrap();
    let done = bench.run("import");
    done.assert_stopped(65, &["the staged copy of 'large' has other content than the manifest says"]);
    assert!(fs::read_dir(bench.path("target")).unwrap().next().is_none(), "nothing of it stays");
}

#[test]
fn parts_of_a_source_that_was_read_anew_are_not_gone_on_with() {
    for token in [0, 1] {
        let mut bench = Bench::new();
        write_large(&bench, 0);
        kill_in_the_middle(&bench);
        // The same size, and only a part that had been written.
        File::options().write(true).open(bench.path("source/large")).unwrap().write_all_at(b"other", 7).unwrap();
        // By the same launch or a new one: the names of temporary files are the same, or others.
        bench.token += token;
        bench.run_all(&["upload"]);
        let done = bench.run_all(&["import"]);
        assert_eq!((done.count("resumedBytes"), done.count("writtenBytes")), (0, SIZE), "{token}: {done:?}");
        let names = fs::read_dir(bench.path("target")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["large"], "{token}: what is of no use has gone");
        bench.run_all(&["postprocess"]);
        let ends = [bench.path("source/large"), bench.path("target/large")];
        assert!(Command::new("cmp").args(ends).status().unwrap().success());
    }
}

/// Uploads slowly, and kills that when there is a checkpoint inside the file.
fn kill_the_upload(bench: &Bench, staging: &str) {
    let mut command = bench.command("upload");
    command.args(["--staging", staging, "--bandwidth", "2M"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_until(|| bench.path("workspace/upload.checkpoint.json").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("workspace/manifest.jsonl").exists(), "it is over too soon");
}

/// The command of a step for a staging.
fn step(bench: &Bench, step: &str, staging: &str) -> Command {
    let mut command = bench.command(step);
    if step == "upload" {
        command.args(["--staging", staging]);
    } else if staging == "none" && step != "postprocess" {
        command.arg("--source").arg(bench.path("source"));
    }
    command
}

#[test]
fn parts_that_a_killed_upload_had_read_are_not_read_again() {
    for staging in ["copy", "none"] {
        let mut bench = Bench::new();
        write_large(&bench, 0);
        let settled = fs::metadata(bench.path("source/large")).unwrap();
        wait_until(|| settled.modified().unwrap().elapsed().is_ok_and(|age| age.as_millis() > 100));
        kill_the_upload(&bench, staging);
        if staging == "copy" {
            let half = File::options().write(true).open(bench.path("workspace/data/large")).unwrap();
            half.write_all_at(b"stale", SIZE - 9).unwrap();
        }
        bench.token += 1;
        let done = bench.finish(step(&bench, "upload", staging));
        assert_eq!((done.code, done.count("bytes")), (Some(0), SIZE), "{staging}: {done:?}");
        assert!(done.count("resumedBytes") >= 256 << 20, "{staging}: {done:?}");
        assert!(!bench.path("workspace/upload.checkpoint.json").exists(), "it goes with the last part");
        for name in ["validate", "import", "postprocess"] {
            let done = bench.finish(step(&bench, name, staging));
            assert_eq!(done.code, Some(0), "{staging} {name}: {done:?}");
            assert!(name != "validate" || done.verdict() == "VALID", "{staging}: {done:?}");
        }
        let ends = [bench.path("source/large"), bench.path("target/large")];
        assert!(Command::new("cmp").args(ends).status().unwrap().success());
    }
}

#[test]
fn a_checkpoint_inside_a_file_stays_when_the_next_large_one_is_begun() {
    let bench = Bench::new();
    // Four threads are at most 8 parts ahead of what counts. So the next file is begun in the last 8 of these 125,
    // after the last checkpoint, which is at the 96th; and there are seconds left then.
    let file = File::create(bench.path("source/first")).unwrap();
    file.set_len(1000 << 20).unwrap();
    for part in 0..125 {
        let bytes = if part < 105 { 64 << 10 } else { 1 << 20 };
        file.write_all_at(&vec![7; bytes], part * (8 << 20)).unwrap();
    }
    File::create(bench.path("source/next")).unwrap().set_len(60 << 20).unwrap();
    let settled = fs::metadata(bench.path("source/next")).unwrap();
    wait_until(|| settled.modified().unwrap().elapsed().is_ok_and(|age| age.as_millis() > 100));
    let mut command = bench.command("upload");
    command.args(["--bandwidth", "2M", "--concurrency", "4"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_until(|| bench.path("workspace/data/next").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("workspace/manifest.jsonl").exists(), "it is over too soon");
    let done = bench.run_all(&["upload"]);
    assert!(done.count("resumedBytes") >= 256 << 20, "{done:?}");
    assert_eq!(bench.run("validate").verdict(), "VALID");
}

#[test]
fn what_a_killed_upload_had_read_of_a_file_that_changed_does_not_count() {
    for staging in ["copy", "none"] {
        let bench = Bench::new();
        write_large(&bench, 0);
        let settled = fs::metadata(bench.path("source/large")).unwrap();
        wait_until(|| settled.modified().unwrap().elapsed().is_ok_and(|age| age.as_millis() > 100));
        kill_the_upload(&bench, staging);
        // The same size, and only a part that had been read.
        File::options().write(true).open(bench.path("source/large")).unwrap().write_all_at(b"other", 7).unwrap();
        let done = bench.finish(step(&bench, "upload", staging));
        assert_eq!((done.code, done.count("resumedBytes")), (Some(0), 0), "{staging}: {done:?}");
        for name in ["validate", "import", "postprocess"] {
            let done = bench.finish(step(&bench, name, staging));
            assert_eq!(done.code, Some(0), "{staging} {name}: {done:?}");
        }
        let ends = [bench.path("source/large"), bench.path("target/large")];
        assert!(Command::new("cmp").args(ends).status().unwrap().success());
    }
}
