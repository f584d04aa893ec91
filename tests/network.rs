//! The chart's `NetworkPolicy`, with a firewall that acts on it.
//!
//! The test starts that firewall in the local cluster, so it stands apart from the others.

#![allow(
    clippy::disallowed_methods,
    clippy::duration_suboptimal_units,
    clippy::similar_names,
    clippy::struct_field_names,
    dead_code,
    reason = "a test writes as people do; it uses its part of the support"
)]

mod support;

#[path = "helm/release.rs"]
mod release;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use release::Release;
use support::run;

const DEADLINE: Duration = Duration::from_mins(2);

/// Labels by which the chart's policy knows the operator's pods.
const OPERATOR: [(&str, &str); 3] = [
    ("app.kubernetes.io/name", "relocation-operator"),
    ("app.kubernetes.io/instance", "relocation-operator"),
    ("app.kubernetes.io/component", "operator"),
];

/// A firewall, until it is dropped.
struct Firewall;

impl Firewall {
    fn start() -> Self {
        Self::cluster("start-policies");
        Self
    }

    fn cluster(command: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster");
        let output = Command::new(script).arg(command).output().expect("the cluster's script");
        assert!(output.status.success(), "cluster {command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster");
            let _ = Command::new(script).arg("stop-policies").status();
        } else {
            Self::cluster("stop-policies");
        }
    }
}

/// Starts a pod that runs a line of shell.
async fn start(client: &Client, namespace: &str, name: &str, labels: &[(&str, &str)], line: &str) {
    let labels: Value = labels.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    let pod = json!({
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "restartPolicy": "Never", "activeDeadlineSeconds": DEADLINE.as_secs(), "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "main", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", line],
                "image": std::env::var("TOOLS_IMAGE").unwrap_or_else(|_| "localhost/relocation-tools:dev".to_owned()),
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] }
                }
            }]
        }
    });
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod")).await.expect("a pod");
}

/// Waits until the pod has this phase, and tells its address.
async fn wait_for(client: &Client, namespace: &str, name: &str, phase: &'static str) -> String {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let is_there = await_condition(pods, name, |pod: Option<&Pod>| {
        let known = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
        known == Some(phase) || matches!(known, Some("Succeeded" | "Failed"))
    });
    let pod = timeout(DEADLINE, is_there).await.unwrap_or_else(|_| panic!("{name} is {phase} in time"));
    let status = pod.expect("a watch of the pod").and_then(|pod| pod.status).expect("a status");
    assert_eq!(status.phase.as_deref(), Some(phase), "{name}: {status:?}");
    status.pod_ip.unwrap_or_default()
}

/// A pod with these labels runs the line to its end.
async fn succeeds(client: &Client, namespace: &str, name: &str, labels: &[(&str, &str)], line: &str) {
    start(client, namespace, name, labels, line).await;
    wait_for(client, namespace, name, "Succeeded").await;
}

#[tokio::test]
async fn the_operator_is_reached_for_its_metrics_alone_and_reaches_the_api_server_alone() {
    run(async |scenario| {
        let client = &scenario.client;
        let _firewall = Firewall::start();
        // That it becomes ready shows that it reaches the API server.
        let release = Release::prepare(client).await;
        let readers = "networkPolicy.metricsFrom[0].podSelector.matchLabels.reads=metrics";
        release.install(&["replicaCount=1", readers]);
        let namespace = release.namespace.as_str();
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let operators = pods.list(&ListParams::default().labels("app.kubernetes.io/component=operator")).await;
        let operator = operators.expect("pods").items.pop().expect("an operator");
        let address = operator.status.as_ref().and_then(|status| status.pod_ip.clone()).expect("an address");
        for (label, value) in OPERATOR {
            assert_eq!(
                operator.labels().get(label).map(String::as_str),
                Some(value),
                "the labels of this test are its"
            );
        }
        start(client, namespace, "server", &[], "exec nc -ll -p 9000 -e echo hello").await;
        let server = wait_for(client, namespace, "server", "Running").await;

        // A firewall takes a moment to hear of a pod, so each of these pods waits until it is as it should be.
        // No wget: a static one crashes when it resolves names, addresses included.
        let get = "printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n'";
        let metrics = format!("{get} | nc -w 2 {address} 8080 | grep -q relocation_leader");
        let talk = format!("nc -w 2 {server} 9000 </dev/null | grep -q hello");
        let api_server = "nc -w 2 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null";
        let stranger = format!("until {talk}; do sleep 1; done; while {metrics}; do sleep 1; done; {talk}");
        succeeds(client, namespace, "stranger", &[], &stranger).await;
        succeeds(client, namespace, "reader", &[("reads", "metrics")], &format!("until {metrics}; do sleep 1; done"))
            .await;
        succeeds(client, namespace, "other-stranger", &[], &format!("until {talk}; do sleep 1; done; ! {metrics}"))
            .await;
        let impostor = format!("while {talk}; do sleep 1; done; until {api_server}; do sleep 1; done; ! {talk}");
        succeeds(client, namespace, "impostor", &OPERATOR, &impostor).await;
        release.remove().await;
    })
    .await;
}
