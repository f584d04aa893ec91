//! The operator's metrics, and the chart's alerts and dashboard, judged by promtool and by a Prometheus.
//!
//! Both are told by name (`PROMTOOL`, `PROMETHEUS`; by default those in PATH). What reads metrics needs a cluster, too:
//! an operator at work is what has them.

#![allow(
    clippy::disallowed_methods,
    clippy::duration_suboptimal_units,
    clippy::redundant_closure_for_method_calls,
    clippy::similar_names,
    clippy::struct_field_names,
    reason = "a test writes as people and kubelets do, and starts what it needs"
)]

mod support;

#[path = "alerts/dashboard.rs"]
mod dashboard;
#[path = "alerts/names.rs"]
mod names;
#[path = "alerts/prometheus.rs"]
mod prometheus;
#[path = "alerts/work.rs"]
mod work;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn promtool_program() -> Command {
    Command::new(std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into()))
}

fn promtool(arguments: &[&str], file: &Path) {
    let output = promtool_program().args(arguments).arg(file).output();
    let output = output.expect("promtool starts; set PROMTOOL to the program, as `make test-alerts` does");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
}

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The title of a panel and what it asks for, for every query of the dashboard.
fn queries_of_the_dashboard() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(checkout("charts/relocation-operator/files/dashboard.json")).expect("a file");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let word = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for query in panel["targets"].as_array().expect("queries") {
            queries.push((word(&panel["title"]), word(&query["expr"])));
        }
    }
    queries
}

#[test]
fn the_alerts_are_rules_of_prometheus() {
    promtool(
        &["check", "rules", "--lint=all", "--lint-fatal"],
        &checkout("charts/relocation-operator/files/alerts.yaml"),
    );
}

#[test]
fn each_alert_fires_for_what_it_is_for_and_not_when_all_is_well() {
    promtool(&["test", "rules"], &checkout("tests/alerts/alerts.yaml"));
    let text = std::fs::read_to_string(checkout("charts/relocation-operator/files/alerts.yaml")).expect("the alerts");
    let tests = std::fs::read_to_string(checkout("tests/alerts/alerts.yaml")).expect("their tests");
    for alert in text.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")) {
        let fires = tests.contains(&format!("- alertname: {alert}\n"));
        let rests = tests.contains(&format!("alertname: {alert}, eval_time: 4h, exp_alerts: []"));
        assert!(fires && rests, "{alert} is tested in both ways");
    }
}

#[test]
fn every_query_of_the_dashboard_is_one() {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, (_, query)) in queries_of_the_dashboard().iter().enumerate() {
        // A record per query, because promtool checks rules.
        let _ =
            writeln!(rules, "      - record: dashboard:query{number}\n        expr: {}", Value::from(query.as_str()));
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard.yaml");
    std::fs::write(&file, rules).expect("a file");
    promtool(&["check", "rules"], &file);
}
