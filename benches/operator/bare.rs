//! The bare client: it makes the writes of an operator, and nothing else.
//!
//! One run of an operator is recorded request by request. The bare client sends the same requests for other relocations,
//! with their names and uids in place of the recorded ones, and waits for a Job's end where the operator had to.
//! It reads nothing, decides nothing, and cannot recover from anything.

use std::collections::HashMap;
use std::io::Write as _;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, ResourceExt};
use relocation_operator::api::{Relocation, mutex_label};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::board::Board;
use crate::ground::{Ground, has_succeeded, run_name, text_at};
use crate::support::{Operator, PlanBuilder, RequestCounts, a_relocation, count_requests, write_kubeconfig};

/// How long a recorded run may take.
const DEADLINE: Duration = Duration::from_mins(2);

/// How long no write may come before a recorded run is taken to be over.
const QUIET: Duration = Duration::from_secs(2);

/// No object of ours is larger.
const BODY_LIMIT: usize = 4 << 20;

/// One request that changed something.
#[derive(Clone)]
struct Write {
    method: Method,
    path: String,
    content_type: Option<header::HeaderValue>,
    body: String,
}

impl Write {
    fn is_event(&self) -> bool {
        self.path.contains("/events")
    }
}

/// The writes of one run of an operator, in order.
pub struct Script {
    namespace: String,
    relocation: Relocation,
    writes: Vec<Write>,
    /// What the API server counted meanwhile.
    pub counted: RequestCounts,
}

/// Records one run by a plan, through a proxy that passes every request on.
pub async fn record(ground: &Ground, change: impl FnOnce(PlanBuilder) -> PlanBuilder) -> Script {
    let namespace = ground.namespace().await;
    let writes: Arc<Mutex<Vec<Write>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let kubeconfig = write_kubeconfig(listener.local_addr().expect("an address"));
    let pages = axum::Router::new().fallback(pass_on).with_state((ground.client.clone(), Arc::clone(&writes)));
    let proxy = tokio::spawn(async move { axum::serve(listener, pages).await });
    let operator = Operator::start(&namespace, Some(&kubeconfig)).await;
    ground.create_plan(&namespace, change).await;
    writes.lock().expect("no page panics").clear();
    let before = count_requests(&ground.client).await;
    ground.create(&namespace, a_relocation(&run_name(0))).await;
    let relocation = ground.wait_until(&namespace, &run_name(0), has_succeeded, DEADLINE).await;
    // The lock is given back, and the last event told, after the last status.
    let mut known = 0;
    while known < writes.lock().expect("no page panics").len() {
        known = writes.lock().expect("no page panics").len();
        tokio::time::sleep(QUIET).await;
    }
    let counted = count_requests(&ground.client).await.since(&before);
    operator.kill();
    proxy.abort();
    let _ = std::fs::remove_file(kubeconfig);
    let mut writes = std::mem::take(&mut *writes.lock().expect("no page panics"));
    // What an operator does for itself, such as an election, belongs to no run.
    writes.retain(|write| write.path.contains(&run_name(0)) || write.body.contains(&run_name(0)));
    assert!(
        writes.last().is_some_and(|write| write.method == Method::DELETE || write.is_event()),
        "the lock is given back"
    );
    Script { namespace, relocation, writes, counted }
}

