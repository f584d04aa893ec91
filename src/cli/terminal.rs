//! The terminal: whether there is one, how wide it is, and which colour means what.

use anstyle::{AnsiColor, Style};

use crate::api::{StatusValue, WorkState};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many columns.
    pub columns: usize,
    /// How many lines.
    pub lines: usize,
}

/// What is known about where the output goes.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Whether standard output is a terminal.
    pub out: bool,
    /// Whether standard error is a terminal.
    pub err: bool,
    /// How large it is at this moment; nothing where lines may be as long as they are.
    pub size: fn() -> Option<Size>,
}

impl Terminal {
    /// Of this process.
    #[must_use]
    pub fn of_process() -> Self {
        use std::io::IsTerminal;
        Self { out: std::io::stdout().is_terminal(), err: std::io::stderr().is_terminal(), size: size_of_process }
    }
}

fn size_of_process() -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    let (columns, lines) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && lines > 0).then_some(Size { columns, lines })
}

/// Whether a stream gets colours. `NO_COLOR` is honoured when it is set and not empty, as <https://no-color.org> asks.
pub(super) fn colours(choice: ColorChoice, is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
            is_terminal && !refused && variable("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Text without the escape sequences of styles.
pub(super) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Text from the cluster as it may reach a terminal: whoever writes a field must not move a reader's cursor.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Text in a style.
pub(super) fn styled(text: &str, style: Style) -> String {
    if text.is_empty() || style.is_plain() { text.to_owned() } else { format!("{style}{text}{style:#}") }
}

/// What is good and done.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What works.
pub(super) const BUSY: Style = AnsiColor::Cyan.on_default();
/// What waits for a person.
pub(super) const WAITING: Style = AnsiColor::Yellow.on_default();
/// What has failed.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// What is beside the point.
pub(super) const FAINT: Style = Style::new().dimmed();
/// What stands out.
pub(super) const STRONG: Style = Style::new().bold();

/// The colour of a relocation's status.
pub(super) const fn status_style(status: Option<StatusValue>) -> Style {
    match status {
        Some(StatusValue::Success) => GOOD,
        Some(StatusValue::InProgress) => BUSY,
        Some(StatusValue::Pause) => WAITING,
        Some(StatusValue::Failure) => BAD,
        Some(StatusValue::Pending) | None => FAINT,
    }
}

/// The colour of a step or a task.
pub(super) const fn work_style(state: WorkState) -> Style {
    match state {
        WorkState::Succeeded => GOOD,
        WorkState::Running => BUSY,
        WorkState::Failed => BAD,
        WorkState::Pending | WorkState::Skipped => FAINT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_and_no_color_refuses_them() {
        let nothing = |_: &str| None;
        let no_color = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        let dumb = |name: &str| (name == "TERM").then(|| "dumb".to_owned());
        assert!(colours(ColorChoice::Auto, true, nothing));
        assert!(!colours(ColorChoice::Auto, false, nothing));
        assert!(!colours(ColorChoice::Auto, true, no_color));
        assert!(!colours(ColorChoice::Auto, true, dumb));
        assert!(colours(ColorChoice::Always, false, no_color));
        assert!(!colours(ColorChoice::Never, true, nothing));
    }

    #[test]
    fn escape_sequences_of_the_cluster_reach_no_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(plain(&styled("x", BAD)), "x");
    }
}
