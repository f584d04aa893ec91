//! An Azure Blob Storage of a test's own: azurite, asked in Azure's own requests.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use tokio::runtime::Runtime;

use crate::clouds::Said;
use crate::server::{between, encoded};

pub const ACCOUNT: &str = "relocationtests";
/// Distinctive, so that a search for it finds nothing else.
pub const SECRET: &str = "YXp1cmVTZWNyZXRUaGF0Tm9ib2R5U2hvd3M4MDkz";
/// The name of somebody else's block. It is as long as the names that the porter gives: Azure refuses blocks of one object with names of two lengths.
const BLOCK: &str = "ZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY=";

pub struct Azurite {
    child: Child,
    port: u16,
    client: reqwest::Client,
    runtime: Runtime,
}

impl Azurite {
    /// Starts one that keeps everything in memory, with the containers `source` and `target`.
    pub fn start_in(folder: &Path) -> Self {
        let (port, child) = start(folder);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let azurite =
            Self { child, port, client: reqwest::Client::builder().build().unwrap(), runtime: Runtime::new().unwrap() };
        for container in ["source", "target"] {
            let made = azurite.ask(Method::PUT, &format!("{container}?restype=container"), &Said::new(), Bytes::new());
            assert_eq!(made.0, StatusCode::CREATED, "{made:?}");
        }
        azurite
    }

