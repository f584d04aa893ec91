//! Completion that asks the cluster: names of relocations, plans, steps, failures, owners, namespaces and contexts.
//!
//! A shell asks through an environment variable, as the script of `completion SHELL` tells it to; kubectl asks through
//! a program named `kubectl_complete-relocation`, which is `kubectl-relocation __complete`, in the way of its own
//! completion. Whatever goes wrong, there is nothing to complete: an error in the middle of a line helps nobody.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::StyledStr;
use clap::{ArgMatches, Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use clap_complete::env::Shells;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;
use kube::core::Request as KubeRequest;
use serde::Deserialize;
use serde_json::Value;

use super::arguments::{Arguments, GlobalArguments};
use super::cluster::{Cluster, Kind, Place};
use super::connection::connect;
use super::session::Outside;
use crate::api::{Relocation, RelocationPlan, StatusValue, Step};

/// The variable by which a shell's script asks for completion; its value is the shell.
pub(super) const VARIABLE: &str = "KUBECTL_RELOCATION_COMPLETE";

/// The first word by which kubectl's completion asks.
pub(super) const WORD: &str = "__complete";

/// The program.
pub(super) const PROGRAM: &str = "kubectl-relocation";

/// Nobody waits longer for a list of names.
const LIMIT: Duration = Duration::from_secs(1);

/// cobra's directive that these are all, and files are not meant.
const NO_FILES: &str = ":4";

/// Somebody asks for what may follow on the line.
pub(super) enum Question {
    /// A shell.
    Shell {
        /// Its name or path.
        shell: String,
        /// The words of the line, the program's name first.
        words: Vec<OsString>,
    },
    /// kubectl's completion.
    Kubectl {
        /// The words of the line, the program's name first; the last one is to be completed.
        words: Vec<OsString>,
    },
}

impl Question {
    /// The question in these arguments, if they are one.
    pub fn of(arguments: &[OsString], variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if arguments.get(1).is_some_and(|word| word == WORD) {
            let words = [OsString::from(PROGRAM)].into_iter().chain(arguments[2..].iter().cloned());
            return Some(Self::Kubectl { words: words.collect() });
        }
        let shell = variable(VARIABLE).filter(|shell| !shell.is_empty() && shell != "0")?;
        let words = arguments.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
        Some(Self::Shell { shell, words })
    }

    /// Writes what may follow.
    pub fn answer(self, outside: Outside) {
        let Outside { mut out, variable, .. } = outside;
        let text = match self {
            Self::Kubectl { words } => for_kubectl(words, variable),
            Self::Shell { shell, words } => for_shell(&shell, words, variable),
        };
        // Nobody is left to be told that this failed.
        let _ = out.write_all(&text).and_then(|()| out.flush());
    }
}

fn for_shell(shell: &str, words: Vec<OsString>, variable: fn(&str) -> Option<String>) -> Vec<u8> {
    let mut text = Vec::new();
    let name = std::path::Path::new(shell).file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let shells = Shells::builtins();
    if let Some(completer) = shells.completer(name) {
        let index = variable("_CLAP_COMPLETE_INDEX").and_then(|index| index.parse().ok());
        let mut command = command(&words, index, variable);
        // What was written before an error is no use to anybody.
        if completer.write_complete(&mut command, words, None, &mut text).is_err() {
            text.clear();
        }
    }
    text
}

fn for_kubectl(words: Vec<OsString>, variable: fn(&str) -> Option<String>) -> Vec<u8> {
    let index = words.len().saturating_sub(1);
    let mut command = command(&words, Some(index), variable);
    let wants_flags = words.last().is_some_and(|word| word.to_string_lossy().starts_with('-'));
    let candidates = complete(&mut command, words, index, None).unwrap_or_default();
    let lines = candidates.iter().filter(|candidate| !candidate.is_hide_set()).filter_map(|candidate| {
        let value = candidate.get_value().to_str()?;
        let help = candidate.get_help().map(|help| format!("\t{}", first_line(&help.to_string()))).unwrap_or_default();
        (wants_flags || !value.starts_with('-')).then(|| format!("{value}{help}\n"))
    });
    let lines: String = lines.collect();
    format!("{lines}{NO_FILES}\n").into_bytes()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The command line, in which what the cluster knows is completed.
fn command(words: &[OsString], index: Option<usize>, variable: fn(&str) -> Option<String>) -> Command {
    let cut = index.unwrap_or_else(|| words.len().saturating_sub(1));
    let others = words.iter().enumerate().filter(|(place, _)| *place != cut).map(|(_, word)| word.clone());
    let matches = Arguments::command().ignore_errors(true).try_get_matches_from(others).ok();
    let line = Arc::new(Line::of(matches.as_ref(), variable));
    let mut command = Arguments::command();
    command = command.mut_args(|argument| add(argument, "", &line));
    command.mut_subcommands(|subcommand| {
        let name = subcommand.get_name().to_owned();
        subcommand.mut_args(|argument| add(argument, &name, &line))
    })
}

fn add(argument: clap::Arg, command: &str, line: &Arc<Line>) -> clap::Arg {
    let Some(what) = What::of(command, argument.get_id().as_str()) else { return argument };
    let line = Arc::clone(line);
    argument.add(ArgValueCompleter::new(move |current: &OsStr| {
        let current = current.to_string_lossy();
        let known = line.ask(what);
        known.into_iter().filter_map(|(value, help)| candidate(&value, help, &current)).collect::<Vec<_>>()
    }))
}

/// What goes on with what was typed, in the same case of letters.
fn candidate(value: &str, help: Option<String>, current: &str) -> Option<CompletionCandidate> {
    let begins = value.get(..current.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(current));
    let lower = current.chars().any(|character| character.is_ascii_lowercase());
    let value = if lower && value.chars().all(|character| !character.is_lowercase()) && !value.contains('-') {
        value.to_lowercase()
    } else {
        value.to_owned()
    };
    begins.then(|| CompletionCandidate::new(value).help(help.map(StyledStr::from)))
}

/// What is to be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Relocations with one of these statuses; all when there is none.
    Relocations(&'static [StatusValue]),
    Plans,
    /// Steps that the relocation has not entered.
    OpenSteps,
    /// Steps after the one that it is paused before.
    LaterSteps,
    WorkingSteps,
    Failures,
    Owners,
    Namespaces,
    Contexts,
    Goals,
    Statuses,
}

impl What {
    fn of(command: &str, argument: &str) -> Option<Self> {
        use StatusValue::{Failure, InProgress, Pause, Pending};
        Some(match (command, argument) {
            ("unpause", "name") => Self::Relocations(&[Pause]),
            ("resume", "name") => Self::Relocations(&[Pause, Pending, InProgress]),
            ("recover" | "retry", "name") => Self::Relocations(&[Failure]),
            ("pause" | "cancel" | "suspend" | "abort", "name") => Self::Relocations(&[Pending, InProgress, Pause]),
            (_, "name") => Self::Relocations(&[]),
            ("create", "plan") => Self::Plans,
            ("unpause", "until_step") => Self::LaterSteps,
            (_, "at_step" | "until_step" | "pause_at_step" | "cancel_at_step") => Self::OpenSteps,
            ("logs", "step") => Self::WorkingSteps,
            ("patch", "recover") => Self::Failures,
            ("wait", "goal") => Self::Goals,
            ("list", "status") => Self::Statuses,
            (_, "owner") => Self::Owners,
            (_, "namespace") => Self::Namespaces,
            (_, "context") => Self::Contexts,
            _ => return None,
        })
    }
}

/// What the rest of the line says.
struct Line {
    global: GlobalArguments,
    /// The relocation that is named on it.
    relocation: Option<String>,
    variable: fn(&str) -> Option<String>,
}

/// A value, and what to say beside it.
type Known = (String, Option<String>);

impl Line {
    fn of(matches: Option<&ArgMatches>, variable: fn(&str) -> Option<String>) -> Self {
        let subcommand = matches.and_then(ArgMatches::subcommand).map(|(_, matches)| matches);
        // A flag that belongs to every command is known to the command and to the whole, wherever it stands.
        let text = |id: &str| {
            let of = |matches: &ArgMatches| matches.try_get_one::<String>(id).ok().flatten().cloned();
            subcommand.and_then(of).or_else(|| matches.and_then(of))
        };
        let path = |id: &str| {
            let of = |matches: &ArgMatches| matches.try_get_one::<std::path::PathBuf>(id).ok().flatten().cloned();
            subcommand.and_then(of).or_else(|| matches.and_then(of))
        };
        let global = GlobalArguments {
            namespace: text("namespace"),
            context: text("context"),
            kubeconfig: path("kubeconfig"),
            act_as: text("act_as"),
            ..GlobalArguments::default()
        };
        Self { global, relocation: text("name"), variable }
    }

    /// The completers are asked in the middle of the program's only task; what they wait for needs a thread of its own.
    fn ask(&self, what: What) -> Vec<Known> {
        let asked = async { tokio::time::timeout(LIMIT, self.known(what)).await.ok().flatten().unwrap_or_default() };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map(|runtime| runtime.block_on(asked)).unwrap_or_default()
            });
            thread.join().unwrap_or_default()
        })
    }

    async fn known(&self, what: What) -> Option<Vec<Known>> {
        Some(match what {
            What::Relocations(statuses) => {
                let table = self.table::<Relocation>(None).await?;
                let wanted = |row: &Row| {
                    statuses.is_empty() || statuses.iter().any(|status| table.cell(row, "Status") == status.as_str())
                };
                let told = |row: &Row| {
                    let status = table.cell(row, "Status");
                    let step = table.cell(row, "Step");
                    (!status.is_empty()).then(|| format!("{status} at {step}"))
                };
                table.rows.iter().filter(|row| wanted(row)).map(|row| (table.cell(row, "Name"), told(row))).collect()
            }
            What::Plans => {
                let table = self.table::<RelocationPlan>(None).await?;
                table.rows.iter().map(|row| (table.cell(row, "Name"), None)).collect()
            }
            What::Failures => {
                let table = self.table::<Relocation>(self.relocation.as_deref()).await?;
                let failures = table.rows.iter().map(|row| (table.cell(row, "Failure"), Some(table.cell(row, "Name"))));
                failures.filter(|(id, _)| !id.is_empty()).collect()
            }
            What::Owners => {
                let table = self.table::<Relocation>(None).await?;
                let mut owners: Vec<String> = table.rows.iter().map(|row| table.cell(row, "Owner")).collect();
                owners.sort();
                owners.dedup();
                owners.into_iter().map(|owner| (owner, None)).collect()
            }
            What::OpenSteps => named(&self.open_steps().await),
            // It stands before the first of them.
            What::LaterSteps => named(self.open_steps().await.get(1..)?),
            What::WorkingSteps => named(&Step::WORKING),
            What::Goals => {
                let words = ["succeeded", "finished", "paused"].map(|word| (word.to_owned(), None));
                let steps = Step::WORKING.iter().map(|step| (format!("step={step}"), None));
                words.into_iter().chain(steps).collect()
            }
            What::Statuses => StatusValue::ALL.iter().map(|status| (status.as_str().to_owned(), None)).collect(),
            What::Namespaces => {
                let client = connect(&self.global, self.variable).await.ok()?.client;
                let listed = Api::<Namespace>::all(client).list_metadata(&ListParams::default()).await.ok()?;
                listed.items.iter().map(|namespace| (namespace.name_any(), None)).collect()
            }
            What::Contexts => {
                let kubeconfig = match &self.global.kubeconfig {
                    Some(path) => Kubeconfig::read_from(path).ok()?,
                    None => Kubeconfig::read().ok()?,
                };
                kubeconfig.contexts.into_iter().map(|context| (context.name, None)).collect()
            }
        })
    }

    /// The steps that can still be stopped before; all of them when nobody knows.
    async fn open_steps(&self) -> Vec<Step> {
        let found = match (&self.relocation, self.cluster().await) {
            (Some(name), Some(cluster)) => cluster.get_opt::<Relocation>(name).await.ok().flatten(),
            _ => None,
        };
        let status = found.and_then(|found| found.object.status).unwrap_or_default();
        Step::STOPPABLE.into_iter().filter(|step| !status.is_behind(*step)).collect()
    }

    async fn cluster(&self) -> Option<Cluster> {
        let connection = connect(&self.global, self.variable).await.ok()?;
        let namespace = self.global.namespace.clone().unwrap_or(connection.namespace.clone());
        Some(Cluster::new(connection, Place::Namespace(namespace), LIMIT))
    }

    /// A list as the API server prints it: a few words a row instead of whole objects.
    async fn table<K: Kind>(&self, name: Option<&str>) -> Option<Table> {
        let cluster = self.cluster().await?;
        let mut parameters = ListParams::default().match_any();
        if let Some(name) = name {
            parameters = parameters.fields(&format!("metadata.name={}", super::cluster::field_value(name)));
        }
        let url = K::url_path(&(), Some(cluster.namespace()));
        let mut request = KubeRequest::new(url).list(&parameters).ok()?;
        *request.uri_mut() = format!("{}&includeObject=None", request.uri()).parse().ok()?;
        let accept = http::HeaderValue::from_static("application/json;as=Table;v=v1;g=meta.k8s.io");
        request.headers_mut().insert(http::header::ACCEPT, accept);
        let text = cluster.client().request_text(request).await.ok()?;
        serde_json::from_str(&text).ok()
    }
}

