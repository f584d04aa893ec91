//! How long a store may be silent before a request counts as lost.
//!
//! `RELOCATION_STORE_TIMEOUT` says it in whole seconds, for both ends and every service.
//! A network that is slow to fail over needs more than a minute; who would rather have the next attempt soon needs less.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The variable.
const NAME: &str = "RELOCATION_STORE_TIMEOUT";
/// Longest silence, before an answer or in the middle of one, when nobody says otherwise.
const USUAL: Duration = Duration::from_mins(1);
/// Seconds that may be said. A step that waits an hour for one answer looks to everybody as if it hung.
const BOUNDS: RangeInclusive<u64> = 1..=3600;

/// The longest silence by these variables. A sentence about what is wrong names the variable and never its value.
pub fn longest(variables: &[(OsString, OsString)]) -> Result<Duration, String> {
    let said = variables.iter().find(|(name, value)| name == NAME && !value.is_empty());
    let Some((_, value)) = said else { return Ok(USUAL) };
    let seconds = value.to_str().and_then(|text| text.parse().ok()).filter(|seconds| BOUNDS.contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{NAME} is not a whole number of seconds from {} to {}", BOUNDS.start(), BOUNDS.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Duration, String> {
        longest(&[("AWS_REGION".into(), "7".into()), (NAME.into(), value.into())])
    }

    #[test]
    fn it_is_a_whole_number_of_seconds_within_bounds_or_a_minute() {
        assert_eq!(read("1"), Ok(Duration::from_secs(1)));
        assert_eq!(read("3600"), Ok(Duration::from_hours(1)));
        assert_eq!((read(""), longest(&[])), (Ok(USUAL), Ok(USUAL)));
        for bad in ["0", "3601", "-1", "1.5", "7141s", "99999999999999999999"] {
            let sentence = read(bad).unwrap_err();
            assert!(
                sentence.starts_with("RELOCATION_STORE_TIMEOUT is not") && !sentence.contains("7141"),
                "{sentence}"
            );
        }
    }
}
