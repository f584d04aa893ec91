//! The command line, and nothing about what it means.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use super::end::End;
use super::filter::parse_pattern;
use super::import::Existing;
use super::manifest::Staging;
use super::owners::Owners;
use super::pace::{parse_concurrency, parse_rate};
use super::seal::parse_recipient;

/// Moves files between volumes and object stores, one subcommand for each step of a relocation.
///
/// An end is a path, `file:///path`, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`.
/// Credentials come from AWS_…, GOOGLE_… and AZURE_… variables; SOURCE_ or TARGET_ before one makes it count at that end only, _FILE after it names a file with the value.
///
/// Exit codes: 0 done, 65 permanent failure (somebody has to act), 1 transient failure (another attempt goes on where this one stopped).
/// The result is one JSON object in the termination message; progress is lines of JSON on standard output.
#[derive(Debug, Parser)]
#[command(name = "relocation-mover", version)]
pub struct Arguments {
    /// File for the result; default /dev/termination-log where it exists, else standard output.
    #[arg(long, global = true, value_name = "PATH")]
    pub termination_log: Option<PathBuf>,
    /// Files or parts in work at the same time, 1 to 256; default four times the cores, at most 16. Empty = default.
    #[arg(long, global = true, value_name = "NUMBER", default_value = "", hide_default_value = true, value_parser = concurrency)]
    pub concurrency: Concurrency,
    /// Bytes a second that are read at most, such as 10M; K, M and G are 1024 of the one before. Empty = as fast as it goes.
    #[arg(long, global = true, value_name = "RATE", default_value = "", hide_default_value = true, value_parser = bandwidth)]
    pub bandwidth: Bandwidth,
    /// File with the age identity that opens a sealed workspace, as age-keygen writes it; default `RELOCATION_AGE_IDENTITY_FILE`. Empty = none.
    #[arg(long, global = true, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub identity_file: Option<PathBuf>,
    /// The step.
    #[command(subcommand)]
    pub step: Step,
}

/// A number of things at once; nothing = the default.
#[derive(Debug, Clone, Copy)]
pub struct Concurrency(pub Option<usize>);

/// Bytes a second; nothing = no limit.
#[derive(Debug, Clone, Copy)]
pub struct Bandwidth(pub Option<u64>);

