//! The role of the chart is enough for everything that the operator does, and lets it do it quietly.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use relocation_operator::api::{FailureReason, Step};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Behaviour, SIX_WORKS, Scenario, a_plan, a_relocation, on, run};

const DEADLINE: Duration = Duration::from_secs(90);

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
    let roles: Api<Role> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let role = json!({ "metadata": { "name": "operator" }, "rules": shipped_rules() });
    let role = serde_json::from_value(role).expect("a role");
    roles.create(&PostParams::default(), &role).await.expect("a role");
    let bindings: Api<RoleBinding> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let binding = serde_json::from_value(json!({
        "metadata": { "name": "operator" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }]
    }))
    .expect("a binding");
    bindings.create(&PostParams::default(), &binding).await.expect("a binding");
    user
}

/// Every right that the rules give, one by one.
fn shipped_rights() -> BTreeSet<Right> {
    let rules = shipped_rules();
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let listed = rule[field].as_array().expect("a list").iter();
        listed.map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().expect("a list of rules") {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    rights.insert((verb, group.clone(), resource.clone()));
                }
            }
        }
    }
    rights
}

/// Verb, API group and resource.
type Right = (String, String, String);

/// One run, a failure and its recover, a Job that gets no pod, a lost status, an end hook and a clean-up take every
/// right of the role, and no other one.
#[tokio::test]
async fn the_shipped_role_is_enough_and_holds_no_right_that_is_never_used() {
    run(async |scenario| {
        let user = create_user(scenario).await;
        scenario.open_gate_as(&user).await;
        let on_end = crate::support::a_template();
        let more = json!({ "workspace": { "storage": "1Mi" }, "onEnd": { "template": on_end }, "maxActive": 5 });
        scenario.create_plan(a_plan("plan").with_six_steps().with(more)).await;
        scenario.script(on(Step::Importing), Behaviour::exit(65, "no"));
        for step in [Step::Uploading, Step::Validating] {
            let artifacts = r#"{"verdict":"VALID","artifacts":[{"name":"manifest","path":"/relocation/manifest"}]}"#;
            scenario.script(on(step), Behaviour::Succeed(artifacts.to_owned()));
        }
        scenario.start_operator().await;
        scenario.create(a_relocation("acme").with(json!({ "cleanupSecondsAfterFinished": 1 }))).await;
        let failed = scenario.wait_for_failure("acme").await;
        scenario.script(on(Step::Importing), Behaviour::succeed());
        let id = failed.failure.expect("a failure").id;
        scenario.patch_spec("acme", json!({ "recover": id })).await.expect("the id of the failure");
        scenario.wait_for_success("acme").await;
        scenario
            .wait(DEADLINE, "all is cleaned up", |seen| (seen.jobs.is_empty() && seen.pods.is_empty()).then_some(()))
            .await;
        assert_eq!(scenario.works("acme").len(), SIX_WORKS.len() + 1);

        a_job_that_gets_no_pod(scenario).await;
        let nothing = Patch::Merge(json!({ "status": null }));
        let wiped = scenario.relocations().patch_status("globex", &PatchParams::default(), &nothing).await;
        wiped.expect("a whole status can be removed");
        let lost = scenario.wait_for_failure("globex").await;
        assert_eq!(lost.failure.expect("a failure").reason, FailureReason::StatusLost);

        let metrics = scenario.operators[0].page("/metrics").await.expect("the operator's metrics");
        let refused: Vec<_> = metrics.lines().filter(|line| line.contains("code=\"403\"")).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        let used: BTreeSet<Right> = scenario
            .gate()
            .asked()
            .iter()
            .map(|asked| asked.right())
            .map(|(verb, group, resource)| (verb.to_owned(), group, resource))
            .collect();
        let unused: Vec<_> = shipped_rights().difference(&used).cloned().collect();
        assert!(unused.is_empty(), "the role gives rights that nothing uses: {unused:#?}");
    })
    .await;
}

/// A quota that leaves no room for pods; the relocation says so after half a minute.
async fn a_job_that_gets_no_pod(scenario: &Scenario) {
    let quotas: Api<ResourceQuota> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
    let quota = serde_json::from_value(quota).expect("a quota");
    quotas.create(&PostParams::default(), &quota).await.expect("a quota");
    let counted = await_condition(quotas, "none", |quota: Option<&ResourceQuota>| {
        quota.and_then(|quota| quota.status.as_ref()?.hard.as_ref()).is_some()
    });
    timeout(DEADLINE, counted).await.expect("the quota works in time").expect("a watch of quotas");
    scenario.create(a_relocation("globex")).await;
    scenario
        .wait(DEADLINE, "globex says that its pod is refused", |seen| {
            let status = seen.relocations.get("globex")?.status.as_ref()?;
            let waits = status.conditions.iter().find(|condition| condition.type_ == "Reconciling")?;
            waits.message.contains("exceeded quota").then_some(())
        })
        .await;
}
