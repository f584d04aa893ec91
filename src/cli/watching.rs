//! Following one relocation: watches of it and of what belongs to it, and the log of the task that runs.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::ready;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, select_all};
use futures::{AsyncBufReadExt, FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::{Api, LogParams};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt, watcher::Event as Happened};

use super::cluster::{Cluster, Kind};
use super::error::Error;
use super::observed::{Observed, Part, Unread, about, log_parameters, plan_of, selector, unread_progress};
use super::progress::Progress;
use crate::api::Relocation;

/// How often durations are drawn anew.
const TICK: Duration = Duration::from_secs(1);

/// How many changes are taken in before the picture is drawn again, however fast they come.
const AT_ONCE: usize = 1000;

/// How many lines of a log are read before it is followed, so that there is a rate from the start.
const LINES_BEFORE: i64 = 200;

/// Something has changed.
#[expect(clippy::large_enum_variant, reason = "one of them at a time, and not for long")]
enum Change {
    Relocation(Result<Happened<Relocation>, watcher::Error>),
    Jobs(Result<Happened<Job>, watcher::Error>),
    Pods(Result<Happened<Pod>, watcher::Error>),
    Events(Result<Happened<Event>, watcher::Error>),
    Tick,
}

/// What became of the relocation that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existence {
    /// It is there.
    There,
    /// It was deleted.
    Deleted,
}

/// A relocation that is followed.
pub(super) struct Watching {
    /// What there is to see of it now.
    pub observed: Observed,
    /// Whether it is still there.
    pub existence: Existence,
    /// Why nothing new comes at the moment.
    pub broken: Option<String>,
    cluster: Cluster,
    /// Whether the list with which a watch begins has held the relocation.
    listed: bool,
    changes: SelectAll<BoxStream<'static, Change>>,
    jobs: Objects<Job>,
    pods: Objects<Pod>,
    events: Objects<Event>,
    log: Option<Log>,
}

/// The log of the pod that runs.
struct Log {
    pod: String,
    lines: BoxStream<'static, Result<String, kube::Error>>,
}

impl Watching {
    /// Begins to follow what was observed. With `ticks`, it also tells of every second that passes.
    pub fn begin(cluster: &Cluster, name: &str, observed: Observed, ticks: bool) -> Self {
        let by_name = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let by_label = watcher::Config::default().labels(&selector(name));
        let by_object = watcher::Config::default().fields(&about(name));
        let mut changes = select_all([
            follow::<Relocation>(cluster, by_name).map(Change::Relocation).boxed(),
            follow::<Job>(cluster, by_label.clone()).map(Change::Jobs).boxed(),
            follow::<Pod>(cluster, by_label).map(Change::Pods).boxed(),
            follow::<Event>(cluster, by_object).map(Change::Events).boxed(),
        ]);
        if ticks {
            let clock = tokio::time::interval(TICK);
            let ticks = futures::stream::unfold(clock, |mut clock| async move {
                clock.tick().await;
                Some((Change::Tick, clock))
            });
            changes.push(ticks.boxed());
        }
        Self {
            observed,
            existence: Existence::There,
            broken: None,
            cluster: cluster.clone(),
            listed: false,
            changes,
            jobs: Objects::default(),
            pods: Objects::default(),
            events: Objects::default(),
            log: None,
        }
    }

    /// Waits until something has changed, and takes in everything that has changed by then.
    pub async fn next(&mut self) {
        let known_plan = self.observed.relocation.status.as_ref().and_then(|status| status.plan.clone());
        self.follow_log();
        let first = match &mut self.log {
            None => self.changes.next().await.map(Noticed::Change),
            Some(log) => futures::select_biased! {
                change = self.changes.next().fuse() => change.map(Noticed::Change),
                line = log.lines.next().fuse() => Some(Noticed::Line(line)),
            },
        };
        self.take_in_all(first);
        self.observed.keep_own();
        let plan = self.observed.relocation.status.as_ref().and_then(|status| status.plan.clone());
        if plan != known_plan {
            self.observed.plan = plan_of(&self.cluster, &self.observed.relocation).await;
        }
    }

    fn take_in_all(&mut self, first: Option<Noticed>) {
        let mut noticed = first;
        let mut count = 0;
        while let Some(one) = noticed {
            self.take_in(one);
            count += 1;
            if count == AT_ONCE {
                break;
            }
            let more = self.changes.next().now_or_never().flatten().map(Noticed::Change);
            noticed = more.or_else(|| Some(Noticed::Line(self.log.as_mut()?.lines.next().now_or_never()?)));
        }
    }

