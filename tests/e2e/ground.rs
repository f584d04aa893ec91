//! What the tests stand on: the examples as they stand, pods that look at what arrives, and waits.

use std::path::Path;
use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, LogParams, PostParams, Preconditions,
};
use kube::runtime::wait::await_condition;
use relocation_operator::api::{Failure, Relocation, RelocationStatus, StatusValue, Step};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::support::Scenario;

/// Longer than real pods take to start and end one after the other on a busy machine with two cores.
pub const LIMIT: Duration = Duration::from_mins(3);

/// The folder of an example; its plan and its relocation have the same name.
#[derive(Clone, Copy)]
pub struct Example(pub &'static str);

pub const VOLUME_TO_VOLUME: Example = Example("volume-to-volume");
pub const VOLUME_TO_S3: Example = Example("volume-to-s3");
pub const S3_TO_S3: Example = Example("s3-to-s3");

impl Example {
    pub fn name(self) -> &'static str {
        self.0
    }

    /// The objects of one file as they stand, with this cluster's images.
    pub fn objects(self, file: &str) -> Vec<Value> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(self.0).join(file);
        let mut text = std::fs::read_to_string(path).expect("an example");
        for (shipped, variable) in [
            ("localhost/relocation-operator:dev", "IMAGE"),
            ("docker.io/library/busybox:1.37", "TOOLS_IMAGE"),
            ("docker.io/versity/versitygw:v1.8.0", "S3_IMAGE"),
        ] {
            text = text.replace(shipped, &image(variable));
        }
        serde_saphyr::from_multiple(&text).expect("an example in YAML")
    }

    pub async fn create(self, scenario: &Scenario, file: &str) {
        for object in self.objects(file) {
            create(scenario, object).await;
        }
    }

    pub fn plan(self) -> Value {
        self.objects("plan.yaml").remove(0)
    }

    /// Creates the plan and the relocation of the example and starts an operator.
    pub async fn start(self, scenario: &mut Scenario) {
        let plan = self.plan();
        self.start_with(scenario, plan).await;
    }

    /// The same with a plan that was changed.
    pub async fn start_with(self, scenario: &mut Scenario, plan: Value) {
        scenario.start_operator().await;
        create(scenario, plan).await;
        self.create(scenario, "relocation.yaml").await;
    }
}

/// An image of this cluster, as `make` names it.
pub fn image(variable: &str) -> String {
    let named = std::env::var(variable).ok().filter(|image| !image.is_empty());
    named.unwrap_or_else(|| {
        let name = match variable {
            "IMAGE" => "operator",
            "TOOLS_IMAGE" => "tools",
            _ => "s3",
        };
        format!("localhost/relocation-{name}:dev")
    })
}

/// The task of a step that has one.
pub fn task<'a>(plan: &'a mut Value, step: &str) -> &'a mut Value {
    let steps = plan["spec"]["steps"].as_array_mut().expect("steps");
    let step = steps.iter_mut().find(|candidate| candidate["step"] == step).expect("the step");
    &mut step["tasks"][0]
}

/// Creates any object of the namespace.
pub async fn create(scenario: &Scenario, object: Value) {
    let mut object: DynamicObject = serde_json::from_value(object).expect("an object");
    object.metadata.namespace = Some(scenario.namespace.clone());
    let types = object.types.clone().expect("apiVersion and kind");
    let kind = GroupVersionKind::try_from(&types).expect("a group, a version and a kind");
    let api: Api<DynamicObject> =
        Api::namespaced_with(scenario.client.clone(), &scenario.namespace, &ApiResource::from_gvk(&kind));
    let created = api.create(&PostParams::default(), &object).await;
    created.unwrap_or_else(|error| panic!("{} {}: {error}", types.kind, object.name_any()));
}

pub fn pods(scenario: &Scenario) -> Api<Pod> {
    Api::namespaced(scenario.client.clone(), &scenario.namespace)
}

/// A pod of busybox with these of the demonstration's volumes, each at `/NAME`.
pub fn busybox(name: &str, script: &str, volumes: &[&str]) -> Value {
    let mounts: Vec<Value> =
        volumes.iter().map(|volume| json!({ "name": volume, "mountPath": format!("/{volume}") })).collect();
    let claims = volumes
        .iter()
        .map(|volume| json!({ "name": volume, "persistentVolumeClaim": { "claimName": format!("demo-{volume}") } }));
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "containers": [{
                "name": "main", "image": image("TOOLS_IMAGE"), "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script],
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": mounts
            }],
            "volumes": claims.collect::<Vec<_>>()
        }
    })
}

/// Runs a script in a pod with both volumes; gives back its termination message, or what it said when it failed.
pub async fn shell(scenario: &Scenario, name: &str, script: &str) -> Result<String, String> {
    shell_with(scenario, name, script, &["source", "target"]).await
}

/// The same in a pod with these volumes.
pub async fn shell_with(scenario: &Scenario, name: &str, script: &str, volumes: &[&str]) -> Result<String, String> {
    create(scenario, busybox(name, script, volumes)).await;
    let ended = await_condition(pods(scenario), name, |pod: Option<&Pod>| terminated(pod).is_some());
    let pod = timeout(LIMIT, ended).await.expect("the pod ends in time").expect("a watch of the pod");
    match terminated(pod.as_ref()).expect("it has ended") {
        (0, said) => Ok(said),
        (code, said) => Err(format!("exit code {code}: {said}")),
    }
}

