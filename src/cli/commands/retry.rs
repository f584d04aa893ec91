//! `retry`: start a failed relocation over, as a new one.

use clap::Args;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::super::acting::{AfterArguments, Seen};
use super::super::diff::diff;
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::{Goal, Wait, wait};
use super::super::writing::{Written, create};
use crate::api::{GROUP, Relocation, RetryOf, StatusValue, VERSION};

/// How long a name may be.
const LONGEST_NAME: usize = 52;

/// How many names are tried when none was given.
const NAMES: u32 = 100;

/// The flags of `retry`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation retry acme                     as acme-2, or the next number that is free
  kubectl relocation retry acme --name acme-again
  kubectl relocation retry acme --wait
  kubectl relocation retry acme --dry-run=server    show the new relocation, store nothing

The new one has the same owner, items, parameters and plan, and begins with UPLOADING. It keeps the fence in
spec.pauseAtStep; the plan's automatic fence holds again. To try only the failed task: kubectl relocation recover")]
pub struct RetryArguments {
    /// The failed relocation
    name: String,
    /// The name of the new one
    #[arg(long = "name", value_name = "NAME", id = "new_name")]
    new_name: Option<String>,
    /// Why; stored with the new relocation
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    after: AfterArguments,
}

impl RetryArguments {
    /// Does it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let cluster = session.cluster_in_one_namespace().await?;
        let flags = session.repeated_flags();
        let failed = cluster.get::<Relocation>(&self.name).await?.object;
        let (base, first) = numbered(&self.name, failed.spec.retry_of.is_some());
        for number in first..first + NAMES {
            let name = self.new_name.clone().unwrap_or_else(|| with_number(&base, number));
            let new = retry(&Seen::new(&failed, &flags), &name, self.reason.as_deref()).map_err(Error::Usage)?;
            let created = match create(&cluster, &new, self.after.mode()).await? {
                Written::Stored(created) => created,
                Written::Conflict if self.new_name.is_none() => continue,
                Written::Conflict => return Err(taken(&name, &flags)),
            };
            let says = format!("{name} starts {} over", self.name);
            if self.after.dry_run.is_some() {
                session.print(&diff(&Value::Null, &created.sent))?;
                session.remark(&format!("not stored: {says}"));
            } else {
                session.print(&format!("{says}\n"))?;
            }
            if let Some(step) = failed.spec.pause_at_step {
                session.remark(&format!("note: it pauses before {step}, as {} was asked to", self.name));
            }
            if !self.after.wait {
                return Ok(Outcome::Done);
            }
            let goal = if failed.spec.pause_at_step.is_some() { Goal::Paused } else { Goal::Succeeded };
            let generation = created.object.metadata.generation;
            return wait(session, &cluster, &name, &Wait { goal, generation, timeout: self.after.timeout }).await;
        }
        Err(Error::Usage(format!("{base}-{first} and the {NAMES} names after it are taken; give one with --name")))
    }
}

/// The sentence for a name that is taken.
pub(super) fn taken(name: &str, flags: &str) -> Error {
    Error::Usage(format!(
        "there is a relocation {name:?} already; choose another name, or look at that one with: kubectl relocation status {name}{flags}"
    ))
}

/// The new relocation: what was asked of the failed one, without what was only said to it while it ran.
fn retry(seen: &Seen<'_>, name: &str, reason: Option<&str>) -> Result<Value, String> {
    seen.refuse_deleted()?;
    let (old, status) = (seen.relocation, &seen.status);
    let Some(failure) = status.failure.as_ref().filter(|_| status.status == Some(StatusValue::Failure)) else {
        return Err(format!(
            "{} is {} and has not failed; only a failed one is started over",
            old.name_any(),
            seen.place()
        ));
    };
    if let Some(by) = &failure.retried_by {
        return Err(format!(
            "{} was started over as {} already; see where that one is with: kubectl relocation status {}{}",
            old.name_any(),
            by.name,
            by.name,
            seen.flags
        ));
    }
    let mut spec = old.spec.clone();
    // Its own identity, and no request that was meant for the other one.
    spec.uuid = None;
    spec.auto_pause = crate::api::AutoPause::default();
    spec.cancel_at_step = None;
    spec.desired_state = crate::api::DesiredState::default();
    spec.recover = None;
    spec.reason = reason.map(str::to_owned);
    spec.retry_of = Some(RetryOf { name: old.name_any(), uid: old.uid().unwrap_or_default() });
    let spec = serde_json::to_value(&spec).map_err(|error| error.to_string())?;
    Ok(json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Relocation",
        "metadata": { "name": name, "namespace": old.namespace() }, "spec": spec
    }))
}

