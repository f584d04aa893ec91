//! What survives a move.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::bench::{Bench, as_nobody, give_to_nobody, name, set_mode, snapshot};

#[test]
fn a_tree_with_a_bit_of_everything_survives() {
    let bench = Bench::new().with_source();
    let done = bench.move_all();
    assert_eq!(done.count("files"), 3);
    assert_eq!(done.count("directories"), 4);
    assert_eq!(done.count("links"), 1);
    assert_eq!(done.count("extra"), 0);
    bench.assert_moved();
}

#[test]
fn odd_names_survive() {
    let bench = Bench::new();
    let names: [&[u8]; 12] = [
        b" ",
        b"a\nb",
        b"\xff\xfe",
        b"-rf",
        b"*",
        b"\\",
        b"\"'`$(x)",
        b"\x1b[31m",
        "\u{202e}x".as_bytes(),
        b"..a",
        b"...",
        &[b'n'; 255],
    ];
    for odd in names {
        fs::create_dir_all(bench.path("source").join(name(odd))).unwrap();
        for inner in names {
            fs::write(bench.path("source").join(name(odd)).join(name(inner)), inner).unwrap();
        }
    }
    bench.move_all();
    bench.assert_moved();
}

#[test]
fn links_are_moved_and_never_followed() {
    let bench = Bench::new();
    bench.write("outside/secret", "secret");
    let targets = ["nowhere", "/etc/passwd", "../outside/secret", "..", ".", "/", "a link with\na newline"];
    for (number, target) in targets.iter().enumerate() {
        symlink(target, bench.path(&format!("source/{number}"))).unwrap();
    }
    symlink(bench.path("outside"), bench.path("source/directory")).unwrap();
    let done = bench.move_all();
    assert_eq!(done.count("links"), 8);
    assert_eq!(done.count("files"), 0);
    bench.assert_moved();
}

#[test]
fn hard_links_stay_one_file() {
    let bench = Bench::new();
    let first = bench.write("source/b/first", "shared");
    fs::hard_link(&first, bench.path("source/a")).unwrap();
    fs::hard_link(&first, bench.path("source/b/z")).unwrap();
    // One more name outside, so not all names are ever seen.
    fs::hard_link(&first, bench.path("outside")).unwrap();
    bench.write("source/c", "shared");
    let done = bench.move_all();
    assert_eq!(done.count("bytes"), 12, "each file counts once");
    bench.assert_moved();
    let ino = |path: &str| fs::metadata(bench.path(path)).unwrap().ino();
    assert_eq!(ino("target/a"), ino("target/b/z"));
    assert_ne!(ino("target/a"), ino("target/c"));
}

#[test]
fn holes_stay_holes() {
    let bench = Bench::new();
    let path = bench.write("source/sparse", "");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"in the middle", 512 << 20).unwrap();
    drop(file);
    bench.run_all(&["upload", "preprocess", "validate", "import", "postprocess"]);
    let facts = fs::metadata(bench.path("target/sparse")).unwrap();
    assert_eq!(facts.size(), 1 << 30);
    assert!(facts.blocks() * 512 < 1 << 20, "{} blocks", facts.blocks());
}

#[test]
fn modes_and_times_survive_also_on_read_only_and_closed_directories() {
    let bench = Bench::new();
    let times = [(0, 0), (1, 999_999_999), (4_000_000_000, 1)];
    // A file that its owner may not read is for root only to move.
    let closed = if super::bench::is_root() { 0o000 } else { 0o400 };
    for (number, mode) in [closed, 0o444, 0o555, 0o700, 0o1777, 0o2755, 0o4755, 0o6711].into_iter().enumerate() {
        let file = bench.write(&format!("source/d{number}/d/file"), "x");
        let (seconds, nanoseconds) = times[number % 3];
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        let touch = |path: &Path| File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        touch(&file);
        set_mode(&file, mode);
        for dir in [format!("source/d{number}/d"), format!("source/d{number}")] {
            touch(&bench.path(&dir));
            set_mode(&bench.path(&dir), mode | 0o500);
        }
    }
    bench.move_all();
    bench.assert_moved();
    // Once more, now that everything at the target is read-only.
    bench.run_all(&["import", "postprocess"]);
    bench.assert_moved();
}

