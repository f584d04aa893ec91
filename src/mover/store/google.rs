//! What the library leaves out of Google: which uploads in parts nobody has completed.

use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, ObjectStore, Result};

use super::asking::{Question, ask};

/// What is found in the query of the library's request for a listing.
const LISTING: &str = "list-type=2";

/// Asks for uploads that are not completed, with a query as S3 has it.
pub async fn uploads(objects: &dyn ObjectStore, query: String) -> Result<Bytes> {
    ask(query, objects.list_with_delimiter(None)).await
}

/// Connects as the library does, and asks what a task wants to know.
#[derive(Debug, Default)]
pub struct Asking(ReqwestConnector);

impl HttpConnector for Asking {
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
            // Within the task there may be a request for a token, too.
            let is_listing = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == LISTING));
            match Question::of_this_task().filter(|_| is_listing) {
                Some(question) => {
                    question.write(&mut request, |_| false)?;
                    question.send(&self.0, request).await
                }
                None => self.0.execute(request).await,
            }
        })
    }
}
