//! A board of the Jobs in one namespace: when each was first seen and when it was seen finished.
//!
//! Both moments come from one watch, so the time that an event takes to arrive cancels out in their difference.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::support::{is_terminal, label_of};

/// How long the board may stand still while somebody waits for it.
const DEADLINE: Duration = Duration::from_mins(5);

struct Seen {
    relocation: String,
    at: Instant,
    finished: Option<Instant>,
}

#[derive(Default)]
struct Jobs {
    seen: HashMap<String, Seen>,
    /// Who waits for the end of one Job. Each is woken alone: hundreds wait at once.
    waiting: HashMap<String, oneshot::Sender<()>>,
}

/// The Jobs of one namespace, until it is dropped.
pub struct Board {
    jobs: Arc<Mutex<Jobs>>,
    /// How many have finished; changes with each.
    finished: watch::Receiver<usize>,
    follow: JoinHandle<()>,
}

impl Board {
    pub fn of(client: &Client, namespace: &str) -> Self {
        let jobs = Arc::new(Mutex::new(Jobs::default()));
        let (sender, finished) = watch::channel(0);
        let api: Api<Job> = Api::namespaced(client.clone(), namespace);
        let follow = tokio::spawn(follow(api, Arc::clone(&jobs), sender));
        Self { jobs, finished, follow }
    }

    /// Waits until a Job has finished.
    pub async fn finished(&self, name: &str) {
        let end = {
            let mut jobs = self.jobs.lock().expect("nobody panics with it");
            if jobs.seen.get(name).is_some_and(|seen| seen.finished.is_some()) {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            jobs.waiting.insert(name.to_owned(), sender);
            receiver
        };
        let waited = timeout(DEADLINE, end).await;
        waited.unwrap_or_else(|_| panic!("the Job {name} has not finished")).expect("the board is kept");
    }

    /// Waits until so many Jobs have finished.
    pub async fn all_finished(&self, count: usize) {
        let mut changes = self.finished.clone();
        let waited = timeout(DEADLINE, changes.wait_for(|finished| *finished >= count)).await;
        waited.unwrap_or_else(|_| panic!("not all of {count} Jobs have finished")).expect("the board is kept");
    }

    /// The time from each Job's end to the next Job of the same relocation, shortest first.
    pub fn gaps(&self) -> Vec<Duration> {
        let jobs = self.jobs.lock().expect("nobody panics with it");
        let mut by_relocation: HashMap<&str, Vec<(Instant, Instant)>> = HashMap::new();
        for seen in jobs.seen.values() {
            let finished = seen.finished.expect("gaps are asked for when all Jobs have finished");
            by_relocation.entry(&seen.relocation).or_default().push((seen.at, finished));
        }
        let mut gaps: Vec<_> = by_relocation
            .values_mut()
            .flat_map(|run| {
                run.sort();
                run.windows(2).map(|pair| pair[1].0.duration_since(pair[0].1)).collect::<Vec<_>>()
            })
            .collect();
        gaps.sort();
        gaps
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.follow.abort();
    }
}

async fn follow(api: Api<Job>, jobs: Arc<Mutex<Jobs>>, finished: watch::Sender<usize>) {
    let mut events = pin!(watcher(api, watcher::Config::default()).applied_objects());
    while let Some(event) = events.next().await {
        let job = match event {
            Ok(job) => job,
            // The watcher begins again by itself; the board says so, because a gap across that is no measurement.
            Err(error) => {
                eprintln!("the watch of Jobs was cut: {error}");
                continue;
            }
        };
        let now = Instant::now();
        let mut jobs = jobs.lock().expect("nobody panics with it");
        let relocation = label_of(&job, relocation_operator::api::Labels::NAME).unwrap_or_default().to_owned();
        let seen = jobs.seen.entry(job.name_any()).or_insert(Seen { relocation, at: now, finished: None });
        if is_terminal(&job) && seen.finished.is_none() {
            seen.finished = Some(now);
            if let Some(waiting) = jobs.waiting.remove(&job.name_any()) {
                // Whoever waited may have given up.
                let _ = waiting.send(());
            }
            finished.send_modify(|count| *count += 1);
        }
    }
}
