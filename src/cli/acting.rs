//! What every acting command shares: reading, deciding, writing exactly what was decided on, and saying what came of it.
//!
//! A command decides by a pure function of the relocation as it was read. The patch carries the `resourceVersion` of
//! that reading, so that whoever was faster makes it decide again on what is then true.

use std::time::Duration;

use clap::{Args, ValueEnum};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::arguments::read_duration;
use super::cluster::{Cluster, Found};
use super::diff::diff;
use super::error::Error;
use super::gitops::tracker;
use super::legal::legal;
use super::outcome::Outcome;
use super::session::Session;
use super::terminal::harmless;
use super::waiting::{Goal, Wait, wait};
use super::writing::{Mode, Written, patch};
use crate::api::{LateRequests, Relocation, RelocationStatus, Step};

/// How often it is decided anew because somebody was faster. A relocation is written a few times a second at most.
const TRIES: u32 = 20;

/// How long after a conflict it is read again, times the number of tries.
const PAUSE: Duration = Duration::from_millis(10);

/// The flags of every acting command.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ActingArguments {
    /// Why; stored with the change and kept in the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub after: AfterArguments,
}

/// What happens after the change.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct AfterArguments {
    /// Stay and show how it goes on; ends with the exit code of: kubectl relocation wait
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// With --wait: how long, such as 90s or 2h; as long as it takes when absent
    #[arg(long, value_name = "TIME", value_parser = read_duration, requires = "wait")]
    pub timeout: Option<Duration>,
    /// Show what the API server would store, as a diff, and store nothing
    #[arg(long, value_enum, value_name = "WHERE")]
    pub dry_run: Option<DryRun>,
}

impl AfterArguments {
    pub fn mode(&self) -> Mode {
        if self.dry_run.is_some() { Mode::DryRun } else { Mode::Store }
    }
}

/// Where a change is tried without being stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DryRun {
    /// By the API server, with all its rules.
    Server,
}

/// What a command has decided to do. A refusal is a sentence that says what to do instead.
pub(super) type Verdict = Result<Decision, String>;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    /// The fields of `spec` that change; nothing when all is already as it was asked.
    pub spec: Map<String, Value>,
    /// What is so afterwards.
    pub says: String,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// What `--wait` waits for.
    pub goal: Goal,
}

impl Decision {
    /// Changes these fields of `spec`; a null clears one.
    pub fn change(spec: Value, says: String, goal: Goal) -> Self {
        let Value::Object(spec) = spec else { unreachable!("a spec is an object") };
        Self { spec, says, notes: Vec::new(), goal }
    }

    /// All is already as it was asked.
    pub fn already(says: String, goal: Goal) -> Self {
        Self { spec: Map::new(), says, notes: Vec::new(), goal }
    }

    /// With something else worth knowing.
    pub fn noting(mut self, note: Option<String>) -> Self {
        self.notes.extend(note);
        self
    }
}

/// A relocation as a command has read it.
pub(super) struct Seen<'a> {
    pub relocation: &'a Relocation,
    /// Its status; an empty one before the operator's first look.
    pub status: RelocationStatus,
    /// What ends each command in a sentence, such as ` -n eu`.
    pub flags: &'a str,
}

impl<'a> Seen<'a> {
    pub fn new(relocation: &'a Relocation, flags: &'a str) -> Self {
        Self { relocation, status: relocation.status.clone().unwrap_or_default(), flags }
    }

    pub fn name(&self) -> &str {
        self.relocation.metadata.name.as_deref().unwrap_or_default()
    }

    /// A command about this relocation, to be copied.
    pub fn command(&self, command: &str, rest: &str) -> String {
        let gap = if rest.is_empty() { "" } else { " " };
        format!("kubectl relocation {command} {}{gap}{rest}{}", self.name(), self.flags)
    }

    /// Where it is, as in `IN_PROGRESS at VALIDATING`.
    pub fn place(&self) -> String {
        let value = self.status.status.map_or("new", crate::api::StatusValue::as_str);
        let step = self.status.step.filter(|step| *step != Step::Completed);
        step.map_or_else(|| value.to_owned(), |step| format!("{value} at {step}"))
    }

    /// Refuses what can no longer be asked of an object that is on its way out.
    pub fn refuse_deleted(&self) -> Result<(), String> {
        if self.relocation.metadata.deletion_timestamp.is_some() {
            return Err(format!("{} is being deleted; nothing more starts", self.name()));
        }
        Ok(())
    }

