//! What a person reads when something is not as it should be: one sentence, and an exit code.

use std::path::PathBuf;

use axum::http::StatusCode;
use expect_test::expect;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, PostParams};
use kube::config::Kubeconfig;
use relocation_operator::api::{StatusValue, Step};
use serde_json::{Value, json};

use crate::person::Person;
use crate::support::{Gate, Scenario, a_plan, a_relocation, run, write_kubeconfig};

/// A kubeconfig of a service account that may do what these rules say, and nothing else.
pub async fn account(scenario: &Scenario, name: &str, rules: Value) -> PathBuf {
    let accounts: Api<ServiceAccount> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let roles: Api<Role> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let bindings: Api<RoleBinding> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let parameters = PostParams::default();
    let account = serde_json::from_value(json!({ "metadata": { "name": name } })).expect("an account");
    accounts.create(&parameters, &account).await.expect("an account");
    let role = serde_json::from_value(json!({ "metadata": { "name": name }, "rules": rules })).expect("a role");
    roles.create(&parameters, &role).await.expect("a role");
    let binding = serde_json::from_value(json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": scenario.namespace }]
    }))
    .expect("a binding");
    bindings.create(&parameters, &binding).await.expect("a binding");
    let request: TokenRequest = serde_json::from_value(json!({ "spec": { "audiences": [] } })).expect("a request");
    let token = accounts.create_token_request(name, &parameters, &request).await.expect("a token");
    let token = token.status.expect("a token").token;

    let mut kubeconfig = serde_json::to_value(Kubeconfig::read().expect("a kubeconfig")).expect("JSON");
    for user in kubeconfig["users"].as_array_mut().expect("users") {
        user["user"] = json!({ "token": token });
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.kubeconfig", scenario.namespace));
    std::fs::write(&path, kubeconfig.to_string()).expect("a kubeconfig");
    path
}

