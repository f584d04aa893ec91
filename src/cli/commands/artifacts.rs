//! `artifacts`: what the tasks of a relocation left behind.

use clap::Args;
use serde_json::Value;

use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::output::OutputArguments;
use super::super::progress::bytes;
use super::super::session::Session;
use super::super::table::{Cell, Table};
use crate::api::{ArtifactIndex, Relocation, artifact_index_name};

/// The flags of `artifacts`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation artifacts acme            name, size and path of each
  kubectl relocation artifacts acme -o wide    with digests
  kubectl relocation artifacts acme -o jsonpath='{range [*]}{.path}{\"\\n\"}{end}'

Reading artifacts is a permission of its own: get on artifactindices.relocation.dev.")]
pub struct ArtifactsArguments {
    /// The relocation
    name: String,
    #[command(flatten)]
    output: OutputArguments,
}

impl ArtifactsArguments {
    /// Lists them.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let cluster = session.cluster_in_one_namespace().await?;
        let index = cluster.get_opt::<ArtifactIndex>(artifact_index_name(&self.name)).await?;
        let Some(index) = index else {
            // Without an index there is nothing, or nobody of that name.
            cluster.get::<Relocation>(&self.name).await?;
            if self.output.is_for_programs() {
                self.output.print_value(session, &Value::Array(Vec::new()), &[])?;
            } else {
                session.remark(&format!("no task of {} has reported an artifact yet", self.name));
            }
            return Ok(Outcome::Done);
        };
        let artifacts = index.object.spec.artifacts;
        if self.output.is_for_programs() {
            let names: Vec<String> = artifacts.iter().map(|artifact| artifact.name.clone()).collect();
            self.output.print_value(session, &index.sent["spec"]["artifacts"], &names)?;
            return Ok(Outcome::Done);
        }
        let mut headers = vec!["NAME", "STEP", "TASK", "SIZE", "PATH"];
        if self.output.is_wide() {
            headers.push("DIGEST");
        }
        let mut table = Table::new(&headers);
        for artifact in &artifacts {
            let size = artifact.size_bytes.and_then(|size| u64::try_from(size).ok()).map(bytes);
            let mut cells = vec![
                Cell::from(artifact.name.as_str()),
                Cell::from(artifact.step.as_str()),
                Cell::from(artifact.task.as_str()),
                Cell::maybe(size.as_deref()),
                Cell::from(artifact.path.as_str()),
            ];
            if self.output.is_wide() {
                cells.push(Cell::maybe(artifact.digest.as_deref()));
            }
            table.row(cells);
        }
        self.output.print_table(session, &table)?;
        Ok(Outcome::Done)
    }
}
