//! A gate between an operator and the API server, where a test can hold a request or lose it.
//!
//! The operator gets a kubeconfig that names the gate; the gate passes requests on with the test's own rights.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// No object of ours is larger.
const BODY_LIMIT: usize = 4 << 20;

/// A request as far as a test tells them apart.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
}

impl Asked {
    pub fn creates_a_job(&self) -> bool {
        self.method == Method::POST && self.path.ends_with("/jobs") && !self.query.contains("dryRun")
    }

    pub fn writes_a_status(&self) -> bool {
        self.method == Method::PATCH && self.path.contains("/relocations/") && self.path.ends_with("/status")
    }

    pub fn watches(&self) -> bool {
        self.method == Method::GET && self.query.contains("watch=true")
    }

    /// The right that it takes, as RBAC knows it: verb, API group, resource with subresource.
    pub fn right(&self) -> (&'static str, String, String) {
        let parts: Vec<&str> = self.path.trim_matches('/').split('/').collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => ("", &[][..]),
        };
        let rest = rest.strip_prefix(&["namespaces"]).and_then(|rest| rest.get(1..)).unwrap_or(rest);
        let (resource, is_named) = match rest {
            [resource] => ((*resource).to_owned(), false),
            [resource, _] => ((*resource).to_owned(), true),
            [resource, _, subresource] => (format!("{resource}/{subresource}"), true),
            _ => (self.path.clone(), false),
        };
        let verb = match (&self.method, is_named) {
            (&Method::GET, _) if self.watches() => "watch",
            (&Method::GET, true) => "get",
            (&Method::GET, false) => "list",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, true) => "delete",
            _ => "another verb",
        };
        (verb, group.to_owned(), resource)
    }

    /// Whether it changes anything but a plan's status, events, or nothing at all.
    pub fn writes(&self) -> bool {
        self.method != Method::GET
            && !self.query.contains("dryRun")
            && !self.path.contains("/events")
            && !self.path.contains("/relocationplans/")
    }
}

type Filter = Box<dyn Fn(&Asked) -> bool + Send>;

#[derive(Default)]
struct Watched {
    /// Whether watches are refused.
    blind: bool,
    /// Requests that fit are held and told of here.
    hold: Option<(Filter, mpsc::UnboundedSender<Held>)>,
    /// Requests that fit are answered here, by the newest rule that fits, and never reach the API server.
    answers: Vec<(Filter, StatusCode, String)>,
    /// Every write that reached the gate, in order.
    writes: Vec<Asked>,
    /// Every request that reached the gate, in order.
    asked: Vec<Asked>,
}

/// A request that the gate holds. Dropped without a word, it never reaches the API server.
pub struct Held {
    pub asked: Asked,
    verdict: oneshot::Sender<Verdict>,
}

enum Verdict {
    Pass,
    PassAndLoseTheAnswer,
}

impl Held {
    /// Passes it on.
    pub fn pass(self) {
        let _ = self.verdict.send(Verdict::Pass);
    }

    /// Passes it on, and loses the answer.
    pub fn pass_and_lose_the_answer(self) {
        let _ = self.verdict.send(Verdict::PassAndLoseTheAnswer);
    }
}

/// A gate that is open until a test holds something.
pub struct Gate {
    kubeconfig: PathBuf,
    watched: Arc<Mutex<Watched>>,
    cut: watch::Sender<()>,
    work: JoinHandle<()>,
}

impl Gate {
    pub async fn open(client: &Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let watched = Arc::new(Mutex::new(Watched::default()));
        let (cut, _) = watch::channel(());
        let way = Way { client: client.clone(), watched: Arc::clone(&watched), cut: cut.clone() };
        let pages = axum::Router::new().fallback(pass_on).with_state(way);
        let work = tokio::spawn(async move {
            let _ = axum::serve(listener, pages).await;
        });
        Self { kubeconfig: write_kubeconfig(address), watched, cut, work }
    }

    /// Holds every request that fits, from now on until the receiver is dropped.
    pub fn hold(&self, filter: impl Fn(&Asked) -> bool + Send + 'static) -> mpsc::UnboundedReceiver<Held> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.watched.lock().expect("no page panics").hold = Some((Box::new(filter), sender));
        receiver
    }

    /// Answers every request that fits in the API server's place, from now on.
    pub fn answer(&self, filter: impl Fn(&Asked) -> bool + Send + 'static, code: StatusCode, body: &str) {
        self.watched.lock().expect("no page panics").answers.push((Box::new(filter), code, body.to_owned()));
    }

