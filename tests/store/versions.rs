//! A bucket that keeps versions: an object that was written again is another one, also with the same bytes.

use std::fs;

use crate::work::{Work, noise};

const RED: &str = "x-amz-meta-colour: red";
const BLUE: &str = "x-amz-meta-colour: blue";

fn put(work: &Work, path: &str, content: &str, header: &str) {
    work.server.put(&format!("versions/data/{path}"), content, &[header]);
}

fn colour(work: &Work, path: &str) -> String {
    let head = work.server.curl(&["-I"], &format!("target/{path}")).1.to_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("x-amz-meta-colour: "));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn an_object_written_again_with_the_same_bytes_has_changed() {
    let work = Work::between_stores_with_versions("none");
    put(&work, "one", "same", RED);
    put(&work, "two", "same", RED);
    work.run_all(&["upload"]);
    let manifest = fs::read_to_string(work.bench.path("workspace/manifest.jsonl")).unwrap();
    assert_eq!(manifest.matches("\"version\":\"").count(), 2, "{manifest}");
    put(&work, "two", "same", BLUE);
    work.run_all(&["preprocess"]);
    work.run("import").assert_stopped(65, &["'two' of the source has changed"]);
    assert_eq!(work.server.keys("target").iter().filter(|key| *key == "two").count(), 0);
}

#[test]
fn an_upload_started_again_reads_only_what_has_another_version() {
    for staging in ["none", "copy"] {
        let work = Work::between_stores_with_versions(staging);
        put(&work, "one", "same", RED);
        put(&work, "two", "same", RED);
        work.run_all(&["upload"]);
        put(&work, "two", "same", BLUE);
        let done = work.run_all(&["upload"]);
        assert_eq!((done.count("files"), done.count("alreadyStaged")), (2, 1), "{staging}: {done:?}");
        work.move_all();
        assert_eq!((colour(&work, "one"), colour(&work, "two")), ("red".to_owned(), "blue".to_owned()), "{staging}");
    }
}

/// Three parts to read.
fn put_large(work: &Work, bytes: &[u8]) {
    let folder = work.bench.path("large");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("large"), bytes).unwrap();
    work.server.put_tree("versions/data", &folder);
}

#[test]
fn all_parts_of_a_large_object_are_of_one_version() {
    let work = Work::between_stores_with_versions("none");
    let bytes = noise(150 << 20, 3);
    put_large(&work, &bytes);
    work.run_all(&["upload"]);
    let parts = work.server.requests("GET", "/versions/data/large");
    assert_eq!(parts, 3, "so it is read in parts");
    put_large(&work, &bytes);
    work.run("import").assert_stopped(65, &["'large' of the source has changed"]);
    assert_eq!(work.server.unfinished("target").len(), 1, "which the next attempt goes on with, or removes");
    work.run_all(&["upload", "import", "postprocess"]);
    work.assert_same_files();
}
