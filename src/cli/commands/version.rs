//! `version`: of the plugin and of the cluster.

use clap::Args;
use serde_json::json;

use super::super::cluster::Place;
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::output::OutputArguments;
use super::super::session::Session;
use crate::api::{GROUP, VERSION};

/// The flags of `version`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation version             of the plugin and of the cluster
  kubectl relocation version --client    of the plugin alone; asks no cluster")]
pub struct VersionArguments {
    /// Show the version of the plugin alone
    #[arg(long)]
    client: bool,
    #[command(flatten)]
    output: OutputArguments,
}

impl VersionArguments {
    /// Shows them.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let plugin = env!("CARGO_PKG_VERSION");
        let api = format!("{GROUP}/{VERSION}");
        let server = if self.client { None } else { Some(server_version(session).await?) };
        if self.output.is_for_programs() {
            let versions = json!({ "plugin": plugin, "api": api, "kubernetes": server });
            self.output.print_value(session, &versions, &[format!("kubectl-relocation/{plugin}")])?;
            return Ok(Outcome::Done);
        }
        session.print(&format!("plugin      {plugin}\napi         {api}\n"))?;
        if let Some(server) = server {
            session.print(&format!("kubernetes  {server}\n"))?;
        }
        Ok(Outcome::Done)
    }
}

async fn server_version(session: &Session) -> Result<String, Error> {
    let cluster = session.cluster().await?;
    let info = cluster.within(cluster.client().apiserver_version()).await?;
    let info = info.map_err(|error| cluster.explain("get", "/version", &Place::Everywhere, error))?;
    Ok(info.git_version)
}
