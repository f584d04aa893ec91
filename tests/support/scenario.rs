//! One scenario: a namespace with a record, a stub kubelet and operators, and the one function that waits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Client, Config, ResourceExt};
use relocation_operator::api::{Relocation, RelocationPlan, RelocationStatus, StatusValue, Step};
use serde_json::{Value, json};
use tokio::sync::{RwLock, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::builders::{PlanBuilder, RelocationBuilder};
use super::cluster::{await_deletions, connect, create_namespace, delete_namespace};
use super::gate::{Gate, Held};
use super::kubelet::{Behaviour, Happening, Kubelet, Ran, Script};
use super::operator::Operator;
use super::record::{Launch, Record, Seen, is_finished, is_terminal};

/// How long a wait may take unless the test says otherwise.
const DEADLINE: Duration = Duration::from_secs(30);

/// Who writes when a test does.
const MANAGER: &str = "acceptance-test";

/// Scenarios run side by side; one that counts the API server's requests runs alone.
static ALONE: RwLock<()> = RwLock::const_new(());

/// Runs a scenario in a namespace of its own, and cleans up whatever happens.
pub async fn run(body: impl AsyncFnOnce(&mut Scenario)) {
    let _beside_others = ALONE.read().await;
    play(body).await;
}

/// Runs a scenario while no other one of this process runs, and after the objects of the earlier ones are gone:
/// the garbage collector's deletes of them would be counted with what the scenario counts.
pub async fn run_alone(body: impl AsyncFnOnce(&mut Scenario)) {
    let _alone = ALONE.write().await;
    await_deletions(&connect().await).await;
    play(body).await;
}

async fn play(body: impl AsyncFnOnce(&mut Scenario)) {
    let client = connect().await;
    let mut scenario = Scenario::begin(client).await;
    let outcome = AssertUnwindSafe(body(&mut scenario)).catch_unwind().await;
    if outcome.is_err() {
        eprintln!("{}", scenario.describe().await);
    }
    scenario.operators.clear();
    delete_namespace(&scenario.client, &scenario.namespace).await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// A namespace, and everything that plays in it.
pub struct Scenario {
    pub client: Client,
    pub namespace: String,
    pub record: Arc<Record>,
    pub operators: Vec<Operator>,
    gate: Option<Gate>,
    kubelet: Kubelet,
}

impl Scenario {
    async fn begin(client: Client) -> Self {
        let namespace = create_namespace(&client).await;
        let record = Arc::new(Record::of(&client, &namespace));
        let kubelet = Kubelet::of(&client, &namespace, &record);
        Self { client, namespace, record, operators: Vec::new(), gate: None, kubelet }
    }

    // Operators

    /// Starts an operator and waits until it is ready. Started twice, two operators compete.
    pub async fn start_operator(&mut self) {
        let kubeconfig = self.gate.as_ref().map(|gate| gate.kubeconfig().to_owned());
        self.operators.push(Operator::start(&self.namespace, kubeconfig.as_deref()).await);
    }

    /// Starts an operator with these environment variables.
    pub async fn start_operator_with(&mut self, environment: &[(&str, String)]) {
        let kubeconfig = self.gate.as_ref().map(|gate| gate.kubeconfig().to_owned());
        self.operators.push(Operator::start_with(&self.namespace, kubeconfig.as_deref(), environment).await);
    }

    /// Starts an operator without waiting for it.
    pub async fn spawn_operator(&mut self) {
        let kubeconfig = self.gate.as_ref().map(|gate| gate.kubeconfig().to_owned());
        self.operators.push(Operator::spawn(&self.namespace, kubeconfig.as_deref()).await);
    }

    /// Starts an operator with these environment variables without waiting for it.
    pub async fn spawn_operator_with(&mut self, environment: &[(&str, String)]) {
        let kubeconfig = self.gate.as_ref().map(|gate| gate.kubeconfig().to_owned());
        self.operators.push(Operator::spawn_with(&self.namespace, kubeconfig.as_deref(), environment).await);
    }

    /// Starts an operator that talks to the API server directly, whatever gate there is for the others.
    pub async fn start_operator_beside_the_gate(&mut self, environment: &[(&str, String)]) {
        self.operators.push(Operator::start_with(&self.namespace, None, environment).await);
    }

    /// Kills every operator with SIGKILL.
    pub fn kill_operators(&mut self) {
        self.operators.drain(..).for_each(Operator::kill);
    }

    /// Kills every operator with SIGKILL and starts one.
    pub async fn restart_operator(&mut self) {
        self.kill_operators();
        self.start_operator().await;
    }

    /// Puts a gate between the API server and the operators that are started from now on.
    pub async fn open_gate(&mut self) -> &Gate {
        let gate = Gate::open(&self.client).await;
        self.gate.insert(gate)
    }

    /// Puts a gate before the operators that lets them do what this user may, and nothing else.
    pub async fn open_gate_as(&mut self, user: &str) {
        let mut config = Config::infer().await.expect("a kubeconfig");
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(vec!["system:authenticated".to_owned()]);
        let client = Client::try_from(config).expect("a client of the kubeconfig");
        self.gate = Some(Gate::open(&client).await);
    }

    pub fn gate(&self) -> &Gate {
        self.gate.as_ref().expect("a gate was opened")
    }

    /// The next request that the gate holds.
    pub async fn next_held(&self, held: &mut mpsc::UnboundedReceiver<Held>) -> Held {
        let next = timeout(DEADLINE, held.recv()).await.expect("the operator asks in time");
        next.expect("the gate is open as long as the scenario")
    }

    // Pods

    /// Adds a line to the stub kubelet's script; it beats the older ones, also for pods that run.
    pub fn script(&self, pods: Script, behaviour: Behaviour) {
        self.kubelet.script(pods, behaviour);
    }

    /// What ran, in order.
    pub fn log(&self) -> Vec<Ran> {
        self.kubelet.log()
    }

    /// `STEP/task/attempt` of everything that was started for a relocation, in order, by the log of what ran.
    pub fn ran(&self, name: &str) -> Vec<String> {
        let started = self.log().into_iter().filter(|ran| ran.has_started() && ran.relocation == name);
        started.map(|ran| format!("{}/{}", ran.place(), ran.attempt)).collect()
    }

    /// The API server went back to an earlier state: looks anew, and tells it what became of the pods it knows.
    pub fn look_anew(&self) {
        self.record.begin();
        self.kubelet.tell_again();
    }

    // Writing

    pub fn relocations(&self) -> Api<Relocation> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn plans(&self) -> Api<RelocationPlan> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn create_plan(&self, plan: PlanBuilder) {
        self.try_create_plan(plan).await.expect("the API server accepts the plan");
    }

    pub async fn try_create_plan(&self, plan: PlanBuilder) -> Result<(), String> {
        let plan = serde_json::from_value(plan.build()).expect("a plan");
        self.plans().create(&parameters(), &plan).await.map(drop).map_err(message_of)
    }

    /// Replaces fields of a plan's spec by a merge patch.
    pub async fn patch_plan(&self, name: &str, change: Value) {
        let patch = Patch::Merge(json!({ "spec": change }));
        self.plans().patch(name, &PatchParams::default(), &patch).await.expect("the API server accepts the plan");
    }

    pub async fn create(&self, relocation: RelocationBuilder) {
        self.try_create(relocation).await.expect("the API server accepts the relocation");
    }

    /// Creates a relocation; an error is the API server's message.
    pub async fn try_create(&self, relocation: RelocationBuilder) -> Result<(), String> {
        let relocation = serde_json::from_value(relocation.build()).expect("a relocation");
        let created = self.relocations().create(&parameters(), &relocation).await.map_err(message_of)?;
        self.catch_up(&created).await;
        Ok(())
    }

    /// Applies a manifest as `kubectl apply --server-side` does.
    pub async fn apply(&self, relocation: RelocationBuilder) -> Result<(), String> {
        let relocation = relocation.build();
        let name = relocation["metadata"]["name"].as_str().unwrap_or_default();
        let parameters = PatchParams::apply(MANAGER);
        let applied =
            self.relocations().patch(name, &parameters, &Patch::Apply(&relocation)).await.map_err(message_of)?;
        self.catch_up(&applied).await;
        Ok(())
    }

    /// Changes fields of a relocation's spec by a merge patch, as `kubectl patch` does; an error is the API server's message.
    pub async fn patch_spec(&self, name: &str, change: Value) -> Result<(), String> {
        let patch = Patch::Merge(json!({ "spec": change }));
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.relocations().patch(name, &parameters, &patch).await.map_err(message_of)?;
        self.catch_up(&patched).await;
        Ok(())
    }

    /// Changes fields of a relocation's status by a merge patch, in the place of an operator.
    pub async fn patch_status(&self, name: &str, change: Value) -> Result<(), String> {
        let patch = Patch::Merge(json!({ "status": change }));
        let patched =
            self.relocations().patch_status(name, &PatchParams::default(), &patch).await.map_err(message_of)?;
        self.catch_up(&patched).await;
        Ok(())
    }

    /// Deletes a Job as `kubectl delete job --cascade=<how>` does.
    pub async fn delete_job(&self, name: &str, how: PropagationPolicy) {
        let jobs: Api<k8s_openapi::api::batch::v1::Job> = Api::namespaced(self.client.clone(), &self.namespace);
        let parameters = DeleteParams { propagation_policy: Some(how), ..DeleteParams::default() };
        jobs.delete(name, &parameters).await.expect("the Job is there to be deleted");
    }

    /// Deletes a pod as `kubectl delete pod` does.
    pub async fn delete_pod(&self, name: &str, uid: &str) {
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        pods.delete(name, &parameters).await.expect("the pod is there to be deleted");
    }

    // Reading

    /// The relocation as the watch saw it last.
    pub fn relocation(&self, name: &str) -> Relocation {
        self.record.seen().relocations.get(name).cloned().unwrap_or_else(|| panic!("there is no relocation {name}"))
    }

    pub fn status(&self, name: &str) -> RelocationStatus {
        self.relocation(name).status.unwrap_or_default()
    }

    /// The status as the API server has it at this moment, for a test that knows more than the watch has told.
    pub async fn stored_status(&self, name: &str) -> RelocationStatus {
        self.relocations().get_status(name).await.expect("the relocation").status.unwrap_or_default()
    }

    /// Every Job of a relocation that ever was, in the order of creation, without the one of `onEnd`.
    pub fn launches(&self, name: &str) -> Vec<Launch> {
        let seen = self.record.seen();
        seen.launches.iter().filter(|launch| launch.relocation == name && launch.step.is_some()).cloned().collect()
    }

    /// `STEP/task/attempt` of every Job of a relocation that ever was, in the order of creation.
    pub fn works(&self, name: &str) -> Vec<String> {
        self.launches(name)
            .into_iter()
            .filter_map(|launch| Some(format!("{}/{}/{}", launch.step?, launch.task, launch.attempt)))
            .collect()
    }

    /// How often a relocation was written since the record began, creation included.
    pub fn versions(&self, name: &str) -> usize {
        self.record.seen().versions.iter().filter(|version| version.relocation == name).count()
    }

    /// The notes of the events of a relocation, `Reason: note`, oldest first.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut listed = events.list(&ListParams::default()).await.expect("events").items;
        listed.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
        listed
            .into_iter()
            .filter(|event| event.regarding.as_ref().is_some_and(|regarding| regarding.name.as_deref() == Some(name)))
            .map(|event| format!("{}: {}", event.reason.unwrap_or_default(), event.note.unwrap_or_default()))
            .collect()
    }

    /// Asserts that no two launches of one mutex were unfinished at once, nor ran at once by the log of what ran.
    pub fn assert_no_overlap(&self) {
        let overlaps = self.record.seen().overlaps.clone();
        assert!(overlaps.is_empty(), "two launches of one mutex worked at once: {overlaps:#?}");
        let mut running = BTreeMap::new();
        for ran in self.log().into_iter().filter(|ran| ran.step.is_some()) {
            match ran.what {
                Happening::Started => {
                    let other = running.insert(ran.mutex.clone(), ran.clone());
                    assert!(other.is_none(), "{ran:?} started beside {other:?}");
                }
                Happening::Ended(_) => drop(running.remove(&ran.mutex)),
            }
        }
    }

    /// Asserts that no attempt of a task was started twice, by the log of what ran.
    ///
    /// It does not hold where a launch was lost or stopped on purpose: the attempt then has another launch.
    pub fn assert_no_attempt_ran_twice(&self) {
        let mut started = BTreeSet::new();
        for ran in self.log().into_iter().filter(Ran::has_started) {
            let attempt = (ran.run.clone(), ran.place(), ran.attempt);
            assert!(started.insert(attempt), "this attempt was started before: {ran:?}");
        }
    }

    /// Asserts that no task was started again after it had succeeded, by the log of what ran.
    ///
    /// A success is one that its Job has told: a pod that ends well while its Job is being deleted, by a suspend or by
    /// somebody, is lost with it, and nobody can know.
    pub fn assert_nothing_ran_after_its_success(&self) {
        let mut succeeded = BTreeSet::new();
        let told: BTreeSet<(String, i64)> = {
            let seen = self.record.seen();
            let completed = seen.launches.iter().filter(|launch| seen.completed.contains(&launch.job));
            completed.map(|launch| (launch.relocation.clone(), launch.launch)).collect()
        };
        for ran in self.log() {
            let task = (ran.run.clone(), ran.place());
            match ran.what {
                Happening::Started => assert!(!succeeded.contains(&task), "this task had succeeded: {ran:?}"),
                Happening::Ended(0) if told.contains(&(ran.relocation.clone(), ran.launch)) => {
                    succeeded.insert(task);
                }
                Happening::Ended(_) => {}
            }
        }
    }

    // Waiting

    /// Waits until the relocation is as wished, or fails with what was wished and what is there.
    pub async fn wait_until(&self, name: &str, what: &str, wished: impl Fn(&Relocation) -> bool) -> Relocation {
        self.wait(DEADLINE, &format!("{name}: {what}"), |seen| {
            seen.relocations.get(name).filter(|relocation| wished(relocation)).cloned()
        })
        .await
    }

    /// Waits until the relocation has a status value at a step.
    pub async fn wait_for(&self, name: &str, value: StatusValue, step: Step) -> RelocationStatus {
        let what = format!("{} at {step}", value.as_str());
        let relocation = self
            .wait_until(name, &what, |relocation| {
                let status = relocation.status.as_ref();
                status.is_some_and(|status| status.status == Some(value) && status.step == Some(step))
            })
            .await;
        relocation.status.unwrap_or_default()
    }

    pub async fn wait_for_success(&self, name: &str) -> RelocationStatus {
        self.wait_for(name, StatusValue::Success, Step::Completed).await
    }

    /// Waits until the relocation has failed, and answers with its status.
    pub async fn wait_for_failure(&self, name: &str) -> RelocationStatus {
        let failed = self
            .wait_until(name, "FAILURE", |relocation| {
                relocation.status.as_ref().is_some_and(|status| status.status == Some(StatusValue::Failure))
            })
            .await;
        failed.status.unwrap_or_default()
    }

    /// Waits until a pod of the step runs, and answers with its name and uid.
    pub async fn wait_for_running_pod(&self, name: &str, step: Step) -> (String, String) {
        self.wait_for_running_pod_within(DEADLINE, name, step).await
    }

    /// Waits for so long until a pod of the step runs, and answers with its name and uid.
    pub async fn wait_for_running_pod_within(&self, limit: Duration, name: &str, step: Step) -> (String, String) {
        self.wait(limit, &format!("{name}: a running pod of {step}"), |seen| {
            seen.pods.values().find_map(|pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                let ours = super::record::label_of(pod, "name") == Some(name)
                    && super::record::label_of(pod, "step") == Some(step.as_str().to_lowercase().as_str());
                (ours && phase == Some("Running") && pod.metadata.deletion_timestamp.is_none())
                    .then(|| (pod.name_any(), pod.uid().unwrap_or_default()))
            })
        })
        .await
    }

    /// Waits until the last generation of the relocation is answered.
    pub async fn wait_until_answered(&self, name: &str) -> RelocationStatus {
        let answered = self
            .wait_until(name, "its generation is answered", |relocation| {
                relocation
                    .status
                    .as_ref()
                    .is_some_and(|status| status.observed_generation == relocation.metadata.generation)
            })
            .await;
        answered.status.unwrap_or_default()
    }

    /// Waits until what is seen gives an answer. The one function of the harness that waits.
    pub async fn wait<T>(&self, limit: Duration, what: &str, answer: impl Fn(&Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        let mut changes = self.record.changes();
        loop {
            if let Some(answer) = answer(&self.record.seen()) {
                return answer;
            }
            let changed = timeout_at(deadline, changes.changed()).await;
            assert!(changed.is_ok(), "waited {} s in vain for: {what}", limit.as_secs());
        }
    }

    /// Waits until nothing of the relocations, Jobs and pods has changed for so long.
    pub async fn wait_for_quiet(&self, quiet: Duration, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut changes = self.record.changes();
        loop {
            let until = Instant::now() + quiet;
            assert!(until < deadline, "something changed all the time for {} s", limit.as_secs());
            if timeout_at(until, changes.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Waits until the record has seen what a write of ours made, so that no later wait is met by older news.
    async fn catch_up(&self, written: &Relocation) {
        let (name, version) = (written.name_any(), number(&written.resource_version().unwrap_or_default()));
        self.wait(DEADLINE, "our own write on the watch", |seen| {
            let seen = seen.relocations.get(&name)?;
            (number(&seen.resource_version().unwrap_or_default()) >= version).then_some(())
        })
        .await;
    }

    /// Everything a person wants to see when the scenario has failed.
    async fn describe(&self) -> String {
        let mut text = format!("=== namespace {}\n", self.namespace);
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        {
            let seen = self.record.seen();
            for plan in seen.plans.values() {
                let status = serde_saphyr::to_string(&plan.status).unwrap_or_default();
                let _ = writeln!(text, "--- plan {}\n{status}", plan.name_any());
            }
            for relocation in seen.relocations.values() {
                let mut shown = relocation.clone();
                shown.managed_fields_mut().clear();
                let _ = writeln!(text, "--- relocation\n{}", serde_saphyr::to_string(&shown).unwrap_or_default());
            }
            let _ = writeln!(text, "--- jobs, in the order of creation");
            for launch in &seen.launches {
                let job = seen.jobs.values().find(|job| job.name_any() == launch.job);
                let state = job.map_or("gone", |job| if is_terminal(job) { "ended" } else { "live" });
                let _ = writeln!(text, "{launch:?} {state}");
            }
            let _ = writeln!(text, "--- pods");
            for pod in seen.pods.values() {
                let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
                let deleted = if pod.metadata.deletion_timestamp.is_some() { ", being deleted" } else { "" };
                let finished = if is_finished(pod) { ", finished" } else { "" };
                let _ = writeln!(text, "{} {phase}{deleted}{finished}", pod.name_any());
            }
        }
        let _ = writeln!(text, "--- what ran");
        for ran in self.log() {
            let _ = writeln!(
                text,
                "{} {}/{} launch {} {:?}",
                ran.relocation,
                ran.place(),
                ran.attempt,
                ran.launch,
                ran.what
            );
        }
        let _ = writeln!(text, "--- events");
        let mut listed = events.list(&ListParams::default()).await.map(|events| events.items).unwrap_or_default();
        listed.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
        for event in listed {
            let regarding = event.regarding.and_then(|regarding| regarding.name).unwrap_or_default();
            let (reason, note) = (event.reason.unwrap_or_default(), event.note.unwrap_or_default());
            let _ = writeln!(text, "{regarding} {reason}: {note}");
        }
        for operator in &self.operators {
            let _ = writeln!(text, "--- {}\n{}", operator.log_path().display(), operator.log_tail());
        }
        text
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn number(resource_version: &str) -> u64 {
    resource_version.parse().unwrap_or_default()
}

/// What the API server said, or why it said nothing.
fn message_of(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}
