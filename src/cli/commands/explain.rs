//! `explain`: why a relocation is where it is, and what a manifest would run.

use std::path::PathBuf;

use anstyle::Style;
use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::SignedDuration;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::Value;

use super::super::ages::short;
use super::super::cluster::{Cluster, field_value};
use super::super::error::Error;
use super::super::manifest;
use super::super::observed::{Observed, Unread};
use super::super::outcome::Outcome;
use super::super::output::OutputArguments;
use super::super::sentence::Words;
use super::super::session::Session;
use super::super::table::{Cell, Table};
use super::super::terminal::{BAD, FAINT, STRONG, WAITING, harmless, status_style, styled};
use super::super::view::{View, why_not_started};
use crate::api::{
    AutoPause, ConditionType, Relocation, RelocationPlan, RelocationStatus, StatusValue, Step, WorkState,
    condition_status, find_condition, lease_name,
};

/// The flags of `explain`.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
EXAMPLES
  kubectl relocation explain acme              why it is where it is: plan, fences, lock, attempts, pods
  kubectl relocation explain -f acme.yaml      what this manifest would run, before it is applied
  cat acme.yaml | kubectl relocation explain -f -"
)]
pub struct ExplainArguments {
    /// The relocation
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    name: Option<String>,
    /// A manifest with relocations, plans, or both; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

/// One thing that is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Fact {
    about: &'static str,
    weight: Weight,
    text: String,
}

/// How much a fact has to do with why it does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Weight {
    /// It is so.
    Plain,
    /// It waits for this.
    Waits,
    /// This is wrong.
    Wrong,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    name: &'a str,
    status: Option<StatusValue>,
    step: Option<Step>,
    sentence: &'a str,
    facts: &'a [Fact],
}

impl ExplainArguments {
    /// Explains it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        match (&self.name, &self.file) {
            (_, Some(file)) => manifest::explain(session, file, &self.output).await,
            (Some(name), None) => self.explain(session, name).await,
            (None, None) => Err(Error::Usage("name a relocation, or a file with -f".to_owned())),
        }
    }

    async fn explain(&self, session: &Session, name: &str) -> Result<Outcome, Error> {
        let cluster = session.cluster_in_one_namespace().await?;
        let observed = Observed::gather(&cluster, name).await?;
        let relocation = &observed.relocation;
        let (plan, lock, places) = futures::join!(
            plan_facts(&cluster, relocation),
            lock_facts(&cluster, relocation),
            place_facts(&cluster, relocation)
        );
        let flags = session.repeated_flags();
        let words = Words {
            now: session.now(),
            zone: &session.time_zone,
            flags: &flags,
            with_ages: !self.output.is_for_programs(),
        };
        let view = View::of(&observed, &words);
        let mut facts = plan;
        facts.extend(fence_facts(relocation));
        facts.extend(lock);
        facts.extend(places);
        facts.extend(work_facts(&observed, &words));
        facts.extend(request_facts(relocation, &words));
        facts.extend(view.late.clone().map(|text| Fact { about: "late", weight: Weight::Wrong, text }));
        facts.extend(view.remarks.iter().map(|text| Fact {
            about: "not seen",
            weight: Weight::Plain,
            text: text.clone(),
        }));
        if self.output.is_for_programs() {
            let explanation =
                Explanation { name, status: view.status, step: view.step, sentence: &view.sentence, facts: &facts };
            let value = serde_json::to_value(&explanation).unwrap_or(Value::Null);
            let names = [format!("relocation.{}/{name}", crate::api::GROUP)];
            self.output.print_value(session, &value, &names)?;
            return Ok(Outcome::Done);
        }
        let value = view.status.map_or("NEW", StatusValue::as_str);
        let at = view.step.map(|step| format!(" at {step}")).unwrap_or_default();
        session.print(&format!(
            "{} is {}{at}: {}\n\n",
            styled(name, STRONG),
            styled(value, status_style(view.status).bold()),
            harmless(&view.sentence)
        ))?;
        let mut table = Table::new(&["", ""]);
        for fact in &facts {
            let style = match fact.weight {
                Weight::Plain => Style::new(),
                Weight::Waits => WAITING,
                Weight::Wrong => BAD,
            };
            table.row(vec![Cell::new(fact.about, FAINT), Cell::new(&fact.text, style)]);
        }
        session.print(&table.render(false))?;
        if !view.actions.is_empty() {
            let commands: String = view.actions.iter().map(|offer| format!("  {}\n", offer.command)).collect();
            session.print(&format!("\n{}\n{commands}", styled("possible now", FAINT)))?;
        }
        Ok(Outcome::Done)
    }
}

fn plain(about: &'static str, text: String) -> Fact {
    Fact { about, weight: Weight::Plain, text }
}

