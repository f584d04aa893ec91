//! GitOps tools: the same manifest at any moment, manifests that come too late, and who owns a field.
//!
//! Flux is played by its own rules: it dry-runs a forced server-side apply, and with `force` answers every 422 and 409,
//! and every error that speaks of immutability, by deleting the object and creating it again.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use relocation_operator::api::{ConditionType, Relocation, StatusValue, Step, find_condition};
use serde_json::{Value, json};

use crate::support::{Behaviour, RelocationBuilder, SIX_WORKS, Scenario, a_plan, a_relocation, on, run};

const FLUX: &str = "kustomize-controller";
const ARGO: &str = "argocd-controller";

/// A token of a failure that never was.
const STALE: &str = "IMPORTING-9-00000000";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    DryRun,
    Real,
}

/// Applies a manifest as GitOps tools do: server-side, and by force where somebody else owns a field.
async fn apply(scenario: &Scenario, manager: &str, manifest: &Value, mode: Mode) -> Result<Relocation, Box<Status>> {
    let name = manifest["metadata"]["name"].as_str().expect("a name");
    let parameters = PatchParams { dry_run: mode == Mode::DryRun, ..PatchParams::apply(manager).force() };
    match scenario.relocations().patch(name, &parameters, &Patch::Apply(manifest)).await {
        Ok(applied) => Ok(applied),
        Err(kube::Error::Api(status)) => Err(status),
        Err(error) => panic!("the API server does not answer: {error}"),
    }
}

/// Whether the words are those by which Flux and kubectl recognise a field that only recreating the object can change.
fn speaks_of_immutability(message: &str) -> bool {
    ["is immutable", "immutable field", "cannot change roleRef"].iter().any(|words| message.contains(words))
}

/// Whether Flux with `force: true`, or `kubectl apply --force`, deletes the object and creates it again.
fn recreates(refusal: &Status) -> bool {
    matches!(refusal.code, 409 | 422) || speaks_of_immutability(&refusal.message)
}

/// A manifest as it is kept in Git.
fn in_git(name: &str) -> RelocationBuilder {
    a_relocation(name).with(json!({ "lateRequests": "Report" }))
}

/// Changes the spec of a manifest.
fn changed(manifest: &Value, change: &Value) -> Value {
    let mut manifest = manifest.clone();
    for (field, value) in change.as_object().expect("an object") {
        manifest["spec"][field] = value.clone();
    }
    manifest
}

/// One relocation in each state, applied by Flux and by Argo CD, and settled there; with its manifest.
async fn every_state(scenario: &mut Scenario) -> Vec<(Value, StatusValue, Step)> {
    use StatusValue::{Failure, InProgress, Pause, Pending, Success};
    let plan = a_plan("plan").with_six_steps().with(json!({ "parameters": [{ "name": "RATE", "default": "slow" }] }));
    scenario.create_plan(plan).await;
    for step in [Step::Uploading, Step::Importing, Step::Notifying] {
        scenario.script(on(step).relocation(&step.as_str().to_lowercase()), Behaviour::Hang);
    }
    scenario.script(on(Step::Validating).relocation("failed"), Behaviour::exit(65, "no"));
    scenario.start_operator().await;
    let states = [
        (in_git("pending").with(json!({ "planRef": { "name": "none" } })), Pending, Step::Uploading),
        (in_git("uploading"), InProgress, Step::Uploading),
        (in_git("importing"), InProgress, Step::Importing),
        (in_git("notifying"), InProgress, Step::Notifying),
        (in_git("paused").paused_at(Step::Importing), Pause, Step::Importing),
        (in_git("failed"), Failure, Step::Validating),
        (in_git("done"), Success, Step::Completed),
    ];
    let states = states.map(|(manifest, value, step)| (manifest.build(), value, step));
    for (manifest, ..) in &states {
        for manager in [FLUX, ARGO] {
            apply(scenario, manager, manifest, Mode::Real).await.expect("applied");
        }
    }
    for (manifest, value, step) in &states {
        let name = manifest["metadata"]["name"].as_str().expect("a name");
        scenario.wait_for(name, *value, *step).await;
        scenario.wait_until_answered(name).await;
        if *value == InProgress {
            scenario.wait_for_running_pod(name, *step).await;
        }
    }
    scenario.wait_for_quiet(Duration::from_secs(2), Duration::from_secs(30)).await;
    states.to_vec()
}

