//! The way to a store: who we are there, how long we wait, how often we try again.
//!
//! Credentials come from the environment, from files, or from the identity that the cluster gives a pod; never from the command line.
//! The variables are those of `object_store`: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`,
//! `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`, …; `GOOGLE_…` and `AZURE_…` likewise.
//! Each can have `SOURCE_` or `TARGET_` before it, which wins at that end: two buckets may belong to two accounts.
//! Each can have `_FILE` after it, and is then the content of that file without the newline at its end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::multipart::MultipartStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::super::end::{Location, Service};
use super::super::error::{Error, Side, cause};
use super::azure::{Adding, Azure};
use super::google::Asking;
use super::silence;

/// Tries after the first one of a request that a store was too busy for; then the attempt ends, and the operator waits longer than we would.
const TRIES: usize = 6;
/// After this no further try is made.
const TRYING: Duration = Duration::from_mins(1);
/// Longest time to connect.
const CONNECTING: Duration = Duration::from_secs(10);

/// A store in the shapes in which it is used.
pub struct Opened {
    /// For whole objects.
    pub objects: Arc<dyn ObjectStore>,
    /// For objects in parts.
    pub parts: Arc<dyn MultipartStore>,
    /// For what the library leaves out.
    pub service: Opening,
}

/// What it takes to do what the library leaves out.
pub enum Opening {
    /// It signs addresses.
    S3(Arc<AmazonS3>),
    /// Its requests can ask something else.
    Google,
    /// So can these, and more can be added to them.
    Azure(Azure),
}

/// Opens a store with the variables that name its credentials. Nothing is sent.
pub fn open(
    location: &Location,
    side: Side,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Opened, Error> {
    // Two libraries ask for it; whoever comes second finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let wrong = |problem| Error::StoreSettings { side, store: location.to_string(), problem };
    let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECTING)
        .with_read_timeout(silence::longest(&variables).map_err(wrong)?)
        .with_http1_only();
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(8), base: 2.0 };
    let retry = RetryConfig { backoff, max_retries: TRIES, retry_timeout: TRYING };
    let unbuilt = |_| wrong("credentials or endpoint are missing or malformed".to_owned());
    Ok(match location.service {
        Service::S3 => {
            let mut builder = AmazonS3Builder::new().with_client_options(client).with_retry(retry);
            for (key, value) in settings::<AmazonS3ConfigKey>("AWS_", side, variables).map_err(wrong)? {
                builder = builder.with_config(key, value);
            }
            builder = builder.with_bucket_name(&location.bucket).with_conditional_put(S3ConditionalPut::ETagMatch);
            let s3 = Arc::new(builder.build().map_err(unbuilt)?);
            Opened { objects: s3.clone(), parts: s3.clone(), service: Opening::S3(s3) }
        }
        Service::Google => {
            // Google unpacks what is stored packed, and says its packed length, unless one takes it packed.
            let as_stored = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
            let client = client.with_default_headers(as_stored);
            let mut builder = GoogleCloudStorageBuilder::new().with_client_options(client).with_retry(retry);
            builder = builder.with_http_connector(Asking::default());
            for (key, value) in settings::<GoogleConfigKey>("GOOGLE_", side, variables).map_err(wrong)? {
                builder = builder.with_config(key, value);
            }
            let store = Arc::new(builder.with_bucket_name(&location.bucket).build().map_err(unbuilt)?);
            Opened { objects: store.clone(), parts: store, service: Opening::Google }
        }
        Service::Azure => {
            let mut builder = MicrosoftAzureBuilder::new().with_client_options(client).with_retry(retry);
            builder = builder.with_http_connector(Adding::default());
            for (key, value) in settings::<AzureConfigKey>("AZURE_", side, variables).map_err(wrong)? {
                builder = builder.with_config(key, value);
            }
            let account = builder.get_config_value(&AzureConfigKey::AccountName);
            let store = Arc::new(builder.with_container_name(&location.bucket).build().map_err(unbuilt)?);
            let azure = Azure::new(store.credentials().clone(), account);
            Opened { objects: store.clone(), parts: store, service: Opening::Azure(azure) }
        }
    })
}

