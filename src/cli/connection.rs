//! The way to the API server: kubeconfig, context, service account, and who to act as.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::arguments::GlobalArguments;
use super::error::Error;

/// How long the network may take to connect. kubectl waits for half a minute; people do not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client, and what is worth knowing about where it leads.
pub(super) struct Connection {
    /// The client.
    pub client: Client,
    /// The address of the API server.
    pub address: String,
    /// The namespace of the context, or of the service account.
    pub namespace: String,
}

/// Makes a client as kubectl would. Nothing is sent yet.
pub(super) async fn connect(
    global: &GlobalArguments,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Connection, Error> {
    let mut config = config(global, variable).await?;
    // The default policy asks again for minutes, also for writes; ours is in `cluster`.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    if global.act_as.is_some() {
        config.auth_info.impersonate.clone_from(&global.act_as);
    }
    if !global.act_as_group.is_empty() {
        config.auth_info.impersonate_groups = Some(global.act_as_group.clone());
    }
    let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config)
        .map_err(|error| Error::Kubeconfig { path: global.kubeconfig.clone(), why: last_cause(&error) })?;
    Ok(Connection { client, address, namespace })
}

async fn config(global: &GlobalArguments, variable: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let (kubeconfig, looked_at) = if let Some(path) = &global.kubeconfig {
        (Some(read(path)?), path.display().to_string())
    } else {
        let paths = paths(variable);
        let looked_at: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        // As kubectl does, a file of the list that is not there is passed over.
        let present = paths.iter().filter(|path| path.exists());
        let merged = present.map(|path| read(path)).reduce(|merged, next| {
            let (merged, next) = (merged?, next?);
            merged.merge(next).map_err(|error| unusable(None, &error))
        });
        (merged.transpose()?, looked_at.join(", "))
    };
    let Some(kubeconfig) = kubeconfig else {
        return Config::incluster().map_err(|_| Error::NoKubeconfig { looked_at });
    };
    let known: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| match error {
        KubeconfigError::CurrentContextNotSet => Error::NoContext { known },
        KubeconfigError::LoadContext(name) => Error::UnknownContext { name, known },
        other => unusable(global.kubeconfig.as_deref(), &other),
    })
}

/// The files of `KUBECONFIG`, or the one in the home directory.
fn paths(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let named = variable("KUBECONFIG").unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect();
    if !named.is_empty() {
        return named;
    }
    let home = variable("HOME").map_or_else(|| PathBuf::from("~"), PathBuf::from);
    vec![home.join(".kube").join("config")]
}

fn read(path: &Path) -> Result<Kubeconfig, Error> {
    Kubeconfig::read_from(path).map_err(|error| unusable(Some(path), &error))
}

fn unusable(path: Option<&Path>, error: &KubeconfigError) -> Error {
    let why = match error {
        KubeconfigError::ReadConfig(source, _) => source.to_string(),
        KubeconfigError::Parse(source) => {
            format!("it is not the YAML of a kubeconfig: {}", first_line(&source.to_string()))
        }
        other => first_line(&other.to_string()),
    };
    Error::Kubeconfig { path: path.map(Path::to_owned), why }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The innermost cause, which is the one that people can do something about.
pub(super) fn last_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    first_line(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(kubeconfig: Option<PathBuf>) -> GlobalArguments {
        GlobalArguments { kubeconfig, ..GlobalArguments::default() }
    }

    async fn said(global: &GlobalArguments, home: &str) -> String {
        let home = home.to_owned();
        let variable = move |name: &str| (name == "HOME").then(|| home.clone());
        connect(global, variable).await.map_or_else(|error| error.to_string(), |connection| connection.address)
    }

    const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\n\
        clusters: [{name: one, cluster: {server: 'http://one.example:8080/'}}]\n\
        users: [{name: one, user: {}}]\n\
        contexts: [{name: one, context: {cluster: one, user: one, namespace: eu}}]\n";

    #[tokio::test]
    async fn each_way_not_to_reach_a_server_has_its_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let home = directory.path().to_str().unwrap();

        let nothing = said(&global(None), home).await;
        assert!(nothing.starts_with("there is no kubeconfig: "), "{nothing}");
        assert!(nothing.contains(".kube/config"), "{nothing}");

        let absent = said(&global(Some(path.clone())), home).await;
        assert!(absent.contains("No such file"), "{absent}");

        std::fs::write(&path, "][").unwrap();
        let broken = said(&global(Some(path.clone())), home).await;
        assert!(broken.contains("not the YAML of a kubeconfig"), "{broken}");

        std::fs::write(&path, KUBECONFIG).unwrap();
        let unchosen = said(&global(Some(path.clone())), home).await;
        assert_eq!(unchosen, "the kubeconfig chooses no context; name one with --context: one");

        let mut elsewhere = global(Some(path.clone()));
        elsewhere.context = Some("two".to_owned());
        let unknown = said(&elsewhere, home).await;
        assert_eq!(unknown, r#"the kubeconfig has no context "two"; name one with --context: one"#);

        elsewhere.context = Some("one".to_owned());
        assert_eq!(said(&elsewhere, home).await, "http://one.example:8080");
        let connection = connect(&elsewhere, |_| None).await.unwrap();
        assert_eq!(connection.namespace, "eu");
    }
}
