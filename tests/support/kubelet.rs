//! A stub kubelet: plays the node of the tests' pods by a script.
//!
//! The script is a level, like a fence: the newest line that fits a pod says what the pod does, also while it runs.
//! So "hang until told" is a line that hangs, and later a line that ends it.
//!
//! Whatever runs is written into a log that only grows. The log is the judge of what ran; no status is asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// One line of the log of what ran on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Of the pod.
    pub uid: String,
    pub relocation: String,
    /// The identity of the relocation's run.
    pub run: String,
    pub mutex: String,
    /// Nothing for the `onEnd` Job.
    pub step: Option<Step>,
    pub task: String,
    pub attempt: i32,
    pub launch: i64,
    pub what: Happening,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    Started,
    Ended(i32),
}

impl Ran {
    fn of(pod: &Pod, what: Happening) -> Self {
        let label = |name| label_of(pod, name).unwrap_or_default().to_owned();
        Self {
            uid: pod.uid().unwrap_or_default(),
            relocation: label(Labels::NAME),
            run: label(Labels::UUID),
            mutex: label(Labels::MUTEX),
            step: label(Labels::STEP).parse().ok(),
            task: label(Labels::TASK),
            attempt: number_of(pod, Labels::ATTEMPT),
            launch: number_of(pod, Labels::LAUNCH),
            what,
        }
    }

    /// `STEP/task`, or the task alone where there is no step.
    pub fn place(&self) -> String {
        self.step.map_or_else(|| self.task.clone(), |step| format!("{step}/{}", self.task))
    }

    pub fn has_started(&self) -> bool {
        self.what == Happening::Started
    }
}

/// The stub kubelet of one namespace, until it is dropped.
pub struct Kubelet {
    lines: Arc<Mutex<Vec<(Script, Behaviour)>>>,
    log: Arc<Mutex<Vec<Ran>>>,
    told: Arc<AtomicBool>,
    rewritten: watch::Sender<()>,
    work: JoinHandle<()>,
}

impl Kubelet {
    pub fn of(client: &Client, namespace: &str, record: &Arc<Record>) -> Self {
        let lines = Arc::new(Mutex::new(vec![(Script::everything(), Behaviour::succeed())]));
        let log = Arc::<Mutex<Vec<Ran>>>::default();
        let told = Arc::new(AtomicBool::new(true));
        let (rewritten, _) = watch::channel(());
        let player = Player {
            client: client.clone(),
            pods: Api::namespaced(client.clone(), namespace),
            record: Arc::clone(record),
            lines: Arc::clone(&lines),
            log: Arc::clone(&log),
            told: Arc::clone(&told),
            played: BTreeMap::new(),
            running: BTreeMap::new(),
            results: BTreeMap::new(),
        };
        let work = tokio::spawn(player.play(rewritten.subscribe()));
        Self { lines, log, told, rewritten, work }
    }

    /// Adds a line to the script; it beats the older ones.
    pub fn script(&self, pods: Script, behaviour: Behaviour) {
        self.lines.lock().expect("no player panics").push((pods, behaviour));
        self.rewritten.send_replace(());
    }

    /// Everything that ran so far, in order.
    pub fn log(&self) -> Vec<Ran> {
        self.log.lock().expect("no player panics").clone()
    }

    /// Tells the API server again what became of every pod, as a kubelet does to a server that has forgotten.
    pub fn tell_again(&self) {
        self.told.store(false, Ordering::Relaxed);
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
    log: Arc<Mutex<Vec<Ran>>>,
    /// Whether what was played is what the API server was told last.
    told: Arc<AtomicBool>,
    played: BTreeMap<String, Played>,
    /// The pods whose containers run, by uid.
    running: BTreeMap<String, Pod>,
    /// The status of every pod whose containers have ended, by uid: what has run never runs again.
    results: BTreeMap<String, Value>,
}

impl Player {
    async fn play(mut self, mut rewritten: watch::Receiver<()>) {
        let mut changes = self.record.changes();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            if !self.told.swap(true, Ordering::Relaxed) {
                self.played.clear();
            }
            let pods: Vec<Pod> = self.record.seen().pods.values().cloned().collect();
            self.stop_what_is_gone(&pods);
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
                let result = self.end(pod, 137, "stopped");
                self.report(pod, result).await;
            }
            self.remove(pod, &uid).await.then_some(Played::Removed)
        } else if finished {
            return;
        } else if let Some(result) = self.results.get(&uid).cloned() {
            self.report(pod, result).await.then_some(Played::Ended)
        } else {
            match behaviour {
                Behaviour::Succeed(message) => {
                    self.start(pod);
                    let result = self.end(pod, 0, &message);
                    self.report(pod, result).await.then_some(Played::Ended)
                }
                Behaviour::Exit(code, message) => {
                    self.start(pod);
                    let result = self.end(pod, code, &message);
                    self.report(pod, result).await.then_some(Played::Ended)
                }
                Behaviour::Hang | Behaviour::KeepWriting if played != Some(Played::Started) => {
                    self.start(pod);
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

    fn start(&mut self, pod: &Pod) {
        if self.running.insert(pod.uid().unwrap_or_default(), pod.clone()).is_none() {
            self.note(pod, Happening::Started);
        }
    }

    /// The containers end, unless they have ended before; the answer is what there is to report.
    fn end(&mut self, pod: &Pod, exit_code: i32, message: &str) -> Value {
        let uid = pod.uid().unwrap_or_default();
        if self.running.remove(&uid).is_some() {
            self.note(pod, Happening::Ended(exit_code));
        }
        self.results.entry(uid).or_insert_with(|| ended(pod, exit_code, message)).clone()
    }

    /// A pod that the API server does not know any more is stopped, as a kubelet does it.
    fn stop_what_is_gone(&mut self, pods: &[Pod]) {
        let gone: Vec<Pod> = self
            .running
            .iter()
            .filter(|(uid, _)| pods.iter().all(|pod| pod.metadata.uid.as_ref() != Some(*uid)))
            .map(|(_, pod)| pod.clone())
            .collect();
        for pod in gone {
            self.end(&pod, 137, "gone");
        }
    }

    fn note(&self, pod: &Pod, what: Happening) {
        self.log.lock().expect("no player panics").push(Ran::of(pod, what));
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
