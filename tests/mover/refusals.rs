//! What the porter does not do, and how it says so.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bench::{Bench, as_nobody, give_to_nobody, name, set_mode, snapshot};

#[test]
fn an_empty_source_is_refused_unless_nothing_is_meant() {
    let bench = Bench::new();
    bench.run("upload").assert_stopped(65, &["the source is empty; ", "--allow-empty"]);
    let mut command = bench.command("upload");
    command.arg("--allow-empty");
    assert_eq!(bench.finish(command).code, Some(0));
    let done = bench.run("validate");
    assert_eq!((done.verdict(), done.count("files")), ("VALID", 0));
    bench.run_all(&["preprocess", "import", "postprocess"]);
    bench.assert_moved();
}

#[test]
fn a_manifest_of_nothing_is_invalid_unless_nothing_was_meant() {
    let bench = Bench::new();
    let mut command = bench.command("upload");
    command.arg("--allow-empty");
    bench.finish(command);
    let path = bench.path("workspace/manifest.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(r#""allowEmpty":true"#, r#""allowEmpty":false"#)).unwrap();
    let done = bench.run("validate");
    assert_eq!((done.code, done.verdict()), (Some(0), "INVALID"), "{done:?}");
}

#[test]
fn an_item_that_is_not_there_is_named() {
    let bench = Bench::new().with_source();
    let run = |items: &str| {
        let mut command = bench.command("upload");
        command.env("RELOCATION_ITEMS", items);
        bench.finish(command)
    };
    run(r#"["a","missing"]"#).assert_stopped(65, &["item 'missing' does not exist at the source"]);
    run(r#"["../target"]"#).assert_stopped(65, &["RELOCATION_ITEMS has a value that cannot be used", "'../target'"]);
    run("nonsense").assert_stopped(65, &["RELOCATION_ITEMS has a value"]);
    assert_eq!(run("[]").code, Some(0));
}

#[test]
fn roots_that_are_not_there_are_named() {
    let bench = Bench::new().with_source();
    fs::rename(bench.path("source"), bench.path("moved")).unwrap();
    bench.run("upload").assert_stopped(65, &["as the source: no such file or directory; mount"]);
    fs::write(bench.path("source"), "a file").unwrap();
    bench.run("upload").assert_stopped(65, &["as the source: not a directory; mount"]);
    bench.run("import").assert_stopped(65, &["there is no manifest.jsonl", "upload"]);
    bench.run("validate").assert_stopped(65, &["there is no manifest.jsonl"]);
}

#[test]
fn a_workspace_inside_the_source_is_refused() {
    let bench = Bench::new().with_source();
    for place in ["source", "source/a"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relocation-mover"));
        command.arg("--termination-log").arg(bench.path("result")).arg("upload");
        command.arg("--source").arg(bench.path("source")).arg("--workspace").arg(bench.path(place));
        bench.finish(command).assert_stopped(65, &["the workspace lies inside the source"]);
    }
}

#[test]
fn what_is_not_data_is_named_all_at_once_and_nothing_is_staged() {
    let bench = Bench::new().with_source();
    assert!(Command::new("mkfifo").arg(bench.path("source/a/fifo")).status().unwrap().success());
    bench.run("upload").assert_stopped(65, &["'a/fifo' of the source is a fifo", "remove it"]);
    let _socket = UnixListener::bind(bench.path("source/socket")).unwrap();
    let done = bench.run("upload");
    done.assert_stopped(65, &["the first of 2: 'a/fifo'", "upload-problems.txt"]);
    let report = fs::read_to_string(bench.path("workspace/reports/upload-problems.txt")).unwrap();
    assert_eq!(report.lines().count(), 2);
    assert!(report.contains("'socket' of the source is a socket"), "{report}");
    let artifact = &done.result["artifacts"][0];
    assert_eq!(artifact["path"], bench.path("workspace/reports/upload-problems.txt").to_str().unwrap());
    assert_eq!(artifact["sizeBytes"], report.len());
    assert!(!bench.path("workspace/data").exists());
}

#[test]
fn names_that_look_like_ours_are_refused_at_the_source() {
    let bench = Bench::new().with_source();
    bench.write("source/a/.relocation-tmp-0123", "left by somebody's killed import");
    bench.run("upload").assert_stopped(65, &["'a/.relocation-tmp-0123' of the source is named like"]);
}

#[test]
fn what_may_not_be_read_is_named_all_at_once() {
    let bench = Bench::new().with_source();
    set_mode(bench.root.path(), 0o755);
    bench.write("source/b/closed", "x");
    for root in ["source", "workspace"] {
        give_to_nobody(&bench.path(root));
    }
    set_mode(&bench.path("source/a"), 0o000);
    set_mode(&bench.path("source/b/closed"), 0o000);
    fs::write(bench.path("result"), "").unwrap();
    set_mode(&bench.path("result"), 0o666);
    let done = bench.finish_in_place(as_nobody(&bench.command("upload")));
    done.assert_stopped(
        65,
        &["the first of 2: cannot open 'a' of the source: permission denied; make it readable for user id"],
    );
    let report = fs::read_to_string(bench.path("workspace/reports/upload-problems.txt")).unwrap();
    assert!(report.contains("cannot read 'b/closed' of the source: permission denied"), "{report}");
    set_mode(&bench.path("source/a"), 0o700);
}

#[test]
fn a_target_that_may_not_be_written_is_named() {
    let bench = Bench::new().with_source();
    set_mode(bench.root.path(), 0o755);
    for root in ["source", "workspace"] {
        give_to_nobody(&bench.path(root));
    }
    set_mode(&bench.path("target"), 0o555);
    fs::write(bench.path("result"), "").unwrap();
    set_mode(&bench.path("result"), 0o666);
    let run = |step| bench.finish_in_place(as_nobody(&bench.command(step)));
    assert_eq!(run("upload").code, Some(0));
    for step in ["preprocess", "import"] {
        run(step).assert_stopped(65, &["of the target: permission denied; make it writable for user id"]);
    }
}

#[test]
fn a_file_that_grows_while_it_is_read_is_noticed() {
    let bench = Bench::new();
    let path = bench.write("source/log", vec![b'x'; 64 << 20]);
    let is_over = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write;
            let mut file = fs::File::options().append(true).open(&path).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                file.write_all(b"line\n").unwrap();
            }
        });
        let done = bench.run("upload");
        is_over.store(true, Ordering::Relaxed);
        done
    });
    done.assert_stopped(1, &["'log' of the source changed while it was copied"]);
    assert!(!bench.path("workspace/manifest.jsonl").exists());
    bench.move_all();
    bench.assert_moved();
}

