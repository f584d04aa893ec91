//! Holes of files of any size come back from a bucket, by `stat`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::work::{Work, noise};

/// Blocks of 512 bytes that a file takes, once everything is on the disk.
fn blocks(path: &Path) -> u64 {
    let script = "sync -f \"$0\" && stat -c %b \"$0\"";
    let output = Command::new("sh").args(["-euc", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// One small file with holes at both ends and one of zeros that are written.
fn fill(work: &Work) {
    let holes = File::create(work.source_folder().join("holes")).unwrap();
    holes.write_all_at(&noise(5000, 3), 400_000).unwrap();
    holes.set_len(1 << 20).unwrap();
    std::fs::write(work.source_folder().join("zeros"), vec![0; 1 << 20]).unwrap();
}

#[track_caller]
fn assert_kept(work: &Work) {
    work.assert_same_files();
    let (source, target) = (work.bench.path("source"), work.target_folder());
    let expected = blocks(&source.join("holes"));
    assert!(expected <= 32, "{expected} blocks of the source");
    let came = blocks(&target.join("holes"));
    assert!(came <= expected + 16, "{came} blocks of {expected}");
    assert!(blocks(&target.join("zeros")) >= 2048, "what was written is written");
}

#[test]
fn holes_of_a_small_file_come_back_from_a_bucket() {
    let work = Work::to_store("none");
    fill(&work);
    work.move_all();
    let head = |path: &str| work.server.curl(&["-I"], &format!("target/some/prefix/{path}")).1;
    assert!(head("holes").contains("relocationholes") && !head("zeros").contains("relocationholes"));
    let work = work.turned_round("none");
    work.move_all();
    assert_kept(&work);
    let work = work.turned_round("copy");
    work.move_all();
    assert_kept(&work);
}

#[test]
fn holes_of_a_packed_file_come_back() {
    for is_sealed in [false, true] {
        let work = Work::to_store("copy");
        let work = if is_sealed { work.sealed() } else { work };
        fill(&work);
        let upload = |work: &Work| {
            let mut command = work.command("upload");
            command.arg("--compress");
            let done = work.finish(command);
            assert_eq!(done.code, Some(0), "{done:?}");
        };
        upload(&work);
        work.run_all(&["preprocess", "validate", "import", "postprocess"]);
        let work = work.turned_round("copy");
        upload(&work);
        work.run_all(&["preprocess", "validate", "import", "postprocess"]);
        assert_kept(&work);
    }
}