async fn plan_facts(cluster: &Cluster, relocation: &Relocation) -> Vec<Fact> {
    let name = &relocation.spec.plan_ref.name;
    let in_use = relocation.status.as_ref().and_then(|status| status.plan.as_ref());
    let frozen = in_use.map(|plan| format!(", in use as it was at generation {}", plan.generation)).unwrap_or_default();
    let plan = match cluster.get_opt::<RelocationPlan>(name).await {
        Err(error) => return vec![plain("plan", Unread::new("its plan", &error).to_string())],
        Ok(None) => {
            let weight = if in_use.is_some() { Weight::Plain } else { Weight::Waits };
            return vec![Fact {
                about: "plan",
                weight,
                text: format!("there is no plan {name:?} in this namespace{frozen}"),
            }];
        }
        Ok(Some(found)) => found.object,
    };
    let conditions = plan.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = plan.metadata.generation.unwrap_or(0);
    let newer = match in_use {
        Some(in_use) if in_use.generation != generation => {
            format!("; it has changed since, to generation {generation}, which a recover takes")
        }
        Some(_) | None => String::new(),
    };
    let (weight, text) = match find_condition(conditions, ConditionType::Accepted) {
        Some(accepted) if accepted.status == condition_status::TRUE => {
            (Weight::Plain, format!("{name} is accepted{frozen}{newer}"))
        }
        Some(refused) => (Weight::Wrong, format!("{name} is not accepted: {}{frozen}", refused.message)),
        None => (Weight::Waits, format!("{name} has not been checked by the operator yet{frozen}")),
    };
    vec![Fact { about: "plan", weight, text }]
}

fn fence_facts(relocation: &Relocation) -> Vec<Fact> {
    let nothing = RelocationStatus::default();
    let status = relocation.status.as_ref().unwrap_or(&nothing);
    let holds_here = |step: Step| status.pause.as_ref().is_some_and(|pause| pause.step == step);
    let place = |step: Step| {
        if holds_here(step) {
            (Weight::Waits, "it stands here")
        } else if status.is_behind(step) || status.status == Some(StatusValue::Success) {
            (Weight::Plain, "behind, without effect")
        } else {
            (Weight::Plain, "ahead")
        }
    };
    let mut facts = Vec::new();
    if let Some(step) = relocation.spec.pause_at_step {
        let (weight, place) = place(step);
        facts.push(Fact { about: "fence", weight, text: format!("spec.pauseAtStep is {step}: {place}") });
    }
    if let Some(step) = status.auto_pause_at_step {
        let (weight, text) = match relocation.spec.auto_pause {
            AutoPause::Skip => {
                (Weight::Plain, format!("the plan's automatic fence before {step} is open: spec.autoPause is Skip"))
            }
            AutoPause::Honour => {
                let (weight, place) = place(step);
                (weight, format!("the plan's automatic fence before {step}: {place}"))
            }
        };
        facts.push(Fact { about: "fence", weight, text });
    }
    if facts.is_empty() {
        facts.push(plain("fence", "none".to_owned()));
    }
    if let Some(step) = relocation.spec.cancel_at_step {
        let (_, place) = place(step);
        facts.push(plain("cancel", format!("spec.cancelAtStep is {step}: {place}")));
    }
    facts
}

async fn lock_facts(cluster: &Cluster, relocation: &Relocation) -> Vec<Fact> {
    let mutex = relocation.spec.effective_mutex();
    let lease = match cluster.get_opt::<Lease>(&lease_name(mutex)).await {
        Err(error) => return vec![plain("lock", Unread::new("who holds its mutex", &error).to_string())],
        Ok(None) => return vec![plain("lock", format!("nobody holds the mutex {mutex:?}"))],
        Ok(Some(found)) => found.object,
    };
    let Some(owner) = lease.owner_references().iter().find(|owner| owner.kind == "Relocation") else {
        return vec![plain("lock", format!("the mutex {mutex:?} is held by something that is no relocation"))];
    };
    if Some(&owner.uid) == relocation.metadata.uid.as_ref() {
        return vec![plain("lock", format!("it holds the mutex {mutex:?}"))];
    }
    let holder = cluster.get_opt::<Relocation>(&owner.name).await.ok().flatten();
    let holder = holder
        .filter(|holder| holder.object.uid().as_ref() == Some(&owner.uid))
        .and_then(|holder| holder.object.status);
    let doing = holder.and_then(|status| {
        let step = status.step.map(|step| format!(" at {step}")).unwrap_or_default();
        Some(format!(", which is {}{step}", status.status?.as_str()))
    });
    let text = format!("the mutex {mutex:?} is held by {}{}", owner.name, doing.unwrap_or_default());
    vec![Fact { about: "lock", weight: Weight::Waits, text }]
}

