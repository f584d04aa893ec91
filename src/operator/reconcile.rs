//! One reconciliation: passes of observe, decide, record and act until nothing is left to be done now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use tracing::Instrument;

use super::cache::{JobCache, Memories, trim_managed_fields};
use super::cluster::Cluster;
use super::error::ReconcileError;
use super::metrics::{Metrics, Outcome};
use super::places::Places;
use super::plans::{GuardedPlan, GuardedRelocation, ReadPlans};
use super::record::{Recorded, record};
use super::{act, artifacts, clock, events, observe, unreadable};
use crate::api::{Relocation, RelocationStatus, short_hash};
use crate::lifecycle::{Decision, JobSeen, Snapshot, decide};

/// How many passes one reconciliation makes at most. A start takes four (lock, workspace, plan, launch); more than this
/// would be a loop, which must not keep others waiting.
const PASS_LIMIT: usize = 12;

/// The shortest pause before a reconciliation that is due at once.
const SHORTEST_WAKE: Duration = Duration::from_millis(100);

/// How old a decision may be when it is acted on. A Job that is recorded is given up when it is not there after ten
/// seconds; a sender that was held up so long must look again instead of creating it.
const DECISION_KEEPS: Duration = Duration::from_secs(5);

type Result<T> = std::result::Result<T, ReconcileError>;

/// What every reconciliation shares.
pub(super) struct Operator {
    pub cluster: Cluster,
    pub relocations: Store<GuardedRelocation>,
    pub plans: Store<GuardedPlan>,
    pub read_plans: ReadPlans,
    pub places: Arc<Places>,
    pub jobs: Arc<JobCache>,
    pub memories: Arc<Memories>,
    pub metrics: Arc<Metrics>,
}

/// What one pass came to.
enum Pass {
    /// There is more to do at once, from this object on.
    Again(Box<Relocation>),
    /// Somebody else wrote: look again, live.
    Lost,
    /// Nothing more is to be done before this time, or before something changes.
    Settled(Option<Timestamp>),
}

/// Reconciles one relocation, if this operator leads; when it comes to lead, everything is looked at.
pub(super) async fn reconcile(guarded: Arc<GuardedRelocation>, operator: Arc<Operator>) -> Result<Action> {
    if !operator.cluster.leads() {
        return Ok(Action::await_change());
    }
    let relocation = match &guarded.0 {
        Ok(relocation) => relocation,
        Err(invalid) => {
            unreadable::tell(&operator.cluster, &invalid.metadata, &invalid.error).await?;
            return Ok(Action::await_change());
        }
    };
    let status = relocation.status.clone().unwrap_or_default();
    let span = tracing::info_span!(
        "relocation",
        namespace = relocation.namespace(),
        // Not `name`: in JSON that is the span's own.
        relocation = relocation.name_any(),
        uuid = status.uuid.or_else(|| relocation.uid()),
        step = status.step.map(tracing::field::display),
        task = status.task,
    );
    let started = Instant::now();
    let result = passes(&operator, relocation).instrument(span).await;
    operator.metrics.observe_duration(started.elapsed().as_secs_f64());
    if result.is_err() {
        operator.metrics.count_pass(Outcome::Failed);
    }
    result
}

async fn passes(operator: &Operator, cached: &Relocation) -> Result<Action> {
    let uid = cached.uid().unwrap_or_default();
    let mut relocation = newest(operator, &uid, cached);
    if let Some(later) = later_look(operator, &uid, &relocation) {
        return Ok(Action::requeue(later));
    }
    operator.places.observe(&relocation, &operator.relocations);
    for _ in 0..PASS_LIMIT {
        match pass(operator, &uid, &relocation).await? {
            Pass::Again(next) => relocation = next,
            Pass::Lost => {
                let Some(live) = read_live(operator, &relocation).await? else {
                    operator.memories.forget(&uid);
                    return Ok(Action::await_change());
                };
                *relocation = live;
            }
            Pass::Settled(None) if has_ended(&relocation) => {
                // Most relocations have ended; what is known of them is read again should they go on.
                operator.memories.forget(&uid);
                operator.memories.change(&uid, |memory| memory.seen = true);
                return Ok(Action::await_change());
            }
            Pass::Settled(wake) => return Ok(wake.map_or_else(Action::await_change, requeue_at)),
        }
    }
    Err(ReconcileError::Overtaken)
}

/// How long ago a relocation has ended whose first look after a start can wait.
const ENDED_LONG_AGO: SignedDuration = SignedDuration::from_mins(1);

/// Over how many seconds the first looks at what has ended are spread.
const FIRST_LOOKS_SECONDS: u32 = 20;

/// After a start, what ended long ago and was answered lets the living go first: with thousands of them the reads of
/// their first looks would hold up the rest. Whoever waits for the lock of one has it looked at before.
fn later_look(operator: &Operator, uid: &str, relocation: &Relocation) -> Option<Duration> {
    let status = relocation.status.as_ref()?;
    let answered = status.observed_generation == relocation.metadata.generation;
    let ended_at = status.finished_at.as_ref().filter(|_| status.has_ended() && answered)?;
    if operator.memories.get(uid).seen || clock::now().duration_since(ended_at.0) < ENDED_LONG_AGO {
        return None;
    }
    operator.memories.change(uid, |memory| memory.seen = true);
    let spread = u32::from_str_radix(&short_hash(&[uid]), 16).unwrap_or(0) % (FIRST_LOOKS_SECONDS * 1000);
    Some(Duration::from_millis(u64::from(spread)))
}

fn has_ended(relocation: &Relocation) -> bool {
    relocation.status.as_ref().is_some_and(RelocationStatus::has_ended)
}

