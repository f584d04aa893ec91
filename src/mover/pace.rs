//! How fast a step may go: parameters of a plan, which may differ from attempt to attempt.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clock;

/// How much at once, and how much a second.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Files and parts in work at the same time; nothing said = four times the cores, at most 16.
    pub concurrency: Option<usize>,
    /// Bytes a second.
    pub throttle: Throttle,
}

impl Pace {
    /// Threads to work with.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.concurrency.unwrap_or_else(super::pool::threads)
    }
}

/// Lets bytes through at a rate, or without one at once.
#[derive(Debug, Clone, Default)]
pub struct Throttle(Option<Arc<Rate>>);

#[derive(Debug)]
struct Rate {
    bytes_a_second: u64,
    /// From when on the next bytes may pass.
    free: Mutex<Option<Instant>>,
}

impl Throttle {
    /// At most so many bytes a second, over all threads.
    #[must_use]
    pub fn at(bytes_a_second: u64) -> Self {
        Self(Some(Arc::new(Rate { bytes_a_second: bytes_a_second.max(1), free: Mutex::new(None) })))
    }

    /// Waits until `bytes` may pass.
    pub fn pass(&self, bytes: usize) {
        if let Some(rate) = &self.0 {
            let now = clock::now();
            std::thread::sleep(rate.book(now, bytes).saturating_duration_since(now));
        }
    }
}

impl Rate {
    /// When the next bytes may pass, and that they will.
    fn book(&self, now: Instant, bytes: usize) -> Instant {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free.map_or(now, |free| free.max(now));
        let nanoseconds = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.bytes_a_second);
        *free = Some(start + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)));
        start
    }
}

/// Reads a rate: bytes a second, with `K`, `M` or `G` for 1024 of the one before. Nothing is no limit.
pub fn parse_rate(text: &str) -> Result<Option<u64>, String> {
    let (digits, unit) = match text.trim().split_at_checked(text.trim().len().saturating_sub(1)) {
        Some((digits, "K")) => (digits, 10),
        Some((digits, "M")) => (digits, 20),
        Some((digits, "G")) => (digits, 30),
        _ => (text.trim(), 0),
    };
    if digits.is_empty() && unit == 0 {
        return Ok(None);
    }
    let rate = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << unit)).filter(|rate| *rate > 0);
    rate.map(Some).ok_or_else(|| {
        "a rate is a whole number of bytes a second above 0, with K, M or G after it if you like".to_owned()
    })
}

/// Reads a number of things at once; nothing leaves the choice to us.
pub fn parse_concurrency(text: &str) -> Result<Option<usize>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let number = text.trim().parse().ok().filter(|number| (1..=256).contains(number));
    number.map(Some).ok_or_else(|| "a concurrency is a whole number from 1 to 256".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_one_after_the_other_at_the_rate() {
        let Throttle(Some(rate)) = Throttle::at(1000) else { unreachable!() };
        let start = clock::now();
        assert_eq!(rate.book(start, 500), start);
        assert_eq!(rate.book(start, 1500), start + Duration::from_millis(500));
        assert_eq!(rate.book(start, 1), start + Duration::from_secs(2));
        let later = start + Duration::from_mins(1);
        assert_eq!(rate.book(later, 1), later, "what was not used is not saved up");
    }

    #[test]
    fn a_rate_is_read_with_its_unit() {
        for (text, rate) in
            [("", None), ("17", Some(17)), ("2K", Some(2048)), ("3M", Some(3 << 20)), ("1G", Some(1 << 30))]
        {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for bad in ["0", "K", "-1", "1T", "1.5M", "99999999999G"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