#[test]
fn everything_in_the_way_is_named_and_nothing_is_overwritten() {
    let bench = Bench::new();
    for path in ["same", "content", "size", "d/inner", "dir-here/x", "link-here"] {
        bench.write(&format!("source/{path}"), "data");
    }
    symlink("here", bench.path("source/link")).unwrap();
    bench.write("target/same", "data");
    bench.write("target/content", "atad");
    bench.write("target/size", "data data");
    bench.write("target/d/other", "somebody's");
    bench.write("target/dir-here", "a file");
    symlink("there", bench.path("target/link")).unwrap();
    symlink("/etc/passwd", bench.path("target/link-here")).unwrap();
    bench.run_all(&["upload"]);
    let before = snapshot(&bench.path("target"));
    let done = bench.run("preprocess");
    done.assert_stopped(
        65,
        &[
            "the target cannot take the data as they are",
            "the first of 6: 'content' exists at the target and has other content",
        ],
    );
    let report = fs::read_to_string(bench.path("workspace/reports/preprocess-problems.txt")).unwrap();
    for line in [
        "'size' exists at the target and has another size",
        "'dir-here' exists at the target and is of another type",
        "'link' exists at the target and is a link to somewhere else",
        "'link-here' exists at the target and is of another type",
        "'same' exists at the target and has the same content but is not from this relocation",
    ] {
        assert!(report.contains(line), "{line} in {report}");
    }
    assert_eq!(snapshot(&bench.path("target")), before, "preprocess leaves nothing");
    bench
        .run("import")
        .assert_stopped(65, &["'content' exists at the target and has other content; nothing was overwritten"]);
    let after = snapshot(&bench.path("target"));
    for (path, thing) in before.iter().filter(|(_, thing)| thing.kind != "directory") {
        assert_eq!(after.get(path), Some(thing), "{}", path.escape_ascii());
    }
    assert!(!after.keys().any(|path| path.starts_with(b".relocation")), "{:?}", after.keys());
    // Out of the way, it goes on; what belongs to somebody else stays and is counted.
    for path in ["same", "content", "size", "dir-here", "link", "link-here"] {
        fs::remove_file(bench.path(&format!("target/{path}"))).unwrap();
    }
    let done = bench.move_all();
    assert_eq!(done.count("extra"), 1);
    fs::remove_file(bench.path("target/d/other")).unwrap();
    bench.run_all(&["postprocess"]);
    bench.assert_moved();
}

