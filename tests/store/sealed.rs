//! A sealed workspace between a bucket and what it goes to.

use std::process::Command;

use crate::moves::fill;
use crate::work::Work;

/// Files of the workspace in which grep finds the words, all of which are in the source.
fn found(work: &Work) -> String {
    let words = ["-e", "two.css", "-e", "sorts before", "-e", "100%25"];
    let grep = Command::new("grep").arg("-rlaF").args(words).arg(work.bench.path("workspace")).output().unwrap();
    String::from_utf8(grep.stdout).unwrap()
}

#[test]
fn what_rests_between_two_ends_can_be_sealed() {
    for work in [Work::from_store("copy"), Work::between_stores("copy"), Work::between_stores("none")] {
        let work = work.sealed();
        fill(&work);
        for step in ["upload", "preprocess", "validate", "import", "postprocess"] {
            let done = work.run_all(&[step]);
            assert!(step != "validate" || done.verdict() == "VALID", "{done:?}");
            assert_eq!(found(&work), "", "{step}");
        }
        work.assert_same_files();
        let done = work.run_all(&["upload"]);
        assert_eq!(done.count("alreadyStaged"), 7, "{done:?}");
    }
}