#[test]
fn a_read_only_tree_moves_without_privileges_and_can_be_finished_twice() {
    let bench = Bench::new();
    set_mode(bench.root.path(), 0o755);
    bench.write("source/d/e/file", "x");
    bench.write("source/d/run", "y");
    for (path, mode) in [("d/e/file", 0o400), ("d/run", 0o555), ("d/e", 0o555), ("d", 0o555)] {
        set_mode(&bench.path(&format!("source/{path}")), mode);
    }
    for root in ["source", "workspace", "target"] {
        give_to_nobody(&bench.path(root));
    }
    bench.write("result", "");
    set_mode(&bench.path("result"), 0o666);
    let run = |step: &str| {
        let done = bench.finish_in_place(as_nobody(&bench.command(step)));
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
        done
    };
    for step in ["upload", "upload", "preprocess", "validate", "import", "postprocess"] {
        run(step);
    }
    bench.assert_moved();
    // Something is lost afterwards, in a directory that has become read-only: what is ours can be put back.
    set_mode(&bench.path("target/d"), 0o755);
    fs::remove_file(bench.path("target/d/run")).unwrap();
    set_mode(&bench.path("target/d"), 0o555);
    assert_eq!(run("import").count("written"), 1);
    run("postprocess");
    bench.assert_moved();
}

#[test]
fn directories_that_are_closed_to_their_own_owner_are_closed_last() {
    let bench = Bench::new();
    set_mode(bench.root.path(), 0o755);
    bench.write("source/d/e/f/file", "x");
    for root in ["workspace", "target"] {
        give_to_nobody(&bench.path(root));
    }
    // At the source the group may read; at the target we are the owner, who may not.
    let mode = if super::bench::is_root() { 0o050 } else { 0o550 };
    for dir in ["source/d/e/f", "source/d/e", "source/d"] {
        std::os::unix::fs::chown(bench.path(dir), None, super::bench::is_root().then_some(super::bench::NOBODY))
            .unwrap();
        set_mode(&bench.path(dir), mode);
    }
    fs::write(bench.path("result"), "").unwrap();
    set_mode(&bench.path("result"), 0o666);
    for step in ["upload", "import", "postprocess", "import", "postprocess"] {
        let done = bench.finish_in_place(as_nobody(&bench.command(step)));
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
    }
    bench.assert_moved();
}

