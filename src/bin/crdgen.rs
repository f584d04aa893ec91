//! Writes the custom resource definitions, one file each, into the directory that is named (default `crds`).

use std::path::PathBuf;

use anyhow::Context;
use relocation_operator::api;

fn main() -> anyhow::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "crds".into()));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    for crd in api::all_crds() {
        let path = directory.join(format!("{}.yaml", crd.spec.names.plural));
        let text = serde_saphyr::to_string(&crd)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
