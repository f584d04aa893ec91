//! Reading from the API server: each call has a timeout, is tried again for a moment where that helps, and fails with
//! a sentence.
//!
//! Objects come as the text that the API server sent beside the typed value, so that `-o json` loses no field of a
//! newer version, and one object that this version cannot read does not spoil a list.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use kube::api::{Api, GetParams, ListParams};
use kube::core::{NamespaceResourceScope, Request, Status};
use kube::{Client, Resource, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::connection::{Connection, last_cause};
use super::error::Error;
use super::similar::similar;
use crate::api::{ArtifactIndex, Relocation, RelocationPlan};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod};

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In one namespace.
    Namespace(String),
    /// In all of them.
    Everywhere,
}

/// A kind that the plugin reads.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug
{
    /// The resource, as a role names it.
    const RESOURCE: &'static str;
    /// The kind, as a sentence names it.
    const WORDS: &'static str;
}

macro_rules! kinds {
    ($($kind:ty => $resource:literal, $words:literal);* $(;)?) => {
        $(impl Kind for $kind {
            const RESOURCE: &'static str = $resource;
            const WORDS: &'static str = $words;
        })*
    };
}

kinds! {
    Relocation => "relocations.relocation.dev", "relocation";
    RelocationPlan => "relocationplans.relocation.dev", "plan";
    ArtifactIndex => "artifactindices.relocation.dev", "artifact index";
    Job => "jobs.batch", "Job";
    Pod => "pods", "pod";
    Event => "events", "event";
    Lease => "leases.coordination.k8s.io", "Lease";
    ControllerRevision => "controllerrevisions.apps", "plan revision";
}

/// An object, with the text that the API server sent.
#[derive(Clone, Debug)]
pub struct Found<K> {
    /// As this version understands it.
    pub object: K,
    /// As it was sent.
    pub sent: Value,
}

/// The objects of a list, each as it was sent.
#[derive(Debug, Deserialize)]
pub struct Listed {
    items: Vec<Box<RawValue>>,
}

impl Listed {
    /// The objects as this version understands them, and how many it does not.
    pub fn typed<K: DeserializeOwned>(&self) -> (Vec<K>, usize) {
        let read: Vec<K> = self.items.iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect();
        let unreadable = self.items.len() - read.len();
        (read, unreadable)
    }

    /// The objects as they were sent.
    pub fn sent<K: Kind>(&self) -> Vec<Value> {
        let complete = |item: &RawValue| {
            let mut object: Value = serde_json::from_str(item.get()).ok()?;
            // A list says once for all what its items are; each of them is shown by itself.
            object["apiVersion"] = K::api_version(&()).into();
            object["kind"] = K::kind(&()).into();
            Some(object)
        };
        self.items.iter().filter_map(|item| complete(item)).collect()
    }
}

/// The API server, as the plugin reads it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    address: String,
    place: Place,
    timeout: Duration,
}

impl Cluster {
    pub(super) fn new(connection: Connection, place: Place, timeout: Duration) -> Self {
        let Connection { client, address, namespace: _ } = connection;
        Self { client, address, place, timeout }
    }

    /// The client, for watches, logs and writes.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where to look.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The namespace of the objects that are named.
    pub fn namespace(&self) -> &str {
        match &self.place {
            Place::Namespace(namespace) => namespace,
            Place::Everywhere => "default",
        }
    }

