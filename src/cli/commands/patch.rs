//! `patch`: the fields of `spec` by their names in the API.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::acting::{ActingArguments, AfterArguments, Decision, Seen, Verdict, act, read_stoppable_step};
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::Goal;
use crate::api::{AutoPause, DesiredState, LateRequests, Readiness, WhenLocked};

/// The flags of `patch`.
#[derive(Args, Debug)]
#[group(id = "fields", multiple = true)]
#[command(
    after_help = "\
EXAMPLES
  kubectl relocation patch acme --pauseAtStep=IMPORTING
  kubectl relocation patch acme --pauseAtStep=                           clear it; --pauseAtStep=null does the same
  kubectl relocation patch acme --autoPause=skip --reason='was checked'
  kubectl relocation patch acme --parameters=TARGET=/data --parameters=OLD=null
  kubectl relocation patch acme --recover=IMPORTING-1-0badcafe --activeDeadlineSeconds=7200

Steps and other words may be written in any case. The same with plain kubectl:
  kubectl patch reloc acme --type=merge -p '{\"spec\":{\"pauseAtStep\":\"IMPORTING\"}}'",
    override_usage = "kubectl relocation patch [OPTIONS] NAME --FIELD=VALUE..."
)]
pub struct PatchArguments {
    /// The relocation
    name: String,
    #[command(flatten)]
    fields: FieldArguments,
    #[command(flatten)]
    after: AfterArguments,
}

/// The fields that may change. Each takes what clears it, too: nothing, or `null`.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Fields, each cleared by an empty value or null")]
struct FieldArguments {
    /// The fence: stop before this step
    #[arg(long = "pauseAtStep", alias = "pause-at-step", value_name = "STEP", value_parser = read_step)]
    pause_at_step: Option<Field>,
    /// Whether the plan's automatic fence holds: honour or skip
    #[arg(long = "autoPause", alias = "auto-pause", value_name = "WORD", value_parser = read_word::<AutoPause>)]
    auto_pause: Option<Field>,
    /// End instead of entering this step
    #[arg(long = "cancelAtStep", alias = "cancel-at-step", value_name = "STEP", value_parser = read_step)]
    cancel_at_step: Option<Field>,
    /// What it is to do now: active, suspended or aborted
    #[arg(long = "desiredState", alias = "desired-state", value_name = "WORD", value_parser = read_word::<DesiredState>)]
    desired_state: Option<Field>,
    /// The id of the failure that is to be tried once more
    #[arg(long, value_name = "FAILURE", value_parser = read_text)]
    recover: Option<Field>,
    /// A value for a parameter of the plan, KEY=VALUE; KEY=null takes one away; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = read_parameter)]
    parameters: Vec<Parameter>,
    /// What to do while another one holds the mutex: fail or wait
    #[arg(long = "whenLocked", alias = "when-locked", value_name = "WORD", value_parser = read_word::<WhenLocked>)]
    when_locked: Option<Field>,
    /// What becomes of requests that come too late: refuse or report
    #[arg(long = "lateRequests", alias = "late-requests", value_name = "WORD", value_parser = read_word::<LateRequests>)]
    late_requests: Option<Field>,
    /// Why the change is made
    #[arg(long, value_name = "TEXT", value_parser = read_text)]
    reason: Option<Field>,
    /// The budget of the whole run
    #[arg(long = "activeDeadlineSeconds", alias = "active-deadline-seconds", value_name = "SECONDS", value_parser = read_number)]
    active_deadline_seconds: Option<Field>,
    /// How long after SUCCESS its Jobs, pods and workspace stay
    #[arg(long = "cleanupSecondsAfterFinished", alias = "cleanup-seconds-after-finished", value_name = "SECONDS", value_parser = read_number)]
    cleanup_seconds_after_finished: Option<Field>,
    /// What Ready=True means: whensucceeded or whenaccepted
    #[arg(long, value_name = "WORD", value_parser = read_word::<Readiness>)]
    readiness: Option<Field>,
    #[command(flatten)]
    settled: SettledArguments,
}

/// The fields that never change, for whoever tries them.
#[derive(Args, Clone, Debug, Default)]
struct SettledArguments {
    #[arg(long = "planRef", alias = "plan", hide = true, value_parser = refuse_settled)]
    plan_ref: Option<Field>,
    #[arg(long, hide = true, value_parser = refuse_settled)]
    owner: Option<Field>,
    #[arg(long, hide = true, value_parser = refuse_settled)]
    provenance: Option<Field>,
    #[arg(long, hide = true, value_parser = refuse_settled)]
    items: Option<Field>,
    #[arg(long, hide = true, value_parser = refuse_settled)]
    uuid: Option<Field>,
    #[arg(long = "retryOf", hide = true, value_parser = refuse_settled)]
    retry_of: Option<Field>,
    #[arg(long, hide = true, value_parser = refuse_settled)]
    mutex: Option<Field>,
}