#[tokio::test]
async fn what_is_not_there_is_answered_with_what_is_close() {
    run(async |scenario| {
        scenario.create(a_relocation("acme")).await;
        scenario.create(a_relocation("acme-eu")).await;
        let person = Person::of(scenario);
        person.types("status amce").await.shows(expect![[r#"
            error: there is no relocation "amce" in the namespace "NAMESPACE"; did you mean acme?
            exit code 5
        "#]]);
        person.types("history umbrella").await.shows(expect![[r#"
            error: there is no relocation "umbrella" in the namespace "NAMESPACE"; see what there is with: kubectl relocation list
            exit code 5
        "#]]);
        let elsewhere = person.types("explain acme-eu -n default").await;
        assert!(elsewhere.err.contains(&format!("add -n {}", scenario.namespace)), "{}", elsewhere.err);
        person.types_exactly(&["status", "acme", "-A"]).await.shows(expect![[r#"
            error: a name belongs to one namespace; say which with -n, not -A
            exit code 1
        "#]]);
    })
    .await;
}

#[tokio::test]
async fn wrong_use_is_answered_with_right_use() {
    run(async |scenario| {
        let person = Person::of(scenario);
        person.types("statsu acme").await.shows(expect![[r#"
            error: unrecognized subcommand 'statsu'

              tip: a similar subcommand exists: 'status'

            Usage: kubectl relocation [OPTIONS] <COMMAND>

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("status").await.shows(expect![[r#"
            error: the following required arguments were not provided:
              <NAME>

            Usage: kubectl relocation status --namespace <NAMESPACE> <NAME>

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("list -o xml").await.shows(expect![[r#"
            error: invalid value 'xml' for '--output <FORMAT>': choose one of json, yaml, name, wide, jsonpath=TEMPLATE

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("list -o jsonpath={.items[*").await.shows(expect![[r#"
            error: invalid value 'jsonpath={.items[*' for '--output <FORMAT>': the JSONPath "{.items[*" has an opening brace, bracket or quote that is not closed

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("list --status done").await.shows(expect![[r#"
            error: invalid value 'done' for '--status <STATUS>': choose one of PENDING, IN_PROGRESS, PAUSE, FAILURE, SUCCESS

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("logs acme --step flying").await.shows(expect![[r#"
            error: invalid value 'flying' for '--step <STEP>': "flying" is not a step; the steps are UPLOADING, PREPROCESSING, VALIDATING, IMPORTING, POSTPROCESSING, NOTIFYING

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("list --request-timeout soon").await.shows(expect![[r#"
            error: invalid value 'soon' for '--request-timeout <TIME>': "soon" is no duration; write it as in AGE, AGE, 1h30m

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("explain acme -f file.yaml").await.shows(expect![[r#"
            error: the argument '[NAME]' cannot be used with '--file <FILE>'

            Usage: kubectl relocation explain --namespace <NAMESPACE> <NAME>

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("explain -f /nowhere/file.yaml").await.shows(expect![[r#"
            error: cannot read /nowhere/file.yaml: No such file or directory (os error 2)
            exit code 1
        "#]]);
        let help = person.types_exactly(&["status", "--help"]).await.succeeded();
        assert!(help.out.contains("EXAMPLES\n  kubectl relocation status acme"), "{}", help.out);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named_with_its_address() {
    run(async |scenario| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
        let kubeconfig = write_kubeconfig(free);
        let person = Person::of(scenario).with_kubeconfig(&kubeconfig);
        person.types("list").await.shows(expect![[r#"
            error: cannot reach the API server at http://ADDRESS: Connection refused (os error 111); check that it runs, and that --context names the cluster you mean
            exit code 7
        "#]]);
        person.types("list --context other").await.shows(expect![[r#"
            error: the kubeconfig has no context "other"; name one with --context: gate
            exit code 7
        "#]]);
        person.types("version --client").await.succeeded();
        std::fs::remove_file(&kubeconfig).expect("it is there");
        let lost = Person::of(scenario).with_variable("KUBECONFIG", "/nowhere/config");
        lost.types("list").await.shows(expect![[r#"
            error: there is no kubeconfig: /nowhere/config does not exist and this is not a pod; set KUBECONFIG or name one with --kubeconfig
            exit code 7
        "#]]);
        lost.types("list --kubeconfig /nowhere/else").await.shows(expect![[r#"
            error: cannot use the kubeconfig /nowhere/else: No such file or directory (os error 2)
            exit code 7
        "#]]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    run(async |scenario| {
        let gate = Gate::open(&scenario.client).await;
        let held = gate.hold(|_| true);
        let person = Person::of(scenario).with_kubeconfig(gate.kubeconfig());
        person.types("list --request-timeout 1s").await.shows(expect![[r#"
            error: the API server at http://ADDRESS has not answered within 1 s; try again, or give it more time with --request-timeout
            exit code 124
        "#]]);
        drop(held);
    })
    .await;
}

#[tokio::test]
async fn a_cluster_without_the_kinds_is_told_how_to_get_them() {
    run(async |scenario| {
        let gate = Gate::open(&scenario.client).await;
        let ours = |asked: &crate::support::Asked| asked.path.contains("/apis/relocation.dev/");
        gate.answer(ours, StatusCode::NOT_FOUND, "404 page not found\n");
        let person = Person::of(scenario).with_kubeconfig(gate.kubeconfig());
        person.types("list").await.shows(expect![[r#"
            error: the cluster at http://ADDRESS has no kinds of relocation.dev; install the operator's definitions with: kubectl apply --server-side -f crds/
            exit code 8
        "#]]);
        person.types("status acme").await.shows(expect![[r#"
            error: the cluster at http://ADDRESS has no kinds of relocation.dev; install the operator's definitions with: kubectl apply --server-side -f crds/
            exit code 8
        "#]]);
    })
    .await;
}

#[tokio::test]
async fn who_may_only_read_relocations_sees_them_and_is_told_what_else_there_is() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme").paused_at(Step::Validating)).await;
        scenario.wait_for("acme", StatusValue::Pause, Step::Validating).await;
        let rules = json!([{
            "apiGroups": ["relocation.dev"], "resources": ["relocations"], "verbs": ["get", "list", "watch"]
        }]);
        let kubeconfig = account(scenario, "reader", rules).await;
        let person = Person::of(scenario).with_kubeconfig(&kubeconfig);
        person.types("list").await.shows(expect![[r#"
            NAME  STEP  STATUS  TASK  TRY  PAUSE-AT  READY  AGE
            acme  VALIDATING  PAUSE  run  VALIDATING  False  AGE
        "#]]);
        person.types("status acme").await.shows(expect![[r#"
            acme  PAUSE  plan plan, owner acme, AGE old
            paused before VALIDATING by spec.pauseAtStep since TIME (AGE ago); go on with: kubectl relocation unpause acme -n NAMESPACE

            ✔ UPLOADING  AGE
            └─ ✔ run  done
            ✔ PREPROCESSING  AGE
            └─ ✔ run  done
            ‖ VALIDATING  paused here, pauseAtStep
            ○ IMPORTING
            ○ POSTPROCESSING
            ○ NOTIFYING

            possible now
              kubectl relocation unpause acme -n NAMESPACE  go on
              kubectl relocation unpause acme --until-step IMPORTING -n NAMESPACE  go on and stop before IMPORTING
              kubectl relocation cancel acme --at-step VALIDATING -n NAMESPACE  end instead of entering VALIDATING
              kubectl relocation abort acme -n NAMESPACE  end now

            not shown, because you may not read it: Jobs (list jobs.batch), pods (list pods), the plan (get relocationplans.relocation.dev), events (list events); you are the user "system:serviceaccount:NAMESPACE:reader"
        "#]]);
        person.types("explain acme").await.succeeded().shows(expect![[r#"
            acme is PAUSE at VALIDATING: paused before VALIDATING by spec.pauseAtStep since TIME (AGE ago); go on with: kubectl relocation unpause acme -n NAMESPACE

            plan  not shown, because you may not read it: its plan (get relocationplans.relocation.dev); you are the user "system:serviceaccount:NAMESPACE:reader"
            fence  spec.pauseAtStep is VALIDATING: it stands here
            lock  not shown, because you may not read it: who holds its mutex (get leases.coordination.k8s.io); you are the user "system:serviceaccount:NAMESPACE:reader"
            not seen  not shown, because you may not read it: Jobs (list jobs.batch), pods (list pods), the plan (get relocationplans.relocation.dev), events (list events); you are the user "system:serviceaccount:NAMESPACE:reader"

            possible now
              kubectl relocation unpause acme -n NAMESPACE
              kubectl relocation unpause acme --until-step IMPORTING -n NAMESPACE
              kubectl relocation cancel acme --at-step VALIDATING -n NAMESPACE
              kubectl relocation abort acme -n NAMESPACE
        "#]]);
        person.types("history acme").await.succeeded();
        person.types("logs acme").await.shows(expect![[r#"
            error: you may not list pods in the namespace "NAMESPACE": you are the user "system:serviceaccount:NAMESPACE:reader"; ask whoever gives permissions for this cluster for the verb list on pods
            exit code 6
        "#]]);
        person.types("artifacts acme").await.shows(expect![[r#"
            error: you may not get artifactindices.relocation.dev in the namespace "NAMESPACE": you are the user "system:serviceaccount:NAMESPACE:reader"; ask whoever gives permissions for this cluster for the verb get on artifactindices.relocation.dev
            exit code 6
        "#]]);
        person.types("list --as jane").await.shows(expect![[r#"
            error: you may not impersonate users and groups in this cluster: you are the user "system:serviceaccount:NAMESPACE:reader"; ask whoever gives permissions for this cluster for the verb impersonate on users and groups
            exit code 6
        "#]]);
        let all = person.types_exactly(&["list", "-A"]).await;
        all.shows(expect![[r#"
            error: you may not list relocations.relocation.dev in all namespaces: you are the user "system:serviceaccount:NAMESPACE:reader"; ask whoever gives permissions for this cluster for the verb list on relocations.relocation.dev
            exit code 6
        "#]]);
        let mut watching = person.begins("status acme --watch");
        watching.until("PAUSE VALIDATING").await;
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        let (_, code) = watching.end().await;
        assert_eq!(code, 0);
        std::fs::remove_file(&kubeconfig).expect("it is there");
    })
    .await;
}

#[tokio::test]
async fn with_the_operator_down_everything_can_be_read_and_the_silence_is_named() {
    run(async |scenario| {
        scenario.create(a_relocation("acme")).await;
        let person = Person::of(scenario);
        let status = person.types("status acme").await.succeeded().settled();
        assert!(status.starts_with("acme  NEW  plan plan, owner acme, AGE old\n"), "{status}");
        assert!(status.contains("looked at it"), "{status}");
        assert!(status.contains("kubectl relocation abort acme -n NAMESPACE  end now"), "{status}");
        person.types("history acme").await.shows(expect![[r#"
            nobody has asked anything of acme yet, and it has not ended
        "#]]);
        person.types("logs acme").await.shows(expect![[r#"
            acme has no pod yet; -f waits for the first
        "#]]);
    })
    .await;
}
