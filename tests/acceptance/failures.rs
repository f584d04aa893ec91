//! Tasks that fail: again, for good, without proof, or through nobody's fault.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, EvictParams};
use relocation_operator::api::{ConditionType, FailureReason, Step, WorkState, find_condition};
use serde_json::json;

use crate::support::{Behaviour, SIX_WORKS, a_plan, a_relocation, on, run};

#[tokio::test]
async fn a_failing_task_is_tried_again_after_a_back_off_and_then_fails_with_code_and_message() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing).attempt(1), Behaviour::exit(3, "disk full"));
        scenario.script(on(Step::Importing).attempt(2), Behaviour::exit(4, "disk still full"));
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario
            .wait_until("acme", "it backs off", |relocation| {
                relocation.status.as_ref().is_some_and(|status| status.next_attempt_at.is_some())
            })
            .await;
        let status = scenario.wait_for_failure("acme").await;
        let failure = status.failure.expect("a reason");
        assert_eq!(failure.reason, FailureReason::AttemptsExhausted);
        assert_eq!((failure.step, failure.task.as_deref()), (Step::Importing, Some("run")));
        assert_eq!((failure.attempt, failure.exit_code), (Some(2), Some(4)));
        assert!(failure.message.contains("disk still full"), "{}", failure.message);
        assert!(failure.recoverable);
        assert!(failure.id.starts_with("IMPORTING-1-"), "{}", failure.id);
        let told = status.steps.iter().find(|told| told.name == Step::Importing).expect("the step is told");
        assert_eq!(
            (told.state, told.tasks[0].state, told.tasks[0].attempts),
            (WorkState::Failed, WorkState::Failed, 2)
        );
        assert_eq!(scenario.works("acme")[3..], ["IMPORTING/run/1", "IMPORTING/run/2"]);
        let stalled = find_condition(&status.conditions, ConditionType::Stalled).expect("a condition");
        assert_eq!(stalled.reason, "AttemptsExhausted");
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_task_that_succeeds_at_its_second_attempt_goes_on() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Uploading).attempt(1), Behaviour::exit(1, "not yet"));
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let status = scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme")[..3], ["UPLOADING/run/1", "UPLOADING/run/2", "PREPROCESSING/run/1"]);
        assert_eq!(status.steps[0].tasks[0].attempts, 2);
    })
    .await;
}

#[tokio::test]
async fn a_fatal_exit_code_fails_at_once() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Preprocessing), Behaviour::exit(65, "the names do not fit"));
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let failure = scenario.wait_for_failure("acme").await.failure.expect("a reason");
        assert_eq!((failure.reason, failure.exit_code), (FailureReason::FatalExitCode, Some(65)));
        assert!(failure.message.contains("the names do not fit"), "{}", failure.message);
        assert_eq!(scenario.works("acme"), ["UPLOADING/run/1", "PREPROCESSING/run/1"]);
    })
    .await;
}

