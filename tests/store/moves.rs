//! What arrives is what was there.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::bench::{name, snapshot};
use crate::work::{Work, noise};

/// Small files, an empty one, one of several parts, and a folder with nothing in it.
pub fn fill(work: &Work) {
    let in_store = work.source.starts_with("s3://");
    let root = if in_store { work.bench.path("filling") } else { work.source_folder() };
    fs::create_dir_all(&root).unwrap();
    let write = |path: &str, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("a/one", b"one");
    write("a-b", b"sorts before a/one");
    write("a/two.css", b"two two");
    write("a/deep/er/three", b"3");
    write("empty", b"");
    write("100%25 & <b> 'q' \"z\" + ~ #?", b"a name that needs escaping somewhere");
    write("d/parts", &noise(11 << 20, 7));
    if in_store {
        work.server.put_tree("source/data", &root);
    } else {
        fs::create_dir_all(root.join("nothing/in/it")).unwrap();
        symlink("../away", root.join("a/to-link")).unwrap();
        fs::set_permissions(root.join("a/one"), fs::Permissions::from_mode(0o4711)).unwrap();
    }
}

#[test]
fn a_tree_arrives_in_a_bucket() {
    for staging in ["copy", "none"] {
        let work = Work::to_store(staging);
        fill(&work);
        let done = work.move_all();
        assert_eq!((done.count("files"), done.count("extra"), done.count("links")), (7, 0, 1), "{done:?}");
        work.assert_same_files();
        // The server's own list, asked by curl.
        let mut keys = work.server.keys("target");
        keys.sort();
        assert_eq!(keys.len(), 7 + 1 + 7, "{keys:?}");
        let (status, head) = work.server.curl(&["-I"], "target/some/prefix/a/one");
        assert_eq!(status, 200);
        assert!(head.to_lowercase().contains("x-amz-meta-relocationmode: 4711"), "{head}");
        let staged = work.bench.path("workspace/data").exists();
        assert_eq!(staged, staging == "copy", "whether the data rest in the workspace");
    }
}

#[test]
fn a_bucket_arrives_in_a_tree() {
    for staging in ["copy", "none"] {
        let work = Work::from_store(staging);
        fill(&work);
        let done = work.move_all();
        assert_eq!((done.count("files"), done.count("extra")), (7, 0), "{done:?}");
        work.assert_same_files();
    }
}

#[test]
fn a_bucket_arrives_in_a_bucket_with_what_is_said_about_its_objects() {
    let work = Work::between_stores("none");
    fill(&work);
    work.server.put("source/data/styled", "b{}", &["Content-Type: text/css", "x-amz-meta-colour: red"]);
    work.move_all();
    work.assert_same_files();
    let head = work.server.curl(&["-I"], "target/styled").1.to_lowercase();
    assert!(head.contains("content-type: text/css") && head.contains("x-amz-meta-colour: red"), "{head}");
    assert!(!head.contains("relocationmode"), "{head}");
}

