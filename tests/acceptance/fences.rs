//! Fences and cancels: levels, not commands.

use relocation_operator::api::{ConditionType, FailureReason, PauseReason, StatusValue, Step, find_condition};
use serde_json::json;

use crate::support::{Behaviour, SIX_WORKS, Scenario, a_plan, a_relocation, on, run};

/// A relocation that stands before IMPORTING because of its own fence.
async fn paused_before_importing(scenario: &mut Scenario) {
    scenario.create_plan(a_plan("plan").with_six_steps()).await;
    scenario.start_operator().await;
    scenario.create(a_relocation("acme").paused_at(Step::Importing)).await;
    scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
}

#[tokio::test]
async fn a_fence_set_before_the_start_holds_until_it_is_cleared() {
    run(async |scenario| {
        paused_before_importing(scenario).await;
        let status = scenario.wait_until_answered("acme").await;
        assert!(!status.entered);
        let pause = status.pause.expect("a reason");
        assert_eq!((pause.step, pause.reason), (Step::Importing, PauseReason::Fence));
        assert!(pause.message.contains("pauseAtStep"), "{}", pause.message);
        let paused = find_condition(&status.conditions, ConditionType::Paused).expect("a condition");
        assert_eq!((paused.status.as_str(), paused.reason.as_str()), ("True", "AtFence"));
        assert_eq!(scenario.works("acme"), SIX_WORKS[..3]);

        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        let status = scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        assert!(status.pause.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_fence_set_while_an_earlier_step_runs_holds() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Validating), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Validating).await;
        scenario.patch_spec("acme", json!({ "pauseAtStep": "IMPORTING" })).await.expect("a fence ahead");
        scenario.script(on(Step::Validating), Behaviour::succeed());
        scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
        assert_eq!(scenario.works("acme"), SIX_WORKS[..3]);
    })
    .await;
}

#[tokio::test]
async fn a_fence_that_is_moved_while_paused_lets_it_go_until_there() {
    run(async |scenario| {
        paused_before_importing(scenario).await;
        scenario.patch_spec("acme", json!({ "pauseAtStep": "NOTIFYING" })).await.expect("a fence ahead");
        scenario.wait_for("acme", StatusValue::Pause, Step::Notifying).await;
        assert_eq!(scenario.works("acme"), SIX_WORKS[..5]);
        let refused = scenario.patch_spec("acme", json!({ "pauseAtStep": "POSTPROCESSING" })).await;
        assert!(refused.is_err_and(|message| message.contains(
            "cannot pause at POSTPROCESSING: it is over (the relocation is at NOTIFYING, task run); \
             the next step that can be fenced is NOTIFYING"
        )));
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
    })
    .await;
}

#[tokio::test]
async fn a_fence_on_an_empty_step_holds() {
    run(async |scenario| {
        let plan = a_plan("plan").with_six_steps().with_step(Step::Importing, []);
        scenario.create_plan(plan).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme").paused_at(Step::Importing)).await;
        scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
        assert_eq!(scenario.works("acme"), SIX_WORKS[..3]);
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        scenario.wait_for_success("acme").await;
    })
    .await;
}