/// The settings that the variables of one service make at one end. A sentence about what is wrong names the variable and never its value.
fn settings<K: FromStr>(
    service: &str,
    side: Side,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(K, String)>, String> {
    let end = match side {
        Side::Source => "SOURCE_",
        Side::Target => "TARGET_",
        Side::Workspace => "WORKSPACE_",
    };
    // By setting: what is said for the end wins, however it is said.
    let mut chosen: BTreeMap<String, Said> = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let (bare, is_for_end) = match name.strip_prefix(end) {
            Some(bare) => (bare, true),
            None => (name, false),
        };
        if !bare.starts_with(service) || value.is_empty() {
            continue;
        }
        let is_known = |name: &str| name.to_ascii_lowercase().parse::<K>().is_ok();
        let (setting, is_file) = match bare.strip_suffix("_FILE") {
            _ if is_known(bare) => (bare, false),
            Some(stem) if is_known(stem) => (stem, true),
            Some(_) | None => continue,
        };
        let said = Said { is_for_end, is_file, name: name.to_owned(), value };
        let earlier = chosen.get(setting);
        if earlier.is_none_or(|earlier| said.is_for_end || !earlier.is_for_end) {
            chosen.insert(setting.to_owned(), said);
        }
    }
    let mut settings = Vec::new();
    for (setting, Said { is_file, name, value, .. }) in chosen {
        let Ok(key) = setting.to_ascii_lowercase().parse() else { continue };
        let Some(value) = value.to_str() else { return Err(format!("{name} is no text")) };
        let value = if is_file {
            let text = std::fs::read_to_string(value);
            let text = text.map_err(|error| format!("{name} names a file that cannot be read: {}", cause(&error)))?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        } else {
            value.to_owned()
        };
        settings.push((key, value));
    }
    Ok(settings)
}

/// A variable that counts.
struct Said {
    is_for_end: bool,
    is_file: bool,
    name: String,
    value: OsString,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(side: Side, pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let pairs = pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let settings = settings::<AmazonS3ConfigKey>("AWS_", side, pairs)?;
        Ok(settings.into_iter().map(|(key, value)| (key.as_ref().to_owned(), value)).collect())
    }

    #[test]
    fn what_is_said_for_an_end_wins_there() {
        let variables =
            [("TARGET_AWS_REGION", "t"), ("AWS_REGION", "both"), ("SOURCE_AWS_REGION", "s"), ("AWS_UNKNOWN", "x")];
        assert_eq!(read(Side::Source, &variables), Ok(vec![("aws_region".to_owned(), "s".to_owned())]));
        assert_eq!(read(Side::Target, &variables), Ok(vec![("aws_region".to_owned(), "t".to_owned())]));
        assert_eq!(read(Side::Target, &variables[1..]), Ok(vec![("aws_region".to_owned(), "both".to_owned())]));
    }

    #[test]
    fn a_file_holds_the_value() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hidden\n").unwrap();
        let path = file.path().to_str().unwrap();
        let read = read(Side::Source, &[("AWS_SECRET_ACCESS_KEY_FILE", path)]).unwrap();
        assert_eq!(read, [("aws_secret_access_key".to_owned(), "hidden".to_owned())]);
    }

    #[test]
    fn a_value_for_an_end_wins_over_a_file_for_both() {
        let variables = [("AWS_SECRET_ACCESS_KEY_FILE", "/nowhere"), ("SOURCE_AWS_SECRET_ACCESS_KEY", "mine")];
        let read = read(Side::Source, &variables).unwrap();
        assert_eq!(read, [("aws_secret_access_key".to_owned(), "mine".to_owned())]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named_by_its_variable() {
        let sentence = read(Side::Source, &[("SOURCE_AWS_SECRET_ACCESS_KEY_FILE", "/nowhere/x")]).unwrap_err();
        assert!(
            sentence.starts_with("SOURCE_AWS_SECRET_ACCESS_KEY_FILE names a file that cannot be read"),
            "{sentence}"
        );
    }
}
