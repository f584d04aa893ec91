//! A workspace that only one identity opens, judged by `grep`, `age` and `zstd`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::bench::{Bench, Done, Keys};
use super::kills::wait_until;

/// What no file of a sealed workspace may hold, be it content, a name or where a link points.
const KNOWN: [&str; 5] = ["plaintext-7141", "file-7141", "folder-7141", "link-7141", "away-7141"];

fn with_known_source(bench: &Bench) {
    bench.write("source/folder-7141/file-7141", "plaintext-7141 ".repeat(3000));
    bench.write("source/folder-7141/empty", "");
    bench.write("source/small", "plaintext-7141");
    fs::create_dir_all(bench.path("source/nothing/in/it")).unwrap();
    symlink("../away-7141", bench.path("source/folder-7141/link-7141")).unwrap();
    fs::hard_link(bench.path("source/small"), bench.path("source/folder-7141/further")).unwrap();
    wait_for_the_clock();
}

/// What grep finds in the bytes and names of everything below a folder.
fn found_in(folder: &Path) -> String {
    let patterns: Vec<&str> = KNOWN.iter().flat_map(|known| ["-e", known]).collect();
    let grep = Command::new("grep").arg("-rlaF").args(&patterns).arg(folder).output().unwrap();
    let find = Command::new("find").arg(folder).output().unwrap();
    let names = String::from_utf8_lossy(&find.stdout).into_owned();
    let named: Vec<&str> = names.lines().filter(|line| KNOWN.iter().any(|known| line.contains(known))).collect();
    String::from_utf8_lossy(&grep.stdout).into_owned() + &named.join("\n")
}

