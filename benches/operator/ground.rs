//! The ground of the benchmark: a node that kwok plays, and namespaces. All of it goes at the end, also after a failure.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::iter;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use relocation_operator::api::{ConditionType, Relocation, RelocationPlan, find_condition};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{PlanBuilder, RelocationBuilder, a_plan, await_deletions, create_namespace, delete_namespace};

/// The node that kwok plays.
const NODE: &str = "relocation-kwok";

/// The field manager of what the benchmark writes.
pub const MANAGER: &str = "relocation-bench";

/// How many requests the benchmark has open at once: as many relocations as an operator works on by default.
pub const OPEN_REQUESTS: usize = 32;

/// How long the ground may take to get ready.
const DEADLINE: Duration = Duration::from_mins(1);

/// kwok, its node and the namespaces made so far.
pub struct Ground {
    pub client: Client,
    kwok: Child,
    namespaces: Mutex<Vec<String>>,
}

impl Ground {
    /// Starts kwok and waits until its node is ready and nothing of an earlier run is still being deleted.
    pub async fn prepare(client: Client, kwok: &Path, target: &Path) -> Self {
        let nodes: Api<Node> = Api::all(client.clone());
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": NODE },
            "spec": { "unschedulable": true, "taints": [{ "key": "relocation.dev/bench", "effect": "NoSchedule" }] }
        });
        nodes
            .patch(NODE, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&node))
            .await
            .expect("a node for kwok; `make bench` starts the cluster that the kubeconfig names");
        let log = target.join("kwok.log");
        let output = File::create(&log).expect("a log file");
        let stages = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/operator/stages.yaml");
        let child = Command::new(kwok)
            .args(["--manage-single-node", NODE, "--node-lease-duration-seconds", "40", "--config"])
            .arg(stages)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a log file"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}; run this by `make bench`", kwok.display()));
        let ground = Self { client, kwok: child, namespaces: Mutex::default() };
        let ready = await_condition(nodes, NODE, |node: Option<&Node>| {
            let status = node.and_then(|node| node.status.as_ref());
            let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
        let waited = timeout(DEADLINE, ready).await;
        waited.unwrap_or_else(|_| panic!("kwok's node is not ready; see {}", log.display())).expect("a watch of nodes");
        // Its heartbeat is made by now, or the API server would count it with an operator's writes.
        let leases: Api<Lease> = Api::namespaced(ground.client.clone(), "kube-node-lease");
        let beats = await_condition(leases, NODE, |lease: Option<&Lease>| lease.is_some());
        timeout(DEADLINE, beats).await.expect("kwok renews its node's lease").expect("a watch of leases");
        await_deletions(&ground.client).await;
        ground
    }

    /// A new namespace.
    pub async fn namespace(&self) -> String {
        let namespace = create_namespace(&self.client).await;
        self.namespaces.lock().expect("nobody panics with it").push(namespace.clone());
        namespace
    }

    /// Ends everything. The cluster goes on deleting what was in the namespaces; the next run waits for that.
    pub async fn clear(mut self) {
        let namespaces = std::mem::take(self.namespaces.get_mut().expect("nobody panics with it"));
        for namespace in namespaces {
            delete_namespace(&self.client, &namespace).await;
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        if let Err(error) = nodes.delete(NODE, &DeleteParams::default()).await {
            eprintln!("cannot delete the node {NODE}: {error}");
        }
        let _ = self.kwok.kill();
        let _ = self.kwok.wait();
    }

    pub fn relocations(&self, namespace: &str) -> Api<Relocation> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a plan of six steps with one task each, and waits until the operator has accepted it.
    pub async fn create_plan(&self, namespace: &str, change: impl FnOnce(PlanBuilder) -> PlanBuilder) {
        let on_node = json!({ "template": { "spec": { "nodeName": NODE } } });
        let plan = change(a_plan("plan").with_six_steps().with_every_task(&on_node)).build();
        let plans: Api<RelocationPlan> = Api::namespaced(self.client.clone(), namespace);
        let plan = serde_json::from_value(plan).expect("a plan");
        plans.create(&PostParams::default(), &plan).await.expect("the API server accepts the plan");
        let accepted = await_condition(plans, "plan", |plan: Option<&RelocationPlan>| {
            let status = plan.and_then(|plan| plan.status.as_ref());
            let condition = status.and_then(|status| find_condition(&status.conditions, ConditionType::Accepted));
            condition.is_some_and(|condition| condition.status == "True")
        });
        timeout(DEADLINE, accepted).await.expect("the operator accepts the plan in time").expect("a watch of plans");
    }

    /// Creates a relocation.
    pub async fn create(&self, namespace: &str, relocation: RelocationBuilder) -> Relocation {
        let relocation = serde_json::from_value(relocation.build()).expect("a relocation");
        let created = self.relocations(namespace).create(&PostParams::default(), &relocation).await;
        created.expect("the API server accepts the relocation")
    }

    /// Waits until a relocation is as wished.
    pub async fn wait_until(
        &self,
        namespace: &str,
        name: &str,
        wished: impl Fn(&Relocation) -> bool,
        limit: Duration,
    ) -> Relocation {
        let relocations = self.relocations(namespace);
        let reached = await_condition(relocations, name, |seen: Option<&Relocation>| seen.is_some_and(&wished));
        let waited = timeout(limit, reached).await;
        let reached = waited.unwrap_or_else(|_| panic!("{namespace}/{name} is not as wished after {limit:?}"));
        reached.expect("a watch of relocations").expect("it is there")
    }
}

/// Does something for each number below `count`, with as many requests open as an operator has.
pub async fn for_each<F: Future<Output = ()>>(count: usize, work: impl FnMut(usize) -> F) {
    iter((0..count).map(work)).buffer_unordered(OPEN_REQUESTS).for_each(async |()| {}).await;
}

/// Names of one length, so that what one run writes is as long as what another one writes.
pub fn run_name(number: usize) -> String {
    format!("run-{number:05}")
}

/// Whether a relocation has succeeded.
pub fn has_succeeded(relocation: &Relocation) -> bool {
    let value = relocation.status.as_ref().and_then(|status| status.status);
    assert_ne!(
        value,
        Some(relocation_operator::api::StatusValue::Failure),
        "{}: {:?}",
        relocation.name_any(),
        relocation.status.as_ref().and_then(|status| status.failure.as_ref())
    );
    value == Some(relocation_operator::api::StatusValue::Success)
}

/// What the kernel counts for a process.
pub struct Usage {
    pub resident_mib: f64,
    pub cpu_seconds: f64,
}

/// Reads the counts of a process that lives.
pub fn usage_of(pid: u32) -> Usage {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its resident memory");
    let kib: f64 = resident.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let (_, fields) = stat.rsplit_once(") ").expect("the name of the program in parentheses");
    let ticks: f64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    // The kernel counts in hundredths of a second on every Linux there is.
    Usage { resident_mib: kib / 1024.0, cpu_seconds: ticks / 100.0 }
}

/// The JSON at a path of an object that is given as JSON.
pub fn text_at<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
