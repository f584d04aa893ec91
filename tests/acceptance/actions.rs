//! What people ask for while a relocation stands or runs: recover, retry, suspend, a place, clean-up.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use relocation_operator::api::{FailureReason, PauseReason, RelocationStatus, StatusValue, Step};
use serde_json::json;

use crate::support::{Behaviour, SIX_WORKS, Scenario, Script, a_plan, a_relocation, on, run};

/// Longer than a relocation takes that waits for its turn.
const LIMIT: Duration = Duration::from_secs(90);

/// A relocation `acme` that has failed for good in IMPORTING.
async fn a_failure(scenario: &mut Scenario) -> RelocationStatus {
    scenario.create_plan(a_plan("plan").with_six_steps()).await;
    scenario.script(on(Step::Importing), Behaviour::exit(65, "the target has no such tenant"));
    scenario.start_operator().await;
    scenario.create(a_relocation("acme")).await;
    scenario.wait_for_failure("acme").await
}

fn id_of(status: &RelocationStatus) -> String {
    status.failure.as_ref().expect("a failure").id.clone()
}

async fn wait_for_reason(scenario: &Scenario, name: &str, type_: &str, reason: &str) {
    scenario
        .wait_until(name, reason, |relocation| {
            let conditions = relocation.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == type_ && condition.reason == reason)
        })
        .await;
}

#[tokio::test]
async fn a_recover_runs_the_failed_task_once_more_with_the_corrected_plan_and_nothing_else_again() {
    run(async |scenario| {
        let failed = a_failure(scenario).await;
        let wrong = scenario.patch_spec("acme", json!({ "recover": "IMPORTING-1-00000000" })).await;
        let sentence = wrong.expect_err("not the failure that stands");
        assert!(sentence.contains(&id_of(&failed)), "{sentence}");

        scenario.patch_plan("plan", json!({ "parameters": [{ "name": "TENANT", "default": "acme" }] })).await;
        scenario.script(on(Step::Importing), Behaviour::succeed());
        let why = json!({ "recover": id_of(&failed), "reason": "the tenant exists now" });
        scenario.patch_spec("acme", why).await.expect("the id of the failure");
        let status = scenario.wait_for_success("acme").await;
        let mut works = SIX_WORKS.map(str::to_owned).to_vec();
        works.insert(4, "IMPORTING/run/2".to_owned());
        assert_eq!(scenario.works("acme"), works);
        assert_eq!((status.recoveries, status.plan.map(|plan| plan.generation)), (Some(1), Some(2)));
        let remembered = status.history.iter().find(|entry| entry.action == "Recovered").expect("it is remembered");
        assert_eq!(remembered.reason.as_deref(), Some("the tenant exists now"));
        assert_eq!(remembered.manager.as_deref(), Some("acceptance-test"));
        // The token that is left in the manifest does nothing any more.
        let quiet = scenario.versions("acme");
        scenario.patch_spec("acme", json!({ "reason": null })).await.expect("an edit");
        scenario.wait_until_answered("acme").await;
        assert!(scenario.versions("acme") <= quiet + 2);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_recover_waits_for_a_plan_that_has_the_task_and_can_be_withdrawn() {
    run(async |scenario| {
        let failed = a_failure(scenario).await;
        let without = a_plan("plan").with_six_steps().with_step(Step::Importing, ["other"]).build();
        scenario.patch_plan("plan", json!({ "steps": without["spec"]["steps"] })).await;
        scenario.patch_spec("acme", json!({ "recover": id_of(&failed) })).await.expect("the id of the failure");
        wait_for_reason(scenario, "acme", "Stalled", "RecoverWaiting").await;
        scenario.patch_spec("acme", json!({ "recover": null })).await.expect("it can be withdrawn");
        wait_for_reason(scenario, "acme", "Stalled", "FatalExitCode").await;

        scenario.patch_spec("acme", json!({ "recover": id_of(&failed) })).await.expect("the id of the failure");
        wait_for_reason(scenario, "acme", "Stalled", "RecoverWaiting").await;
        scenario.script(on(Step::Importing), Behaviour::succeed());
        let with = a_plan("plan").with_six_steps().with_step(Step::Importing, ["before", "run"]).build();
        scenario.patch_plan("plan", json!({ "steps": with["spec"]["steps"] })).await;
        scenario.wait_for_success("acme").await;
        let works = scenario.works("acme");
        assert!(!works.iter().any(|work| work.contains("before")), "a task added before it is not run: {works:?}");
    })
    .await;
}

#[tokio::test]
async fn a_suspended_task_is_stopped_and_its_attempt_is_launched_again() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Importing).await;
        scenario.patch_spec("acme", json!({ "desiredState": "Suspended" })).await.expect("at any time");
        let paused = scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
        assert_eq!(paused.pause.map(|pause| pause.reason), Some(PauseReason::Suspended));
        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.patch_spec("acme", json!({ "desiredState": "Active" })).await.expect("at any time");
        let status = scenario.wait_for_success("acme").await;
        let mut works = SIX_WORKS.map(str::to_owned).to_vec();
        works.insert(4, "IMPORTING/run/1".to_owned());
        assert_eq!(scenario.works("acme"), works, "the same attempt");
        let actions: Vec<_> = status.history.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["Suspended", "Resumed", "Succeeded"]);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn an_aborted_relocation_stays_so_until_it_is_recovered() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Importing).await;
        scenario.patch_spec("acme", json!({ "desiredState": "Aborted" })).await.expect("at any time");
        let failed = scenario.wait_for_failure("acme").await;
        assert_eq!(failed.failure.as_ref().map(|failure| failure.reason), Some(FailureReason::Aborted));
        let back = scenario.patch_spec("acme", json!({ "desiredState": "Active" })).await;
        assert!(back.expect_err("an abort is an abort").contains(&id_of(&failed)));
        scenario.script(on(Step::Importing), Behaviour::succeed());
        let both = json!({ "desiredState": "Active", "recover": id_of(&failed) });
        scenario.patch_spec("acme", both).await.expect("with a recover in the same change");
        scenario.wait_for_success("acme").await;
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_retry_starts_over_and_the_old_one_shows_it_and_waits() {
    run(async |scenario| {
        let failed = a_failure(scenario).await;
        let uid = scenario.relocation("acme").uid().expect("a uid");
        let early = json!({ "owner": "acme", "retryOf": { "name": "acme", "uid": uid }, "pauseAtStep": "IMPORTING" });
        scenario.create(a_relocation("acme-2").with(early)).await;
        let paused = scenario.wait_for("acme-2", StatusValue::Pause, Step::Importing).await;
        assert_eq!(paused.origin, failed.uuid);
        scenario
            .wait_until("acme", "it shows who starts it over", |relocation| {
                let failure = relocation.status.as_ref().and_then(|status| status.failure.as_ref());
                let retried_by = failure.and_then(|failure| failure.retried_by.as_ref());
                retried_by.is_some_and(|retried_by| retried_by.name == "acme-2")
            })
            .await;
        scenario.patch_spec("acme", json!({ "recover": id_of(&failed) })).await.expect("the id of the failure");
        wait_for_reason(scenario, "acme", "Stalled", "RecoverWaiting").await;

        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.patch_spec("acme-2", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        scenario.wait_for_success("acme-2").await;
        assert_eq!(scenario.works("acme-2"), SIX_WORKS);
        assert_eq!(scenario.works("acme").len(), 4, "the old one did nothing more");
    })
    .await;
}

#[tokio::test]
async fn relocations_of_a_plan_with_one_place_run_one_after_the_other_in_the_order_of_waiting() {
    run(async |scenario| {
        let plan = a_plan("plan").with_six_steps().with(json!({ "maxActive": 1 }));
        scenario.create_plan(plan).await;
        scenario.script(on(Step::Uploading).relocation("first"), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("first")).await;
        scenario.wait_for_running_pod("first", Step::Uploading).await;
        let mut turns = Vec::new();
        for name in ["second", "third"] {
            scenario.create(a_relocation(name)).await;
            wait_for_reason(scenario, name, "Reconciling", "WaitingForPlace").await;
            let relocation = scenario.relocation(name);
            turns.push((scenario.status(name).waiting_since.expect("a turn").0, relocation.uid(), name));
        }
        turns.sort();
        let (second, third) = (turns[0].2, turns[1].2);
        scenario.script(Script::everything(), Behaviour::succeed());
        for name in ["first", "second", "third"] {
            scenario
                .wait(LIMIT, name, |seen| {
                    let status = seen.relocations.get(name)?.status.as_ref()?;
                    (status.status == Some(StatusValue::Success)).then_some(())
                })
                .await;
        }
        let over = |name| scenario.status(name).finished_at.expect("an end").0;
        let began = |name| scenario.status(name).started_at.expect("a start").0;
        assert!(over("first") <= began(second) && over(second) <= began(third));
    })
    .await;
}

#[tokio::test]
async fn a_closed_plan_starts_nothing_until_it_is_opened() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps().with(json!({ "maxActive": 0 }))).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        wait_for_reason(scenario, "acme", "Reconciling", "WaitingForPlace").await;
        assert!(scenario.works("acme").is_empty());
        scenario.patch_plan("plan", json!({ "maxActive": null })).await;
        scenario.wait_for_success("acme").await;
    })
    .await;
}

