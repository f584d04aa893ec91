//! `logs`: what the tasks of a relocation said, all attempts, each line with the task in front.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use clap::Args;
use futures::{AsyncBufReadExt, FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};
use kube::runtime::watcher::{self, Event as Happened};
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::error::Error;
use super::super::interruption::unless_told_to_stop;
use super::super::observed::{log_parameters, selector};
use super::super::outcome::Outcome;
use super::super::output::{Output, OutputArguments};
use super::super::session::Session;
use super::super::similar::similar;
use super::super::terminal::{FAINT, styled};
use super::super::watching::{explain, follow, is_refusal};
use crate::api::{Labels, Relocation, RelocationStatus, Step, label};

/// The flags of `logs`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation logs acme                          of every task and attempt, in order
  kubectl relocation logs acme -f                       and on, across attempts and steps, until it has ended
  kubectl relocation logs acme --step importing         of one step, in any case of letters
  kubectl relocation logs acme --task write --attempt 2
  kubectl relocation logs acme --tail 20 --no-prefix    the last lines of each pod, as they were written
  kubectl relocation logs acme -o json                  each line as an object with step, task, attempt and pod
  kubectl relocation logs acme -o name                  the pods whose logs these are")]
pub struct LogsArguments {
    /// The relocation
    name: String,
    /// Go on with what is written from now on, by this and by later tasks
    #[arg(short, long)]
    follow: bool,
    /// Only of this step
    #[arg(long)]
    step: Option<Step>,
    /// Only of the task of this name
    #[arg(long)]
    task: Option<String>,
    /// Only of this attempt of each task, counted from 1
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..))]
    attempt: Option<i32>,
    /// Only the last lines of each pod
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(i64).range(0..))]
    tail: Option<i64>,
    /// Put the time in front of each line
    #[arg(long)]
    timestamps: bool,
    /// Leave step, task and attempt away from the front of each line
    #[arg(long)]
    no_prefix: bool,
    #[command(flatten)]
    output: OutputArguments,
}