#[tokio::test]
async fn evidence_that_is_missing_or_invalid_fails() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Validating).relocation("silent"), Behaviour::Succeed("looks fine".into()));
        let invalid = r#"{"verdict":"INVALID","message":"3 files differ","counts":{"files":3}}"#;
        scenario.script(on(Step::Validating).relocation("broken"), Behaviour::Succeed(invalid.into()));
        scenario.start_operator().await;
        scenario.create(a_relocation("silent")).await;
        scenario.create(a_relocation("broken")).await;
        let failure = scenario.wait_for_failure("silent").await.failure.expect("a reason");
        assert_eq!(failure.reason, FailureReason::EvidenceMissing);
        let status = scenario.wait_for_failure("broken").await;
        let failure = status.failure.expect("a reason");
        assert_eq!(failure.reason, FailureReason::ValidationInvalid);
        assert!(failure.message.contains("3 files differ"), "{}", failure.message);
        for name in ["silent", "broken"] {
            assert_eq!(scenario.works(name), SIX_WORKS[..3], "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_mail_server_that_is_down_does_not_fail_a_finished_move() {
    run(async |scenario| {
        let once = json!({ "attempts": 1 });
        scenario.create_plan(a_plan("plan").with_six_steps().with_task(Step::Notifying, "run", once)).await;
        scenario.script(on(Step::Notifying), Behaviour::exit(1, "no mail server"));
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let status = scenario.wait_for_success("acme").await;
        let told = status.steps.iter().find(|told| told.name == Step::Notifying).expect("the step is told");
        assert_eq!(told.tasks[0].state, WorkState::Failed);
        assert_eq!(told.tasks[0].message.as_deref(), Some("no mail server"));
    })
    .await;
}

#[tokio::test]
async fn a_pod_lost_to_an_eviction_uses_no_attempt_and_one_deleted_by_hand_uses_one() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Uploading), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("evicted")).await;
        scenario.create(a_relocation("deleted")).await;
        let (evicted, _) = scenario.wait_for_running_pod("evicted", Step::Uploading).await;
        let (deleted, uid) = scenario.wait_for_running_pod("deleted", Step::Uploading).await;
        scenario.script(on(Step::Uploading).relocation("deleted").attempt(2), Behaviour::succeed());
        let pods: Api<Pod> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
        pods.evict(&evicted, &EvictParams::default()).await.expect("an eviction");
        scenario.delete_pod(&deleted, &uid).await;

        scenario
            .wait(Duration::from_secs(30), "a second launch of the evicted one", |seen| {
                (seen.launches.iter().filter(|launch| launch.relocation == "evicted").count() == 2).then_some(())
            })
            .await;
        assert_eq!(scenario.works("evicted"), ["UPLOADING/run/1", "UPLOADING/run/1"]);
        scenario.script(on(Step::Uploading), Behaviour::succeed());
        for name in ["evicted", "deleted"] {
            scenario.wait_for_success(name).await;
        }
        assert_eq!(scenario.works("evicted").len(), 7);
        assert_eq!(scenario.works("deleted")[..2], ["UPLOADING/run/1", "UPLOADING/run/2"]);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_task_that_takes_too_long_is_a_failed_attempt() {
    run(async |scenario| {
        let short = json!({ "timeoutSeconds": 2, "attempts": 1 });
        scenario.create_plan(a_plan("plan").with_six_steps().with_task(Step::Uploading, "run", short)).await;
        scenario.script(on(Step::Uploading), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let failure = scenario.wait_for_failure("acme").await.failure.expect("a reason");
        assert_eq!(failure.reason, FailureReason::AttemptsExhausted);
        assert_eq!(scenario.works("acme"), ["UPLOADING/run/1"]);
    })
    .await;
}

#[tokio::test]
async fn a_whole_run_that_takes_too_long_ends_and_stops_its_job() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Uploading), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme").with(json!({ "activeDeadlineSeconds": 3 }))).await;
        let failure = scenario.wait_for_failure("acme").await.failure.expect("a reason");
        assert_eq!(failure.reason, FailureReason::DeadlineExceeded);
        scenario
            .wait(Duration::from_secs(30), "its Job and pod are gone", |seen| {
                (seen.jobs.is_empty() && seen.pods.is_empty()).then_some(())
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn an_image_that_does_not_exist_becomes_the_message_of_what_it_waits_for() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        let missing = "Back-off pulling image \"registry.example/none:1\"";
        scenario.script(on(Step::Uploading), Behaviour::wait("ImagePullBackOff", missing));
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario
            .wait(Duration::from_secs(60), "the reason in Reconciling", |seen| {
                let status = seen.relocations.get("acme")?.status.as_ref()?;
                let condition = find_condition(&status.conditions, ConditionType::Reconciling)?;
                (condition.message.contains("ImagePullBackOff")
                    && condition.message.contains("registry.example/none:1"))
                .then_some(())
            })
            .await;
        scenario.script(on(Step::Uploading), Behaviour::succeed());
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
    })
    .await;
}