    /// The API of a kind in the namespace of the objects that are named.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace())
    }

    /// One object. A missing one is answered with the names that are close.
    pub async fn get<K: Kind>(&self, name: &str) -> Result<Found<K>, Error> {
        if let Some(found) = self.get_opt(name).await? {
            return Ok(found);
        }
        let (similar, elsewhere) = futures::join!(self.names_like::<K>(name), self.namespaces_with::<K>(name));
        Err(Error::NotFound {
            kind: K::WORDS,
            name: name.to_owned(),
            namespace: self.namespace().to_owned(),
            similar,
            elsewhere,
        })
    }

    /// One object, or nothing when there is none of that name.
    pub async fn get_opt<K: Kind>(&self, name: &str) -> Result<Option<Found<K>>, Error> {
        let text = match self.call::<K>(&Question::Get(name), &self.place).await {
            Ok(text) => text,
            Err(Failure::Missing) => return Ok(None),
            Err(Failure::Told(error)) => return Err(error),
        };
        let unreadable = |error: serde_json::Error| Error::Unreadable {
            kind: K::WORDS,
            name: name.to_owned(),
            why: error.to_string(),
        };
        let object = serde_json::from_str(&text).map_err(unreadable)?;
        Ok(Some(Found { object, sent: serde_json::from_str(&text).map_err(unreadable)? }))
    }

    /// The objects in the place that was asked for.
    pub async fn list<K: Kind>(&self, parameters: &ListParams) -> Result<Listed, Error> {
        let text = self.list_text::<K>(&self.place, parameters).await?;
        serde_json::from_str(&text).map_err(|error| Error::Request {
            verb: "list",
            resource: K::RESOURCE.to_owned(),
            why: format!("the API server did not send a list: {error}"),
        })
    }

    /// The objects that this version understands.
    pub async fn list_typed<K: Kind>(&self, parameters: &ListParams) -> Result<Vec<K>, Error> {
        Ok(self.list::<K>(parameters).await?.typed().0)
    }

    async fn list_text<K: Kind>(&self, place: &Place, parameters: &ListParams) -> Result<String, Error> {
        self.call::<K>(&Question::List(parameters), place).await.map_err(|failure| match failure {
            Failure::Told(error) => error,
            // Nothing has a name here: the resource itself is not there.
            Failure::Missing => Error::KindsMissing { address: self.address.clone() },
        })
    }

    /// The names of a namespace that are close to one. Help that is not there is no error.
    async fn names_like<K: Kind>(&self, name: &str) -> Vec<String> {
        let api = self.api::<K>();
        let listed = api.list_metadata(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        let names: Vec<String> = listed.iter().map(ResourceExt::name_any).collect();
        similar(name, names.iter().map(String::as_str))
    }

    async fn namespaces_with<K: Kind>(&self, name: &str) -> Vec<String> {
        let api = Api::<K>::all(self.client.clone());
        let parameters = ListParams::default().fields(&format!("metadata.name={}", field_value(name)));
        let listed = api.list_metadata(&parameters).await.map(|list| list.items).unwrap_or_default();
        listed.iter().filter_map(ResourceExt::namespace).take(3).collect()
    }

    /// Asks, and asks again for a moment when the API server says that it is overloaded.
    async fn call<K: Kind>(&self, question: &Question<'_>, place: &Place) -> Result<String, Failure> {
        let request = Request::new(K::url_path(&(), namespace_of(place)));
        let once = || async {
            let request = match question {
                Question::Get(name) => request.get(name, &GetParams::default()),
                Question::List(parameters) => request.list(parameters),
            };
            self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await
        };
        let policy = ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_times(3);
        let answer = self.within(once.retry(policy).when(is_overload)).await.map_err(Failure::Told)?;
        answer.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 404 && names_an_object(&status) => Failure::Missing,
            error => Failure::Told(self.explain(question.verb(), K::RESOURCE, place, error)),
        })
    }

    /// Waits for an answer as long as the flags allow.
    pub async fn within<T>(&self, answer: impl Future<Output = T>) -> Result<T, Error> {
        if self.timeout.is_zero() {
            return Ok(answer.await);
        }
        tokio::time::timeout(self.timeout, answer)
            .await
            .map_err(|_| Error::TimedOut { address: self.address.clone(), seconds: self.timeout.as_secs() })
    }

    /// The sentence for an error of the client.
    pub fn explain(&self, verb: &'static str, resource: &str, place: &Place, error: kube::Error) -> Error {
        let address = self.address.clone();
        match error {
            kube::Error::Api(status) => self.explain_status(verb, resource, place, *status),
            kube::Error::Auth(error) => Error::Unauthorized { address, why: last_cause(&error) },
            error @ (kube::Error::Service(_) | kube::Error::HyperError(_)) => {
                Error::Unreachable { address, why: last_cause(&error) }
            }
            error => Error::Request { verb, resource: resource.to_owned(), why: last_cause(&error) },
        }
    }

    fn explain_status(&self, verb: &'static str, resource: &str, place: &Place, status: Status) -> Error {
        let address = self.address.clone();
        match status.code {
            401 => Error::Unauthorized { address, why: status.message },
            // It is not the request that is refused, but to make it as somebody else.
            403 if status.message.contains("cannot impersonate") => Error::Forbidden {
                verb: "impersonate",
                resource: "users and groups".to_owned(),
                place: "in this cluster".to_owned(),
                why: who(&status.message),
            },
            403 => Error::Forbidden {
                verb,
                resource: resource.to_owned(),
                place: match place {
                    Place::Namespace(namespace) => format!("in the namespace {namespace:?}"),
                    Place::Everywhere => "in all namespaces".to_owned(),
                },
                why: who(&status.message),
            },
            404 if !names_an_object(&status) && resource.ends_with(crate::api::GROUP) => {
                Error::KindsMissing { address }
            }
            // Nothing is refused when something is broken on the other side.
            500.. => Error::Request {
                verb,
                resource: resource.to_owned(),
                why: format!("the API server answered {}: {}", status.code, status.message),
            },
            _ if status.message.is_empty() => Error::Request {
                verb,
                resource: resource.to_owned(),
                why: format!("the API server answered {} {}", status.code, status.reason),
            },
            _ => Error::Refused { message: status.message, possible: None },
        }
    }
}

