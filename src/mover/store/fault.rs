//! What a store can answer instead of doing what it was asked, as far as it makes a difference to a person.
//!
//! **Invariant: nothing of an answer is shown but its code.** Stores repeat parts of what was signed in the text of a refusal.

use std::error::Error as _;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It does not know the credentials, or there are none.
    Credentials(String),
    /// It knows them and does not allow this.
    Denied(String),
    /// There is no such bucket.
    NoBucket,
    /// There is no such object.
    Missing,
    /// There is an object where none may be.
    Exists,
    /// The object is another one than it was.
    Changed,
    /// It has no room left.
    Full(String),
    /// It holds a key that cannot be addressed: with an empty part, `.`, `..` or a control character.
    Key,
    /// It takes no object with such a key.
    Name(String),
    /// It takes no object of which such things are said.
    Metadata(String),
    /// It cannot do this at all.
    Unsupported(String),
    /// It was not reached, or could not do it now.
    Busy(String),
}

impl Fault {
    /// Judges an error of the library.
    #[must_use]
    pub fn of(error: &object_store::Error) -> Self {
        let texts = texts(error);
        if texts.iter().any(|text| text.contains("URL scheme is not allowed")) {
            return Self::Unsupported(
                "its endpoint is plain HTTP, which AWS_ALLOW_HTTP, GOOGLE_ALLOW_HTTP or AZURE_ALLOW_HTTP has to allow"
                    .to_owned(),
            );
        }
        let code = code(&texts);
        // The codes first: several of them share a status, and the library judges by the status alone.
        match code.as_str() {
            // What no bucket can be called is none, too.
            "NoSuchBucket" | "InvalidBucketName" | "ContainerNotFound" => return Self::NoBucket,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "AuthenticationFailed"
            | "AuthenticationRequired"
            | "ExpiredToken"
            | "InvalidAuthenticationInfo"
            | "InvalidToken"
            | "NoAuthenticationInformation"
            | "AuthorizationHeaderMalformed"
            | "RequestTimeTooSkewed" => return Self::Credentials(code),
            "AccessDenied"
            | "AllAccessDisabled"
            | "AccountIsDisabled"
            | "AuthorizationFailure"
            | "AuthorizationPermissionMismatch"
            | "AuthorizationProtocolMismatch"
            | "AuthorizationResourceTypeMismatch"
            | "AuthorizationServiceMismatch"
            | "AuthorizationSourceIPMismatch"
            | "BlobArchived"
            | "BlobImmutableDueToPolicy"
            | "InsufficientAccountPermissions"
            | "InvalidObjectState"
            | "KeyBasedAuthenticationNotPermitted"
            | "LeaseIdMissing"
            | "PublicAccessNotPermitted" => return Self::Denied(code),
            "QuotaExceeded"
            | "InsufficientStorage"
            | "XMinioStorageFull"
            | "EntityTooLarge"
            | "ServiceQuotaExceeded" => {
                return Self::Full(code);
            }
            "KeyTooLongError"
            | "InvalidObjectName"
            | "InvalidResourceName"
            | "InvalidUri"
            | "XMinioInvalidObjectName" => {
                return Self::Name(code);
            }
            "EmptyMetadataKey" | "InvalidMetadata" | "MetadataTooLarge" => return Self::Metadata(code),
            _ => {}
        }
        if asks_for_token(&texts) {
            return if code.starts_with('4') {
                Self::Credentials(code)
            } else {
                Self::Busy(format!("{code} when asked for a token").trim_start().to_owned())
            };
        }
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            object_store::Error::AlreadyExists { .. } => Self::Exists,
            object_store::Error::Precondition { .. } | object_store::Error::NotModified { .. } => Self::Changed,
            object_store::Error::PermissionDenied { .. } => Self::Denied(code),
            object_store::Error::Unauthenticated { .. } => Self::Credentials(code),
            object_store::Error::InvalidPath { .. } => Self::Key,
            object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
                Self::Unsupported("this store, or the library, has no such request".to_owned())
            }
            object_store::Error::UnknownConfigurationKey { .. } => {
                Self::Unsupported("it is configured wrongly".to_owned())
            }
            // The library knows the status of an answer to a listing, and does not say so.
            _ => match code.as_str() {
                "401" => Self::Credentials(code),
                "403" => Self::Denied(code),
                "507" => Self::Full(code),
                _ => Self::Busy(code),
            },
        }
    }

    /// What it means, as a verb phrase that fits after "the store".
    #[must_use]
    pub fn phrase(&self) -> String {
        let with = |text: &str, code: &str| if code.is_empty() { text.to_owned() } else { format!("{text} ({code})") };
        match self {
            Self::Credentials(code) => with("does not accept the credentials", code),
            Self::Denied(code) => with("does not allow it to these credentials", code),
            Self::NoBucket => "has no such bucket".to_owned(),
            Self::Missing => "has no such object".to_owned(),
            Self::Exists => "has an object there already".to_owned(),
            Self::Changed => "has another object there by now".to_owned(),
            Self::Full(code) => with("has no room left", code),
            Self::Key => "has a key with an empty part, '.', '..' or a control character in it".to_owned(),
            Self::Name(code) => with("takes no object with such a key", code),
            Self::Metadata(code) => with("does not take the metadata of this object", code),
            Self::Unsupported(what) => format!("cannot do it: {what}"),
            Self::Busy(what) if what.is_empty() => "did not do it".to_owned(),
            Self::Busy(what) => format!("could not do it now ({what})"),
        }
    }
}

