//! The porter: the built-in programs that a relocation's steps run to move files between volumes and object stores.
//!
//! One subcommand for each step, tied together by the workspace (see [`workspace`]; without one, by [`records`] at the target) and the manifest in it (see [`manifest`]):
//!
//! | step | subcommand | reads | writes |
//! |---|---|---|---|
//! | `UPLOADING` | [`upload`] | source | workspace |
//! | `PREPROCESSING` | [`preprocess`] | workspace, target | nothing that stays |
//! | `VALIDATING` | [`validate`] | workspace, or source | nothing |
//! | `IMPORTING` | [`import`] | workspace, or source; target | target, journal |
//! | `POSTPROCESSING` | [`postprocess`] | target, manifest | modes, times and owners at the target |
//! | `NOTIFYING` | [`notify`] | manifest | an HTTP POST; removes records at the target |
//! | `onEnd` | [`cleanup`] | journal, target | removes what it wrote |
//! | any | `rehearse` | nothing | nothing |
//! | any | `step` | is the subcommand of the step that it runs in (see [`any_step`]) |
//!
//! Source and target are trees or stores, each (see [`end`]). With `--staging=copy` the data rest in the workspace between UPLOADING and IMPORTING;
//! with `--staging=none` only the manifest does, and data go from source to target in one stream.
//!
//! | | tree | store |
//! |---|---|---|
//! | source | [`scan`], [`stage`] | [`fetch`] |
//! | target foreseen | [`preprocess`] | [`foresee`] |
//! | target written | [`import`] | [`send`] |
//! | target read again | [`postprocess`] | [`confirm`] |
//!
//! Large files go in [`parts`], between any two ends.
//! The copy in the workspace can be packed: compressed, and sealed so that only an identity opens it (see [`packs`] and [`seal`]); then the lists there are sealed too (see [`lines`]).
//!
//! **Invariant: killed at any instruction, started again, the same end.** Every step is safe to repeat and to interrupt; `tests/mover.rs` and `tests/store.rs` do both at random.
//! **Invariant: the source is only read**, and nothing at the target is replaced unless the plan says so.
//!
//! What survives a move: contents, names of any bytes, directories (empty ones too), symbolic links (never followed), hard links, holes, modes and times;
//! between stores content types and metadata. Through a store, modes, times, owners and hard links are metadata (see [`object`] and [`links`]).
//! Owners, extended attributes and access control lists come back at a tree where the step may set them (see [`attributes`], [`owners`]). What is refused: fifos, sockets and devices.
//!
//! It knows nothing of Kubernetes but the step contract (environment, exit codes, termination message), which [`settings`], [`error`] and [`outcome`] speak.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use self::arguments::{ExistingArgument, KeeperArgument, SourceArgument, Step, TargetArgument, WorkspaceArgument};
use self::end::End;
use self::error::{Disposition, Error};
use self::filter::Filter;
use self::import::Ends;
use self::manifest::Packing;
use self::outcome::{Outcome, Verdict};
use self::pace::{Pace, Throttle};
use self::records::Site;
use self::seal::Secret;
use self::settings::Settings;
use self::upload::{Empty, Wanted};
use self::workspace::Stopped;

pub mod any_step;
pub mod arguments;
pub mod attributes;
pub mod checkpoint;
pub mod cleanup;
pub mod clock;
pub mod compare;
pub mod confirm;
pub mod content;
pub mod end;
pub mod entry;
pub mod error;
pub mod fence;
pub mod fetch;
pub mod filter;
pub mod foresee;
pub mod import;
pub mod journal;
pub mod lines;
pub mod links;
pub mod listing;
pub mod manifest;
pub mod notify;
pub mod object;
pub mod origin;
pub mod outcome;
pub mod owners;
pub mod pace;
pub mod packs;
pub mod parts;
pub mod pool;
pub mod postprocess;
pub mod preprocess;
pub mod probe;
pub mod progress;
pub mod quoted;
pub mod recorded;
pub mod records;
pub mod scan;
pub mod seal;
pub mod send;
pub mod settings;
pub mod stage;
pub mod store;
pub mod tree;
pub mod upload;
pub mod validate;
pub mod walk;
pub mod workspace;

/// Exit code of a failure that only a person can remove.
pub const PERMANENT: u8 = 65;
/// Exit code of a failure that another attempt may not meet.
pub const TRANSIENT: u8 = 1;

/// Where a step talks to people: progress on `out`, sentences on standard error.
pub struct Console<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
}

impl Console<'_> {
    /// Logs a sentence. Nobody listening is no reason to stop.
    pub fn log(&self, sentence: &str) {
        let _ = writeln!(std::io::stderr(), "{sentence}");
    }
}