#[test]
fn a_link_in_the_way_of_a_directory_leads_nowhere() {
    let bench = Bench::new();
    bench.write("source/d/inner/file", "data");
    fs::create_dir_all(bench.path("elsewhere/inner")).unwrap();
    bench.run_all(&["upload"]);
    symlink("../elsewhere", bench.path("target/d")).unwrap();
    bench.run("import").assert_stopped(65, &["'d' exists at the target and is of another type"]);
    fs::remove_file(bench.path("target/d")).unwrap();
    fs::create_dir(bench.path("target/d")).unwrap();
    symlink("../../elsewhere/inner", bench.path("target/d/inner")).unwrap();
    bench.run("import").assert_stopped(65, &["'d/inner' exists at the target"]);
    assert_eq!(fs::read_dir(bench.path("elsewhere/inner")).unwrap().count(), 0);
}

#[test]
fn a_link_in_the_stage_is_not_followed_either() {
    let bench = Bench::new();
    bench.write("source/d/file", "data");
    bench.run_all(&["upload"]);
    let staged = bench.path("workspace/data/d");
    fs::rename(&staged, bench.path("moved")).unwrap();
    symlink(bench.path("moved"), &staged).unwrap();
    bench.run("import").assert_stopped(65, &["the staged copy of 'd' is missing; start over with a retry"]);
    assert_eq!(bench.run("validate").verdict(), "INVALID");
    assert!(!bench.path("target/d/file").exists());
}

#[test]
fn an_older_launch_is_refused_everywhere_and_a_newer_one_is_not() {
    let mut bench = Bench::new().with_source();
    bench.run_all(&["upload", "import"]);
    bench.token = 99;
    for step in ["import", "preprocess", "postprocess"] {
        bench.run(step).assert_stopped(65, &["fencing token 99 is older than 100, which the target has already seen"]);
    }
    bench.run("upload").assert_stopped(65, &["older than 100, which the workspace has already seen"]);
    bench.token = 101;
    bench.move_all();
    bench.assert_moved();
    // Also after the end, and another relocation has tokens of its own.
    bench.token = 100;
    bench.run("import").assert_stopped(65, &["fencing token 100 is older than 101"]);
    let mut command = bench.command("import");
    command.env("RELOCATION_UUID", "another").arg("--existing=skip-equal");
    assert_eq!(bench.finish(command).code, Some(0));
    let mut command = bench.command("import");
    command.env("RELOCATION_UUID", "a-retry").env("RELOCATION_ORIGIN", "11111111-2222-3333-4444-555555555555");
    bench.finish(command).assert_stopped(65, &["older than 101"]);
}

#[test]
fn many_relocations_into_one_volume_do_not_fill_its_attributes() {
    let bench = Bench::new().with_source();
    bench.run_all(&["upload"]);
    for number in 0..100 {
        let mut command = bench.command("import");
        command.arg("--existing=skip-equal").env("RELOCATION_UUID", format!("relocation-{number}"));
        command.env("RELOCATION_FENCING_TOKEN", (1_700_000_000 + number).to_string());
        assert_eq!(bench.finish(command).code, Some(0));
    }
    let done = bench.run("postprocess");
    assert_eq!(done.code, Some(0), "{done:?}");
    bench.assert_moved();
}

