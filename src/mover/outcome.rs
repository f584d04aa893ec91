//! What a step reports: one JSON object in the container's termination message.
//!
//! **Invariant: the result fits.** The kubelet cuts at 4 KiB, less with several containers, and half a JSON object is no JSON.
//! So a result is never longer than [`LIMIT`]; the message gives way first, then the artifacts.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::entry::Digest;
use super::error::Error;
use super::quoted::cut;

/// Largest result in bytes: below the contract's 2 KiB.
pub const LIMIT: usize = 2000;

/// Where the kubelet looks for the result.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// A judgement about the data, as evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The data are what they should be.
    Valid,
    /// They are not.
    Invalid,
}

/// A file in the workspace that tells more than fits into a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// What it is, such as `manifest`.
    pub name: &'static str,
    /// Where it is, as the task's container sees it.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// Its digest.
    pub digest: Digest,
}

/// The result of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Only from `validate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// One sentence.
    pub message: String,
    /// At most 16 numbers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<&'static str, u64>,
    /// At most 8 files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
}

impl Outcome {
    /// A result that is only a sentence.
    #[must_use]
    pub fn said(message: String) -> Self {
        Self { message, ..Self::default() }
    }

    /// The result of a step that stopped.
    #[must_use]
    pub fn stopped(error: &Error) -> Self {
        Self::said(error.sentence())
    }

    /// The JSON object, never longer than [`LIMIT`].
    #[must_use]
    #[allow(clippy::missing_panics_doc)] // it cannot
    pub fn render(mut self) -> String {
        loop {
            let json = serde_json::to_string(&self).expect("names and numbers always serialise");
            let Some(excess) = json.len().checked_sub(LIMIT).filter(|excess| *excess > 0) else {
                return json;
            };
            if self.artifacts.len() > 1 || (self.message.len() < 200 && !self.artifacts.is_empty()) {
                self.artifacts.pop();
            } else if self.message.is_empty() {
                self.counts.clear();
            } else {
                // One character of the message is up to six bytes of JSON, so this closes in from above.
                let less = (excess / 6).max(4);
                self.message = cut(&self.message, self.message.len().saturating_sub(less));
            }
        }
    }
}

/// Writes a result where the kubelet looks for it; when run by hand, where a person looks: on `out`.
pub fn deliver(result: &str, termination_log: Option<&Path>, out: &mut dyn Write) {
    let mut options = OpenOptions::new();
    options.write(true).truncate(true);
    // Only a path somebody asked for is created: by hand and as root, the default would litter /dev.
    let path = termination_log.map_or(Path::new(TERMINATION_LOG), |path| {
        options.create(true);
        path
    });
    let written = options.open(path).and_then(|mut file| file.write_all(result.as_bytes()));
    if written.is_err() {
        // Nothing is left to tell when this fails too.
        let _ = writeln!(out, "{result}").and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(path: String) -> Artifact {
        Artifact { name: "report", path, size_bytes: u64::MAX, digest: Digest::of(b"") }
    }

    #[test]
    fn a_result_always_fits_and_is_json() {
        for message in ["\"", "\\", "ä", "\u{1}", "x", "\u{1f600}"] {
            for length in [0, 10, 1900, 2100, 50_000] {
                for artifacts in 0..=8 {
                    let outcome = Outcome {
                        verdict: Some(Verdict::Invalid),
                        message: message.repeat(length),
                        counts: (0..16).map(|n| (["files", "bytes", "extra"][n % 3], u64::MAX)).collect(),
                        artifacts: vec![artifact("/relocation".repeat(30)); artifacts],
                    };
                    let json = outcome.render();
                    assert!(json.len() <= LIMIT, "{}", json.len());
                    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
                    assert_eq!(value["verdict"], "INVALID");
                }
            }
        }
    }

    #[test]
    fn a_short_result_keeps_everything() {
        let outcome = Outcome {
            counts: BTreeMap::from([("files", 3)]),
            artifacts: vec![artifact("/relocation/manifest.jsonl".into())],
            ..Outcome::said("done".into())
        };
        let value: serde_json::Value = serde_json::from_str(&outcome.render()).unwrap();
        assert_eq!(value["message"], "done");
        assert_eq!(value["counts"]["files"], 3);
        assert_eq!(value["artifacts"][0]["sizeBytes"], u64::MAX);
    }
}