async fn pass_on(State((client, writes)): State<(Client, Arc<Mutex<Vec<Write>>>)>, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::HOST);
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else { return StatusCode::BAD_REQUEST.into_response() };
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    if parts.method != Method::GET && !path.contains("dryRun") {
        writes.lock().expect("no page panics").push(Write {
            method: parts.method.clone(),
            path,
            content_type: parts.headers.get(header::CONTENT_TYPE).cloned(),
            body: String::from_utf8_lossy(&body).into_owned(),
        });
    }
    match client.send(Request::from_parts(parts, body.to_vec().into())).await {
        Ok(answer) => answer.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

impl Script {
    /// How many of the writes are events.
    pub fn events(&self) -> usize {
        self.writes.iter().filter(|write| write.is_event()).count()
    }

    /// The same script without events.
    pub fn without_events(&self) -> Self {
        let writes = self.writes.iter().filter(|write| !write.is_event()).cloned().collect();
        let (namespace, relocation, counted) = (self.namespace.clone(), self.relocation.clone(), self.counted.clone());
        Self { namespace, relocation, writes, counted }
    }

    /// A text of the recorded run as it is for another relocation.
    fn told_of(&self, text: &str, namespace: &str, relocation: &Relocation) -> String {
        let (recorded, name) = (self.relocation.name_any(), relocation.name_any());
        text.replace(&self.namespace, namespace)
            .replace(&self.relocation.uid().unwrap_or_default(), &relocation.uid().unwrap_or_default())
            .replace(&mutex_label(&recorded), &mutex_label(&name))
            .replace(&recorded, &name)
    }

    /// Does for a relocation what the operator did for the recorded one.
    pub async fn replay(&self, client: &Client, requests: &Semaphore, board: &Board, relocation: &Relocation) {
        let namespace = relocation.namespace().unwrap_or_default();
        let mut version = relocation.resource_version();
        let mut uids: HashMap<String, Value> = HashMap::new();
        let mut running: Option<String> = None;
        for write in &self.writes {
            let path = self.told_of(&write.path, &namespace, relocation);
            let place = path.split('?').next().unwrap_or_default();
            let mut body: Value =
                serde_json::from_str(&self.told_of(&write.body, &namespace, relocation)).unwrap_or_default();
            let writes_status = write.method == Method::PATCH && place.ends_with("/status");
            if writes_status {
                // The next status follows from a Job's end.
                if let Some(job) = running.take() {
                    board.finished(&job).await;
                }
                body["metadata"]["resourceVersion"] = json!(version);
            }
            if write.method == Method::DELETE {
                body["preconditions"]["uid"] = uids.get(place).cloned().unwrap_or_default();
            }
            let answer = self.send(client, requests, write, &path, &body).await;
            if writes_status {
                version = Some(text_at(&answer, "/metadata/resourceVersion").to_owned());
            } else if write.method == Method::POST {
                let name = text_at(&answer, "/metadata/name");
                uids.insert(format!("{place}/{name}"), answer["metadata"]["uid"].clone());
                if place.ends_with("/jobs") {
                    running = Some(name.to_owned());
                }
            }
        }
    }

    async fn send(&self, client: &Client, requests: &Semaphore, write: &Write, path: &str, body: &Value) -> Value {
        let _open = requests.acquire().await.expect("it is never closed");
        let mut request = Request::builder().method(write.method.clone()).uri(path);
        if let Some(content_type) = &write.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body.to_string().into_bytes()).expect("a request that was sent before");
        let answer = client.request::<Value>(request).await;
        answer.unwrap_or_else(|error| panic!("the bare client cannot {} {path}: {error}", write.method))
    }

    /// Makes a relocation one that has succeeded: its plan revision and its last status, in two writes.
    pub async fn finish(&self, client: &Client, requests: &Semaphore, relocation: &Relocation) {
        let namespace = relocation.namespace().unwrap_or_default();
        for write in self.writes.iter().filter(|write| write.path.contains("/controllerrevisions")) {
            let path = self.told_of(&write.path, &namespace, relocation);
            let body = serde_json::from_str(&self.told_of(&write.body, &namespace, relocation)).expect("an object");
            self.send(client, requests, write, &path, &body).await;
        }
        let status = serde_json::to_string(&json!({ "status": self.relocation.status })).expect("a status");
        let status: Value =
            serde_json::from_str(&self.told_of(&status, &namespace, relocation)).expect("the same status");
        let relocations: Api<Relocation> = Api::namespaced(client.clone(), &namespace);
        let written =
            relocations.patch_status(&relocation.name_any(), &PatchParams::default(), &Patch::Merge(status)).await;
        written.expect("the API server accepts a status that it had accepted before");
    }
}

/// A process that keeps the relocations of a namespace in memory and answers those without a status by one write:
/// the least that restarts like an operator. Says `ready` when it has listed them all.
pub async fn keep(client: Client, namespace: &str) {
    let relocations: Api<Relocation> = Api::namespaced(client, namespace);
    let (kept, writer) = reflector::store();
    let listed = async {
        kept.wait_until_ready().await.expect("the writer lives");
        println!("ready");
        std::io::stdout().flush().expect("somebody reads");
    };
    let follow = async {
        let events = watcher(relocations.clone(), watcher::Config::default());
        let mut events = pin!(
            events
                .default_backoff()
                .modify(|relocation: &mut Relocation| relocation.managed_fields_mut().clear())
                .reflect(writer)
                .applied_objects()
        );
        while let Some(event) = events.next().await {
            let relocation = event.expect("a watch of relocations");
            if relocation.status.as_ref().is_none_or(|status| status.status.is_none()) {
                let uid = relocation.uid();
                let accepted = json!({ "status": {
                    "observedGeneration": 1, "uuid": uid, "origin": uid, "status": "PENDING", "step": "UPLOADING"
                }});
                let name = relocation.name_any();
                let written = relocations.patch_status(&name, &PatchParams::default(), &Patch::Merge(accepted)).await;
                written.expect("the API server accepts a first status");
            }
        }
    };
    tokio::join!(listed, follow);
}
