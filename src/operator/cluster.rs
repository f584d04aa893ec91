//! The one module that talks to the API server apart from watches: every read and every write of ours goes through here.
//!
//! Each call has a timeout, is counted, and is tried again only for a short time and only when that is harmless:
//! reads always, writes because each is idempotent by name or guarded by a precondition.
//!
//! Invariant "only a leader writes": no write starts, and none is waited for, after the right to lead has ended.

#![expect(clippy::disallowed_methods, reason = "this is the one module that writes")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ReconcileError;
use super::lease::Leadership;
use super::metrics::Metrics;
use crate::api::{ArtifactIndex, Relocation, RelocationPlan};

/// The field manager of every write of ours.
pub(super) const FIELD_MANAGER: &str = "relocation-operator";

/// How long one call may take. A healthy API server answers in milliseconds; a pass must not hang on a sick one.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, ReconcileError>;

/// Kinds that the operator reads and writes, by the name that metrics and errors use.
pub(super) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + std::fmt::Debug
{
    const PLURAL: &'static str;
}

macro_rules! kinds {
    ($($kind:ty => $plural:literal),* $(,)?) => {
        $(impl Kind for $kind { const PLURAL: &'static str = $plural; })*
    };
}

kinds! {
    Relocation => "relocations",
    RelocationPlan => "relocationplans",
    ArtifactIndex => "artifactindices",
    Job => "jobs",
    Pod => "pods",
    Event => "events",
    Lease => "leases",
    PersistentVolumeClaim => "persistentvolumeclaims",
    ControllerRevision => "controllerrevisions",
}

/// Whether a create is done or only tried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is done.
    Persist,
    /// The API server judges it, strictly, and stores nothing.
    DryRun,
}

/// Whether a call needs the right to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// The API server, as the operator uses it.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Client,
    metrics: Arc<Metrics>,
    leadership: Arc<Leadership>,
}

impl Cluster {
    pub fn new(client: Client, metrics: Arc<Metrics>, leadership: Arc<Leadership>) -> Self {
        Self { client, metrics, leadership }
    }

    /// The client, for watches and events.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether this operator may write now.
    pub fn leads(&self) -> bool {
        self.leadership.leads()
    }

    fn api<K: Kind>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// One object, or nothing when there is none of that name.
    pub async fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<K>> {
        let api = self.api::<K>(namespace);
        self.call("get", K::PLURAL, Access::Read, || api.get_opt(name)).await
    }

    /// All objects with the label selector.
    pub async fn list<K: Kind>(&self, namespace: &str, labels: &str) -> Result<Vec<K>> {
        let api = self.api::<K>(namespace);
        let parameters = ListParams::default().labels(labels);
        Ok(self.call("list", K::PLURAL, Access::Read, || api.list(&parameters)).await?.items)
    }

    /// All objects with the field selector.
    pub async fn list_by_fields<K: Kind>(&self, namespace: &str, fields: &str) -> Result<Vec<K>> {
        let api = self.api::<K>(namespace);
        let parameters = ListParams::default().fields(fields);
        Ok(self.call("list", K::PLURAL, Access::Read, || api.list(&parameters)).await?.items)
    }

    /// Creates an object that is given as JSON, so that nothing is lost which our types do not know.
    pub async fn create<K: Kind>(&self, namespace: &str, object: &Value, mode: Mode) -> Result<K> {
        let parameters = PostParams { dry_run: mode == Mode::DryRun, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let body = serde_json::to_vec(object).unwrap_or_default();
        let verb = if mode == Mode::DryRun { "dry-run" } else { "create" };
        self.call(verb, K::PLURAL, Access::Write, || async {
            let mut request = Request::new(K::url_path(&(), Some(namespace)))
                .create(&parameters, body.clone())
                .map_err(kube::Error::BuildRequest)?;
            if mode == Mode::DryRun {
                let strict = format!("{}&fieldValidation=Strict", request.uri());
                *request.uri_mut() = strict
                    .parse()
                    .map_err(|error: axum::http::uri::InvalidUri| kube::Error::HttpError(error.into()))?;
            }
            self.client.request::<K>(request).await
        })
        .await
    }

    /// Writes `/status` by a merge patch with the object's `resourceVersion` as precondition.
    pub async fn patch_status<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        resource_version: &str,
        status: &Value,
    ) -> Result<K> {
        let api = self.api::<K>(namespace);
        let patch = serde_json::json!({ "metadata": { "resourceVersion": resource_version }, "status": status });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        self.call("patch", K::PLURAL, Access::Write, || api.patch_status(name, &parameters, &patch)).await
    }

