//! `notify`: tells somebody, as a `CloudEvent` 1.0 in structured JSON mode, by one HTTP POST.
//!
//! It tries once: when and how often to try again is the operator's business.
//! The event's id depends on the relocation, its step and its task only, so a receiver can drop the same event when it comes twice.
//! The URL may hold credentials, so nothing but its host is ever shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::clock;
use super::error::Error;
use super::manifest;
use super::outcome::Outcome;
use super::records::{self, Site};
use super::settings::{About, SUCCESS, Settings};
use super::workspace::{Stopped, Workspace};

/// Time for the whole exchange. The task's own timeout is an hour; a receiver that takes longer than this is down.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the step. An empty URL is none.
pub fn run(url: Option<&str>, site: Option<&Site>, settings: &Settings) -> Result<Outcome, Stopped> {
    let Some(url) = url.filter(|url| !url.is_empty()) else {
        let discarded = discard(site, settings)?;
        return Ok(Outcome::said(format!("no URL is given, so nobody is told{discarded}")));
    };
    let receiver = receiver(url)?;
    let event = event(&settings.about, &settings.items, totals(site, settings), &clock::timestamp());
    send(url, &receiver, &event.to_string())?;
    let discarded = discard(site, settings)?;
    let message = format!("{receiver} took the event {}{discarded}", event["id"]);
    Ok(Outcome { counts: BTreeMap::from([("events", 1)]), ..Outcome::said(message) })
}

/// Removes records that are at the target, when the data have arrived: the step NOTIFYING is after all that needs them. After a failure a recover does.
/// Returns what there is to add to the message.
fn discard(site: Option<&Site>, settings: &Settings) -> Result<String, Error> {
    let has_arrived = settings.about.result.is_empty() || settings.about.result == SUCCESS;
    let Some(site) = site.filter(|_| has_arrived) else { return Ok(String::new()) };
    records::discard(site, settings)?;
    Ok(match site {
        Site::Workspace(_) => String::new(),
        Site::Target(target) => format!("; the records of the move at {target} are no longer needed and removed"),
    })
}

/// Host and port of a URL, and that it is one we can use.
fn receiver(url: &str) -> Result<String, Error> {
    let uri: ureq::http::Uri = url.parse().map_err(|_| Error::Url("it is not a URL".to_owned()))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(_) | None => {
            return Err(Error::Url("it starts with neither http:// nor https://".to_owned()));
        }
    }
    match (uri.host(), uri.port_u16()) {
        (Some(host), Some(port)) if !host.is_empty() => Ok(format!("{host}:{port}")),
        (Some(host), None) if !host.is_empty() => Ok(host.to_owned()),
        _ => Err(Error::Url("it names no host".to_owned())),
    }
}

/// What was moved, when the workspace still knows it; an `onEnd` Job may come before any manifest.
fn totals(site: Option<&Site>, settings: &Settings) -> Option<Value> {
    let workspace = Workspace::unlock(site?, settings).ok()?;
    let totals = manifest::read_totals(&workspace.root).ok()?;
    serde_json::to_value(totals).ok()
}

fn event(about: &About, items: &[String], totals: Option<Value>, time: &str) -> Value {
    let About { name, namespace, uuid, origin, step, task, attempt, owner, provenance, result, reason, failure_id } =
        about;
    let is_ended = !result.is_empty();
    let mut data = json!({
        "name": name, "namespace": namespace, "uuid": uuid, "origin": origin, "owner": owner, "provenance": provenance,
        "items": items, "step": step, "task": task, "attempt": attempt,
    });
    if is_ended {
        data["result"] = json!(result);
        data["reason"] = json!(reason);
        data["failureId"] = json!(failure_id);
    }
    if let Some(totals) = totals {
        data["moved"] = totals;
    }
    let or = |text: &str, other: &str| {
        if text.is_empty() { other.to_owned() } else { text.to_owned() }
    };
    // Different endings of one relocation are different events: it may fail, be recovered, and succeed.
    let ending = if is_ended { format!("/{result}/{failure_id}") } else { String::new() };
    json!({
        "specversion": "1.0",
        "id": format!("{}/{}/{}{ending}", or(uuid, "manual"), or(step, "NOTIFYING"), or(task, "notify")),
        "source": format!("/apis/relocation.dev/v1alpha1/namespaces/{}/relocations/{}", or(namespace, "default"), or(name, "manual")),
        "type": if is_ended { "dev.relocation.ended" } else { "dev.relocation.moved" },
        "subject": or(name, "manual"),
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    })
}

fn send(url: &str, receiver: &str, body: &str) -> Result<(), Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        // A receiver that has moved is a wrong URL, not something to chase with somebody's credentials.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .into();
    let sent = agent.post(url).header("content-type", "application/cloudevents+json; charset=utf-8").send(body);
    match sent {
        Ok(response) => judge(response.status().as_u16(), receiver),
        Err(error) => Err(Error::Unreachable { receiver: receiver.to_owned(), problem: problem(&error) }),
    }
}

fn judge(status: u16, receiver: &str) -> Result<(), Error> {
    let receiver = receiver.to_owned();
    match status {
        200..=299 => Ok(()),
        // Three of the 4xx ask to come again: request timeout, too early, too many requests.
        408 | 425 | 429 | 500..=599 => {
            Err(Error::Unreachable { receiver, problem: format!("it answered with HTTP status {status}") })
        }
        _ => Err(Error::Refused { receiver, status }),
    }
}

/// The library's words, unless they could repeat the URL.
#[allow(clippy::wildcard_enum_match_arm)] // somebody else's enum, which may grow
fn problem(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => super::error::cause(error),
        ureq::Error::Timeout(_) => "it did not answer in time".to_owned(),
        ureq::Error::HostNotFound => "its name cannot be resolved".to_owned(),
        ureq::Error::ConnectionFailed => "no connection could be made".to_owned(),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
            format!("the TLS connection failed ({error})")
        }
        _ => "the exchange failed".to_owned(),
    }
}