impl LogsArguments {
    /// Prints them.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let cluster = session.cluster_in_one_namespace().await?;
        let labels = ListParams::default().labels(&selector(&self.name));
        let (relocation, pods) =
            futures::join!(cluster.get::<Relocation>(&self.name), cluster.list_typed::<Pod>(&labels));
        let (relocation, pods) = (relocation?.object, pods?);
        let uuid = relocation.status.as_ref().and_then(|status| status.uuid.clone());
        let mut pods: Vec<Pod> = pods.into_iter().filter(|pod| is_of_run(pod, uuid.as_deref())).collect();
        pods.sort_by_key(order);
        self.check_task(&pods)?;
        if self.follow {
            unless_told_to_stop(Box::pin(self.follow(session, &cluster))).await
        } else {
            let chosen: Vec<Pod> = pods.into_iter().filter(|pod| self.is_chosen(pod)).collect();
            if chosen.is_empty() {
                session.remark(&self.nothing(&relocation));
            }
            if self.output.output == Some(Output::Name) {
                let names: String = chosen.iter().map(|pod| format!("pod/{}\n", pod.name_any())).collect();
                session.print(&names)?;
                return Ok(Outcome::Done);
            }
            let mut outcome = Outcome::Done;
            for pod in &chosen {
                if !has_started(pod) {
                    session.remark(&format!("{} has not started", prefix(pod)));
                } else if let Err(error) = self.print(session, &cluster, pod).await {
                    if is_of_all(&error) {
                        return Err(error);
                    }
                    // The next pod may be on a node that answers.
                    session.complain(&format!("{}: {error}", prefix(pod)));
                    outcome = error.outcome();
                }
            }
            Ok(outcome)
        }
    }

    /// A task that never ran is a slip of the finger as long as others did.
    fn check_task(&self, pods: &[Pod]) -> Result<(), Error> {
        let Some(task) = &self.task else { return Ok(()) };
        let known: BTreeSet<&str> = pods.iter().filter_map(|pod| label_of(pod, Labels::TASK)).collect();
        if self.follow || known.is_empty() || known.contains(task.as_str()) {
            return Ok(());
        }
        let close = similar(task, known.iter().copied());
        let known: Vec<&str> = known.into_iter().collect();
        let hint = if close.is_empty() {
            format!("there are {}", known.join(", "))
        } else {
            format!("did you mean {}?", close.join(" or "))
        };
        Err(Error::Usage(format!("no pod of {} belongs to a task {task:?}; {hint}", self.name)))
    }

    fn nothing(&self, relocation: &Relocation) -> String {
        let narrowed = self.step.is_some() || self.task.is_some() || self.attempt.is_some();
        let cleaned = relocation.spec.cleanup_seconds_after_finished.is_some()
            && relocation.status.as_ref().is_some_and(RelocationStatus::has_ended);
        match (narrowed, cleaned) {
            (true, _) => format!("no pod of {} fits --step, --task and --attempt", self.name),
            (false, true) => format!("the pods of {} are gone: they were cleaned up after its success", self.name),
            (false, false) => format!("{} has no pod yet; -f waits for the first", self.name),
        }
    }

    fn is_chosen(&self, pod: &Pod) -> bool {
        let step = label_of(pod, Labels::STEP).and_then(|step| step.parse::<Step>().ok());
        let attempt = label_of(pod, Labels::ATTEMPT).and_then(|attempt| attempt.parse().ok());
        self.step.is_none_or(|wanted| step == Some(wanted))
            && self.task.as_deref().is_none_or(|wanted| label_of(pod, Labels::TASK) == Some(wanted))
            && self.attempt.is_none_or(|wanted| attempt == Some(wanted))
    }

    async fn print(&self, session: &Session, cluster: &Cluster, pod: &Pod) -> Result<(), Error> {
        let parameters = LogParams {
            follow: self.follow,
            tail_lines: self.tail,
            timestamps: self.timestamps,
            ..log_parameters(pod)
        };
        let explain = |error| cluster.explain("get", "pods/log", cluster.place(), error);
        let name = pod.name_any();
        let opened = cluster.within(cluster.api::<Pod>().log_stream(&name, &parameters)).await?.map_err(explain)?;
        let front = match (self.no_prefix, self.output.is_wide()) {
            (true, _) => String::new(),
            (false, true) => format!("{} ", styled(&format!("{} {name}", prefix(pod)), FAINT)),
            (false, false) => format!("{} ", styled(&prefix(pod), FAINT)),
        };
        let mut log = pin!(opened);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length =
                log.read_until(b'\n', &mut line).await.map_err(|error| explain(kube::Error::ReadEvents(error)))?;
            if length == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            if self.output.is_for_programs() {
                self.output.print_value_in_line(session, &as_value(pod, &line))?;
            } else {
                session.print_line(&front, &line)?;
            }
        }
    }

    /// Prints the log of each pod as it starts, until the relocation has ended and nothing of it is left to tell.
    ///
    /// One launch works at a time, so the logs come one after the other.
    async fn follow(&self, session: &Session, cluster: &Cluster) -> Result<Outcome, Error> {
        let labels = watcher::Config::default().labels(&selector(&self.name));
        let by_name = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let pods = follow::<Pod>(cluster, labels).map(Seen::Pod);
        let relocations = follow::<Relocation>(cluster, by_name).map(Seen::Relocation);
        let mut seen = pin!(futures::stream::select(pods, relocations));
        let mut told = Told::default();
        while let Some(first) = seen.next().await {
            told.take_in(first, cluster)?;
            // Everything that is known by now, so that what ran before is told in order.
            while let Some(Some(next)) = seen.next().now_or_never() {
                told.take_in(next, cluster)?;
            }
            for pod in told.ready() {
                if self.is_chosen(&pod)
                    && let Err(error) = self.print(session, cluster, &pod).await
                {
                    if is_of_all(&error) {
                        return Err(error);
                    }
                    session.remark(&format!("{}: {error}", prefix(&pod)));
                }
            }
            if told.is_complete() {
                break;
            }
        }
        Ok(Outcome::Done)
    }
}

#[expect(clippy::large_enum_variant, reason = "one of them at a time, and not for long")]
enum Seen {
    Pod(Result<Happened<Pod>, watcher::Error>),
    Relocation(Result<Happened<Relocation>, watcher::Error>),
}

/// What was told of a relocation that is followed, and what there is still to tell.
#[derive(Default)]
struct Told {
    /// The pods whose logs were printed, by uid.
    printed: BTreeSet<String>,
    /// The pods whose logs were not, by uid.
    waiting: BTreeMap<String, Pod>,
    /// Whether all pods that there were at the beginning are known.
    listed: bool,
    /// Whether the relocation is there.
    exists: bool,
    /// Whether it has ended.
    ended: bool,
    /// The identity of the run.
    uuid: Option<String>,
}

