//! The example between two volumes, and what people do wrong with it.

use std::path::Path;
use std::process::Command;

use kube::api::Api;
use relocation_operator::api::{ArtifactIndex, FailureReason, StatusValue, Step, WorkState};
use serde_json::{Value, json};

use super::ground::{VOLUME_TO_VOLUME, create, plugin, shell, wait_for, wait_for_failure};
use super::support::run;

const NAME: &str = VOLUME_TO_VOLUME.0;

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
        VOLUME_TO_VOLUME.create(scenario, "volumes.yaml").await;
        shell(scenario, "fill", FILL).await.expect("the source is filled");
        VOLUME_TO_VOLUME.start(scenario).await;
        let paused = wait_for(scenario, NAME, StatusValue::Pause).await;
        assert_eq!(paused.step, Some(Step::Importing));
        let listed = shell(scenario, "look", "ls -A /target > /dev/termination-log").await;
        assert_eq!(listed, Ok(String::new()), "nothing is written before IMPORTING");

        let logs = plugin(scenario, &["logs", NAME, "--step", "uploading"]);
        assert!(logs.contains("UPLOADING/copy/1 {\"progress\":{\"done\":"), "a real kubelet has the log:\n{logs}");
        let status = plugin(scenario, &["status", NAME]);
        assert!(status.contains("paused before IMPORTING"), "{status}");
        assert!(!status.contains("not shown"), "{status}");

        scenario.patch_spec(NAME, json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        let done = wait_for(scenario, NAME, StatusValue::Success).await;
        assert!(done.steps.iter().all(|step| step.state == WorkState::Succeeded), "{:#?}", done.steps);
        assert_eq!(done.steps.len(), 6);
        shell(scenario, "compare", COMPARE).await.expect("source and target are equal");

        let indices: Api<ArtifactIndex> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
        let index = indices.get(NAME).await.expect("an index of the artifacts");
        assert!(!index.spec.artifacts.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_empty_source_is_told_and_nothing_is_moved() {
    run(async |scenario| {
        VOLUME_TO_VOLUME.create(scenario, "volumes.yaml").await;
        VOLUME_TO_VOLUME.start(scenario).await;
        let failure = wait_for_failure(scenario, NAME).await;
        assert_eq!((failure.step, failure.reason), (Step::Uploading, FailureReason::FatalExitCode));
        assert!(failure.message.contains("/source") || failure.message.contains("source"), "{}", failure.message);
        assert!(failure.message.contains("empty"), "{}", failure.message);
    })
    .await;
}

#[tokio::test]
async fn a_file_in_the_way_is_named_and_left_alone() {
    run(async |scenario| {
        VOLUME_TO_VOLUME.create(scenario, "volumes.yaml").await;
        shell(scenario, "fill", "echo new > /source/ledger; echo old > /target/ledger").await.expect("both have it");
        VOLUME_TO_VOLUME.start(scenario).await;
        let failure = wait_for_failure(scenario, NAME).await;
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
        create(scenario, claim("demo-source", &json!({}))).await;
        let bound = json!({ "storageClassName": "", "volumeName": volume.name, "resources": { "requests": { "storage": "8Mi" } } });
        create(scenario, claim("demo-target", &bound)).await;
        shell(scenario, "fill", "head -c 16777216 /dev/urandom > /source/large").await.expect("the source is filled");
        VOLUME_TO_VOLUME.start(scenario).await;
        let failure = wait_for_failure(scenario, NAME).await;
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

fn claim(name: &str, change: &Value) -> Value {
    let mut spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    for (field, value) in change.as_object().expect("fields of a spec") {
        spec[field] = value.clone();
    }
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name }, "spec": spec })
}
