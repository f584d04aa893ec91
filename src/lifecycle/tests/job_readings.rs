//! Reading Jobs and pods, in the words that the Job controller and the kubelet use.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::fixtures::UID;
use crate::lifecycle::{JobFailure, JobSeen, read_job, read_pod};

fn a_job(status: &Value) -> Job {
    serde_json::from_value(json!({
        "metadata": {
            "name": "acme-1", "uid": "job-uid",
            "ownerReferences": [{ "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation", "name": "acme", "uid": UID }],
        },
        "spec": { "activeDeadlineSeconds": 60, "template": { "spec": { "containers": [] } } },
        "status": status,
    }))
    .unwrap()
}

fn read(status: &Value) -> JobSeen {
    read_job(&a_job(status), UID)
}

fn condition(type_: &str, reason: &str, message: &str) -> Value {
    json!({ "conditions": [{ "type": type_, "status": "True", "reason": reason, "message": message }] })
}

fn failure(reason: &str, message: &str) -> JobFailure {
    match read(&condition("Failed", reason, message)) {
        JobSeen::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_terminal_conditions_count() {
    assert_eq!(
        read(&condition("Complete", "CompletionsReached", "Reached expected number of succeeded pods")),
        JobSeen::Succeeded
    );
    for early in ["SuccessCriteriaMet", "FailureTarget", "Suspended"] {
        let seen = read(&condition(
            early,
            "PodFailurePolicy",
            "Container main for pod a/b failed with exit code 65 matching FailJob rule at index 1",
        ));
        assert!(matches!(seen, JobSeen::Live { .. }), "{early}");
    }
    let undone =
        json!({ "conditions": [{ "type": "Failed", "status": "False" }, { "type": "Complete", "status": "False" }] });
    assert!(matches!(read(&undone), JobSeen::Live { .. }));
}

#[test]
fn the_failure_target_before_the_failure_does_not_hide_it() {
    let message = "Container main for pod a/b failed with exit code 3 matching FailJob rule at index 2";
    let status = json!({ "conditions": [
        { "type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy", "message": message },
        { "type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": message },
    ] });
    assert!(matches!(read(&status), JobSeen::Failed(JobFailure { exit_code: Some(3), disrupted: false, .. })));
}

#[test]
fn the_sentences_of_the_job_controller_are_understood() {
    let disrupted = failure(
        "PodFailurePolicy",
        "Pod moves/acme-1-x has condition DisruptionTarget matching FailJob rule at index 0",
    );
    assert_eq!((disrupted.disrupted, disrupted.exit_code, disrupted.timed_out), (true, None, false));
    let fatal = failure(
        "PodFailurePolicy",
        "Container main for pod moves/acme-1-x failed with exit code 65 matching FailJob rule at index 1",
    );
    assert_eq!((fatal.disrupted, fatal.exit_code), (false, Some(65)));
    let late = failure("DeadlineExceeded", "Job was active longer than specified deadline");
    assert_eq!((late.timed_out, late.exit_code), (true, None));
    let gone = failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    assert_eq!((gone.disrupted, gone.timed_out, gone.exit_code), (false, false, None));
}

#[test]
fn a_container_that_is_named_like_a_sentence_does_not_confuse() {
    let seen = failure(
        "PodFailurePolicy",
        "Container main for pod moves/acme failed with exit code x failed with exit code 7 matching",
    );
    assert_eq!(seen.exit_code, None);
}

#[test]
fn a_failure_without_a_word_is_a_failure() {
    let seen = read(&json!({ "conditions": [{ "type": "Failed", "status": "True" }] }));
    assert!(matches!(seen, JobSeen::Failed(JobFailure { disrupted: false, timed_out: false, exit_code: None, .. })));
}

#[test]
fn a_live_job_tells_its_deadline_its_ready_pods_and_what_was_done_to_it() {
    let mut job = a_job(&json!({ "ready": 1, "startTime": "2026-03-01T12:00:00Z" }));
    job.spec.as_mut().unwrap().suspend = Some(true);
    job.metadata.deletion_timestamp = serde_json::from_value(json!("2026-03-01T12:00:30Z")).unwrap();
    let expected = JobSeen::Live {
        uid: "job-uid".to_owned(),
        ready: 1,
        deleted_at: Some("2026-03-01T12:00:30Z".parse().unwrap()),
        suspended: true,
        deadline_at: Some("2026-03-01T12:01:00Z".parse().unwrap()),
    };
    assert_eq!(read_job(&job, UID), expected);
}

#[test]
fn a_job_of_another_owner_is_foreign_even_if_it_has_ended() {
    let job = a_job(&condition("Complete", "", ""));
    assert_eq!(read_job(&job, "another-uid"), JobSeen::Foreign { owner: "Relocation acme".to_owned() });
    let mut orphan = job;
    orphan.metadata.owner_references = None;
    assert_eq!(read_job(&orphan, UID), JobSeen::Foreign { owner: "nobody".to_owned() });
}

fn a_pod(status: &Value) -> Pod {
    serde_json::from_value(
        json!({ "metadata": { "name": "acme-1-x" }, "spec": { "containers": [], "nodeName": "n1" }, "status": status }),
    )
    .unwrap()
}

#[test]
fn the_main_container_speaks_and_not_the_others() {
    let ended = |code: i32, message: &str| json!({ "terminated": { "exitCode": code, "message": message } });
    let pod = read_pod(&a_pod(&json!({ "phase": "Failed", "containerStatuses": [
        { "name": "proxy", "state": ended(9, "proxy"), "image": "", "imageID": "", "ready": false, "restartCount": 0 },
        { "name": "main", "state": ended(3, "disk full\n"), "image": "", "imageID": "", "ready": false, "restartCount": 0 },
    ] })));
    assert_eq!((pod.finished, pod.exit_code), (true, Some(3)));
    assert_eq!(pod.result.unwrap().message.as_deref(), Some("disk full"));
}

#[test]
fn a_pod_that_ends_is_not_finished_before_it_has_ended() {
    for phase in ["Pending", "Running", "Unknown", ""] {
        assert!(!read_pod(&a_pod(&json!({ "phase": phase }))).finished, "{phase}");
    }
}

#[test]
fn a_pod_says_why_it_does_not_start() {
    let waiting = |reason: &str| {
        json!({ "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": reason, "message": "no such image" } } })
    };
    let seen = |status: Value| read_pod(&a_pod(&status)).waiting;
    let pulling = seen(json!({ "phase": "Pending", "containerStatuses": [waiting("ErrImagePull")] }));
    assert_eq!(pulling, Some(("ErrImagePull".to_owned(), "no such image".to_owned())));
    assert_eq!(seen(json!({ "phase": "Pending", "containerStatuses": [waiting("ContainerCreating")] })), None);
    let init = seen(
        json!({ "phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff")], "containerStatuses": [waiting("PodInitializing")] }),
    );
    assert_eq!(init.unwrap().0, "CrashLoopBackOff");
    let unscheduled = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" }] });
    assert_eq!(seen(unscheduled), Some(("Unschedulable".to_owned(), "0/1 nodes".to_owned())));
    let no_sandbox =
        json!([{ "type": "PodReadyToStartContainers", "status": "False", "reason": "PodSandboxNotReady" }]);
    let creating = [waiting("ContainerCreating")];
    let unprepared = seen(json!({ "phase": "Pending", "containerStatuses": creating, "conditions": no_sandbox }));
    let (reason, message) = unprepared.unwrap();
    assert_eq!(reason, "ContainerCreating");
    assert!(message.ends_with("kubectl describe pod acme-1-x"), "{message}");
    let sandbox = json!([{ "type": "PodReadyToStartContainers", "status": "True" }]);
    assert_eq!(seen(json!({ "phase": "Pending", "containerStatuses": creating, "conditions": sandbox })), None);
    assert_eq!(seen(json!({ "phase": "Running", "containerStatuses": [waiting("ErrImagePull")] })), None);
}

#[test]
fn an_empty_pod_and_an_empty_job_are_read() {
    assert!(!read_pod(&Pod::default()).finished);
    assert!(matches!(read_job(&Job::default(), UID), JobSeen::Foreign { .. }));
}