#[test]
fn a_damaged_stage_is_invalid_and_is_not_imported() {
    type Damage = fn(&Bench);
    let damages: [(&str, Damage); 7] = [
        ("other content", |bench| fs::write(bench.path("workspace/data/a/one"), "eno").unwrap()),
        ("another size", |bench| fs::write(bench.path("workspace/data/a/one"), "").unwrap()),
        ("is missing", |bench| fs::remove_file(bench.path("workspace/data/a/one")).unwrap()),
        ("is missing", |bench| fs::remove_dir_all(bench.path("workspace/data/a")).unwrap()),
        ("another type", |bench| {
            fs::remove_file(bench.path("workspace/data/a/one")).unwrap();
            fs::create_dir(bench.path("workspace/data/a/one")).unwrap();
        }),
        ("is not the same file as its other name", |bench| {
            fs::remove_file(bench.path("workspace/data/z")).unwrap();
            fs::copy(bench.path("workspace/data/empty"), bench.path("workspace/data/z")).unwrap();
        }),
        ("is missing", |bench| fs::remove_dir_all(bench.path("workspace/data")).unwrap()),
    ];
    for (words, damage) in damages {
        let bench = Bench::new().with_source();
        fs::hard_link(bench.path("source/empty"), bench.path("source/z")).unwrap();
        bench.run_all(&["upload"]);
        damage(&bench);
        let done = bench.run("validate");
        assert_eq!((done.code, done.verdict()), (Some(0), "INVALID"), "{done:?}");
        assert!(done.message().contains(words), "{words}: {}", done.message());
        if words == "is not the same file as its other name" {
            // The same bytes twice: nothing that import could get wrong.
            continue;
        }
        let done = bench.run("import");
        assert_eq!(done.code, Some(65), "{words}: {done:?}");
        let preprocessed = bench.run("preprocess");
        assert_eq!(preprocessed.code, Some(if words == "other content" { 0 } else { 65 }), "{words}: {preprocessed:?}");
    }
}

#[test]
fn something_added_to_the_stage_or_a_link_turned_elsewhere_is_invalid() {
    let bench = Bench::new().with_source();
    bench.run_all(&["upload"]);
    bench.write("workspace/data/added", "x");
    let done = bench.run("validate");
    assert_eq!((done.verdict(), done.count("extra")), ("INVALID", 1));
    fs::remove_file(bench.path("workspace/data/added")).unwrap();
    fs::remove_file(bench.path("workspace/data/a/link")).unwrap();
    symlink("/etc", bench.path("workspace/data/a/link")).unwrap();
    let done = bench.run("validate");
    assert_eq!((done.verdict(), done.count("different")), ("INVALID", 1));
    assert!(done.message().contains("'a/link' is a link to somewhere else"), "{done:?}");
    // The report tells of the last run only.
    let report = fs::read_to_string(bench.path("workspace/reports/validate-problems.txt")).unwrap();
    assert_eq!(report.lines().count(), 1, "{report}");
}

