//! What the step contract puts into a task's environment, parsed once.

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::Error;
use super::pace::Pace;
use super::seal::Secret;

/// `RELOCATION_RESULT` of a relocation that has done what it was for.
pub const SUCCESS: &str = "SUCCESS";

/// The environment of a step, and how fast it may go.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `RELOCATION_WORKSPACE`; nothing where the plan has none.
    pub workspace: Option<PathBuf>,
    /// `RELOCATION_ITEMS`: names at the top level of the source; empty = everything.
    pub items: Vec<String>,
    /// Which launch this is; `None` when run by hand.
    pub launch: Option<Launch>,
    /// Who and what this is, for the notification.
    pub about: About,
    /// What opens a sealed workspace: `--identity-file`, else `RELOCATION_AGE_IDENTITY_FILE`, else `RELOCATION_AGE_IDENTITY`.
    pub secret: Option<Secret>,
    /// How fast it may go; from the command line.
    pub pace: Pace,
}

/// A launch of a relocation, as far as fencing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// `RELOCATION_FENCING_TOKEN`.
    pub token: u64,
    /// What shares one sequence of tokens: `RELOCATION_ORIGIN`, else `RELOCATION_UUID`; so a retry is newer than what it retries.
    pub sequence: String,
}

/// The descriptive variables; empty where they are not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// `RELOCATION_NAME`.
    pub name: String,
    /// `RELOCATION_NAMESPACE`.
    pub namespace: String,
    /// `RELOCATION_UUID`.
    pub uuid: String,
    /// `RELOCATION_ORIGIN`.
    pub origin: String,
    /// `RELOCATION_STEP`.
    pub step: String,
    /// `RELOCATION_TASK`.
    pub task: String,
    /// `RELOCATION_ATTEMPT`.
    pub attempt: String,
    /// `RELOCATION_OWNER`.
    pub owner: String,
    /// `RELOCATION_PROVENANCE`.
    pub provenance: String,
    /// `RELOCATION_RESULT`, only after the end.
    pub result: String,
    /// `RELOCATION_REASON`, only after the end.
    pub reason: String,
    /// `RELOCATION_FAILURE_ID`, only after a failure.
    pub failure_id: String,
}

impl Settings {
    /// What shares one sequence of tokens, as [`Launch::sequence`]; empty by hand.
    #[must_use]
    pub fn sequence(&self) -> &str {
        self.launch.as_ref().map_or("", |launch| &launch.sequence)
    }

    /// Reads the environment through `variable`. A variable that is empty counts as not set.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let text = |name| set(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        let about = About {
            name: text("RELOCATION_NAME"),
            namespace: text("RELOCATION_NAMESPACE"),
            uuid: text("RELOCATION_UUID"),
            origin: text("RELOCATION_ORIGIN"),
            step: text("RELOCATION_STEP"),
            task: text("RELOCATION_TASK"),
            attempt: text("RELOCATION_ATTEMPT"),
            owner: text("RELOCATION_OWNER"),
            provenance: text("RELOCATION_PROVENANCE"),
            result: text("RELOCATION_RESULT"),
            reason: text("RELOCATION_REASON"),
            failure_id: text("RELOCATION_FAILURE_ID"),
        };
        let sequence = if about.origin.is_empty() { &about.uuid } else { &about.origin };
        Ok(Self {
            workspace: set("RELOCATION_WORKSPACE").map(Into::into),
            items: parse_items(&text("RELOCATION_ITEMS"))?,
            launch: parse_token(&text("RELOCATION_FENCING_TOKEN"))?
                .map(|token| Launch { token, sequence: sequence.clone() }),
            about,
            secret: Secret::read(set("RELOCATION_AGE_IDENTITY"), set("RELOCATION_AGE_IDENTITY_FILE")),
            pace: Pace::default(),
        })
    }
}

fn parse_items(text: &str) -> Result<Vec<String>, Error> {
    const NAME: &str = "RELOCATION_ITEMS";
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut items: Vec<String> = serde_json::from_str(text)
        .map_err(|_| Error::Environment { name: NAME, problem: "it is not a JSON array of strings".to_owned() })?;
    if let Some(bad) = items.iter().find(|item| !is_slug(item)) {
        let bad = super::quoted::Quoted(bad.as_bytes());
        return Err(Error::Environment { name: NAME, problem: format!("{bad} is not a slug of a-z, 0-9 and -") });
    }
    items.sort_unstable();
    items.dedup();
    Ok(items)
}

fn is_slug(item: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !item.is_empty() && item.bytes().all(inner) && !item.starts_with('-') && !item.ends_with('-')
}

fn parse_token(text: &str) -> Result<Option<u64>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::Environment {
        name: "RELOCATION_FENCING_TOKEN",
        problem: "it is not a whole number".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::read(|wanted| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.into()))
    }

    #[test]
    fn nothing_set_means_everything_without_a_workspace_and_without_a_fence() {
        for environment in [&[][..], &[("RELOCATION_ITEMS", ""), ("RELOCATION_FENCING_TOKEN", "")]] {
            let settings = read(environment).unwrap();
            assert_eq!(settings.workspace, None);
            assert!(settings.items.is_empty());
            assert_eq!(settings.launch, None);
        }
    }

    #[test]
    fn a_retry_shares_the_tokens_of_its_origin() {
        let own = [("RELOCATION_UUID", "b"), ("RELOCATION_FENCING_TOKEN", "7")];
        assert_eq!(read(&own).unwrap().launch, Some(Launch { token: 7, sequence: "b".into() }));
        let retry = [own[0], own[1], ("RELOCATION_ORIGIN", "a")];
        assert_eq!(read(&retry).unwrap().launch, Some(Launch { token: 7, sequence: "a".into() }));
    }

    #[test]
    fn an_item_that_is_no_slug_is_refused() {
        for bad in [r#"["../etc"]"#, r#"[""]"#, r#"["-a"]"#, r#"["A"]"#, r#"{"a":1}"#, "[1]", "a"] {
            let sentence = read(&[("RELOCATION_ITEMS", bad)]).unwrap_err().sentence();
            assert!(sentence.starts_with("RELOCATION_ITEMS has a value"), "{sentence}");
        }
        assert_eq!(read(&[("RELOCATION_ITEMS", r#"["b","a-1"]"#)]).unwrap().items, ["a-1", "b"]);
    }

    #[test]
    fn a_token_that_is_no_number_is_refused() {
        assert!(read(&[("RELOCATION_FENCING_TOKEN", "-1")]).is_err());
    }
}
