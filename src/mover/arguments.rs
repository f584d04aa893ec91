//! The command line, and nothing about what it means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Moves a directory tree from one volume to another, one subcommand for each step of a relocation.
///
/// Exit codes: 0 done, 65 permanent failure (somebody has to act), 1 transient failure (another attempt goes on where this one stopped).
/// The result is one JSON object in the termination message; progress is lines of JSON on standard output.
#[derive(Debug, Parser)]
#[command(name = "relocation-mover", version)]
pub struct Arguments {
    /// File for the result; default /dev/termination-log where it exists, else standard output.
    #[arg(long, global = true, value_name = "PATH")]
    pub termination_log: Option<PathBuf>,
    /// The step.
    #[command(subcommand)]
    pub step: Step,
}

/// One subcommand for each step.
#[derive(Debug, Subcommand)]
pub enum Step {
    /// UPLOADING: copy the source into the workspace while hashing, and write the manifest.
    Upload {
        /// Directory to move. It is only read.
        #[arg(long, value_name = "PATH")]
        source: PathBuf,
        /// Succeed when there is nothing to move; otherwise an empty source is a failure.
        #[arg(long)]
        allow_empty: bool,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// PREPROCESSING: find everything at the target that would stop the import, before anything is written.
    Preprocess {
        /// Where the data go.
        #[command(flatten)]
        target: TargetArgument,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// VALIDATING: read the staged copy again and report the verdict VALID or INVALID.
    Validate {
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// IMPORTING: write the staged copy to the target; continues where a killed attempt stopped.
    Import {
        /// Where the data go.
        #[command(flatten)]
        target: TargetArgument,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// POSTPROCESSING: read the target again, compare it with the manifest, and set modes and times.
    Postprocess {
        /// Where the data go.
        #[command(flatten)]
        target: TargetArgument,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// NOTIFYING: send an event by HTTP POST, or log a line when there is no URL.
    Notify {
        /// Receiver, http:// or https://; empty = none.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// Any step: move nothing, end well and report the verdict VALID. For trying out an installation.
    Rehearse,
}

/// Where the workspace is.
#[derive(Debug, Args)]
pub struct WorkspaceArgument {
    /// The relocation's workspace; default `RELOCATION_WORKSPACE`, else /relocation.
    #[arg(long, value_name = "PATH")]
    pub workspace: Option<PathBuf>,
}

/// Where the data go.
#[derive(Debug, Args)]
pub struct TargetArgument {
    /// Directory to move to.
    #[arg(long, value_name = "PATH")]
    pub target: PathBuf,
}
