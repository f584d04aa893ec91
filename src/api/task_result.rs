//! The step contract: what a task's container sees and what it says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The names of the environment variables that every container of a task gets.
pub mod environment {
    /// What every such name begins with; no template and no parameter may define one.
    pub const PREFIX: &str = "RELOCATION_";
    /// The relocation's name.
    pub const NAME: &str = "RELOCATION_NAME";
    /// Its namespace.
    pub const NAMESPACE: &str = "RELOCATION_NAMESPACE";
    /// The identity of the run: the idempotency key.
    pub const UUID: &str = "RELOCATION_UUID";
    /// The first uuid of a chain of retries.
    pub const ORIGIN: &str = "RELOCATION_ORIGIN";
    /// The step.
    pub const STEP: &str = "RELOCATION_STEP";
    /// The task.
    pub const TASK: &str = "RELOCATION_TASK";
    /// The attempt, from 1.
    pub const ATTEMPT: &str = "RELOCATION_ATTEMPT";
    /// The fencing token: targets refuse a smaller one than they have seen.
    pub const FENCING_TOKEN: &str = "RELOCATION_FENCING_TOKEN";
    /// Who answers for the data.
    pub const OWNER: &str = "RELOCATION_OWNER";
    /// Where the data comes from.
    pub const PROVENANCE: &str = "RELOCATION_PROVENANCE";
    /// What to move: a JSON array of slugs.
    pub const ITEMS: &str = "RELOCATION_ITEMS";
    /// Where the workspace is mounted; empty without one.
    pub const WORKSPACE: &str = "RELOCATION_WORKSPACE";
    /// For `onEnd`: the final status value.
    pub const RESULT: &str = "RELOCATION_RESULT";
    /// For `onEnd`: the reason.
    pub const REASON: &str = "RELOCATION_REASON";
    /// For `onEnd`: the failure id, or empty.
    pub const FAILURE_ID: &str = "RELOCATION_FAILURE_ID";
}

/// The longest message that is kept, in bytes.
pub const MESSAGE_LIMIT: usize = 1024;

/// What a task said in the termination message of its container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskResult {
    /// The verdict of a task that gives evidence.
    pub verdict: Option<Verdict>,
    /// What it says, cut to 1 KiB on a character boundary.
    pub message: Option<String>,
    /// What it counted, at most 16.
    pub counts: BTreeMap<String, i64>,
    /// What it left behind, at most 8.
    pub artifacts: Vec<Artifact>,
}

/// The verdict of a task that gives evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The data is complete and right.
    Valid,
    /// It is not.
    Invalid,
}

/// Something that a task left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub path: String,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Its digest as `algorithm:hex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl TaskResult {
    /// Reads a termination message: one JSON object of the contract, or else any text, which is taken as the message.
    ///
    /// Never fails: hostile content becomes a short text or is dropped field by field.
    #[must_use]
    pub fn read(termination_message: &str) -> Self {
        match serde_json::from_str::<Value>(termination_message) {
            Ok(Value::Object(fields)) => Self {
                verdict: fields.get("verdict").and_then(|value| serde_json::from_value(value.clone()).ok()),
                message: fields.get("message").and_then(Value::as_str).and_then(clean),
                counts: read_counts(fields.get("counts")),
                artifacts: read_artifacts(fields.get("artifacts")),
            },
            Ok(_) | Err(_) => Self { message: clean(termination_message), ..Self::default() },
        }
    }
}

fn read_counts(value: Option<&Value>) -> BTreeMap<String, i64> {
    let Some(Value::Object(counts)) = value else { return BTreeMap::new() };
    counts
        .iter()
        .filter_map(|(name, count)| Some((clean(name)?.chars().take(63).collect(), count.as_i64()?)))
        .take(16)
        .collect()
}

fn read_artifacts(value: Option<&Value>) -> Vec<Artifact> {
    let Some(Value::Array(artifacts)) = value else { return Vec::new() };
    artifacts
        .iter()
        .filter_map(|artifact| serde_json::from_value::<Artifact>(artifact.clone()).ok())
        .filter(|artifact| {
            artifact.name.chars().count() <= 253
                && artifact.path.chars().count() <= 1024
                && artifact.digest.as_ref().is_none_or(|digest| digest.chars().count() <= 256)
                && ![Some(&artifact.name), Some(&artifact.path), artifact.digest.as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|text| text.contains(char::is_control))
        })
        .take(8)
        .collect()
}

/// The text as it may stand in a status: without control characters, and cut to 1 KiB.
#[must_use]
pub fn clean_message(text: &str) -> String {
    clean(text).unwrap_or_default()
}

