//! The admission rules, as the API server answers.

use std::collections::BTreeSet;

use futures::StreamExt;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::Request;
use relocation_operator::api::{Step, admission};
use serde_json::{Value, json};

use crate::support::edits::{FAILURE_ID, Stored, merge, stored_relocations, working};
use crate::support::{Scenario, a_relocation, run};

/// How many relocations are tried at once.
const AT_ONCE: usize = 8;

#[tokio::test]
async fn a_late_fence_is_refused_with_a_sentence_that_names_what_has_started() {
    run(async |scenario| {
        scenario.create(a_relocation("acme")).await;
        scenario.patch_status("acme", working(Step::Importing, true)).await.expect("a status from nothing");
        let refused = scenario.patch_spec("acme", json!({ "pauseAtStep": "IMPORTING" })).await;
        assert_eq!(
            refused,
            Err("Relocation.relocation.dev \"acme\" is invalid: spec.pauseAtStep: Forbidden: \
                 cannot pause at IMPORTING: it has started (the relocation is at IMPORTING, task copy); \
                 the next step that can be fenced is POSTPROCESSING"
                .into())
        );
        let spec = scenario.relocation("acme").spec;
        assert_eq!(spec.pause_at_step, None);
        scenario.patch_spec("acme", json!({ "pauseAtStep": "POSTPROCESSING" })).await.expect("a fence ahead");
    })
    .await;
}

#[tokio::test]
async fn a_late_fence_is_stored_where_late_requests_are_reported() {
    run(async |scenario| {
        scenario.create(a_relocation("acme").with(json!({ "lateRequests": "Report" }))).await;
        scenario.patch_status("acme", working(Step::Importing, true)).await.expect("a status from nothing");
        scenario.patch_spec("acme", json!({ "pauseAtStep": "IMPORTING" })).await.expect("it is stored");
        assert_eq!(scenario.relocation("acme").spec.pause_at_step, Some(Step::Importing));
        scenario
            .patch_spec("acme", json!({ "owner": "globex" }))
            .await
            .expect_err("the owner is settled in both modes");
    })
    .await;
}

#[tokio::test]
async fn the_entry_into_a_fenced_step_is_refused_from_anybody() {
    run(async |scenario| {
        scenario.create(a_relocation("acme").paused_at(Step::Importing)).await;
        scenario.patch_status("acme", working(Step::Validating, true)).await.expect("a status from nothing");
        let refused = scenario.patch_status("acme", working(Step::Importing, true)).await;
        assert_eq!(
            refused,
            Err("Relocation.relocation.dev \"acme\" is invalid: status.step: Forbidden: \
                 cannot enter IMPORTING: pauseAtStep stands on it; \
                 read the relocation again and stop before the step"
                .into())
        );
        scenario.patch_status("acme", working(Step::Importing, false)).await.expect("it may stand before the step");
        let passed = scenario.patch_status("acme", working(Step::Postprocessing, true)).await;
        assert!(passed.is_err_and(|message| message.contains("cannot pass by IMPORTING: pauseAtStep stands on it")));
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can always be cleared");
        scenario.patch_status("acme", working(Step::Importing, true)).await.expect("the way is open");
    })
    .await;
}

