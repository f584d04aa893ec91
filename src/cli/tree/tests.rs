//! Pictures of relocations, as people see them.

use expect_test::{Expect, expect};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::error::Error;
use super::super::observed::{Observed, Unread};
use super::super::sentence::Words;
use super::super::terminal::plain;
use super::*;

const UUID: &str = "3f0c8e6e-0000-4000-8000-000000000000";

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn labels(step: &str, task: &str, attempt: i32, launch: i64, job: &str) -> Value {
    json!({
        "relocation.dev/name": "acme", "relocation.dev/uuid": UUID, "relocation.dev/step": step,
        "relocation.dev/task": task, "relocation.dev/attempt": attempt.to_string(),
        "relocation.dev/launch": launch.to_string(), "batch.kubernetes.io/job-name": job
    })
}

fn job(attempt: i32, condition: Option<(&str, &str)>, started: &str) -> Job {
    let name = format!("acme-0000000{attempt}");
    let conditions: Vec<Value> = condition
        .into_iter()
        .map(|(kind, message)| {
            json!({ "type": kind, "status": "True", "message": message, "lastTransitionTime": "2026-07-02T14:01:40Z" })
        })
        .collect();
    object(json!({
        "metadata": { "name": name, "labels": labels("importing", "write", attempt, 100 + i64::from(attempt), &name) },
        "status": { "startTime": started, "conditions": conditions }
    }))
}

fn pod(attempt: i32, status: Value) -> Pod {
    let job = format!("acme-0000000{attempt}");
    object(json!({
        "metadata": {
            "name": format!("{job}-abcde"),
            "labels": labels("importing", "write", attempt, 100 + i64::from(attempt), &job)
        },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "main" }] },
        "status": status
    }))
}

/// The second attempt of IMPORTING/write runs, a fence and a cancel are ahead, and one task has had nothing to do.
fn a_running_one() -> Observed {
    let done = |name: &str, started: &str, finished: &str, tasks: Value| json!({ "name": name, "state": "Succeeded", "startedAt": started, "finishedAt": finished, "tasks": tasks });
    let relocation = object(json!({
        "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation",
        "metadata": {
            "name": "acme", "namespace": "default", "uid": UUID, "generation": 2,
            "creationTimestamp": "2026-07-02T14:00:00Z"
        },
        "spec": {
            "planRef": { "name": "files" }, "owner": "acme-inc",
            "pauseAtStep": "POSTPROCESSING", "cancelAtStep": "NOTIFYING"
        },
        "status": {
            "observedGeneration": 2, "uuid": UUID, "status": "IN_PROGRESS", "step": "IMPORTING", "task": "write",
            "entered": true, "attempt": 2, "attemptLimit": 4, "launch": 102, "job": "acme-00000002",
            "startedAt": "2026-07-02T14:00:01Z",
            "steps": [
                done("UPLOADING", "2026-07-02T14:00:01Z", "2026-07-02T14:01:13Z", json!([{
                    "name": "copy", "state": "Succeeded", "attempts": 1, "counts": { "files": 20000 }, "message": "copied"
                }])),
                done("PREPROCESSING", "2026-07-02T14:01:13Z", "2026-07-02T14:01:14Z", json!([])),
                done("VALIDATING", "2026-07-02T14:01:14Z", "2026-07-02T14:01:30Z", json!([])),
                { "name": "IMPORTING", "state": "Running", "startedAt": "2026-07-02T14:01:30Z", "tasks": [{
                    "name": "write", "state": "Running", "attempts": 2, "job": "acme-00000002", "exitCode": 1,
                    "message": "disk full\u{1b}[2J"
                }]}
            ],
            "conditions": [{
                "type": "Reconciling", "status": "True", "reason": "Running",
                "message": "IMPORTING/write runs, attempt 2 of 4, as Job acme-00000002",
                "lastTransitionTime": "2026-07-02T14:01:30Z"
            }]
        }
    }));
    let plan = object(json!({ "steps": [
        { "step": "UPLOADING", "tasks": [{ "name": "copy", "template": {} }] },
        { "step": "IMPORTING", "tasks": [{ "name": "write", "template": {} }, { "name": "index", "template": {} }] },
        { "step": "NOTIFYING", "tasks": [{ "name": "mail", "template": {} }] }
    ]}));
    let failed = json!({ "phase": "Failed", "containerStatuses": [{
        "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "terminated": {
            "exitCode": 1, "message": "disk full",
            "startedAt": "2026-07-02T14:01:31Z", "finishedAt": "2026-07-02T14:01:40Z"
        }}
    }]});
    let running = json!({ "phase": "Running", "containerStatuses": [{
        "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "state": { "running": { "startedAt": "2026-07-02T14:01:52Z" } }
    }]});
    let log = "2026-07-02T14:01:55Z {\"progress\":{\"done\":100,\"total\":1000,\"unit\":\"files\"}}\n\
        2026-07-02T14:02:05Z {\"progress\":{\"done\":500,\"total\":1000,\"unit\":\"files\"}}";
    Observed {
        relocation,
        plan: Ok(Some(plan)),
        jobs: Ok(vec![
            job(1, Some(("Failed", "exit code 1")), "2026-07-02T14:01:30Z"),
            job(2, None, "2026-07-02T14:01:51Z"),
        ]),
        pods: Ok(vec![pod(1, failed), pod(2, running)]),
        events: Ok(vec![object(json!({
            "metadata": {}, "involvedObject": {}, "type": "Warning", "reason": "TaskFailed",
            "message": "IMPORTING/write failed: disk full", "eventTime": "2026-07-02T14:01:41.000000Z"
        }))]),
        progress: Ok(Progress::of_log(log.lines())),
    }
}

