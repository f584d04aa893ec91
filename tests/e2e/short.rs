//! The shortest plan, as people begin: a Secret, a plan, and one command; and what they read when the Secret is wrong.

use kube::api::Api;
use relocation_operator::api::{FailureReason, StatusValue, Step};
use serde_json::json;

use super::bucket::{self, OBJECTS, fill, uploads};
use super::ground::{VOLUME_TO_S3, create, plugin, shell_with, wait_for, wait_for_failure};
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
        assert_eq!((failure.step, failure.reason), (Step::Preprocessing, FailureReason::FatalExitCode));
        for said in ["s3://target/data", "SignatureDoesNotMatch", "AWS_"] {
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

/// A server, a source, a Secret with this key, the plan, and an operator.
async fn prepare(scenario: &mut Scenario, secret: &str) {
    bucket::serve(scenario, VOLUME_TO_S3).await;
    VOLUME_TO_S3.create(scenario, "volumes.yaml").await;
    shell_with(scenario, "fill", &fill("/source"), &["source"]).await.expect("the source is filled");
    let services: Api<k8s_openapi::api::core::v1::Service> =
        Api::namespaced(scenario.client.clone(), &scenario.namespace);
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
