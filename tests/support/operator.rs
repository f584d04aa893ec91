//! Operators as child processes, killed the hard way.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

const DEADLINE: Duration = Duration::from_secs(30);

/// How many of its last lines of log are shown when a test fails.
const LINES_SHOWN: usize = 60;

/// An operator that watches one namespace; killed when it is dropped.
pub struct Operator {
    child: Child,
    log: PathBuf,
    address: SocketAddr,
    /// The network namespace it is in, unless it is the test's own.
    network: Option<PathBuf>,
}

impl Operator {
    /// Starts an operator and waits until it is ready.
    pub async fn start(namespace: &str, kubeconfig: Option<&Path>) -> Self {
        Self::start_with(namespace, kubeconfig, &[]).await
    }

    /// Starts an operator with these environment variables and waits until it is ready.
    pub async fn start_with(namespace: &str, kubeconfig: Option<&Path>, environment: &[(&str, String)]) -> Self {
        Self::spawn_with(namespace, kubeconfig, environment).await.ready().await
    }

    /// Starts an operator in this network namespace and waits until it is ready. It needs root.
    pub async fn start_in(network: &Path, namespace: &str, environment: &[(&str, String)]) -> Self {
        Self::spawn_in(Some(network), namespace, None, environment).await.ready().await
    }

    /// Waits until it is ready.
    async fn ready(self) -> Self {
        let operator = self;
        let deadline = Instant::now() + DEADLINE;
        while !operator.is_ready(deadline).await {
            assert!(Instant::now() < deadline, "the operator was not ready in time\n{}", operator.log_tail());
            sleep(Duration::from_millis(20)).await;
        }
        operator
    }

    /// Starts an operator without waiting for it.
    pub async fn spawn(namespace: &str, kubeconfig: Option<&Path>) -> Self {
        Self::spawn_with(namespace, kubeconfig, &[]).await
    }

    /// Starts an operator with these environment variables without waiting for it.
    pub async fn spawn_with(namespace: &str, kubeconfig: Option<&Path>, environment: &[(&str, String)]) -> Self {
        Self::spawn_in(None, namespace, kubeconfig, environment).await
    }

    async fn spawn_in(
        network: Option<&Path>,
        namespace: &str,
        kubeconfig: Option<&Path>,
        environment: &[(&str, String)],
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operators");
        std::fs::create_dir_all(&directory).expect("a directory for logs");
        let log = directory.join(format!("{namespace}-{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let output = File::create(&log).expect("a log file");
        let address = a_free_address().await;
        let program = env!("CARGO_BIN_EXE_relocation-operator");
        // Entering a network namespace takes no further process: the child is the operator.
        let mut command = network.map_or_else(|| Command::new(program), |network| enter(network, program));
        command
            .args(["--namespace", namespace, "--http-address", &address.to_string()])
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info,relocation_operator=debug".to_owned()))
            .env("NO_COLOR", "1")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a log file"))
            .stderr(output);
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let child = command.spawn().expect("the operator starts");
        Self { child, log, address, network: network.map(Path::to_owned) }
    }

    /// Its process, for who measures it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its pages are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to stop with SIGTERM and waits until it has, which must be soon.
    pub async fn stop(mut self) {
        let signalled = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(signalled.is_ok_and(|status| status.success()), "the operator takes a SIGTERM");
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                assert!(status.success(), "the operator ended with {status}\n{}", self.log_tail());
                return;
            }
            assert!(Instant::now() < deadline, "the operator did not stop\n{}", self.log_tail());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it has not ended by itself.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A page of its HTTP server.
    pub async fn page(&self, path: &str) -> std::io::Result<String> {
        if let Some(network) = &self.network {
            let mut curl = tokio::process::Command::from(enter(network, "curl"));
            curl.args(["--silent", "--include", "--max-time", "5", &format!("http://{}{path}", self.address)]);
            let answer = curl.output().await?;
            let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
            return if answer.is_empty() { Err(std::io::ErrorKind::ConnectionRefused.into()) } else { Ok(answer) };
        }
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    async fn is_ready(&self, deadline: Instant) -> bool {
        let answer = timeout_at(deadline, self.page("/readyz")).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|text| text.starts_with("HTTP/1.1 200")))
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program, in this network namespace.
fn enter(network: &Path, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", network.display())).args(["--", program]);
    command
}

/// An address that was free a moment ago: a program is told it that cannot tell us one that it chose.
pub async fn a_free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address")
}
