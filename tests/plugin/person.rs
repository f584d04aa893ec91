//! A person at a shell, and what they see.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use expect_test::Expect;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use regex::Regex;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::support::Scenario;

/// How long a command may take, watches and waits included.
const LIMIT: Duration = Duration::from_secs(60);

/// A person who works in one namespace.
#[derive(Clone)]
pub struct Person {
    namespace: String,
    kubeconfig: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

/// What a command has answered.
#[derive(Debug)]
pub struct Answer {
    pub out: String,
    pub err: String,
    pub code: i32,
    namespace: String,
}

impl Person {
    /// Whoever the test itself is, in the scenario's namespace.
    pub fn of(scenario: &Scenario) -> Self {
        Self { namespace: scenario.namespace.clone(), kubeconfig: None, environment: Vec::new() }
    }

    /// The same with another kubeconfig.
    pub fn with_kubeconfig(self, path: &Path) -> Self {
        Self { kubeconfig: Some(path.to_owned()), ..self }
    }

    /// The same with one more environment variable.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-relocation"));
        command.args(words);
        self.at_home(command)
    }

    /// The command with the environment and the kubeconfig of this person.
    fn at_home(&self, mut command: Command) -> Command {
        command
            .env("TZ", "UTC")
            .env_remove("NO_COLOR")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command
    }

    /// Types a command, without `kubectl relocation` in front, in the namespace of this person.
    pub async fn types(&self, line: &str) -> Answer {
        let words: Vec<&str> = line.split(' ').collect();
        self.types_words(&words).await
    }

    /// Types words that hold blanks of their own, in the namespace of this person.
    pub async fn types_words(&self, words: &[&str]) -> Answer {
        let mut all = words.to_vec();
        if !words.iter().any(|word| matches!(*word, "-n" | "-A" | "--namespace")) {
            all.extend(["-n", &self.namespace]);
        }
        self.types_exactly(&all).await
    }

    /// Types exactly these words.
    pub async fn types_exactly(&self, words: &[&str]) -> Answer {
        let output = timeout(LIMIT, self.command(words).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{words:?} has not ended in time")).expect("the plugin starts");
        Answer {
            out: String::from_utf8(output.stdout).expect("the output is UTF-8"),
            err: String::from_utf8(output.stderr).expect("the errors are UTF-8"),
            code: output.status.code().unwrap_or(-1),
            namespace: self.namespace.clone(),
        }
    }

    /// Types a command that goes on, and reads what it says line by line.
    pub fn begins(&self, line: &str) -> Running {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.extend(["-n", &self.namespace]);
        self.running(self.command(&words))
    }

    /// Types a command that goes on, on a terminal; the first line that is read is `pid` and its process id.
    pub fn begins_on_terminal(&self, line: &str) -> Running {
        let plugin = env!("CARGO_BIN_EXE_kubectl-relocation");
        let line = format!("echo pid $$; exec '{plugin}' {line} -n {}", self.namespace);
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        self.running(self.at_home(command))
    }

    fn running(&self, mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command starts");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        Running { child, lines, namespace: self.namespace.clone() }
    }
}

/// A command that goes on.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    namespace: String,
}

impl Running {
    /// Reads until a line holds the text, and answers with all that was read.
    pub async fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        let found = timeout(LIMIT, async {
            while let Some(line) = self.lines.next_line().await.expect("its output can be read") {
                read.push_str(&line);
                read.push('\n');
                if line.contains(text) {
                    return true;
                }
            }
            false
        })
        .await;
        assert_eq!(found, Ok(true), "{text:?} is not in what was said:\n{read}");
        settled(&read, &self.namespace)
    }

    /// Reads to the end, and answers with the rest and the exit code.
    pub async fn end(mut self) -> (String, i32) {
        let rest = timeout(LIMIT, async {
            let mut rest = String::new();
            while let Some(line) = self.lines.next_line().await.expect("its output can be read") {
                rest.push_str(&line);
                rest.push('\n');
            }
            rest
        });
        let rest = rest.await.expect("the command ends in time");
        let status = timeout(LIMIT, self.child.wait()).await.expect("in time").expect("a child can be waited for");
        (settled(&rest, &self.namespace), status.code().unwrap_or(-1))
    }
}

impl Answer {
    /// Compares what a person sees: standard output, then standard error, then the exit code unless it is 0.
    pub fn shows(&self, expected: Expect) {
        expected.assert_eq(&self.settled());
    }

    /// What a person sees, with what differs from run to run replaced.
    pub fn settled(&self) -> String {
        let mut seen = format!("{}{}", self.out, self.err);
        if self.code != 0 {
            seen.push_str(&format!("exit code {}\n", self.code));
        }
        settled(&seen, &self.namespace)
    }

    /// Asserts that it ended with this exit code.
    pub fn code_is(&self, code: i32) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
    }

    /// Asserts that it went well.
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }
}

/// Waits until an event of the reason is there: events are written after the status that they tell of.
pub async fn wait_for_event(scenario: &Scenario, name: &str, reason: &str) {
    let told = timeout(LIMIT, async {
        let prefix = format!("{reason}: ");
        while !scenario.events(name).await.iter().any(|event| event.starts_with(&prefix)) {
            sleep(Duration::from_millis(50)).await;
        }
    });
    told.await.unwrap_or_else(|_| panic!("{name} has no event {reason} in time"));
}

/// Waits until nobody holds a mutex any more: the lock is given back after the status has told the ending.
pub async fn wait_for_free_locks(scenario: &Scenario) {
    let leases: Api<Lease> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let free = timeout(LIMIT, async {
        while !leases.list(&ListParams::default()).await.expect("leases").items.is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    free.await.expect("every lock is given back in time");
}

/// Replaces what differs from run to run, and makes the gaps between columns alike.
pub fn settled(text: &str, namespace: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
            (r"([A-Z]+-[0-9]+)-[0-9a-f]{8}", "$1-ID"),
            (r"-[0-9a-f]{8}-[a-z0-9]{5}\b", "-JOB-POD"),
            (r"-[0-9a-f]{8}\b", "-JOB"),
            (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
            (r"\b(\d{4}-\d\d-\d\d )?\d\d:\d\d(:\d\d)?\b", "TIME"),
            (r"\b\d+m\d+s\b|\b\d+s\b|\b\d+m\b", "AGE"),
            (r"(?m)fencing token \d+", "fencing token TOKEN"),
            (r"127\.0\.0\.1:\d+", "ADDRESS"),
            (r"(?m)(\S)  +", "$1  "),
        ]
        .map(|(pattern, replacement)| (Regex::new(pattern).expect("a pattern"), replacement))
        .into()
    });
    let text = text.replace(namespace, "NAMESPACE");
    RULES.iter().fold(text, |text, (pattern, replacement)| pattern.replace_all(&text, *replacement).into_owned())
}
