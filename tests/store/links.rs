//! Names of one file are names of one file again after a bucket.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bench::{name, snapshot};
use crate::work::{Work, names, noise};

/// Files with several names, far apart, beside each other, of the same content as another, odd and large; and one name that no metadata can hold.
fn fill(work: &Work) {
    let root = work.source_folder();
    let write = |path: &str, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let link = |first: &str, path: &str| {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::hard_link(root.join(first), root.join(path)).unwrap();
    };
    write("daily.0/a/one", b"the same");
    link("daily.0/a/one", "daily.1/a/one");
    link("daily.0/a/one", "daily.1/b");
    link("daily.0/a/one", "daily.0/a/two");
    write("other/one", b"the same");
    link("other/one", "other/two");
    write("alone", b"the same");
    write("empty", b"");
    link("empty", "nothing");
    write("large", &noise(70 << 20, 9));
    link("large", "z/large");
    let odd = root.join(name(b"odd \x01\xff %41"));
    fs::write(&odd, "odd").unwrap();
    fs::hard_link(&odd, root.join(name(b"z/\xfe 100%"))).unwrap();
}

#[test]
fn hard_links_come_back_from_a_bucket() {
    let mut work = Work::to_store("none");
    fill(&work);
    let there = names(&work.source_folder());
    assert_eq!(there.len(), 5, "{there:?}");
    let before = snapshot(&work.source_folder());
    work.run_all(&["upload", "preprocess"]);
    let done = work.run_all(&["import"]);
    assert_eq!((done.count("written"), done.count("hardLinksNotKept")), (13, 0), "{done:?}");
    let done = work.run_all(&["import", "postprocess"]);
    assert_eq!(done.count("hardLinksNotKept"), 0, "{done:?}");
    for staging in ["none", "copy"] {
        let back = work.turned_round(staging);
        let done = back.run_all(&["upload"]);
        assert_eq!((done.count("files"), done.count("hardLinks")), (13, 7), "{staging}: {done:?}");
        assert_eq!(done.count("bytes"), (70 << 20) + 8 + 8 + 8 + 3, "each file counts once");
        let done = back.move_all();
        assert_eq!(done.count("hardLinksNotKept"), 0, "{staging}: {done:?}");
        assert_eq!(names(&back.target_folder()), there, "{staging}");
        assert_eq!(snapshot(&back.target_folder()), before, "{staging}");
        if staging == "copy" {
            assert_eq!(names(&back.bench.path("workspace/data")), there, "the staged copy");
        }
        work = back;
    }
}

#[test]
fn hard_links_come_back_through_a_workspace_that_is_packed_or_sealed() {
    let work = Work::to_store("copy").sealed();
    fill(&work);
    let there = names(&work.source_folder());
    work.move_all();
    let back = work.turned_round("copy");
    back.move_all();
    assert_eq!(names(&back.target_folder()), there);
    // Every name is in the manifest only but for the first.
    let packed = Command::new("find").arg(back.bench.path("workspace/data")).args(["-type", "f"]).output();
    assert_eq!(packed.unwrap().stdout.split_inclusive(|byte| *byte == b'\n').count(), 6);
}

#[test]
fn hard_links_go_on_from_bucket_to_bucket_whatever_prefix_is_read() {
    let work = Work::to_store("none");
    fill(&work);
    let there = names(&work.source_folder());
    work.move_all();
    let mut next = work.turned_round("none");
    // From the root of the bucket, two folders above what was written there.
    next.source = "s3://target".to_owned();
    next.target = "s3://source".to_owned();
    let done = next.move_all();
    assert_eq!(done.count("hardLinksNotKept"), 0, "{done:?}");
    let back = next.turned_round("none");
    back.move_all();
    assert_eq!(names(&back.target_folder().join("some/prefix")), there);
}

#[test]
fn a_name_that_no_metadata_can_hold_is_counted_and_a_file_of_its_own() {
    let work = Work::to_store("none");
    let folders = ["a".repeat(200), "b".repeat(200), "c".repeat(200), "d".repeat(200)].join("/");
    let root = work.source_folder();
    fs::create_dir_all(root.join(&folders)).unwrap();
    let first = root.join(&folders).join("first");
    fs::write(&first, "first").unwrap();
    fs::hard_link(&first, root.join(&folders).join("near")).unwrap();
    fs::hard_link(&first, root.join("far")).unwrap();
    attributes(&first, &["-n", "user.word", "-v", "kept"]);
    work.run_all(&["upload", "preprocess"]);
    assert_eq!(work.run_all(&["import"]).count("hardLinksNotKept"), 1);
    assert_eq!(work.run_all(&["postprocess"]).count("hardLinksNotKept"), 1);
    let back = work.turned_round("none");
    back.move_all();
    back.assert_same_files();
    let paths = [format!("./{folders}/first"), format!("./{folders}/near")];
    assert_eq!(names(&back.target_folder()), [(2, paths.to_vec())]);
    assert!(attributes(&back.target_folder().join("far"), &[]).contains("user.word=\"kept\""));
}

