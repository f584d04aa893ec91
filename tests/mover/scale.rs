//! Much, deep and large: what a tree may be in production.
//!
//! `RELOCATION_MOVER_FILES` (default 20,000) and `RELOCATION_MOVER_DEPTH` (default 2,500) are how many files there are and how deep a path is; `make test-long` takes 100,000 and 10,000.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags, SeekFrom};

use super::bench::Bench;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// What a shell says inside a directory.
pub fn told(script: &str, dir: &Path) -> String {
    let output = Command::new("sh").args(["-euc", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn as_many_files_as_there_are_arrive() {
    let files = number("RELOCATION_MOVER_FILES", 20_000);
    let bench = Bench::quick();
    for file in 0..files {
        if file % 1000 == 0 {
            fs::create_dir(bench.path(&format!("source/{:03}", file / 1000))).unwrap();
        }
        let path = bench.path(&format!("source/{:03}/{file}", file / 1000));
        fs::write(path, format!("{file} ").repeat(file % 600)).unwrap();
    }
    let done = bench.move_all();
    assert_eq!((done.count("files"), done.count("extra")), (files as u64, 0), "{done:?}");
    let compared = Command::new("diff").arg("-r").arg(bench.path("source")).arg(bench.path("target")).output().unwrap();
    assert!(compared.status.success() && compared.stdout.is_empty(), "{compared:?}");
    let listed =
        |root: &str| told("find . -mindepth 1 -printf '%p %y %m %s %T@\\n' | LC_ALL=C sort", &bench.path(root));
    assert_eq!(listed("source"), listed("target"));
}

/// A bench whose trees `remove_dir_all` has not the descriptors for.
pub struct Deep(pub Bench);

impl Drop for Deep {
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(self.0.root.path()).status();
    }
}

/// Makes a path so deep below a directory, with a file and a link at its end.
pub fn dig(root: &Path, depth: usize) {
    let mut dir: OwnedFd = fs::File::open(root).unwrap().into();
    for level in 0..depth {
        let name = if level % 3 == 0 { "deep" } else { "d" };
        rustix::fs::mkdirat(&dir, name, Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, name, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    }
    let file = rustix::fs::openat(&dir, "bottom", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    rustix::io::write(file, b"at the bottom").unwrap();
    rustix::fs::symlinkat("../..", dir.as_fd(), "link").unwrap();
}

#[test]
fn a_path_far_longer_than_the_kernel_takes_arrives() {
    let depth = number("RELOCATION_MOVER_DEPTH", 2_500);
    let deep = Deep(Bench::new());
    dig(&deep.0.path("source"), depth);
    let done = deep.0.move_all();
    assert_eq!((done.count("directories"), done.count("files")), (depth as u64, 1), "{done:?}");
    // find goes down by descriptors, too.
    let listed = |root: &str| {
        told(
            "find . -mindepth 1 -printf '%d %f %y %m %s %T@ %l\\n'; find . -type f -execdir sha256sum '{}' ';'",
            &deep.0.path(root),
        )
    };
    let there = listed("target");
    assert_eq!(there.lines().count(), depth + 3);
    assert!(there == listed("source"), "the trees differ");
}

/// The ranges of a file that are not holes, as the kernel tells them, with their bytes.
fn data_of(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let file = fs::File::open(path).unwrap();
    let mut ranges = Vec::new();
    let mut offset = 0;
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(offset)) {
        let hole = rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap();
        let mut bytes = vec![0; usize::try_from(hole - data).unwrap()];
        file.read_exact_at(&mut bytes, data).unwrap();
        ranges.push((data, bytes));
        offset = hole;
    }
    ranges
}

#[test]
fn twenty_gibibytes_of_holes_arrive_as_holes() {
    for (staging, size) in [("copy", 20 << 30), ("none", 5 << 30)] {
        let bench = Bench::new();
        let path = bench.path("source/sparse");
        let file = fs::File::create(&path).unwrap();
        file.set_len(size).unwrap();
        for (offset, byte) in [(0, 1), (1 << 20, 2), (3 << 30, 3), (size - 4096, 4)] {
            file.write_all_at(&[byte; 4096], offset).unwrap();
        }
        drop(file);
        for step in ["upload", "preprocess", "validate", "import", "postprocess"] {
            let mut command = bench.command(step);
            if step == "upload" {
                command.args(["--staging", staging]);
            } else if staging == "none" && matches!(step, "validate" | "import") {
                command.arg("--source").arg(bench.path("source"));
            }
            let done = bench.finish(command);
            assert_eq!(done.code, Some(0), "{step}: {done:?}");
            assert!(step != "validate" || done.verdict() == "VALID", "{done:?}");
        }
        let (before, after) = (path.metadata().unwrap(), bench.path("target/sparse").metadata().unwrap());
        assert_eq!(after.len(), size);
        assert!(after.blocks() <= before.blocks(), "{} blocks, and there were {}", after.blocks(), before.blocks());
        assert!(data_of(&path) == data_of(&bench.path("target/sparse")), "other data with --staging={staging}");
    }
}
