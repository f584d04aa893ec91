//! Waiting for a relocation: by a watch, with what it does shown, until what was waited for has come or cannot come.

use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher;
use kube::runtime::watcher::Event as Happened;

use super::ages;
use super::cluster::Cluster;
use super::error::Error;
use super::frames::Frames;
use super::interruption::unless_told_to_stop;
use super::observed::Observed;
use super::outcome::Outcome;
use super::sentence::{Words, sentence};
use super::session::Session;
use super::terminal::{harmless, status_style, styled};
use super::watching::{Watching, explain, follow, is_refusal};
use crate::api::{
    ConditionType, FailureReason, Relocation, RelocationStatus, StatusValue, Step, condition_status, find_condition,
};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// It stands in PAUSE.
    Paused,
    /// This step has been entered.
    Step(Step),
    /// It has ended in SUCCESS.
    Succeeded,
    /// It has ended, well or badly, and nothing of it runs any more.
    Finished,
}

impl std::str::FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "paused" => Ok(Self::Paused),
            "succeeded" => Ok(Self::Succeeded),
            "finished" => Ok(Self::Finished),
            other => match other.strip_prefix("step=") {
                Some("completed") => Ok(Self::Succeeded),
                Some(step) => step.parse::<Step>().map(Self::Step).map_err(|error| error.to_string()),
                None => Err("choose one of paused, step=STEP, succeeded, finished".to_owned()),
            },
        }
    }
}

/// How to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// For what.
    pub goal: Goal,
    /// What the operator has said about an earlier generation does not count.
    pub generation: Option<i64>,
    /// How long.
    pub timeout: Option<Duration>,
}

/// Waits, shows what it does, and ends with how it went.
pub(super) async fn wait(session: &Session, cluster: &Cluster, name: &str, wait: &Wait) -> Result<Outcome, Error> {
    // Large, because it holds the watches; on the heap it is of no weight to who waits.
    let waited = Box::pin(watch(session, cluster, name, wait));
    let waited = async {
        let Some(timeout) = wait.timeout else { return waited.await };
        if let Ok(outcome) = tokio::time::timeout(timeout, waited).await {
            return outcome;
        }
        let flags = session.repeated_flags();
        session.remark(&format!(
            "the time is over and {name} goes on as it was asked; see where it is with: kubectl relocation status {name}{flags}"
        ));
        Ok(Outcome::TimedOut)
    };
    unless_told_to_stop(waited).await
}

async fn watch(session: &Session, cluster: &Cluster, name: &str, wait: &Wait) -> Result<Outcome, Error> {
    // A missing one is answered with names that are close, which a watch does not tell.
    let found = cluster.get::<Relocation>(name).await?;
    let mut shown = Shown::begin(session, cluster, name).await?;
    shown.show(&found.object)?;
    if let Some(end) = judge(&found.object, wait) {
        return Ok(shown.end(&found.object, end));
    }
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = std::pin::pin!(follow::<Relocation>(cluster, config));
    let mut relocation = found.object;
    let mut listed = false;
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = shown.progress() => { shown.show(&relocation)?; continue; }
        };
        match change {
            Some(Ok(Happened::Apply(newer) | Happened::InitApply(newer))) => {
                listed = true;
                relocation = newer;
                shown.show(&relocation)?;
                if let Some(end) = judge(&relocation, wait) {
                    return Ok(shown.end(&relocation, end));
                }
            }
            Some(Ok(Happened::Init)) => listed = false,
            Some(Ok(Happened::InitDone)) if listed => {}
            Some(Ok(Happened::InitDone | Happened::Delete(_))) => {
                session.remark(&format!("{name} was deleted"));
                return Ok(Outcome::NotFound);
            }
            Some(Err(error)) if is_refusal(&error) => return Err(explain::<Relocation>(cluster, error)),
            // The watch comes back by itself; how long that may take is up to the timeout.
            Some(Err(error)) => {
                session.remark(&format!("nothing new comes, trying again: {}", explain::<Relocation>(cluster, error)));
            }
            None => return Ok(Outcome::Error),
        }
    }
}

