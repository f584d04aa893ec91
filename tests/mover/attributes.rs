//! Extended attributes and access control lists, judged by `getfattr` and `getfacl`.

use std::os::unix::fs::symlink;
use std::process::Command;

use super::bench::{Bench, as_nobody, give_to_nobody, is_root, set_mode};

fn run(bench: &Bench, root: &str, script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).current_dir(bench.path(root)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All attributes and lists of everything below a folder.
fn listed(bench: &Bench, root: &str) -> String {
    // By its own name, so that the folder itself is left out: the fence is there.
    run(bench, root, "for p in *; do getfattr -h -R -d -m - -e hex \"$p\"; getfacl -R -n -P \"$p\"; done")
}

fn with_attributes() -> Bench {
    let bench = Bench::new();
    bench.write("source/d/file", "file");
    bench.write("source/d/many", "many");
    bench.write("source/d/none", "none");
    bench.write("source/d/closed", "closed");
    symlink("nowhere", bench.path("source/d/link")).unwrap();
    let script = r"
        setfattr -n user.colour -v red d/file
        setfattr -n user.empty d/file
        setfattr -n 'user.odd name %' -v 0x00ff0a d/file
        setfattr -n user.of-the-folder -v yes d
        for n in 1 2 3 4 5 6 7 8 9; do setfattr -n user.n$n -v \$(printf %0300d $n) d/many; done
        setfattr -n user.kept -v yes d/closed
        setfacl -m u:4242:rw,g:4343:r d/file
        setfacl -d -m u:4242:rwx d";
    run(&bench, "source", &script.replace("\\$", "$"));
    set_mode(&bench.path("source/d/closed"), 0o400);
    bench
}

#[test]
fn attributes_and_lists_arrive_at_a_tree() {
    let bench = with_attributes();
    if is_root() {
        run(
            &bench,
            "source",
            "setfattr -n trusted.of-root -v yes d/file; setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 d/none",
        );
    }
    let wanted = listed(&bench, "source");
    assert!(wanted.contains("user.colour=0x726564") && wanted.contains("user:4242:rw-"), "{wanted}");
    let done = bench.move_all();
    assert_eq!(done.count("attributesNotKept"), 0, "{done:?}");
    assert_eq!(listed(&bench, "target"), wanted);
    bench.run_all(&["import", "postprocess"]);
    assert_eq!(listed(&bench, "target"), wanted);
}

#[test]
fn an_upload_that_goes_on_keeps_what_it_had_read() {
    let bench = with_attributes();
    bench.run_all(&["upload", "upload"]);
    bench.run_all(&["import", "postprocess"]);
    assert_eq!(listed(&bench, "target"), listed(&bench, "source"));
}

#[test]
fn what_a_user_may_not_set_is_counted() {
    if !is_root() {
        return;
    }
    let bench = with_attributes();
    run(&bench, "source", "setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 d/none");
    run(&bench, "source", "chmod -R a+rX .");
    set_mode(bench.root.path(), 0o755);
    for root in ["workspace", "target"] {
        give_to_nobody(&bench.path(root));
    }
    bench.run_all(&["upload"]);
    give_to_nobody(&bench.path("workspace"));
    set_mode(&bench.path("result"), 0o666);
    let mut lost = 0;
    for step in ["import", "postprocess"] {
        let done = bench.finish_in_place(as_nobody(&bench.command(step)));
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
        lost = if step == "postprocess" { done.count("attributesNotKept") } else { lost };
    }
    assert_eq!(lost, 1);
    assert!(listed(&bench, "target").contains("user.colour=0x726564"));
}
