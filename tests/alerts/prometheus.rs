//! A Prometheus as a child process that reads one operator, killed when it is dropped.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::a_free_address;

const DEADLINE: Duration = Duration::from_mins(1);

/// How often it reads, and how often a test asks it.
const INTERVAL: Duration = Duration::from_millis(250);

pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one that reads the operator at this address, and waits until it answers.
    pub async fn reading(operator: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (interval, configuration) = (INTERVAL.as_millis(), folder.path().join("prometheus.yaml"));
        let scrapes = format!(
            "global: {{scrape_interval: {interval}ms, scrape_timeout: {interval}ms}}\n\
             scrape_configs: [{{job_name: operator, static_configs: [{{targets: ['{operator}']}}]}}]\n"
        );
        std::fs::write(&configuration, scrapes).expect("a configuration");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let address = a_free_address().await;
        let child = Command::new(std::env::var_os("PROMETHEUS").unwrap_or_else(|| "prometheus".into()))
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("Prometheus starts; set PROMETHEUS to the program, as `make test-alerts` does");
        let mut prometheus = Self { child, address, folder };
        let deadline = Instant::now() + DEADLINE;
        while prometheus.get("/-/ready", &[]).await.is_err() {
            let ended = prometheus.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "Prometheus is not ready:\n{}", prometheus.log());
            sleep(INTERVAL).await;
        }
        prometheus
    }

    /// The values that a query has now, one per series.
    pub async fn query(&self, query: &str) -> Vec<f64> {
        let answer = self.get("/api/v1/query", &[("query", query)]).await;
        let answer = answer.unwrap_or_else(|error| panic!("{query}: {error}\n{}", self.log()));
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let result = answer["data"]["result"].as_array().expect("a list of series");
        let values = result.iter().map(|series| series["value"][1].as_str().expect("a number as text"));
        values.map(|value| value.parse().expect("a number")).collect()
    }

    /// Asks until the values are as wished.
    pub async fn wait_until(&self, query: &str, wished: impl Fn(&[f64]) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let values = self.query(query).await;
            if wished(&values) {
                return;
            }
            assert!(Instant::now() < deadline, "in vain for {} s: {query} is {values:?}", DEADLINE.as_secs());
            sleep(INTERVAL).await;
        }
    }

    async fn get(&self, path: &str, parameters: &[(&'static str, &str)]) -> Result<String, ureq::Error> {
        let mut request = ureq::get(format!("http://{}{path}", self.address)).config();
        request = request.timeout_global(Some(DEADLINE));
        let mut request = request.build();
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        let answered = tokio::task::spawn_blocking(|| request.call()?.body_mut().read_to_string()).await;
        answered.expect("a request does not panic")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
