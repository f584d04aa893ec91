//! Through a network and a store that fail at random, killed at random, the end is the same; and what fails says that another attempt may help.
//!
//! `RELOCATION_MOVER_KILLS` is the number of rounds for each direction (default 2).

use std::fs;
use std::time::Duration;

use crate::bench::Done;
use crate::killing::{Chance, run_and_kill};
use crate::moves::fill;
use crate::proxy::{ALL, Fault, Proxy};
use crate::work::Work;

const STEPS: [&str; 5] = ["upload", "preprocess", "validate", "import", "postprocess"];

fn rounds() -> u64 {
    std::env::var("RELOCATION_MOVER_KILLS").map_or(2, |text| text.parse().unwrap())
}

fn through(work: &Work, proxy: &Proxy, step: &str) -> std::process::Command {
    let mut command = work.command(step);
    command.env("AWS_ENDPOINT_URL", proxy.endpoint());
    command
}

/// A fault of the network is nothing that a person has to mend.
#[track_caller]
fn assert_may_go_on(done: &Done, step: &str) {
    assert!(matches!(done.code, Some(0 | 1)), "{step}: {done:?}");
    if done.code == Some(1) {
        let message = done.message();
        assert!(message.contains("the store") && message.contains("the next attempt"), "{step}: {message}");
        // Nobody writes to the source, so nobody is told that somebody does.
        assert!(message.starts_with("cannot "), "{step}: {message}");
    }
}

fn empty(work: &Work) {
    for folder in [work.bench.path("workspace"), work.target_folder()] {
        fs::remove_dir_all(&folder).unwrap();
        if !work.server.has_made(&folder) {
            fs::create_dir(&folder).unwrap();
        }
    }
    if work.target == "s3://target" {
        work.server.make_bucket("target");
    }
}

fn check(mut work: Work, seed: u64) {
    fill(&work);
    let proxy = Proxy::before(work.server.port(), &ALL, 10, seed);
    let mut chance = Chance(seed);
    for round in 0..rounds() {
        if round > 0 {
            empty(&work);
        }
        for step in STEPS {
            work.bench.token += 1;
            for _ in 0..chance.below(3) {
                run_and_kill(through(&work, &proxy, step), Duration::from_millis(chance.below(400)));
            }
            // As the operator does it: again, as long as it says that this may help. The last time without faults.
            let mut done = None;
            for _ in 0..4 {
                work.bench.token += 1;
                let tried = work.finish(through(&work, &proxy, step));
                assert_may_go_on(&tried, step);
                if tried.code == Some(0) {
                    done = Some(tried);
                    break;
                }
            }
            work.bench.token += 1;
            let done = done.unwrap_or_else(|| work.run_all(&[step]));
            assert!(step != "validate" || done.verdict() == "VALID", "round {round}: {done:?}");
            assert!(step != "postprocess" || done.count("extra") == 0, "round {round}: {done:?}");
        }
        work.assert_same_files();
    }
    assert!(proxy.met() > 0, "no request met a fault");
}

#[test]
fn a_tree_arrives_in_a_bucket_through_a_bad_network() {
    check(Work::to_store("none"), 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn a_bucket_arrives_in_a_tree_through_a_bad_network() {
    check(Work::from_store("copy"), 0x1357_9bdf_0246_8ace);
}

#[test]
fn a_bucket_arrives_in_a_bucket_through_a_bad_network() {
    check(Work::between_stores("none"), 0x0f1e_2d3c_4b5a_6978);
}

#[test]
fn a_store_that_never_answers_well_is_named_and_tried_again_later() {
    let work = Work::to_store("none");
    fs::write(work.source_folder().join("file"), "file").unwrap();
    work.run_all(&["upload"]);
    for (fault, word) in
        [(Fault::SlowDown, "(SlowDown)"), (Fault::InternalError, "(InternalError)"), (Fault::LoseAnswer, "")]
    {
        let proxy = Proxy::before(work.server.port(), &[fault], 100, 1);
        let done = work.finish(through(&work, &proxy, "import"));
        done.assert_stopped(
            1,
            &["of the target s3://target/some/prefix: the store", word, "the next attempt tries again"],
        );
    }
    assert!(work.server.keys("target").iter().all(|key| !key.ends_with("/file")));
    work.run_all(&["import", "postprocess"]);
    work.assert_same_files();
}

#[test]
fn a_store_that_stays_silent_is_not_waited_for_longer_than_the_plan_says() {
    let work = Work::to_store("none");
    fs::write(work.source_folder().join("file"), "file").unwrap();
    work.run_all(&["upload"]);
    let proxy = Proxy::before(work.server.port(), &[Fault::Silence], 100, 1);
    let mut command = through(&work, &proxy, "import");
    command.env("RELOCATION_STORE_TIMEOUT", "1");
    work.finish(command).assert_stopped(
        1,
        &["of the target s3://target/some/prefix: the store could not do it now (operation timed out); the next attempt tries again"],
    );
    // After the usual minute it would not be asked a second time.
    assert!(proxy.met() > 1, "{} requests", proxy.met());
    let mut wrong = work.command("import");
    wrong.env("RELOCATION_STORE_TIMEOUT", "soon");
    work.finish(wrong).assert_stopped(
        65,
        &["the settings of the target s3://target/some/prefix cannot be used: RELOCATION_STORE_TIMEOUT is not a whole number of seconds from 1 to 3600; correct the environment"],
    );
    work.run_all(&["import", "postprocess"]);
    work.assert_same_files();
}
