//! An IMPORTING that is killed in the middle goes on where it was: what has arrived is not moved again.
//!
//! Counted at the S3 server: its own log of requests, and what its network has received; of a volume by the files' inodes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use relocation_operator::api::{FailureReason, StatusValue, Step};
use serde_json::{Value, json};
use tokio::process::Command;

use super::bucket::{self, BYTES, OBJECTS, assert_nothing_half, fill, uploads, wait_until_it_has};
use super::ground::{
    LIMIT, S3_TO_S3, VOLUME_TO_S3, VOLUME_TO_VOLUME, cluster, delete_at_once, log, shell, shell_with, task, wait_for,
    wait_for_failure, wait_for_recovery,
};
use super::support::{Scenario, label_of, run, run_alone};
use super::tree;

/// Objects on their way at the same time.
const AT_ONCE: usize = 2;

#[tokio::test]
async fn objects_that_have_arrived_are_not_sent_again_after_the_pod_was_deleted() {
    delete_in_the_middle(|_| {}).await;
}

/// All that the pod had with it is gone then: what is known of it, the bucket knows.
#[tokio::test]
async fn objects_that_have_arrived_are_not_sent_again_where_the_target_keeps_the_records() {
    delete_in_the_middle(|plan| {
        plan["spec"].as_object_mut().expect("a spec").remove("workspace").expect("a workspace");
        for step in plan["spec"]["steps"].as_array_mut().expect("steps") {
            let pod = &mut step["tasks"][0]["template"]["spec"];
            push(&mut pod["volumes"], json!({ "name": "scratch", "emptyDir": {} }));
            let container = &mut pod["containers"][0];
            push(&mut container["volumeMounts"], json!({ "name": "scratch", "mountPath": "/tmp" }));
            let target = json!("--target=$(TARGET)");
            if !container["args"].as_array().expect("arguments").contains(&target) {
                push(&mut container["args"], target);
            }
        }
    })
    .await;
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().expect("a list").push(item);
}

async fn delete_in_the_middle(change: impl Fn(&mut Value)) {
    run(async |scenario| {
        let name = VOLUME_TO_S3.name();
        bucket::serve(scenario, VOLUME_TO_S3).await;
        VOLUME_TO_S3.create(scenario, "volumes.yaml").await;
        shell_with(scenario, "fill", &fill("/source"), &["source"]).await.expect("the source is filled");
        let mut plan = VOLUME_TO_S3.plan();
        task(&mut plan, "IMPORTING")["attempts"] = json!(1);
        change(&mut plan);
        VOLUME_TO_S3.start_with(scenario, plan).await;
        import_slowly(scenario, name, bucket::SLOW).await;

        wait_until_it_has(scenario, OBJECTS / 2).await;
        let refused = scenario.patch_spec(name, json!({ "parameters": { "BANDWIDTH": "" } })).await;
        let refused = refused.expect_err("parameters stand while a task runs");
        assert!(refused.contains("spec.parameters"), "{refused}");
        delete_at_once(scenario, name, Step::Importing).await;
        let failure = wait_for_failure(scenario, name).await;
        assert_eq!((failure.step, failure.reason), (Step::Importing, FailureReason::AttemptsExhausted));
        assert!(failure.recoverable, "{failure:?}");

        let other = json!({ "BANDWIDTH": "", "CONCURRENCY": AT_ONCE.to_string() });
        let recover = json!({ "recover": failure.id, "parameters": other });
        scenario.patch_spec(name, recover).await.expect("a recover with other parameters");
        wait_for_recovery(scenario, name).await;
        assert_eq!(bandwidths_of_importing(scenario), [""], "the second attempt has the new parameters");
        assert_nothing_was_sent_again(scenario).await;
    })
    .await;
}

/// As when a machine loses its power and comes back: the kubelet and every process of the pod end at once, without a word.
#[tokio::test]
async fn objects_that_have_arrived_are_not_sent_again_after_the_node_has_crashed() {
    run_alone(async |scenario| {
        let name = S3_TO_S3.name();
        bucket::serve(scenario, S3_TO_S3).await;
        let mut plan = S3_TO_S3.plan();
        task(&mut plan, "IMPORTING")["attempts"] = json!(1);
        S3_TO_S3.start_with(scenario, plan.clone()).await;
        import_slowly(scenario, name, bucket::SLOW).await;

        wait_until_it_has(scenario, OBJECTS / 2).await;
        let (_, uid) = scenario.wait_for_running_pod_within(LIMIT, name, Step::Importing).await;
        cluster(&["kill", "kubelet"]).await;
        kill_everything_of(&uid).await;
        cluster(&["start", "kubelet"]).await;
        let failure = wait_for_failure(scenario, name).await;
        assert_eq!((failure.step, failure.reason), (Step::Importing, FailureReason::AttemptsExhausted));
        assert_eq!(failure.exit_code, Some(137), "{failure:?}");

        // A recover takes the plan as it is then.
        let arguments = task(&mut plan, "IMPORTING")["template"]["spec"]["containers"][0]["args"].as_array_mut();
        let arguments = arguments.expect("arguments");
        let all = arguments.len();
        arguments.retain(|argument| argument != "--bandwidth=$(BANDWIDTH)");
        assert_eq!(arguments.len(), all - 1);
        scenario.patch_plan(name, json!({ "steps": plan["spec"]["steps"] })).await;
        scenario.patch_spec(name, json!({ "recover": failure.id })).await.expect("a recover");
        wait_for_recovery(scenario, name).await;
        assert_nothing_was_sent_again(scenario).await;
    })
    .await;
}