    /// Holds the request that is the `number`-th from now on, counted from 0, reads and watches included.
    pub fn hold_call(&self, number: usize) -> mpsc::UnboundedReceiver<Held> {
        let count = AtomicUsize::new(0);
        self.hold(move |_| count.fetch_add(1, Ordering::Relaxed) == number)
    }

    /// Breaks every watch connection that is open.
    pub fn cut_watches(&self) {
        self.cut.send_replace(());
    }

    /// Breaks every watch connection and refuses new ones until `see`: what the operator knows grows stale.
    pub fn blind(&self) {
        self.watched.lock().expect("no page panics").blind = true;
        self.cut_watches();
    }

    /// Lets watches through again.
    pub fn see(&self) {
        self.watched.lock().expect("no page panics").blind = false;
    }

    /// Every write that reached the gate so far, in order.
    pub fn writes(&self) -> Vec<Asked> {
        self.watched.lock().expect("no page panics").writes.clone()
    }

    /// How many requests of any kind reached the gate so far.
    pub fn calls(&self) -> usize {
        self.watched.lock().expect("no page panics").asked.len()
    }

    /// Every request of any kind that reached the gate so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.watched.lock().expect("no page panics").asked.clone()
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.work.abort();
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// What stands between a request and its answer.
#[derive(Clone)]
struct Way {
    client: Client,
    watched: Arc<Mutex<Watched>>,
    cut: watch::Sender<()>,
}

async fn pass_on(State(way): State<Way>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    // On a task of its own: what is on the wire arrives, also when its sender is dead.
    let passed = tokio::spawn(way.pass(parts, body));
    passed.await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

impl Way {
    async fn pass(self, mut parts: Parts, body: Bytes) -> Response {
        let asked = Asked {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
        };
        let is_watch = asked.watches();
        if let Some(answer) = self.ready_answer(&asked) {
            return answer;
        }
        let Some(verdict) = self.judge(asked) else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let Ok(verdict) = verdict.await else {
            return StatusCode::BAD_GATEWAY.into_response();
        };
        let mut cut = self.cut.subscribe();
        parts.headers.remove("host");
        let sent = self.client.send(Request::from_parts(parts, body.to_vec().into())).await;
        match (verdict, sent) {
            (Verdict::PassAndLoseTheAnswer, _) | (Verdict::Pass, Err(_)) => StatusCode::BAD_GATEWAY.into_response(),
            (Verdict::Pass, Ok(answer)) if is_watch => answer.map(|body| {
                let events = Body::new(body).into_data_stream().take_until(async move { cut.changed().await });
                // The end without a last chunk is what a broken connection looks like.
                let broken = stream::once(async { Err(axum::Error::new(std::io::Error::other("the gate cut it"))) });
                Body::from_stream(events.chain(broken))
            }),
            (Verdict::Pass, Ok(answer)) => answer.map(Body::new),
        }
    }

    fn ready_answer(&self, asked: &Asked) -> Option<Response> {
        let watched = self.watched.lock().expect("no page panics");
        let (_, code, body) = watched.answers.iter().rev().find(|(fits, ..)| fits(asked))?;
        let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
        Some((*code, [("content-type", kind)], body.clone()).into_response())
    }

    /// Where the verdict on a request comes from; nothing for a watch while the gate lets none through.
    fn judge(&self, asked: Asked) -> Option<oneshot::Receiver<Verdict>> {
        let (verdict, decided) = oneshot::channel();
        let mut watched = self.watched.lock().expect("no page panics");
        if watched.blind && asked.watches() {
            return None;
        }
        watched.asked.push(asked.clone());
        if asked.writes() {
            watched.writes.push(asked.clone());
        }
        let held = Held { asked, verdict };
        match watched.hold.as_ref() {
            Some((filter, sender)) if !sender.is_closed() && filter(&held.asked) => {
                // A receiver that is dropped at this moment holds nothing any more.
                if let Err(unsent) = sender.send(held) {
                    unsent.0.pass();
                }
            }
            Some(_) | None => held.pass(),
        }
        Some(decided)
    }
}

/// Writes a kubeconfig that names this address, without any rights of its own.
pub fn write_kubeconfig(address: SocketAddr) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gates");
    std::fs::create_dir_all(&directory).expect("a directory for kubeconfigs");
    let path = directory.join(format!("{}-{}", std::process::id(), address.port()));
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: gate\n\
         clusters: [{{name: gate, cluster: {{server: 'http://{address}'}}}}]\n\
         users: [{{name: gate, user: {{}}}}]\n\
         contexts: [{{name: gate, context: {{cluster: gate, user: gate}}}}]\n"
    );
    std::fs::write(&path, text).expect("a kubeconfig");
    path
}