/// How a wait has ended: the outcome, and what there is to say beside where the relocation stands.
type End = (Outcome, &'static str);

/// Whether the wait is over. Pure.
fn judge(relocation: &Relocation, wait: &Wait) -> Option<End> {
    let status = relocation.status.as_ref()?;
    let answered = status.observed_generation?;
    let asked = relocation.metadata.generation.max(wait.generation).unwrap_or(0);
    // Where it stood before the last request is no answer to it.
    if answered < asked {
        return None;
    }
    let value = status.status?;
    match (wait.goal, value) {
        (Goal::Step(step), _) if status.is_behind(step) => Some((Outcome::Done, "")),
        (Goal::Paused, StatusValue::Pause) | (Goal::Step(_) | Goal::Succeeded, StatusValue::Success) => {
            Some((Outcome::Done, ""))
        }
        (_, StatusValue::Failure) if recovers(relocation, status) => None,
        (Goal::Finished, StatusValue::Success | StatusValue::Failure) => {
            (!is_stopping(status)).then_some((Outcome::Done, ""))
        }
        (Goal::Paused, StatusValue::Success) => Some((Outcome::Error, "it did not pause before that")),
        (Goal::Paused | Goal::Step(_) | Goal::Succeeded, StatusValue::Failure) => Some((failed(status), "")),
        (Goal::Step(_) | Goal::Succeeded | Goal::Finished, StatusValue::Pause) => Some((Outcome::Paused, "")),
        (_, StatusValue::Pending | StatusValue::InProgress) => None,
    }
}

/// Whether one more attempt of this failure was asked for and waits for something; it acts by itself.
fn recovers(relocation: &Relocation, status: &RelocationStatus) -> bool {
    let (Some(failure), Some(asked)) = (&status.failure, &relocation.spec.recover) else { return false };
    let is_late = status.late.as_ref().is_some_and(|late| late.value == *asked);
    *asked == failure.id && !is_late
}

fn is_stopping(status: &RelocationStatus) -> bool {
    find_condition(&status.conditions, ConditionType::Cancelling)
        .is_some_and(|condition| condition.status == condition_status::TRUE)
}

fn failed(status: &RelocationStatus) -> Outcome {
    match status.failure.as_ref().map(|failure| failure.reason) {
        Some(FailureReason::Cancelled | FailureReason::Aborted) => Outcome::Cancelled,
        _ => Outcome::Failed,
    }
}

/// What a person sees while it is waited.
struct Shown<'s> {
    session: &'s Session,
    flags: String,
    last: String,
    /// On a terminal: the frame, and the progress of the running task.
    live: Option<(Frames<'s>, Box<Watching>)>,
}

impl<'s> Shown<'s> {
    async fn begin(session: &'s Session, cluster: &Cluster, name: &str) -> Result<Self, Error> {
        let live = if session.terminal.out {
            let observed = Observed::gather(cluster, name).await?;
            Some((Frames::new(session), Box::new(Watching::begin(cluster, name, observed, true))))
        } else {
            None
        };
        Ok(Self { session, flags: session.repeated_flags(), last: String::new(), live })
    }

    /// Comes back when the frame is to be drawn anew.
    async fn progress(&mut self) {
        match &mut self.live {
            Some((_, watching)) => watching.next().await,
            None => std::future::pending().await,
        }
    }

    fn line(&self, relocation: &Relocation) -> String {
        let words = Words {
            now: self.session.now(),
            zone: &self.session.time_zone,
            flags: &self.flags,
            with_ages: self.live.is_some(),
        };
        let status = relocation.status.as_ref();
        let value = status.and_then(|status| status.status);
        let step = status.and_then(|status| status.step).map(|step| format!(" {step}")).unwrap_or_default();
        let value_text = styled(value.map_or("NEW", StatusValue::as_str), status_style(value));
        format!("{value_text}{step}: {}", harmless(&sentence(relocation, &words)))
    }

    fn show(&mut self, relocation: &Relocation) -> Result<(), Error> {
        let line = self.line(relocation);
        let Some((frames, watching)) = &mut self.live else {
            if line == self.last {
                return Ok(());
            }
            let time = ages::clock_time_with_seconds(self.session.now(), &self.session.time_zone);
            self.session.print(&format!("{time} {line}\n"))?;
            self.last = line;
            return Ok(());
        };
        let width = (self.session.terminal.size)().map_or(usize::MAX, |size| size.columns);
        let mut picture = wrapped(&line, width);
        if let Ok(Some(progress)) = &watching.observed.progress {
            picture.push_str(&format!("{}\n", progress.render(width)));
        }
        frames.draw(&picture)
    }

    fn end(self, relocation: &Relocation, (outcome, remark): End) -> Outcome {
        drop(self.live);
        if !remark.is_empty() {
            let name = relocation.metadata.name.as_deref().unwrap_or_default();
            self.session.remark(&format!("{name}: {remark}"));
        }
        outcome
    }
}

/// A text in lines that are not wider than the terminal: a frame is drawn over as many lines as it has.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let wide = unicode_width::UnicodeWidthStr::width(super::terminal::plain(word).as_str());
        if column > 0 && column + 1 + wide > width {
            lines.push('\n');
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += wide;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::acting::tests::{and, failed, paused, relocation, running};
    use super::*;

    const GOALS: [Goal; 4] = [Goal::Paused, Goal::Step(Step::Importing), Goal::Succeeded, Goal::Finished];

    /// The exit code for each goal; nothing while it is waited on.
    fn codes(spec: &Value, status: Value, answered: i64, generation: i64) -> [Option<u8>; 4] {
        let mut relocation = relocation(spec, &and(status, json!({ "observedGeneration": answered })));
        relocation.metadata.generation = Some(generation);
        GOALS.map(|goal| {
            let wait = Wait { goal, generation: None, timeout: None };
            judge(&relocation, &wait).map(|(outcome, _)| outcome.code())
        })
    }

    #[test]
    fn each_state_ends_the_wait_for_some_goals_with_the_code_of_its_outcome() {
        let none = json!({});
        let success = json!({ "status": "SUCCESS", "step": "COMPLETED" });
        for (status, expected) in [
            (running("UPLOADING"), [None, None, None, None]),
            (running("IMPORTING"), [None, Some(0), None, None]),
            (paused("IMPORTING", "Fence"), [Some(0), Some(4), Some(4), Some(4)]),
            (paused("NOTIFYING", "AutoFence"), [Some(0), Some(0), Some(4), Some(4)]),
            (failed("VALIDATING", "AttemptsExhausted", true), [Some(2), Some(2), Some(2), Some(0)]),
            (failed("VALIDATING", "Cancelled", false), [Some(3), Some(3), Some(3), Some(0)]),
            (failed("VALIDATING", "Aborted", true), [Some(3), Some(3), Some(3), Some(0)]),
            (success, [Some(1), Some(0), Some(0), Some(0)]),
        ] {
            assert_eq!(codes(&none, status.clone(), 2, 2), expected, "{status}");
            assert_eq!(codes(&none, status.clone(), 1, 2), [None; 4], "not answered yet: {status}");
        }
    }

    #[test]
    fn a_failure_that_is_being_recovered_is_no_end() {
        let spec = json!({ "recover": "IMPORTING-1-0badcafe" });
        assert_eq!(codes(&spec, failed("IMPORTING", "AttemptsExhausted", false), 2, 2), [None; 4]);
        let late = json!({ "late": {
            "field": "recover", "value": "IMPORTING-1-0badcafe", "why": "no", "at": "2026-01-01T00:00:00Z"
        } });
        let refused = and(failed("IMPORTING", "AttemptsExhausted", false), late);
        assert_eq!(codes(&spec, refused, 2, 2), [Some(2), Some(2), Some(2), Some(0)]);
    }

    #[test]
    fn what_is_still_being_stopped_has_not_finished() {
        let stopping = json!({ "conditions": [{
            "type": "Cancelling", "status": "True", "reason": "StoppingPods", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"
        }] });
        let status = and(failed("VALIDATING", "Aborted", true), stopping);
        assert_eq!(codes(&json!({}), status, 2, 2), [Some(3), Some(3), Some(3), None]);
    }

    #[test]
    fn goals_are_read_in_any_case() {
        assert_eq!("Paused".parse(), Ok(Goal::Paused));
        assert_eq!("step=importing".parse(), Ok(Goal::Step(Step::Importing)));
        assert_eq!("step=COMPLETED".parse(), Ok(Goal::Succeeded));
        assert_eq!("ended".parse::<Goal>().unwrap_err(), "choose one of paused, step=STEP, succeeded, finished");
        assert!("step=flying".parse::<Goal>().unwrap_err().contains("is not a step"));
    }

    #[test]
    fn a_line_is_broken_where_the_terminal_ends() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree\n");
        assert_eq!(wrapped("longer than this", 3), "longer\nthan\nthis\n");
    }
}