/// The plan as it stands has four attempts, so nobody is needed.
#[tokio::test]
async fn files_that_have_arrived_are_not_written_again_after_the_pod_was_deleted() {
    run(async |scenario| {
        let name = VOLUME_TO_VOLUME.name();
        VOLUME_TO_VOLUME.create(scenario, "volumes.yaml").await;
        tree::make(scenario).await;
        VOLUME_TO_VOLUME.start(scenario).await;
        import_slowly(scenario, name, tree::SLOW).await;

        tree::wait_until_some_arrived(scenario).await;
        delete_at_once(scenario, name, Step::Importing).await;
        let before = inodes(scenario, "before").await;
        let done = wait_for(scenario, name, StatusValue::Success).await;
        let importing = done.steps.iter().find(|step| step.name == Step::Importing).expect("the step");
        assert_eq!(importing.tasks[0].attempts, 2, "the pod was deleted in the middle");

        let after = inodes(scenario, "after").await;
        assert_eq!(after.len(), tree::FILES);
        assert!(!before.is_empty() && before.len() < tree::FILES, "{}", before.len());
        let again: Vec<&String> = before.difference(&after).collect();
        assert!(again.is_empty(), "{} files were written again, such as {:?}", again.len(), again[0]);
        tree::assert_nothing_half(scenario).await;
        shell(scenario, "compare", "diff -r /source /target").await.expect("source and target are equal");
    })
    .await;
}

/// Opens the fence before IMPORTING, which then has a limit.
async fn import_slowly(scenario: &Scenario, name: &str, bandwidth: &str) {
    let paused = wait_for(scenario, name, StatusValue::Pause).await;
    assert_eq!(paused.step, Some(Step::Importing));
    let parameters = json!({ "BANDWIDTH": bandwidth, "CONCURRENCY": AT_ONCE.to_string() });
    let go_on = json!({ "pauseAtStep": null, "parameters": parameters });
    scenario.patch_spec(name, go_on).await.expect("a fence can be cleared and parameters changed while it is paused");
}

/// By the server's log and by what its network has received.
async fn assert_nothing_was_sent_again(scenario: &Scenario) {
    let sent = uploads(scenario).await;
    assert_eq!(sent.len(), OBJECTS);
    // What was under way when the pod died may be sent a second time.
    let again: Vec<_> = sent.iter().filter(|(_, times)| **times > 1).collect();
    assert!(again.len() <= AT_ONCE && again.iter().all(|(_, times)| **times == 2), "{again:?}");
    let looks = assert_nothing_half(scenario).await;
    let last = looks.last().expect("a look");
    assert_eq!(last.arrived, OBJECTS);
    // Had the second attempt begun anew, it would be half as much again.
    let most = BYTES + BYTES / 4;
    assert!(last.received >= BYTES && last.received < most, "{} bytes were received for {BYTES}", last.received);
}

/// The parameter of each IMPORTING pod that is still there.
fn bandwidths_of_importing(scenario: &Scenario) -> Vec<String> {
    let seen = scenario.record.seen();
    let importing = seen.pods.values().filter(|pod| label_of(*pod, "step") == Some("importing"));
    importing.filter_map(|pod| variable(pod, "BANDWIDTH")).collect()
}

fn variable(pod: &Pod, name: &str) -> Option<String> {
    let environment = pod.spec.as_ref()?.containers.first()?.env.as_ref()?;
    let variable = environment.iter().find(|variable| variable.name == name)?;
    Some(variable.value.clone().unwrap_or_default())
}

/// `INODE NAME` of every file of the target that shows.
async fn inodes(scenario: &Scenario, pod: &str) -> BTreeSet<String> {
    let list = "find /target -name 'part-*' -print0 | xargs -0 -r stat -c '%i %n'";
    shell(scenario, pod, list).await.expect("the target can be listed");
    log(scenario, pod, "main").await.into_iter().collect()
}

/// Sends SIGKILL to every process of a pod, its sandbox's too, until none is left.
async fn kill_everything_of(uid: &str) {
    let folders = folders_named(&format!("pod{uid}"));
    assert!(!folders.is_empty(), "the pod has control groups on this machine");
    let mut killed = BTreeSet::new();
    loop {
        let alive: BTreeSet<String> = folders.iter().flat_map(|folder| processes_below(folder)).collect();
        if alive.is_empty() {
            break;
        }
        // One that ended by itself meanwhile makes kill complain.
        Command::new("kill").arg("-KILL").args(&alive).output().await.expect("kill starts");
        killed.extend(alive);
    }
    assert!(killed.len() > 1, "the sandbox and the mover were killed, not only {killed:?}");
}

/// Folders of this name among the control groups.
fn folders_named(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        if folder.file_name().is_some_and(|this| this == name) {
            found.push(folder);
            continue;
        }
        open.extend(folders_in(&folder));
    }
    found
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn processes_below(folder: &Path) -> Vec<String> {
    let own = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let below = folders_in(folder).into_iter().flat_map(|folder| processes_below(&folder));
    own.lines().map(str::to_owned).chain(below).collect()
}
