//! The names, kinds and explanations of the metrics, judged by promtool's lint.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use crate::promtool_program;
use crate::support::{a_plan, run};
use crate::work::a_bit_of_everything;

/// The metrics that people build alerts and dashboards on.
const NAMES: [&str; 12] = [
    "relocation_api_requests_total",
    "relocation_build_info",
    "relocation_count",
    "relocation_duration_seconds",
    "relocation_finished_total",
    "relocation_leader",
    "relocation_paused_oldest_seconds",
    "relocation_reconcile_duration_seconds",
    "relocation_reconcile_total",
    "relocation_step_duration_seconds",
    "relocation_stuck_pods",
    "relocation_task_attempts_total",
];

/// `relocation_count` is a gauge, and promtool would keep this ending for histograms. The name is part of what was
/// promised, and no histogram is named `relocation`.
const OBJECTION: &str = "relocation_count non-histogram and non-summary metrics should not have \"_count\" suffix\n";

#[tokio::test]
async fn promtool_has_one_objection_to_the_metrics_and_it_is_known() {
    run(async |scenario| {
        scenario.open_gate().await;
        scenario.start_operator().await;
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        a_bit_of_everything(scenario, 1).await;
        let answer = scenario.operators[0].page("/metrics").await.expect("the operator's metrics");
        let (_, metrics) = answer.split_once("\r\n\r\n").expect("a body");
        let text = in_the_older_format(metrics);
        assert_eq!(names_of_samples(&text), BTreeSet::from(NAMES.map(str::to_owned)), "{text}");
        let (is_success, said) = lint(&text);
        assert_eq!(said, OBJECTION, "{text}");
        assert!(!is_success, "promtool fails for its objections");
    })
    .await;
}

/// What promtool says of a text of metrics, and whether it is content.
fn lint(text: &str) -> (bool, String) {
    let mut child = promtool_program()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts; set PROMTOOL to the program, as `make test-alerts` does");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    (output.status.success(), String::from_utf8(output.stderr).expect("text"))
}

/// The format that promtool reads. The operator speaks `OpenMetrics`, where a counter is declared without the `_total`
/// that its samples have; in the older format both have it.
fn in_the_older_format(metrics: &str) -> String {
    let counters: BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let older = |line: &str| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", what, name, rest] if counters.contains(name) => format!("# {what} {name}_total {rest}\n"),
            _ => format!("{line}\n"),
        }
    };
    let lines: Vec<String> = metrics.lines().filter(|line| *line != "# EOF").map(older).collect();
    lines.concat()
}

/// The names of all metrics that have a sample. The three series of a histogram count as the one they are declared as.
fn names_of_samples(text: &str) -> BTreeSet<String> {
    let declared: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram")).collect();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(|name| {
            let (family, _) = name.rsplit_once('_').unwrap_or((name, ""));
            if declared.contains(family) { family } else { name }.to_owned()
        })
        .collect()
}