/// Runs the program: parses, runs one step, delivers its result and says how it ended.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
    out: &mut dyn Write,
) -> ExitCode {
    let arguments = match any_step::parse(arguments, &variable) {
        Ok(arguments) => arguments,
        Err(asked) if !asked.use_stderr() => {
            let _ = write!(out, "{asked}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            let sentence = sentence_about(&wrong);
            return conclude(Err(Error::Arguments(sentence).into()), None, out);
        }
    };
    raise_descriptor_limit();
    let result = Settings::read(variable).map_err(Stopped::from).and_then(|settings| {
        let throttle = arguments.bandwidth.0.map_or_else(Throttle::default, Throttle::at);
        let named = arguments.identity_file.filter(|path| !path.as_os_str().is_empty()).map(Secret::File);
        let secret = named.or_else(|| settings.secret.clone());
        let settings = Settings { pace: Pace { concurrency: arguments.concurrency.0, throttle }, secret, ..settings };
        run_step(&arguments.step, &settings, &mut Console { out })
    });
    conclude(result, arguments.termination_log.as_deref(), out)
}

/// What is wrong with the command line. A value that was refused is not repeated: somebody may have put a secret into it.
fn sentence_about(wrong: &clap::Error) -> String {
    if let (Some(argument), Some(problem)) = (wrong.get(ContextKind::InvalidArg), wrong.source()) {
        return format!("{argument}: {problem}");
    }
    let is_word = |argument: &ContextValue| !argument.to_string().starts_with('-');
    if wrong.kind() == ErrorKind::UnknownArgument && wrong.get(ContextKind::InvalidArg).is_some_and(is_word) {
        return "it has a word that no option takes; write its option before it".to_owned();
    }
    let text = wrong.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn run_step(step: &Step, settings: &Settings, console: &mut Console) -> Result<Outcome, Stopped> {
    let site = |argument: &WorkspaceArgument, target: Option<&End>| {
        Site::choose(argument.workspace.clone().or_else(|| settings.workspace.clone()), target)
    };
    match step {
        Step::Upload {
            source,
            staging,
            recipient,
            compress,
            include,
            exclude,
            allow_empty,
            target: KeeperArgument { target },
            workspace,
        } => {
            let empty = if *allow_empty { Empty::Allow } else { Empty::Refuse };
            let given = |patterns: &[String]| patterns.iter().filter(|pattern| !pattern.is_empty()).cloned().collect();
            let filter = Filter { include: given(include), exclude: given(exclude) };
            let recipients = given(recipient);
            let packing = (*compress || !recipients.is_empty()).then_some(Packing { recipients });
            let wanted = Wanted { empty, staging: *staging, packing, filter };
            upload::run(source, &site(workspace, target.as_ref())?, wanted, settings, console)
        }
        Step::Preprocess { target: TargetArgument { target }, existing: ExistingArgument { existing }, workspace } => {
            preprocess::run(target, *existing, &site(workspace, Some(target))?, settings, console)
        }
        Step::Validate { source: SourceArgument { source }, target: KeeperArgument { target }, workspace } => {
            validate::run(source.as_ref(), &site(workspace, target.as_ref())?, settings, console)
        }
        Step::Import {
            source: SourceArgument { source },
            target: TargetArgument { target },
            existing: ExistingArgument { existing },
            workspace,
        } => {
            let ends = Ends { source: source.as_ref(), target, existing: *existing };
            import::run(&ends, &site(workspace, Some(target))?, settings, console)
        }
        Step::Postprocess { target: TargetArgument { target }, owners, workspace } => {
            postprocess::run(target, *owners, &site(workspace, Some(target))?, settings, console)
        }
        Step::Notify { url, target: KeeperArgument { target }, workspace } => {
            // Somebody can be told without either.
            let site = site(workspace, target.as_ref()).ok();
            notify::run(url.as_deref(), site.as_ref(), settings)
        }
        Step::Cleanup { target: TargetArgument { target }, workspace } => {
            cleanup::run(target, &site(workspace, Some(target))?, settings, console)
        }
        // Written before an option that all steps have, it is not taken for the first word.
        Step::Step { .. } => {
            Err(Error::Arguments("'step' is the first word; write it before every option".to_owned()).into())
        }
        Step::Rehearse => Ok(rehearse(settings)),
    }
}

/// Stands in for any step where the life cycle is to be tried and there is nothing to move.
fn rehearse(settings: &Settings) -> Outcome {
    let step = if settings.about.step.is_empty() { "the step" } else { &settings.about.step };
    Outcome { verdict: Some(Verdict::Valid), ..Outcome::said(format!("rehearsed {step}: nothing was moved")) }
}

fn conclude(result: Result<Outcome, Stopped>, termination_log: Option<&Path>, out: &mut dyn Write) -> ExitCode {
    let (outcome, code) = match result {
        Ok(outcome) => (outcome, ExitCode::SUCCESS),
        Err(Stopped { error, artifacts }) => {
            let code = match error.disposition() {
                Disposition::Permanent => PERMANENT,
                Disposition::Transient => TRANSIENT,
            };
            (Outcome { artifacts, ..Outcome::stopped(&error) }, ExitCode::from(code))
        }
    };
    Console { out: &mut *out }.log(&outcome.message);
    outcome::deliver(&outcome.render(), termination_log, out);
    code
}

/// A deep tree keeps a descriptor open for each level; the soft limit is often far below what is allowed.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Without it only very deep trees fail, and they say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Ends the process on SIGTERM.
///
/// The first process of a container ignores SIGTERM unless it asks for it, so an abort would wait for the grace period.
/// Every step may end at any instruction, so it ends at once.
pub fn exit_on_sigterm() {
    const BY_SIGTERM: i32 = 128 + signal_hook::consts::SIGTERM;
    let armed = Arc::new(AtomicBool::new(true));
    // Fails for signals that cannot be handled, which this is not; without it only the grace period is lost.
    let _ = signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGTERM, BY_SIGTERM, armed);
}
