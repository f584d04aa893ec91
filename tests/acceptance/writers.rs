//! Many people edit the same relocations at once, sensibly and not: what was accepted holds until a later edit replaces it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use relocation_operator::api::{DesiredState, FailureReason, PauseReason, Relocation, StatusValue, Step};
use serde_json::{Value, json};

use crate::support::{Scenario, Version, a_plan, a_relocation, amount, run};

/// How many people write to one relocation.
const WRITERS_EACH: usize = 10;

/// How many edits each of them tries.
const EDITS_EACH: usize = 12;

/// Under the load of all of them.
const DEADLINE: Duration = Duration::from_secs(120);

/// An edit that the API server has stored.
struct Accepted {
    relocation: String,
    version: u64,
    change: Value,
}

#[tokio::test]
async fn every_accepted_edit_of_many_writers_holds_until_a_later_one_replaces_it() {
    let writers = amount("RELOCATION_WRITERS", 40);
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        let names: Vec<String> = (0..writers.div_ceil(WRITERS_EACH)).map(|number| format!("acme-{number}")).collect();
        for name in &names {
            scenario.create(a_relocation(name)).await;
        }
        let scenario = &*scenario;
        let edits = join_all((0..writers).map(|_| write(scenario, &names))).await;
        let tried = writers * EDITS_EACH;
        let mut accepted: Vec<Accepted> = edits.into_iter().flatten().collect();
        println!("{} of {tried} edits accepted", accepted.len());
        assert!(!accepted.is_empty() && accepted.len() < tried, "there are edits of both kinds");
        accepted.sort_by_key(|edit| edit.version);

        for name in &names {
            let edits: Vec<&Accepted> = accepted.iter().filter(|edit| edit.relocation == *name).collect();
            let relocation = settled(scenario, name).await;
            the_spec_is_what_was_accepted_last(&relocation, &edits);
            the_outcome_is_what_was_asked_for(&relocation, &edits);
        }
        no_step_was_entered_against_a_fence(&scenario.record.seen().versions);

        // What waits for a person goes on when everything that holds it is withdrawn.
        for name in &names {
            if scenario.relocation(name).status.is_some_and(|status| status.status == Some(StatusValue::Pause)) {
                let nothing = json!({ "pauseAtStep": null, "cancelAtStep": null, "desiredState": "Active" });
                scenario.patch_spec(name, nothing).await.expect("what was asked for can be withdrawn");
                scenario.wait_for_success(name).await;
            }
        }
        scenario.assert_no_overlap();
        scenario.assert_nothing_ran_after_its_success();
    })
    .await;
}

async fn write(scenario: &Scenario, names: &[String]) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    for _ in 0..EDITS_EACH {
        // Spread over the time that a run takes, so that edits meet every step.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..1000))).await;
        let relocation = names[fastrand::usize(..names.len())].clone();
        let (change, is_never_accepted) = an_edit();
        let patch = Patch::Merge(json!({ "spec": change }));
        match scenario.relocations().patch(&relocation, &PatchParams::default(), &patch).await {
            Ok(stored) => {
                assert!(!is_never_accepted, "{relocation}: accepted {change}");
                let version = stored.resource_version().and_then(|version| version.parse().ok());
                accepted.push(Accepted { relocation, version: version.expect("a resource version"), change });
            }
            // A conflict is the API server's word for too many writers at once; it stores nothing.
            Err(kube::Error::Api(refusal)) => {
                assert!([409, 422].contains(&refusal.code), "{relocation}: {change}: {refusal:?}");
            }
            Err(error) => panic!("{relocation}: {change}: {error}"),
        }
    }
    accepted
}

/// A random edit, and whether it is never accepted.
fn an_edit() -> (Value, bool) {
    let step = fastrand::choice(Step::STOPPABLE).expect("there are steps");
    // Endings are rare: after one there is nothing left to steer.
    match fastrand::u32(0..400) {
        0..80 => (json!({ "pauseAtStep": step }), false),
        80..140 => (json!({ "pauseAtStep": null }), false),
        140..144 => (json!({ "cancelAtStep": step }), false),
        144..180 => (json!({ "cancelAtStep": null }), false),
        180..210 => (json!({ "desiredState": "Suspended" }), false),
        210..268 => (json!({ "desiredState": "Active" }), false),
        268 => (json!({ "desiredState": "Aborted" }), false),
        269..300 => (json!({ "reason": format!("because of {}", fastrand::u32(..)) }), false),
        300..310 => (json!({ "autoPause": "Skip" }), false),
        310..320 => (json!({ "whenLocked": "Wait", "pauseAtStep": step }), false),
        320..330 => (json!({ "recover": "IMPORTING-1-00000000" }), false),
        330..340 => (json!({ "owner": format!("thief-{}", fastrand::u32(..)) }), true),
        340..350 => (json!({ "planRef": { "name": "another" } }), true),
        350..360 => (json!({ "pauseAtStep": "UPLOADING" }), true),
        360..370 => (json!({ "pauseAtStep": "importing" }), true),
        370..380 => (json!({ "cancelAtStep": "COMPLETED" }), true),
        380..390 => (json!({ "desiredState": "Paused" }), true),
        _ => (json!({ "items": ["42"] }), true),
    }
}

