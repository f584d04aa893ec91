//! Metrics in the Prometheus text format. Labels are bounded: no names of objects.

use std::sync::atomic::{AtomicI64, AtomicU64};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::{
    ConditionType, Relocation, RelocationStatus, StatusValue, Step, TaskStatus, WorkState, condition_status,
    find_condition,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CountLabels {
    status: &'static str,
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndingLabels {
    result: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkLabels {
    step: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// Histograms of work that takes seconds to days.
type LongDurations<L> = Family<L, Histogram, fn() -> Histogram>;

/// From a second to three days.
fn long_durations() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 10))
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    /// Nothing was to be done.
    Settled,
    /// The status was written or something was done.
    Progressed,
    /// Another writer was faster (409).
    Conflict,
    /// The API server refused our own status write (422), which is taken like a conflict.
    Refused,
    /// A call failed.
    Failed,
}

/// All metrics of the operator.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    passes: Family<OutcomeLabels, Counter<u64, AtomicU64>>,
    durations: Histogram,
    relocations: Family<CountLabels, Gauge<i64, AtomicI64>>,
    endings: Family<EndingLabels, Counter<u64, AtomicU64>>,
    spans: LongDurations<KindLabels>,
    steps: LongDurations<WorkLabels>,
    attempts: Family<WorkLabels, Counter<u64, AtomicU64>>,
    oldest_pause: Gauge<i64, AtomicI64>,
    stuck_pods: Gauge<i64, AtomicI64>,
    leader: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let passes = Family::default();
        let relocations = Family::default();
        let durations = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let endings = Family::default();
        let spans = LongDurations::new_with_constructor(long_durations);
        let steps = LongDurations::new_with_constructor(long_durations);
        let attempts = Family::default();
        let (oldest_pause, stuck_pods, leader) = (Gauge::default(), Gauge::default(), Gauge::default());
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register(
            "relocation_api_requests",
            "Calls to the API server, watches excepted, by verb, resource and HTTP code (0: no answer)",
            Family::clone(&requests),
        );
        registry.register("relocation_reconcile", "Passes by outcome", Family::clone(&passes));
        registry.register(
            "relocation_reconcile_duration_seconds",
            "How long the reconciliation of one relocation took",
            durations.clone(),
        );
        registry.register("relocation_count", "Relocations by status and step", Family::clone(&relocations));
        registry.register(
            "relocation_finished",
            "Endings by result and reason; a failure that is recovered ends again",
            Family::clone(&endings),
        );
        registry.register(
            "relocation_duration_seconds",
            "How long relocations were active until an ending, stood in a pause, and were pending before their first launch",
            LongDurations::clone(&spans),
        );
        registry.register(
            "relocation_step_duration_seconds",
            "How long steps took, by result",
            LongDurations::clone(&steps),
        );
        registry.register("relocation_task_attempts", "Attempts of tasks that ended", Family::clone(&attempts));
        registry.register(
            "relocation_paused_oldest_seconds",
            "How long the relocation that was paused first stands now; 0 when none does",
            oldest_pause.clone(),
        );
        registry.register(
            "relocation_stuck_pods",
            "Relocations that wait for a pod which does not end",
            stuck_pods.clone(),
        );
        registry.register("relocation_leader", "1 while this operator may write, else 0", leader.clone());
        registry.register("relocation_build_info", "The version that runs", build);
        Self {
            registry,
            requests,
            passes,
            durations,
            relocations,
            endings,
            spans,
            steps,
            attempts,
            oldest_pause,
            stuck_pods,
            leader,
        }
    }

    /// Counts what one stored status write has brought about. The write is guarded, so nobody else counts it too.
    pub fn observe_change(&self, before: &Relocation, after: &Relocation) {
        let status = RelocationStatus::default();
        let old = before.status.as_ref().unwrap_or(&status);
        let Some(new) = after.status.as_ref() else { return };
        if !old.has_ended() && new.has_ended() {
            let result = new.status.map_or("", StatusValue::as_str);
            let reason = new.failure.as_ref().map_or("Succeeded", |failure| failure.reason.as_str());
            self.endings.get_or_create(&EndingLabels { result, reason }).inc();
            self.observe_span("active", new.active_seconds.unwrap_or(0));
        }
        if old.started_at.is_none() {
            self.observe_between("pending", after.creation_timestamp().as_ref(), new.started_at.as_ref());
        }
        if let Some(pause) = &old.pause
            && new.pause.is_none()
        {
            let end = new.active_since.as_ref().or(new.finished_at.as_ref());
            self.observe_between("paused", Some(&pause.since), end);
        }
        for step in &new.steps {
            let known = old.steps.iter().find(|known| known.name == step.name);
            let name = step.name.as_str();
            if let Some(result) = result_of(step.state)
                && known.is_none_or(|known| known.state != step.state)
                && let Some(seconds) = seconds_between(step.started_at.as_ref(), step.finished_at.as_ref())
            {
                #[expect(clippy::cast_precision_loss, reason = "no run takes 2^53 seconds")]
                self.steps.get_or_create(&WorkLabels { step: name, result }).observe(seconds as f64);
            }
            for task in &step.tasks {
                let before = known.and_then(|known| known.tasks.iter().find(|known| known.name == task.name));
                for (result, count) in ended_attempts(before, task) {
                    self.attempts.get_or_create(&WorkLabels { step: name, result }).inc_by(count);
                }
            }
        }
    }

    fn observe_between(&self, kind: &'static str, start: Option<&Time>, end: Option<&Time>) {
        if let Some(seconds) = seconds_between(start, end) {
            self.observe_span(kind, seconds);
        }
    }

    fn observe_span(&self, kind: &'static str, seconds: i64) {
        #[expect(clippy::cast_precision_loss, reason = "no run takes 2^53 seconds")]
        self.spans.get_or_create(&KindLabels { kind }).observe(seconds.max(0) as f64);
    }

    pub fn count_request(&self, verb: &'static str, resource: &'static str, code: u16) {
        self.requests.get_or_create(&RequestLabels { verb, resource, code }).inc();
    }

    pub fn count_pass(&self, outcome: Outcome) {
        self.passes.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub fn observe_duration(&self, seconds: f64) {
        self.durations.observe(seconds);
    }

    /// The text of all metrics, with the relocations counted as they are at `now`.
    pub fn render<'r>(&self, relocations: impl Iterator<Item = &'r Relocation>, leads: bool, now: Timestamp) -> String {
        self.relocations.clear();
        let (mut oldest_pause, mut stuck) = (0, 0);
        for relocation in relocations {
            let status = relocation.status.as_ref();
            let paused = status.and_then(|status| status.pause.as_ref());
            oldest_pause = oldest_pause.max(paused.map_or(0, |pause| now.duration_since(pause.since.0).as_secs()));
            stuck += i64::from(status.is_some_and(waits_for_a_stuck_pod));
            let labels = CountLabels {
                status: status.and_then(|status| status.status).map_or("", |value| value.as_str()),
                step: status.and_then(|status| status.step).map_or("", Step::as_str),
            };
            self.relocations.get_or_create(&labels).inc();
        }
        self.oldest_pause.set(oldest_pause);
        self.stuck_pods.set(stuck);
        self.leader.set(i64::from(leads));
        let mut text = String::new();
        encode(&mut text, &self.registry).map_or_else(|error| format!("# {error}\n"), |()| text)
    }
}