fn named(steps: &[Step]) -> Vec<Known> {
    steps.iter().map(|step| (step.to_string(), None)).collect()
}

/// `meta.k8s.io/v1` `Table`, as much of it as is used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    column_definitions: Vec<Column>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Row {
    cells: Vec<Value>,
}

impl Table {
    fn cell(&self, row: &Row, column: &str) -> String {
        let place = self.column_definitions.iter().position(|known| known.name.eq_ignore_ascii_case(column));
        let cell = place.and_then(|place| row.cells.get(place)).and_then(Value::as_str);
        cell.unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_cluster(name: &str) -> Option<String> {
        (name == "KUBECONFIG").then(|| "/nowhere/config".to_owned())
    }

    fn answer(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        String::from_utf8(for_kubectl(words, no_cluster)).unwrap()
    }

    #[test]
    fn commands_and_flags_are_completed_without_a_cluster() {
        assert!(answer("kubectl-relocation unp").starts_with("unpause\t"), "{}", answer("kubectl-relocation unp"));
        assert_eq!(answer("kubectl-relocation pause acme --at-step impo"), "importing\n:4\n");
        assert_eq!(answer("kubectl-relocation pause acme --at-step IMP"), "IMPORTING\n:4\n");
        assert!(answer("kubectl-relocation pause acme --at").starts_with("--at-step\t"));
        assert_eq!(answer("kubectl-relocation status "), ":4\n");
        assert_eq!(answer("kubectl-relocation wait acme --for step=V"), "step=VALIDATING\n:4\n");
    }

    #[test]
    fn the_rest_of_the_line_says_where_to_look() {
        let words = ["kubectl-relocation", "pause", "-n", "eu", "acme", "--context", "one", "--at-step"];
        let matches = Arguments::command().ignore_errors(true).try_get_matches_from(words).unwrap();
        let line = Line::of(Some(&matches), no_cluster);
        assert_eq!(line.global.namespace.as_deref(), Some("eu"));
        assert_eq!(line.global.context.as_deref(), Some("one"));
        assert_eq!(line.relocation.as_deref(), Some("acme"));
    }

    #[test]
    fn a_question_is_told_from_a_command() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(Question::of(&words("kubectl-relocation list"), no_cluster).is_none());
        assert!(matches!(
            Question::of(&words("kubectl-relocation __complete list "), no_cluster),
            Some(Question::Kubectl { words }) if words.len() == 3
        ));
        let bash = |name: &str| (name == VARIABLE).then(|| "bash".to_owned());
        assert!(matches!(
            Question::of(&words("kubectl-relocation -- kubectl-relocation li"), bash),
            Some(Question::Shell { words, .. }) if words.len() == 2
        ));
    }
}