fn terminated(pod: Option<&Pod>) -> Option<(i32, String)> {
    let container = pod?.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let terminated = container.state.as_ref()?.terminated.as_ref()?;
    Some((terminated.exit_code, terminated.message.clone().unwrap_or_default()))
}

/// Everything that a container has said.
pub async fn log(scenario: &Scenario, pod: &str, container: &str) -> Vec<String> {
    let parameters = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
    let text = pods(scenario).logs(pod, &parameters).await.expect("the log of a pod");
    text.lines().map(str::to_owned).collect()
}

/// Follows what a container says, from its last line on, until a line gives an answer.
pub async fn follow<T>(
    scenario: &Scenario,
    pod: &str,
    container: &str,
    what: &str,
    mut answer: impl FnMut(&str) -> Option<T>,
) -> T {
    let parameters =
        LogParams { container: Some(container.to_owned()), follow: true, tail_lines: Some(1), ..LogParams::default() };
    let search = async {
        let stream = pods(scenario).log_stream(pod, &parameters).await.expect("the log of a pod");
        let mut lines = stream.lines();
        while let Some(line) = lines.next().await {
            if let Some(answer) = answer(&line.expect("a line of a log")) {
                return Some(answer);
            }
        }
        None
    };
    let found = timeout(LIMIT, search).await;
    found
        .unwrap_or_else(|_| panic!("{pod} did not say in time: {what}"))
        .unwrap_or_else(|| panic!("{pod} ended and did not say: {what}"))
}

/// Waits until a pod is ready.
pub async fn wait_until_ready(scenario: &Scenario, name: &str) {
    let ready = await_condition(pods(scenario), name, |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    });
    timeout(LIMIT, ready).await.expect("the pod is ready in time").expect("a watch of the pod");
}

/// Takes the running pod of a step away as `kubectl delete pod --grace-period=0 --force` does.
pub async fn delete_at_once(scenario: &Scenario, relocation: &str, step: Step) {
    let (name, uid) = scenario.wait_for_running_pod_within(LIMIT, relocation, step).await;
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
        ..DeleteParams::default()
    };
    pods(scenario).delete(&name, &parameters).await.expect("the pod is there to be deleted");
}

pub async fn wait_for(scenario: &Scenario, name: &str, wanted: StatusValue) -> RelocationStatus {
    let reached = await_condition(scenario.relocations(), name, move |relocation: Option<&Relocation>| {
        let status = relocation.and_then(|relocation| relocation.status.as_ref());
        status.is_some_and(|status| status.status == Some(wanted) || status.has_ended())
    });
    let relocation = timeout(LIMIT, reached).await.expect("in time").expect("a watch of the relocation");
    let status = relocation.and_then(|relocation| relocation.status).expect("a status");
    assert_eq!(status.status, Some(wanted), "{:#?}", status.failure);
    status
}

pub async fn wait_for_failure(scenario: &Scenario, name: &str) -> Failure {
    wait_for(scenario, name, StatusValue::Failure).await.failure.expect("a failure says why")
}

/// Waits until a relocation that has failed once runs or has succeeded, and for its success then.
pub async fn wait_for_recovery(scenario: &Scenario, name: &str) -> RelocationStatus {
    let left = await_condition(scenario.relocations(), name, |relocation: Option<&Relocation>| {
        let status = relocation.and_then(|relocation| relocation.status.as_ref());
        status.is_some_and(|status| status.recoveries.is_some_and(|recoveries| recoveries > 0))
    });
    timeout(LIMIT, left).await.expect("the recovery is accepted in time").expect("a watch of the relocation");
    wait_for(scenario, name, StatusValue::Success).await
}

/// Waits until the `onEnd` Job has told how it went.
pub async fn wait_until_notified(scenario: &Scenario, name: &str) -> String {
    let told =
        await_condition(scenario.relocations(), name, |relocation: Option<&Relocation>| notified(relocation).is_some());
    let relocation = timeout(LIMIT, told).await.expect("onEnd ends in time").expect("a watch of the relocation");
    notified(relocation.as_ref()).expect("it is told")
}

/// The condition `Notified`, once it is decided: its status, reason and message.
fn notified(relocation: Option<&Relocation>) -> Option<String> {
    let status = relocation?.status.as_ref()?;
    let condition = status.conditions.iter().find(|condition| condition.type_ == "Notified")?;
    (condition.status != "Unknown").then(|| format!("{} {}: {}", condition.status, condition.reason, condition.message))
}

/// What the kubectl plugin answers.
pub fn plugin(scenario: &Scenario, words: &[&str]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-relocation"));
    let output = command.args(words).args(["-n", &scenario.namespace]).output().expect("the plugin starts");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{answer}{}", String::from_utf8_lossy(&output.stderr));
    answer
}

/// A command of the script that makes the local cluster, and whether it went well.
pub async fn cluster(arguments: &[&str]) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster");
    let output = Command::new(program).args(arguments).output().await.expect("cluster/cluster starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "this test needs the local cluster; run `make test-e2e` without CLUSTER=current: {said}"
    );
}
