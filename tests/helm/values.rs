//! What Helm accepts, and what it says about the rest.

use std::process::Command;

use serde_json::Value;

use crate::release::chart;

/// What the chart makes of these values.
fn template(arguments: &[&str]) -> Result<Vec<Value>, String> {
    let mut command = Command::new(std::env::var_os("HELM").unwrap_or_else(|| "helm".into()));
    command.args(["template", "relocation-operator", "--namespace", "here", "--kube-version", "1.33.0"]).arg(chart());
    let output = command.args(arguments).output().expect("Helm starts");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let documents = text.split("\n---\n").map(|document| serde_saphyr::from_str::<Value>(document).expect("YAML"));
    Ok(documents.filter(|document| !document.is_null()).collect())
}

fn kinds(documents: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = documents.iter().filter_map(|document| document["kind"].as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[test]
fn a_typing_mistake_in_a_value_is_refused_by_its_name() {
    for (value, words) in [
        ("replicaCont=3", "replicaCont"),
        ("leaderElection.enable=false", "enable"),
        ("replicaCount=two", "replicaCount"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("metrics.serviceMonitor.intervall=1m", "intervall"),
        ("scope=Cluser", "Cluster"),
        ("image.digest=latest", "digest"),
    ] {
        let said = template(&["--set", value]).expect_err(value);
        assert!(said.contains(words), "{value}: {said}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused_with_what_to_do() {
    let said = template(&["--set", "leaderElection.enabled=false"]).expect_err("two replicas without election");
    assert!(said.contains("set leaderElection.enabled=true, or replicaCount=1"), "{said}");
    let said = template(&["--set", "leaderElection.renewDeadlineSeconds=15"]).expect_err("a deadline that is too long");
    assert!(said.contains("leaseDurationSeconds (15) must be greater than renewDeadlineSeconds (15)"), "{said}");
    template(&["--set", "leaderElection.enabled=false,replicaCount=1"]).expect("one replica needs no election");
}

#[test]
fn the_scope_of_a_namespace_has_nothing_for_the_whole_cluster() {
    let documents = template(&["--set", "scope=Namespace"]).expect("the chart");
    let expected = [
        "Deployment",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "Relocation",
        "RelocationPlan",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    ];
    assert_eq!(kinds(&documents), expected);
    assert!(documents.iter().all(|document| document["metadata"]["namespace"] == "here"));
}

#[test]
fn everything_optional_can_be_had() {
    let all = "metrics.serviceMonitor.enabled=true,metrics.rules.enabled=true,metrics.dashboard.enabled=true,\
               metrics.rules.runbookBaseUrl=https://example.com/runbooks/,rbac.namespacedInstallers=true";
    let documents = template(&["--set", all]).expect("the chart");
    let kinds = kinds(&documents);
    for kind in ["ConfigMap", "PrometheusRule", "ServiceMonitor", "CustomResourceDefinition", "ClusterRole"] {
        assert!(kinds.contains(&kind), "{kind} is missing in {kinds:?}");
    }
    let rules = documents.iter().find(|document| document["kind"] == "PrometheusRule").expect("the alerts");
    for rule in rules["spec"]["groups"][0]["rules"].as_array().expect("alerts") {
        let link = rule["annotations"]["runbook_url"].as_str().expect("a link");
        assert_eq!(link, format!("https://example.com/runbooks/{}.md", rule["alert"].as_str().expect("a name")));
    }
}

#[test]
fn every_pod_meets_the_restricted_level() {
    for document in template(&[]).expect("the chart") {
        let pods = match document["kind"].as_str() {
            Some("Deployment") => vec![document["spec"]["template"]["spec"].clone()],
            Some("Pod") => vec![document["spec"].clone()],
            Some("RelocationPlan") => {
                let steps = document["spec"]["steps"].as_array().expect("steps");
                steps.iter().map(|step| step["tasks"][0]["template"]["spec"].clone()).collect()
            }
            _ => Vec::new(),
        };
        for pod in pods {
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            let container = &pod["containers"][0]["securityContext"];
            assert_eq!(container["allowPrivilegeEscalation"], false);
            assert_eq!(container["readOnlyRootFilesystem"], true);
            assert_eq!(container["capabilities"]["drop"][0], "ALL");
        }
    }
}

#[test]
fn the_network_policy_is_about_the_operator_and_about_no_task() {
    let documents = template(&[]).expect("the chart");
    let of_kind = |kind: &str| documents.iter().filter(|document| document["kind"] == kind).collect::<Vec<_>>();
    let [policy] = of_kind("NetworkPolicy")[..] else { panic!("one policy") };
    let selector = policy["spec"]["podSelector"]["matchLabels"].as_object().expect("labels");
    let selects = |labels: &Value| !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value);
    assert!(selects(&of_kind("Deployment")[0]["spec"]["template"]["metadata"]["labels"]), "{selector:?}");
    for pod in of_kind("Pod") {
        assert!(!selects(&pod["metadata"]["labels"]), "{pod}");
    }
    for plan in of_kind("RelocationPlan") {
        for step in plan["spec"]["steps"].as_array().expect("steps") {
            assert!(!selects(&step["tasks"][0]["template"]["metadata"]["labels"]), "{step}");
        }
    }
}

#[test]
fn the_kinds_are_kept_unless_that_is_switched_off() {
    let kept = |values: &str| {
        let documents = template(&["--set", values]).expect("the chart");
        let definitions = documents.into_iter().filter(|document| document["kind"] == "CustomResourceDefinition");
        definitions.map(|kind| kind["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep").collect::<Vec<_>>()
    };
    assert_eq!(kept("crds.keep=true"), [true; 3]);
    assert_eq!(kept("crds.keep=false"), [false; 3]);
    assert_eq!(kept("crds.install=false"), [false; 0]);
}