fn check(observed: &Observed, width: Option<usize>, wide: bool, expected: Expect) {
    let now = "2026-07-02T14:02:06Z".parse().unwrap();
    let words = Words { now, zone: &TimeZone::UTC, flags: "", with_ages: true };
    let text = plain(&picture(&View::of(observed, &words), Canvas { now, width, wide }));
    let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
    assert!(width.is_none_or(|width| widest <= width), "{widest} columns:\n{text}");
    expected.assert_eq(&text);
}

#[test]
fn a_running_one_shows_attempts_jobs_pods_and_a_bar() {
    check(
        &a_running_one(),
        None,
        false,
        expect![[r#"
            acme  IN_PROGRESS  plan files, owner acme-inc, 2m6s old
            IMPORTING/write runs, attempt 2 of 4, as Job acme-00000002

            ✔ UPLOADING        72s
            └─ ✔ copy                 copied; 20,000 files
            ✔ PREPROCESSING    1s     nothing to do
            ✔ VALIDATING       16s    nothing to do
            ● IMPORTING        36s
            ├─ ● write         36s    attempt 2 of 4; before: exit code 1, disk full [2J
            │  ├─ ✖ attempt 1  10s    Job acme-00000001, exit code 1
            │  │  └─ ✖ pod     9s     acme-00000001-abcde, Failed, exit code 1, disk full
            │  └─ ● attempt 2  15s    Job acme-00000002
            │     └─ ● pod     14s    acme-00000002-abcde, Running
            │        ███████████████░░░░░░░░░░░░░░░  50 %  500 of 1,000 files, 40/s, 13s left
            └─ ○ index
            ○ POSTPROCESSING          pauseAtStep, nothing to do
            ○ NOTIFYING               cancelAtStep; mail

            possible now
              kubectl relocation patch acme --pauseAtStep=''   do not stop before POSTPROCESSING
              kubectl relocation cancel acme --withdraw        do not end before NOTIFYING
              kubectl relocation suspend acme                  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme                    end now

            last events
              25s   TaskFailed   IMPORTING/write failed: disk full
        "#]],
    );
}

#[test]
fn a_narrow_terminal_cuts_what_is_beside_the_point() {
    check(
        &a_running_one(),
        Some(72),
        false,
        expect![[r#"
            acme  IN_PROGRESS  plan files, owner acme-inc, 2m6s old
            IMPORTING/write runs, attempt 2 of 4, as Job acme-00000002

            ✔ UPLOADING        72s
            └─ ✔ copy                 copied; 20,000 files
            ✔ PREPROCESSING    1s     nothing to do
            ✔ VALIDATING       16s    nothing to do
            ● IMPORTING        36s
            ├─ ● write         36s    attempt 2 of 4; before: exit code 1, disk ful…
            │  ├─ ✖ attempt 1  10s    Job acme-00000001, exit code 1
            │  │  └─ ✖ pod     9s     acme-00000001-abcde, Failed, exit code 1, dis…
            │  └─ ● attempt 2  15s    Job acme-00000002
            │     └─ ● pod     14s    acme-00000002-abcde, Running
            │        ██████████░░░░░░░░░░  50 %  500 of 1,000 files, 40/s, 13s left
            └─ ○ index
            ○ POSTPROCESSING          pauseAtStep, nothing to do
            ○ NOTIFYING               cancelAtStep; mail

            possible now
              kubectl relocation patch acme --pauseAtStep=''   do not stop before P…
              kubectl relocation cancel acme --withdraw        do not end before NO…
              kubectl relocation suspend acme                  stop the running wor…
              kubectl relocation abort acme                    end now

            last events
              25s   TaskFailed   IMPORTING/write failed: disk full
        "#]],
    );
}

#[test]
fn wide_unfolds_what_is_done_and_what_is_to_come() {
    check(
        &a_running_one(),
        None,
        true,
        expect![[r#"
            acme  IN_PROGRESS  plan files, owner acme-inc, 2m6s old
            IMPORTING/write runs, attempt 2 of 4, as Job acme-00000002

            ✔ UPLOADING        72s
            └─ ✔ copy                 copied; 20,000 files
            ✔ PREPROCESSING    1s     nothing to do
            ✔ VALIDATING       16s    nothing to do
            ● IMPORTING        36s
            ├─ ● write         36s    attempt 2 of 4; before: exit code 1, disk full [2J
            │  ├─ ✖ attempt 1  10s    Job acme-00000001, exit code 1, fencing token 101
            │  │  └─ ✖ pod     9s     acme-00000001-abcde, Failed, exit code 1, on node-1, disk full
            │  └─ ● attempt 2  15s    Job acme-00000002, fencing token 102
            │     └─ ● pod     14s    acme-00000002-abcde, Running, on node-1
            │        ███████████████░░░░░░░░░░░░░░░  50 %  500 of 1,000 files, 40/s, 13s left
            └─ ○ index
            ○ POSTPROCESSING          pauseAtStep, nothing to do
            ○ NOTIFYING               cancelAtStep
            └─ ○ mail

            possible now
              kubectl relocation patch acme --pauseAtStep=''   do not stop before POSTPROCESSING
              kubectl relocation cancel acme --withdraw        do not end before NOTIFYING
              kubectl relocation suspend acme                  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme                    end now

            last events
              25s   TaskFailed   IMPORTING/write failed: disk full
        "#]],
    );
}

#[test]
fn what_may_not_be_read_is_said_and_the_rest_is_shown() {
    let mut observed = a_running_one();
    let refused = |resource: &str| Error::Forbidden {
        verb: "list",
        resource: resource.to_owned(),
        place: "in the namespace \"default\"".to_owned(),
        why: "you are the user \"jane\"".to_owned(),
    };
    observed.jobs = Err(Unread::new("Jobs", &refused("jobs.batch")));
    observed.pods = Err(Unread::new("pods", &refused("pods")));
    observed.progress = Err(Unread::new("the progress", &Error::Usage("the kubelet does not answer".to_owned())));
    observed.plan = Ok(None);
    observed.events = Ok(Vec::new());
    check(
        &observed,
        None,
        false,
        expect![[r#"
            acme  IN_PROGRESS  plan files, owner acme-inc, 2m6s old
            IMPORTING/write runs, attempt 2 of 4, as Job acme-00000002

            ✔ UPLOADING       72s
            └─ ✔ copy                copied; 20,000 files
            ✔ PREPROCESSING   1s
            ✔ VALIDATING      16s
            ● IMPORTING       36s
            └─ ● write               attempt 2 of 4; before: exit code 1, disk full [2J
            ○ POSTPROCESSING         pauseAtStep
            ○ NOTIFYING              cancelAtStep

            possible now
              kubectl relocation patch acme --pauseAtStep=''   do not stop before POSTPROCESSING
              kubectl relocation cancel acme --withdraw        do not end before NOTIFYING
              kubectl relocation suspend acme                  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme                    end now

            not shown: the progress: the kubelet does not answer
            not shown, because you may not read it: Jobs (list jobs.batch), pods (list pods); you are the user "jane"
        "#]],
    );
}

#[test]
fn a_pipe_gets_facts_that_change_only_when_something_happens() {
    let zone = TimeZone::UTC;
    let words = |now: &str| Words { now: now.parse().unwrap(), zone: &zone, flags: "", with_ages: false };
    let observed = a_running_one();
    let told = facts(&View::of(&observed, &words("2026-07-02T14:02:06Z")));
    assert_eq!(told, facts(&View::of(&observed, &words("2026-07-02T14:30:00Z"))));
    expect![[r#"
        IMPORTING/write, attempt 1: Job acme-00000001 has failed: exit code 1
        IMPORTING/write, attempt 1: pod acme-00000001-abcde Failed: disk full
        IMPORTING/write, attempt 2: Job acme-00000002 runs
        IMPORTING/write, attempt 2: pod acme-00000002-abcde Running
        IMPORTING/write, attempt 2: 50 %
        IN_PROGRESS IMPORTING: IMPORTING/write runs, attempt 2 of 4, as Job acme-00000002"#]]
    .assert_eq(&told.join("\n"));
}