impl Told {
    fn take_in(&mut self, seen: Seen, cluster: &Cluster) -> Result<(), Error> {
        match seen {
            Seen::Pod(Ok(Happened::Apply(pod) | Happened::InitApply(pod))) => {
                let uid = pod.uid().unwrap_or_default();
                if !self.printed.contains(&uid) {
                    self.waiting.insert(uid, pod);
                }
            }
            Seen::Pod(Ok(Happened::Delete(pod))) => drop(self.waiting.remove(&pod.uid().unwrap_or_default())),
            Seen::Pod(Ok(Happened::InitDone)) => self.listed = true,
            Seen::Relocation(Ok(Happened::Apply(relocation) | Happened::InitApply(relocation))) => {
                let status = relocation.status.as_ref();
                self.exists = true;
                self.ended = status.is_some_and(RelocationStatus::has_ended);
                self.uuid = status.and_then(|status| status.uuid.clone()).or(self.uuid.take());
            }
            // Nothing more will come.
            Seen::Relocation(Ok(Happened::Delete(_))) => self.ended = true,
            Seen::Relocation(Ok(Happened::Init)) => self.exists = false,
            // Deleted while nobody watched.
            Seen::Relocation(Ok(Happened::InitDone)) => self.ended |= !self.exists,
            Seen::Pod(Err(error)) if is_refusal(&error) => return Err(explain::<Pod>(cluster, error)),
            Seen::Relocation(Err(error)) if is_refusal(&error) => return Err(explain::<Relocation>(cluster, error)),
            Seen::Pod(Ok(Happened::Init) | Err(_)) | Seen::Relocation(Err(_)) => {}
        }
        Ok(())
    }

    /// The pods whose logs can be printed, in the order in which they ran; each is handed out once.
    fn ready(&mut self) -> Vec<Pod> {
        if !self.listed {
            return Vec::new();
        }
        let uuid = self.uuid.clone();
        self.waiting.retain(|_, pod| is_of_run(pod, uuid.as_deref()));
        let started = self.waiting.extract_if(.., |_, pod| has_started(pod));
        let mut ready: Vec<Pod> = started.map(|(_, pod)| pod).collect();
        ready.sort_by_key(order);
        self.printed.extend(ready.iter().filter_map(ResourceExt::uid));
        ready
    }

    fn is_complete(&self) -> bool {
        self.ended && self.listed && self.waiting.is_empty()
    }
}

fn label_of<'p>(pod: &'p Pod, name: &str) -> Option<&'p str> {
    pod.labels().get(&label(name)).map(String::as_str)
}

/// Whether a pod belongs to this run, and not to an earlier object of the same name.
fn is_of_run(pod: &Pod, uuid: Option<&str>) -> bool {
    uuid.is_none_or(|uuid| label_of(pod, Labels::UUID).is_none_or(|known| known == uuid))
}

/// The launches grow, so they are the order in which things ran; the `onEnd` Job is the last.
fn order(pod: &Pod) -> (bool, i64, Option<k8s_openapi::jiff::Timestamp>) {
    let launch = label_of(pod, Labels::LAUNCH).and_then(|launch| launch.parse().ok()).unwrap_or(0);
    (label_of(pod, Labels::STEP).is_none(), launch, pod.creation_timestamp().map(|time| time.0))
}

/// Whether it would be the same with every other pod.
const fn is_of_all(error: &Error) -> bool {
    matches!(error, Error::Print(_) | Error::Forbidden { .. })
}

fn has_started(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Running" | "Succeeded" | "Failed"))
}

fn as_value(pod: &Pod, line: &[u8]) -> Value {
    json!({
        "step": label_of(pod, Labels::STEP).map(str::to_uppercase),
        "task": label_of(pod, Labels::TASK),
        "attempt": label_of(pod, Labels::ATTEMPT).and_then(|attempt| attempt.parse::<i32>().ok()),
        "pod": pod.name_any(),
        "line": String::from_utf8_lossy(line).trim_end_matches(['\n', '\r'])
    })
}

/// `IMPORTING/write/2`: step, task and attempt.
fn prefix(pod: &Pod) -> String {
    let task = label_of(pod, Labels::TASK).unwrap_or("?");
    let attempt = label_of(pod, Labels::ATTEMPT).unwrap_or("?");
    match label_of(pod, Labels::STEP) {
        Some(step) => format!("{}/{task}/{attempt}", step.to_uppercase()),
        None => task.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(step: &str, task: &str, launch: &str) -> Pod {
        let mut labels = json!({
            "relocation.dev/task": task, "relocation.dev/attempt": "1", "relocation.dev/launch": launch
        });
        if !step.is_empty() {
            labels["relocation.dev/step"] = json!(step);
        }
        serde_json::from_value(json!({ "metadata": { "name": task, "labels": labels } })).unwrap()
    }

    #[test]
    fn logs_come_in_the_order_of_the_launches_and_the_end_comes_last() {
        let mut pods = [pod("", "on-end", "7"), pod("importing", "write", "9"), pod("uploading", "copy", "7")];
        pods.sort_by_key(order);
        let order: Vec<String> = pods.iter().map(prefix).collect();
        assert_eq!(order, ["UPLOADING/copy/1", "IMPORTING/write/1", "on-end"]);
    }
}
