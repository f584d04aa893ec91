//! Bad input: a state and a sentence that names the field and what to do, and going on by itself when it is put right.

use std::time::Duration;

use relocation_operator::api::{ConditionType, Relocation, StatusValue, find_condition};
use serde_json::json;

use crate::support::{SIX_WORKS, a_plan, a_relocation, run};

/// The message of a condition of the relocation, `Reason: message`.
fn told(relocation: &Relocation, wanted: ConditionType) -> Option<String> {
    let status = relocation.status.as_ref()?;
    let condition = find_condition(&status.conditions, wanted)?;
    Some(format!("{}: {}", condition.reason, condition.message))
}

#[tokio::test]
async fn a_plan_that_is_applied_after_the_relocation_is_waited_for() {
    run(async |scenario| {
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let waiting = scenario
            .wait_until("acme", "it waits for its plan", |relocation| {
                told(relocation, ConditionType::Reconciling).is_some_and(|message| message.contains("plan"))
            })
            .await;
        let status = waiting.status.unwrap_or_default();
        assert_eq!(status.status, Some(StatusValue::Pending));
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_the_api_server_would_refuse_is_told_with_its_field_and_goes_on_when_corrected() {
    run(async |scenario| {
        let plan = a_plan("plan").with_six_steps();
        let broken = plan.clone().with_task(
            relocation_operator::api::Step::Importing,
            "run",
            json!({ "template": { "spec": { "containers": [{ "name": "Not A Name", "image": "stub" }] } } }),
        );
        scenario.create_plan(broken).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let stalled = scenario
            .wait_until("acme", "it is stalled", |relocation| told(relocation, ConditionType::Stalled).is_some())
            .await;
        let message = told(&stalled, ConditionType::Stalled).unwrap_or_default();
        assert!(message.contains("IMPORTING") && message.contains("Not A Name"), "{message}");
        scenario
            .wait(Duration::from_secs(10), "the plan says so too", |seen| {
                let status = seen.plans.get("plan")?.status.as_ref()?;
                let accepted = find_condition(&status.conditions, ConditionType::Accepted)?;
                (accepted.status == "False" && accepted.message.contains("Not A Name")).then_some(())
            })
            .await;
        scenario.patch_plan("plan", plan.build()["spec"].clone()).await;
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
    })
    .await;
}

#[tokio::test]
async fn parameters_that_do_not_fit_the_plan_are_told_by_name() {
    run(async |scenario| {
        let parameters =
            json!({ "parameters": [{ "name": "REGION", "required": true }, { "name": "RATE", "default": "slow" }] });
        scenario.create_plan(a_plan("plan").with_six_steps().with(parameters)).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("missing")).await;
        scenario
            .create(a_relocation("unknown").with(json!({ "parameters": { "REGION": "eu", "COLOUR": "red" } })))
            .await;
        for (name, parameter) in [("missing", "REGION"), ("unknown", "COLOUR")] {
            let stalled = scenario
                .wait_until(name, "it is stalled", |relocation| told(relocation, ConditionType::Stalled).is_some())
                .await;
            let message = told(&stalled, ConditionType::Stalled).unwrap_or_default();
            assert!(message.contains(parameter), "{message}");
            assert_eq!(stalled.status.unwrap_or_default().status, Some(StatusValue::Pending));
            assert!(scenario.works(name).is_empty());
        }
        scenario.patch_spec("missing", json!({ "parameters": { "REGION": "eu" } })).await.expect("nothing runs");
        scenario.patch_spec("unknown", json!({ "parameters": { "COLOUR": null } })).await.expect("nothing runs");
        for name in ["missing", "unknown"] {
            scenario.wait_for_success(name).await;
            assert_eq!(scenario.works(name), SIX_WORKS);
        }
    })
    .await;
}