    /// Refuses a step that is behind where the API server would not: it would store the request without effect.
    /// Elsewhere its own sentence is the better one.
    pub fn refuse_stored_without_effect(&self, what: &str, step: Step) -> Result<(), String> {
        let reports = self.relocation.spec.late_requests == LateRequests::Report;
        if !reports || !self.status.is_behind(step) {
            return Ok(());
        }
        let open: Vec<&str> =
            Step::STOPPABLE.into_iter().filter(|open| !self.status.is_behind(*open)).map(Step::as_str).collect();
        let instead =
            if open.is_empty() { "no step is left".to_owned() } else { format!("choose one of {}", open.join(", ")) };
        Err(format!("{} cannot {what} before {step}, which it has entered; {instead}", self.name()))
    }
}

/// A step that can be fenced off, in any case of letters.
pub(super) fn read_stoppable_step(text: &str) -> Result<Step, String> {
    let step = text.parse::<Step>().map_err(|error| error.to_string())?;
    if step == Step::Uploading {
        let known: Vec<&str> = Step::STOPPABLE.iter().map(|step| step.as_str()).collect();
        return Err(format!("a relocation begins with UPLOADING; choose one of {}", known.join(", ")));
    }
    Ok(step)
}

/// Reads, decides, writes, and says what came of it.
pub(super) async fn act(
    session: &Session,
    name: &str,
    arguments: &ActingArguments,
    decide: impl Fn(&Seen<'_>) -> Verdict,
) -> Result<Outcome, Error> {
    let cluster = session.cluster_in_one_namespace().await?;
    let flags = session.repeated_flags();
    let (before, after, decision) = change(&cluster, name, &flags, arguments, decide).await?;
    if arguments.after.dry_run.is_some() {
        let text = after.as_ref().map(|after| diff(&before.sent, &after.sent)).unwrap_or_default();
        session.print(&text)?;
        let nothing = if text.is_empty() { "nothing would change: " } else { "not stored: " };
        session.remark(&format!("{nothing}{}", harmless(&decision.says)));
    } else {
        session.print(&format!("{}\n", harmless(&decision.says)))?;
    }
    decision.notes.iter().for_each(|note| session.remark(&format!("note: {}", harmless(note))));
    if let Some(tool) = tracker(&before.object.metadata) {
        let (name, tool) = (before.object.name_any(), harmless(&tool));
        session.remark(&format!(
            "warning: {name} is kept by {tool}, which may undo this; change it in Git if it is to stay"
        ));
    }
    if !arguments.after.wait {
        return Ok(Outcome::Done);
    }
    let generation = after.unwrap_or(before).object.metadata.generation;
    wait(session, &cluster, name, &Wait { goal: decision.goal, generation, timeout: arguments.after.timeout }).await
}

/// The relocation before and, if it was written, after; and what was decided.
async fn change(
    cluster: &Cluster,
    name: &str,
    flags: &str,
    arguments: &ActingArguments,
    decide: impl Fn(&Seen<'_>) -> Verdict,
) -> Result<(Found<Relocation>, Option<Found<Relocation>>, Decision), Error> {
    for number in 1..=TRIES {
        let before = cluster.get::<Relocation>(name).await?;
        let seen = Seen::new(&before.object, flags);
        let mut decision = decide(&seen).map_err(Error::Usage)?;
        if decision.spec.is_empty() {
            return Ok((before, None, decision));
        }
        give_reason(&mut decision.spec, &before.object, arguments.reason.as_deref());
        let version = before.object.resource_version();
        let body = json!({ "metadata": { "resourceVersion": version }, "spec": decision.spec });
        match patch(cluster, name, &body, arguments.after.mode()).await {
            Ok(Written::Stored(after)) => return Ok((before, Some(*after), decision)),
            Ok(Written::Conflict) => tokio::time::sleep(PAUSE * number).await,
            Err(error) => return Err(with_possible(error, &before.object, flags)),
        }
    }
    Err(Error::Usage(format!("{name} was changed by others {TRIES} times in a row while this was decided; try again")))
}

/// `reason` says why the last change was made: an older one would be told of a change that it has nothing to do with.
fn give_reason(spec: &mut Map<String, Value>, relocation: &Relocation, reason: Option<&str>) {
    if spec.contains_key("reason") {
        return;
    }
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) => drop(spec.insert("reason".to_owned(), reason.into())),
        None if relocation.spec.reason.is_some() => drop(spec.insert("reason".to_owned(), Value::Null)),
        None => {}
    }
}