/// The value of a field; null clears it.
#[derive(Clone, Debug, PartialEq)]
struct Field(Value);

/// A change of `parameters`.
#[derive(Clone, Debug, PartialEq)]
enum Parameter {
    /// One of them; null takes it away.
    One(String, Value),
    /// All of them are taken away.
    ClearAll,
}

impl PatchArguments {
    /// Does it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let spec = self.fields.spec();
        if spec.is_empty() {
            return Err(Error::Usage(
                "name a field to change, as in --pauseAtStep=IMPORTING; kubectl relocation patch --help lists them"
                    .to_owned(),
            ));
        }
        // The reason is one of the fields here.
        let acting = ActingArguments { reason: None, after: self.after.clone() };
        act(session, &self.name, &acting, |seen| patch(seen, &spec)).await
    }
}

impl FieldArguments {
    fn spec(&self) -> Map<String, Value> {
        let Self {
            pause_at_step,
            auto_pause,
            cancel_at_step,
            desired_state,
            recover,
            parameters,
            when_locked,
            late_requests,
            reason,
            active_deadline_seconds,
            cleanup_seconds_after_finished,
            readiness,
            settled: _,
        } = self;
        let fields = [
            ("pauseAtStep", pause_at_step),
            ("autoPause", auto_pause),
            ("cancelAtStep", cancel_at_step),
            ("desiredState", desired_state),
            ("recover", recover),
            ("whenLocked", when_locked),
            ("lateRequests", late_requests),
            ("reason", reason),
            ("activeDeadlineSeconds", active_deadline_seconds),
            ("cleanupSecondsAfterFinished", cleanup_seconds_after_finished),
            ("readiness", readiness),
        ];
        let given = fields.into_iter().filter_map(|(name, field)| Some((name.to_owned(), field.clone()?.0)));
        let mut spec: Map<String, Value> = given.collect();
        if !parameters.is_empty() {
            spec.insert("parameters".to_owned(), joined(parameters));
        }
        spec
    }
}

