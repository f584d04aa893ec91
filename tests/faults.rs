//! The local cluster's own components are stopped, killed and taken back to a backup while relocations run.
//!
//! Nobody else can use the cluster meanwhile, so these tests stand apart from the others and run one after the other.
//! `NAME` and `RELOCATION_STATE` say which cluster, as they do to `make`.

#![allow(
    clippy::disallowed_methods,
    clippy::duration_suboptimal_units,
    clippy::redundant_closure_for_method_calls,
    clippy::struct_field_names,
    reason = "a test writes as people and kubelets do, and starts what it needs"
)]

mod support;

#[path = "faults/cut_off.rs"]
mod cut_off;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use relocation_operator::api::{Relocation, StatusValue, Step};
use serde_json::json;

use support::{Behaviour, SIX_WORKS, Scenario, a_plan, a_relocation, amount, on, run_alone};

/// A cluster whose components have just been started takes its time.
const DEADLINE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn an_api_server_that_is_killed_or_stopped_in_the_middle_of_a_step_costs_no_attempt() {
    lose_in_the_middle_of_steps("kube-apiserver").await;
}

#[tokio::test]
async fn an_etcd_that_is_killed_or_stopped_in_the_middle_of_a_step_costs_no_attempt() {
    lose_in_the_middle_of_steps("etcd").await;
}

