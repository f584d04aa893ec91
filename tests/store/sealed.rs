//! A sealed workspace between a bucket and what it goes to.

use std::process::Command;

use crate::moves::fill;
use crate::work::Work;

/// Files of the workspace in which grep finds the words, and those that are called so; all of the words are in the source.
fn found(work: &Work) -> String {
    let words = ["two.css", "sorts before", "100%25"];
    let patterns = words.iter().flat_map(|word| ["-e", word]);
    let folder = work.bench.path("workspace");
    let grep = Command::new("grep").arg("-rlaF").args(patterns).arg(&folder).output().unwrap();
    let find = Command::new("find").arg(&folder).output().unwrap();
    assert!(find.status.success() && grep.status.code().is_some_and(|code| code < 2), "{grep:?} {find:?}");
    let names = String::from_utf8(find.stdout).unwrap();
    let named: Vec<&str> = names.lines().filter(|line| words.iter().any(|word| line.contains(word))).collect();
    String::from_utf8(grep.stdout).unwrap() + &named.join("\n")
}

#[test]
fn what_rests_between_two_ends_can_be_sealed() {
    for work in [Work::from_store("copy"), Work::between_stores("copy"), Work::between_stores("none")] {
        fill(&work);
        work.run_all(&["upload"]);
        assert!(found(&work).contains("manifest.jsonl"), "the search finds what is there");
        let work = work.sealed();
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
