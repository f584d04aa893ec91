//! One run of the plugin: the flags of every command, where the output goes, and the way to the cluster.

use std::fmt::Display;
use std::io::Write;

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::arguments::GlobalArguments;
use super::clock;
use super::cluster::{Cluster, Place};
use super::connection::connect;
use super::error::Error;
use super::terminal::{self, BAD, ColorChoice, FAINT, Terminal, plain, styled};

/// What the world brings: writers, the terminal, the environment and the clock.
pub struct Outside {
    /// Where answers go.
    pub out: Box<dyn Write + Send>,
    /// Where everything else goes that people should read.
    pub err: Box<dyn Write + Send>,
    /// What is known about where the output goes.
    pub terminal: Terminal,
    /// The environment variables.
    pub variable: fn(&str) -> Option<String>,
    /// The clock.
    pub clock: fn() -> Timestamp,
    /// The time zone in which people read times.
    pub time_zone: TimeZone,
}

impl Outside {
    /// Of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            terminal: Terminal::of_process(),
            variable: |name| std::env::var(name).ok(),
            clock: clock::now,
            time_zone: TimeZone::system(),
        }
    }

    /// Whether usage errors and help texts get colours, which are shown before a `--color` is known.
    pub(super) fn colours_by_default(&self) -> bool {
        let on_terminal = self.terminal.out && self.terminal.err;
        terminal::colours(ColorChoice::Auto, on_terminal, self.variable)
    }
}

/// One run of the plugin.
pub struct Session {
    pub(super) global: GlobalArguments,
    pub(super) terminal: Terminal,
    pub(super) time_zone: TimeZone,
    variable: fn(&str) -> Option<String>,
    clock: fn() -> Timestamp,
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    out_has_colours: bool,
    err_has_colours: bool,
}

impl Session {
    pub(super) fn new(global: GlobalArguments, outside: Outside) -> Self {
        let Outside { out, err, terminal, variable, clock, time_zone } = outside;
        Self {
            out_has_colours: terminal::colours(global.color, terminal.out, variable),
            err_has_colours: terminal::colours(global.color, terminal.err, variable),
            global,
            terminal,
            time_zone,
            variable,
            clock,
            out: Mutex::new(out),
            err: Mutex::new(err),
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The cluster, in the namespaces that the flags name. Nothing is sent yet.
    pub async fn cluster(&self) -> Result<Cluster, Error> {
        let connection = connect(&self.global, self.variable).await?;
        let place = if self.global.all_namespaces {
            Place::Everywhere
        } else {
            Place::Namespace(self.global.namespace.clone().unwrap_or(connection.namespace.clone()))
        };
        Ok(Cluster::new(connection, place, self.global.request_timeout))
    }

    /// The cluster, in one namespace: for commands that name an object.
    pub async fn cluster_in_one_namespace(&self) -> Result<Cluster, Error> {
        if self.global.all_namespaces {
            return Err(Error::Usage("a name belongs to one namespace; say which with -n, not -A".to_owned()));
        }
        self.cluster().await
    }

    /// The flags that lead another command to the same objects, as they are written after it.
    pub fn repeated_flags(&self) -> String {
        let GlobalArguments { namespace, context, kubeconfig, act_as, .. } = &self.global;
        let named = [
            ("-n", namespace.clone()),
            ("--context", context.clone()),
            ("--kubeconfig", kubeconfig.as_ref().map(|path| path.display().to_string())),
            ("--as", act_as.clone()),
        ];
        let given = named.into_iter().filter_map(|(flag, value)| Some(format!(" {flag} {}", value?)));
        given.collect()
    }

    /// Writes an answer, in one piece, as it is styled; without styles where they would not be seen.
    pub fn print(&self, text: &str) -> Result<(), Error> {
        let text = if self.out_has_colours { text } else { &plain(text) };
        self.print_bytes(text.as_bytes())
    }

    /// Writes a frame: what moves the cursor stays, what styles goes where styles would not be seen.
    pub(super) fn print_frame(&self, text: &str) -> Result<(), Error> {
        if self.out_has_colours {
            return self.print_bytes(text.as_bytes());
        }
        self.print_bytes(without_styles(text).as_bytes())
    }

    /// Writes an answer as it is, such as the log of somebody's program.
    pub fn print_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = self.out.lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Print)
    }

    /// Writes a line of somebody's program as it is, with a prefix of ours.
    pub fn print_line(&self, prefix: &str, line: &[u8]) -> Result<(), Error> {
        let prefix = if self.out_has_colours { prefix } else { &plain(prefix) };
        self.print_bytes(&[prefix.as_bytes(), line].concat())
    }

    /// Says something beside the answer, on standard error.
    pub fn remark(&self, sentence: &str) {
        self.say(&format!("{}\n", styled(sentence, FAINT)));
    }

    /// Says what went wrong, on standard error.
    pub(super) fn complain(&self, error: &impl Display) {
        self.say(&format!("{} {error}\n", styled("error:", BAD)));
    }

    fn say(&self, text: &str) {
        let text = if self.err_has_colours { text } else { &plain(text) };
        // Nobody is left to be told that this failed.
        let _ = self.err.lock().write_all(text.as_bytes());
    }
}

/// The text without what styles it (`ESC [ … m`), with everything else that a terminal is told.
fn without_styles(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("\u{1b}[") {
        let sequence = &rest[start + 2..];
        let length =
            sequence.find(|character: char| character.is_ascii_alphabetic()).map_or(sequence.len(), |end| end + 1);
        let end = start + 2 + length;
        kept.push_str(if sequence[..length].ends_with('m') { &rest[..start] } else { &rest[..end] });
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_go_and_the_cursor_still_moves() {
        assert_eq!(without_styles("\u{1b}[2A\u{1b}[31mx\u{1b}[0m\u{1b}[K"), "\u{1b}[2Ax\u{1b}[K");
    }
}
