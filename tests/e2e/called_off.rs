//! A move that is aborted while it writes, with a plan that takes back what was written: other people's data stay.

use kube::runtime::wait::await_condition;
use relocation_operator::api::{FailureReason, Relocation, StatusValue};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::bucket::{self, OBJECTS, assert_nothing_half, fill, wait_until_it_has, wait_until_only_theirs};
use super::ground::{
    Example, LIMIT, VOLUME_TO_S3, VOLUME_TO_VOLUME, shell, shell_with, task, wait_for, wait_for_failure,
    wait_until_notified,
};
use super::support::{Scenario, run};
use super::tree;

#[tokio::test]
async fn of_a_bucket_only_the_objects_of_the_move_are_removed() {
    run(async |scenario| {
        bucket::serve(scenario, VOLUME_TO_S3).await;
        VOLUME_TO_S3.create(scenario, "volumes.yaml").await;
        shell_with(scenario, "fill", &fill("/source"), &["source"]).await.expect("the source is filled");
        VOLUME_TO_S3.start_with(scenario, plan_that_cleans_up(VOLUME_TO_S3)).await;
        import_slowly(scenario, VOLUME_TO_S3, bucket::SLOW).await;
        wait_until_it_has(scenario, OBJECTS / 4).await;
        abort(scenario, VOLUME_TO_S3).await;
        wait_until_only_theirs(scenario).await;
        assert_nothing_half(scenario).await;
    })
    .await;
}

#[tokio::test]
async fn of_a_volume_only_the_files_of_the_move_are_removed() {
    run(async |scenario| {
        VOLUME_TO_VOLUME.create(scenario, "volumes.yaml").await;
        tree::make(scenario).await;
        let theirs = "mkdir /target/0 && echo theirs | tee /target/0/theirs > /target/theirs";
        shell(scenario, "theirs", theirs).await.expect("other people's files");
        VOLUME_TO_VOLUME.start_with(scenario, plan_that_cleans_up(VOLUME_TO_VOLUME)).await;
        import_slowly(scenario, VOLUME_TO_VOLUME, tree::SLOW).await;
        tree::wait_until_some_arrived(scenario).await;
        abort(scenario, VOLUME_TO_VOLUME).await;
        tree::assert_nothing_half(scenario).await;
        let left = "cd /target && find . -mindepth 1 | sort > /dev/termination-log && cat theirs 0/theirs > /tmp/theirs && test \"$(wc -l < /tmp/theirs)\" = 2";
        let left = shell(scenario, "left", left).await;
        assert_eq!(left.as_deref(), Ok("./0\n./0/theirs\n./theirs\n"));
    })
    .await;
}

/// The example's plan with an `onEnd` as the page about the mover shows it.
fn plan_that_cleans_up(example: Example) -> Value {
    let mut plan = example.plan();
    let mut template = task(&mut plan, "IMPORTING")["template"].clone();
    let container = &mut template["spec"]["containers"][0];
    let arguments = container["args"].as_array().expect("arguments");
    let target = arguments.iter().find(|argument| argument.as_str().is_some_and(|text| text.starts_with("--target")));
    container["args"] = json!(["cleanup", target.expect("a target")]);
    plan["spec"]["onEnd"] = json!({ "template": template });
    plan
}

/// Opens the fence before IMPORTING, which then has a limit.
async fn import_slowly(scenario: &Scenario, example: Example, bandwidth: &str) {
    wait_for(scenario, example.name(), StatusValue::Pause).await;
    let go_on = json!({ "pauseAtStep": null, "parameters": { "BANDWIDTH": bandwidth } });
    scenario.patch_spec(example.name(), go_on).await.expect("a fence can be cleared");
    let runs = await_condition(scenario.relocations(), example.name(), |relocation: Option<&Relocation>| {
        relocation.and_then(|relocation| relocation.status.as_ref()).is_some_and(|status| status.entered)
    });
    timeout(LIMIT, runs).await.expect("IMPORTING runs in time").expect("a watch of the relocation");
}

/// Aborts the move and waits until `onEnd` has done its work.
async fn abort(scenario: &Scenario, example: Example) {
    let aborted = json!({ "desiredState": "Aborted", "reason": "the tenant has changed its mind" });
    scenario.patch_spec(example.name(), aborted).await.expect("an abort");
    let failure = wait_for_failure(scenario, example.name()).await;
    assert_eq!((failure.step.as_str(), failure.reason), ("IMPORTING", FailureReason::Aborted));
    let notified = wait_until_notified(scenario, example.name()).await;
    assert!(notified.starts_with("True"), "{notified}");
}