/// Opens something by the tools `age` and `zstd`.
fn open(keys: &Keys, path: &Path) -> Vec<u8> {
    let script = r#"age --decrypt --identity "$1" "$2" | zstd --decompress --stdout"#;
    let output =
        Command::new("bash").args(["-euo", "pipefail", "-c", script, "-"]).arg(&keys.identity).arg(path).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The lines of a sealed list, block by block, by the same tools.
fn lines_of(keys: &Keys, list: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(list).unwrap();
    let part = list.with_extension("part");
    let mut lines = Vec::new();
    for block in text.split_inclusive("-----END AGE ENCRYPTED FILE-----\n") {
        fs::write(&part, block).unwrap();
        lines.extend(open(keys, &part));
    }
    fs::remove_file(&part).unwrap();
    String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The part of an identity that says which it is.
fn secret_of(keys: &Keys) -> String {
    let text = fs::read_to_string(&keys.identity).unwrap();
    text.lines().find_map(|line| line.strip_prefix("AGE-SECRET-KEY-1")).unwrap().to_owned()
}

/// Waits until what was just written cannot change again without its times showing it.
fn wait_for_the_clock() {
    let start = std::time::Instant::now();
    wait_until(|| start.elapsed() > std::time::Duration::from_millis(100));
}

/// The packed files.
fn packed(bench: &Bench) -> Vec<PathBuf> {
    let find = Command::new("find").arg(bench.path("workspace/data")).args(["-type", "f"]).output().unwrap();
    let mut files: Vec<PathBuf> = String::from_utf8(find.stdout).unwrap().lines().map(PathBuf::from).collect();
    files.sort();
    files
}

/// The packed file of a path.
fn packed_of(bench: &Bench, path: &str) -> PathBuf {
    let keys = bench.keys.as_ref().unwrap();
    let lines = lines_of(keys, &bench.path("workspace/manifest.jsonl"));
    let entry = lines.iter().find(|line| line["path"] == path).unwrap();
    let (folder, name) = entry["stored"].as_str().unwrap().split_at(2);
    bench.path("workspace/data").join(folder).join(name)
}

#[test]
fn a_sealed_workspace_holds_no_known_content_and_no_known_name_after_any_step() {
    let mut bench = Bench::new().sealed();
    with_known_source(&bench);
    // An attempt before there was a recipient leaves all of it in the clear.
    let keys = bench.keys.take();
    bench.run_all(&["upload"]);
    bench.keys = keys;
    // So does one that was killed.
    bench.write("workspace/manifest.jsonl.merged", r#"{"path":"file-7141"}"#);
    bench.write("workspace/upload.checkpoint.json", r#"{"path":"file-7141"}"#);
    assert!(found_in(&bench.path("workspace")).contains("file-7141"), "the search finds what is there");
    // A problem of the target goes into a report, which is sealed too.
    bench.write("target/small", "somebody else's");
    bench.write("target/folder-7141/file-7141", "somebody else's");
    for step in ["upload", "preprocess"] {
        let done = bench.run(step);
        assert_eq!(done.code, Some(if step == "upload" { 0 } else { 65 }), "{done:?}");
        assert_eq!(found_in(&bench.path("workspace")), "", "{step}");
    }
    assert!(bench.path("workspace/reports/preprocess-problems.txt").metadata().unwrap().len() > 0);
    fs::remove_dir_all(bench.path("target")).unwrap();
    fs::create_dir(bench.path("target")).unwrap();
    for step in ["upload", "preprocess", "validate", "import", "postprocess"] {
        let done = bench.run_all(&[step]);
        assert!(step != "validate" || done.verdict() == "VALID", "{done:?}");
        assert_eq!(found_in(&bench.path("workspace")), "", "{step}");
    }
    bench.assert_moved();
}

#[test]
fn age_and_zstd_open_what_is_sealed() {
    let bench = Bench::new().sealed();
    with_known_source(&bench);
    bench.run_all(&["upload", "import"]);
    let keys = bench.keys.as_ref().unwrap();
    for path in ["folder-7141/file-7141", "folder-7141/empty", "small"] {
        assert_eq!(open(keys, &packed_of(&bench, path)), fs::read(bench.path("source").join(path)).unwrap());
    }
    assert_eq!(packed_of(&bench, "small"), packed_of(&bench, "folder-7141/further"));
    let journal = lines_of(keys, &bench.path("workspace/import.journal.jsonl"));
    assert!(journal.iter().any(|line| line["file"] == "folder-7141/further"), "{journal:?}");
    // With another identity neither opens anything.
    let other = Keys::make(bench.path("other"));
    let wrong = Command::new("age").arg("-d").arg("-i").arg(&other.identity).arg(packed_of(&bench, "small")).output();
    assert!(!wrong.unwrap().status.success());
}

#[test]
fn zstd_opens_what_is_only_compressed() {
    let bench = Bench::new();
    with_known_source(&bench);
    let upload = || {
        let mut command = bench.command("upload");
        command.arg("--compress");
        bench.finish(command)
    };
    assert_eq!(upload().code, Some(0));
    let done = upload();
    assert_eq!(done.count("alreadyStaged"), 3, "{done:?}");
    let sizes: u64 = packed(&bench).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(sizes < 1000, "{sizes} bytes");
    for path in packed(&bench) {
        let plain = Command::new("zstd").args(["--decompress", "--stdout"]).arg(path).output().unwrap();
        assert!(plain.status.success() && (plain.stdout.is_empty() || plain.stdout.starts_with(b"plaintext-7141")));
    }
    bench.run_all(&["preprocess", "validate", "import", "postprocess"]);
    bench.assert_moved();
}

#[test]
fn without_the_identity_nothing_opens_and_nothing_says_it() {
    let mut bench = Bench::new().sealed();
    with_known_source(&bench);
    bench.run_all(&["upload"]);
    let right = bench.keys.clone().unwrap();
    let other = Keys::make(bench.path("other"));
    let secrets: Vec<String> = [&right, &other].into_iter().map(secret_of).collect();
    let run = |bench: &Bench, step: &str| -> Done {
        let done = bench.run(step);
        let said = format!("{} {} {}", done.stdout, done.stderr, done.result);
        assert!(!secrets.iter().any(|secret| said.contains(secret)) && !said.contains("NOTREALLY"), "{said}");
        done
    };
    for step in ["preprocess", "validate", "import", "postprocess"] {
        bench.keys = None;
        run(&bench, step).assert_stopped(65, &["what rests in the workspace is sealed, and no age identity was given"]);
        bench.keys = Some(other.clone());
        run(&bench, step).assert_stopped(65, &["sealed, and the given age identity is not one of its recipients'"]);
    }
    // Sealed to one and opened by another: the later steps would stop, so this one does.
    bench.keys = Some(Keys { recipient: right.recipient.clone(), identity: other.identity.clone() });
    run(&bench, "upload").assert_stopped(65, &["the given age identity is not one of its recipients'"]);
    bench.keys = Some(Keys { identity: bench.path("nowhere"), ..right.clone() });
    run(&bench, "upload").assert_stopped(65, &["the age identity cannot be used: its file", "cannot be read"]);
    bench.keys = Some(Keys { identity: "AGE-SECRET-KEY-1NOTREALLYONE".into(), ..right.clone() });
    run(&bench, "upload").assert_stopped(65, &["the age identity cannot be used: it was given itself where"]);
    let broken = bench.write("broken", "AGE-SECRET-KEY-1NOTREALLYONE\n");
    bench.keys = Some(Keys { identity: broken, ..right.clone() });
    run(&bench, "upload").assert_stopped(65, &["the age identity cannot be used: it has a line that is not"]);
    bench.keys = None;
    let mut secret_as_recipient = bench.command("upload");
    secret_as_recipient.args(["--recipient", "AGE-SECRET-KEY-1NOTREALLYONE"]);
    let done = bench.finish(secret_as_recipient);
    assert!(done.code == Some(65) && done.stdout.contains("a recipient is age1"), "{done:?}");
    assert!(!format!("{done:?}").contains("NOTREALLY"), "{done:?}");
    let mut secret_as_word = bench.command("upload");
    secret_as_word.arg("AGE-SECRET-KEY-1NOTREALLYONE");
    let done = bench.finish(secret_as_word);
    assert!(done.code == Some(65) && done.stdout.contains("it has a word that no option takes"), "{done:?}");
    assert!(!format!("{done:?}").contains("NOTREALLY"), "{done:?}");
    // By the environment's value and by the argument.
    let text = fs::read_to_string(&right.identity).unwrap();
    let mut by_value = bench.command("validate");
    by_value.env("RELOCATION_AGE_IDENTITY", text);
    assert_eq!(bench.finish(by_value).verdict(), "VALID");
    let mut by_argument = bench.command("validate");
    by_argument.arg("--identity-file").arg(&right.identity);
    assert_eq!(bench.finish(by_argument).verdict(), "VALID");
}

#[test]
fn a_packed_file_that_is_cut_damaged_or_lost_is_found_and_named() {
    let bench = Bench::new().sealed();
    with_known_source(&bench);
    bench.run_all(&["upload"]);
    let file = packed_of(&bench, "folder-7141/file-7141");
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let other = fs::read(packed_of(&bench, "small")).unwrap();
    for (bytes, how) in [
        (&whole[..whole.len() - 1], "does not open: it is cut short or damaged"),
        (&whole[..100], "does not open: it is cut short or damaged"),
        (&flipped, "does not open: it is cut short or damaged"),
        (&other, "has another size"),
    ] {
        fs::write(&file, bytes).unwrap();
        let done = bench.run("validate");
        assert_eq!((done.verdict(), done.count("different")), ("INVALID", 1), "{done:?}");
        assert!(done.message().contains(&format!("the staged copy of 'folder-7141/file-7141' {how}")), "{done:?}");
        let done = bench.run("import");
        assert_eq!(done.code, Some(65), "{done:?}");
        assert!(done.message().contains("'folder-7141/file-7141'"), "{done:?}");
        assert!(!bench.path("target/folder-7141/file-7141").exists());
    }
    fs::write(&file, &whole).unwrap();
    assert_eq!(bench.run("validate").verdict(), "VALID");
    bench.write("workspace/data/ab/extra", "x");
    let done = bench.run("validate");
    assert_eq!((done.verdict(), done.count("extra")), ("INVALID", 1), "{done:?}");
    fs::remove_file(&file).unwrap();
    let done = bench.run("validate");
    assert_eq!(done.count("missing"), 1, "{done:?}");
    bench.run("preprocess").assert_stopped(65, &["the staged copy of 'folder-7141/file-7141' is missing"]);
    // Staged again, it is whole again, and what was not ours is gone.
    let done = bench.run_all(&["upload"]);
    assert_eq!(done.count("alreadyStaged"), 2, "{done:?}");
    assert_eq!(bench.run("validate").verdict(), "VALID");
    // A manifest that was cut or changed is no manifest.
    let manifest = bench.path("workspace/manifest.jsonl");
    let text = fs::read(&manifest).unwrap();
    for length in [text.len() - 1, text.len() / 2] {
        fs::write(&manifest, &text[..length]).unwrap();
        let done = bench.run("import");
        assert_eq!(done.code, Some(65), "{done:?}");
        assert!(done.message().contains("manifest.jsonl of the workspace is damaged"), "{done:?}");
    }
}

#[test]
fn the_copy_of_a_file_that_has_changed_since_is_replaced_and_the_old_one_goes() {
    let bench = Bench::new().sealed();
    with_known_source(&bench);
    bench.run_all(&["upload"]);
    let before = packed_of(&bench, "small");
    bench.write("source/small", "other 7141");
    wait_for_the_clock();
    let done = bench.run_all(&["upload"]);
    assert_eq!(done.count("alreadyStaged"), 2, "{done:?}");
    assert!(!before.exists() && packed_of(&bench, "small").exists());
    assert_eq!(packed(&bench).len(), 3);
    assert_eq!(bench.run("validate").verdict(), "VALID");
}

#[test]
fn what_killed_attempts_left_goes_before_anything_is_added() {
    let bench = Bench::new().sealed();
    bench.write("source/large", vec![7; 4 << 20]);
    let left = bench.write("workspace/data/ab/000102030405060708090a0b0c0d0e", "half");
    let mut command = bench.command("upload");
    command.args(["--bandwidth", "64K"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_until(|| !left.exists());
    assert!(!bench.path("workspace/manifest.jsonl").exists(), "there is room for what comes");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_killed_sealed_upload_had_staged_is_not_staged_again() {
    let bench = Bench::new().sealed();
    for number in 0..6000 {
        bench.write(&format!("source/d{:02}/{number}", number / 500), number.to_string());
    }
    wait_for_the_clock();
    let mut child = bench.command("upload").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let partial = bench.path("workspace/manifest.jsonl.partial");
    wait_until(|| {
        partial.metadata().is_ok_and(|facts| facts.len() > 100_000) || bench.path("workspace/manifest.jsonl").exists()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let done = bench.run_all(&["upload"]);
    let before = done.count("alreadyStaged");
    assert!(before > 300, "{done:?}");
    assert_eq!(packed(&bench).len(), 6000);
    let inodes = || packed(&bench).iter().map(|path| fs::metadata(path).unwrap().ino()).collect::<Vec<_>>();
    let first = inodes();
    assert_eq!(bench.run_all(&["upload"]).count("alreadyStaged"), 6000);
    assert_eq!(inodes(), first);
    // Who has no identity cannot read what was staged, and so begins anew.
    let mut blind = bench.command("upload");
    blind.env_remove("RELOCATION_AGE_IDENTITY_FILE");
    assert_eq!(bench.finish(blind).count("alreadyStaged"), 0);
    assert_eq!(packed(&bench).len(), 6000);
    assert_eq!(bench.run("validate").verdict(), "VALID");
    // Another recipient is another seal.
    let mut bench = bench;
    bench.keys = Some(Keys::make(bench.path("other")));
    assert_eq!(bench.run_all(&["upload"]).count("alreadyStaged"), 0);
    assert_eq!(bench.run("validate").verdict(), "VALID");
}
