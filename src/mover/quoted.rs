//! Names that came from somebody's data, made safe to show.
//!
//! A file name may hold newlines, escape sequences, right-to-left overrides or bytes that are no text at all.
//! None of that reaches a log line, a termination message or a report: it is escaped, and long names lose their middle.

use std::fmt::{self, Display, Formatter, Write};

/// Longest text shown for one name. Two of them and a sentence fit into a termination message.
const LONGEST: usize = 300;
/// How much of the front of a longer name is kept; the rest of the room belongs to its end, which tells more.
const FRONT: usize = 100;

/// Shows bytes as quoted text on one line: `'a\nb'`.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let escaped = escape(self.0);
        formatter.write_char('\'')?;
        if escaped.len() <= LONGEST {
            formatter.write_str(&escaped)?;
        } else {
            let front = escaped.floor_char_boundary(FRONT);
            let back = escaped.ceil_char_boundary(escaped.len() - (LONGEST - FRONT));
            write!(formatter, "{}…{}", &escaped[..front], &escaped[back..])?;
        }
        formatter.write_char('\'')
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().flat_map(char::escape_debug));
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a String does not fail");
        }
    }
    text
}

/// Cuts `text` to at most `limit` bytes at a character boundary, with an ellipsis where it was cut.
#[must_use]
pub fn cut(text: &str, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub(MARK.len()));
    let mark = if limit < MARK.len() { "" } else { MARK };
    format!("{}{mark}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_is_shown_as_it_is() {
        assert_eq!(Quoted("Übersicht 1.txt".as_bytes()).to_string(), "'Übersicht 1.txt'");
    }

    #[test]
    fn control_characters_bytes_and_overrides_are_escaped() {
        assert_eq!(Quoted(b"a\n\x1b[31m\xff'").to_string(), r"'a\n\u{1b}[31m\xff\''");
        assert_eq!(Quoted("a\u{202e}b".as_bytes()).to_string(), r"'a\u{202e}b'");
    }

    #[test]
    fn a_long_name_loses_its_middle() {
        let shown = Quoted("ä".repeat(5000).as_bytes()).to_string();
        assert!(shown.len() <= LONGEST + 8, "{}", shown.len());
        assert!(shown.contains('…'));
    }

    #[test]
    fn a_cut_keeps_whole_characters_and_the_limit() {
        for limit in 0..12 {
            assert!(cut("ääääääää", limit).len() <= limit, "{limit}");
        }
        assert_eq!(cut("short", 5), "short");
    }
}
