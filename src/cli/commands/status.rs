//! `status`: where a relocation is, why it waits, how far it is, and what is possible now.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::Value;

use super::super::ages;
use super::super::cluster::Cluster;
use super::super::error::Error;
use super::super::frames::Frames;
use super::super::interruption::unless_told_to_stop;
use super::super::observed::Observed;
use super::super::outcome::Outcome;
use super::super::output::OutputArguments;
use super::super::sentence::Words;
use super::super::session::Session;
use super::super::tree::{Canvas, facts, picture};
use super::super::view::View;
use super::super::watching::{Existence, Watching};
use crate::api::RelocationStatus;

/// The flags of `status`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation status acme            steps, tasks, attempts, Jobs, pods; what is possible now
  kubectl relocation status acme --watch    the same, live, until it has ended
  kubectl relocation status acme -w | cat   a line for every change
  kubectl relocation status acme -o wide    with finished tasks unfolded, nodes and fencing tokens
  kubectl relocation status acme -o jsonpath='{.sentence}'

A watch ends with the relocation. Exit codes that tell how it ended are those of: kubectl relocation wait")]
pub struct StatusArguments {
    /// The relocation
    name: String,
    /// Go on showing it until it has ended
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    output: OutputArguments,
}

impl StatusArguments {
    /// Shows it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let cluster = session.cluster_in_one_namespace().await?;
        let observed = Observed::gather(&cluster, &self.name).await?;
        if self.watch {
            return unless_told_to_stop(Box::pin(self.watch(session, &cluster, observed))).await;
        }
        self.show(session, &observed)?;
        Ok(Outcome::Done)
    }

    fn show(&self, session: &Session, observed: &Observed) -> Result<(), Error> {
        if self.output.is_for_programs() {
            return self.print(session, observed);
        }
        let flags = session.repeated_flags();
        let view = View::of(observed, &words(session, &flags, true));
        session.print(&picture(&view, self.canvas(session)))
    }

    fn print(&self, session: &Session, observed: &Observed) -> Result<(), Error> {
        let flags = session.repeated_flags();
        let view = View::of(observed, &words(session, &flags, false));
        let name = format!("relocation.{}/{}", crate::api::GROUP, view.name);
        let value = serde_json::to_value(&view).unwrap_or(Value::Null);
        self.output.print_value(session, &value, &[name])
    }

    fn canvas(&self, session: &Session) -> Canvas {
        let size = session.terminal.out.then(session.terminal.size).flatten();
        Canvas { now: session.now(), width: size.map(|size| size.columns), wide: self.output.is_wide() }
    }

    async fn watch(&self, session: &Session, cluster: &Cluster, observed: Observed) -> Result<Outcome, Error> {
        let on_terminal = session.terminal.out && !self.output.is_for_programs();
        let mut watching = Watching::begin(cluster, &self.name, observed, on_terminal);
        let mut frames = Frames::new(session);
        let mut told = BTreeSet::new();
        let flags = session.repeated_flags();
        loop {
            if self.output.is_for_programs() {
                self.print(session, &watching.observed)?;
            } else {
                let mut view = View::of(&watching.observed, &words(session, &flags, on_terminal));
                view.remarks.extend(watching.broken.clone());
                if on_terminal {
                    frames.draw(&picture(&view, self.canvas(session)))?;
                } else {
                    tell(session, &mut told, facts(&view))?;
                }
            }
            let status = watching.observed.relocation.status.as_ref();
            if watching.existence == Existence::Deleted {
                session.remark("it was deleted");
                return Ok(Outcome::NotFound);
            }
            if status.is_some_and(RelocationStatus::has_ended) {
                return Ok(Outcome::Done);
            }
            watching.next().await;
        }
    }
}

fn words<'a>(session: &'a Session, flags: &'a str, with_ages: bool) -> Words<'a> {
    Words { now: session.now(), zone: &session.time_zone, flags, with_ages }
}

/// Prints what was not told before, a line each, with the time.
fn tell(session: &Session, told: &mut BTreeSet<String>, facts: Vec<String>) -> Result<(), Error> {
    let now = session.now();
    let time = ages::clock_time_with_seconds(now, &session.time_zone);
    let news: String =
        facts.iter().filter(|fact| !told.contains(*fact)).map(|fact| format!("{time} {fact}\n")).collect();
    // What is no longer so may become so again, and is then news.
    *told = facts.into_iter().collect();
    if news.is_empty() { Ok(()) } else { session.print(&news) }
}
