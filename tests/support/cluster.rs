//! The cluster of the kubeconfig: reached, with our kinds installed and a node for the stub kubelet.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config, ResourceExt};
use relocation_operator::api::{Relocation, all_crds};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::record::is_finished;

/// The node on which the pods of the tests stand. No real kubelet serves it.
pub const STUB_NODE: &str = "relocation-stub";

/// The label of every namespace of a test.
const TEST_LABEL: &str = "relocation.dev/test";

/// No run of the tests takes longer.
const LONGEST_RUN_SECONDS: i64 = 3600;

const MANAGER: &str = "relocation-acceptance";

const DEADLINE: Duration = Duration::from_secs(30);

/// How long the objects of one namespace may take to go.
const NAMESPACE_DEADLINE: Duration = Duration::from_mins(2);

/// A client of the cluster, after the kinds and the stub's node are there.
pub async fn connect() -> Client {
    static PREPARED: OnceCell<()> = OnceCell::const_new();
    let config = match Config::infer().await {
        Ok(config) => config,
        Err(error) => panic!(
            "these tests need a cluster and no kubeconfig names one ({error}); run `make cluster-up` and set KUBECONFIG"
        ),
    };
    let address = config.cluster_url.clone();
    let client = Client::try_from(config).expect("a client of the kubeconfig");
    PREPARED
        .get_or_init(async || {
            if let Err(error) = client.apiserver_version().await {
                panic!(
                    "these tests need a cluster and none answers at {address} ({error}); \
                     run `make cluster-up` and set KUBECONFIG"
                );
            }
            sweep(&client).await;
            install_crds(&client).await;
            prepare_node(&client).await;
        })
        .await;
    client
}

/// The time as the API writes it.
#[allow(clippy::disallowed_methods, reason = "the stub kubelet tells real time")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

async fn install_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let parameters = PatchParams::apply(MANAGER).force();
    for definition in all_crds() {
        let name = definition.name_any();
        api.patch(&name, &parameters, &Patch::Apply(&definition)).await.expect("the API server accepts our kinds");
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        timeout(DEADLINE, established).await.expect("a kind is established in time").expect("a watch of the kinds");
    }
    // A changed definition is served a moment after it is stored: the rules are there when one of them speaks.
    let relocations: Api<Relocation> = Api::namespaced(client.clone(), "default");
    let probe = serde_json::from_value(json!({
        "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation", "metadata": { "name": "probe" },
        "spec": { "planRef": { "name": "probe" }, "owner": "probe", "items": ["42"] }
    }))
    .expect("a relocation");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let rules_speak = async {
        loop {
            match relocations.create(&dry_run, &probe).await {
                Err(kube::Error::Api(status)) if status.message.contains("all digits") => break,
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    timeout(DEADLINE, rules_speak).await.expect("the API server runs the admission rules");
}

/// A node that takes no other pod, ready for as long as its lease is renewed.
/// Pods on a node that does not exist, or is not ready, would be deleted or marked by the cluster's controllers.
async fn prepare_node(client: &Client) {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": STUB_NODE },
        "spec": {
            "unschedulable": true,
            "taints": [{ "key": "relocation.dev/stub", "effect": "NoSchedule" }]
        }
    });
    let parameters = PatchParams::apply(MANAGER).force();
    nodes.patch(STUB_NODE, &parameters, &Patch::Apply(&node)).await.expect("a node for the stub kubelet");
    let status = json!({ "status": { "conditions": [{
        "type": "Ready", "status": "True", "reason": "Stub", "message": "the tests play the kubelet",
        "lastHeartbeatTime": now(), "lastTransitionTime": now()
    }]}});
    nodes
        .patch_status(STUB_NODE, &PatchParams::default(), &Patch::Strategic(&status))
        .await
        .expect("the status of the stub's node");
    renew_node_lease(client).await;
}

/// Says that the stub kubelet lives.
pub async fn renew_node_lease(client: &Client) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": STUB_NODE },
        "spec": {
            "holderIdentity": STUB_NODE, "leaseDurationSeconds": 40,
            "renewTime": now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
        }
    });
    // A lost renewal is made good by the next one.
    let _ = leases.patch(STUB_NODE, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&lease)).await;
}

/// Makes a namespace with a random name, ready for pods.
pub async fn create_namespace(client: &Client) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({
        "metadata": { "generateName": "relocation-test-", "labels": { TEST_LABEL: "" } }
    }))
    .expect("a namespace");
    let name = namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace").name_any();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    let exists = await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some());
    timeout(DEADLINE, exists).await.expect("the service account of pods in time").expect("a watch of service accounts");
    name
}

/// Deletes the namespaces of runs that were killed before they could clean up.
async fn sweep(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ours = ListParams::default().labels(TEST_LABEL);
    for namespace in namespaces.list(&ours).await.expect("namespaces") {
        let age = namespace.creation_timestamp().map(|created| now().duration_since(created.0));
        if age.is_some_and(|age| age.as_secs() > LONGEST_RUN_SECONDS) {
            delete_namespace(client, &namespace.name_any()).await;
        }
    }
}

/// Deletes a namespace without waiting for its end. No pod is created there any more from then on.
pub async fn delete_namespace(client: &Client, namespace: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let _ = namespaces.delete(namespace, &DeleteParams::background()).await;
    end_pods(client, namespace).await;
}

/// Ends every pod of a namespace whose stub kubelet is gone: nobody else does. The Job controller lets go of a pod only
/// when it has ended, so a running one would hold its namespace up for ever.
async fn end_pods(client: &Client, namespace: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let Ok(listed) = pods.list(&ListParams::default()).await else { return };
    let ended = Patch::Strategic(json!({ "status": { "phase": "Failed" } }));
    for pod in listed.iter().filter(|pod| !is_finished(pod)) {
        let _ = pods.patch_status(&pod.name_any(), &PatchParams::default(), &ended).await;
    }
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    let _ = pods.delete_collection(&at_once, &ListParams::default()).await;
}

/// Waits until the namespaces of tests that are being deleted are gone, with everything that was in them.
pub async fn await_deletions(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let listed = namespaces.list(&ListParams::default().labels(TEST_LABEL)).await.expect("namespaces");
    for namespace in listed.iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
        let (name, uid) = (namespace.name_any(), namespace.uid().unwrap_or_default());
        end_pods(client, &name).await;
        let gone = await_condition(namespaces.clone(), &name, conditions::is_deleted(&uid));
        let waited = timeout(NAMESPACE_DEADLINE, gone).await;
        waited.unwrap_or_else(|_| panic!("the namespace {name} is not gone in time")).expect("a watch of namespaces");
    }
}
