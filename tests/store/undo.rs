//! `cleanup` removes what the relocation has written, and nothing else.

use std::fs;

use crate::bench::{Bench, snapshot};
use crate::moves::fill;
use crate::work::Work;

#[test]
fn a_bucket_is_as_it_was_before() {
    let work = Work::to_store("none");
    fill(&work);
    work.server.put("target/some/prefix/theirs", "theirs", &[]);
    work.server.put("target/some/prefix/a/theirs", "theirs", &[]);
    work.run_all(&["upload", "import"]);
    // Somebody has replaced one of ours meanwhile.
    work.server.put("target/some/prefix/a/one", "changed", &[]);
    let done = work.run_all(&["cleanup"]);
    assert_eq!((done.count("removedFiles"), done.count("kept")), (7, 1), "{done:?}");
    let mut keys = work.server.keys("target");
    keys.sort();
    assert_eq!(keys, ["some/prefix/a/one", "some/prefix/a/theirs", "some/prefix/theirs"]);
    let again = work.run_all(&["cleanup"]);
    assert!(again.message().contains("has written nothing"), "{again:?}");
}

#[test]
fn a_tree_is_as_it_was_before() {
    let work = Work::from_store("none");
    fill(&work);
    let target = work.target_folder();
    fs::create_dir(target.join("a")).unwrap();
    fs::write(target.join("a/theirs"), "theirs").unwrap();
    fs::write(target.join("theirs"), "theirs").unwrap();
    let before = snapshot(&target);
    work.run_all(&["upload", "import", "postprocess"]);
    fs::write(target.join("d/new"), "new").unwrap();
    let done = work.run_all(&["cleanup"]);
    // The folder d is somebody's now.
    assert_eq!((done.count("removedFiles"), done.count("kept")), (6 + 1, 1), "{done:?}");
    fs::remove_dir_all(target.join("d")).unwrap();
    let after = snapshot(&target);
    assert!(
        before.keys().eq(after.keys()),
        "{:?}",
        after.keys().map(|key| key.escape_ascii().to_string()).collect::<Vec<_>>()
    );
    assert_eq!(fs::read(target.join("a/theirs")).unwrap(), b"theirs");
}

#[test]
fn hard_links_and_links_between_trees_are_undone_too() {
    let bench = Bench::new().with_source();
    fs::hard_link(bench.path("source/a/one"), bench.path("source/other")).unwrap();
    bench.write("target/theirs", "theirs");
    bench.run_all(&["upload", "import", "postprocess"]);
    let mut command = bench.command("cleanup");
    command.arg("--target").arg(bench.path("target"));
    let done = bench.finish(command);
    assert_eq!((done.code, done.count("kept")), (Some(0), 0), "{done:?}");
    assert_eq!(snapshot(&bench.path("target")).len(), 1);
}

#[test]
fn without_a_manifest_files_are_undone_and_links_stay() {
    let bench = Bench::new().with_source();
    bench.run_all(&["upload", "import"]);
    // As an upload leaves it that was started again and killed.
    fs::remove_file(bench.path("workspace/manifest.jsonl")).unwrap();
    let mut command = bench.command("cleanup");
    command.arg("--target").arg(bench.path("target"));
    let done = bench.finish(command);
    assert_eq!((done.code, done.count("removedFiles"), done.count("kept")), (Some(0), 3, 2), "{done:?}");
    // The link, and the directory that it is in.
    let left: Vec<_> = snapshot(&bench.path("target")).into_keys().collect();
    assert_eq!(left, [b"a".to_vec(), b"a/link".to_vec()]);
}

#[test]
fn after_a_success_everything_stays() {
    let work = Work::to_store("none");
    fill(&work);
    work.move_all();
    let mut command = work.command("cleanup");
    command.env("RELOCATION_RESULT", "SUCCESS");
    let done = work.finish(command);
    assert!(done.code == Some(0) && done.message().contains("what it wrote stays"), "{done:?}");
    work.assert_same_files();
}

#[test]
fn without_a_journal_nothing_is_touched() {
    let work = Work::to_store("none");
    work.server.put("target/some/prefix/a", "theirs", &[]);
    let done = work.run_all(&["cleanup"]);
    assert!(done.message().contains("has written nothing"), "{done:?}");
    assert_eq!(work.server.keys("target"), ["some/prefix/a"]);
}