/// Waits until the relocation has answered its last generation and nothing but a person can change it.
async fn settled(scenario: &Scenario, name: &str) -> Relocation {
    scenario
        .wait(DEADLINE, &format!("{name} settles"), |seen| {
            let relocation = seen.relocations.get(name)?;
            let status = relocation.status.as_ref()?;
            let answered = status.observed_generation == relocation.metadata.generation;
            let at_rest =
                matches!(status.status, Some(StatusValue::Success | StatusValue::Failure | StatusValue::Pause));
            (answered && at_rest).then(|| relocation.clone())
        })
        .await
}

/// Every field that people wrote has the value of the last edit of it that was accepted, and no other value.
fn the_spec_is_what_was_accepted_last(relocation: &Relocation, edits: &[&Accepted]) {
    let name = relocation.name_any();
    let spec = serde_json::to_value(&relocation.spec).expect("a spec is JSON");
    let mut last = BTreeMap::new();
    for edit in edits {
        last.extend(edit.change.as_object().expect("an edit is an object").iter());
    }
    for (field, value) in last {
        assert_eq!(spec.get(field).unwrap_or(&Value::Null), value, "{name}: the last accepted edit of {field}");
    }
}

fn the_outcome_is_what_was_asked_for(relocation: &Relocation, edits: &[&Accepted]) {
    let name = relocation.name_any();
    let (spec, status) = (&relocation.spec, relocation.status.as_ref().expect("a status"));
    let was_asked = |field: &str, value: Value| edits.iter().any(|edit| edit.change.get(field) == Some(&value));
    match status.status {
        Some(StatusValue::Success) => {
            // A fence or a cancel that stands was accepted when its step was ahead.
            assert_eq!((spec.pause_at_step, spec.cancel_at_step), (None, None), "{name}: passed by a fence");
        }
        Some(StatusValue::Failure) => {
            let failure = status.failure.as_ref().expect("a failure");
            match failure.reason {
                FailureReason::Aborted => assert!(was_asked("desiredState", json!("Aborted")), "{name}: {failure:?}"),
                FailureReason::Cancelled => {
                    assert!(was_asked("cancelAtStep", json!(failure.step)), "{name}: {failure:?}");
                    assert!(!failure.entered, "{name}: {failure:?}");
                }
                reason => panic!("{name}: nobody asked for {reason:?}: {failure:?}"),
            }
        }
        Some(StatusValue::Pause) => {
            let pause = status.pause.as_ref().expect("a pause");
            match pause.reason {
                PauseReason::Suspended => assert_eq!(spec.desired_state, DesiredState::Suspended, "{name}"),
                PauseReason::Fence => {
                    assert_eq!(spec.pause_at_step, Some(pause.step), "{name}: {pause:?}");
                    assert_eq!(
                        spec.desired_state,
                        DesiredState::Active,
                        "{name}: being suspended is the stronger reason"
                    );
                    assert!(!status.entered || status.step != spec.pause_at_step, "{name}: entered");
                }
                PauseReason::AutoFence => panic!("{name}: the plan has no automatic fence"),
            }
        }
        other => panic!("{name}: not settled: {other:?}"),
    }
}

/// No stored version of any relocation enters a step on which a fence or a cancel stands in the same version.
fn no_step_was_entered_against_a_fence(versions: &[Version]) {
    let mut entered = BTreeSet::new();
    for version in versions.iter().filter(|version| version.entered) {
        let Some(step) = version.step else { continue };
        if entered.insert((version.uid.clone(), step)) {
            assert_ne!(version.pause_at_step, Some(step), "{version:?}");
            assert_ne!(version.cancel_at_step, Some(step), "{version:?}");
        }
    }
    assert!(!entered.is_empty(), "steps were entered");
}
