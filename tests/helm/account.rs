//! What the operator's own account may do: all that somebody gains who takes over its pod.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use relocation_operator::api::{Relocation, RelocationPlan};
use serde_json::json;

use crate::release::{NAME, Release};
use crate::support::{Scenario, a_plan, a_relocation, run};

/// A client with the rights of the operator of this release.
async fn operator_of(release: &Release) -> Client {
    let mut config = Config::infer().await.expect("a kubeconfig");
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{}:{NAME}", release.namespace));
    config.auth_info.impersonate_groups =
        Some(vec!["system:serviceaccounts".to_owned(), "system:authenticated".to_owned()]);
    Client::try_from(config).expect("a client of the kubeconfig")
}

/// A Job that runs any image with a Secret of the namespace.
async fn start_anything(client: &Client, namespace: &str) -> kube::Result<Job> {
    let job = json!({
        "metadata": { "name": "anything" },
        "spec": { "template": { "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "main", "image": "anything", "envFrom": [{ "secretRef": { "name": "any" } }] }]
        }}}
    });
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    Api::namespaced(client.clone(), namespace).create(&dry_run, &serde_json::from_value(job).expect("a Job")).await
}

fn is_forbidden<T>(answer: kube::Result<T>) -> bool {
    answer.is_err_and(|error| matches!(error, kube::Error::Api(status) if status.code == 403))
}

async fn what_it_may(scenario: &Scenario, client: Client) {
    start_anything(&client, &scenario.namespace).await.expect("it may create Jobs, and so use what pods may use");
    scenario.create_plan(a_plan("plan").with_six_steps()).await;
    scenario.create(a_relocation("acme")).await;
    let (here, all) = (ListParams::default(), PatchParams::default());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &scenario.namespace);
    assert!(is_forbidden(secrets.list(&here).await) && is_forbidden(secrets.get("any").await), "no Secret is read");
    let roles: Api<ClusterRole> = Api::all(client.clone());
    assert!(is_forbidden(roles.list(&here).await), "no role is read, and none given");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    assert!(is_forbidden(namespaces.list(&here).await), "no namespace is listed");
    let pods: Api<Pod> = Api::namespaced(client.clone(), &scenario.namespace);
    assert!(is_forbidden(pods.logs("any", &kube::api::LogParams::default()).await), "no log is read");
    let relocations: Api<Relocation> = Api::namespaced(client.clone(), &scenario.namespace);
    let abort = Patch::Merge(json!({ "spec": { "desiredState": "Aborted" } }));
    assert!(is_forbidden(relocations.patch("acme", &all, &abort).await), "what people want is theirs to write");
    let plans: Api<RelocationPlan> = Api::namespaced(client, &scenario.namespace);
    let other = Patch::Merge(json!({ "spec": { "maxActive": 0 } }));
    assert!(is_forbidden(plans.patch("plan", &all, &other).await), "no plan is written");
}

#[tokio::test]
async fn whoever_has_the_operators_account_may_start_anything_and_read_no_secret() {
    run(async |scenario| {
        let release = Release::prepare(&scenario.client).await;
        release.install(&["replicaCount=1"]);
        what_it_may(scenario, operator_of(&release).await).await;
        release.remove().await;
    })
    .await;
}

#[tokio::test]
async fn in_the_scope_of_a_namespace_the_operators_account_starts_nothing_elsewhere() {
    run(async |scenario| {
        let release = Release::prepare(&scenario.client).await;
        release.install(&["replicaCount=1", "scope=Namespace"]);
        let client = operator_of(&release).await;
        start_anything(&client, &release.namespace).await.expect("it may create Jobs where it watches");
        assert!(is_forbidden(start_anything(&client, &scenario.namespace).await), "and nowhere else");
        release.remove().await;
    })
    .await;
}
