//! The judgement and the words import no client, no runtime, no clock and no randomness.

use std::path::{Path, PathBuf};

/// What no source of the two modules may name. The message of a failure names the file and the line.
const FORBIDDEN: [&str; 14] = [
    "kube::Client",
    "kube::client",
    "kube::Api",
    "kube::api::Api",
    "kube::runtime",
    "kube_runtime",
    "tokio",
    "futures",
    "std::time",
    "std::thread",
    "std::net",
    "Timestamp::now",
    "Zoned::now",
    "rand::",
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // Tests may do what they like.
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines of a source without comments and without its own tests, with nested imports spelled out by their roots.
fn offences(text: &str) -> Vec<String> {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut offences = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let hit = FORBIDDEN.iter().any(|forbidden| line.contains(forbidden));
        let nested = line.trim_start().starts_with("use kube::{") && (line.contains("Client") || line.contains("Api"));
        let process = line.contains("use std::{") || line.contains("SystemTime") || line.contains("Instant");
        if hit || nested || process {
            offences.push(line.trim().to_owned());
        }
    }
    offences
}

#[test]
fn the_judgement_and_the_words_import_no_client_runtime_or_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root.join("lifecycle"), &mut found);
    sources(&root.join("api"), &mut found);
    assert!(found.len() > 20, "the sources are there");
    for path in found {
        let offences = offences(&std::fs::read_to_string(&path).unwrap());
        assert!(offences.is_empty(), "{}: {offences:?}", path.display());
    }
}

#[test]
fn an_import_of_a_client_or_a_clock_would_be_seen() {
    for line in [
        "use kube::{Api, ResourceExt};",
        "use kube::Client;",
        "    let now = Timestamp::now();",
        "use std::{time::Instant};",
        "use tokio::sync::mpsc;",
        "let started = std::time::SystemTime::now();",
    ] {
        assert_eq!(offences(line).len(), 1, "{line}");
    }
    assert!(offences("use kube::Resource;\n// tokio is not here\n").is_empty());
}

#[test]
fn the_judgement_depends_on_the_words_and_the_words_on_nothing_of_ours() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (module, forbidden) in [
        ("api", ["crate::lifecycle", "crate::operator", "crate::cli", "crate::mover"].as_slice()),
        ("lifecycle", ["crate::operator", "crate::cli", "crate::mover"].as_slice()),
    ] {
        let mut found = Vec::new();
        sources(&root.join(module), &mut found);
        for path in found {
            let text = std::fs::read_to_string(&path).unwrap();
            for name in forbidden {
                assert!(!text.contains(name), "{} names {name}", path.display());
            }
        }
    }
}