#[tokio::test]
async fn the_automatic_fence_holds_beside_the_fence_before_at_and_after_it() {
    run(async |scenario| {
        let plan = a_plan("plan").with_six_steps();
        scenario.create_plan(plan.with(json!({ "autoPauseAtStep": { "SELF_HOSTED": "IMPORTING" } }))).await;
        scenario.start_operator().await;
        let names = ["before", "equal", "after", "skipped", "hosted"];
        scenario.create(a_relocation("before").paused_at(Step::Validating)).await;
        scenario.create(a_relocation("equal").paused_at(Step::Importing)).await;
        scenario.create(a_relocation("after").paused_at(Step::Postprocessing)).await;
        scenario.create(a_relocation("skipped").with(json!({ "autoPause": "Skip" }))).await;
        scenario.create(a_relocation("hosted").with(json!({ "provenance": "SAAS_TO_SAAS" }))).await;

        scenario.wait_for("before", StatusValue::Pause, Step::Validating).await;
        scenario.patch_spec("before", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        let status = scenario.wait_for("before", StatusValue::Pause, Step::Importing).await;
        assert_eq!(status.pause.expect("a reason").reason, PauseReason::AutoFence);

        scenario.wait_for("equal", StatusValue::Pause, Step::Importing).await;
        scenario.patch_spec("equal", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        let status = scenario.wait_until_answered("equal").await;
        assert_eq!(status.status, Some(StatusValue::Pause), "the automatic fence still holds");
        let pause = status.pause.expect("a reason");
        assert_eq!(pause.reason, PauseReason::AutoFence);
        assert!(pause.message.contains("autoPause"), "it says how to open it: {}", pause.message);

        scenario.wait_for("after", StatusValue::Pause, Step::Importing).await;
        scenario.patch_spec("after", json!({ "autoPause": "Skip" })).await.expect("the automatic fence is opened");
        scenario.wait_for("after", StatusValue::Pause, Step::Postprocessing).await;

        for name in ["before", "equal"] {
            scenario.patch_spec(name, json!({ "autoPause": "Skip" })).await.expect("the automatic fence is opened");
        }
        scenario.patch_spec("after", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        for name in names {
            scenario.wait_for_success(name).await;
            assert_eq!(scenario.works(name), SIX_WORKS, "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn applying_the_same_manifest_at_any_moment_changes_nothing() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        let manifest = a_relocation("acme").paused_at(Step::Importing).with(json!({ "lateRequests": "Report" }));
        scenario.apply(manifest.clone()).await.expect("applied");
        for step in [Step::Uploading, Step::Validating] {
            scenario
                .wait_until("acme", "the step was entered", |relocation| {
                    relocation.status.as_ref().is_some_and(|status| status.is_behind(step))
                })
                .await;
            scenario.apply(manifest.clone()).await.expect("applied again");
        }
        scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
        scenario.apply(manifest.clone()).await.expect("applied while paused");
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);

        scenario.apply(manifest).await.expect("the manifest still names the old fence, which is reported");
        let status = scenario
            .wait_until("acme", "the late request is answered", |relocation| {
                relocation.status.as_ref().is_some_and(|status| status.late.is_some())
            })
            .await
            .status
            .unwrap_or_default();
        assert_eq!(status.status, Some(StatusValue::Success));
        assert_eq!(scenario.works("acme"), SIX_WORKS);
    })
    .await;
}

#[tokio::test]
async fn a_late_fence_is_refused_with_the_step_that_runs_and_reported_where_it_is_stored() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("strict")).await;
        scenario.create(a_relocation("lenient").with(json!({ "lateRequests": "Report" }))).await;
        scenario.wait_for_running_pod("strict", Step::Importing).await;
        scenario.wait_for_running_pod("lenient", Step::Importing).await;

        let refused = scenario.patch_spec("strict", json!({ "pauseAtStep": "IMPORTING" })).await;
        assert!(refused.is_err_and(|message| message.contains(
            "cannot pause at IMPORTING: it has started (the relocation is at IMPORTING, task run); \
             the next step that can be fenced is POSTPROCESSING"
        )));
        scenario.patch_spec("lenient", json!({ "pauseAtStep": "IMPORTING" })).await.expect("it is stored");
        let status = scenario.wait_until_answered("lenient").await;
        let late = status.late.expect("an answer");
        assert_eq!((late.field.as_str(), late.value.as_str()), ("pauseAtStep", "IMPORTING"));
        assert_eq!(status.status, Some(StatusValue::InProgress));

        scenario.script(on(Step::Importing), Behaviour::succeed());
        for name in ["strict", "lenient"] {
            scenario.wait_for_success(name).await;
            assert_eq!(scenario.works(name), SIX_WORKS, "{name}");
        }
        let told = scenario.events("lenient").await;
        assert_eq!(told.iter().filter(|event| event.starts_with("RequestTooLate")).count(), 1, "{told:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_cancel_ends_before_its_step_and_beats_a_fence_on_it() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        let cancelled = a_relocation("acme").paused_at(Step::Importing).with(json!({ "cancelAtStep": "IMPORTING" }));
        scenario.create(cancelled).await;
        let status = scenario.wait_for_failure("acme").await;
        let failure = status.failure.expect("a reason");
        assert_eq!(failure.reason, FailureReason::Cancelled);
        assert_eq!((failure.step, failure.entered, status.entered), (Step::Importing, false, false));
        assert_eq!(scenario.works("acme"), SIX_WORKS[..3]);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_of_a_paused_relocation_ends_it_at_once_or_waits_for_its_step() {
    run(async |scenario| {
        paused_before_importing(scenario).await;
        scenario.patch_spec("acme", json!({ "cancelAtStep": "NOTIFYING" })).await.expect("a cancel ahead");
        let status = scenario.wait_until_answered("acme").await;
        assert_eq!(status.status, Some(StatusValue::Pause), "a cancel at a later step waits");
        let cancelling = find_condition(&status.conditions, ConditionType::Cancelling).expect("a condition");
        assert_eq!((cancelling.status.as_str(), cancelling.reason.as_str()), ("True", "Scheduled"));

        scenario.patch_spec("acme", json!({ "cancelAtStep": null })).await.expect("a cancel can be withdrawn");
        let status = scenario.wait_until_answered("acme").await;
        assert!(find_condition(&status.conditions, ConditionType::Cancelling).is_none());

        scenario.patch_spec("acme", json!({ "cancelAtStep": "IMPORTING" })).await.expect("a cancel at the next step");
        let status = scenario.wait_for_failure("acme").await;
        assert_eq!(status.failure.expect("a reason").reason, FailureReason::Cancelled);
        assert_eq!(scenario.works("acme"), SIX_WORKS[..3]);
    })
    .await;
}
