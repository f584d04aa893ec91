//! Somebody writes to the source all the while: what arrives is a state that each file was really in, or nothing arrives and the path is named.
//!
//! `RELOCATION_MOVER_KILLS` is the number of rounds (default 2).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::bench::{Bench, Done};
use super::killing::Chance;

const WRITERS: u64 = 2;
const FILES_OF_EACH: u64 = 4;
const RECORD: usize = 64;

/// The bytes of a version of a file: each says which file, which version and which place it belongs to, so that a mixture shows.
fn version(stem: &str, number: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + RECORD);
    for index in 0..length.div_ceil(RECORD) {
        let record = format!("{stem} version {number:08} record {index:08} ");
        bytes.extend_from_slice(format!("{record:-<63}\n").as_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Whether a file was really like this at some moment: a whole version, the start of one, or one that is being written over the one before, from front to back.
fn is_a_state(stem: &str, bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let number_of = |record: &[u8]| {
        let text = String::from_utf8_lossy(record).into_owned();
        text.strip_prefix(&format!("{stem} version "))?.get(..8)?.parse::<u64>().ok()
    };
    let first = number_of(&bytes[..RECORD.min(bytes.len())]);
    let last_start = (bytes.len() - 1) / RECORD * RECORD;
    let last = number_of(&bytes[last_start..]).or_else(|| number_of(&bytes[last_start.checked_sub(RECORD)?..]));
    let candidates = [first, last, last.map(|number| number + 1)];
    candidates.into_iter().flatten().any(|number| {
        let new = version(stem, number, bytes.len());
        let written = bytes.iter().zip(&new).take_while(|(byte, wanted)| byte == wanted).count();
        written == bytes.len() || number > 0 && bytes[written..] == version(stem, number - 1, bytes.len())[written..]
    })
}

/// The files of one writer, which nobody else writes to.
struct Writer {
    source: PathBuf,
    chance: Chance,
    /// By file: number and length of its version.
    versions: BTreeMap<String, (u64, usize)>,
}

impl Writer {
    fn new(source: &Path, number: u64) -> Self {
        let mut writer =
            Self { source: source.to_owned(), chance: Chance(0x5bd1_e995 + number), versions: BTreeMap::new() };
        for file in 0..FILES_OF_EACH {
            let stem = format!("f{number}{file}");
            let length = writer.length(file);
            fs::write(source.join(&stem), version(&stem, 0, length)).unwrap();
            writer.versions.insert(stem, (0, length));
        }
        writer
    }

    /// The first file of each is large enough to be read while it is written.
    fn length(&mut self, file: u64) -> usize {
        let most = if file == 0 { 6 << 20 } else { 200 << 10 };
        most / 2 + usize::try_from(self.chance.below(most as u64 / 2)).unwrap()
    }

    fn write(&mut self) {
        let file = self.chance.below(FILES_OF_EACH);
        let (stem, (number, old_length)) = self.versions.iter().nth(usize::try_from(file).unwrap()).unwrap();
        let (stem, mut number, old_length) = (stem.clone(), *number, *old_length);
        let path = self.source.join(&stem);
        let mut length = self.length(file);
        match self.chance.below(5) {
            // In place, from front to back.
            0 => {
                number += 1;
                let open = File::options().write(true).open(&path).unwrap();
                open.write_all_at(&version(&stem, number, length), 0).unwrap();
                open.set_len(length as u64).unwrap();
            }
            // Emptied first.
            1 => {
                number += 1;
                fs::write(&path, version(&stem, number, length)).unwrap();
            }
            // Replaced at once.
            2 => {
                number += 1;
                let new = self.source.join(format!("{stem}.new"));
                fs::write(&new, version(&stem, number, length)).unwrap();
                fs::rename(new, &path).unwrap();
            }
            // Removed and made again.
            3 => {
                number += 1;
                fs::remove_file(&path).unwrap();
                fs::write(&path, version(&stem, number, length)).unwrap();
            }
            // Longer.
            _ => {
                length = old_length + RECORD * 3 + 5;
                let open = File::options().write(true).open(&path).unwrap();
                open.write_all_at(&version(&stem, number, length)[old_length..], old_length as u64).unwrap();
            }
        }
        self.versions.insert(stem, (number, length));
        // At random moments, so that some attempts come through.
        std::thread::sleep(Duration::from_micros(self.chance.below(20_000)));
    }
}

/// Runs something while writers write.
fn beside_writers<T>(bench: &Bench, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(&bench.path("source"), number)).collect();
    std::thread::scope(|scope| {
        for writer in &mut writers {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    writer.write();
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The digest of each file in the manifest.
fn manifest(bench: &Bench) -> BTreeMap<String, String> {
    let text = fs::read_to_string(bench.path("workspace/manifest.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["type"] == "file")
        .map(|line| (line["path"].as_str().unwrap().to_owned(), line["digest"].as_str().unwrap().to_owned()))
        .collect()
}

/// Every file below a directory is as the manifest says, and was so at the source. Says how many there are.
fn assert_states(bench: &Bench, root: &str, digests: &BTreeMap<String, String>) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(bench.path(root)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_str().unwrap().to_owned();
        let bytes = fs::read(entry.path()).unwrap();
        assert_eq!(format!("blake3:{}", blake3::hash(&bytes).to_hex()), digests[&name], "{name} of the {root}");
        let kept = bench.path("mixture");
        if !is_a_state(name.trim_end_matches(".new"), &bytes) {
            fs::write(&kept, &bytes).unwrap();
            panic!("{name} of the {root} is a mixture");
        }
        count += 1;
    }
    count
}

#[track_caller]
fn assert_named(done: &Done, codes: &[i32]) {
    assert!(done.code.is_some_and(|code| codes.contains(&code)), "{done:?}");
    assert!(done.message().contains("'f") && done.message().contains("of the source"), "{done:?}");
}

fn rounds() -> u64 {
    std::env::var("RELOCATION_MOVER_KILLS").map_or(2, |text| text.parse().unwrap())
}

fn empty(bench: &Bench) {
    for root in ["source", "workspace", "target"] {
        fs::remove_dir_all(bench.path(root)).unwrap();
        fs::create_dir(bench.path(root)).unwrap();
    }
}

#[test]
fn a_copy_made_beside_writers_is_of_states_that_were_there() {
    let bench = Bench::quick();
    for _ in 0..rounds() {
        empty(&bench);
        beside_writers(&bench, || {
            for _ in 0..10 {
                let done = bench.run("upload");
                if done.code == Some(0) {
                    assert_states(&bench, "workspace/data", &manifest(&bench));
                } else {
                    assert_named(&done, &[1]);
                }
            }
        });
        bench.move_all();
        bench.assert_moved();
        assert!(assert_states(&bench, "target", &manifest(&bench)) >= 8);
    }
}

#[test]
fn what_is_streamed_beside_writers_is_what_the_manifest_says_or_is_named() {
    let bench = Bench::quick();
    let run = |step: &str| {
        let mut command = bench.command(step);
        if step == "upload" {
            command.args(["--staging", "none"]);
        } else if matches!(step, "validate" | "import") {
            command.arg("--source").arg(bench.path("source"));
        }
        bench.finish(command)
    };
    for _ in 0..rounds() {
        empty(&bench);
        beside_writers(&bench, || {
            for _ in 0..10 {
                let done = run("upload");
                if done.code != Some(0) {
                    assert_named(&done, &[1]);
                    continue;
                }
                let digests = manifest(&bench);
                let done = run("import");
                if done.code != Some(0) {
                    assert_named(&done, &[1, 65]);
                }
                let arrived = assert_states(&bench, "target", &digests);
                assert!(done.code != Some(0) || arrived == digests.len(), "{done:?}");
                fs::remove_dir_all(bench.path("target")).unwrap();
                fs::create_dir(bench.path("target")).unwrap();
            }
        });
        for step in ["upload", "preprocess", "validate", "import", "postprocess"] {
            let done = run(step);
            assert_eq!(done.code, Some(0), "{step}: {done:?}");
        }
        bench.assert_moved();
    }
}