/// The API server's sentence as it is, with what is possible instead.
fn with_possible(error: Error, relocation: &Relocation, flags: &str) -> Error {
    let Error::Refused { message, possible: None } = error else { return error };
    let offers = legal(relocation, flags);
    let width = offers.iter().map(|offer| offer.command.len()).max().unwrap_or(0);
    let lines: String = offers.iter().map(|offer| format!("\n  {:width$}  {}", offer.command, offer.effect)).collect();
    let possible = if lines.is_empty() {
        format!("nothing can be asked of {} now", relocation.name_any())
    } else {
        format!("possible now:{lines}")
    };
    Error::Refused { message, possible: Some(possible) }
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// A relocation with these fields beside the required ones.
    pub fn relocation(spec: &Value, status: &Value) -> Relocation {
        let mut whole = json!({ "planRef": { "name": "files" }, "owner": "acme" });
        if let (Some(whole), Some(spec)) = (whole.as_object_mut(), spec.as_object()) {
            whole.extend(spec.clone());
        }
        serde_json::from_value(json!({
            "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation",
            "metadata": { "name": "acme", "uid": "11111111-2222-3333-4444-555555555555" },
            "spec": whole, "status": status
        }))
        .unwrap()
    }

    pub fn running(step: &str) -> Value {
        json!({ "status": "IN_PROGRESS", "step": step, "entered": true })
    }

    pub fn paused(step: &str, reason: &str) -> Value {
        json!({
            "status": "PAUSE", "step": step,
            "pause": { "step": step, "reason": reason, "message": "paused", "since": "2026-01-01T00:00:00Z" }
        })
    }

    pub fn failed(step: &str, reason: &str, entered: bool) -> Value {
        json!({ "status": "FAILURE", "step": step, "entered": entered, "failure": {
            "id": format!("{step}-1-0badcafe"), "step": step, "task": "run", "entered": entered, "reason": reason,
            "message": "no", "recoverable": true, "at": "2026-01-01T00:00:00Z"
        } })
    }

    /// Both joined, the second over the first.
    pub fn and(mut first: Value, second: Value) -> Value {
        if let (Some(first), Value::Object(second)) = (first.as_object_mut(), second) {
            first.extend(second);
        }
        first
    }

    /// A row of a table: what is decided on such a relocation.
    pub fn check(spec: Value, status: Value, decide: impl Fn(&Seen<'_>) -> Verdict, expected: Expect) {
        let relocation = relocation(&spec, &status);
        let text = match decide(&Seen::new(&relocation, "")) {
            Err(refusal) => format!("refused: {refusal}"),
            Ok(Decision { spec, says, notes, goal: _ }) => {
                let patch = if spec.is_empty() { "nothing".to_owned() } else { Value::Object(spec).to_string() };
                let notes: String = notes.iter().map(|note| format!("\nnote: {note}")).collect();
                format!("{patch}\n{says}{notes}")
            }
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn a_reason_is_of_the_change_it_was_given_with() {
        let given = |old: Value, reason: Option<&str>| {
            let mut spec = Map::new();
            give_reason(&mut spec, &relocation(&old, &json!({})), reason);
            Value::Object(spec)
        };
        assert_eq!(given(json!({}), None), json!({}));
        assert_eq!(given(json!({}), Some("audit")), json!({ "reason": "audit" }));
        assert_eq!(given(json!({ "reason": "audit" }), None), json!({ "reason": null }));
    }

    #[test]
    fn a_refusal_is_shown_as_it_is_with_what_is_possible() {
        let refused = Error::Refused { message: "spec.pauseAtStep: no".to_owned(), possible: None };
        let error = with_possible(refused, &relocation(&json!({}), &running("NOTIFYING")), " -n eu");
        expect![[r#"
            spec.pauseAtStep: no
            possible now:
              kubectl relocation suspend acme -n eu  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme -n eu    end now"#]]
        .assert_eq(&error.to_string());
        let refused = Error::Refused { message: "no".to_owned(), possible: None };
        let done = relocation(&json!({}), &json!({ "status": "SUCCESS", "step": "COMPLETED" }));
        expect![[r#"
            no
            nothing can be asked of acme now"#]]
        .assert_eq(&with_possible(refused, &done, "").to_string());
    }

    #[test]
    fn the_first_step_is_no_target() {
        assert_eq!(read_stoppable_step("importing"), Ok(Step::Importing));
        for wrong in ["uploading", "COMPLETED", "flying"] {
            assert!(read_stoppable_step(wrong).is_err(), "{wrong}");
        }
    }
}
