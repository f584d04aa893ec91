//! Runs the operator: watches, reconcilers and pages, until it is told to stop.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::Config as ControllerConfig;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{Controller, WatchStreamExt};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::net::TcpListener;

use super::cache::{JobCache, Memories, trim_job, trim_relocation};
use super::cluster::Cluster;
use super::http::{self, Pages, Readiness};
use super::lease::{self, Candidacy, FreshStart, Leadership};
use super::metrics::Metrics;
use super::places::Places;
use super::plans::{GuardedPlan, GuardedRelocation, ReadPlans, judge_plan};
use super::reconcile::{Operator, error_policy, plan_error_policy, reconcile};
use super::settings::{Settings, SettingsError};

/// The label selector of the Jobs that belong to relocations.
const OUR_JOBS: &str = "app.kubernetes.io/managed-by=relocation-operator";

/// How many plans are judged at the same time.
const PLAN_CONCURRENCY: u16 = 4;

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The settings do not fit together.
    #[error("cannot start with these settings")]
    Settings(#[source] SettingsError),
    /// The pages cannot be served.
    #[error("cannot serve metrics and probes")]
    Serve(#[source] std::io::Error),
}

/// Runs until `shutdown` resolves; what is being done is finished first.
///
/// `client` must not retry by itself (`Config::default_retry` off): the operator has its own policy.
///
/// # Errors
///
/// [`RunError::Settings`] before anything is done, [`RunError::Serve`] when `listener` fails.
pub async fn run(
    settings: Settings,
    client: Client,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let candidacy = settings.candidacy().map_err(RunError::Settings)?;
    let leadership = Arc::new(if candidacy.is_some() { Leadership::unknown() } else { Leadership::unopposed() });
    let shutdown = shutdown.shared();
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::default());
    let memories = Arc::new(Memories::default());
    let jobs = Arc::new(JobCache::default());
    let (relocations, relocation_writer) = reflector::store::<GuardedRelocation>();
    let (plans, plan_writer) = reflector::store::<GuardedPlan>();
    // Relocations that must look again although nothing of their own has changed.
    let (nudge, nudged) = mpsc::unbounded();
    // Everything, when this operator comes to lead.
    let (all_relocations, of_all_relocations) = mpsc::unbounded();
    let (all_plans, of_all_plans) = mpsc::unbounded();
    let places = Arc::new(Places::new(nudge.clone()));
    let operator = Arc::new(Operator {
        cluster: Cluster::new(client.clone(), Arc::clone(&metrics), Arc::clone(&leadership)),
        relocations: relocations.clone(),
        plans: plans.clone(),
        read_plans: ReadPlans::default(),
        places: Arc::clone(&places),
        jobs: Arc::clone(&jobs),
        memories: Arc::clone(&memories),
        metrics: Arc::clone(&metrics),
    });

    let relocation_events = watcher(scoped(&client, &settings), watcher::Config::default())
        .modify(trim_relocation)
        .inspect_ok({
            let readiness = Arc::clone(&readiness);
            move |event| match event {
                watcher::Event::Delete(gone) => {
                    let uid = gone.uid().unwrap_or_default();
                    memories.forget(&uid);
                    places.forget(&uid);
                }
                watcher::Event::InitDone => readiness.relocations.store(true, Ordering::Relaxed),
                watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::Apply(_) => {}
            }
        })
        .reflect(relocation_writer)
        .inspect_ok({
            let nudge = nudge.clone();
            move |event| {
                if let watcher::Event::Apply(guarded) | watcher::Event::Delete(guarded) = event
                    && let Some(source) = source_of(guarded)
                {
                    // What is started over shows by whom. The receiver lives as long as the controller.
                    let _ = nudge.unbounded_send(source);
                }
            }
        })
        .applied_objects();
    let job_events = watcher(scoped(&client, &settings), watcher::Config::default().labels(OUR_JOBS))
        .modify(trim_job)
        .inspect_ok({
            let readiness = Arc::clone(&readiness);
            move |event| {
                for owner in jobs.apply(event) {
                    // The receiver lives as long as the controller.
                    let _ = nudge.unbounded_send(owner);
                }
                if matches!(event, watcher::Event::InitDone) {
                    readiness.jobs.store(true, Ordering::Relaxed);
                }
            }
        })
        .touched_objects();
    let plan_events = plan_events(scoped(&client, &settings), Arc::clone(&readiness), plan_writer);

    let users_of_plan = {
        let relocations = relocations.clone();
        move |plan: GuardedPlan| waiting_for(&relocations, &plan)
    };
    let reconciling = Controller::for_stream(relocation_events, relocations.clone())
        .owns_stream(job_events)
        .watches_stream(plan_events, users_of_plan)
        .reconcile_on(nudged)
        .reconcile_all_on(of_all_relocations)
        .with_config(ControllerConfig::default().concurrency(settings.concurrency))
        .trigger_backoff(Pause)
        .graceful_shutdown_on(shutdown.clone())
        .run(reconcile, error_policy, Arc::clone(&operator))
        .for_each(|_| async {});
    let judging = Controller::new(scoped::<GuardedPlan>(&client, &settings), watcher::Config::default())
        .reconcile_all_on(of_all_plans)
        .with_config(ControllerConfig::default().concurrency(PLAN_CONCURRENCY))
        .trigger_backoff(Pause)
        .graceful_shutdown_on(shutdown.clone())
        .run(judge_plan, plan_error_policy, Arc::clone(&operator))
        .for_each(|_| async {});
    let (finished, all_is_done) = oneshot::channel();
    let working = async {
        tokio::join!(reconciling, judging);
        // Nobody may be waiting for it: without an election nobody does.
        let _ = finished.send(());
    };
    let wake = vec![all_relocations, all_plans];
    let electing = elect(candidacy, &operator, &leadership, wake, all_is_done.map(drop));
    let pages = Pages { metrics, readiness, leadership: Arc::clone(&leadership), relocations };

    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = settings.namespace, "started");
    let (served, (), ()) = tokio::join!(http::serve(listener, pages, shutdown), working, electing);
    tracing::info!("stopped");
    served.map_err(RunError::Serve)
}

