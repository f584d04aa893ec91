//! `history`: who asked for what, when and why, and how it ended.

use clap::Args;
use serde_json::Value;

use super::super::ages;
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::output::OutputArguments;
use super::super::session::Session;
use super::super::table::{Cell, Table};
use super::super::terminal::FAINT;
use crate::api::{Relocation, Step};

/// The flags of `history`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation history acme            the last 20 requests and endings, oldest first
  kubectl relocation history acme -o yaml    the same with every field")]
pub struct HistoryArguments {
    /// The relocation
    name: String,
    #[command(flatten)]
    output: OutputArguments,
}

impl HistoryArguments {
    /// Shows it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let cluster = session.cluster_in_one_namespace().await?;
        let found = cluster.get::<Relocation>(&self.name).await?;
        let history = found.object.status.map(|status| status.history).unwrap_or_default();
        if self.output.is_for_programs() {
            let entries = found.sent["status"]["history"].as_array().cloned().unwrap_or_default();
            let names: Vec<String> = history.iter().map(|entry| entry.action.clone()).collect();
            self.output.print_value(session, &Value::Array(entries), &names)?;
            return Ok(Outcome::Done);
        }
        if history.is_empty() {
            session.remark(&format!("nobody has asked anything of {} yet, and it has not ended", self.name));
            return Ok(Outcome::Done);
        }
        let now = session.now();
        let mut table = Table::new(&["AGE", "ACTION", "STEP", "BY", "REASON", "DETAIL"]);
        for entry in &history {
            table.row(vec![
                Cell::new(&ages::since(entry.at.0, now), FAINT),
                Cell::from(entry.action.as_str()),
                Cell::maybe(entry.step.map(Step::as_str)),
                Cell::maybe(entry.manager.as_deref()),
                Cell::maybe(entry.reason.as_deref()),
                Cell::maybe(entry.detail.as_deref()),
            ]);
        }
        self.output.print_table(session, &table)?;
        Ok(Outcome::Done)
    }
}
