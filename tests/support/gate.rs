//! A gate between an operator and the API server, where a test can hold a request or lose it.
//!
//! The operator gets a kubeconfig that names the gate; the gate passes requests on with the test's own rights.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
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
    /// Requests that fit are held and told of here.
    hold: Option<(Filter, mpsc::UnboundedSender<Held>)>,
    /// Every write that reached the gate, in order.
    writes: Vec<Asked>,
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
    work: JoinHandle<()>,
}

impl Gate {
    pub async fn open(client: &Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let watched = Arc::new(Mutex::new(Watched::default()));
        let pages = axum::Router::new().fallback(pass_on).with_state((client.clone(), Arc::clone(&watched)));
        let work = tokio::spawn(async move {
            let _ = axum::serve(listener, pages).await;
        });
        Self { kubeconfig: write_kubeconfig(address), watched, work }
    }

    /// Holds every request that fits, from now on until the receiver is dropped.
    pub fn hold(&self, filter: impl Fn(&Asked) -> bool + Send + 'static) -> mpsc::UnboundedReceiver<Held> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.watched.lock().expect("no page panics").hold = Some((Box::new(filter), sender));
        receiver
    }

    /// Every write that reached the gate so far, in order.
    pub fn writes(&self) -> Vec<Asked> {
        self.watched.lock().expect("no page panics").writes.clone()
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

async fn pass_on(State((client, watched)): State<(Client, Arc<Mutex<Watched>>)>, request: Request) -> Response {
    let asked = Asked {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
    };
    let verdict = {
        let mut watched = watched.lock().expect("no page panics");
        if asked.writes() {
            watched.writes.push(asked.clone());
        }
        let holding = watched.hold.as_ref().filter(|(filter, sender)| !sender.is_closed() && filter(&asked));
        holding.and_then(|(_, sender)| {
            let (verdict, decided) = oneshot::channel();
            sender.send(Held { asked, verdict }).ok().map(|()| decided)
        })
    };
    let verdict = match verdict {
        None => Verdict::Pass,
        Some(decided) => match decided.await {
            Ok(verdict) => verdict,
            Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
        },
    };
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("host");
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let sent = client.send(Request::from_parts(parts, body.to_vec().into())).await;
    match (verdict, sent) {
        (Verdict::PassAndLoseTheAnswer, _) | (Verdict::Pass, Err(_)) => StatusCode::BAD_GATEWAY.into_response(),
        (Verdict::Pass, Ok(answer)) => answer.map(Body::new),
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