/// Sets an attribute, or says which there are.
fn attributes(path: &Path, set: &[&str]) -> String {
    let mut command = Command::new(if set.is_empty() { "getfattr" } else { "setfattr" });
    command.args(if set.is_empty() { &["-d"] } else { set });
    let output = command.arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn names_that_somebody_else_has_put_there_are_counted_because_they_say_nothing_of_links() {
    for (there, lost) in [("a", 2), ("b", 1)] {
        let work = Work::to_store("none");
        let root = work.source_folder();
        fs::write(root.join("a"), "shared").unwrap();
        fs::hard_link(root.join("a"), root.join("b")).unwrap();
        fs::hard_link(root.join("a"), root.join("c")).unwrap();
        work.server.put(&format!("target/some/prefix/{there}"), "shared", &[]);
        work.run_all(&["upload"]);
        let mut command = work.command("import");
        command.args(["--existing", "skip-equal"]);
        let done = work.finish(command);
        assert_eq!((done.code, done.count("hardLinksNotKept")), (Some(0), lost), "{there}: {done:?}");
        assert_eq!(work.run_all(&["postprocess"]).count("hardLinksNotKept"), lost, "{there}");
    }
}

#[test]
fn names_whose_first_is_left_out_are_names_of_one_file_still() {
    let work = Work::to_store("none");
    fill(&work);
    work.move_all();
    let back = work.turned_round("copy");
    let mut command = back.command("upload");
    command.args(["--include", "b", "--include", "two"]);
    assert_eq!(back.finish(command).code, Some(0));
    assert_eq!(back.run("validate").verdict(), "VALID");
    back.run_all(&["preprocess", "import", "postprocess"]);
    let paths = ["./daily.0/a/two", "./daily.1/b"].map(str::to_owned);
    assert_eq!(names(&back.target_folder()), [(2, paths.to_vec())]);
    assert_eq!(fs::read(back.target_folder().join("other/two")).unwrap(), b"the same");
}

/// A first name and three further ones in the bucket; what somebody does there; then the way back to a tree.
fn meddled(staging: &'static str, meddle: impl Fn(&Work)) -> Work {
    let work = Work::to_store("none");
    let root = work.source_folder();
    fs::write(root.join("a"), "shared").unwrap();
    for further in ["b", "c", "d"] {
        fs::hard_link(root.join("a"), root.join(further)).unwrap();
    }
    work.move_all();
    let back = work.turned_round(staging);
    meddle(&back);
    back
}

const LINKED: &str = "x-amz-meta-relocationlinked: yes";
const LINK: &str = "x-amz-meta-relocationlink: a";

fn target(work: &Work) -> Vec<(u64, Vec<String>)> {
    work.assert_same_files();
    names(&work.target_folder())
}

#[test]
fn what_an_object_holds_decides_and_not_what_it_says_of_links() {
    for staging in ["none", "copy"] {
        // The first name has other content, and still says that there are others.
        let work = meddled(staging, |work| work.server.put("target/some/prefix/a", "edited", &[LINKED]));
        work.move_all();
        assert_eq!(target(&work), [(3, ["./b", "./c", "./d"].map(str::to_owned).to_vec())], "{staging}");
        // So does a further one.
        let work = meddled(staging, |work| work.server.put("target/some/prefix/c", "edited", &[LINK]));
        work.move_all();
        assert_eq!(target(&work), [(3, ["./a", "./b", "./d"].map(str::to_owned).to_vec())], "{staging}");
        // What was never one says so, and has another time.
        let work = meddled(staging, |work| work.server.put("target/some/prefix/e", "shared", &[LINK]));
        work.move_all();
        assert_eq!(target(&work), [(4, ["./a", "./b", "./c", "./d"].map(str::to_owned).to_vec())], "{staging}");
        // The first name is gone.
        let work = meddled(staging, |work| {
            work.server.curl(&["-X", "DELETE"], "target/some/prefix/a");
        });
        work.move_all();
        assert_eq!(target(&work), [(3, ["./b", "./c", "./d"].map(str::to_owned).to_vec())], "{staging}");
    }
}

#[test]
fn a_first_name_that_changes_between_two_attempts_takes_no_other_name_with_it() {
    for (staging, is_sealed) in [("copy", false), ("copy", true), ("none", false)] {
        let work = meddled(staging, |_| ());
        let work = if is_sealed { work.sealed() } else { work };
        let done = work.run_all(&["upload"]);
        assert_eq!(done.count("hardLinks"), 3, "{done:?}");
        work.server.put("target/some/prefix/a", "edited", &[LINKED]);
        let done = work.run_all(&["upload"]);
        assert_eq!((done.count("alreadyStaged"), done.count("hardLinks")), (3, 2), "{staging}: {done:?}");
        assert_eq!(work.run("validate").verdict(), "VALID");
        work.run_all(&["preprocess", "import", "postprocess"]);
        assert_eq!(target(&work), [(3, ["./b", "./c", "./d"].map(str::to_owned).to_vec())], "{staging}");
        // And back to what it was.
        work.server.put("target/some/prefix/a", "shared", &[]);
        assert_eq!(work.run_all(&["upload"]).count("alreadyStaged"), 3);
        assert_eq!(work.run("validate").verdict(), "VALID");
    }
}

#[test]
fn a_bucket_that_changes_between_two_steps_is_noticed() {
    let work = meddled("none", |_| ());
    work.run_all(&["upload"]);
    work.server.put("target/some/prefix/c", "edited", &[LINK]);
    let done = work.run("validate");
    assert_eq!(done.verdict(), "INVALID", "{done:?}");
    assert!(done.message().contains("'c' of the source was written to"), "{done:?}");
    work.server.put("target/some/prefix/a", "edited", &[LINKED]);
    work.run("import").assert_stopped(65, &["'a' of the source has changed"]);
    assert_eq!(snapshot(&work.target_folder()).len(), 0);
}