fn joined(parameters: &[Parameter]) -> Value {
    let mut joined = Map::new();
    for parameter in parameters {
        match parameter {
            Parameter::ClearAll => return Value::Null,
            Parameter::One(key, value) => drop(joined.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(joined)
}

fn patch(seen: &Seen<'_>, wanted: &Map<String, Value>) -> Verdict {
    seen.refuse_deleted()?;
    let name = seen.name();
    let present = serde_json::to_value(&seen.relocation.spec).map_err(|error| error.to_string())?;
    // An enum that is cleared falls back to its default, which the present object shows.
    let defaults: BTreeMap<&str, Value> = BTreeMap::from([
        ("autoPause", json!(AutoPause::default())),
        ("desiredState", json!(DesiredState::default())),
        ("whenLocked", json!(WhenLocked::default())),
        ("lateRequests", json!(LateRequests::default())),
        ("readiness", json!(Readiness::default())),
    ]);
    let mut told = Vec::new();
    let mut spec = Map::new();
    for (field, value) in wanted {
        let after = merged(&present[field], value);
        let effective = if after.is_null() { defaults.get(field.as_str()).unwrap_or(&Value::Null) } else { &after };
        if *effective == present[field] || effective.as_object().is_some_and(Map::is_empty) && present[field].is_null()
        {
            continue;
        }
        spec.insert(field.clone(), value.clone());
        told.push(match effective {
            Value::Null => format!("{field} is cleared"),
            Value::String(text) => format!("{field} is {text}"),
            other => format!("{field} is {other}"),
        });
    }
    let is_reason_alone = spec.keys().all(|field| field == "reason");
    if spec.is_empty() || is_reason_alone && wanted.len() > 1 {
        return Ok(Decision::already(format!("{name} is as it was asked already"), goal(seen, wanted)));
    }
    Ok(Decision::change(Value::Object(spec), format!("{name}: {}", told.join(", ")), goal(seen, wanted)))
}

/// What a merge patch makes of a field.
fn merged(present: &Value, change: &Value) -> Value {
    let Value::Object(change) = change else { return change.clone() };
    let mut merged = present.as_object().cloned().unwrap_or_default();
    for (key, value) in change {
        if value.is_null() {
            merged.remove(key);
        } else {
            merged.insert(key.clone(), value.clone());
        }
    }
    Value::Object(merged)
}

/// What a change of these fields leads to.
fn goal(seen: &Seen<'_>, wanted: &Map<String, Value>) -> Goal {
    let sets = |field: &str| wanted.get(field).is_some_and(|value| !value.is_null());
    if wanted.get("desiredState") == Some(&json!(DesiredState::Suspended)) || sets("pauseAtStep") {
        Goal::Paused
    } else if sets("cancelAtStep")
        || wanted.get("desiredState") == Some(&json!(DesiredState::Aborted))
        || seen.status.has_ended() && !sets("recover")
    {
        Goal::Finished
    } else {
        Goal::Succeeded
    }
}

fn cleared(text: &str) -> Option<Field> {
    (text.is_empty() || text == "null").then_some(Field(Value::Null))
}

#[expect(clippy::unnecessary_wraps, reason = "clap reads every value by a function that may fail")]
fn read_text(text: &str) -> Result<Field, String> {
    Ok(cleared(text).unwrap_or_else(|| Field(text.into())))
}

fn read_step(text: &str) -> Result<Field, String> {
    cleared(text).map_or_else(|| read_stoppable_step(text).map(|step| Field(json!(step))), Ok)
}

fn refuse_settled(_: &str) -> Result<Field, String> {
    Err("this field never changes; make a new one with: kubectl relocation create".to_owned())
}

fn read_number(text: &str) -> Result<Field, String> {
    if let Some(field) = cleared(text) {
        return Ok(field);
    }
    text.parse::<i64>().map(|number| Field(number.into())).map_err(|_| "write a number of seconds".to_owned())
}

/// A word of one of the API's enums, in any case.
fn read_word<T: DeserializeOwned + Serialize + schemars::JsonSchema>(text: &str) -> Result<Field, String> {
    if let Some(field) = cleared(text) {
        return Ok(field);
    }
    let words = words_of::<T>();
    let known = words.iter().find(|word| word.eq_ignore_ascii_case(text));
    known.map(|word| Field(word.as_str().into())).ok_or_else(|| format!("choose one of {}", words.join(", ")))
}

/// The words of an enum, as its schema lists them.
fn words_of<T: schemars::JsonSchema>() -> Vec<String> {
    let schema = serde_json::to_value(schemars::schema_for!(T)).unwrap_or_default();
    let plain = schema["enum"].as_array().cloned().unwrap_or_default();
    let described = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let described = described.iter().flat_map(|one| {
        let several = one["enum"].as_array().cloned().unwrap_or_default();
        several.into_iter().chain(one.get("const").cloned())
    });
    plain.into_iter().chain(described).filter_map(|word| Some(word.as_str()?.to_owned())).collect()
}

fn read_parameter(text: &str) -> Result<Parameter, String> {
    if cleared(text).is_some() {
        return Ok(Parameter::ClearAll);
    }
    let (key, value) = read_pair(text)?;
    Ok(Parameter::One(key, if value == "null" { Value::Null } else { value.into() }))
}

/// `KEY=VALUE`.
pub(super) fn read_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::{Expect, expect};

    use super::super::super::acting::tests::{check as row, failed, running};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        patch: PatchArguments,
    }

    fn check(spec: Value, status: Value, line: &[&str], expected: Expect) {
        let words = ["patch", "acme"].iter().chain(line);
        match Line::try_parse_from(words) {
            Ok(parsed) => row(spec, status, |seen| patch(seen, &parsed.patch.fields.spec()), expected),
            Err(error) => expected.assert_eq(error.to_string().lines().next().unwrap_or_default()),
        }
    }

    #[test]
    fn a_field_is_written_as_the_api_names_it_and_its_value_in_any_case() {
        check(
            json!({}),
            running("UPLOADING"),
            &["--pauseAtStep=IMPORTING"],
            expect![[r#"
            {"pauseAtStep":"IMPORTING"}
            acme: pauseAtStep is IMPORTING"#]],
        );
        check(
            json!({}),
            running("UPLOADING"),
            &["--pauseAtStep", "importing"],
            expect![[r#"
            {"pauseAtStep":"IMPORTING"}
            acme: pauseAtStep is IMPORTING"#]],
        );
        check(
            json!({}),
            running("UPLOADING"),
            &["--cancel-at-step=Notifying"],
            expect![[r#"
            {"cancelAtStep":"NOTIFYING"}
            acme: cancelAtStep is NOTIFYING"#]],
        );
        check(
            json!({}),
            running("UPLOADING"),
            &[
                "--autoPause=SKIP",
                "--desiredState=suspended",
                "--whenLocked=wait",
                "--lateRequests=report",
                "--readiness=whenaccepted",
            ],
            expect![[r#"
                {"autoPause":"Skip","desiredState":"Suspended","whenLocked":"Wait","lateRequests":"Report","readiness":"WhenAccepted"}
                acme: autoPause is Skip, desiredState is Suspended, whenLocked is Wait, lateRequests is Report, readiness is WhenAccepted"#]],
        );
        check(
            json!({}),
            failed("IMPORTING", "DeadlineExceeded", true),
            &[
                "--recover=IMPORTING-1-0badcafe",
                "--activeDeadlineSeconds=60",
                "--cleanupSecondsAfterFinished=0",
                "--reason=fixed",
            ],
            expect![[r#"
                {"recover":"IMPORTING-1-0badcafe","reason":"fixed","activeDeadlineSeconds":60,"cleanupSecondsAfterFinished":0}
                acme: recover is IMPORTING-1-0badcafe, reason is fixed, activeDeadlineSeconds is 60, cleanupSecondsAfterFinished is 0"#]],
        );
    }

    #[test]
    fn nothing_and_null_clear_a_field() {
        let spec = json!({ "pauseAtStep": "IMPORTING", "autoPause": "Skip", "activeDeadlineSeconds": 60 });
        check(
            spec.clone(),
            running("UPLOADING"),
            &["--pauseAtStep="],
            expect![[r#"
            {"pauseAtStep":null}
            acme: pauseAtStep is cleared"#]],
        );
        check(
            spec,
            running("UPLOADING"),
            &["--pauseAtStep=null", "--autoPause=", "--activeDeadlineSeconds=null"],
            expect![[r#"
                {"pauseAtStep":null,"autoPause":null,"activeDeadlineSeconds":null}
                acme: pauseAtStep is cleared, autoPause is Honour, activeDeadlineSeconds is cleared"#]],
        );
    }

    #[test]
    fn parameters_are_set_and_taken_away_one_by_one() {
        let spec = json!({ "parameters": { "A": "a", "B": "b" } });
        check(
            spec.clone(),
            running("UPLOADING"),
            &["--parameters=A=x=y", "--parameters=B=null"],
            expect![[r#"
            {"parameters":{"A":"x=y","B":null}}
            acme: parameters is {"A":"x=y"}"#]],
        );
        check(
            spec.clone(),
            running("UPLOADING"),
            &["--parameters="],
            expect![[r#"
            {"parameters":null}
            acme: parameters is cleared"#]],
        );
        check(
            spec,
            running("UPLOADING"),
            &["--parameters=A"],
            expect!["error: invalid value 'A' for '--parameters <KEY=VALUE>': write KEY=VALUE"],
        );
    }

    #[test]
    fn what_is_so_already_is_not_written_again() {
        let spec = json!({ "pauseAtStep": "IMPORTING" });
        check(
            spec,
            running("UPLOADING"),
            &["--pauseAtStep=importing", "--autoPause=honour", "--parameters="],
            expect![[r#"
                nothing
                acme is as it was asked already"#]],
        );
    }

    #[test]
    fn wrong_words_are_answered_with_the_right_ones() {
        check(
            json!({}),
            running("UPLOADING"),
            &["--pauseAtStep=UPLOADING"],
            expect![
                "error: invalid value 'UPLOADING' for '--pauseAtStep <STEP>': a relocation begins with UPLOADING; choose one of PREPROCESSING, VALIDATING, IMPORTING, POSTPROCESSING, NOTIFYING"
            ],
        );
        check(
            json!({}),
            running("UPLOADING"),
            &["--desiredState=stopped"],
            expect![
                "error: invalid value 'stopped' for '--desiredState <WORD>': choose one of Active, Suspended, Aborted"
            ],
        );
        check(
            json!({}),
            running("UPLOADING"),
            &["--activeDeadlineSeconds=soon"],
            expect!["error: invalid value 'soon' for '--activeDeadlineSeconds <SECONDS>': write a number of seconds"],
        );
    }

    #[test]
    fn every_field_that_may_change_has_a_flag() {
        let settled = ["planRef", "owner", "provenance", "items", "uuid", "retryOf", "mutex"];
        let schema = serde_json::to_value(schemars::schema_for!(crate::api::RelocationSpec)).unwrap();
        let command = <Line as clap::CommandFactory>::command();
        for field in schema["properties"].as_object().unwrap().keys() {
            let flag = command.get_arguments().find(|argument| argument.get_long() == Some(field)).expect(field);
            assert_eq!(flag.is_hide_set(), settled.contains(&field.as_str()), "{field}");
        }
    }
}