#[test]
fn a_tree_comes_back_from_a_bucket_as_it_was() {
    let there = Work::to_store("none");
    fill(&there);
    let odd = there.source_folder().join(name(b"odd\x01\xff 100%"));
    fs::write(&odd, "odd").unwrap();
    fs::write(there.source_folder().join("odd%01"), "not odd").unwrap();
    symlink(name(b"\xfe\n"), there.source_folder().join("b-link")).unwrap();
    let shell = |folder: &Path, script: &str| {
        let output = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    shell(
        &there.source_folder(),
        "setfattr -n 'user.odd name' -v 0x00ff a/deep/er/three; setfacl -m u:4242:rw a/one; setfattr -n user.folder -v yes nothing",
    );
    shell(&there.source_folder(), "setfattr -n user.long -v $(printf %01000d 1) a/two.css");
    there.run_all(&["upload", "preprocess"]);
    let done = there.run_all(&["import"]);
    assert_eq!(done.count("attributesNotKept"), 1, "what is too long for metadata: {done:?}");
    there.run_all(&["postprocess"]);
    // The way back has another relocation, another workspace, and the same server.
    let mut back = there;
    let before = snapshot(&back.source_folder());
    for folder in ["workspace", "target"] {
        fs::remove_dir_all(back.bench.path(folder)).unwrap();
        fs::create_dir(back.bench.path(folder)).unwrap();
    }
    back.source = back.target.clone();
    back.target = back.bench.path("target").to_str().unwrap().to_owned();
    back.move_all();
    assert_eq!(snapshot(&back.bench.path("target")), before);
    shell(&back.bench.path("source"), "setfattr -x user.long a/two.css");
    let list = "for p in *; do getfattr -h -R -d -m - -e hex \"$p\"; getfacl -R -n -P \"$p\"; done";
    let (source, target) = (shell(&back.bench.path("source"), list), shell(&back.bench.path("target"), list));
    assert!(source.contains("user:4242:rw-") && source.contains("user.folder"), "{source}");
    assert_eq!(target, source);
}

#[test]
fn the_tree_digest_is_the_one_that_standard_tools_give() {
    let work = Work::to_store("none");
    fill(&work);
    let done = work.run_all(&["upload"]);
    let mut tree = blake3::Hasher::new();
    for (path, thing) in snapshot(&work.source_folder()) {
        let digest = blake3::hash(&thing.content).to_hex();
        let line = match thing.kind {
            "directory" => "d - ".to_owned(),
            "link" => format!("l {digest} "),
            _ => format!("f {digest} "),
        };
        tree.update(line.as_bytes()).update(&path).update(b"\0");
    }
    let expected = format!("tree digest blake3:{}", tree.finalize().to_hex());
    assert!(done.message().ends_with(&expected), "{} {expected}", done.message());
}

#[test]
fn what_is_in_the_bucket_already_is_judged_as_the_plan_says() {
    let work = Work::to_store("none");
    fill(&work);
    work.run_all(&["upload"]);
    work.server.put("target/some/prefix/a/one", "one", &[]);
    let import = |existing: &str| {
        let mut command = work.command("import");
        command.args(["--existing", existing]);
        work.finish(command)
    };
    let stopped = ["'a/one' exists at the target and has the same content but is not from this relocation"];
    work.run("preprocess").assert_stopped(65, &stopped);
    import("fail").assert_stopped(65, &stopped);
    assert_eq!(import("skip-equal").code, Some(0));
    work.run_all(&["postprocess"]);
    // Somebody else's, with other content.
    work.server.put("target/some/prefix/a/one", "eno", &[]);
    import("skip-equal").assert_stopped(65, &["'a/one' exists at the target and has other content"]);
    let done = import("overwrite");
    assert_eq!((done.code, done.count("replaced")), (Some(0), 1), "{done:?}");
    work.run_all(&["postprocess"]);
    work.assert_same_files();
}

#[test]
fn patterns_choose_what_is_moved_and_choosing_nothing_is_invalid() {
    let work = Work::between_stores("none");
    fill(&work);
    let upload = |patterns: &[&str]| {
        let mut command = work.command("upload");
        command.args(patterns);
        let done = work.finish(command);
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    upload(&["--exclude", "deep", "--exclude", "d/*", "--include", "*.css", "--include", "three"]);
    work.run_all(&["preprocess", "validate", "import", "postprocess"]);
    assert_eq!(work.server.keys("target"), ["a/two.css"]);
    upload(&["--include", "*.nothing", "--allow-empty"]);
    let done = work.run("validate");
    assert_eq!(done.verdict(), "INVALID", "{done:?}");
    assert!(done.message().contains("names no file, and the source has 7"), "{done:?}");
}

#[test]
fn credentials_come_from_files_and_for_each_end() {
    let work = Work::between_stores("none");
    fill(&work);
    let file = work.bench.write("credentials/secret", format!("{}\n", crate::server::SECRET));
    for step in ["upload", "preprocess", "validate", "import", "postprocess"] {
        let mut command = work.command(step);
        command.env("AWS_SECRET_ACCESS_KEY", "wrong").env("SOURCE_AWS_SECRET_ACCESS_KEY_FILE", &file);
        command.env("TARGET_AWS_SECRET_ACCESS_KEY", crate::server::SECRET);
        let done = work.finish(command);
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
    }
    work.assert_same_files();
}

#[test]
fn an_older_launch_is_refused_at_the_target() {
    let mut work = Work::to_store("none");
    fill(&work);
    work.run_all(&["upload", "import"]);
    work.bench.token -= 1;
    let older = work.run("postprocess");
    older.assert_stopped(65, &["fencing token 99 is older than 100, which the target has already seen"]);
    work.bench.token += 2;
    work.run_all(&["postprocess"]);
    assert!(work.server.keys("target").iter().all(|key| !key.contains("fence")), "nothing of ours stays");
}

#[test]
fn a_limit_on_the_rate_is_kept() {
    let work = Work::to_store("none");
    fs::write(work.source_folder().join("a"), noise(600 << 10, 3)).unwrap();
    let mut command = work.command("upload");
    command.args(["--bandwidth", "400K", "--concurrency", "1"]);
    let start = std::time::Instant::now();
    assert_eq!(work.finish(command).code, Some(0));
    // Three pieces of 256, 256 and 88 KiB: the last may start when the first two have had their time.
    assert!(start.elapsed().as_millis() >= 1200, "{:?}", start.elapsed());
}

#[test]
fn a_large_file_keeps_its_size_in_a_bucket_and_has_its_holes_again_at_a_tree() {
    let mut work = Work::to_store("copy");
    let path = work.source_folder().join("holes");
    let file = fs::File::create(&path).unwrap();
    file.set_len(70 << 20).unwrap();
    file.write_all_at(&noise(100_000, 3), 9_000_000).unwrap();
    work.move_all();
    work.assert_same_files();
    assert_eq!(work.target_folder().join("holes").metadata().unwrap().size(), 70 << 20);
    let blocks = path.metadata().unwrap().blocks();
    for staging in ["none", "copy"] {
        for folder in ["workspace", "target"] {
            let _ = fs::remove_dir_all(work.bench.path(folder));
            fs::create_dir(work.bench.path(folder)).unwrap();
        }
        let back = Work {
            source: "s3://target/some/prefix".to_owned(),
            target: work.bench.path("target").to_str().unwrap().to_owned(),
            staging,
            ..work
        };
        back.move_all();
        back.assert_same_files();
        let came = back.target_folder().join("holes").metadata().unwrap();
        assert!(came.blocks() <= blocks + 16, "{staging}: {} blocks of {blocks}", came.blocks());
        work = back;
    }
}
