//! The chart's alerts and the queries of its dashboard, judged by promtool (`PROMTOOL`, default `promtool`).

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn promtool(arguments: &[&str], file: &Path) {
    let program = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    let output = Command::new(program).args(arguments).arg(file).output();
    let output = output.expect("promtool starts; set PROMTOOL to the program, as `make test-alerts` does");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
}

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
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
    let text = std::fs::read_to_string(checkout("charts/relocation-operator/files/dashboard.json")).expect("a file");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("queries"));
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, query) in queries.enumerate() {
        // A record per query, because promtool checks rules.
        let _ = writeln!(rules, "      - record: dashboard:query{number}\n        expr: {}", query["expr"]);
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard.yaml");
    std::fs::write(&file, rules).expect("a file");
    promtool(&["check", "rules"], &file);
}
