//! Noise from pods, and statuses that somebody edited by hand: an answer that a person can read, and then silence.

use std::time::Duration;

use relocation_operator::api::{ConditionType, FailureReason, Relocation, StatusValue, Step, find_condition};
use serde_json::json;

use crate::support::{Behaviour, Scenario, a_plan, a_relocation, on, run};

/// The longest note of an event, and the longest message of a task, in bytes.
const LONGEST: usize = 1024;

/// Where the kubelet cuts a termination message, in bytes.
const KUBELET_LIMIT: usize = 4096;

/// How long nothing may happen before that is called silence.
const SILENCE: Duration = Duration::from_secs(3);

/// How many passes an operator may make in a silence: resyncs and timers, far from a hot loop.
const PASSES_IN_SILENCE: u64 = 6;

/// 4 KiB of every character that ASCII has, the control characters first.
fn noise() -> String {
    (0..=127_u8).map(char::from).cycle().take(KUBELET_LIMIT).collect()
}

#[tokio::test]
async fn termination_messages_of_noise_nesting_and_false_json_disturb_nothing() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        let hostile_verdict =
            r#"{"verdict":"VALID","message":{"a":[]},"counts":{"x":"y","n":1.5,"ok":2},"artifacts":[1,{"name":7}]}"#;
        scenario.script(on(Step::Uploading), Behaviour::Succeed(noise()));
        scenario.script(on(Step::Preprocessing), Behaviour::Succeed("[".repeat(KUBELET_LIMIT)));
        scenario.script(on(Step::Validating), Behaviour::Succeed(hostile_verdict.to_owned()));
        scenario.script(on(Step::Importing).attempt(1), Behaviour::Exit(1, noise()));
        scenario.script(on(Step::Postprocessing), Behaviour::Succeed(r#"{"verdict":"VALID""#.to_owned()));
        scenario.script(on(Step::Notifying), Behaviour::Succeed("\u{0}\u{7}\n \u{1b}".to_owned()));
        let false_json = Behaviour::Succeed(r#"{"verdict":"VALID","counts":{"#.to_owned());
        scenario.script(on(Step::Validating).relocation("unproven"), false_json);
        scenario.script(on(Step::Uploading).relocation("refused"), Behaviour::Exit(65, noise()));
        scenario.start_operator().await;
        for name in ["acme", "unproven", "refused"] {
            scenario.create(a_relocation(name)).await;
        }
        let done = scenario.wait_for_success("acme").await;
        assert_eq!(
            scenario.works("acme"),
            [
                "UPLOADING/run/1",
                "PREPROCESSING/run/1",
                "VALIDATING/run/1",
                "IMPORTING/run/1",
                "IMPORTING/run/2",
                "POSTPROCESSING/run/1",
                "NOTIFYING/run/1"
            ]
        );
        let validated = &done.steps.iter().find(|step| step.name == Step::Validating).expect("a record").tasks[0];
        assert_eq!(validated.counts.iter().collect::<Vec<_>>(), [(&"ok".to_owned(), &2)]);

        let unproven = scenario.wait_for_failure("unproven").await;
        assert_eq!(unproven.failure.as_ref().map(|failure| failure.reason), Some(FailureReason::EvidenceMissing));
        let refused = scenario.wait_for_failure("refused").await;
        assert_eq!(refused.failure.as_ref().map(|failure| failure.reason), Some(FailureReason::FatalExitCode));

        let texts = [done, unproven, refused].into_iter().flat_map(|status| {
            let tasks = status.steps.into_iter().flat_map(|step| step.tasks).filter_map(|task| task.message);
            let conditions = status.conditions.into_iter().map(|condition| condition.message);
            tasks.chain(status.failure.map(|failure| failure.message)).chain(conditions).collect::<Vec<_>>()
        });
        let mut texts: Vec<String> = texts.collect();
        for name in ["acme", "unproven", "refused"] {
            texts.extend(
                scenario.events(name).await.iter().filter_map(|event| Some(event.split_once(": ")?.1.to_owned())),
            );
        }
        assert!(texts.len() > 30, "{texts:#?}");
        for text in texts {
            assert!(text.len() <= LONGEST && !text.chars().any(char::is_control), "{text:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_status_that_was_edited_into_nonsense_is_stalled_and_says_what_is_wrong() {
    run(async |scenario| {
        // What was written by hand into the status of a relocation that works, and words of the sentence it leads to.
        let cases = [
            ("ghost-task", json!({ "task": "ghost", "job": null }), "ghost"),
            ("ghost-task-with-job", json!({ "task": "ghost" }), "ghost"),
            ("lost-plan", json!({ "plan": { "generation": 1, "revision": "nothing" } }), "nothing"),
            (
                "lost-plan-and-job",
                json!({ "plan": { "generation": 1, "revision": "nothing" }, "job": null }),
                "nothing",
            ),
        ];
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Preprocessing), Behaviour::Hang);
        scenario.start_operator().await;
        for (name, ..) in &cases {
            scenario.create(a_relocation(name)).await;
        }
        for (name, nonsense, words) in &cases {
            scenario.wait_for_running_pod(name, Step::Preprocessing).await;
            scenario.patch_status(name, nonsense.clone()).await.expect("the rules let it through");
            scenario.script(on(Step::Preprocessing).relocation(name), Behaviour::succeed());
            let stalled = scenario
                .wait_until(name, "it is stalled", |relocation| {
                    told(relocation, ConditionType::Stalled).is_some_and(|told| told.contains(words))
                })
                .await;
            assert_eq!(told(&stalled, ConditionType::Reconciling), None);
        }
        assert_silence(scenario).await;
        for (name, ..) in &cases {
            assert_eq!(scenario.works(name), ["UPLOADING/run/1", "PREPROCESSING/run/1"], "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_status_that_names_a_job_that_is_not_there_goes_on_with_one_job_at_a_time() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Preprocessing), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Preprocessing).await;
        scenario.patch_status("acme", json!({ "job": "nothing-00000000" })).await.expect("the rules let it through");
        scenario
            .wait(Duration::from_secs(60), "another Job of the same attempt", |seen| {
                let again = seen.launches.iter().filter(|launch| launch.step == Some(Step::Preprocessing)).count();
                (again == 2).then_some(())
            })
            .await;
        scenario.script(on(Step::Preprocessing), Behaviour::succeed());
        scenario.wait_for_success("acme").await;
        let preprocessed =
            scenario.works("acme").into_iter().filter(|work| work.starts_with("PREPROCESSING")).collect::<Vec<_>>();
        assert_eq!(preprocessed, ["PREPROCESSING/run/1", "PREPROCESSING/run/1"]);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn numbers_and_times_at_their_bounds_are_no_reason_to_panic_or_to_hurry() {
    run(async |scenario| {
        let cases = [
            ("attempt", json!({ "attempt": i32::MAX, "attemptLimit": i32::MIN })),
            ("patience", json!({ "nextAttemptAt": "9999-12-30T00:00:00Z", "job": null })),
            ("past", json!({ "launchedAt": "0001-01-01T00:00:00Z", "activeSince": "0001-01-01T00:00:00Z" })),
            ("future", json!({ "launchedAt": "9999-12-30T00:00:00Z", "activeSince": "9999-12-30T00:00:00Z" })),
            ("counts", json!({ "activeSeconds": i64::MAX, "observedGeneration": i64::MAX, "jobsMissing": i32::MAX })),
        ];
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Preprocessing), Behaviour::Hang);
        scenario.start_operator().await;
        for (name, _) in &cases {
            scenario.create(a_relocation(name).with(json!({ "activeDeadlineSeconds": i64::MAX }))).await;
        }
        for (name, nonsense) in &cases {
            scenario.wait_for_running_pod(name, Step::Preprocessing).await;
            scenario.patch_status(name, nonsense.clone()).await.expect("the rules let it through");
        }
        scenario.wait_until_answered("counts").await;
        assert_silence(scenario).await;
        // The operator lives, and goes on with what can go on.
        scenario.script(on(Step::Preprocessing), Behaviour::succeed());
        for name in ["attempt", "past", "future"] {
            scenario.wait_for_success(name).await;
        }
        let waiting = told(&scenario.relocation("patience"), ConditionType::Reconciling).unwrap_or_default();
        assert!(waiting.contains("9999"), "{waiting}");
        assert_silence(scenario).await;
        scenario.create(a_relocation("another")).await;
        scenario.wait_for_success("another").await;
    })
    .await;
}

#[tokio::test]
async fn a_status_of_unknown_words_and_wrong_shapes_cannot_be_stored() {
    run(async |scenario| {
        scenario.create(a_relocation("acme")).await;
        let at = "2026-01-01T00:00:00Z";
        let cases = [
            (json!({ "status": "FOO", "step": "IMPORTING" }), "status.status: Unsupported value: \"FOO\""),
            (json!({ "status": "PENDING", "step": "FOO" }), "status.step: Unsupported value: \"FOO\""),
            (json!({ "autoPauseAtStep": "UPLOADING" }), "status.autoPauseAtStep: Unsupported value"),
            (
                json!({ "status": "PAUSE", "step": "IMPORTING",
                        "pause": { "step": "IMPORTING", "since": at, "reason": "FOO", "message": "" } }),
                "status.pause.reason: Unsupported value: \"FOO\"",
            ),
            (
                json!({ "status": "FAILURE", "step": "IMPORTING",
                        "failure": { "id": "x", "step": "IMPORTING", "reason": "FOO", "message": "", "at": at } }),
                "status.failure.reason: Unsupported value: \"FOO\"",
            ),
            (
                json!({ "status": "FAILURE", "step": "IMPORTING", "failure": { "reason": "Aborted" } }),
                "status.failure.id: Required value",
            ),
            (json!({ "steps": [{ "name": "FOO", "state": "Pending" }] }), "status.steps[0].name: Unsupported value"),
            (json!({ "steps": [{ "name": "IMPORTING", "state": "FOO" }] }), "status.steps[0].state: Unsupported value"),
            (json!({ "task": "x".repeat(64) }), "status.task: Too long"),
            (json!({ "attempt": 4_294_967_296_i64 }), "attempt in body should be less than or equal to 2147483647"),
            (json!({ "launch": "latest" }), "status.launch: Invalid value: \"string\""),
            (json!({ "launchedAt": "yesterday" }), "status.launchedAt: Invalid value"),
            (json!({ "entered": "yes" }), "status.entered: Invalid value"),
        ];
        let before = scenario.relocation("acme");
        for (nonsense, words) in cases {
            let message = scenario.patch_status("acme", nonsense).await.expect_err(words);
            assert!(message.contains(words), "{words}: {message}");
        }
        let stored = scenario.relocations().get("acme").await.expect("the relocation");
        assert_eq!(stored.metadata.resource_version, before.metadata.resource_version);
        assert_eq!(scenario.status("acme").status, None::<StatusValue>);
    })
    .await;
}

/// The message of a condition of the relocation, `Reason: message`.
fn told(relocation: &Relocation, wanted: ConditionType) -> Option<String> {
    let condition = find_condition(&relocation.status.as_ref()?.conditions, wanted)?;
    Some(format!("{}: {}", condition.reason, condition.message))
}

/// Waits until nothing is written any more, and sees that the operator rests meanwhile.
async fn assert_silence(scenario: &Scenario) {
    scenario.wait_for_quiet(SILENCE, Duration::from_secs(60)).await;
    let before = passes(scenario).await;
    scenario.wait_for_quiet(SILENCE, Duration::from_secs(60)).await;
    let made = passes(scenario).await - before;
    assert!(made <= PASSES_IN_SILENCE, "{made} passes in a silence");
}

/// How many passes the operator has made so far.
async fn passes(scenario: &Scenario) -> u64 {
    let page = scenario.operators[0].page("/metrics").await.expect("the operator lives");
    let counted = page.lines().filter(|line| line.starts_with("relocation_reconcile_total{"));
    let passes: u64 = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert!(passes > 0, "{page}");
    passes
}
