//! The progress of a running task, as its lines on standard output tell it: how far, how fast, how long still.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::ages;
use super::terminal::{BUSY, FAINT, harmless, styled};

/// The rate is taken over so long: longer is steadier, shorter follows sooner.
const WINDOW: SignedDuration = SignedDuration::from_secs(30);

/// How wide a bar is at most.
const WIDEST_BAR: usize = 30;

/// How far a task is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    /// How much is done.
    pub done: u64,
    /// How much there is to do, where the task knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Of what.
    pub unit: String,
    /// How much is done in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// How many seconds it will still take at this rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    #[serde(skip)]
    samples: Vec<(Timestamp, u64)>,
}

impl Progress {
    /// What lines of a log tell, each with the time in front as the API server puts it there; other lines are passed over.
    pub fn of_log<'l>(lines: impl IntoIterator<Item = &'l str>) -> Option<Self> {
        let mut progress = None;
        for line in lines {
            Self::read(&mut progress, line);
        }
        progress
    }

    /// Takes one more line of the log in.
    pub fn read(progress: &mut Option<Self>, line: &str) {
        let Some((at, told)) = line.split_once(' ').and_then(|(at, told)| Some((at.parse().ok()?, told))) else {
            return;
        };
        let Some((done, total, unit)) = read_line(told) else { return };
        let progress = progress.get_or_insert_default();
        progress.add(at, done);
        progress.total = total;
        progress.unit = unit;
        progress.estimate();
    }

    fn add(&mut self, at: Timestamp, done: u64) {
        // A task that begins again, or another one, has a rate of its own.
        if done < self.done {
            self.samples.clear();
        }
        self.done = done;
        self.samples.push((at, done));
        let first = self.samples.iter().position(|(earlier, _)| at.duration_since(*earlier) <= WINDOW).unwrap_or(0);
        self.samples.drain(..first);
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds that are bounded below")]
    fn estimate(&mut self) {
        self.per_second = None;
        self.seconds_left = None;
        let (Some((since, first)), Some((until, last))) = (self.samples.first(), self.samples.last()) else { return };
        let seconds = until.duration_since(*since).as_secs_f64();
        if seconds <= 0.0 || last <= first {
            return;
        }
        let rate = (last - first) as f64 / seconds;
        self.per_second = Some(rate);
        let left = self.total.map(|total| total.saturating_sub(self.done) as f64 / rate);
        self.seconds_left = left.filter(|left| *left < 1e9).map(|left| left.ceil() as u64);
    }

    /// How much of it is done, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn share(&self) -> Option<f64> {
        let total = self.total.filter(|total| *total > 0)?;
        Some((self.done as f64 / total as f64).min(1.0))
    }

    /// How many tenths of it are done.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 1")]
    pub fn tenths(&self) -> Option<u8> {
        self.share().map(|share| (share * 10.0).floor() as u8)
    }

    /// A bar with numbers, not wider than so many columns where that is possible.
    pub fn render(&self, width: usize) -> String {
        let mut words = match self.total {
            Some(total) => format!("{} of {} {}", self.amount(self.done), self.amount(total), self.noun()),
            None => format!("{} {}", self.amount(self.done), self.noun()),
        };
        words.truncate(words.trim_end().len());
        if let Some(rate) = self.per_second {
            words.push_str(&format!(", {}/s", self.rate(rate)));
        }
        if let Some(seconds) = self.seconds_left.filter(|seconds| *seconds > 0) {
            let left = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            words.push_str(&format!(", {} left", ages::short(left)));
        }
        let Some(share) = self.share() else { return words };
        let percent = format!("{:3.0} %", (share * 100.0).floor());
        let room = width.saturating_sub(words.chars().count() + percent.chars().count() + 4).min(WIDEST_BAR);
        format!("{} {percent}  {words}", bar(share, room))
    }

    fn noun(&self) -> &str {
        if self.is_bytes() { "" } else { &self.unit }
    }

    fn is_bytes(&self) -> bool {
        self.unit.eq_ignore_ascii_case("bytes")
    }

    fn amount(&self, number: u64) -> String {
        if self.is_bytes() { bytes(number) } else { grouped(number) }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and shown roughly")]
    fn rate(&self, rate: f64) -> String {
        if !self.is_bytes() && rate < 10.0 { format!("{rate:.1}") } else { self.amount(rate.round() as u64) }
    }
}

