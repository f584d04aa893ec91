//! The admission rules, as the API server answers.

use futures::StreamExt;
use kube::api::{Patch, PatchParams};
use relocation_operator::api::{Step, admission};
use serde_json::{Value, json};

use crate::support::{Scenario, a_relocation, run};

/// How many dry runs are on their way at once.
const AT_ONCE: usize = 8;

const FAILURE_ID: &str = "IMPORTING-1-0badcafe";

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
async fn the_api_server_and_this_process_judge_every_write_alike() {
    run(async |scenario| {
        let mut judged = 0;
        // A third of the states in each mode: together with the rules' own tests, which run through all of them.
        for (mode, offset) in [("Refuse", 0), ("Report", 1)] {
            for (number, state) in every_state().into_iter().enumerate().skip(offset).step_by(3) {
                let name = format!("{}-{number}", mode.to_lowercase());
                let spec = json!({
                    "lateRequests": mode, "items": ["one"], "parameters": { "RATE": "slow" },
                    "desiredState": if number % 4 == 0 { "Aborted" } else { "Active" },
                    "pauseAtStep": if number % 2 == 0 { json!("IMPORTING") } else { json!(null) },
                    "cancelAtStep": if number % 5 == 0 { json!("IMPORTING") } else { json!(null) },
                    "autoPause": if number % 4 == 1 { "Skip" } else { "Honour" }
                });
                scenario.create(a_relocation(&name).with(spec)).await;
                scenario.patch_status(&name, state).await.expect("a status from nothing");
                let old = serde_json::to_value(scenario.relocation(&name)).expect("JSON");
                let spec_edits = every_spec_edit().into_iter().map(|edit| ("spec", edit));
                let status_edits = every_status_edit().into_iter().map(|edit| ("status", edit));
                let edits: Vec<_> = spec_edits.chain(status_edits).collect();
                judged += edits.len();
                let (scenario, name, old) = (&*scenario, &name, &old);
                futures::stream::iter(edits)
                    .for_each_concurrent(AT_ONCE, |(part, edit)| async move {
                        judge_alike(scenario, name, old, part, &edit).await;
                    })
                    .await;
            }
        }
        assert!(judged > 1000, "{judged} writes judged");
    })
    .await;
}

/// Sends an edit as a dry run, and holds the answer against the rules that run in this process.
async fn judge_alike(scenario: &Scenario, name: &str, old: &Value, part: &str, edit: &Value) {
    let mut new = old.clone();
    merge(&mut new[part], edit);
    let api = scenario.relocations();
    let patch = Patch::Merge(json!({ part: edit }));
    let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
    let answer = match part {
        "status" => api.patch_status(name, &parameters, &patch).await,
        _ => api.patch(name, &parameters, &patch).await,
    };
    match (admission::check(Some(old), &new), answer) {
        (Ok(()), Ok(_)) => {}
        (Err(refusals), Err(kube::Error::Api(status))) => {
            for refusal in &refusals {
                let expected = format!("{}: Forbidden: {}", refusal.field, refusal.message);
                assert!(status.message.contains(&expected), "{edit}: {expected:?} is not in {:?}", status.message);
            }
            let causes = status.details.map(|details| details.causes.len()).unwrap_or_default();
            assert_eq!(causes, refusals.len(), "{edit}: {}", status.message);
        }
        (here, there) => panic!("{edit} of {old}\nhere {here:?}\nthere {there:?}"),
    }
}

fn merge(target: &mut Value, change: &Value) {
    let Value::Object(fields) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn every_spec_edit() -> Vec<Value> {
    let mut edits: Vec<Value> = Step::STOPPABLE
        .into_iter()
        .flat_map(|step| [json!({ "pauseAtStep": step }), json!({ "cancelAtStep": step })])
        .collect();
    edits.extend([
        json!({ "pauseAtStep": null }),
        json!({ "cancelAtStep": null }),
        json!({ "autoPause": "Skip" }),
        json!({ "desiredState": "Active" }),
        json!({ "desiredState": "Suspended" }),
        json!({ "desiredState": "Aborted" }),
        json!({ "recover": FAILURE_ID }),
        json!({ "recover": "IMPORTING-9-00000000" }),
        json!({ "recover": FAILURE_ID, "desiredState": "Active", "cancelAtStep": null }),
        json!({ "recover": FAILURE_ID, "desiredState": "Active", "cancelAtStep": null, "activeDeadlineSeconds": 600 }),
        json!({ "recover": FAILURE_ID, "desiredState": "Active", "cancelAtStep": null, "activeDeadlineSeconds": 601 }),
        json!({ "parameters": { "RATE": "fast" } }),
        json!({ "parameters": null }),
        json!({ "owner": "globex" }),
        json!({ "planRef": { "name": "other" } }),
        json!({ "provenance": "SAAS_TO_SAAS" }),
        json!({ "items": null }),
        json!({ "items": ["one", "two"] }),
        json!({ "uuid": "4f0c0bb2-0000-4000-8000-000000000001" }),
        json!({ "retryOf": { "name": "first", "uid": "4f0c0bb2-0000-4000-8000-000000000002" } }),
        json!({ "mutex": "vault" }),
        json!({ "reason": "because" }),
        json!({ "lateRequests": "Report", "pauseAtStep": "PREPROCESSING" }),
    ]);
    edits
}

fn every_status_edit() -> Vec<Value> {
    let mut edits: Vec<Value> = Step::WORKING
        .into_iter()
        .flat_map(|step| [working(step, true), working(step, false)])
        .map(|mut edit| {
            edit["failure"] = json!(null);
            edit["pause"] = json!(null);
            edit
        })
        .collect();
    edits.extend([
        json!({ "recoveries": 1 }),
        json!({ "recoveries": 2 }),
        json!({ "attempt": 1 }),
        json!({ "launch": 999 }),
        json!({ "launch": 1001 }),
        json!({ "uuid": "other" }),
        json!({ "uuid": null }),
        json!({ "status": "FAILURE" }),
        json!({ "status": "PAUSE" }),
        json!({ "status": "SUCCESS" }),
        json!({ "step": "COMPLETED" }),
        json!({ "status": "SUCCESS", "step": "COMPLETED", "entered": null, "failure": null, "pause": null }),
        json!({ "autoPauseAtStep": null, "entered": true }),
        json!({ "failure": {
            "id": FAILURE_ID, "step": "IMPORTING", "reason": "Aborted", "message": "no", "at": "2026-01-01T00:00:00Z"
        }}),
        json!(null),
    ]);
    edits
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

pub fn working(step: Step, entered: bool) -> Value {
    json!({
        "uuid": "run", "status": "IN_PROGRESS", "step": step, "task": "copy", "attempt": 2, "launch": 1000,
        "entered": if entered { json!(true) } else { json!(null) }
    })
}