/// The text without control characters, cut to 1 KiB on a character boundary; nothing when nothing is left.
fn clean(text: &str) -> Option<String> {
    let mut cleaned = String::with_capacity(text.len().min(MESSAGE_LIMIT));
    for character in text.trim_matches(|character: char| character.is_whitespace() || character.is_control()).chars() {
        let character = if character.is_control() { ' ' } else { character };
        if cleaned.len() + character.len_utf8() > MESSAGE_LIMIT {
            break;
        }
        cleaned.push(character);
    }
    (!cleaned.is_empty()).then_some(cleaned)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_whole_result_is_read() {
        let result = TaskResult::read(
            r#"{"verdict":"VALID","message":"all there","counts":{"files":3},
                "artifacts":[{"name":"manifest","path":"/relocation/manifest.jsonl","sizeBytes":12}]}"#,
        );
        assert_eq!(result.verdict, Some(Verdict::Valid));
        assert_eq!(result.message.as_deref(), Some("all there"));
        assert_eq!(result.counts["files"], 3);
        assert_eq!(result.artifacts[0].size_bytes, Some(12));
    }

    #[test]
    fn text_that_is_no_object_is_the_message() {
        assert_eq!(TaskResult::read("disk full\n").message.as_deref(), Some("disk full"));
        assert_eq!(TaskResult::read("[1]").message.as_deref(), Some("[1]"));
        assert_eq!(TaskResult::read(" \u{0} ").message, None);
    }

    #[test]
    fn hostile_fields_are_dropped_one_by_one() {
        let result =
            TaskResult::read(r#"{"verdict":{"a":1},"message":7,"counts":{"x":"y","n":1.5,"ok":2},"artifacts":[1]}"#);
        assert_eq!(result, TaskResult { counts: BTreeMap::from([("ok".to_owned(), 2)]), ..TaskResult::default() });
    }

    #[test]
    fn a_long_message_is_cut_on_a_character_boundary() {
        let result = TaskResult::read(&"é".repeat(2000));
        assert_eq!(result.message.map(|message| message.len()), Some(MESSAGE_LIMIT));
    }

    /// The kubelet cuts a termination message here.
    const KUBELET_LIMIT: usize = 4096;

    #[test]
    fn deep_nesting_and_false_json_are_text() {
        for hostile in ["[", "{\"message\":", "[{\"verdict\":"] {
            let text = hostile.repeat(KUBELET_LIMIT / hostile.len());
            let result = TaskResult::read(&text);
            assert_eq!(result, TaskResult { message: Some(text[..MESSAGE_LIMIT].to_owned()), ..TaskResult::default() });
        }
        for cut in [r#"{"verdict":"VALID""#, r#"{"verdict":"VALID"}}"#, r#"{'verdict':'VALID'}"#] {
            let result = TaskResult::read(cut);
            assert_eq!(result, TaskResult { message: Some(cut.to_owned()), ..TaskResult::default() });
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn noise_of_any_bytes_becomes_a_short_clean_text(noise in vec(any::<u8>(), 0..=KUBELET_LIMIT)) {
            assert_harmless(&TaskResult::read(&String::from_utf8_lossy(&noise)));
        }

        #[test]
        fn text_with_control_characters_becomes_a_short_clean_text(
            text in vec(prop_oneof![any::<char>(), (0_u8..32).prop_map(char::from)], 0..=KUBELET_LIMIT / 4)
        ) {
            let text = String::from_iter(text);
            assert_harmless(&TaskResult::read(&text));
            assert_harmless(&TaskResult::read(&json!({ "message": text, "counts": { text.clone(): 1 } }).to_string()));
        }

        #[test]
        fn any_json_in_the_place_of_a_field_disturbs_no_other_field(
            mut fields in vec(any_json(), 3),
            place in 0_usize..4,
        ) {
            let good = json!({
                "verdict": "VALID", "message": "all there", "counts": { "files": 3 },
                "artifacts": [{ "name": "manifest", "path": "/relocation/manifest.jsonl" }]
            });
            let expected = TaskResult::read(&good.to_string());
            let mut hostile = good;
            let name = ["verdict", "message", "counts", "artifacts"][place];
            hostile[name] = fields.pop().unwrap_or_default();
            hostile["other"] = Value::from(fields);
            let result = TaskResult::read(&hostile.to_string());
            assert_harmless(&result);
            prop_assert!(name == "verdict" || result.verdict == expected.verdict);
            prop_assert!(name == "message" || result.message == expected.message);
            prop_assert!(name == "counts" || result.counts == expected.counts);
            prop_assert!(name == "artifacts" || result.artifacts == expected.artifacts);
        }

        #[test]
        fn json_that_was_cut_off_is_a_short_clean_text(
            verdict in any_json(),
            counts in any_json(),
            kept in 0_usize..KUBELET_LIMIT,
        ) {
            let mut text = json!({ "verdict": verdict, "counts": counts }).to_string();
            while text.len() > kept || !text.is_char_boundary(text.len()) {
                text.pop();
            }
            assert_harmless(&TaskResult::read(&text));
        }
    }

    /// What goes into the status and into events is bounded and has no control characters.
    fn assert_harmless(result: &TaskResult) {
        let is_clean = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if let Some(message) = &result.message {
            assert!(message.len() <= MESSAGE_LIMIT && is_clean(message), "{message:?}");
        }
        assert!(result.counts.len() <= 16, "{:?}", result.counts);
        assert!(result.counts.keys().all(|name| name.chars().count() <= 63 && is_clean(name)), "{:?}", result.counts);
        assert!(result.artifacts.len() <= 8, "{:?}", result.artifacts);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            vec(any::<char>(), 0..40).prop_map(|text| Value::from(String::from_iter(text))),
            Just(Value::from("VALID")),
        ];
        leaf.prop_recursive(6, 64, 24, |element| {
            prop_oneof![
                vec(element.clone(), 0..24).prop_map(Value::from),
                vec((vec(any::<char>(), 0..80), element), 0..24).prop_map(|fields| {
                    Value::Object(fields.into_iter().map(|(name, value)| (String::from_iter(name), value)).collect())
                }),
            ]
        })
    }
}
