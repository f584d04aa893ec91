//! Real data, moved by real pods: the examples as they stand, and what people do wrong with them.
//!
//! The tests need a cluster with a kubelet, a default storage class, and the images of `make images`.

#![allow(
    clippy::disallowed_methods,
    clippy::similar_names,
    clippy::struct_field_names,
    dead_code,
    reason = "a test writes as people do; the stub kubelet's part of the support is not used here"
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, PostParams};
use kube::runtime::wait::await_condition;
use relocation_operator::api::{
    ArtifactIndex, Failure, FailureReason, Relocation, RelocationPlan, RelocationStatus, StatusValue, Step, WorkState,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::{Scenario, run};
use tokio::time::timeout;

/// Longer than real pods take to start and end one after the other on a busy machine with two cores.
const LIMIT: Duration = Duration::from_mins(3);

/// Directories, an empty one, links of both kinds, an empty file, odd names, a read-only file, many small ones, a large one.
const FILL: &str = r#"
set -e
cd /source
mkdir -p deep/er/est empty 'odd name'
i=0; while [ $i -lt 300 ]; do echo "file $i" > "deep/er/file-$i"; i=$((i+1)); done
head -c 8388608 /dev/urandom > large
: > zero
printf 'x' > "odd name/with
newline"
printf 'secret' > deep/locked; chmod 0400 deep/locked
ln deep/locked deep/er/est/the-same
ln -s ../large deep/link
ln -s /nowhere dangling
touch -d '2001-02-03 04:05:06' zero deep/er empty
"#;

/// Content by digests, then modes, links, times and link targets. The roots are the volumes' own.
const COMPARE: &str = r#"
set -e
list() { cd "$1"; find . -type f -print0 | sort -z | xargs -0 sha256sum; find . -mindepth 1 ! -type l -print0 | sort -z | xargs -0 stat -c '%a %h %Y %F %n'; find . -type l -print0 | sort -z | xargs -0 -n 1 readlink; }
list /source > /tmp/source; list /target > /tmp/target
diff /tmp/source /tmp/target
"#;

#[tokio::test]
async fn the_example_moves_a_real_tree_and_stops_before_it_writes() {
    run(async |scenario| {
        create_volumes(scenario).await;
        shell(scenario, "fill", FILL).await.expect("the source is filled");
        start(scenario).await;
        let paused = wait_for(scenario, StatusValue::Pause).await;
        assert_eq!(paused.step, Some(Step::Importing));
        let listed = shell(scenario, "look", "ls -A /target > /dev/termination-log").await;
        assert_eq!(listed, Ok(String::new()), "nothing is written before IMPORTING");

        let logs = plugin(scenario, &["logs", "volume-to-volume", "--step", "uploading"]);
        assert!(logs.contains("UPLOADING/copy/1 {\"progress\":{\"done\":"), "a real kubelet has the log:\n{logs}");
        let status = plugin(scenario, &["status", "volume-to-volume"]);
        assert!(status.contains("paused before IMPORTING"), "{status}");
        assert!(!status.contains("not shown"), "{status}");

        scenario.patch_spec("volume-to-volume", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        let done = wait_for(scenario, StatusValue::Success).await;
        assert!(done.steps.iter().all(|step| step.state == WorkState::Succeeded), "{:#?}", done.steps);
        assert_eq!(done.steps.len(), 6);
        shell(scenario, "compare", COMPARE).await.expect("source and target are equal");

        let indices: Api<ArtifactIndex> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
        let index = indices.get("volume-to-volume").await.expect("an index of the artifacts");
        assert!(!index.spec.artifacts.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_empty_source_is_told_and_nothing_is_moved() {
    run(async |scenario| {
        create_volumes(scenario).await;
        start(scenario).await;
        let failure = wait_for_failure(scenario).await;
        assert_eq!((failure.step, failure.reason), (Step::Uploading, FailureReason::FatalExitCode));
        assert!(failure.message.contains("/source") || failure.message.contains("source"), "{}", failure.message);
        assert!(failure.message.contains("empty"), "{}", failure.message);
    })
    .await;
}

#[tokio::test]
async fn a_file_in_the_way_is_named_and_left_alone() {
    run(async |scenario| {
        create_volumes(scenario).await;
        shell(scenario, "fill", "echo new > /source/ledger; echo old > /target/ledger").await.expect("both have it");
        start(scenario).await;
        let failure = wait_for_failure(scenario).await;
        assert_eq!((failure.step, failure.reason), (Step::Preprocessing, FailureReason::FatalExitCode));
        assert!(failure.message.contains("ledger"), "{}", failure.message);
        let kept = shell(scenario, "look", "cat /source/ledger /target/ledger > /dev/termination-log").await;
        assert_eq!(kept.as_deref().map(str::trim), Ok("new\nold"));
    })
    .await;
}

#[tokio::test]
async fn a_target_that_is_too_small_is_told_before_anything_is_written() {
    run(async |scenario| {
        let volume = SmallVolume::make(&scenario.namespace);
        create(scenario, &claim("demo-source", &json!({}))).await;
        let bound = json!({ "storageClassName": "", "volumeName": volume.name, "resources": { "requests": { "storage": "8Mi" } } });
        create(scenario, &claim("demo-target", &bound)).await;
        shell(scenario, "fill", "head -c 16777216 /dev/urandom > /source/large").await.expect("the source is filled");
        start(scenario).await;
        let failure = wait_for_failure(scenario).await;
        assert_eq!((failure.step, failure.reason), (Step::Preprocessing, FailureReason::FatalExitCode));
        assert!(failure.message.contains("space") || failure.message.contains("bytes"), "{}", failure.message);
        let kept = shell(scenario, "look", "ls -A /target > /dev/termination-log; test $(stat -c %s /source/large) = 16777216").await;
        assert_eq!(kept, Ok(String::new()));
        drop(volume);
    })
    .await;
}

/// A volume of 8 MiB on this machine's own cluster; removed when it is dropped.
struct SmallVolume {
    name: String,
}

impl SmallVolume {
    fn make(name: &str) -> Self {
        cluster(&["small-volume", name, "8Mi"]);
        Self { name: name.to_owned() }
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        cluster(&["remove-small-volume", &self.name]);
    }
}

fn cluster(arguments: &[&str]) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster");
    let output = Command::new(program).args(arguments).output().expect("cluster/cluster starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() || std::thread::panicking(),
        "a volume of a few MiB can be made on the local cluster alone; run `make test-e2e` without CLUSTER=current: {said}"
    );
}

/// What the kubectl plugin answers.
fn plugin(scenario: &Scenario, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-relocation"));
    let output = command.args(words).args(["-n", &scenario.namespace]).output().expect("the plugin starts");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{answer}{}", String::from_utf8_lossy(&output.stderr));
    answer
}

async fn create_volumes(scenario: &Scenario) {
    for volume in example::<PersistentVolumeClaim>("volumes.yaml") {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
        claims.create(&PostParams::default(), &volume).await.expect("the example's volumes");
    }
}

/// Applies the example's plan and relocation and starts an operator.
async fn start(scenario: &mut Scenario) {
    scenario.start_operator().await;
    for plan in example::<RelocationPlan>("plan.yaml") {
        scenario.plans().create(&PostParams::default(), &plan).await.expect("the example's plan");
    }
    for relocation in example::<Relocation>("relocation.yaml") {
        scenario.relocations().create(&PostParams::default(), &relocation).await.expect("the example's relocation");
    }
}

/// The objects of an example as they stand.
fn example<K: DeserializeOwned>(file: &str) -> Vec<K> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/volume-to-volume").join(file);
    let text = std::fs::read_to_string(path).expect("an example");
    serde_saphyr::from_multiple(&text).expect("an example of that kind")
}

fn claim(name: &str, change: &Value) -> Value {
    let mut spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    for (field, value) in change.as_object().expect("fields of a spec") {
        spec[field] = value.clone();
    }
    json!({ "metadata": { "name": name }, "spec": spec })
}

async fn create(scenario: &Scenario, claim: &Value) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let claim = serde_json::from_value(claim.clone()).expect("a claim");
    claims.create(&PostParams::default(), &claim).await.expect("a claim");
}

/// Runs a script in a busybox pod with both volumes; gives back its termination message, or what it said when it failed.
async fn shell(scenario: &Scenario, name: &str, script: &str) -> Result<String, String> {
    let image = std::env::var("TOOLS_IMAGE").unwrap_or_else(|_| "localhost/relocation-tools:dev".to_owned());
    let volume = |name: &str| json!({ "name": name, "persistentVolumeClaim": { "claimName": format!("demo-{name}") } });
    let pod = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "main", "image": image, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script],
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    { "name": "source", "mountPath": "/source" }, { "name": "target", "mountPath": "/target" }
                ]
            }],
            "volumes": [volume("source"), volume("target")]
        }
    }))
    .expect("a pod");
    let pods: Api<Pod> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    pods.create(&PostParams::default(), &pod).await.expect("a pod");
    let ended = await_condition(pods, name, |pod: Option<&Pod>| terminated(pod).is_some());
    let pod = timeout(LIMIT, ended).await.expect("the pod ends in time").expect("a watch of the pod");
    match terminated(pod.as_ref()).expect("it has ended") {
        (0, said) => Ok(said),
        (code, said) => Err(format!("exit code {code}: {said}")),
    }
}

fn terminated(pod: Option<&Pod>) -> Option<(i32, String)> {
    let container = pod?.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let terminated = container.state.as_ref()?.terminated.as_ref()?;
    Some((terminated.exit_code, terminated.message.clone().unwrap_or_default()))
}

async fn wait_for(scenario: &Scenario, wanted: StatusValue) -> RelocationStatus {
    let reached = await_condition(scenario.relocations(), "volume-to-volume", move |relocation: Option<&Relocation>| {
        let status = relocation.and_then(|relocation| relocation.status.as_ref());
        status.is_some_and(|status| status.status == Some(wanted) || status.has_ended())
    });
    let relocation = timeout(LIMIT, reached).await.expect("in time").expect("a watch of the relocation");
    let status = relocation.and_then(|relocation| relocation.status).expect("a status");
    assert_eq!(status.status, Some(wanted), "{:#?}", status.failure);
    status
}

async fn wait_for_failure(scenario: &Scenario) -> Failure {
    wait_for(scenario, StatusValue::Failure).await.failure.expect("a failure says why")
}
