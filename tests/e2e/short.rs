//! The shortest plan, as people begin: a Secret, a plan, and one command; and what they read when the Secret is wrong.

use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use kube::runtime::wait::await_condition;
use relocation_operator::api::{FailureReason, Relocation, StatusValue, Step};
use serde_json::json;
use tokio::time::timeout;

use super::bucket::{self, OBJECTS, fill, uploads};
use super::ground::{LIMIT, VOLUME_TO_S3, create, plugin, pods, shell_with, wait_for, wait_for_failure};
use super::support::{Scenario, run};

/// Distinctive, so that a search for it finds nothing else.
const WRONG: &str = "aSecretThatNobodyShows5263";

#[tokio::test]
async fn the_shortest_plan_moves_a_volume_to_a_bucket() {
    run(async |scenario| {
        prepare(scenario, "only-for-this-demonstration").await;
        plugin(scenario, &["create", "acme", "--plan", "volume-to-s3-short", "--owner", "acme"]);
        let done = wait_for(scenario, "acme", StatusValue::Success).await;
        assert_eq!(done.steps.len(), 6);
        let sent = uploads(scenario).await;
        assert_eq!(sent.len(), OBJECTS);
        assert!(sent.values().all(|times| *times == 1), "{sent:?}");
    })
    .await;
}

#[tokio::test]
async fn a_wrong_secret_is_told_with_what_to_do_and_never_shown() {
    run(async |scenario| {
        prepare(scenario, WRONG).await;
        plugin(scenario, &["create", "acme", "--plan", "volume-to-s3-short", "--owner", "acme"]);
        let failure = wait_for_failure(scenario, "acme").await;
        assert_eq!((failure.step, failure.reason), (Step::Uploading, FailureReason::FatalExitCode));
        for said in ["the target s3://target/data", "SignatureDoesNotMatch", "correct the credentials in the Secret"] {
            assert!(failure.message.contains(said), "{}", failure.message);
        }
        let relocation = serde_json::to_string(&scenario.relocation("acme")).expect("JSON");
        let events = scenario.events("acme").await.concat();
        let shown = ["status", "explain", "history", "logs"].map(|word| plugin(scenario, &[word, "acme"])).concat();
        for text in [relocation, events, shown] {
            assert!(!text.is_empty() && !text.contains(WRONG), "{text}");
        }
    })
    .await;
}

/// The kubelet says it in the events of the pod alone; nothing of the pod's status names the Secret.
#[tokio::test]
async fn a_secret_that_is_missing_is_no_silent_wait() {
    run(async |scenario| {
        VOLUME_TO_S3.create(scenario, "volumes.yaml").await;
        // Without the server of the example, and so without its Secret.
        VOLUME_TO_S3.start(scenario).await;
        let told = await_condition(scenario.relocations(), VOLUME_TO_S3.name(), |relocation: Option<&Relocation>| {
            reconciling(relocation).is_some_and(|message| message.contains("does not start"))
        });
        let told = timeout(LIMIT, told).await.expect("it is told in time").expect("a watch of the relocation");
        let message = reconciling(told.as_ref()).expect("the condition");
        assert!(message.contains("a Secret, ConfigMap or volume that is missing is named"), "{message}");
        let (_, command) = message.split_once("kubectl describe pod ").expect("what to do next");
        let pod = command.split([' ', ';']).next().expect("a pod's name");
        pods(scenario).get(pod).await.expect("the pod that is named");
    })
    .await;
}

fn reconciling(relocation: Option<&Relocation>) -> Option<String> {
    let status = relocation?.status.as_ref()?;
    let condition = status.conditions.iter().find(|condition| condition.type_ == "Reconciling")?;
    Some(condition.message.clone())
}

/// A server, a source, a Secret with this key, the plan, and an operator.
async fn prepare(scenario: &mut Scenario, secret: &str) {
    bucket::serve(scenario, VOLUME_TO_S3).await;
    VOLUME_TO_S3.create(scenario, "volumes.yaml").await;
    shell_with(scenario, "fill", &fill("/source"), &["source"]).await.expect("the source is filled");
    let services: Api<Service> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let address = services.get("s3").await.expect("the service").spec.and_then(|spec| spec.cluster_ip);
    let account = json!({
        "AWS_ENDPOINT_URL": format!("http://{}:7070", address.expect("an address")), "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": secret
    });
    let account = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s3-account" }, "stringData": account
    });
    create(scenario, account).await;
    VOLUME_TO_S3.create(scenario, "short.yaml").await;
    scenario.start_operator().await;
}