/// What an error says, and what its causes say.
fn texts(error: &object_store::Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        texts.push(inner.to_string());
        source = inner.source();
    }
    texts
}

/// Whether it was not the store that answered, but whoever gives tokens for it.
fn asks_for_token(texts: &[String]) -> bool {
    texts.iter().any(|text| text.starts_with("Error performing token request"))
}

/// The code of a refusal, its HTTP status, or what became of the connection: never the rest of an answer.
fn code(texts: &[String]) -> String {
    let between = |text: &str, open: &str, close: char| {
        let start = text.find(open)? + open.len();
        let found: String = text[start..].chars().take_while(|character| *character != close).collect();
        let is_word = !found.is_empty() && found.len() < 60 && found.chars().all(|c| c.is_ascii_alphanumeric());
        is_word.then_some(found)
    };
    let coded = texts.iter().find_map(|text| between(text, "<Code>", '<'));
    let status = || texts.iter().find_map(|text| between(text, "status code: ", ' '));
    let connection = || {
        let words = [
            "Connection refused",
            "Connection reset",
            "dns error",
            "invalid peer certificate",
            "operation timed out",
            "connection closed",
            "tcp connect error",
        ];
        let word = words.into_iter().find(|word| texts.iter().any(|text| text.contains(word)))?;
        Some(word.to_lowercase())
    };
    coded.or_else(status).or_else(connection).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(body: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: format!("Server returned non-2xx status code: 403 Forbidden: {body}").into(),
        }
    }

    #[test]
    fn a_refusal_is_judged_by_its_code_and_the_rest_is_not_shown() {
        let error =
            answered("<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKSECRET</AWSAccessKeyId></Error>");
        let fault = Fault::of(&error);
        assert_eq!(fault, Fault::Credentials("SignatureDoesNotMatch".to_owned()));
        assert!(!format!("{fault:?} {}", fault.phrase()).contains("AKSECRET"));
    }

    #[test]
    fn what_became_of_the_connection_is_said_and_nothing_else_of_it() {
        let source = "error sending request for url (http://k:AKSECRET@h/): invalid peer certificate: UnknownIssuer";
        let error = object_store::Error::Generic { store: "S3", source: source.into() };
        assert_eq!(Fault::of(&error), Fault::Busy("invalid peer certificate".to_owned()));
    }

    #[test]
    fn without_a_code_the_status_is_shown() {
        assert_eq!(Fault::of(&answered("AKSECRET")), Fault::Denied("403".to_owned()));
        assert_eq!(Fault::of(&answered("<Code>a b</Code>")), Fault::Denied("403".to_owned()));
    }

    #[test]
    fn who_gives_no_token_does_not_know_the_credentials() {
        let asked = |answer: &str| {
            let source = format!("Error performing token request: Error performing POST REDACTED in 1ms - {answer}");
            Fault::of(&object_store::Error::Generic { store: "GCS", source: source.into() })
        };
        let refused = "Server returned non-2xx status code: 400 Bad Request: {\"error\": \"invalid_grant\"}";
        assert_eq!(asked(refused), Fault::Credentials("400".to_owned()));
        let lost = "HTTP error: error sending request: tcp connect error";
        assert_eq!(asked(lost), Fault::Busy("tcp connect error when asked for a token".to_owned()));
    }
}