#[tokio::test]
async fn names_steps_and_sizes_are_bounded_by_the_schema() {
    run(async |scenario| {
        let refusals = [
            (a_relocation(&"a".repeat(53)), "metadata.name: Too long"),
            (a_relocation("acme.move"), "metadata.name"),
            (a_relocation("acme").with(json!({ "items": ["Not A Slug"] })), "spec.items[0]"),
            (a_relocation("acme").with(json!({ "items": ["a", "a"] })), "cannot move \"a\" twice"),
            (a_relocation("acme").with(json!({ "items": ["42"] })), "cannot move \"42\": it is all digits"),
            (a_relocation("acme").with(json!({ "owner": "" })), "spec.owner"),
            (a_relocation("acme").with(json!({ "activeDeadlineSeconds": 0 })), "spec.activeDeadlineSeconds"),
            (a_relocation("acme").with(json!({ "reason": "x".repeat(257) })), "spec.reason: Too long"),
            (a_relocation("acme").with(json!({ "recover": "latest" })), "spec.recover"),
            (a_relocation("acme").with(json!({ "uuid": "4F0C0BB2-0000-4000-8000-000000000000" })), "spec.uuid"),
        ];
        for (relocation, expected) in refusals {
            let message = scenario.try_create(relocation).await.expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
        scenario.create(a_relocation(&"a".repeat(52))).await;
        scenario.create(a_relocation("acme")).await;
        for step in ["importing", "UPLOADING", "COMPLETED", "IMPORT"] {
            let message = scenario.patch_spec("acme", json!({ "pauseAtStep": step })).await.expect_err(step);
            assert!(message.contains("spec.pauseAtStep: Unsupported value"), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_relocation_has_its_defaults_and_is_not_taken_for_a_finished_one() {
    run(async |scenario| {
        scenario.create(a_relocation("acme")).await;
        let stored = serde_json::to_value(scenario.relocation("acme")).expect("JSON");
        assert_eq!(stored["status"], json!({ "observedGeneration": -1 }));
        assert_eq!(
            stored["spec"],
            json!({
                "planRef": { "name": "plan" }, "owner": "acme", "provenance": "SELF_HOSTED", "autoPause": "Honour",
                "desiredState": "Active", "whenLocked": "Fail", "lateRequests": "Refuse", "readiness": "WhenSucceeded"
            })
        );
        scenario.patch_spec("acme", json!({ "pauseAtStep": null, "mutex": null })).await.expect("nothing changes");
        assert_eq!(scenario.relocation("acme").metadata.generation, Some(1));
    })
    .await;
}

#[tokio::test]
async fn what_is_stored_can_always_be_labelled_released_and_deleted() {
    run(async |scenario| {
        for (number, state) in every_state().into_iter().enumerate() {
            let name = format!("acme-{number}");
            scenario.create(a_relocation(&name).with(json!({ "cancelAtStep": "NOTIFYING" }))).await;
            scenario.patch_status(&name, state.clone()).await.expect("a status from nothing");
            let api = scenario.relocations();
            for finalizers in [json!(["example.com/hold"]), json!(null)] {
                let change = json!({ "metadata": { "labels": { "team": "blue" }, "finalizers": finalizers } });
                let labelled = api.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await;
                labelled.unwrap_or_else(|error| panic!("{state}: {error}"));
            }
            api.delete(&name, &kube::api::DeleteParams::default()).await.expect("deleting always works");
        }
    })
    .await;
}

#[tokio::test]
async fn the_api_server_judges_as_this_process_does_and_what_it_refuses_changes_no_byte() {
    run(async |scenario| {
        let scenario = &*scenario;
        let (judged, refused) = futures::stream::iter(stored_relocations().into_iter().enumerate())
            .map(|(number, stored)| judge_alike(scenario, format!("acme-{number}"), stored))
            .buffer_unordered(AT_ONCE)
            .fold((0, 0), async |(judged, refused), (more, more_refused)| (judged + more, refused + more_refused))
            .await;
        assert!(judged >= 400 && refused >= 150, "{refused} of {judged} writes refused");
    })
    .await;
}

/// Stores a relocation, sends the writes that are tried on it, and holds each answer against the rules that run in
/// this process: the same verdict, and for a refusal the same fields and messages.
///
/// What these let through is sent as a dry run, so that every write meets the same stored object;
/// what they refuse is sent in earnest, and has to leave that object as it was.
async fn judge_alike(scenario: &Scenario, name: String, stored: Stored) -> (usize, usize) {
    scenario.create(a_relocation(&name).with(stored.spec)).await;
    if !stored.status.is_null() {
        scenario.patch_status(&name, stored.status).await.expect("a status from nothing");
    }
    let before = as_stored(scenario, &name).await;
    let old: Value = serde_json::from_str(&before).expect("JSON");
    let (judged, mut refused) = (stored.writes.len(), 0);
    for write in stored.writes {
        let mut new = old.clone();
        merge(&mut new, &write);
        let expected: BTreeSet<(String, String)> = admission::check(Some(&old), &new)
            .err()
            .into_iter()
            .flatten()
            .map(|refusal| (refusal.field, format!("Forbidden: {}", refusal.message)))
            .collect();
        let parameters = PatchParams { dry_run: expected.is_empty(), ..PatchParams::default() };
        let api = scenario.relocations();
        let answer = match write.get("status") {
            Some(_) => api.patch_status(&name, &parameters, &Patch::Merge(&write)).await,
            None => api.patch(&name, &parameters, &Patch::Merge(&write)).await,
        };
        let answered: BTreeSet<(String, String)> = match answer {
            Ok(_) => BTreeSet::new(),
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, 422, "{write} on {old}: {}", status.message);
                let causes = status.details.into_iter().flat_map(|details| details.causes);
                causes.map(|cause| (cause.field, cause.message)).collect()
            }
            Err(error) => panic!("{write}: {error}"),
        };
        assert_eq!(answered, expected, "the API server's answer and ours to {write} on {old}");
        assert_eq!(as_stored(scenario, &name).await, before, "{write}");
        refused += usize::from(!expected.is_empty());
    }
    (judged, refused)
}

/// A relocation byte for byte as the API server has it.
async fn as_stored(scenario: &Scenario, name: &str) -> String {
    let api = scenario.relocations();
    let request = Request::new(api.resource_url()).get(name, &GetParams::default()).expect("a request");
    scenario.client.request_text(request).await.expect("the relocation")
}

/// Every state as far as the rules can tell states apart, with and without an automatic fence.
fn every_state() -> Vec<Value> {
    let mut states =
        vec![json!({}), json!({ "status": "SUCCESS", "step": "COMPLETED", "uuid": "run", "launch": 1000 })];
    for step in Step::WORKING {
        for entered in [false, true] {
            let mut state = working(step, entered);
            if step == Step::Validating {
                state["autoPauseAtStep"] = json!("IMPORTING");
            }
            states.push(state.clone());
            let mut paused = state.clone();
            paused["status"] = json!("PAUSE");
            paused["pause"] = json!({
                "step": step, "since": "2026-01-01T00:00:00Z", "reason": "Fence", "message": "stands"
            });
            states.push(paused);
            for (reason, recoverable) in
                [("AttemptsExhausted", true), ("AttemptsExhausted", false), ("DeadlineExceeded", true)]
            {
                let mut failed = state.clone();
                failed["status"] = json!("FAILURE");
                failed["activeSeconds"] = json!(600);
                failed["failure"] = json!({
                    "id": FAILURE_ID, "step": step, "reason": reason, "message": "no", "recoverable": recoverable,
                    "entered": entered, "at": "2026-01-01T00:00:00Z"
                });
                states.push(failed);
            }
        }
    }
    states
}
