//! Operators that stand for election, and who leads.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::runtime::wait::await_condition;
use tokio::time::{Instant, timeout};

use super::operator::Operator;
use super::scenario::Scenario;

/// The name of the election's lease.
pub const LEASE: &str = "relocation-operator";

/// Seconds of the lease's duration and of the renew deadline: short, because the tests wait for them.
pub const SHORT: (u64, u64) = (6, 4);

/// The duration of the lease, the follower's period of looking, and what a busy machine adds.
pub const TAKEOVER: Duration = Duration::from_secs(SHORT.0 + 1 + 3);

const DEADLINE: Duration = Duration::from_mins(1);

/// The environment of an operator of this name that may lead.
pub fn candidate(scenario: &Scenario, name: &str) -> Vec<(&'static str, String)> {
    candidate_with(scenario, name, SHORT)
}

/// As [`candidate`], with seconds of the lease's duration and of the renew deadline.
pub fn candidate_with(scenario: &Scenario, name: &str, times: (u64, u64)) -> Vec<(&'static str, String)> {
    vec![
        ("LEADER_ELECTION", "true".to_owned()),
        ("POD_NAME", name.to_owned()),
        ("LEASE_NAMESPACE", scenario.namespace.clone()),
        ("LEASE_DURATION_SECONDS", times.0.to_string()),
        ("LEASE_RENEW_DEADLINE_SECONDS", times.1.to_string()),
        ("LEASE_RETRY_PERIOD_SECONDS", "1".to_owned()),
    ]
}

/// Waits until the lease bears the name of this operator; tells how long that took.
pub async fn wait_for_leader(scenario: &Scenario, name: &str) -> Duration {
    let leases: Api<Lease> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let prefix = format!("{name}_");
    let start = Instant::now();
    let held = await_condition(leases, LEASE, move |lease: Option<&Lease>| {
        let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_ref());
        holder.is_some_and(|holder| holder.starts_with(&prefix))
    });
    timeout(DEADLINE, held).await.unwrap_or_else(|_| panic!("{name} leads in time")).expect("a watch of the lease");
    start.elapsed()
}

/// Whether an operator may write, by its own word.
pub async fn leads(operator: &Operator) -> bool {
    let metrics = operator.page("/metrics").await.expect("the operator's metrics");
    metrics.lines().any(|line| line == "relocation_leader 1")
}