/// The cached object, or our own last write while the cache is still behind it.
fn newest(operator: &Operator, uid: &str, cached: &Relocation) -> Box<Relocation> {
    let version = |relocation: &Relocation| relocation.resource_version()?.parse::<u128>().ok();
    match operator.memories.get(uid).latest {
        Some(latest) if version(&latest) > version(cached) => Box::new((*latest).clone()),
        Some(_) => {
            operator.memories.change(uid, |memory| memory.latest = None);
            Box::new(cached.clone())
        }
        None => Box::new(cached.clone()),
    }
}

async fn read_live(operator: &Operator, relocation: &Relocation) -> Result<Option<Relocation>> {
    let namespace = relocation.namespace().unwrap_or_default();
    let live = operator.cluster.get::<Relocation>(&namespace, &relocation.name_any()).await?;
    Ok(live.filter(|live| live.uid() == relocation.uid()))
}

/// Observe, decide, record, act: once.
async fn pass(operator: &Operator, uid: &str, relocation: &Relocation) -> Result<Pass> {
    let memory = operator.memories.get(uid);
    let mut snapshot = observe::observe(operator, relocation, &memory).await?;
    let decision = judge(operator, &mut snapshot).await?;
    let decided_at = Instant::now();
    let folding = matches!(snapshot.job, JobSeen::Succeeded | JobSeen::Failed(_));
    if let Some(pods) = snapshot.pods.as_ref().filter(|_| folding) {
        artifacts::store(operator, relocation, pods).await?;
    }
    let recorded = match record(&operator.cluster, relocation, &decision.status).await? {
        Recorded::Stored(stored) => {
            let mut stored = *stored;
            trim_managed_fields(stored.managed_fields_mut());
            let stored = Arc::new(stored);
            operator.metrics.observe_change(relocation, &stored);
            operator.memories.change(uid, |memory| memory.latest = Some(Arc::clone(&stored)));
            tracing::info!(reason = decision.because.reason(), "{}", decision.because.message());
            Some(stored)
        }
        Recorded::Unchanged => None,
        Recorded::Lost(outcome) => {
            operator.metrics.count_pass(outcome);
            return Ok(Pass::Lost);
        }
    };
    match (recorded, &decision.effect) {
        (None, None) => {
            operator.metrics.count_pass(Outcome::Settled);
            Ok(Pass::Settled(decision.wake))
        }
        (Some(stored), None) => {
            operator.metrics.count_pass(Outcome::Progressed);
            events::publish(&operator.cluster, &stored, &decision.notices).await;
            Ok(settled_or_again(&decision, &stored))
        }
        (Some(_), Some(_)) if decided_at.elapsed() > DECISION_KEEPS => Ok(Pass::Lost),
        (Some(stored), Some(effect)) => {
            act::act(operator, &stored, effect).await?;
            operator.metrics.count_pass(Outcome::Progressed);
            events::publish(&operator.cluster, &stored, &decision.notices).await;
            Ok(settled_or_again(&decision, &stored))
        }
        (None, Some(effect)) => {
            // No write has proven that the object is as it was observed; a live read must, before anything is done.
            let Some(live) = read_live(operator, relocation).await? else { return Ok(Pass::Lost) };
            if live.resource_version() != relocation.resource_version() {
                return Ok(Pass::Again(Box::new(live)));
            }
            if decided_at.elapsed() > DECISION_KEEPS {
                return Ok(Pass::Lost);
            }
            act::act(operator, &live, effect).await?;
            operator.metrics.count_pass(Outcome::Progressed);
            events::publish(&operator.cluster, &live, &decision.notices).await;
            Ok(settled_or_again(&decision, &live))
        }
    }
}

/// Due at once means: go on in this reconciliation, without a way through the queue.
fn settled_or_again(decision: &Decision, relocation: &Relocation) -> Pass {
    let due = decision.wake.is_some_and(|wake| wake <= clock::now());
    if due { Pass::Again(Box::new(relocation.clone())) } else { Pass::Settled(decision.wake) }
}

/// Asks the judgement until it has seen enough. Each question is answered once, so this ends.
async fn judge(operator: &Operator, snapshot: &mut Snapshot<'_>) -> Result<Decision> {
    loop {
        match decide(snapshot, clock::now()) {
            Ok(decision) => return Ok(decision),
            Err(facet) => observe::look(operator, facet, snapshot).await?,
        }
    }
}

fn requeue_at(wake: Timestamp) -> Action {
    let seconds = wake.duration_since(clock::now()).as_secs_f64();
    Action::requeue(Duration::try_from_secs_f64(seconds).unwrap_or_default().max(SHORTEST_WAKE))
}

/// What follows from a failed reconciliation.
#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
pub(super) fn error_policy(guarded: Arc<GuardedRelocation>, error: &ReconcileError, _: Arc<Operator>) -> Action {
    let name = guarded.name_any();
    if let ReconcileError::NotLeading { .. } = error {
        tracing::info!(name, "a reconciliation is left to whoever leads");
    } else {
        tracing::warn!(name, error = error as &dyn std::error::Error, "a reconciliation failed and is tried again");
    }
    error.disposition()
}

/// What follows from a plan that could not be judged.
#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
pub(super) fn plan_error_policy(guarded: Arc<GuardedPlan>, error: &ReconcileError, _: Arc<Operator>) -> Action {
    let name = guarded.name_any();
    if let ReconcileError::NotLeading { .. } = error {
        tracing::info!(name, "a plan is left to whoever leads");
    } else {
        tracing::warn!(name, error = error as &dyn std::error::Error, "a plan could not be judged and is tried again");
    }
    error.disposition()
}
