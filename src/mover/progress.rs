//! Progress lines on standard output: `{"progress":{"done":12,"total":40,"unit":"files"}}`.
//!
//! The kubectl plugin follows them through the pod's log. Two a second are enough for a bar, and little enough for a log.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

/// Shortest time between two lines.
const PAUSE: Duration = Duration::from_millis(500);

/// Counts what is done and says so now and then.
pub struct Progress<'a> {
    out: &'a mut dyn Write,
    clock: fn() -> Instant,
    total: u64,
    done: u64,
    said: Instant,
}

impl<'a> Progress<'a> {
    /// Starts at nothing of `total`.
    pub fn new(out: &'a mut dyn Write, clock: fn() -> Instant, total: u64) -> Self {
        Self { out, clock, total, done: 0, said: clock() }
    }

    /// Counts `more` as done.
    pub fn advance(&mut self, more: u64) {
        self.done += more;
        let now = (self.clock)();
        if now.duration_since(self.said) >= PAUSE {
            self.said = now;
            self.say();
        }
    }

    /// Says where it ended.
    pub fn finish(&mut self) {
        self.total = self.total.max(self.done);
        self.say();
    }

    fn say(&mut self) {
        let line = json!({"progress": {"done": self.done, "total": self.total, "unit": "files"}});
        // Nobody listening is no reason to stop moving data.
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_steps_at_once_are_one_line_at_the_end() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, super::super::clock::now, 1000);
        // The first pause cannot be over while a thousand additions are made; a slower machine shows one line more.
        (0..1000).for_each(|_| progress.advance(1));
        progress.finish();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().count() <= 2, "{text}");
        assert_eq!(text.lines().last(), Some(r#"{"progress":{"done":1000,"total":1000,"unit":"files"}}"#));
    }
}
