//! A stub kubelet: plays the node of the tests' pods by a script.
//!
//! The script is a level, like a fence: the newest line that fits a pod says what the pod does, also while it runs.
//! So "hang until told" is a line that hangs, and later a line that ends it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use relocation_operator::api::{Labels, Step};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cluster::{STUB_NODE, now, renew_node_lease};
use super::record::{Record, is_finished, label_of, number_of};

/// How often the node says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What a pod does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It ends with exit code 0 and this termination message.
    Succeed(String),
    /// It ends with this exit code and termination message.
    Exit(i32, String),
    /// It runs until the script says otherwise, and ends when it is deleted.
    Hang,
    /// It runs until the script says otherwise, and goes on writing when it is deleted.
    KeepWriting,
    /// It does not start, for this reason and with this message.
    Wait(String, String),
}

impl Behaviour {
    pub fn succeed() -> Self {
        Self::Succeed(r#"{"verdict":"VALID","message":"done"}"#.to_owned())
    }

    pub fn exit(code: i32, message: &str) -> Self {
        Self::Exit(code, message.to_owned())
    }

    pub fn wait(reason: &str, message: &str) -> Self {
        Self::Wait(reason.to_owned(), message.to_owned())
    }
}

/// Which pods a line of the script is about.
#[derive(Clone, Debug, Default)]
pub struct Script {
    step: Option<Step>,
    task: Option<String>,
    attempt: Option<i32>,
    relocation: Option<String>,
}

/// The pods of a step.
pub fn on(step: Step) -> Script {
    Script { step: Some(step), ..Script::default() }
}

impl Script {
    /// Every pod.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The pods of the `onEnd` Job.
    pub fn on_end() -> Self {
        Self { task: Some("on-end".to_owned()), ..Self::default() }
    }

    pub fn task(self, task: &str) -> Self {
        Self { task: Some(task.to_owned()), ..self }
    }

    pub fn attempt(self, attempt: i32) -> Self {
        Self { attempt: Some(attempt), ..self }
    }

    pub fn relocation(self, name: &str) -> Self {
        Self { relocation: Some(name.to_owned()), ..self }
    }

    fn fits(&self, pod: &Pod) -> bool {
        let step: Option<Step> = label_of(pod, Labels::STEP).and_then(|step| step.parse().ok());
        self.step.is_none_or(|wanted| step == Some(wanted))
            && self.task.as_deref().is_none_or(|wanted| label_of(pod, Labels::TASK) == Some(wanted))
            && self.attempt.is_none_or(|wanted| number_of::<i32>(pod, Labels::ATTEMPT) == wanted)
            && self.relocation.as_deref().is_none_or(|wanted| label_of(pod, Labels::NAME) == Some(wanted))
    }
}

/// The stub kubelet of one namespace, until it is dropped.
pub struct Kubelet {
    lines: Arc<Mutex<Vec<(Script, Behaviour)>>>,
    rewritten: watch::Sender<()>,
    work: JoinHandle<()>,
}

impl Kubelet {
    pub fn of(client: &Client, namespace: &str, record: &Arc<Record>) -> Self {
        let lines = Arc::new(Mutex::new(vec![(Script::everything(), Behaviour::succeed())]));
        let (rewritten, _) = watch::channel(());
        let player = Player {
            client: client.clone(),
            pods: Api::namespaced(client.clone(), namespace),
            record: Arc::clone(record),
            lines: Arc::clone(&lines),
            played: BTreeMap::new(),
        };
        let work = tokio::spawn(player.play(rewritten.subscribe()));
        Self { lines, rewritten, work }
    }

    /// Adds a line to the script; it beats the older ones.
    pub fn script(&self, pods: Script, behaviour: Behaviour) {
        self.lines.lock().expect("no player panics").push((pods, behaviour));
        self.rewritten.send_replace(());
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// What was last done to a pod.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Played {
    Started,
    Waited,
    Ended,
    Removed,
}

struct Player {
    client: Client,
    pods: Api<Pod>,
    record: Arc<Record>,
    lines: Arc<Mutex<Vec<(Script, Behaviour)>>>,
    played: BTreeMap<String, Played>,
}

impl Player {
    async fn play(mut self, mut rewritten: watch::Receiver<()>) {
        let mut changes = self.record.changes();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            let pods: Vec<Pod> = self.record.seen().pods.values().cloned().collect();
            for pod in pods {
                let on_our_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(STUB_NODE));
                if on_our_node {
                    self.act(&pod).await;
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = rewritten.changed() => {}
                _ = heartbeat.tick() => renew_node_lease(&self.client).await,
            }
        }
    }