    fn take_in(&mut self, noticed: Noticed) {
        match noticed {
            Noticed::Change(Change::Tick) => {}
            Noticed::Change(Change::Relocation(change)) => self.take_relocation(change),
            Noticed::Change(Change::Jobs(change)) => {
                self.jobs.take_in(change, &mut self.observed.jobs, "Jobs", &self.cluster);
            }
            Noticed::Change(Change::Pods(change)) => {
                self.pods.take_in(change, &mut self.observed.pods, "pods", &self.cluster);
            }
            Noticed::Change(Change::Events(change)) => {
                self.events.take_in(change, &mut self.observed.events, "events", &self.cluster);
            }
            Noticed::Line(Some(Ok(line))) => {
                let mut progress = std::mem::replace(&mut self.observed.progress, Ok(None)).unwrap_or_default();
                Progress::read(&mut progress, &line);
                self.observed.progress = Ok(progress);
            }
            Noticed::Line(Some(Err(error))) => {
                let error = self.cluster.explain("get", "pods/log", self.cluster.place(), error);
                self.observed.progress = Err(unread_progress(&error));
            }
            // The container has ended; its pod says so in a moment.
            Noticed::Line(None) => {
                if let Some(log) = &mut self.log {
                    log.lines = futures::stream::pending().boxed();
                }
            }
        }
    }

    fn take_relocation(&mut self, change: Result<Happened<Relocation>, watcher::Error>) {
        match change {
            Ok(Happened::Apply(relocation) | Happened::InitApply(relocation)) => {
                self.broken = None;
                self.listed = true;
                self.existence = Existence::There;
                self.observed.relocation = relocation;
            }
            Ok(Happened::Delete(_)) => self.existence = Existence::Deleted,
            Ok(Happened::Init) => self.listed = false,
            // Deleted while nobody watched: before the first list, or before a new one.
            Ok(Happened::InitDone) if !self.listed => self.existence = Existence::Deleted,
            Ok(Happened::InitDone) => {}
            Err(error) => {
                let error = explain::<Relocation>(&self.cluster, error);
                self.broken = Some(format!("nothing new comes, trying again: {error}"));
            }
        }
    }

    /// Follows the log of the pod that runs now, and of no other.
    fn follow_log(&mut self) {
        let Some(pod) = self.observed.running_pod() else {
            self.log = None;
            self.observed.progress = Ok(None);
            return;
        };
        let name = pod.name_any();
        if self.log.as_ref().is_some_and(|log| log.pod == name) {
            return;
        }
        let parameters =
            LogParams { follow: true, timestamps: true, tail_lines: Some(LINES_BEFORE), ..log_parameters(pod) };
        let api = self.cluster.api::<Pod>();
        let opened = {
            let name = name.clone();
            async move { api.log_stream(&name, &parameters).await }
        };
        let lines = opened.map_ok(|log| log.lines().map_err(kube::Error::ReadEvents)).try_flatten_stream().boxed();
        self.observed.progress = Ok(None);
        self.log = Some(Log { pod: name, lines });
    }
}

#[expect(clippy::large_enum_variant, reason = "one of them at a time, and not for long")]
enum Noticed {
    Change(Change),
    Line(Option<Result<String, kube::Error>>),
}

/// A watch that goes on after errors, but not after a refusal: it would be refused again.
pub(super) fn follow<K: Kind + Send + 'static>(
    cluster: &Cluster,
    config: watcher::Config,
) -> impl Stream<Item = Result<Happened<K>, watcher::Error>> + Send + use<K> {
    let api: Api<K> = cluster.api();
    let mut is_over = false;
    watcher(api, config).default_backoff().take_while(move |event| {
        let goes_on = !is_over;
        is_over = event.as_ref().is_err_and(is_refusal);
        ready(goes_on)
    })
}

/// Whether the API server has refused it for good.
pub(super) fn is_refusal(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => matches!(status.code, 401 | 403),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => false,
    }
}

/// The sentence for an error of a watch.
pub(super) fn explain<K: Kind>(cluster: &Cluster, error: watcher::Error) -> Error {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(status) => kube::Error::Api(status),
        watcher::Error::NoResourceVersion => {
            let why = "the API server sent no resourceVersion".to_owned();
            return Error::Request { verb: "watch", resource: K::RESOURCE.to_owned(), why };
        }
    };
    cluster.explain("watch", K::RESOURCE, cluster.place(), error)
}

/// The objects of a watch, by uid.
struct Objects<K> {
    known: BTreeMap<String, K>,
    /// What a new list has told so far.
    listed: BTreeMap<String, K>,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), listed: BTreeMap::new() }
    }
}

impl<K: Kind> Objects<K> {
    fn take_in(
        &mut self,
        change: Result<Happened<K>, watcher::Error>,
        part: &mut Part<Vec<K>>,
        what: &'static str,
        cluster: &Cluster,
    ) {
        let key = |object: &K| object.uid().unwrap_or_else(|| object.name_any());
        match change {
            Ok(Happened::Init) => {
                self.listed.clear();
                return;
            }
            Ok(Happened::InitApply(object)) => {
                self.listed.insert(key(&object), object);
                return;
            }
            Ok(Happened::InitDone) => self.known = std::mem::take(&mut self.listed),
            Ok(Happened::Apply(object)) => drop(self.known.insert(key(&object), object)),
            Ok(Happened::Delete(object)) => drop(self.known.remove(&key(&object))),
            Err(error) if is_refusal(&error) => {
                *part = Err(Unread::new(what, &explain::<K>(cluster, error)));
                return;
            }
            // What was seen stays seen until the watch has found back.
            Err(_) => return,
        }
        *part = Ok(self.known.values().cloned().collect());
    }
}
