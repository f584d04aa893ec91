//! `doctor` and completion.

use std::time::Instant;

use axum::http::StatusCode;
use expect_test::expect;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, PostParams};
use relocation_operator::api::{StatusValue, Step};
use serde_json::{Value, json};

use crate::errors::account;
use crate::person::Person;
use crate::support::{Asked, Behaviour, Gate, Scenario, a_plan, a_relocation, on, run};

/// What was found about something, `finding: text` a line.
fn found(checks: &str, about: &str) -> String {
    let checks: Value = serde_json::from_str(checks).expect("JSON");
    let about = checks.as_array().expect("a list").iter().filter(|check| check["about"] == about);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = about.map(|check| format!("{}: {}\n", text(&check["finding"]), text(&check["text"])));
    lines.collect::<Vec<_>>().concat()
}

async fn doctor(person: &Person) -> String {
    person.types("doctor -o json").await.out
}

#[tokio::test]
async fn doctor_finds_what_is_wrong_and_says_how_to_mend_it() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme").paused_at(Step::Validating)).await;
        scenario.wait_for("acme", StatusValue::Pause, Step::Validating).await;
        let person = Person::of(scenario);
        let well = doctor(&person).await;
        assert!(found(&well, "server").starts_with("ok: Kubernetes v1."), "{well}");
        let seen: Vec<String> =
            ["kinds", "reading", "acting", "answers", "plans"].iter().map(|about| found(&well, about)).collect();
        expect![[r#"
            ok: relocation.dev/v1alpha1 is installed, and is what this program was made for
            ok: you may read all that is shown
            ok: you may do everything with relocations
            ok: each request is answered, of 1 relocation
            ok: 1 plan, all accepted
        "#]]
        .assert_eq(&seen.concat());

        scenario.create_plan(a_plan("blind").with_step(Step::Uploading, ["run"])).await;
        let is_judged = |plan: &relocation_operator::api::RelocationPlan| {
            plan.status.as_ref().is_some_and(|status| !status.conditions.is_empty())
        };
        loop_until(scenario, is_judged).await;
        let sick = person.types("doctor").await;
        assert_eq!(sick.code, 1, "{sick:?}");
        let told = format!("{}/blind is not accepted: ", scenario.namespace);
        assert!(sick.out.contains(&told), "{}", sick.out);
        assert!(sick.out.contains("mend it and apply it again"), "{}", sick.out);
    })
    .await;
}

#[tokio::test]
async fn doctor_finds_an_operator_that_is_scaled_to_nothing() {
    run(async |scenario| {
        let labels = json!({ "app.kubernetes.io/name": "relocation-operator" });
        let deployment = json!({
            "metadata": { "name": "sleeper", "labels": labels },
            "spec": {
                "replicas": 0, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "operator", "image": "none" }] } }
            }
        });
        let deployments: Api<Deployment> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
        let deployment = serde_json::from_value(deployment).expect("a Deployment");
        deployments.create(&PostParams::default(), &deployment).await.expect("a Deployment");
        let person = Person::of(scenario);
        let told = person.types("doctor").await;
        assert_eq!(told.code, 1, "{told:?}");
        let namespace = &scenario.namespace;
        assert!(told.out.contains(&format!("{namespace}/sleeper: 0 of 0 ready")), "{}", told.out);
        let mend = format!("kubectl scale deployment/sleeper -n {namespace} --replicas=1");
        assert!(told.out.contains(&mend), "{}", told.out);
    })
    .await;
}

/// Waits until the plan `blind` is as wished.
async fn loop_until(scenario: &Scenario, wished: impl Fn(&relocation_operator::api::RelocationPlan) -> bool) {
    let plans = scenario.plans();
    let wished = |plan: Option<&relocation_operator::api::RelocationPlan>| plan.is_some_and(&wished);
    let waited = kube::runtime::wait::await_condition(plans, "blind", wished);
    tokio::time::timeout(std::time::Duration::from_secs(30), waited).await.expect("in time").expect("a watch");
}

