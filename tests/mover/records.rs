//! A plan without a workspace, between two trees: the target keeps the manifest and the journal until the end.

use std::fs;
use std::time::{Duration, Instant};

use super::bench::{Bench, snapshot};
use super::killing::{Chance, run_and_kill};

const STEPS: [&str; 6] = ["upload", "preprocess", "validate", "import", "postprocess", "notify"];

fn names(bench: &Bench) -> Vec<String> {
    let names = fs::read_dir(bench.path("target")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn has_records(bench: &Bench) -> bool {
    names(bench).iter().any(|name| name.starts_with(".relocation-records-"))
}

#[test]
fn a_tree_arrives_and_nothing_of_ours_stays() {
    let bench = Bench::new().with_source().without_workspace();
    bench.write("target/theirs", "theirs");
    let before = fs::metadata(bench.path("target/theirs")).unwrap().modified().unwrap();
    let done = bench.move_all();
    assert_eq!((done.count("files"), done.count("extra")), (3, 1), "{done:?}");
    assert!(has_records(&bench));
    bench.run_all(&["postprocess", "notify", "notify"]);
    assert!(!has_records(&bench));
    assert_eq!(fs::metadata(bench.path("target/theirs")).unwrap().modified().unwrap(), before);
    fs::remove_file(bench.path("target/theirs")).unwrap();
    bench.assert_moved();
}

#[test]
fn killed_at_random_moments_a_tree_arrives_in_one_that_keeps_the_records() {
    let mut bench = Bench::quick().with_source().without_workspace();
    for number in 0..300 {
        bench.write(&format!("source/d{}/e/{number}", number % 7), vec![b'x'; number * 37 % 9000]);
    }
    bench.write("source/larger", vec![7; (8 << 20) + 5]);
    let mut times = Vec::new();
    for step in STEPS {
        let start = Instant::now();
        bench.run_all(&[step]);
        times.push(start.elapsed());
    }
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for round in 0..10 {
        fs::remove_dir_all(bench.path("target")).unwrap();
        fs::create_dir(bench.path("target")).unwrap();
        bench.write("source/a/one", format!("one {round}"));
        for (step, time) in STEPS.into_iter().zip(&times) {
            for _ in 0..=chance.below(3) {
                bench.token += 1;
                let delay = chance.below(u64::try_from(time.as_micros()).unwrap());
                run_and_kill(bench.command(step), Duration::from_micros(delay));
            }
            bench.token += 1;
            let done = bench.run(step);
            assert_eq!(done.code, Some(0), "round {round}: {step}: {done:?}");
            assert!(step != "validate" || done.verdict() == "VALID", "round {round}: {done:?}");
        }
        bench.assert_moved();
    }
}

#[test]
fn cleanup_leaves_what_was_there_before() {
    let bench = Bench::new().with_source().without_workspace();
    bench.write("target/a/theirs", "theirs");
    let before = snapshot(&bench.path("target"));
    bench.run_all(&["upload", "import"]);
    bench.run_all(&["cleanup"]);
    assert!(before.keys().eq(snapshot(&bench.path("target")).keys()), "{:?}", names(&bench));
}

#[test]
fn a_directory_that_is_only_named_like_records_is_data_below_the_top() {
    let bench = Bench::new().with_source().without_workspace();
    bench.write("source/a/.relocation-records-x/file", "data");
    bench.write("source/.relocation-records-x", "a file is data anywhere");
    let done = bench.move_all();
    assert_eq!(done.count("files"), 5, "{done:?}");
    bench.run_all(&["notify"]);
    bench.assert_moved();
}

#[test]
fn what_lacks_records_says_what_to_do() {
    let bench = Bench::new().with_source().without_workspace();
    for step in ["preprocess", "validate", "import", "postprocess"] {
        bench.run(step).assert_stopped(65, &["there are no records of this relocation at ", "upload"]);
    }
    assert_eq!(names(&bench), [""; 0]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_relocation-mover"));
    command.args(["upload", "--source"]).arg(bench.path("source")).env_clear();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("there is no workspace, and no --target"), "{said}");
}
