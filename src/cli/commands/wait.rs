//! `wait`: until it is paused, has entered a step, or has ended.

use std::time::Duration;

use clap::Args;

use super::super::arguments::read_duration;
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::{Goal, Wait, wait};

/// The flags of `wait`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation wait acme                                until it has succeeded
  kubectl relocation wait acme --for paused --timeout 2h      until it stands before a fence
  kubectl relocation wait acme --for step=importing           until IMPORTING has begun
  kubectl relocation wait acme --for finished                 until it has ended, well or badly

EXIT CODES
  0    what was waited for has come
  2    it has failed
  3    it was cancelled or aborted
  4    it has paused, and goes no further without a person
  124  the time is over")]
pub struct WaitArguments {
    /// The relocation
    name: String,
    /// What to wait for: paused, step=STEP, succeeded or finished
    #[arg(long = "for", value_name = "WHAT", default_value = "succeeded", hide_default_value = false)]
    goal: Goal,
    /// How long, such as 90s or 2h; as long as it takes when absent
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    timeout: Option<Duration>,
}

impl WaitArguments {
    /// Waits.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let cluster = session.cluster_in_one_namespace().await?;
        wait(session, &cluster, &self.name, &Wait { goal: self.goal, generation: None, timeout: self.timeout }).await
    }
}
