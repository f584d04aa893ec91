//! The commands, one file each.

mod artifacts;
mod explain;
mod history;
mod list;
mod logs;
mod status;
mod version;

use clap::Subcommand;

use super::error::Error;
use super::outcome::Outcome;
use super::session::Session;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List relocations, newest first
    #[command(visible_alias = "ls")]
    List(list::ListArguments),
    /// Show where a relocation is, why it waits, how far it is, and what is possible now
    Status(status::StatusArguments),
    /// Explain why a relocation is where it is, or what a manifest would run
    Explain(explain::ExplainArguments),
    /// Show who asked for what, when and why
    History(history::HistoryArguments),
    /// Show what the tasks said, all attempts
    Logs(logs::LogsArguments),
    /// List what the tasks left behind
    Artifacts(artifacts::ArtifactsArguments),
    /// Show the versions of the plugin and of the cluster
    Version(version::VersionArguments),
}

impl Command {
    /// Does it.
    pub(super) async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        match self {
            Self::List(arguments) => arguments.run(session).await,
            Self::Status(arguments) => arguments.run(session).await,
            Self::Explain(arguments) => arguments.run(session).await,
            Self::History(arguments) => arguments.run(session).await,
            Self::Logs(arguments) => Box::pin(arguments.run(session)).await,
            Self::Artifacts(arguments) => arguments.run(session).await,
            Self::Version(arguments) => arguments.run(session).await,
        }
    }
}
