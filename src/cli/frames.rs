//! Frames on a terminal: each drawn over the one before in one write, so that nothing flickers.

use super::error::Error;
use super::session::Session;
use super::terminal::Size;

/// Hides the cursor, and shows it again.
const HIDE: &str = "\u{1b}[?25l";
const SHOW: &str = "\u{1b}[?25h";

/// A terminal that knows these shows nothing between them; one that does not, passes them over.
const BEGIN: &str = "\u{1b}[?2026h";
const END: &str = "\u{1b}[?2026l";

/// Clears what is behind, and what is below, the cursor.
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Clears everything and goes to the first line.
const CLEAR_ALL: &str = "\u{1b}[2J\u{1b}[H";

/// The frame that is on the terminal.
pub(super) struct Frames<'s> {
    session: &'s Session,
    lines: usize,
    size: Option<Size>,
    shown: String,
}

impl<'s> Frames<'s> {
    /// Begins below whatever is on the terminal.
    pub fn new(session: &'s Session) -> Self {
        Self { session, lines: 0, size: None, shown: String::new() }
    }

    /// Draws a frame in the place of the last one. What does not fit is left out at the end, and said.
    pub fn draw(&mut self, picture: &str) -> Result<(), Error> {
        let size = (self.session.terminal.size)();
        let resized = self.size.is_some() && self.size != size;
        let room = size.map_or(usize::MAX, |size| size.lines.saturating_sub(1).max(1));
        let fitting = fit(picture, room);
        if !resized && fitting == self.shown {
            return Ok(());
        }
        let text = self.frame(&fitting, resized);
        (self.size, self.shown) = (size, fitting);
        self.session.print_frame(&text)
    }

    fn frame(&mut self, picture: &str, resized: bool) -> String {
        let back = match (resized, self.lines) {
            (true, _) => CLEAR_ALL.to_owned(),
            (false, 0) => String::new(),
            (false, lines) => format!("\u{1b}[{lines}A\r"),
        };
        let body: String = picture.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
        self.lines = picture.lines().count();
        format!("{BEGIN}{HIDE}{back}{body}{CLEAR_BELOW}{END}")
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        if self.lines > 0 {
            // Nobody is left to be told that this failed.
            let _ = self.session.print_frame(SHOW);
        }
    }
}

fn fit(picture: &str, room: usize) -> String {
    let lines = picture.lines().count();
    if lines <= room {
        return picture.to_owned();
    }
    let kept: String = picture.lines().take(room - 1).map(|line| format!("{line}\n")).collect();
    format!("{kept}… {} more lines\n", lines - (room - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        assert_eq!(fit("a\nb\nc\n", 3), "a\nb\nc\n");
        assert_eq!(fit("a\nb\nc\n", 2), "a\n… 2 more lines\n");
        assert_eq!(fit("a\nb\nc\n", 1), "… 3 more lines\n");
    }
}