/// The name without the number of an earlier retry, and the number to begin with.
fn numbered(name: &str, is_retry: bool) -> (String, u32) {
    let numbered = name.rsplit_once('-').filter(|_| is_retry);
    match numbered.and_then(|(base, number)| Some((base, number.parse::<u32>().ok()?))) {
        Some((base, number)) if number >= 2 => (base.to_owned(), number.saturating_add(1)),
        _ => (name.to_owned(), 2),
    }
}

fn with_number(base: &str, number: u32) -> String {
    let number = number.to_string();
    let room = LONGEST_NAME - number.len() - 1;
    let base: String = base.chars().take(room).collect();
    format!("{}-{number}", base.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::super::acting::tests::{failed, paused, relocation};
    use super::*;

    fn check(spec: Value, status: Value, expected: Expect) {
        let old = relocation(&spec, &status);
        let new = retry(&Seen::new(&old, " -n eu"), "acme-2", None);
        expected.assert_eq(&new.map_or_else(|refusal| refusal, |new| new["spec"].to_string()));
    }

    #[test]
    fn the_new_one_is_asked_for_the_same_and_for_nothing_that_was_said_later() {
        let spec = json!({
            "items": ["wiki"], "parameters": { "A": "b" }, "mutex": "m", "uuid": "11111111-2222-3333-4444-555555555555",
            "pauseAtStep": "IMPORTING", "autoPause": "Skip", "cancelAtStep": "NOTIFYING", "desiredState": "Aborted",
            "recover": "UPLOADING-1-0badcafe", "reason": "old", "whenLocked": "Wait"
        });
        check(
            spec,
            failed("VALIDATING", "Aborted", true),
            expect![[
                r#"{"planRef":{"name":"files"},"owner":"acme","provenance":"SELF_HOSTED","items":["wiki"],"parameters":{"A":"b"},"pauseAtStep":"IMPORTING","autoPause":"Honour","desiredState":"Active","retryOf":{"name":"acme","uid":"11111111-2222-3333-4444-555555555555"},"mutex":"m","whenLocked":"Wait","lateRequests":"Refuse","readiness":"WhenSucceeded"}"#
            ]],
        );
    }

    #[test]
    fn what_has_not_failed_or_was_started_over_is_refused() {
        check(
            json!({}),
            paused("IMPORTING", "Fence"),
            expect!["acme is PAUSE at IMPORTING and has not failed; only a failed one is started over"],
        );
        let mut status = failed("VALIDATING", "AttemptsExhausted", true);
        status["failure"]["retriedBy"] = json!({ "name": "acme-2", "uid": "u" });
        check(
            json!({}),
            status,
            expect![
                "acme was started over as acme-2 already; see where that one is with: kubectl relocation status acme-2 -n eu"
            ],
        );
    }

    #[test]
    fn names_are_counted_on() {
        assert_eq!(numbered("acme", false), ("acme".to_owned(), 2));
        assert_eq!(numbered("acme-7", false), ("acme-7".to_owned(), 2));
        assert_eq!(numbered("acme-2", true), ("acme".to_owned(), 3));
        assert_eq!(numbered("acme-again", true), ("acme-again".to_owned(), 2));
        assert_eq!(with_number("acme", 2), "acme-2");
        let long = with_number(&"a".repeat(52), 12);
        assert_eq!((long.len(), &long[47..]), (52, "aa-12"));
    }
}
