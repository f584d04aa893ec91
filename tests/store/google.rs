//! A Google Cloud Storage of a test's own.
//!
//! The objects are kept by fake-gcs-server, with their versions, conditions, ranges and listings.
//! Of Google's XML requests, which the porter sends, that answers only those that read, so this stands before it and turns those that write into JSON requests.
//! What it adds is as Google documents it: uploads in parts, which take no condition, can be listed, are put together in their order, and have parts of at least 5 MiB but for the last;
//! and one token that is accepted.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::clouds::Said;
use crate::server::{between, encoded};

/// Distinctive, so that a search for it finds nothing else.
pub const TOKEN: &str = "googleTokenThatNobodyShows5519";
/// Smallest part but for the last one.
const SMALLEST_PART: usize = 5 << 20;

pub struct Google {
    child: Child,
    port: u16,
    door: Arc<Door>,
    runtime: Runtime,
}

/// What stands before the server.
struct Door {
    port: u16,
    server: String,
    client: reqwest::Client,
    uploads: Mutex<HashMap<String, Upload>>,
    begun: AtomicUsize,
}

/// An upload in parts.
struct Upload {
    key: String,
    headers: HeaderMap,
    parts: BTreeMap<usize, Bytes>,
}

impl Google {
    /// Starts one that keeps everything in memory, with the buckets `source` and `target`.
    pub fn start_in(folder: &Path) -> Self {
        let (port, child) = start(folder);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Runtime::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let door = Arc::new(Door {
            port: listener.local_addr().unwrap().port(),
            server: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().build().unwrap(),
            uploads: Mutex::default(),
            begun: AtomicUsize::new(0),
        });
        let answers = axum::Router::new()
            .fallback(|State(door): State<Arc<Door>>, method, uri, headers, body| async move {
                door.answer(method, uri, headers, body).await
            })
            .layer(DefaultBodyLimit::disable())
            .with_state(door.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, answers).await
        });
        let google = Self { child, port, door, runtime };
        for bucket in ["source", "target"] {
            let made = google.json(Method::POST, "storage/v1/b?project=test", json!({"name": bucket}).to_string());
            assert_eq!(made.0, StatusCode::OK, "{made:?}");
        }
        google
    }

    /// Where the porter finds it.
    pub fn port(&self) -> u16 {
        self.door.port
    }

    /// Asks fake-gcs-server itself.
    fn json(&self, method: Method, path: &str, body: String) -> (StatusCode, Bytes) {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        self.runtime.block_on(async {
            let answer = self.door.client.request(method, url).body(body).send().await.unwrap();
            (answer.status(), answer.bytes().await.unwrap())
        })
    }

    /// Puts an object there, whatever is there.
    pub fn put(&self, bucket: &str, key: &str, content: &[u8], said: &Said) {
        let headers = said.iter().map(|(name, value)| {
            let name = name.strip_prefix("meta-").map_or(name.clone(), |name| format!("x-goog-meta-{name}"));
            (name.parse().unwrap(), value.parse().unwrap())
        });
        let headers = headers.collect();
        let put = self.door.insert(bucket, key, &headers, Bytes::copy_from_slice(content), None);
        assert_eq!(self.runtime.block_on(put).status(), StatusCode::OK);
    }

    /// Removes an object.
    pub fn remove(&self, bucket: &str, key: &str) {
        let path = format!("storage/v1/b/{bucket}/o/{}", encoded(key).replace('/', "%2F"));
        assert!(self.json(Method::DELETE, &path, String::new()).0.is_success());
    }

    /// The objects of a bucket as fake-gcs-server lists them, with the content type and the metadata of each.
    pub fn objects(&self, bucket: &str) -> BTreeMap<String, Said> {
        let (status, body) = self.json(Method::GET, &format!("storage/v1/b/{bucket}/o"), String::new());
        assert_eq!(status, StatusCode::OK);
        let list: Value = serde_json::from_slice(&body).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let said = |item: &Value| {
            let metadata = item["metadata"].as_object().cloned().unwrap_or_default();
            let mut said: Said = metadata.iter().map(|(name, value)| (format!("meta-{name}"), text(value))).collect();
            said.insert("content-type".to_owned(), text(&item["contentType"]));
            said
        };
        items.iter().map(|item| (text(&item["name"]), said(item))).collect()
    }

    /// What an object holds.
    pub fn read(&self, bucket: &str, key: &str) -> Vec<u8> {
        let path = format!("storage/v1/b/{bucket}/o/{}?alt=media", encoded(key).replace('/', "%2F"));
        let (status, body) = self.json(Method::GET, &path, String::new());
        assert_eq!(status, StatusCode::OK, "{key}");
        body.into()
    }

    /// Begins an upload of somebody else.
    pub fn begin(&self, key: &str) {
        assert_eq!(self.door.begin(key.to_owned(), HeaderMap::new()).status(), StatusCode::OK);
    }

    /// Ends all uploads, as a rule of the bucket does.
    pub fn forget_uploads(&self) {
        self.door.uploads.lock().unwrap().clear();
    }

    /// Keys of uploads that were neither completed nor given up.
    pub fn unfinished(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.door.uploads.lock().unwrap().values().map(|upload| upload.key.clone()).collect();
        keys.sort();
        keys
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Door {
    async fn answer(&self, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
        if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
            return refusal(StatusCode::UNAUTHORIZED, "AuthenticationRequired");
        }
        let (bucket, key) = uri.path()[1..].split_once('/').unwrap_or((&uri.path()[1..], ""));
        let key = String::from_utf8(decoded(key)).unwrap();
        if !self.has_bucket(bucket).await {
            return refusal(StatusCode::NOT_FOUND, "NoSuchBucket");
        }
        let query = uri.query().unwrap_or_default();
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        let condition = headers.get("x-goog-if-generation-match").map(|value| value.to_str().unwrap().to_owned());
        if condition.is_some() && (method != Method::PUT || value("uploadId").is_some()) {
            return refusal(StatusCode::BAD_REQUEST, "NotImplemented");
        }
        match (method, value("uploadId")) {
            (Method::PUT, Some(id)) => self.take_part(&id, value("partNumber").unwrap().parse().unwrap(), body),
            (Method::PUT, None) => self.insert(bucket, &key, &headers, body, condition).await,
            (Method::POST, Some(id)) => self.complete(bucket, &id, &String::from_utf8(body.into()).unwrap()).await,
            (Method::POST, None) => self.begin(key, headers),
            (Method::DELETE, Some(id)) => match self.uploads.lock().unwrap().remove(&id) {
                Some(_) => answer(StatusCode::NO_CONTENT, &[], Bytes::new()),
                None => refusal(StatusCode::NOT_FOUND, "NoSuchUpload"),
            },
            (Method::GET, None) if key.is_empty() && query.split('&').any(|pair| pair == "uploads=") => {
                self.list_uploads(&decoded_text(&value("prefix").unwrap_or_default()), value("key-marker"))
            }
            (method, None) => self.pass(method, &uri, &headers).await,
            (method, Some(_)) => panic!("{method} {uri}"),
        }
    }

    async fn has_bucket(&self, bucket: &str) -> bool {
        let asked = self.client.get(format!("{}/storage/v1/b/{bucket}", self.server)).send().await;
        asked.unwrap().status().is_success()
    }

    /// Hands a request that fake-gcs-server knows to it.
    async fn pass(&self, method: Method, uri: &Uri, headers: &HeaderMap) -> Response {
        let mut request = self.client.request(method, format!("{}{uri}", self.server));
        for name in ["range", "if-match", "accept-encoding"] {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let came = request.send().await.unwrap();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = came.status();
        *response.headers_mut() = came.headers().clone();
        response.headers_mut().remove("transfer-encoding");
        *response.body_mut() = came.bytes().await.unwrap().into();
        response
    }

    /// Puts a whole object there.
    async fn insert(
        &self,
        bucket: &str,
        key: &str,
        headers: &HeaderMap,
        content: Bytes,
        generation: Option<String>,
    ) -> Response {
        const BOUNDARY: &str = "between-the-two-parts-of-a-request";
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        let metadata: BTreeMap<&str, &str> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().strip_prefix("x-goog-meta-")?, value.to_str().unwrap())))
            .collect();
        let kind = header("content-type").unwrap_or("application/octet-stream");
        let about = json!({
            "name": key, "contentType": kind, "metadata": metadata, "cacheControl": header("cache-control"),
            "contentDisposition": header("content-disposition"), "contentEncoding": header("content-encoding"),
            "contentLanguage": header("content-language"),
        });
        let mut body = format!("--{BOUNDARY}\r\nContent-Type: application/json\r\n\r\n{about}\r\n").into_bytes();
        body.extend(format!("--{BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n").bytes());
        body.extend(&content);
        body.extend(format!("\r\n--{BOUNDARY}--").bytes());
        let condition = generation.map(|generation| format!("&ifGenerationMatch={generation}")).unwrap_or_default();
        let url = format!("{}/upload/storage/v1/b/{bucket}/o?uploadType=multipart{condition}", self.server);
        let request = self.client.post(url).header("content-type", format!("multipart/related; boundary={BOUNDARY}"));
        let came = request.body(body).send().await.unwrap();
        if came.status() == StatusCode::PRECONDITION_FAILED {
            return refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        assert_eq!(came.status(), StatusCode::OK, "{key}");
        let put: Value = serde_json::from_slice(&came.bytes().await.unwrap()).unwrap();
        let text = |name: &str| put[name].as_str().unwrap().to_owned();
        let etag = format!("\"{}\"", text("etag"));
        answer(StatusCode::OK, &[("etag", etag), ("x-goog-generation", text("generation"))], Bytes::new())
    }

    fn begin(&self, key: String, headers: HeaderMap) -> Response {
        let id = format!("upload{}", self.begun.fetch_add(1, Ordering::Relaxed));
        self.uploads.lock().unwrap().insert(id.clone(), Upload { key, headers, parts: BTreeMap::new() });
        let text = format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
        answer(StatusCode::OK, &[], text.into())
    }

    /// One upload a page, in the order of their keys.
    fn list_uploads(&self, prefix: &str, after: Option<String>) -> Response {
        let after = after.map(|after| decoded_text(&after));
        let uploads = self.uploads.lock().unwrap();
        let uploads = uploads.iter().map(|(id, upload)| (&upload.key, id));
        let mut uploads: Vec<_> = uploads
            .filter(|(key, _)| key.starts_with(prefix) && after.as_ref().is_none_or(|after| *key > after))
            .collect();
        uploads.sort();
        let is_truncated = uploads.len() > 1;
        let upload = uploads.first().map(|(key, id)| {
            let key = quick_xml::escape::escape(key.as_str());
            format!(
                "<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>\
                <Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>"
            )
        });
        let text = format!(
            "<ListMultipartUploadsResult><IsTruncated>{is_truncated}</IsTruncated>{}</ListMultipartUploadsResult>",
            upload.unwrap_or_default()
        );
        answer(StatusCode::OK, &[], text.into())
    }

    fn take_part(&self, id: &str, number: usize, content: Bytes) -> Response {
        let mut uploads = self.uploads.lock().unwrap();
        let Some(upload) = uploads.get_mut(id) else { return refusal(StatusCode::NOT_FOUND, "NoSuchUpload") };
        let etag = name_of(&content);
        upload.parts.insert(number, content);
        answer(StatusCode::OK, &[("etag", etag)], Bytes::new())
    }

    async fn complete(&self, bucket: &str, id: &str, list: &str) -> Response {
        let Some(upload) = self.uploads.lock().unwrap().remove(id) else {
            return refusal(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        let numbers = between(list, "<PartNumber>", "</PartNumber>");
        let etags = between(list, "<ETag>", "</ETag>");
        let wanted = numbers.iter().map(|number| number.parse::<usize>().unwrap()).zip(etags);
        let there = upload.parts.iter().map(|(number, content)| (*number, name_of(content)));
        if !wanted.eq(there) {
            return refusal(StatusCode::BAD_REQUEST, "InvalidPart");
        }
        let mut but_the_last = upload.parts.values().rev().skip(1);
        if but_the_last.any(|part| part.len() < SMALLEST_PART) {
            return refusal(StatusCode::BAD_REQUEST, "EntityTooSmall");
        }
        let content: Vec<Bytes> = upload.parts.into_values().collect();
        let put = self.insert(bucket, &upload.key, &upload.headers, content.concat().into(), None).await;
        let etag = put.headers()["etag"].to_str().unwrap().replace('"', "&quot;");
        let text = format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>");
        answer(StatusCode::OK, &[], text.into())
    }
}

/// A value of a query.
fn decoded_text(text: &str) -> String {
    String::from_utf8(decoded(&text.replace('+', " "))).unwrap()
}

/// What a part is called.
fn name_of(content: &Bytes) -> String {
    format!("\"{}\"", blake3::hash(content).to_hex())
}

fn answer(status: StatusCode, headers: &[(&'static str, String)], body: Bytes) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body.into()).unwrap()
}

/// A refusal in Google's words.
fn refusal(status: StatusCode, code: &str) -> Response {
    answer(status, &[], format!("<?xml version='1.0'?><Error><Code>{code}</Code></Error>").into())
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at(2);
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    bytes
}

/// Starts fake-gcs-server on a port that is free, and tries another one if somebody else was faster.
fn start(folder: &Path) -> (u16, Child) {
    let program = std::env::var_os("FAKE_GCS_SERVER").unwrap_or_else(|| "fake-gcs-server".into());
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log_file = folder.join("fake-gcs-server.log");
        let log = std::fs::File::create(&log_file).unwrap();
        let mut child = Command::new(&program)
            .args(["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-log-level", "info"])
            .args(["-port", &port.to_string(), "-public-host", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("fake-gcs-server starts; set FAKE_GCS_SERVER to the program, as `make test-store` does");
        let started = Instant::now();
        loop {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            // Its own words say that it is ours that answers at this port.
            if std::fs::read_to_string(&log_file).unwrap().contains("server started at")
                && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            {
                return (port, child);
            }
            assert!(started.elapsed() < Duration::from_mins(1), "fake-gcs-server does not start");
            std::thread::yield_now();
        }
    }
    panic!("fake-gcs-server found no free port");
}
