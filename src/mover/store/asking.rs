//! Questions that the library does not ask.
//!
//! A question is one of the library's own requests that is sent with another query, below the library's tries and above the network.
//! So it goes to the same host with the same credentials, is tried as often, and fails in the same way. The answer is taken on its way back.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Uri;
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse};
use object_store::{Error, Result};

tokio::task_local! {
    /// The question of this task.
    static ASKED: Arc<Question>;
}

/// What is asked instead, and the answer.
#[derive(Debug)]
pub struct Question {
    query: String,
    answer: Mutex<Option<Bytes>>,
}

/// Waits for a request of the library and asks `query` with it. What the library makes of the answer does not count.
pub async fn ask<T>(query: String, request: impl Future<Output = Result<T>>) -> Result<Bytes> {
    let question = Arc::new(Question { query, answer: Mutex::default() });
    let end = ASKED.scope(question.clone(), request).await;
    let answer = question.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (answer, end) {
        (Some(answer), _) => Ok(answer),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(Error::NotSupported { source: "nothing was asked".into() }),
    }
}

impl Question {
    /// The question of this task, if there is one.
    #[must_use]
    pub fn of_this_task() -> Option<Arc<Self>> {
        ASKED.try_with(Arc::clone).ok()
    }

    /// Writes the question into a request. What `keeps` names of the request's own query stays.
    pub fn write(&self, request: &mut HttpRequest, keeps: impl Fn(&str) -> bool) -> Result<(), HttpError> {
        let uri = request.uri().clone();
        let own = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && keeps(pair));
        let query = std::iter::once(self.query.as_str()).chain(own).collect::<Vec<_>>().join("&");
        let mut parts = uri.into_parts();
        let path = parts.path_and_query.as_ref().map_or("/", |both| both.path());
        let unfit = |error| HttpError::new(HttpErrorKind::Unknown, error);
        parts.path_and_query =
            Some(format!("{path}?{query}").parse().map_err(|error| unfit(http::Error::from(error)))?);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|error| unfit(http::Error::from(error)))?;
        Ok(())
    }

    /// Sends the request, and keeps the answer unless it is a refusal.
    pub async fn send(&self, client: &HttpClient, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = client.execute(request).await?;
        if !response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = body.bytes().await?;
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(body.clone());
        Ok(HttpResponse::from_parts(parts, body.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_replaces_the_query_but_for_what_is_kept() {
        let question = Question { query: "uploads=".to_owned(), answer: Mutex::default() };
        let asked = |uri: &str| {
            let mut request = HttpRequest::new(Vec::new().into());
            *request.uri_mut() = uri.parse().unwrap();
            question.write(&mut request, |pair| pair.starts_with("sig=")).unwrap();
            request.uri().to_string()
        };
        assert_eq!(asked("https://host:1/a%2Fb?list-type=2&sig=x"), "https://host:1/a%2Fb?uploads=&sig=x");
        assert_eq!(asked("https://host"), "https://host/?uploads=");
    }
}