    /// A token for everything in one container, signed by openssl.
    pub fn shared_access_signature(container: &str) -> String {
        let (may, version, end) = ("rwdlac", "2021-08-06", "2099-01-01T00:00:00Z");
        let to_sign = format!("{may}\n\n{end}\n/blob/{ACCOUNT}/{container}\n\n\n\n{version}\nc\n\n\n\n\n\n\n");
        let script = r#"key=$(printf %s "$SECRET" | base64 -d | od -An -v -tx1 | tr -d ' \n')
            printf %s "$TO_SIGN" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64"#;
        let mut command = Command::new("sh");
        command.args(["-euc", script]).env("SECRET", SECRET).env("TO_SIGN", to_sign);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let signature = String::from_utf8(output.stdout).unwrap();
        let signature = encoded(signature.trim()).replace('/', "%2F");
        format!("sv={version}&sr=c&sp={may}&se={}&sig={signature}", end.replace(':', "%3A"))
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A request signed with the account's key: status, headers and body.
    fn ask(&self, method: Method, path: &str, headers: &Said, body: Bytes) -> (StatusCode, http::HeaderMap, Bytes) {
        let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(SECRET).unwrap());
        let mut request = object_store::client::HttpRequest::new(body.clone().into());
        *request.method_mut() = method.clone();
        *request.uri_mut() = format!("{}/{path}", self.endpoint()).parse().unwrap();
        let length = body.len().to_string();
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in headers.chain([("content-length", length.as_str())]) {
            request.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        AzureAuthorizer::new(&credential, ACCOUNT).try_authorize(&mut request).unwrap();
        let url = request.uri().to_string();
        self.runtime.block_on(async {
            let sent = self.client.request(method, url).headers(request.headers().clone()).body(body).send();
            let answer = sent.await.unwrap();
            (answer.status(), answer.headers().clone(), answer.bytes().await.unwrap())
        })
    }

    /// Puts an object there, whatever is there.
    pub fn put(&self, container: &str, key: &str, content: &[u8], said: &Said) {
        let mut headers: Said = said.iter().map(|(name, value)| (header(name), value.clone())).collect();
        headers.insert("x-ms-blob-type".to_owned(), "BlockBlob".to_owned());
        let path = format!("{container}/{}", encoded(key));
        let put = self.ask(Method::PUT, &path, &headers, Bytes::copy_from_slice(content));
        assert_eq!(put.0, StatusCode::CREATED, "{key}: {put:?}");
    }

    /// Removes an object.
    pub fn remove(&self, container: &str, key: &str) {
        let path = format!("{container}/{}", encoded(key));
        assert_eq!(self.ask(Method::DELETE, &path, &Said::new(), Bytes::new()).0, StatusCode::ACCEPTED);
    }

    /// The objects of a container as azurite lists them, with the content type and the metadata of each.
    pub fn objects(&self, container: &str) -> BTreeMap<String, Said> {
        let path = format!("{container}?restype=container&comp=list");
        let (status, _, body) = self.ask(Method::GET, &path, &Said::new(), Bytes::new());
        assert_eq!(status, StatusCode::OK);
        let text = String::from_utf8(body.into()).unwrap();
        assert!(text.contains("<NextMarker/>"), "one page is enough for a test");
        let keys = between(&text, "<Name>", "</Name>");
        keys.into_iter()
            .map(|key| {
                let key = quick_xml::escape::unescape(&key).unwrap().into_owned();
                let said = self.said(container, &key);
                (key, said)
            })
            .collect()
    }

    fn said(&self, container: &str, key: &str) -> Said {
        let path = format!("{container}/{}", encoded(key));
        let (status, headers, _) = self.ask(Method::HEAD, &path, &Said::new(), Bytes::new());
        assert_eq!(status, StatusCode::OK, "{key}");
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        let metadata = headers.iter().filter_map(|(name, value)| {
            Some((format!("meta-{}", name.as_str().strip_prefix("x-ms-meta-")?), text(value)))
        });
        let kind = headers.get("content-type").map(|value| ("content-type".to_owned(), text(value)));
        metadata.chain(kind).collect()
    }

    /// What an object holds.
    pub fn read(&self, container: &str, key: &str) -> Vec<u8> {
        let path = format!("{container}/{}", encoded(key));
        let (status, _, body) = self.ask(Method::GET, &path, &Said::new(), Bytes::new());
        assert_eq!(status, StatusCode::OK, "{key}");
        body.into()
    }

    /// Sends a block of an object that is not there yet.
    pub fn put_block(&self, container: &str, key: &str) {
        let id = BLOCK.replace('=', "%3D");
        let path = format!("{container}/{}?comp=block&blockid={id}", encoded(key));
        assert_eq!(self.ask(Method::PUT, &path, &Said::new(), Bytes::from_static(b"theirs")).0, StatusCode::CREATED);
    }

    /// Makes an object of that block, which drops all others of its key.
    pub fn commit_block(&self, container: &str, key: &str) {
        let path = format!("{container}/{}?comp=blocklist", encoded(key));
        let list = format!("<BlockList><Uncommitted>{BLOCK}</Uncommitted></BlockList>");
        assert_eq!(self.ask(Method::PUT, &path, &Said::new(), list.into()).0, StatusCode::CREATED);
    }

    /// Whether there is a block of an object that is not there yet.
    pub fn has_parts_of(&self, container: &str, key: &str) -> bool {
        let path = format!("{container}/{}?comp=blocklist&blocklisttype=uncommitted", encoded(key));
        let (status, _, body) = self.ask(Method::GET, &path, &Said::new(), Bytes::new());
        let text = String::from_utf8(body.into()).unwrap();
        assert!(status == StatusCode::OK || text.contains("BlobNotFound"), "{status} {text}");
        text.contains("<Size>")
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How Azure calls a header that goes with an object.
fn header(name: &str) -> String {
    name.strip_prefix("meta-").map_or_else(|| format!("x-ms-blob-{name}"), |name| format!("x-ms-meta-{name}"))
}

/// Starts azurite on a port of its choice, which its own words name.
fn start(folder: &Path) -> (u16, Child) {
    let program = std::env::var_os("AZURITE").unwrap_or_else(|| "azurite-blob".into());
    let log_file = folder.join("azurite.log");
    let log = std::fs::File::create(&log_file).unwrap();
    let mut child = Command::new(program)
        .args(["--blobPort", "0", "--inMemoryPersistence", "--silent", "--disableTelemetry"])
        .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{SECRET}"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("azurite starts; set AZURITE to the program, as `make test-store` does");
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(&log_file).unwrap();
        if let Some((_, port)) = text.split_once("successfully listens on http://127.0.0.1:")
            && let Some((port, _)) = port.split_once('\n')
        {
            return (port.parse().unwrap(), child);
        }
        assert!(child.try_wait().unwrap().is_none(), "azurite has ended: {text}");
        assert!(started.elapsed() < Duration::from_mins(1), "azurite does not start");
        std::thread::yield_now();
    }
}
