//! Whatever a file is called, it comes back from a bucket under that name, or is refused by name before anything is written.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::symlink;

use proptest::test_runner::TestRunner;

use crate::bench::{name, snapshot};
use crate::nasty::{a_tree, plant, trees};
use crate::work::Work;

fn clear(work: &Work, folders: &[&str]) {
    for folder in folders {
        fs::remove_dir_all(work.bench.path(folder)).unwrap();
        fs::create_dir(work.bench.path(folder)).unwrap();
    }
}

#[test]
fn whatever_it_is_called_it_comes_back_from_a_bucket() {
    let work = RefCell::new(Work::to_store("none"));
    let cases = Cell::new(0);
    // The server keeps objects as files, so a name has at most 255 bytes with what is escaped in it.
    let tried = TestRunner::new(trees(12)).run(&a_tree(80), |nodes| {
        let mut work = work.borrow_mut();
        let (source, target) = (work.bench.path("source"), work.bench.path("target"));
        let bucket = format!("s3://target/case{}", cases.replace(cases.get() + 1));
        clear(&work, &["source", "target", "workspace"]);
        plant(&source, &nodes);
        work.source = source.to_str().unwrap().to_owned();
        work.target.clone_from(&bucket);
        work.move_all();
        clear(&work, &["workspace"]);
        work.source = bucket;
        work.target = target.to_str().unwrap().to_owned();
        work.move_all();
        assert_eq!(snapshot(&target), snapshot(&source));
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn a_key_that_no_store_holds_is_refused_before_anything_is_written() {
    let work = Work::to_store("none");
    let mut deep = work.source_folder();
    for _ in 0..11 {
        deep.push("d".repeat(100));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "file").unwrap();
    fs::write(work.source_folder().join("other"), "other").unwrap();
    work.run_all(&["upload"]);
    let stops = |step: &str| {
        work.run(step)
            .assert_stopped(65, &["the key of 'dddd", "bytes and a store holds 1024; shorten it at the source"]);
    };
    stops("preprocess");
    assert!(work.server.keys("target").iter().all(|key| !key.contains("dddd")), "{:?}", work.server.keys("target"));
    // Who goes on by hand is told the same.
    stops("import");
}

#[test]
fn a_name_that_this_store_does_not_hold_is_named_and_final() {
    let work = Work::to_store("none");
    // Escaped it has three times as many bytes: more than a name of the server's file system.
    let long = work.source_folder().join(name(&[0xff; 200]));
    fs::write(long, "long").unwrap();
    symlink("somewhere", work.source_folder().join("b-link")).unwrap();
    work.run_all(&["upload"]);
    work.run("import")
        .assert_stopped(
        65,
        &["cannot write '%FF%FF", "of the target s3://target/some/prefix: the store takes no object with such a key (KeyTooLongError); shorten"],
    );
}
