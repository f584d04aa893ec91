//! The plugin's man pages, Markdown reference and krew manifest, written from its command line.
//!
//! `UPDATE_EXPECT=1 cargo test --test generated` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use expect_test::expect_file;
use relocation_operator::cli::Arguments;

use super::files_of;

fn command() -> Command {
    let mut command = Arguments::command();
    command.build();
    command
}

/// The commands that people see.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

#[test]
fn the_man_pages_are_those_of_the_command_line() {
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("man");
    let _ = std::fs::remove_dir_all(&fresh);
    std::fs::create_dir_all(&fresh).expect("a directory");
    clap_mangen::generate_to(Arguments::command(), &fresh).expect("man pages");
    let stored = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/man");
    let _ = std::fs::create_dir_all(&stored);
    let pages: BTreeMap<String, String> =
        files_of(&fresh).into_iter().map(|(name, page)| (name, with_examples(&page))).collect();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        for name in files_of(&stored).keys().filter(|name| !pages.contains_key(*name)) {
            std::fs::remove_file(stored.join(name)).expect("an old page");
        }
        for (name, text) in &pages {
            std::fs::write(stored.join(name), text).expect("a page");
        }
    }
    let is_current = pages == files_of(&stored);
    assert!(is_current, "docs/man is out of date: run `UPDATE_EXPECT=1 cargo test --test generated`");
}

/// The examples under a heading of their own and line by line, where the generator has a section for anything.
fn with_examples(page: &str) -> String {
    let Some((before, examples)) = page.split_once(".SH EXTRA\nEXAMPLES\n") else { return page.to_owned() };
    let (examples, after) = match examples.find("\n.SH ") {
        Some(end) => examples.split_at(end + 1),
        None => (examples, ""),
    };
    format!("{before}.SH EXAMPLES\n.nf\n{}\n.fi\n{after}", examples.trim_end())
}

#[test]
fn the_reference_is_that_of_the_command_line() {
    let command = command();
    let mut text = String::from("# kubectl relocation\n\n");
    text.push_str(
        "<!-- Written by `UPDATE_EXPECT=1 cargo test --test generated` from the command line itself. -->\n\n",
    );
    writeln!(text, "{}.\n", command.get_about().expect("it says what it is")).expect("text");
    text.push_str("| command | does |\n| --- | --- |\n");
    for subcommand in shown(&command) {
        let (name, about) = (subcommand.get_name(), subcommand.get_about().expect("it says what it does"));
        writeln!(text, "| [`{name}`](#{name}) | {about} |").expect("text");
    }
    text.push_str("\n## Exit codes\n\n");
    // They are documented where they are decided.
    let outcome = include_str!("../../src/cli/outcome.rs");
    for row in outcome.lines().filter_map(|line| line.strip_prefix("/// |")) {
        writeln!(text, "|{row}").expect("text");
    }
    text.push_str("\n## Flags of every command\n\n");
    let global: Vec<&Arg> = command.get_arguments().filter(|argument| argument.is_global_set()).collect();
    flags(&mut text, global.iter().copied());
    for subcommand in shown(&command) {
        describe(&mut text, subcommand);
    }
    expect_file!["../../docs/kubectl-relocation.md"].assert_eq(&text);
}

fn describe(text: &mut String, command: &Command) {
    let about = command.get_about().expect("it says what it does");
    let usage = command.clone().render_usage().to_string().replace("Usage: ", "");
    writeln!(text, "\n## {}\n\n{about}.\n\n```text\n{usage}\n```\n", command.get_name()).expect("text");
    let own = command
        .get_arguments()
        .filter(|argument| !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help");
    flags(text, own);
    if let Some(after) = command.get_after_help() {
        writeln!(text, "\n```text\n{after}\n```").expect("text");
    }
}

/// A table of flags and arguments.
fn flags<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    text.push_str("| argument | meaning |\n| --- | --- |\n");
    for argument in arguments {
        let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let takes = argument.get_action().takes_values();
        let value = argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>();
        let value = if takes && !value.is_empty() { value.join(" ") } else { String::new() };
        let name = match argument.get_long() {
            Some(long) if value.is_empty() => format!("{short}`--{long}`"),
            Some(long) => format!("{short}`--{long} {value}`"),
            None => format!("`{value}`"),
        };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let known: Vec<String> =
            argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        let known = if known.is_empty() || !takes || argument.is_hide_possible_values_set() {
            String::new()
        } else {
            format!(": {}", known.join(", "))
        };
        let default = argument.get_default_values().first().filter(|_| takes);
        let default = default.map(|value| format!("; default `{}`", value.to_string_lossy())).unwrap_or_default();
        writeln!(text, "| {name} | {}{known}{default} |", help.replace('|', "\\|")).expect("text");
    }
}

#[test]
fn the_krew_manifest_says_what_the_command_line_says() {
    let command = command();
    let about = command.get_about().expect("it says what it is").to_string();
    let short: String = about.split(", and act").next().unwrap_or(&about).to_owned();
    assert!(short.len() <= 100, "krew shows it in a table: {short}");
    let commands: Vec<String> = shown(&command)
        .map(|command| format!("    {:11} {}\n", command.get_name(), command.get_about().expect("about")))
        .collect();
    let manifest = format!(
        "# Written by `UPDATE_EXPECT=1 cargo test --test generated`; manifest.sh adds the platforms of a release.\n\
         apiVersion: krew.googlecontainertools.github.com/v1alpha2\n\
         kind: Plugin\n\
         metadata:\n  name: relocation\n\
         spec:\n  version: v{}\n  homepage: HOMEPAGE\n  shortDescription: {short}\n  description: |\n    {about}.\n\n{}  \
         caveats: |\n    It works with the relocation operator: kubectl relocation doctor says whether that is there.\n    \
         To complete names of relocations: kubectl relocation completion --help\n  platforms:\n",
        env!("CARGO_PKG_VERSION"),
        commands.concat(),
    );
    expect_file!["../../deploy/krew/head.yaml"].assert_eq(&manifest);
}

#[test]
fn the_krew_manifest_of_a_release_names_each_archive_with_its_digest() {
    let directory = tempfile::tempdir().expect("a directory");
    for platform in ["linux_amd64", "darwin_arm64"] {
        std::fs::write(directory.path().join(format!("kubectl-relocation_{platform}.tar.gz")), platform)
            .expect("a file");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/krew/manifest.sh");
    let base = "https://example.com/releases/v0.1.0";
    let output = std::process::Command::new(script).args(["https://example.com", base]).arg(directory.path()).output();
    let output = output.expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let manifest: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(manifest["spec"]["homepage"], "https://example.com");
    let platforms = manifest["spec"]["platforms"].as_array().expect("platforms");
    assert_eq!(platforms.len(), 2, "{text}");
    assert_eq!(platforms[1]["selector"]["matchLabels"], serde_json::json!({ "os": "linux", "arch": "amd64" }));
    assert_eq!(platforms[1]["uri"], format!("{base}/kubectl-relocation_linux_amd64.tar.gz"));
    // The digest of the text "linux_amd64".
    let digest: Vec<String> =
        <sha2::Sha256 as sha2::Digest>::digest("linux_amd64").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(platforms[1]["sha256"], digest.concat());
    assert_eq!(platforms[1]["bin"], "kubectl-relocation");
}