    async fn act(&mut self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        let played = self.played.get(&uid).copied();
        let behaviour = self.behaviour_of(pod);
        let deleted = pod.metadata.deletion_timestamp.is_some();
        let finished = is_finished(pod) || played == Some(Played::Ended);
        let next = if played == Some(Played::Removed) {
            return;
        } else if deleted && (finished || behaviour != Behaviour::KeepWriting) {
            if !finished {
                self.report(pod, ended(pod, 137, "stopped")).await;
            }
            self.remove(pod, &uid).await.then_some(Played::Removed)
        } else if finished {
            return;
        } else {
            match behaviour {
                Behaviour::Succeed(message) => self.report(pod, ended(pod, 0, &message)).await.then_some(Played::Ended),
                Behaviour::Exit(code, message) => {
                    self.report(pod, ended(pod, code, &message)).await.then_some(Played::Ended)
                }
                Behaviour::Hang | Behaviour::KeepWriting if played != Some(Played::Started) => {
                    self.report(pod, running(pod)).await.then_some(Played::Started)
                }
                Behaviour::Wait(reason, message) if played != Some(Played::Waited) => {
                    self.report(pod, waiting(pod, &reason, &message)).await.then_some(Played::Waited)
                }
                Behaviour::Hang | Behaviour::KeepWriting | Behaviour::Wait(..) => return,
            }
        };
        if let Some(next) = next {
            self.played.insert(uid, next);
        }
    }

    fn behaviour_of(&self, pod: &Pod) -> Behaviour {
        let lines = self.lines.lock().expect("no player panics");
        let line = lines.iter().rev().find(|(pods, _)| pods.fits(pod));
        line.map_or_else(Behaviour::succeed, |(_, behaviour)| behaviour.clone())
    }

    /// Writes the pod's status. A strategic merge keeps the conditions that others wrote, such as `DisruptionTarget`.
    async fn report(&self, pod: &Pod, status: Value) -> bool {
        let patch = Patch::Strategic(json!({ "metadata": { "uid": pod.uid() }, "status": status }));
        self.pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.is_ok()
    }

    async fn remove(&self, pod: &Pod, uid: &str) -> bool {
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        self.pods.delete(&pod.name_any(), &parameters).await.is_ok()
    }
}

fn running(pod: &Pod) -> Value {
    let state = json!({ "running": { "startedAt": now() } });
    status(pod, "Running", true, &state)
}

fn waiting(pod: &Pod, reason: &str, message: &str) -> Value {
    let state = json!({ "waiting": { "reason": reason, "message": message } });
    status(pod, "Pending", false, &state)
}

fn ended(pod: &Pod, exit_code: i32, message: &str) -> Value {
    let (phase, reason) = if exit_code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let state = json!({ "terminated": {
        "exitCode": exit_code, "reason": reason, "message": message, "startedAt": now(), "finishedAt": now()
    }});
    status(pod, phase, false, &state)
}

fn status(pod: &Pod, phase: &str, is_ready: bool, state: &Value) -> Value {
    let ready = if is_ready { "True" } else { "False" };
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let statuses: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name, "image": container.image, "imageID": "", "restartCount": 0,
                "ready": is_ready, "started": is_ready, "state": state
            })
        })
        .collect();
    json!({
        "phase": phase,
        "startTime": pod.status.as_ref().and_then(|status| status.start_time.clone()).map_or_else(now, |time| time.0),
        "conditions": [
            { "type": "Ready", "status": ready, "lastTransitionTime": now() },
            { "type": "ContainersReady", "status": ready, "lastTransitionTime": now() }
        ],
        "containerStatuses": statuses
    })
}
