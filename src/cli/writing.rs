//! The one place of the plugin that writes. It writes relocations, and of them only what their user could write.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use kube::Resource;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::Value;

use super::cluster::{Cluster, Found, Kind};
use super::error::Error;
use crate::api::Relocation;

/// Who writes. Flux takes back what a manager whose name begins with `kubectl` has set, and leaves this one's alone.
const MANAGER: &str = "relocation-plugin";

/// Whether the API server stores what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It stores it.
    Store,
    /// It applies all its rules, answers with what it would store, and stores nothing.
    DryRun,
}

impl Mode {
    fn is_dry(self) -> bool {
        self == Self::DryRun
    }
}

/// What came of a write.
pub(super) enum Written {
    /// The object as it is now.
    Stored(Box<Found<Relocation>>),
    /// Somebody was faster: the object has changed or is gone, or the name is taken.
    Conflict,
}

/// Sends a merge patch, which holds the `resourceVersion` that was decided on.
pub(super) async fn patch(cluster: &Cluster, name: &str, body: &Value, mode: Mode) -> Result<Written, Error> {
    let parameters =
        PatchParams { dry_run: mode.is_dry(), field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    // The precondition makes a repetition harmless: when the first one was stored, the second one is a conflict.
    let again =
        |error: &kube::Error| matches!(error, kube::Error::Api(status) if matches!(status.code, 429 | 503 | 504));
    let build = || request(cluster).patch(name, &parameters, &Patch::Merge(body)).map_err(kube::Error::BuildRequest);
    send(cluster, "patch", build, again, &[404, 409]).await
}

/// Creates a relocation as it is written. Fields that its kind does not have are an error.
pub(super) async fn create(cluster: &Cluster, object: &Value, mode: Mode) -> Result<Written, Error> {
    let parameters = PostParams { dry_run: mode.is_dry(), field_manager: Some(MANAGER.to_owned()) };
    let body = object.to_string().into_bytes();
    let again = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 429);
    let build = || {
        let mut request = request(cluster).create(&parameters, body.clone()).map_err(kube::Error::BuildRequest)?;
        let strict = format!("{}&fieldValidation=Strict", request.uri());
        *request.uri_mut() =
            strict.parse().map_err(|error: http::uri::InvalidUri| kube::Error::HttpError(error.into()))?;
        Ok(request)
    };
    send(cluster, "create", build, again, &[409]).await
}

fn request(cluster: &Cluster) -> Request {
    Request::new(Relocation::url_path(&(), Some(cluster.namespace())))
}

async fn send(
    cluster: &Cluster,
    verb: &'static str,
    build: impl Fn() -> Result<http::Request<Vec<u8>>, kube::Error>,
    again: impl Fn(&kube::Error) -> bool,
    conflicts: &[u16],
) -> Result<Written, Error> {
    let client = cluster.client();
    let once = || async { client.request_text(build()?).await };
    let policy = ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_times(3);
    let text = match cluster.within(once.retry(policy).when(again)).await? {
        Ok(text) => text,
        Err(kube::Error::Api(status)) if is_conflict(&status, conflicts) => return Ok(Written::Conflict),
        // A policy says which permission is missing; a missing role is the API server's own to name.
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("ValidatingAdmissionPolicy") => {
            return Err(Error::Refused { message: status.message.clone(), possible: None });
        }
        Err(error) => return Err(cluster.explain(verb, Relocation::RESOURCE, cluster.place(), error)),
    };
    let unreadable = |error: serde_json::Error| Error::Unreadable {
        kind: Relocation::WORDS,
        name: "that was written".to_owned(),
        why: error.to_string(),
    };
    let object = serde_json::from_str(&text).map_err(unreadable)?;
    Ok(Written::Stored(Box::new(Found { object, sent: serde_json::from_str(&text).map_err(unreadable)? })))
}

/// Whether the object itself is not as it was; a 404 without a name is about the kind.
fn is_conflict(status: &kube::core::Status, conflicts: &[u16]) -> bool {
    let names_an_object = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    conflicts.contains(&status.code) && (status.code != 404 || names_an_object)
}