/// How many places the plan has, where it counts them.
async fn place_facts(cluster: &Cluster, relocation: &Relocation) -> Vec<Fact> {
    let pending = relocation.status.as_ref().is_some_and(|status| status.status == Some(StatusValue::Pending));
    if !pending {
        return Vec::new();
    }
    let name = &relocation.spec.plan_ref.name;
    let plan = cluster.get_opt::<RelocationPlan>(name).await.ok().flatten();
    let Some(limit) = plan.and_then(|plan| plan.object.spec.max_active) else { return Vec::new() };
    let fields = format!("spec.planRef.name={},status.status=IN_PROGRESS", field_value(name));
    let active = match cluster.list_typed::<Relocation>(&ListParams::default().fields(&fields)).await {
        Err(error) => return vec![plain("places", Unread::new("who has the plan's places", &error).to_string())],
        Ok(active) => active,
    };
    let names: Vec<String> = active.iter().map(ResourceExt::name_any).take(5).collect();
    let more = if active.len() > names.len() { ", …" } else { "" };
    let taken = format!("{} of {limit} places of the plan are taken", active.len());
    let by = if names.is_empty() { String::new() } else { format!(": {}{more}", names.join(", ")) };
    let full = i32::try_from(active.len()).is_ok_and(|active| active >= limit);
    let weight = if full { Weight::Waits } else { Weight::Plain };
    vec![Fact { about: "places", weight, text: format!("{taken}{by}") }]
}

fn work_facts(observed: &Observed, words: &Words<'_>) -> Vec<Fact> {
    let nothing = RelocationStatus::default();
    let status = observed.relocation.status.as_ref().unwrap_or(&nothing);
    let mut facts = Vec::new();
    if let (Some(step), Some(task), Some(attempt), true) = (status.step, &status.task, status.attempt, status.entered) {
        let limit = status.attempt_limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        let stands = if status.has_ended() { "ended with" } else { "is at" };
        let mut text = format!("{step}/{task} {stands} attempt {attempt}{limit}");
        if let Some(at) = &status.next_attempt_at {
            let left = short(at.0.duration_since(words.now));
            text.push_str(&format!(", which starts in {left}"));
        }
        facts.push(plain("attempt", text));
        let record = status.steps.iter().find(|record| record.name == step);
        let record = record.and_then(|record| record.tasks.iter().find(|known| known.name == *task));
        if let Some(message) =
            record.filter(|task| task.state != WorkState::Succeeded).and_then(|task| task.message.clone())
        {
            facts.push(plain("said", format!("the last attempt that ended said: {message}")));
        }
    }
    let Some(job) = status.job.as_deref() else { return facts };
    if let Ok(jobs) = &observed.jobs {
        facts.push(match jobs.iter().find(|known| known.name_any() == job) {
            None => Fact { about: "job", weight: Weight::Waits, text: format!("{job} is not there") },
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                Fact { about: "job", weight: Weight::Waits, text: format!("{job} is being deleted") }
            }
            Some(found) if found.spec.as_ref().and_then(|spec| spec.suspend) == Some(true) => {
                Fact { about: "job", weight: Weight::Wrong, text: format!("{job} was suspended by somebody") }
            }
            Some(_) => plain("job", format!("{job} is there")),
        });
    }
    for pod in observed.pods.iter().flatten() {
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        if matches!(phase.as_str(), "Succeeded" | "Failed") {
            continue;
        }
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .map(|node| format!(" on {node}"))
            .unwrap_or_default();
        let name = pod.name_any();
        facts.push(match why_not_started(pod).filter(|_| phase == "Pending") {
            Some((reason, message)) => {
                let colon = if message.is_empty() { "" } else { ": " };
                Fact {
                    about: "pod",
                    weight: Weight::Wrong,
                    text: format!("{name}{node} does not start: {reason}{colon}{message}"),
                }
            }
            None if pod.metadata.deletion_timestamp.is_some() => {
                Fact { about: "pod", weight: Weight::Waits, text: format!("{name}{node} is ending") }
            }
            None => plain("pod", format!("{name}{node} is {phase}")),
        });
    }
    facts
}

/// What people have asked for that is not the default.
fn request_facts(relocation: &Relocation, words: &Words<'_>) -> Vec<Fact> {
    let spec = &relocation.spec;
    let mut facts = Vec::new();
    match spec.desired_state {
        crate::api::DesiredState::Active => {}
        crate::api::DesiredState::Suspended => {
            facts.push(Fact {
                about: "asked",
                weight: Weight::Waits,
                text: "spec.desiredState is Suspended".to_owned(),
            });
        }
        crate::api::DesiredState::Aborted => {
            facts.push(Fact { about: "asked", weight: Weight::Waits, text: "spec.desiredState is Aborted".to_owned() });
        }
    }
    if let Some(limit) = spec.active_deadline_seconds {
        let status = relocation.status.clone().unwrap_or_default();
        let present = status.active_since.map_or(SignedDuration::ZERO, |since| words.now.duration_since(since.0));
        let used = SignedDuration::from_secs(status.active_seconds.unwrap_or(0)).saturating_add(present);
        let weight = if used.as_secs() > limit { Weight::Wrong } else { Weight::Plain };
        let text = format!("{} of {} of work are used", short(used), short(SignedDuration::from_secs(limit)));
        facts.push(Fact { about: "budget", weight, text });
    }
    if let Some(source) = &spec.retry_of {
        facts.push(plain("retry", format!("it starts {} over", source.name)));
    }
    if let Some(reason) = &spec.reason {
        facts.push(plain("reason", format!("the last change was made because: {reason}")));
    }
    facts
}