#[tokio::test]
async fn a_success_is_cleaned_up_and_keeps_its_record() {
    run(async |scenario| {
        let plan = a_plan("plan").with_six_steps().with(json!({ "workspace": { "storage": "1Mi" } }));
        scenario.create_plan(plan).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme").with(json!({ "cleanupSecondsAfterFinished": 1 }))).await;
        scenario.wait_for_success("acme").await;
        scenario
            .wait(LIMIT, "its Jobs and pods are gone", |seen| {
                (seen.jobs.is_empty() && seen.pods.is_empty()).then_some(())
            })
            .await;
        let claims: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
            Api::namespaced(scenario.client.clone(), &scenario.namespace);
        let left = claims.list(&ListParams::default()).await.expect("the claims");
        assert!(left.iter().all(|claim| claim.metadata.deletion_timestamp.is_some()), "{left:?}");
        assert_eq!(scenario.status("acme").status, Some(StatusValue::Success));
        assert_eq!(scenario.works("acme"), SIX_WORKS);
    })
    .await;
}

#[tokio::test]
async fn a_relocation_that_waits_for_the_lock_starts_when_its_holder_has_ended() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing).relocation("one"), Behaviour::Hang);
        scenario.start_operator().await;
        let mutex = json!({ "mutex": "shared", "whenLocked": "Wait" });
        scenario.create(a_relocation("one").with(mutex.clone())).await;
        scenario.wait_for_running_pod("one", Step::Importing).await;
        scenario.create(a_relocation("two").with(mutex)).await;
        wait_for_reason(scenario, "two", "Reconciling", "WaitingForLock").await;
        scenario.relocations().delete("one", &DeleteParams::default()).await.expect("deleting always works");
        scenario.wait_for_success("two").await;
        assert_eq!(scenario.works("two"), SIX_WORKS);
    })
    .await;
}
