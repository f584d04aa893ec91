//! The commands, one file each.

mod abort;
mod artifacts;
mod cancel;
mod completion;
mod create;
mod doctor;
mod explain;
mod history;
mod list;
mod logs;
mod patch;
mod pause;
mod recover;
mod resume;
mod retry;
mod status;
mod suspend;
mod unpause;
mod version;
mod wait;

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
    /// Make a relocation, by flags or from a file
    Create(create::CreateArguments),
    /// Wait until a relocation is paused, has entered a step, or has ended
    Wait(wait::WaitArguments),
    /// Stop before a step
    Pause(pause::PauseArguments),
    /// Open the fence that holds a relocation, and let it go on
    Unpause(unpause::UnpauseArguments),
    /// End instead of entering a step, or take that back
    Cancel(cancel::CancelArguments),
    /// Stop the running work now, to go on later
    Suspend(suspend::SuspendArguments),
    /// Go on with the work that was suspended
    Resume(resume::ResumeArguments),
    /// End now
    Abort(abort::AbortArguments),
    /// Try exactly the failed task once more
    Recover(recover::RecoverArguments),
    /// Start a failed relocation over, as a new one
    Retry(retry::RetryArguments),
    /// Change fields of spec by their names in the API
    Patch(Box<patch::PatchArguments>),
    /// Check whether everything is there that relocations need, and say how to mend what is not
    Doctor(doctor::DoctorArguments),
    /// Write the script by which a shell completes names from the cluster
    Completion(completion::CompletionArguments),
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
            Self::Create(arguments) => arguments.run(session).await,
            Self::Wait(arguments) => arguments.run(session).await,
            Self::Pause(arguments) => arguments.run(session).await,
            Self::Unpause(arguments) => arguments.run(session).await,
            Self::Cancel(arguments) => arguments.run(session).await,
            Self::Suspend(arguments) => arguments.run(session).await,
            Self::Resume(arguments) => arguments.run(session).await,
            Self::Abort(arguments) => arguments.run(session).await,
            Self::Recover(arguments) => arguments.run(session).await,
            Self::Retry(arguments) => arguments.run(session).await,
            Self::Patch(arguments) => arguments.run(session).await,
            Self::Doctor(arguments) => Box::pin(arguments.run(session)).await,
            Self::Completion(arguments) => arguments.run(session),
            Self::Version(arguments) => arguments.run(session).await,
        }
    }
}
