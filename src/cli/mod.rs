//! The window: `kubectl relocation`, through which people see where a relocation is and act on it with words.
//!
//! It is a client like any other: it reads what the API server shows to its user and writes only fields of `spec` that
//! the user could write. Whatever it says about a relocation it takes from the status, the conditions, and the Jobs,
//! pods and events that carry our labels; the judgement itself lives in `lifecycle`, which this module never imports.
//!
//! One command is one file in `commands`. Each has a struct of clap's with its flags and
//! `async fn run(&self, session: &Session) -> Result<Outcome, Error>`; what it prints goes through the [`Session`], so
//! that a test can bring writers, a clock and a terminal of its own.

#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "a text for people has a few kilobytes and is written once; it reads better like this"
)]
#![cfg_attr(
    test,
    allow(
        clippy::needless_pass_by_value,
        reason = "a test writes its JSON and what it expects where it hands them over"
    )
)]

mod acting;
mod ages;
mod arguments;
mod clock;
mod cluster;
mod commands;
mod completing;
mod connection;
mod diff;
mod error;
mod frames;
mod gitops;
mod interruption;
mod jsonpath;
mod legal;
mod manifest;
mod observed;
mod outcome;
mod output;
mod progress;
mod sentence;
mod session;
mod similar;
mod table;
mod terminal;
mod tree;
mod view;
mod waiting;
mod watching;
mod writing;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;

pub use arguments::Arguments;
pub use outcome::Outcome;
pub use session::Outside;

use completing::Question;
use error::Error;
use session::Session;

/// Runs the plugin with these arguments, the program's name first, and answers with its exit code; see [`Outcome`].
pub async fn run(arguments: impl IntoIterator<Item = OsString>, outside: Outside) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(question) = Question::of(&arguments, outside.variable) {
        question.answer(outside);
        return ExitCode::from(Outcome::Done.code());
    }
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return answer_usage(&error, outside),
    };
    let session = Session::new(parsed.global, outside);
    let outcome = match parsed.command.run(&session).await {
        Ok(outcome) => outcome,
        // Whoever read the output has read enough, as `head` does.
        Err(Error::Print(error)) if error.kind() == ErrorKind::BrokenPipe => Outcome::Done,
        Err(error) => {
            session.complain(&error);
            error.outcome()
        }
    };
    ExitCode::from(outcome.code())
}

/// What clap has to say: a help text, the version, or what is wrong with the command line.
fn answer_usage(error: &clap::Error, outside: Outside) -> ExitCode {
    let text = error.render();
    let (is_wrong, colours) = (error.use_stderr(), outside.colours_by_default());
    let text = if colours { text.ansi().to_string() } else { text.to_string() };
    let (mut out, mut err) = (outside.out, outside.err);
    // Nobody is left to be told that this failed.
    let _ = if is_wrong { err.write_all(text.as_bytes()) } else { out.write_all(text.as_bytes()) };
    ExitCode::from(if is_wrong { Outcome::Error.code() } else { Outcome::Done.code() })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    fn sources(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    /// What the plugin says it has from the API alone; the judgement and the hands are none of its business.
    #[test]
    fn the_window_depends_on_the_words_alone() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
        let sources = sources(&directory);
        assert!(sources.len() > 20, "{sources:?}");
        for path in sources {
            let text = std::fs::read_to_string(&path).unwrap();
            for part in ["lifecycle", "operator", "mover"] {
                assert!(!text.contains(&format!("crate::{part}")), "{} imports {part}", path.display());
            }
        }
    }
}