#[test]
fn setuid_and_setgid_go_where_the_owner_is_another() {
    let bench = Bench::new();
    let path = bench.write("source/program", "x");
    set_mode(&path, 0o6755);
    bench.run_all(&["upload"]);
    let manifest = bench.path("workspace/manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    let uid = fs::metadata(&path).unwrap().uid();
    fs::write(&manifest, text.replace(&format!(r#""uid":{uid}"#), r#""uid":4242"#)).unwrap();
    bench.run_all(&["import"]);
    let mut postprocess = bench.command("postprocess");
    postprocess.arg("--owners=drop");
    let done = bench.finish(postprocess);
    assert_eq!(done.count("specialBitsDropped"), 1);
    assert_eq!(fs::metadata(bench.path("target/program")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn items_select_sub_trees() {
    let bench = Bench::new();
    bench.write("source/acme/a", "a");
    bench.write("source/acme-2/b", "b");
    bench.write("source/other/c", "c");
    for step in ["upload", "preprocess", "validate", "import", "postprocess"] {
        let mut command = bench.command(step);
        command.env("RELOCATION_ITEMS", r#"["acme-2","acme"]"#);
        let done = bench.finish(command);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    fs::remove_dir_all(bench.path("source/other")).unwrap();
    let names: Vec<_> = snapshot(&bench.path("target")).into_keys().collect();
    assert_eq!(names, snapshot(&bench.path("source")).into_keys().collect::<Vec<_>>());
}

#[test]
fn a_volumes_own_lost_and_found_is_not_data() {
    let bench = Bench::new().with_source();
    fs::create_dir(bench.path("source/lost+found")).unwrap();
    set_mode(&bench.path("source/lost+found"), 0o700);
    bench.move_all();
    // One that does not belong to root is a directory like any other.
    assert_eq!(bench.path("target/lost+found").exists(), !super::bench::is_root());
    // Deeper down it is a directory like any other.
    fs::create_dir(bench.path("source/a/lost+found")).unwrap();
    bench.move_all();
    assert!(bench.path("target/a/lost+found").exists());
}

#[test]
fn very_deep_trees_survive() {
    let bench = Bench::new();
    let depth = 300;
    let mut path = bench.path("source");
    for _ in 0..depth {
        path.push("a-rather-long-name-for-a-dir");
    }
    // Longer than any path the kernel takes, so it is made one directory at a time.
    let status = std::process::Command::new("sh")
        .args(["-c", "i=0; while [ $i -lt 300 ]; do mkdir a-rather-long-name-for-a-dir && cd -P a-rather-long-name-for-a-dir || exit 1; i=$((i+1)); done; echo deep > file"])
        .current_dir(bench.path("source"))
        .status()
        .unwrap();
    assert!(status.success());
    assert!(path.as_os_str().len() > 4096);
    let done = bench.move_all();
    assert_eq!((done.count("files"), done.count("directories")), (1, depth));
}

#[test]
fn the_manifest_does_not_depend_on_the_order_of_the_directory() {
    let (one, two) = (Bench::new(), Bench::new());
    let names = ["a", "a-b", "a.b", "b", "a0"];
    for (bench, names) in [(&one, names.to_vec()), (&two, names.into_iter().rev().collect())] {
        for name in names {
            bench.write(&format!("source/{name}x/{name}"), name);
        }
        fs::create_dir_all(bench.path("source/a")).unwrap();
        bench.write("source/a/z", "z");
    }
    let digest = |bench: &Bench| {
        let done = bench.run_all(&["upload"]);
        done.message().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(digest(&one), digest(&two));
    let manifest = fs::read_to_string(one.path("workspace/manifest.jsonl")).unwrap();
    let paths: Vec<String> = manifest
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].as_str().map(str::to_owned))
        .collect();
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(paths, sorted);
    assert_eq!(paths.len(), 12);
}

#[test]
fn the_tree_digest_is_the_documented_one() {
    let bench = Bench::new().with_source();
    fs::write(bench.path("source").join(name(b"\xff")), "raw").unwrap();
    let done = bench.run_all(&["upload"]);
    let mut hasher = blake3::Hasher::new();
    for (path, thing) in snapshot(&bench.path("source")) {
        let (letter, digest) = match thing.kind {
            "directory" => ("d", "-".to_owned()),
            "link" => ("l", blake3::hash(&thing.content).to_hex().to_string()),
            _ => ("f", blake3::hash(&thing.content).to_hex().to_string()),
        };
        hasher.update(format!("{letter} {digest} ").as_bytes());
        hasher.update(&path);
        hasher.update(b"\0");
    }
    let expected = format!("tree digest blake3:{}", hasher.finalize().to_hex());
    assert!(done.message().ends_with(&expected), "{} {expected}", done.message());
}

/// What a random tree is made of.
#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, u32),
    Link(Vec<u8>),
    /// A further name of the file made before, if there is one.
    Again,
    Directory(Vec<(Vec<u8>, Node)>, u32),
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(b'a'), 2 => Just(b'-'), 1 => Just(b'\n'), 1 => Just(0xff), 1 => Just(b' '), 4 => 1..=255u8];
    let name =
        prop::collection::vec(byte, 1..6).prop_map(|bytes| bytes.into_iter().filter(|byte| *byte != b'/').collect());
    name.prop_filter("a name", |name: &Vec<u8>| !matches!(name.as_slice(), b"" | b"." | b".."))
}

fn any_tree() -> impl Strategy<Value = Vec<(Vec<u8>, Node)>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..64);
    let leaf = prop_oneof![
        4 => (bytes, 0..0o1000u32).prop_map(|(bytes, mode)| Node::File(bytes, mode)),
        1 => Just(Node::File(vec![b'x'; 300_000], 0o644)),
        1 => prop::collection::vec(1..=255u8, 1..20).prop_map(Node::Link),
        1 => Just(Node::Again),
    ];
    let node = leaf.prop_recursive(4, 40, 6, |inner| {
        (prop::collection::vec((any_name(), inner), 0..6), 0..0o1000u32)
            .prop_map(|(nodes, mode)| Node::Directory(nodes, mode | 0o700))
    });
    prop::collection::vec((any_name(), node), 1..6)
}

fn build(dir: &Path, nodes: &[(Vec<u8>, Node)], last: &mut Option<std::path::PathBuf>) {
    for (own_name, node) in nodes {
        let path = dir.join(name(own_name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match node {
            Node::File(content, mode) => {
                fs::write(&path, content).unwrap();
                set_mode(&path, mode | 0o400);
                *last = Some(path);
            }
            Node::Link(target) => symlink(name(target), &path).unwrap(),
            Node::Again => {
                if let Some(last) = last {
                    fs::hard_link(last, &path).unwrap();
                }
            }
            Node::Directory(nodes, mode) => {
                fs::create_dir(&path).unwrap();
                build(&path, nodes, last);
                set_mode(&path, *mode);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_survives(tree in any_tree()) {
        let bench = Bench::quick();
        build(&bench.path("source"), &tree, &mut None);
        if fs::read_dir(bench.path("source")).unwrap().next().is_none() {
            return Ok(());
        }
        bench.move_all();
        bench.assert_moved();
    }

    /// The source changes between two attempts in every way there is; the second attempt stages the second source and nothing else.
    #[test]
    fn any_tree_replaces_any_other_in_the_workspace(before in any_tree(), after in any_tree()) {
        let bench = Bench::quick();
        let keep = bench.path("source/kept");
        fs::write(&keep, "kept").unwrap();
        build(&bench.path("source"), &before, &mut None);
        bench.run_all(&["upload"]);
        fs::remove_dir_all(bench.path("source")).unwrap();
        fs::create_dir(bench.path("source")).unwrap();
        fs::write(&keep, "kept").unwrap();
        build(&bench.path("source"), &after, &mut None);
        bench.move_all();
        bench.assert_moved();
    }
}

#[test]
fn without_a_staged_copy_a_tree_arrives_as_it_was() {
    let bench = Bench::new().with_source();
    fs::hard_link(bench.path("source/a/one"), bench.path("source/other")).unwrap();
    fs::File::create(bench.path("source/holes")).unwrap().set_len(3 << 20).unwrap();
    for step in ["upload", "preprocess", "validate", "import", "postprocess"] {
        let mut command = bench.command(step);
        if step == "upload" {
            command.arg("--staging=none");
        }
        if matches!(step, "validate" | "import") {
            command.arg("--source").arg(bench.path("source"));
        }
        let done = bench.finish(command);
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
        assert!(step != "validate" || done.verdict() == "VALID", "{done:?}");
    }
    bench.assert_moved();
    assert!(!bench.path("workspace/data").exists());
}

#[test]
fn what_is_at_the_target_already_is_judged_as_the_plan_says() {
    let bench = Bench::new().with_source();
    bench.run_all(&["upload"]);
    bench.write("target/a/one", "one");
    let run = |step: &str, existing: &str| {
        let mut command = bench.command(step);
        command.args(["--existing", existing]);
        bench.finish(command)
    };
    for step in ["preprocess", "import"] {
        run(step, "fail")
            .assert_stopped(65, &["'a/one' exists at the target and has the same content but is not from"]);
        assert_eq!(run(step, "skip-equal").code, Some(0));
    }
    bench.write("target/a/one", "eno");
    for step in ["preprocess", "import"] {
        run(step, "skip-equal").assert_stopped(65, &["'a/one' exists at the target and has other content"]);
    }
    assert_eq!(run("preprocess", "overwrite").code, Some(0));
    let done = run("import", "overwrite");
    assert_eq!((done.code, done.count("replaced")), (Some(0), 1), "{done:?}");
    bench.run_all(&["postprocess"]);
    bench.assert_moved();
    // What it wrote itself is never in question.
    assert_eq!(run("import", "fail").code, Some(0));
}

#[test]
fn patterns_leave_out_what_they_name() {
    let bench = Bench::new().with_source();
    let mut command = bench.command("upload");
    command.args(["--exclude", "nothing", "--exclude", "a/two"]);
    assert_eq!(bench.finish(command).code, Some(0));
    bench.run_all(&["preprocess", "validate", "import", "postprocess"]);
    let arrived: Vec<_> = snapshot(&bench.path("target")).into_keys().collect();
    assert_eq!(arrived, [&b"a"[..], b"a/link", b"a/one", b"empty"]);
}