/// The task of the step ends while the component is away; the same operator goes on when it is back.
async fn lose_in_the_middle_of_steps(component: &str) {
    let losses = &Step::WORKING[6 - amount("RELOCATION_LOSSES", 2)..];
    run_alone(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        for step in losses {
            scenario.script(on(*step), Behaviour::Hang);
        }
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        for (step, how) in losses.iter().copied().zip(["kill", "stop"].into_iter().cycle()) {
            wait_for_running_pod(scenario, "acme", step).await;
            cluster(&[how, component]).await;
            scenario.script(on(step), Behaviour::succeed());
            cluster(&["start", component]).await;
        }
        wait_for(scenario, "acme", StatusValue::Success, Step::Completed).await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        assert_eq!(scenario.ran("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
        assert!(scenario.operators[0].lives(), "the operator waited and did not end");
    })
    .await;
}

#[tokio::test]
async fn a_fence_holds_across_the_death_of_the_api_server() {
    run_alone(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Validating), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        wait_for_running_pod(scenario, "acme", Step::Validating).await;
        scenario.patch_spec("acme", json!({ "pauseAtStep": "IMPORTING" })).await.expect("a fence ahead");
        cluster(&["kill", "etcd"]).await;
        cluster(&["kill", "kube-apiserver"]).await;
        scenario.script(on(Step::Validating), Behaviour::succeed());
        cluster(&["start", "etcd"]).await;
        cluster(&["start", "kube-apiserver"]).await;
        wait_for(scenario, "acme", StatusValue::Pause, Step::Importing).await;
        assert_eq!(scenario.ran("acme"), SIX_WORKS[..3]);
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        wait_for(scenario, "acme", StatusValue::Success, Step::Completed).await;
        assert_eq!(scenario.ran("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
    })
    .await;
}

/// Jobs have run since the backup. What the backup knows of is not run again;
/// what it does not know of is run again with a greater fencing token, so that targets refuse the older one.
#[tokio::test]
async fn a_restored_backup_repeats_nothing_that_it_knows_of() {
    run_alone(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        for name in ["ends-since", "still-runs"] {
            scenario.script(on(Step::Importing).relocation(name), Behaviour::Hang);
        }
        scenario.start_operator().await;
        for name in ["ends-since", "still-runs", "done"] {
            scenario.create(a_relocation(name)).await;
        }
        scenario.create(a_relocation("goes-on-since").paused_at(Step::Importing)).await;
        wait_for_running_pod(scenario, "ends-since", Step::Importing).await;
        wait_for_running_pod(scenario, "still-runs", Step::Importing).await;
        wait_for(scenario, "done", StatusValue::Success, Step::Completed).await;
        wait_for(scenario, "goes-on-since", StatusValue::Pause, Step::Importing).await;

        let backup = Backup::make().await;
        let known = scenario.log();
        scenario.script(on(Step::Importing).relocation("ends-since"), Behaviour::succeed());
        scenario.patch_spec("goes-on-since", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        scenario.create(a_relocation("new")).await;
        for name in ["ends-since", "goes-on-since", "new"] {
            wait_for(scenario, name, StatusValue::Success, Step::Completed).await;
        }
        let unknown = scenario.log()[known.len()..].to_vec();
        assert!(unknown.iter().any(|ran| ran.relocation == "new"));

        // The operator lives through it, with a memory of what has not happened, and is started again like all components.
        backup.restore().await;
        scenario.look_anew();
        scenario
            .wait(DEADLINE, "the cluster is back in the past", |seen| {
                (!seen.relocations.contains_key("new")).then_some(())
            })
            .await;
        scenario.restart_operator().await;
        scenario.script(on(Step::Importing).relocation("still-runs"), Behaviour::succeed());
        for name in ["ends-since", "still-runs", "done"] {
            wait_for(scenario, name, StatusValue::Success, Step::Completed).await;
        }
        // The fence that stood at the time of the backup stands again.
        wait_for(scenario, "goes-on-since", StatusValue::Pause, Step::Importing).await;
        scenario.patch_spec("goes-on-since", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        wait_for(scenario, "goes-on-since", StatusValue::Success, Step::Completed).await;

        assert_eq!(scenario.ran("done"), SIX_WORKS);
        assert_eq!(scenario.ran("still-runs"), SIX_WORKS);
        assert_eq!(scenario.ran("ends-since"), [&SIX_WORKS[..], &SIX_WORKS[4..]].concat());
        assert_eq!(scenario.ran("goes-on-since"), [&SIX_WORKS[..], &SIX_WORKS[3..]].concat());
        assert_eq!(scenario.ran("new"), SIX_WORKS);
        let mut tokens = BTreeMap::new();
        for ran in scenario.log().into_iter().filter(|ran| ran.has_started()) {
            let last = tokens.insert(ran.mutex.clone(), ran.launch);
            assert!(
                last.is_none_or(|last| last < ran.launch),
                "a fencing token that is not greater than {last:?}: {ran:?}"
            );
        }
        scenario.assert_no_overlap();
    })
    .await;
}

/// The clock is set back by four hours and later by more than a day under a running operator, and stands elsewhere
/// for the one that takes over.
#[tokio::test]
async fn steps_of_the_hosts_clock_start_nothing_twice_and_take_no_fencing_token_back() {
    let clock = Clock::ahead_by("+2h");
    run_alone(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        for step in [Step::Preprocessing, Step::Importing, Step::Notifying] {
            scenario.script(on(step), Behaviour::Hang);
        }
        // The way to the API server is without certificates, which are not valid at every time.
        scenario.open_gate().await;
        scenario.create(a_relocation("acme")).await;
        scenario.start_operator_with(&clock.environment()).await;

        wait_for_running_pod(scenario, "acme", Step::Preprocessing).await;
        clock.set("-2h");
        scenario.script(on(Step::Preprocessing), Behaviour::succeed());
        wait_for_running_pod(scenario, "acme", Step::Importing).await;
        scenario.kill_operators();
        clock.set("+6h");
        scenario.start_operator_with(&clock.environment()).await;
        scenario.script(on(Step::Importing), Behaviour::succeed());
        wait_for_running_pod(scenario, "acme", Step::Notifying).await;
        clock.set("-1d");
        scenario.script(on(Step::Notifying), Behaviour::succeed());

        let status = scenario.wait_for_success("acme").await;
        let (started, finished) = (status.started_at.expect("a time").0, status.finished_at.expect("a time").0);
        assert!(finished.duration_since(started).as_hours() < -20, "the clock did step: {started} {finished}");
        assert_eq!(scenario.ran("acme"), SIX_WORKS);
        let launches: Vec<i64> = scenario.launches("acme").iter().map(|launch| launch.launch).collect();
        assert!(launches.windows(2).all(|pair| pair[0] < pair[1]), "{launches:?}");
        scenario.assert_no_overlap();
    })
    .await;
}

/// The definitions of a newer version are installed, and this operator meets an object that only that one understands.
#[tokio::test]
async fn an_object_of_a_newer_version_is_told_so_and_stops_no_other() {
    run_alone(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        let definition = NewerDefinition::install(&scenario.client).await;
        let relocations = anything_like_a_relocation(scenario);
        let mut newer = a_relocation("newer").build();
        newer["spec"]["readiness"] = json!("WhenRehearsed");
        let newer: DynamicObject = serde_json::from_value(newer).expect("an object");
        create_once_it_is_known(&relocations, &newer).await;
        let other = serde_json::from_value(a_relocation("other").build()).expect("an object");
        relocations.create(&PostParams::default(), &other).await.expect("a relocation that everybody understands");

        let stalled = wait_until(&relocations, "newer", "UnknownStatus").await;
        wait_until(&relocations, "other", "SUCCESS").await;
        let status = &stalled.data["status"];
        assert_eq!(status["observedGeneration"], -1, "nothing else of it is touched: {status}");
        let conditions = status["conditions"].as_array().expect("conditions");
        assert_eq!(conditions.len(), 1, "{status}");
        assert_eq!((&conditions[0]["type"], &conditions[0]["status"]), (&json!("Stalled"), &json!("True")));
        assert!(conditions[0]["message"].as_str().is_some_and(|message| message.contains("WhenRehearsed")), "{status}");
        assert_eq!(
            stalled.metadata.resource_version,
            wait_until(&relocations, "newer", "Stalled").await.metadata.resource_version
        );

        relocations.delete("newer", &DeleteParams::default()).await.expect("deleting always works");
        definition.take_back(&scenario.client).await;
    })
    .await;
}