enum Question<'a> {
    Get(&'a str),
    List(&'a ListParams),
}

impl Question<'_> {
    const fn verb(&self) -> &'static str {
        match self {
            Self::Get(_) => "get",
            Self::List(_) => "list",
        }
    }
}

enum Failure {
    /// There is no object of that name.
    Missing,
    Told(Error),
}

fn namespace_of(place: &Place) -> Option<&str> {
    match place {
        Place::Namespace(namespace) => Some(namespace),
        Place::Everywhere => None,
    }
}

/// Whether a 404 is about an object, and not about a resource that the API server does not have.
fn names_an_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

fn is_overload(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 429 | 503 | 504))
}

/// Who may not: the sentence of the API server says it in the middle.
fn who(message: &str) -> String {
    let user = message.find("User \"").map(|start| &message[start + 6..]).and_then(|rest| rest.split('"').next());
    user.map_or_else(|| message.to_owned(), |user| format!("you are the user {user:?}"))
}

/// A value as it may stand in a field selector.
pub(super) fn field_value(value: &str) -> String {
    value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_refusal_is_found() {
        let message = r#"relocations.relocation.dev is forbidden: User "jane" cannot list resource "relocations" in API group "relocation.dev" in the namespace "default""#;
        assert_eq!(who(message), r#"you are the user "jane""#);
        assert_eq!(who("no"), "no");
    }

    #[test]
    fn one_object_of_a_newer_version_spoils_no_list() {
        let list = r#"{"items":[
            {"metadata":{"name":"old"},"spec":{"planRef":{"name":"p"},"owner":"o"}},
            {"metadata":{"name":"new"},"spec":{"planRef":{"name":"p"},"owner":"o","autoPause":"Perhaps"}}
        ]}"#;
        let listed: Listed = serde_json::from_str(list).unwrap();
        let (read, unreadable) = listed.typed::<Relocation>();
        assert_eq!((read.len(), unreadable), (1, 1));
        let sent = listed.sent::<Relocation>();
        assert_eq!(sent[1]["spec"]["autoPause"], "Perhaps");
        assert_eq!(sent[1]["kind"], "Relocation");
    }

    #[test]
    fn a_value_ends_no_selector() {
        assert_eq!(field_value(r"a=b,c\d"), r"a\=b\,c\\d");
    }
}