#[test]
fn a_manifest_that_was_tampered_with_is_refused() {
    type Tamper = fn(&str) -> String;
    let tampered: [(&str, Tamper); 7] = [
        ("its last line is missing", |text| text[..=text.trim_end().rfind('\n').unwrap()].to_owned()),
        ("", |text| text[..text.len() - 5].to_owned()),
        ("a path leaves the tree", |text| text.replace(r#""path":"a/one""#, r#""path":"a/../../one""#)),
        ("a path leaves the tree", |text| text.replace(r#""path":"a/one""#, r#""path":"/one""#)),
        ("out of order", |text| text.replace(r#""path":"a/one""#, r#""path":"zz""#)),
        ("does not agree", |text| text.replace(r#""size":3"#, r#""size":4"#)),
        ("its format is not", |text| text.replace("relocation-manifest/1", "relocation-manifest/9")),
    ];
    for (words, tamper) in tampered {
        let bench = Bench::new().with_source();
        bench.run_all(&["upload"]);
        let path = bench.path("workspace/manifest.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        let changed = tamper(&text);
        assert_ne!(changed, text);
        fs::write(&path, changed).unwrap();
        let done = bench.run("validate");
        assert_eq!((done.code, done.verdict()), (Some(0), "INVALID"), "{words}: {done:?}");
        assert!(done.message().contains(words), "{words}: {}", done.message());
        bench.run("import").assert_stopped(65, &["manifest.jsonl of the workspace is damaged"]);
        assert!(!bench.path("one").exists() && !bench.path("target/one").exists());
    }
}

#[test]
fn a_target_changed_after_the_import_is_noticed() {
    let bench = Bench::new().with_source();
    bench.run_all(&["upload", "import"]);
    fs::write(bench.path("target/a/one"), "eno").unwrap();
    fs::remove_file(bench.path("target/empty")).unwrap();
    fs::remove_dir(bench.path("target/nothing/in/it")).unwrap();
    let done = bench.run("postprocess");
    done.assert_stopped(
        65,
        &["paths of the target are not what was imported", "the first of 3: 'a/one' of the target has other content"],
    );
    let report = fs::read_to_string(bench.path("workspace/reports/postprocess-problems.txt")).unwrap();
    assert!(report.contains("'nothing/in/it' is missing at the target"), "{report}");
}

#[test]
fn hostile_names_stay_in_their_place() {
    let bench = Bench::new();
    let mut hostile = b"\n{\"verdict\":\"VALID\"}\x1b]0;x\x07\"\\\xff".to_vec();
    hostile.resize(255, 1);
    for directory in ["target", "source"] {
        let deep = bench.path(directory).join(name(&hostile)).join(name(&hostile)).join(name(&hostile));
        fs::create_dir_all(deep.parent().unwrap()).unwrap();
        fs::write(deep, directory).unwrap();
    }
    bench.run_all(&["upload"]);
    for step in ["preprocess", "import"] {
        let done = bench.run(step);
        done.assert_stopped(65, &["exists at the target"]);
        assert!(!done.message().chars().any(char::is_control), "{}", done.message());
        assert!(!done.stderr.trim_end().contains(['\x1b', '\x07']), "{}", done.stderr);
        assert_eq!(done.verdict(), "");
    }
}

#[test]
fn a_wrong_command_line_is_permanent_and_says_why() {
    for arguments in [&["upload"][..], &["--nonsense"], &[], &["import", "--target"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relocation-mover"));
        command.args(arguments);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(65), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("the command line is wrong: "), "{output:?}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for argument in ["--help", "--version"] {
        let output = Command::new(env!("CARGO_BIN_EXE_relocation-mover")).arg(argument).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn without_a_place_for_the_result_it_is_printed() {
    let bench = Bench::new().with_source();
    let mut command = Command::new(env!("CARGO_BIN_EXE_relocation-mover"));
    command.args(["--termination-log", "/nowhere/at/all", "upload", "--source"]).arg(bench.path("source"));
    command.env("RELOCATION_WORKSPACE", bench.path("workspace"));
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["counts"]["files"], 3);
    assert_eq!(lines[lines.len() - 2]["progress"]["done"], 3);
}

#[test]
fn every_step_ends_its_progress_at_the_total() {
    let bench = Bench::new().with_source();
    for step in ["upload", "preprocess", "validate", "import", "postprocess"] {
        let done = bench.run(step);
        let last = done.stdout.lines().last().unwrap();
        assert_eq!(last, r#"{"progress":{"done":3,"total":3,"unit":"files"}}"#, "{step}");
    }
}

#[test]
fn the_source_is_only_read() {
    let bench = Bench::new().with_source();
    let before = snapshot(&bench.path("source"));
    let ctime = |path: &str| fs::metadata(bench.path(path)).map(|facts| (facts.ctime(), facts.ctime_nsec())).unwrap();
    let times = [ctime("source"), ctime("source/a"), ctime("source/a/one")];
    bench.move_all();
    assert_eq!(snapshot(&bench.path("source")), before);
    assert_eq!([ctime("source"), ctime("source/a"), ctime("source/a/one")], times);
}
