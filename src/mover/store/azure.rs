//! What the library leaves out of Azure: an object that is made of parts, with what is said about it, and only where none is; and which parts wait for that.
//!
//! Azure takes what is said about an object, and the condition, with the request that makes it of its blocks.
//! The library sends that request without either. Here both are added to it on its way, below the library's own tries and above the network, and it is signed anew.
//!
//! Azure has no uploads: blocks wait below their key until an object is made of some of them, which removes the others, or for a week.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};
use object_store::azure::{AzureAuthorizer, AzureCredential, AzureCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, GetOptions, ObjectStore, Result};

use super::asking::{Question, ask};
use super::{About, Replace};

/// What is found in the query of the request that makes an object of its blocks.
const COMMIT: &str = "comp=blocklist";
/// The question for the blocks that wait.
const WAITING: &str = "comp=blocklist&blocklisttype=uncommitted";
/// A header of every request to Azure that the library has signed, and of none for a token.
const VERSION: &str = "x-ms-version";
/// The account of the emulator, which the library takes where it is told to use that and no account is named.
const EMULATED: &str = "devstoreaccount1";

tokio::task_local! {
    /// What is added to the request of this task.
    static ADDED: Arc<Added>;
}

struct Added {
    headers: HeaderMap,
    credential: Arc<AzureCredential>,
    account: String,
}

/// Who we are at Azure.
pub struct Azure {
    credentials: AzureCredentialProvider,
    account: String,
}

impl Azure {
    /// With the credentials that the library has chosen.
    #[must_use]
    pub fn new(credentials: AzureCredentialProvider, account: Option<String>) -> Self {
        Self { credentials, account: account.unwrap_or_else(|| EMULATED.to_owned()) }
    }

    /// Waits for `commit`, which makes an object of its blocks, and adds to its request what is said about the object.
    /// With [`Replace::Never`] Azure refuses where there is an object.
    pub async fn adding<T>(
        &self,
        about: &About,
        replace: Replace,
        commit: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        ADDED.scope(self.added(headers(about, replace)?).await?, commit).await
    }

    /// Whether blocks wait to become the object of a path.
    pub async fn has_waiting(&self, objects: &dyn ObjectStore, path: &ObjectPath) -> Result<bool> {
        let added = self.added(HeaderMap::new()).await?;
        let asked = ask(WAITING.to_owned(), objects.get_opts(path, GetOptions::default()));
        match ADDED.scope(added, asked).await {
            Ok(list) => Ok(String::from_utf8_lossy(&list).contains("<Block>")),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn added(&self, headers: HeaderMap) -> Result<Arc<Added>> {
        let credential = self.credentials.get_credential().await?;
        Ok(Arc::new(Added { headers, credential, account: self.account.clone() }))
    }
}

fn headers(about: &About, replace: Replace) -> Result<HeaderMap> {
    // Neither the name nor the value is shown: both are somebody's.
    let unfit = || object_store::Error::NotSupported { source: "metadata that no header can hold".into() };
    let mut headers = HeaderMap::new();
    for (name, value) in about {
        let name = match name.strip_prefix("meta-") {
            Some(name) => format!("x-ms-meta-{name}"),
            None => format!("x-ms-blob-{name}"),
        };
        let name = HeaderName::try_from(name).map_err(|_| unfit())?;
        let value = HeaderValue::try_from(value).map_err(|_| unfit())?;
        headers.insert(name, value);
    }
    if replace == Replace::Never {
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    Ok(headers)
}

/// The name of metadata that Azure does not take: one that is no C# identifier.
#[must_use]
pub fn unfit(about: &About) -> Option<&str> {
    let is_fit = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    about.keys().filter_map(|name| name.strip_prefix("meta-")).find(|name| !is_fit(name))
}

/// Connects as the library does, and adds what a task wants added.
#[derive(Debug, Default)]
pub struct Adding(ReqwestConnector);

impl HttpConnector for Adding {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        self.0.connect(options).map(|client| HttpClient::new(Service(client)))
    }
}

#[derive(Debug)]
struct Service(HttpClient);

impl HttpService for Service {
    // As `async_trait` writes it.
    fn call<'a, 'b>(&'a self, mut request: HttpRequest) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let unsigned = |error| HttpError::new(HttpErrorKind::Unknown, error);
            let Ok(added) = ADDED.try_with(Arc::clone) else { return self.0.execute(request).await };
            // Within the task there may be a request for a token, too.
            match Question::of_this_task() {
                Some(question) if request.headers().contains_key(VERSION) => {
                    question.write(&mut request, |_| true)?;
                    add(&mut request, &added).map_err(unsigned)?;
                    question.send(&self.0, request).await
                }
                _ => {
                    if request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == COMMIT)) {
                        add(&mut request, &added).map_err(unsigned)?;
                    }
                    self.0.execute(request).await
                }
            }
        })
    }
}

