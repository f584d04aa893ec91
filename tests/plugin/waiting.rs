//! Waiting, and its exit codes.

use kube::api::DeleteParams;
use relocation_operator::api::{StatusValue, Step};
use serde_json::json;
use tokio::process::Command;

use crate::person::Person;
use crate::support::{Behaviour, Scenario, a_plan, a_relocation, on, run};

/// What a terminal is sent to hide its cursor, and to show it again.
const HIDDEN: &str = "\u{1b}[?25l";
const SHOWN: &str = "\u{1b}[?25h";

async fn begin(scenario: &mut Scenario) -> Person {
    scenario.create_plan(a_plan("plan").with_six_steps()).await;
    scenario.start_operator().await;
    Person::of(scenario)
}

#[tokio::test]
async fn each_end_of_a_wait_has_its_exit_code() {
    run(async |scenario| {
        let person = begin(scenario).await;
        scenario.script(on(Step::Importing).relocation("failed"), Behaviour::exit(65, "no"));
        scenario.create(a_relocation("paused").paused_at(Step::Importing)).await;
        scenario.create(a_relocation("failed")).await;
        scenario.create(a_relocation("cancelled").with(json!({ "cancelAtStep": "IMPORTING" }))).await;
        scenario.create(a_relocation("done")).await;
        let waited = async |line: &str| person.types(&format!("wait {line} --timeout 50s")).await.code;
        let codes = tokio::join!(
            waited("paused --for paused"),
            waited("paused"),
            waited("failed"),
            waited("failed --for finished"),
            waited("cancelled --for step=importing"),
            waited("done"),
            waited("done --for step=NOTIFYING"),
            waited("done --for paused"),
        );
        assert_eq!(codes, (0, 4, 2, 0, 3, 0, 0, 1));
        assert_eq!(person.types("wait nobody").await.code, 5);
        assert_eq!(person.types("wait done --for ended").await.code, 1);
    })
    .await;
}

#[tokio::test]
async fn a_wait_shows_what_happens_and_ends_when_its_time_is_over() {
    run(async |scenario| {
        let person = begin(scenario).await;
        scenario.script(on(Step::Validating), Behaviour::Hang);
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Validating).await;
        let over = person.types("wait acme --timeout 500ms").await;
        assert_eq!(over.code, 124, "{over:?}");
        assert!(over.err.starts_with("the time is over and acme goes on as it was asked; "), "{}", over.err);
        let mut waiting = person.begins("wait acme --for paused");
        waiting.until("IN_PROGRESS VALIDATING: ").await;
        scenario.patch_spec("acme", json!({ "pauseAtStep": "IMPORTING" })).await.expect("a fence");
        scenario.script(on(Step::Validating), Behaviour::succeed());
        let (rest, code) = waiting.end().await;
        assert_eq!(code, 0, "{rest}");
        assert!(rest.contains("PAUSE IMPORTING: paused before IMPORTING by spec.pauseAtStep"), "{rest}");
    })
    .await;
}

#[tokio::test]
async fn what_was_said_before_a_request_is_no_answer_to_it() {
    run(async |scenario| {
        let person = begin(scenario).await;
        scenario.create(a_relocation("acme").paused_at(Step::Validating)).await;
        scenario.wait_for("acme", StatusValue::Pause, Step::Validating).await;
        scenario.kill_operators();
        scenario.patch_spec("acme", json!({ "pauseAtStep": "NOTIFYING" })).await.expect("the fence moves");
        let mut waiting = person.begins("wait acme --for step=importing");
        waiting.until("the last change of its spec is not answered yet").await;
        scenario.start_operator().await;
        let (rest, code) = waiting.end().await;
        assert_eq!(code, 0, "{rest}");
    })
    .await;
}

#[tokio::test]
async fn a_wait_for_what_is_deleted_ends() {
    run(async |scenario| {
        let person = begin(scenario).await;
        scenario.script(on(Step::Validating), Behaviour::Hang);
        scenario.create(a_relocation("acme")).await;
        let mut waiting = person.begins("wait acme");
        waiting.until("IN_PROGRESS VALIDATING").await;
        scenario.relocations().delete("acme", &DeleteParams::default()).await.expect("it is there");
        let (rest, code) = waiting.end().await;
        assert_eq!(code, 5, "{rest}");
    })
    .await;
}

#[tokio::test]
async fn who_is_told_to_stop_on_a_terminal_shows_the_cursor_again() {
    run(async |scenario| {
        let person = begin(scenario).await;
        scenario.create(a_relocation("acme").paused_at(Step::Validating)).await;
        scenario.wait_for("acme", StatusValue::Pause, Step::Validating).await;
        scenario.script(on(Step::Uploading).relocation("busy"), Behaviour::Hang);
        scenario.create(a_relocation("busy")).await;
        scenario.wait_for_running_pod("busy", Step::Uploading).await;
        for (line, text, signal, expected) in [
            ("status acme --watch", "paused before VALIDATING", "TERM", 143),
            ("status acme --watch", "paused before VALIDATING", "INT", 130),
            ("wait busy", "UPLOADING/run runs", "TERM", 143),
        ] {
            let mut watching = person.begins_on_terminal(line);
            let pid = watching.until("pid ").await;
            let pid = pid.trim().trim_start_matches("pid ");
            let seen = watching.until(text).await;
            assert!(seen.contains(HIDDEN), "{line}: {seen:?}");
            let killed = Command::new("kill").args(["-s", signal, pid]).status().await.expect("kill starts");
            assert!(killed.success(), "{pid}");
            let (rest, code) = watching.end().await;
            assert_eq!(code, expected, "{line} after {signal}: {rest:?}");
            assert!(rest.rfind(SHOWN) > rest.rfind(HIDDEN), "{line} after {signal}: {rest:?}");
        }
    })
    .await;
}
