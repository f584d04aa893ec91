//! What is not written.

use std::time::Duration;

use futures::future::join_all;
use kube::api::{Patch, PatchParams};
use relocation_operator::api::{StatusValue, Step};
use serde_json::json;

use crate::support::{
    Behaviour, SIX_WORKS, a_plan, a_relocation, amount, count_requests, is_write_of_an_operator, on, run_alone,
};

/// How many requests somebody has open at once who writes again and again.
const AT_ONCE: usize = 4;

/// How long a settled system is watched.
const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// Requests that change something, apart from heartbeats of the cluster itself: leases and the status of nodes.
fn is_write(request: &str) -> bool {
    let (verb, resource) = request.split_once(' ').unwrap_or_default();
    matches!(verb, "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" | "DELETECOLLECTION")
        && !matches!(resource, "leases" | "nodes/status")
}

#[tokio::test]
async fn a_settled_system_writes_nothing() {
    run_alone(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Uploading).relocation("failed"), Behaviour::exit(65, "no"));
        scenario.start_operator().await;
        scenario.create(a_relocation("paused").paused_at(Step::Preprocessing)).await;
        scenario.create(a_relocation("done")).await;
        scenario.create(a_relocation("failed")).await;
        scenario.create(a_relocation("waiting").with(json!({ "planRef": { "name": "none" } }))).await;
        scenario.wait_for("paused", StatusValue::Pause, Step::Preprocessing).await;
        scenario.wait_for_success("done").await;
        scenario.wait_for_failure("failed").await;
        // A plan that is missing is given a minute before it is called missing; the Job controller tidies up as well.
        scenario.wait_for_quiet(Duration::from_secs(62), Duration::from_secs(200)).await;

        let before = count_requests(&scenario.client).await;
        let writes_before = written(&scenario.operators[0].page("/metrics").await.expect("the operator's metrics"));
        let still = scenario.record.seen().versions.len();
        scenario.wait_for_quiet(HALF_A_MINUTE, HALF_A_MINUTE + Duration::from_secs(1)).await;
        let after = count_requests(&scenario.client).await;
        let writes_after = written(&scenario.operators[0].page("/metrics").await.expect("the operator's metrics"));

        let added = after.since(&before).only(is_write);
        assert_eq!(added.total(), 0, "{added:#?}");
        assert_eq!(writes_after, writes_before, "the operator's own count");
        assert_eq!(scenario.record.seen().versions.len(), still, "no relocation was written");
    })
    .await;
}

/// Somebody writes the same object again and again. What asks for nothing is answered by nothing, and what is an edit of
/// the spec by at most one status write.
#[tokio::test]
async fn thousands_of_changes_of_one_object_do_not_flood_the_api_server() {
    let changes = amount("RELOCATION_CHANGES", 1000);
    run_alone(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Uploading), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Uploading).await;
        scenario.wait_for_quiet(Duration::from_secs(3), Duration::from_secs(60)).await;

        let events = scenario.events("acme").await.len();
        let written_before = written(&scenario.operators[0].page("/metrics").await.expect("the operator's metrics"));
        for batch in (0..changes).collect::<Vec<_>>().chunks(AT_ONCE) {
            let patches = batch.iter().map(|number| async {
                let patch = Patch::Merge(json!({ "metadata": { "annotations": { "touched": number.to_string() } } }));
                scenario.relocations().patch("acme", &PatchParams::default(), &patch).await.expect("an annotation");
            });
            join_all(patches).await;
        }
        scenario.wait_for_quiet(Duration::from_secs(3), Duration::from_secs(60)).await;
        let written_after = written(&scenario.operators[0].page("/metrics").await.expect("the operator's metrics"));
        assert_eq!(written_after, written_before, "annotations ask for nothing");

        let edits = changes / 10;
        for number in 0..edits {
            let reason = format!("change {number}");
            scenario.patch_spec("acme", json!({ "reason": reason })).await.expect("a reason may be given at any time");
        }
        scenario.wait_until_answered("acme").await;
        let written_after = written(&scenario.operators[0].page("/metrics").await.expect("the operator's metrics"));
        let added = usize::try_from(written_after - written_before).expect("a small number");
        // A write that lost against the next edit is counted as well.
        assert!(added <= 2 * edits, "{added} writes for {edits} edits");
        assert_eq!(scenario.events("acme").await.len(), events, "nothing happened that an event could tell");
    })
    .await;
}

#[tokio::test]
async fn a_six_step_success_takes_at_most_twenty_writes_apart_from_events() {
    run_alone(async |scenario| {
        let plan = a_plan("plan").with_six_steps().with(json!({ "workspace": { "storage": "1Mi" } }));
        scenario.create_plan(plan).await;
        scenario.start_operator().await;
        scenario
            .wait(Duration::from_secs(30), "the plan is accepted", |seen| {
                let status = seen.plans.get("plan")?.status.as_ref()?;
                status.conditions.iter().any(|condition| condition.status == "True").then_some(())
            })
            .await;
        let before = count_requests(&scenario.client).await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_success("acme").await;
        scenario.wait_for_quiet(Duration::from_secs(3), Duration::from_secs(60)).await;
        let added = count_requests(&scenario.client).await.since(&before).only(is_write_of_an_operator);
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        println!("{added:#?}");
        // The creation of the relocation is the test's.
        assert!(added.total() - 1 <= 20, "{} writes: {added:#?}", added.total() - 1);
    })
    .await;
}

/// The operator's own count of its writes, summed over resources and codes.
fn written(metrics: &str) -> u64 {
    metrics
        .lines()
        .filter(|line| line.starts_with("relocation_api_requests_total{"))
        .filter(|line| {
            !["verb=\"get\"", "verb=\"list\"", "verb=\"dry-run\""].iter().any(|reading| line.contains(reading))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}