fn add(request: &mut HttpRequest, Added { headers, credential, account }: &Added) -> Result<()> {
    request.headers_mut().extend(headers.clone());
    match **credential {
        // The signature is of the headers.
        AzureCredential::AccessKey(_) => {
            request.headers_mut().remove(AUTHORIZATION);
            AzureAuthorizer::new(credential, account).try_authorize(request)
        }
        AzureCredential::SASToken(_) | AzureCredential::BearerToken(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use object_store::azure::AzureAccessKey;

    use super::*;

    fn request(credential: &AzureCredential) -> HttpRequest {
        let mut request = HttpRequest::new(Vec::new().into());
        *request.uri_mut() = "https://me.blob.core.windows.net/container/key?comp=blocklist".parse().unwrap();
        AzureAuthorizer::new(credential, "me").try_authorize(&mut request).unwrap();
        request
    }

    fn added(credential: AzureCredential, replace: Replace) -> HttpRequest {
        let about: About = [("content-type", "text/css"), ("meta-colour", "red")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let mut request = request(&credential);
        let headers = headers(&about, replace).unwrap();
        let added = Added { headers, credential: Arc::new(credential), account: "me".to_owned() };
        add(&mut request, &added).unwrap();
        request
    }

    fn key() -> AzureCredential {
        AzureCredential::AccessKey(AzureAccessKey::try_new("a2V5").unwrap())
    }

    #[test]
    fn what_is_said_about_an_object_is_signed_once() {
        let before = request(&key());
        let after = added(key(), Replace::Never);
        let header = |request: &HttpRequest, name: &str| {
            let values: Vec<_> =
                request.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
            assert!(values.len() < 2, "{name}: {values:?}");
            values.first().cloned()
        };
        assert_eq!(header(&after, "x-ms-blob-content-type").as_deref(), Some("text/css"));
        assert_eq!(header(&after, "x-ms-meta-colour").as_deref(), Some("red"));
        assert_eq!(header(&after, "if-none-match").as_deref(), Some("*"));
        assert_eq!(header(&added(key(), Replace::Whatever), "if-none-match"), None);
        assert!(header(&after, "authorization").is_some_and(|after| Some(after) != header(&before, "authorization")));
    }

    #[test]
    fn only_identifiers_are_names_of_metadata() {
        let about = |name: &str| About::from([(name.to_owned(), String::new())]);
        for name in ["meta-colour", "meta-_1", "content-type", "meta-relocationmode"] {
            assert_eq!(unfit(&about(name)), None, "{name}");
        }
        for name in ["two-words", "1st", "", "a.b"] {
            assert_eq!(unfit(&about(&format!("meta-{name}"))), Some(name));
        }
    }

    #[test]
    fn a_token_is_sent_once() {
        let bearer = added(AzureCredential::BearerToken("t".to_owned()), Replace::Never);
        assert_eq!(bearer.headers().get_all("authorization").iter().count(), 1);
        let pairs = vec![("sig".to_owned(), "t".to_owned())];
        let shared = added(AzureCredential::SASToken(pairs), Replace::Never);
        assert_eq!(shared.uri().query(), Some("comp=blocklist&sig=t"));
    }
}