#[tokio::test]
async fn doctor_says_what_a_reader_may_not_see_and_do() {
    run(async |scenario| {
        scenario.create(a_relocation("acme")).await;
        let rules = json!([{
            "apiGroups": ["relocation.dev"], "resources": ["relocations"], "verbs": ["get", "list", "watch"]
        }]);
        let kubeconfig = account(scenario, "patient", rules).await;
        let reader = Person::of(scenario).with_kubeconfig(&kubeconfig);
        let checks = doctor(&reader).await.replace(&scenario.namespace, "NAMESPACE");
        let seen: Vec<String> =
            ["kinds", "reading", "acting", "operator", "policy"].iter().map(|about| found(&checks, about)).collect();
        expect![[r#"
            unknown: you may not get customresourcedefinitions in all namespaces: you are the user "system:serviceaccount:NAMESPACE:patient"; ask whoever gives permissions for this cluster for the verb get on customresourcedefinitions
            advice: you may not get relocationplans, get artifactindices, list jobs, list pods, get pods/log, list events, get controllerrevisions; that part is left out of what is shown
            advice: you may look and not change anything: patch on relocations is not allowed to you
            unknown: you may not list deployments in all namespaces: you are the user "system:serviceaccount:NAMESPACE:patient"; ask whoever gives permissions for this cluster for the verb list on deployments
            unknown: you may not list validatingadmissionpolicies in all namespaces: you are the user "system:serviceaccount:NAMESPACE:patient"; ask whoever gives permissions for this cluster for the verb list on validatingadmissionpolicies
        "#]].assert_eq(&seen.concat());
        std::fs::remove_file(&kubeconfig).expect("it is there");
    })
    .await;
}

#[tokio::test]
async fn doctor_finds_that_the_kinds_are_missing_or_of_another_version() {
    run(async |scenario| {
        let gate = Gate::open(&scenario.client).await;
        let is_ours = |asked: &Asked| asked.path.contains("/apis/relocation.dev/") || asked.path.contains("/customresourcedefinitions/");
        gate.answer(is_ours, StatusCode::NOT_FOUND, r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"not found"}"#);
        let person = Person::of(scenario).with_kubeconfig(gate.kubeconfig());
        expect![[r#"
            problem: the kind Relocation is not installed
            problem: the kind RelocationPlan is not installed
            problem: the kind ArtifactIndex is not installed
            problem: the API server does not serve relocation.dev/v1alpha1
        "#]].assert_eq(&found(&doctor(&person).await, "kinds"));
        assert_eq!(person.types("doctor").await.code, 1);

        let other = Gate::open(&scenario.client).await;
        let mut older = serde_json::to_value(&relocation_operator::api::all_crds()[0]).expect("JSON");
        older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = json!("older");
        let name = older["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        other.answer(move |asked| asked.path.ends_with(&name), StatusCode::OK, &older.to_string());
        let person = Person::of(scenario).with_kubeconfig(other.kubeconfig());
        let kinds = found(&doctor(&person).await, "kinds");
        assert!(kinds.contains("problem: the schema of Relocation"), "{kinds}");
    })
    .await;
}

#[tokio::test]
async fn names_steps_and_failures_are_completed_from_the_cluster() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing).relocation("failed"), Behaviour::exit(65, "no"));
        scenario.start_operator().await;
        scenario.create(a_relocation("paused").paused_at(Step::Importing)).await;
        scenario.create(a_relocation("failed")).await;
        scenario.wait_for("paused", StatusValue::Pause, Step::Importing).await;
        scenario.wait_for_failure("failed").await;
        let person = Person::of(scenario);
        let namespace = scenario.namespace.clone();
        let completes = async |line: &str, word: &str| {
            let mut words = vec!["__complete", "-n", &namespace];
            words.extend(line.split(' '));
            words.push(word);
            person.types_exactly(&words).await.succeeded().settled()
        };
        expect![[r#"
            failed	FAILURE at IMPORTING
            paused	PAUSE at IMPORTING
            :4
        "#]]
        .assert_eq(&completes("status", "").await);
        expect![[r#"
            paused	PAUSE at IMPORTING
            :4
        "#]]
        .assert_eq(&completes("unpause", "").await);
        expect![[r#"
            failed	FAILURE at IMPORTING
            :4
        "#]]
        .assert_eq(&completes("recover", "fa").await);
        expect![[r#"
            plan
            :4
        "#]]
        .assert_eq(&completes("create globex --owner globex --plan", "").await);
        expect![[r#"
            paused
            :4
        "#]]
        .assert_eq(&completes("list --owner", "p").await);
        let mut words = vec!["__complete", "unpause", "-n", &namespace, "paused", "--until-step", ""];
        expect![[r#"
            POSTPROCESSING
            NOTIFYING
            :4
        "#]]
        .assert_eq(&person.types_exactly(&words).await.settled());
        words = vec!["__complete", "patch", "-n", &namespace, "failed", "--recover", ""];
        expect![[r#"
            IMPORTING-1-ID	failed
            :4
        "#]]
        .assert_eq(&person.types_exactly(&words).await.settled());
        words = vec!["__complete", "status", "-n", "relocation-te"];
        assert!(person.types_exactly(&words).await.out.contains(&namespace));

        // A shell asks by the variable, as its script does.
        let shell = person.clone().with_variable("KUBECTL_RELOCATION_COMPLETE", "fish");
        let began = Instant::now();
        let answer = shell.types_exactly(&["--", "kubectl-relocation", "status", "-n", &namespace, ""]).await;
        assert!(answer.out.contains("paused\tPAUSE at IMPORTING"), "{}", answer.out);
        eprintln!("a completion took {} ms", began.elapsed().as_millis());
        for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
            let script = person.types_exactly(&["completion", shell]).await.succeeded().out;
            assert!(script.contains("KUBECTL_RELOCATION_COMPLETE"), "{script}");
        }
        person.types_exactly(&["completion", "kubectl"]).await.shows(expect![[r##"
            #!/bin/sh
            exec kubectl-relocation __complete "$@"
        "##]]);
        person.types_exactly(&["completion", "cmd"]).await.shows(expect![[r#"
            error: invalid value 'cmd' for '<SHELL>'
              [possible values: kubectl, bash, zsh, fish, powershell, elvish]

            For more information, try '--help'.
            exit code 1
        "#]]);
    })
    .await;
}