/// The definition of relocations with one more value of `spec.readiness`.
struct NewerDefinition;

impl NewerDefinition {
    const NAME: &str = "relocations.relocation.dev";
    const VALUES: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/readiness/enum/0";

    async fn install(client: &Client) -> Self {
        Self::patch(client, json!([{ "op": "add", "path": Self::VALUES, "value": "WhenRehearsed" }])).await;
        Self
    }

    async fn take_back(self, client: &Client) {
        Self::patch(client, json!([
            { "op": "test", "path": Self::VALUES, "value": "WhenRehearsed" }, { "op": "remove", "path": Self::VALUES }
        ]))
        .await;
    }

    async fn patch(client: &Client, operations: serde_json::Value) {
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        let patch = Patch::<()>::Json(serde_json::from_value(operations).expect("a JSON patch"));
        definitions.patch(Self::NAME, &PatchParams::default(), &patch).await.expect("the definition can be changed");
    }
}

fn anything_like_a_relocation(scenario: &Scenario) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<Relocation>(&());
    Api::namespaced_with(scenario.client.clone(), &scenario.namespace, &resource)
}

/// The API server takes a changed definition in after a moment.
async fn create_once_it_is_known(api: &Api<DynamicObject>, object: &DynamicObject) {
    let started = tokio::time::Instant::now();
    while let Err(error) = api.create(&PostParams::default(), object).await {
        assert!(started.elapsed() < DEADLINE, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until an object that is read as it is says this word in its status.
async fn wait_until(api: &Api<DynamicObject>, name: &str, word: &str) -> DynamicObject {
    let said = |object: Option<&DynamicObject>| {
        object.is_some_and(|object| object.data["status"].to_string().contains(&format!("\"{word}\"")))
    };
    let waited = tokio::time::timeout(DEADLINE, await_condition(api.clone(), name, said)).await;
    waited.unwrap_or_else(|_| panic!("{name}: no {word} in time")).expect("a watch").expect("it is there")
}

/// A host's clock as a file that can be rewritten, for programs that are started with its environment.
struct Clock(PathBuf);

impl Clock {
    fn ahead_by(offset: &str) -> Self {
        let clock = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clock-{}", std::process::id())));
        clock.set(offset);
        clock
    }

    fn set(&self, offset: &str) {
        std::fs::write(&self.0, offset).expect("a file for the clock");
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", library_of_faketime()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.to_string_lossy().into_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // Waiting goes by the other clock, which no step moves.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where faketime keeps its library, by its own word.
fn library_of_faketime() -> String {
    let output = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let output = output.expect("'faketime' is installed by 'make setup'");
    String::from_utf8(output.stdout).expect("a path").trim().to_owned()
}

/// A backup of etcd in a file that goes away.
struct Backup(PathBuf);

impl Backup {
    async fn make() -> Self {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("etcd-{}.tar", std::process::id()));
        cluster(&["save-etcd", &file.to_string_lossy()]).await;
        Self(file)
    }

    async fn restore(&self) {
        cluster(&["restore-etcd", &self.0.to_string_lossy()]).await;
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs a command of the local cluster, which must be the one of the kubeconfig, and tells what it printed.
async fn cluster(arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster");
    // The stub kubelet and the watches go on while the command works.
    let done = tokio::task::spawn_blocking(move || {
        let ours = Command::new(&script).arg("kubeconfig").output().expect("the cluster's script");
        let ours = String::from_utf8_lossy(&ours.stdout).trim().to_owned();
        let used = std::env::var("KUBECONFIG").unwrap_or_default();
        assert_eq!(ours, used, "these tests need the local cluster, because they stop and kill its components");
        let output = Command::new(&script).args(&arguments).output().expect("the cluster's script");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "cluster {arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    });
    done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

async fn wait_for_running_pod(scenario: &Scenario, name: &str, step: Step) {
    scenario.wait_for_running_pod_within(DEADLINE, name, step).await;
}

async fn wait_for(scenario: &Scenario, name: &str, value: StatusValue, step: Step) {
    scenario
        .wait(DEADLINE, &format!("{name}: {} at {step}", value.as_str()), |seen| {
            let status = seen.relocations.get(name)?.status.as_ref()?;
            (status.status == Some(value) && status.step == Some(step)).then_some(())
        })
        .await;
}