/// What happens to plans, with the store kept up to date.
fn plan_events(
    plans: Api<GuardedPlan>,
    readiness: Arc<Readiness>,
    writer: Writer<GuardedPlan>,
) -> impl Stream<Item = watcher::Result<GuardedPlan>> + Send {
    watcher(plans, watcher::Config::default())
        .modify(|guarded: &mut GuardedPlan| guarded.managed_fields_mut().clear())
        .inspect_ok(move |event| {
            if matches!(event, watcher::Event::InitDone) {
                readiness.plans.store(true, Ordering::Relaxed);
            }
        })
        .reflect(writer)
        .touched_objects()
}

/// Takes part in the election, if there is one, until what is being done is finished; then the lease is given back.
async fn elect(
    candidacy: Option<Candidacy>,
    operator: &Operator,
    leadership: &Leadership,
    wake: Vec<mpsc::UnboundedSender<()>>,
    done: impl Future<Output = ()>,
) {
    let Some(candidacy) = candidacy else { return };
    let forget = || {
        operator.memories.forget_all();
        operator.places.forget_all();
    };
    lease::run(&candidacy, &operator.cluster, leadership, FreshStart { forget, wake }, done).await;
}

/// How long the watches of a controller pause after an error of one of them.
///
/// They share one back-off. The default doubles with every error of each, so that an outage of a few seconds would leave
/// the operator deaf for minutes; two requests a second are no burden for an API server that is coming up.
struct Pause;

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(500))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {}
}

fn scoped<K>(client: &Client, settings: &Settings) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match &settings.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The relocation that another one starts over.
fn source_of(guarded: &GuardedRelocation) -> Option<ObjectRef<GuardedRelocation>> {
    let relocation = guarded.0.as_ref().ok()?;
    let source = &relocation.spec.retry_of.as_ref()?.name;
    Some(ObjectRef::new(source).within(&relocation.namespace()?))
}

/// The relocations that may wait for a plan: those that name it and have not begun, wait for a place, or are to be
/// recovered by it.
fn waiting_for(relocations: &Store<GuardedRelocation>, plan: &GuardedPlan) -> Vec<ObjectRef<GuardedRelocation>> {
    let (name, namespace) = (plan.name_any(), plan.namespace());
    relocations
        .state_filter(|guarded| {
            guarded.0.as_ref().is_ok_and(|relocation| {
                relocation.spec.plan_ref.name == name
                    && relocation.namespace() == namespace
                    && relocation.status.as_ref().is_none_or(|status| {
                        let recovers = status.failure.is_some() && relocation.spec.recover.is_some();
                        status.plan.is_none() || status.waiting_since.is_some() || recovers
                    })
            })
        })
        .iter()
        .map(|guarded| ObjectRef::from_obj(guarded.as_ref()))
        .collect()
}
