//! A release of the chart in a namespace of its own, and the Helm that makes it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kube::Client;
use tokio::sync::{Mutex, MutexGuard};

use crate::support::{create_namespace, delete_namespace};

/// What the chart has for the whole cluster exists once.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub const NAME: &str = "relocation-operator";

/// A release, removed when it is dropped, with the namespace it is in.
pub struct Release {
    pub namespace: String,
    pub name: &'static str,
    client: Client,
    flags: Vec<String>,
    /// Held while this release is the one of the whole cluster.
    turn: Option<MutexGuard<'static, ()>>,
}

impl Release {
    /// A release that is not installed yet, in a namespace of its own.
    pub async fn prepare(client: &Client) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let mut release = Self::beside(client).await;
        release.turn = Some(turn);
        release
    }

    /// One more release, for a test that has one.
    pub async fn beside(client: &Client) -> Self {
        let namespace = create_namespace(client).await;
        // Every pod of the chart must be welcome where only restricted ones are.
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        let labelled = Command::new("kubectl").args(["label", "namespace", &namespace, restricted]).output();
        answer(&labelled.expect("kubectl starts")).expect("a label");
        Self { namespace, name: NAME, client: client.clone(), flags: Vec::new(), turn: None }
    }

    /// Whatever Helm does for it is done as this user.
    pub fn by_user(mut self, user: &str) -> Self {
        self.flags = vec![format!("--kube-as-user={user}"), "--kube-as-group=system:authenticated".to_owned()];
        self
    }

    /// Installs or upgrades the chart and waits until it is ready.
    pub fn install(&self, values: &[&str]) -> String {
        self.try_install(values).unwrap_or_else(|error| panic!("helm upgrade --install: {error}"))
    }

    /// As [`Self::install`]; an error is what Helm said.
    pub fn try_install(&self, values: &[&str]) -> Result<String, String> {
        self.install_chart(&chart(), values)
    }

    /// As [`Self::try_install`], of another version of the chart.
    pub fn install_chart(&self, chart: &Path, values: &[&str]) -> Result<String, String> {
        let chart = chart.display().to_string();
        let (repository, tag) = image();
        let images = format!("image.repository={repository},image.tag={tag}");
        let mut arguments = vec!["upgrade", "--install", self.name, &chart, "--wait", "--timeout", "120s"];
        arguments.extend(["--take-ownership", "--force-conflicts", "--set-string", &images]);
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        self.helm(&arguments)
    }

    pub fn uninstall(&self) -> Result<String, String> {
        self.helm(&["uninstall", self.name, "--wait", "--timeout", "120s"])
    }

    /// One command of Helm about this release: what it printed, or what it said was wrong.
    pub fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(std::env::var_os("HELM").unwrap_or_else(|| "helm".into()));
        command.args(arguments).args(["--namespace", &self.namespace]).args(&self.flags);
        answer(&command.output().expect("Helm starts; set HELM to the program, as `make test-helm` does"))
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// As [`Self::kubectl`]; an error is what it said.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("kubectl");
        command.args(["--namespace", &self.namespace]).args(arguments);
        answer(&command.output().expect("kubectl starts"))
    }

    /// Removes it with all that it has for the whole cluster but the kinds.
    pub async fn remove(self) {
        self.uninstall().expect("Helm removes the release");
        delete_namespace(&self.client, &self.namespace).await;
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        // Removed already, unless the test has failed; then the next one must find the cluster as it was.
        if std::thread::panicking() {
            for show in ["get pods,jobs,events", "logs --selector app.kubernetes.io/component=operator --tail=20"] {
                let shown = self.try_kubectl(&show.split(' ').collect::<Vec<_>>());
                eprintln!("{}", shown.unwrap_or_else(|error| error));
            }
            let _ = self.uninstall();
            let _ = Command::new("kubectl").args(["delete", "namespace", &self.namespace, "--wait=false"]).status();
        }
    }
}

/// The operator's image as Helm takes it: repository and tag.
fn image() -> (String, String) {
    let image = std::env::var("IMAGE").unwrap_or_else(|_| "localhost/relocation-operator:dev".to_owned());
    let (repository, tag) = image.rsplit_once(':').expect("an image with a tag");
    (repository.to_owned(), tag.to_owned())
}

pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/relocation-operator")
}

fn answer(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
    }
}