/// A line of the step contract: `{"progress": {"done": 12, "total": 40, "unit": "files"}}`.
fn read_line(line: &str) -> Option<(u64, Option<u64>, String)> {
    if !line.contains("\"progress\"") {
        return None;
    }
    let value: Value = serde_json::from_str(line).ok()?;
    let told = value.get("progress")?;
    let done = told.get("done")?.as_u64()?;
    let unit = told.get("unit").and_then(Value::as_str).unwrap_or_default();
    Some((done, told.get("total").and_then(Value::as_u64), harmless(unit).chars().take(20).collect()))
}

#[expect(clippy::cast_precision_loss, reason = "a bar has few columns")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 1")]
fn bar(share: f64, width: usize) -> String {
    // An eighth of a column is the finest block there is.
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if width == 0 {
        return String::new();
    }
    let eighths = (share * width as f64 * 8.0).floor() as usize;
    let (whole, part) = (eighths / 8, PARTS[eighths % 8]);
    let rest = width - whole - usize::from(!part.is_empty());
    format!("{}{}", styled(&format!("{}{part}", "█".repeat(whole)), BUSY), styled(&"░".repeat(rest), FAINT))
}

/// A number with a comma after every three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An amount of bytes in the unit that fits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(number: u64) -> String {
    let mut amount = number as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    if amount < 10.0 && unit != "B" { format!("{amount:.1} {unit}") } else { format!("{amount:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::super::terminal::plain;
    use super::*;

    fn shown(log: &str, width: usize) -> Option<String> {
        Progress::of_log(log.lines()).map(|progress| plain(&progress.render(width)))
    }

    #[test]
    fn a_bar_has_a_rate_and_an_estimate() {
        let log = "2026-07-02T14:02:10Z starting\n\
            2026-07-02T14:02:10.5Z {\"progress\":{\"done\":1000,\"total\":20000,\"unit\":\"files\"}}\n\
            2026-07-02T14:02:20.5Z {\"progress\":{\"done\":9000,\"total\":20000,\"unit\":\"files\"}}\n";
        let bar = "█████████████▌░░░░░░░░░░░░░░░░";
        let words = "9,000 of 20,000 files, 800/s, 14s left";
        assert_eq!(shown(log, 100), Some(format!("{bar}  45 %  {words}")));
        assert_eq!(shown(log, 20), Some(format!("  45 %  {words}")));
    }

    #[test]
    fn bytes_are_written_in_the_unit_that_fits() {
        let log = "2026-07-02T14:02:10Z {\"progress\":{\"done\":1048576,\"total\":1610612736,\"unit\":\"bytes\"}}";
        assert_eq!(shown(log, 0), Some("   0 %  1.0 MiB of 1.5 GiB".to_owned()));
    }

    #[test]
    fn hostile_lines_are_passed_over() {
        for line in [
            "",
            "x {\"progress\":{\"done\":1}}",
            "2026-07-02T14:02:10Z {\"progress\":{\"done\":-1}}",
            "2026-07-02T14:02:10Z {\"progress\":7}",
            "2026-07-02T14:02:10Z {\"progress\":{\"done\":\"many\"}}",
            "2026-07-02T14:02:10Z {\"progress\":",
        ] {
            assert_eq!(shown(line, 80), None, "{line}");
        }
        let odd = "2026-07-02T14:02:10Z {\"progress\":{\"done\":9,\"total\":0,\"unit\":\"\\u001b[2J\"}}";
        assert_eq!(shown(odd, 80), Some("9 of 0  [2J".to_owned()));
        let over = "2026-07-02T14:02:10Z {\"progress\":{\"done\":18446744073709551615,\"total\":1}}";
        assert!(shown(over, 80).is_some_and(|text| text.contains("100 %")));
    }

    #[test]
    fn a_task_that_begins_again_is_not_estimated_by_what_it_did_before() {
        let log = "2026-07-02T14:02:10Z {\"progress\":{\"done\":100,\"total\":200}}\n\
            2026-07-02T14:02:11Z {\"progress\":{\"done\":10,\"total\":200}}\n";
        assert_eq!(Progress::of_log(log.lines()).and_then(|progress| progress.per_second), None);
    }

    #[test]
    fn only_the_last_half_minute_counts_for_the_rate() {
        let log = "2026-07-02T14:00:00Z {\"progress\":{\"done\":0,\"total\":200}}\n\
            2026-07-02T14:02:00Z {\"progress\":{\"done\":100,\"total\":200}}\n\
            2026-07-02T14:02:10Z {\"progress\":{\"done\":110,\"total\":200}}\n";
        assert_eq!(Progress::of_log(log.lines()).and_then(|progress| progress.per_second), Some(1.0));
    }
}