fn waits_for_a_stuck_pod(status: &RelocationStatus) -> bool {
    find_condition(&status.conditions, ConditionType::Reconciling)
        .is_some_and(|condition| condition.status == condition_status::TRUE && condition.reason == "PodStuck")
}

fn seconds_between(start: Option<&Time>, end: Option<&Time>) -> Option<i64> {
    Some(end?.0.duration_since(start?.0).as_secs())
}

fn result_of(state: WorkState) -> Option<&'static str> {
    match state {
        WorkState::Succeeded => Some("succeeded"),
        WorkState::Failed => Some("failed"),
        WorkState::Pending | WorkState::Running | WorkState::Skipped => None,
    }
}

/// The attempts of a task that ended between two statuses: the last one with the task's result, those before it failed.
fn ended_attempts(before: Option<&TaskStatus>, after: &TaskStatus) -> impl Iterator<Item = (&'static str, u64)> {
    let started = before.map_or(0, |task| task.attempts);
    // The last attempt that was known to run, unless its end was counted when the task ended.
    let running = i32::from(before.is_some_and(|task| task.state == WorkState::Running && task.attempts > 0));
    let ended = result_of(after.state).filter(|_| before.is_none_or(|task| task.state != after.state));
    let known = after.attempts - started + running;
    let failed = if ended.is_some() || after.state == WorkState::Running { known - 1 } else { 0 };
    let failed = ("failed", u64::try_from(failed).unwrap_or(0));
    let last = ended.map(|result| (result, 1));
    [Some(failed), last].into_iter().flatten().filter(|(_, count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn a_relocation(name: &str, status: &Value) -> Relocation {
        serde_json::from_value(json!({
            "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation",
            "metadata": { "name": name, "namespace": name, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "planRef": { "name": name }, "owner": name },
            "status": status
        }))
        .expect("a relocation")
    }

    fn work(state: &str, attempts: i32) -> Value {
        let end = if state == "Running" { Value::Null } else { json!("2026-01-01T00:00:40Z") };
        json!([{
            "name": "IMPORTING", "state": state, "startedAt": "2026-01-01T00:00:10Z", "finishedAt": end,
            "tasks": [{ "name": "run", "state": state, "attempts": attempts }]
        }])
    }

    fn text(metrics: &Metrics) -> String {
        metrics.render(std::iter::empty(), true, "2026-01-01T01:00:00Z".parse().expect("a time"))
    }

    fn change(metrics: &Metrics, before: &Value, after: &Value) {
        metrics.observe_change(&a_relocation("acme", before), &a_relocation("acme", after));
    }

    fn assert_has(metrics: &Metrics, line: &str) {
        let text = text(metrics);
        assert!(text.lines().any(|known| known == line), "no line {line} in\n{text}");
    }

    #[test]
    fn an_attempt_is_counted_once_when_it_ends() {
        let metrics = Metrics::new();
        let running = |attempts| json!({ "status": "IN_PROGRESS", "steps": work("Running", attempts) });
        let failed = json!({ "status": "FAILURE", "steps": work("Failed", 2) });
        change(&metrics, &json!({ "status": "IN_PROGRESS" }), &running(1));
        change(&metrics, &running(1), &running(1));
        change(&metrics, &running(1), &running(2));
        change(&metrics, &running(2), &failed);
        change(&metrics, &failed, &failed);
        change(&metrics, &failed, &running(3));
        change(&metrics, &running(3), &json!({ "status": "IN_PROGRESS", "steps": work("Succeeded", 3) }));
        assert_has(&metrics, r#"relocation_task_attempts_total{step="IMPORTING",result="failed"} 2"#);
        assert_has(&metrics, r#"relocation_task_attempts_total{step="IMPORTING",result="succeeded"} 1"#);
        assert_has(&metrics, r#"relocation_step_duration_seconds_sum{step="IMPORTING",result="failed"} 30.0"#);
        assert_has(&metrics, r#"relocation_step_duration_seconds_count{step="IMPORTING",result="succeeded"} 1"#);
    }

    #[test]
    fn an_ending_is_counted_with_its_reason_and_its_active_time() {
        let metrics = Metrics::new();
        let active = json!({ "status": "IN_PROGRESS" });
        let failure = json!({ "status": "FAILURE", "activeSeconds": 20, "failure": {
            "id": "IMPORTING-1-0badcafe", "step": "IMPORTING", "reason": "Aborted", "message": "no",
            "at": "2026-01-01T00:00:00Z"
        }});
        change(&metrics, &active, &failure);
        change(&metrics, &failure, &failure);
        change(&metrics, &active, &json!({ "status": "SUCCESS", "activeSeconds": 22 }));
        assert_has(&metrics, r#"relocation_finished_total{result="FAILURE",reason="Aborted"} 1"#);
        assert_has(&metrics, r#"relocation_finished_total{result="SUCCESS",reason="Succeeded"} 1"#);
        assert_has(&metrics, r#"relocation_duration_seconds_sum{kind="active"} 42.0"#);
    }

    #[test]
    fn waiting_and_pauses_are_measured_when_they_end() {
        let metrics = Metrics::new();
        let paused = json!({ "status": "PAUSE", "startedAt": "2026-01-01T00:00:05Z", "pause": {
            "step": "IMPORTING", "since": "2026-01-01T00:10:00Z", "reason": "Fence", "message": "held"
        }});
        change(&metrics, &json!({ "status": "PENDING" }), &paused);
        let on = json!({
            "status": "IN_PROGRESS", "startedAt": "2026-01-01T00:00:05Z", "activeSince": "2026-01-01T00:11:00Z"
        });
        change(&metrics, &paused, &on);
        assert_has(&metrics, r#"relocation_duration_seconds_sum{kind="pending"} 5.0"#);
        assert_has(&metrics, r#"relocation_duration_seconds_sum{kind="paused"} 60.0"#);
        let now = "2026-01-01T00:30:00Z".parse().expect("a time");
        let shown = metrics.render(std::iter::once(&a_relocation("acme", &paused)), false, now);
        assert!(shown.contains("\nrelocation_paused_oldest_seconds 1200\n"), "{shown}");
        assert!(shown.contains("\nrelocation_leader 0\n"), "{shown}");
    }

    #[test]
    fn a_thousand_relocations_make_no_more_series_than_ten() {
        let series = |count: usize| {
            let metrics = Metrics::new();
            let relocations: Vec<Relocation> = (0..count)
                .map(|number| {
                    let name = format!("acme-{number}");
                    let value = StatusValue::ALL[number % StatusValue::ALL.len()].as_str();
                    let before = a_relocation(&name, &json!({ "status": "IN_PROGRESS", "steps": work("Running", 1) }));
                    let after = a_relocation(&name, &json!({ "status": value, "steps": work("Succeeded", 1) }));
                    metrics.observe_change(&before, &after);
                    after
                })
                .collect();
            let now = "2026-01-01T00:30:00Z".parse().expect("a time");
            let text = metrics.render(relocations.iter(), true, now);
            assert!(!text.contains("acme"), "no name of an object is a label");
            text.lines().filter(|line| !line.starts_with('#')).count()
        };
        assert_eq!(series(1000), series(10));
    }
}