/// One subcommand for each step.
#[derive(Debug, Subcommand)]
pub enum Step {
    /// UPLOADING: read the source, copy it into the workspace while hashing, and write the manifest.
    Upload {
        /// What to move. It is only read.
        #[arg(long, value_name = "END", value_parser = end())]
        source: End,
        /// Whether the workspace gets a copy; with none, the later steps need --source too and read the source a second time. Default: copy where there is a workspace.
        #[arg(long, value_enum, value_name = "HOW")]
        staging: Option<Staging>,
        /// Seal what rests in the workspace, so that only the age identity of this recipient opens it; may be repeated. Later steps need --identity-file. Empty = none.
        #[arg(long, value_name = "AGE1…", value_parser = parse_recipient)]
        recipient: Vec<String>,
        /// Compress the copy in the workspace with zstd, as --recipient does too. Empty = no.
        #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_value = "", hide_default_value = true, default_missing_value = "true", value_parser = yes)]
        compress: bool,
        /// Take only files with this name, or whose path matches if the pattern has a slash; may be repeated.
        #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
        include: Vec<String>,
        /// Leave out what has this name or path, with everything below it; may be repeated.
        #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
        exclude: Vec<String>,
        /// Succeed when there is nothing to move; otherwise an empty source is a failure.
        #[arg(long)]
        allow_empty: bool,
        /// Where the data go.
        #[command(flatten)]
        target: KeeperArgument,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// PREPROCESSING: find everything at the target that would stop the import, before anything is written.
    Preprocess {
        /// Where the data go.
        #[command(flatten)]
        target: TargetArgument,
        /// What to do where the target has something.
        #[command(flatten)]
        existing: ExistingArgument,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// VALIDATING: read the staged copy again, or look at the source again, and report the verdict VALID or INVALID.
    Validate {
        /// Where the data come from.
        #[command(flatten)]
        source: SourceArgument,
        /// Where the data go.
        #[command(flatten)]
        target: KeeperArgument,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// IMPORTING: write the data to the target; continues where a killed attempt stopped.
    Import {
        /// Where the data come from.
        #[command(flatten)]
        source: SourceArgument,
        /// Where the data go.
        #[command(flatten)]
        target: TargetArgument,
        /// What to do where the target has something.
        #[command(flatten)]
        existing: ExistingArgument,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// POSTPROCESSING: read the target again, compare it with the manifest, and set modes and times.
    Postprocess {
        /// Where the data go.
        #[command(flatten)]
        target: TargetArgument,
        /// Whether files and directories get the owner and group that they had; what this user may not set stays its own and is counted.
        #[arg(long, value_enum, default_value_t = Owners::Keep, value_name = "HOW")]
        owners: Owners,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// NOTIFYING: send an event by HTTP POST, or log a line when there is no URL.
    Notify {
        /// Receiver, http:// or https://; empty = none.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Where the data went.
        #[command(flatten)]
        target: KeeperArgument,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// After the end: remove from the target what this relocation has written, and nothing else.
    Cleanup {
        /// Where the data went.
        #[command(flatten)]
        target: TargetArgument,
        /// Where the workspace is.
        #[command(flatten)]
        workspace: WorkspaceArgument,
    },
    /// Any step: do what `RELOCATION_STEP` names, with those of the options that it takes; so every task can have the same template.
    Step {
        /// Options of the steps above, those of all steps among them.
        #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Any step: move nothing, end well and report the verdict VALID. For trying out an installation.
    Rehearse,
}

/// Where the data come from, for the steps after the first.
#[derive(Debug, Args)]
pub struct SourceArgument {
    /// The same as for upload; needed where that had --staging=none.
    #[arg(long, value_name = "END", value_parser = end())]
    pub source: Option<End>,
}

/// What to do where the target has something.
#[derive(Debug, Args)]
pub struct ExistingArgument {
    /// What to do with a file or object of the target that is not from this relocation.
    #[arg(long, value_enum, default_value_t = Existing::Fail, value_name = "HOW")]
    pub existing: Existing,
}

/// Where the workspace is.
#[derive(Debug, Args)]
pub struct WorkspaceArgument {
    /// The relocation's workspace; default `RELOCATION_WORKSPACE`. Without one, the target keeps the manifest and the journal.
    #[arg(long, value_name = "PATH")]
    pub workspace: Option<PathBuf>,
}

/// Where the data go.
#[derive(Debug, Args)]
pub struct TargetArgument {
    /// Where to move to.
    #[arg(long, value_name = "END", value_parser = end())]
    pub target: End,
}

/// Who keeps the records where there is no workspace, for steps that have nothing else to do there.
#[derive(Debug, Args)]
pub struct KeeperArgument {
    /// The same as for import; needed where there is no workspace, because the target keeps the manifest and the journal then.
    #[arg(long, value_name = "END", value_parser = end())]
    pub target: Option<End>,
}

fn end() -> impl TypedValueParser<Value = End> {
    OsStringValueParser::new().try_map(End::parse)
}

fn concurrency(text: &str) -> Result<Concurrency, String> {
    parse_concurrency(text).map(Concurrency)
}

fn yes(text: &str) -> Result<bool, String> {
    match text {
        "" | "false" => Ok(false),
        "true" => Ok(true),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

fn bandwidth(text: &str) -> Result<Bandwidth, String> {
    parse_rate(text).map(Bandwidth)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::any_step;
    use super::*;

    /// The step and the arguments of all tasks of an example's plan, with the parameters at their defaults.
    fn arguments_of(example: &str) -> Vec<(String, Vec<String>)> {
        let path = format!("{}/examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
        let plan: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let parameters = plan["spec"]["parameters"].as_array().cloned().unwrap_or_default();
        let fill_in = |text: &str| {
            parameters.iter().fold(text.to_owned(), |text, parameter| {
                let name = parameter["name"].as_str().unwrap();
                text.replace(&format!("$({name})"), parameter["default"].as_str().unwrap())
            })
        };
        let words_of = |task: &Value| {
            let container = &task["template"]["spec"]["containers"][0];
            let words = ["command", "args"].map(|field| container[field].as_array().cloned().unwrap_or_default());
            words.iter().flatten().map(|word| fill_in(word.as_str().unwrap())).collect()
        };
        let steps = plan["spec"]["steps"].as_array().unwrap();
        let tasks = steps.iter().flat_map(|step| {
            let name = step["step"].as_str().unwrap().to_owned();
            step["tasks"].as_array().unwrap().iter().map(move |task| (name.clone(), task))
        });
        tasks.map(|(step, task)| (step, words_of(task))).collect()
    }

    #[test]
    fn every_task_of_the_examples_is_a_command_line_of_the_mover() {
        for example in ["volume-to-volume/plan", "volume-to-s3/plan", "volume-to-s3/short", "s3-to-s3/plan"] {
            let all = arguments_of(example);
            assert!(all.len() >= 5, "{example}");
            for (step, words) in all {
                let parsed = any_step::parse(words.iter().map(OsString::from), |_| Some(OsString::from(&step)));
                assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
                assert!(!words.iter().any(|word| word.contains("$(")), "{words:?}");
            }
        }
    }
}
