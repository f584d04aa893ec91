//! The role of the chart is enough for everything that the operator does, and lets it do it quietly.

use std::path::Path;

use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use relocation_operator::api::Step;
use serde_json::{Value, json};

use crate::SIX_WORKS;
use crate::support::{Behaviour, Scenario, a_plan, a_relocation, on, run};

/// The rules of the operator's role, as they are shipped.
fn shipped_rules() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/relocation-operator/templates/_helpers.tpl");
    let text = std::fs::read_to_string(&path).expect("the chart's parts");
    let (_, rules) = text.split_once("{{- define \"relocation-operator.rules\" -}}\n").expect("the rules");
    let (rules, _) = rules.split_once("{{- end }}").expect("their end");
    serde_saphyr::from_str(rules).expect("YAML without any template")
}

/// Gives a user of this scenario's namespace the operator's role, and nothing else.
async fn create_user(scenario: &Scenario) -> String {
    let user = format!("operator-of-{}", scenario.namespace);
    let roles: Api<ClusterRole> = Api::all(scenario.client.clone());
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": user }, "rules": shipped_rules()
    });
    let parameters = PatchParams::apply("acceptance-test").force();
    roles.patch(&user, &parameters, &Patch::Apply(&role)).await.expect("a role");
    let bindings: Api<RoleBinding> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let binding = serde_json::from_value(json!({
        "metadata": { "name": "operator" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }]
    }))
    .expect("a binding");
    bindings.create(&PostParams::default(), &binding).await.expect("a binding");
    user
}

#[tokio::test]
async fn the_shipped_role_is_enough_for_a_run_a_recover_an_end_hook_and_a_clean_up() {
    run(async |scenario| {
        let user = create_user(scenario).await;
        scenario.open_gate_as(&user).await;
        let on_end = crate::support::a_template();
        let more = json!({ "workspace": { "storage": "1Mi" }, "onEnd": { "template": on_end }, "maxActive": 5 });
        scenario.create_plan(a_plan("plan").with_six_steps().with(more)).await;
        scenario.script(on(Step::Importing), Behaviour::exit(65, "no"));
        scenario.script(
            on(Step::Uploading),
            Behaviour::Succeed(r#"{"artifacts":[{"name":"manifest","path":"/relocation/manifest"}]}"#.to_owned()),
        );
        scenario.start_operator().await;
        scenario.create(a_relocation("acme").with(json!({ "cleanupSecondsAfterFinished": 1 }))).await;
        let failed = scenario.wait_for_failure("acme").await;
        scenario.script(on(Step::Importing), Behaviour::succeed());
        let id = failed.failure.expect("a failure").id;
        scenario.patch_spec("acme", json!({ "recover": id })).await.expect("the id of the failure");
        scenario.wait_for_success("acme").await;
        scenario
            .wait(std::time::Duration::from_secs(60), "all is cleaned up", |seen| {
                (seen.jobs.is_empty() && seen.pods.is_empty()).then_some(())
            })
            .await;
        assert_eq!(scenario.works("acme").len(), SIX_WORKS.len() + 1);
        let metrics = scenario.operators[0].page("/metrics").await.expect("the operator's metrics");
        let refused: Vec<_> = metrics.lines().filter(|line| line.contains("code=\"403\"")).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        let roles: Api<ClusterRole> = Api::all(scenario.client.clone());
        roles.delete(&user, &DeleteParams::default()).await.expect("the role goes with the scenario");
    })
    .await;
}
