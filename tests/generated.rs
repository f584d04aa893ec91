//! Generated files are what their generator writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

#[path = "generated/plugin.rs"]
mod plugin;

#[test]
fn the_definitions_in_crds_are_what_crdgen_writes() {
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crds");
    let _ = std::fs::remove_dir_all(&fresh);
    let status = Command::new(env!("CARGO_BIN_EXE_crdgen")).arg(&fresh).status().expect("crdgen runs");
    assert!(status.success());
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    assert!(files_of(&fresh) == files_of(&stored), "crds/ is out of date: run `cargo run --bin crdgen`");
}

fn files_of(directory: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).expect("a text file");
            (entry.file_name().to_string_lossy().into_owned(), text)
        })
        .collect()
}
