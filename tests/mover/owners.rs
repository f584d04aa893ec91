//! Owners at a tree, judged by `find`.

use std::fs;
use std::os::unix::fs::{chown, lchown, symlink};
use std::process::Command;

use super::bench::{Bench, as_nobody, give_to_nobody, is_root, set_mode};

/// Owner, group, mode, type and time of everything below a folder, by `find`.
fn listed(bench: &Bench, root: &str) -> String {
    let script = r"find . -mindepth 1 -printf '%p %U:%G %m %y %T@\n' | LC_ALL=C sort";
    let output = Command::new("sh").args(["-euc", script]).current_dir(bench.path(root)).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn with_owners() -> Bench {
    let bench = Bench::new();
    for (path, mode) in [("d/plain", 0o640), ("d/setuid", 0o4755), ("d/both", 0o6711), ("d/closed", 0o400)] {
        set_mode(&bench.write(&format!("source/{path}"), path), mode);
    }
    symlink("nowhere", bench.path("source/d/link")).unwrap();
    fs::hard_link(bench.path("source/d/plain"), bench.path("source/d/plain-too")).unwrap();
    set_mode(&bench.path("source/d"), 0o2750);
    bench
}

#[test]
fn root_keeps_owners_and_the_bits_that_go_with_them() {
    if !is_root() {
        return;
    }
    let bench = with_owners();
    for (number, path) in (1..).zip(["d/plain", "d/setuid", "d/both", "d/link", "d"]) {
        let path = bench.path("source").join(path);
        lchown(&path, Some(4240 + number), Some(5240 + number)).unwrap();
    }
    set_mode(&bench.path("source/d/setuid"), 0o4755);
    set_mode(&bench.path("source/d/both"), 0o6711);
    set_mode(&bench.path("source/d"), 0o2750);
    let done = bench.move_all();
    assert_eq!((done.count("ownersNotKept"), done.count("specialBitsDropped")), (0, 0), "{done:?}");
    assert_eq!(listed(&bench, "target"), listed(&bench, "source"));
    bench.run_all(&["import", "postprocess"]);
    assert_eq!(listed(&bench, "target"), listed(&bench, "source"));
    chown(bench.path("target/d/plain"), Some(0), Some(0)).unwrap();
    let mut drop = bench.command("postprocess");
    drop.arg("--owners=drop");
    assert_eq!(bench.finish(drop).code, Some(0));
    assert!(listed(&bench, "target").contains("./d/plain 0:0 640"), "{}", listed(&bench, "target"));
}

#[test]
fn what_a_user_may_not_give_away_is_counted_and_stays_its_own() {
    if !is_root() {
        return;
    }
    let bench = with_owners();
    set_mode(bench.root.path(), 0o755);
    set_mode(&bench.path("source/d/closed"), 0o444);
    set_mode(&bench.path("source/d/plain"), 0o644);
    set_mode(&bench.path("source/d/both"), 0o6755);
    set_mode(&bench.path("source/d"), 0o755);
    for root in ["workspace", "target"] {
        give_to_nobody(&bench.path(root));
    }
    bench.write("result", "");
    set_mode(&bench.path("result"), 0o666);
    let mut last = None;
    for step in ["upload", "import", "postprocess", "postprocess"] {
        let done = bench.finish_in_place(as_nobody(&bench.command(step)));
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
        last = Some(done);
    }
    let done = last.unwrap();
    // Four files, a link and a directory; a further name is the same file.
    assert_eq!((done.count("ownersNotKept"), done.count("specialBitsDropped")), (6, 2), "{done:?}");
    assert!(listed(&bench, "target").contains("./d/both 65534:65534 755"), "{}", listed(&bench, "target"));
}

#[test]
fn a_user_gives_things_to_a_group_of_its_own_when_not_to_their_owner() {
    if !is_root() {
        return;
    }
    let bench = with_owners();
    set_mode(bench.root.path(), 0o755);
    for path in ["d/plain", "d/setuid", "d/both", "d/closed", "d"] {
        chown(bench.path("source").join(path), None, Some(4343)).unwrap();
        set_mode(&bench.path("source").join(path), 0o755);
    }
    lchown(bench.path("source/d/link"), None, Some(4343)).unwrap();
    for root in ["workspace", "target"] {
        give_to_nobody(&bench.path(root));
    }
    bench.write("result", "");
    set_mode(&bench.path("result"), 0o666);
    for step in ["upload", "import", "postprocess", "postprocess"] {
        let nobody = as_nobody(&bench.command(step));
        let mut command = Command::new(nobody.get_program());
        for word in nobody.get_args() {
            if word == "--clear-groups" {
                command.args(["--groups", "4343"])
            } else {
                command.arg(word)
            };
        }
        command.env_clear().envs(nobody.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let done = bench.finish_in_place(command);
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
        assert!(step != "postprocess" || done.count("ownersNotKept") == 6, "{done:?}");
    }
    let listed = listed(&bench, "target");
    assert!(listed.lines().all(|line| line.contains(" 65534:4343 ")), "{listed}");
}