#[tokio::test]
async fn the_same_manifest_applied_by_two_managers_is_a_no_op_in_every_state() {
    run(async |scenario| {
        for (manifest, value, _) in every_state(scenario).await {
            let name = manifest["metadata"]["name"].as_str().expect("a name");
            let stored = scenario.relocations().get(name).await.expect("the relocation");
            for manager in [FLUX, ARGO, FLUX] {
                let applied = apply(scenario, manager, &manifest, Mode::Real).await.expect("applied again");
                assert_eq!(applied, stored, "{name} is {} and {manager} applies it again", value.as_str());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_manifest_applied_without_end_by_two_managers_changes_nothing_of_a_run() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        let manifest = in_git("acme").build();
        let created = apply(scenario, FLUX, &manifest, Mode::Real).await.expect("applied");
        scenario.wait_until("acme", "it is seen", |_| true).await;
        let mut applied = 1;
        while scenario.status("acme").status != Some(StatusValue::Success) {
            for manager in [ARGO, FLUX] {
                let relocation = apply(scenario, manager, &manifest, Mode::Real).await.expect("applied again");
                assert_eq!((relocation.metadata.generation, relocation.uid()), (Some(1), created.uid()));
                applied += 1;
            }
            assert_ne!(scenario.status("acme").status, Some(StatusValue::Failure));
            assert!(applied < 20_000, "it does not end");
        }
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        assert!(applied > 10, "{applied} times during the run");
    })
    .await;
}

/// What a manifest may ask for, late or not.
fn every_request() -> Vec<Value> {
    let steps = Step::STOPPABLE.into_iter();
    let mut requests: Vec<Value> =
        steps.flat_map(|step| [json!({ "pauseAtStep": step }), json!({ "cancelAtStep": step })]).collect();
    requests.extend([
        json!({ "parameters": { "RATE": "fast" } }),
        json!({ "recover": STALE }),
        json!({ "desiredState": "Suspended" }),
        json!({ "desiredState": "Aborted" }),
        json!({ "pauseAtStep": "PREPROCESSING", "cancelAtStep": "PREPROCESSING", "recover": STALE }),
    ]);
    requests
}

#[tokio::test]
async fn no_manifest_whose_late_requests_are_reported_gives_flux_a_reason_to_delete() {
    run(async |scenario| {
        for (manifest, value, _) in every_state(scenario).await {
            let name = manifest["metadata"]["name"].as_str().expect("a name");
            for request in every_request() {
                let answer = apply(scenario, FLUX, &changed(&manifest, &request), Mode::DryRun).await;
                let refused = answer.err().filter(|refusal| recreates(refusal));
                assert!(refused.is_none(), "{name}, {}: {request}: {refused:?}", value.as_str());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_late_manifest_is_stored_answered_and_without_effect_in_every_state() {
    run(async |scenario| {
        for (manifest, value, step) in every_state(scenario).await {
            let name = manifest["metadata"]["name"].as_str().expect("a name");
            let (before, works) = (scenario.relocation(name), scenario.works(name));
            let stored = before.status.clone().unwrap_or_default();
            let behind: Vec<Step> = Step::STOPPABLE.into_iter().filter(|late| stored.is_behind(*late)).collect();
            let mut late = vec![json!({ "recover": STALE })];
            // A paused one would be let go by moving its fence, wherever to.
            if value != StatusValue::Pause {
                late.extend(behind.iter().map(|step| json!({ "pauseAtStep": step })));
            }
            late.extend(behind.iter().map(|step| json!({ "cancelAtStep": step })));
            if value == StatusValue::InProgress {
                late.push(json!({ "parameters": { "RATE": "fast" } }));
            }
            for request in late {
                for manager in [FLUX, ARGO] {
                    let applied = apply(scenario, manager, &changed(&manifest, &request), Mode::Real).await;
                    let applied = applied.unwrap_or_else(|refusal| panic!("{name}: {request}: {refusal:?}"));
                    assert_eq!(applied.uid(), before.uid(), "{name}: the same object");
                }
                let generation = scenario.relocations().get(name).await.expect("the relocation").metadata.generation;
                let answered = scenario
                    .wait_until(name, "the manifest is answered", |relocation| {
                        let status = relocation.status.as_ref();
                        relocation.metadata.generation == generation
                            && status.is_some_and(|status| status.observed_generation == generation)
                    })
                    .await;
                let status = answered.status.unwrap_or_default();
                assert_eq!((status.status, status.step), (Some(value), Some(step)), "{name}: {request}");
                assert_eq!(status.job, stored.job, "{name}: {request}");
                if let Some(fence) = request.get("pauseAtStep") {
                    let told = status.late.expect("an answer");
                    assert_eq!((told.field.as_str(), &json!(told.value)), ("pauseAtStep", fence), "{name}");
                }
                for manager in [FLUX, ARGO] {
                    apply(scenario, manager, &manifest, Mode::Real).await.expect("the manifest as it was");
                }
            }
            assert_eq!(scenario.works(name), works, "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_abort_that_is_left_in_git_is_inert_and_taking_it_back_after_the_end_is_refused_in_other_words() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Uploading).relocation("aborted"), Behaviour::Hang);
        scenario.start_operator().await;
        for name in ["aborted", "done"] {
            apply(scenario, FLUX, &in_git(name).build(), Mode::Real).await.expect("applied");
        }
        scenario.wait_for_running_pod("aborted", Step::Uploading).await;
        scenario.wait_for_success("done").await;
        for name in ["aborted", "done"] {
            let abort = in_git(name).with(json!({ "desiredState": "Aborted" })).build();
            apply(scenario, FLUX, &abort, Mode::Real).await.expect("an abort is always accepted");
        }
        scenario.wait_for_failure("aborted").await;
        scenario.wait_for_quiet(Duration::from_secs(2), Duration::from_secs(60)).await;
        for name in ["aborted", "done"] {
            let stored = scenario.relocations().get(name).await.expect("the relocation");
            let abort = in_git(name).with(json!({ "desiredState": "Aborted" })).build();
            let applied = apply(scenario, FLUX, &abort, Mode::Real).await.expect("applied again");
            assert_eq!(applied, stored);
        }
        apply(scenario, FLUX, &in_git("done").build(), Mode::Real).await.expect("it came too late and may go");
        let refusal = apply(scenario, FLUX, &in_git("aborted").build(), Mode::Real).await.expect_err("it was aborted");
        assert!(refusal.message.contains("set recover to UPLOADING-1-"), "{}", refusal.message);
        assert!(!speaks_of_immutability(&refusal.message), "{}", refusal.message);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_never_says_what_tools_read_as_delete_and_create_again() {
    run(async |scenario| {
        let strict = |manifest: &Value| changed(manifest, &json!({ "lateRequests": "Refuse" }));
        let never = [
            json!({ "owner": "globex" }),
            json!({ "planRef": { "name": "other" } }),
            json!({ "provenance": "SAAS_TO_SAAS" }),
            json!({ "items": ["two"] }),
            json!({ "uuid": "4f0c0bb2-0000-4000-8000-000000000001" }),
            json!({ "retryOf": { "name": "first", "uid": "4f0c0bb2-0000-4000-8000-000000000002" } }),
            json!({ "mutex": "vault" }),
        ];
        let mut refusals = 0;
        for (manifest, ..) in every_state(scenario).await {
            let name = manifest["metadata"]["name"].as_str().expect("a name");
            let manifest = strict(&manifest);
            apply(scenario, FLUX, &manifest, Mode::Real).await.expect("a mode can always be changed");
            for request in never.iter().chain(&every_request()) {
                let answer = apply(scenario, FLUX, &changed(&manifest, request), Mode::DryRun).await;
                let Err(refusal) = answer else {
                    assert!(!never.contains(request), "{name}: {request} is accepted");
                    continue;
                };
                refusals += 1;
                assert!(!speaks_of_immutability(&refusal.message), "{name}: {request}: {}", refusal.message);
                // Nothing but the code can lead to a deletion, which is why manifests in Git use Report.
                assert!(recreates(&refusal), "{name}: {request}: {refusal:?}");
            }
        }
        assert!(refusals > 7 * never.len(), "{refusals} refusals");
    })
    .await;
}

/// A person writes, as `kubectl patch` does.
async fn patch_by_hand(scenario: &Scenario, name: &str, manager: &str, change: &Value) {
    let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "spec": change }));
    scenario.relocations().patch(name, &parameters, &patch).await.expect("a person may");
}

/// Takes over what kubectl owns and applies, as Flux does unless the object says `ssa: Merge`.
async fn reconcile_like_flux(scenario: &Scenario, manifest: &Value) -> Relocation {
    let name = manifest["metadata"]["name"].as_str().expect("a name");
    let stored = scenario.relocations().get(name).await.expect("the relocation");
    let merges = stored.annotations().get("kustomize.toolkit.fluxcd.io/ssa").is_some_and(|policy| policy == "Merge");
    if !merges {
        let mut entries: Vec<Value> = Vec::new();
        for entry in stored.managed_fields() {
            let mut entry = serde_json::to_value(entry).expect("JSON");
            let by_kubectl = entry["manager"].as_str().is_some_and(|manager| manager.starts_with("kubectl"));
            if by_kubectl && entry.get("subresource").is_none() {
                entry["manager"] = json!(FLUX);
                entry["operation"] = json!("Apply");
            }
            let same = |known: &&mut Value| {
                known["manager"] == FLUX && entry["manager"] == FLUX && known["operation"] == entry["operation"]
            };
            match entries.iter_mut().find(same) {
                Some(known) => unite(&mut known["fieldsV1"], &entry["fieldsV1"]),
                None => entries.push(entry),
            }
        }
        let patch = Patch::Merge(json!({ "metadata": { "managedFields": entries } }));
        let parameters = PatchParams { field_manager: Some(FLUX.to_owned()), ..PatchParams::default() };
        scenario.relocations().patch(name, &parameters, &patch).await.expect("the fields are taken over");
    }
    apply(scenario, FLUX, manifest, Mode::DryRun).await.expect("Flux asks before it applies");
    apply(scenario, FLUX, manifest, Mode::Real).await.expect("applied")
}

/// The union of two sets of fields.
fn unite(fields: &mut Value, others: &Value) {
    for (name, other) in others.as_object().into_iter().flatten() {
        match fields.get_mut(name) {
            Some(known) => unite(known, other),
            None => fields[name] = other.clone(),
        }
    }
}

#[tokio::test]
async fn a_fence_set_by_hand_is_cleared_by_nobody_who_leaves_it_out_but_by_flux_unless_told_to_merge() {
    run(async |scenario| {
        let fence = json!({ "pauseAtStep": "IMPORTING" });
        let fenced = |relocation: &Relocation| relocation.spec.pause_at_step == Some(Step::Importing);
        let names = ["plain", "flux", "merge", "named"];
        for name in names {
            let mut manifest = in_git(name).build();
            if name == "merge" {
                manifest["metadata"]["annotations"] = json!({ "kustomize.toolkit.fluxcd.io/ssa": "Merge" });
            }
            apply(scenario, FLUX, &manifest, Mode::Real).await.expect("applied");
            let manager = if name == "named" { "flux-client-side-apply" } else { "kubectl-patch" };
            patch_by_hand(scenario, name, manager, &fence).await;
            let applied = match name {
                "plain" => apply(scenario, FLUX, &manifest, Mode::Real).await.expect("applied by force"),
                _ => reconcile_like_flux(scenario, &manifest).await,
            };
            assert_eq!(fenced(&applied), name != "flux", "{name}");
        }
        let manifest = in_git("set").paused_at(Step::Importing).build();
        apply(scenario, FLUX, &manifest, Mode::Real).await.expect("applied");
        patch_by_hand(scenario, "set", "kubectl-patch", &json!({ "pauseAtStep": "NOTIFYING" })).await;
        let applied = apply(scenario, FLUX, &manifest, Mode::Real).await.expect("applied by force");
        assert!(fenced(&applied), "Git wins where it sets the field");
    })
    .await;
}

#[tokio::test]
async fn a_fence_is_opened_from_git_by_leaving_it_out_once_every_tool_has_dropped_it() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        let (closed, open) = (in_git("acme").paused_at(Step::Importing).build(), in_git("acme").build());
        for manager in [FLUX, ARGO] {
            apply(scenario, manager, &closed, Mode::Real).await.expect("applied");
        }
        scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;

        let held = apply(scenario, FLUX, &open, Mode::Real).await.expect("applied");
        assert_eq!(held.spec.pause_at_step, Some(Step::Importing), "the other tool still asks for it");
        let opened = apply(scenario, ARGO, &open, Mode::Real).await.expect("applied");
        assert_eq!(opened.spec.pause_at_step, None);
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        let ready = scenario.status("acme").conditions;
        assert!(find_condition(&ready, ConditionType::Ready).is_some_and(|ready| ready.status == "True"));
    })
    .await;
}

#[tokio::test]
async fn the_relocation_of_the_examples_is_accepted_by_the_api_server() {
    run(async |scenario| {
        let text = include_str!("../../examples/gitops/moves/relocation.yaml");
        let manifest: Value = serde_saphyr::from_str(text).expect("YAML");
        let accepted = apply(scenario, FLUX, &manifest, Mode::DryRun).await.expect("a relocation of ours");
        assert_eq!(accepted.spec.pause_at_step, Some(Step::Importing));
    })
    .await;
}