    /// Replaces the spec of an object by a merge patch with its `resourceVersion` as precondition.
    pub async fn patch<K: Kind>(&self, namespace: &str, name: &str, patch: &Value) -> Result<K> {
        let api = self.api::<K>(namespace);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        self.call("patch", K::PLURAL, Access::Write, || api.patch(name, &parameters, &patch)).await
    }

    /// Deletes exactly the object that was seen, in the foreground. It being gone already is as good.
    pub async fn delete<K: Kind>(&self, namespace: &str, name: &str, uid: &str) -> Result<()> {
        let api = self.api::<K>(namespace);
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.call("delete", K::PLURAL, Access::Write, || api.delete(name, &parameters)).await {
            Ok(_) => Ok(()),
            Err(error) if error.api_status().is_some_and(|status| status.is_not_found() || status.is_conflict()) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The lease of the election. It is read once: whoever asks has its own times.
    pub async fn read_lease(&self, namespace: &str, name: &str, limit: Duration) -> Result<Option<Lease>> {
        let api = self.api::<Lease>(namespace);
        self.once("get", Lease::PLURAL, limit, || api.get_opt(name)).await
    }

    /// Writes the lease of the election: creates it, or replaces the version that it names. It is the one write that
    /// needs no right to lead, because it gains that right.
    pub async fn write_lease(
        &self,
        namespace: &str,
        name: &str,
        lease: &Value,
        exists: bool,
        limit: Duration,
    ) -> Result<Lease> {
        let parameters = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let body = serde_json::to_vec(lease).unwrap_or_default();
        let request = Request::new(Lease::url_path(&(), Some(namespace)));
        let verb = if exists { "update" } else { "create" };
        self.once(verb, Lease::PLURAL, limit, || async {
            let request = if exists {
                request.replace(name, &parameters, body.clone())
            } else {
                request.create(&parameters, body.clone())
            };
            self.client.request::<Lease>(request.map_err(kube::Error::BuildRequest)?).await
        })
        .await
    }

    async fn call<T, F>(
        &self,
        verb: &'static str,
        resource: &'static str,
        access: Access,
        attempt: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let allowed = || async {
            let limit = match access {
                Access::Read => CALL_TIMEOUT,
                Access::Write => {
                    self.leadership.time_to_write(CALL_TIMEOUT).ok_or(ReconcileError::NotLeading { verb, resource })?
                }
            };
            match self.once(verb, resource, limit, &attempt).await {
                Err(ReconcileError::Timeout { .. }) if access == Access::Write && !self.leads() => {
                    Err(ReconcileError::NotLeading { verb, resource })
                }
                outcome => outcome,
            }
        };
        let policy =
            ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_times(2).with_jitter();
        allowed.retry(policy).when(is_passing).await
    }

    async fn once<T, F>(
        &self,
        verb: &'static str,
        resource: &'static str,
        limit: Duration,
        attempt: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let outcome = tokio::time::timeout(limit, attempt()).await;
        let code = match &outcome {
            Ok(Ok(_)) => 200,
            Ok(Err(kube::Error::Api(status))) => status.code,
            Ok(Err(_)) | Err(_) => 0,
        };
        self.metrics.count_request(verb, resource, code);
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(ReconcileError::Call { verb, resource, source: Box::new(source) }),
            Err(_) => Err(ReconcileError::Timeout { verb, resource }),
        }
    }
}

/// Whether the same call may succeed a moment later.
fn is_passing(error: &ReconcileError) -> bool {
    match error {
        ReconcileError::Call { .. } => {
            error.api_status().is_none_or(|status| matches!(status.code, 429 | 500 | 502 | 503 | 504))
        }
        ReconcileError::Timeout { .. }
        | ReconcileError::NotLeading { .. }
        | ReconcileError::Overtaken
        | ReconcileError::Unreadable { .. } => false,
    }
}
