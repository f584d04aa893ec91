//! `step`: one command line for every step of a plan, so that all tasks can have the same template.
//!
//! `RELOCATION_STEP` says which subcommand it is; an option that only other steps take is left out.
//! What no step takes is refused, as it is with the subcommand itself.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory, Parser};

use super::arguments::Arguments;

/// The word on the command line.
const WORD: &str = "step";

/// Each step of a plan, and the subcommand that does it.
const SUBCOMMANDS: [(&str, &str); 6] = [
    ("UPLOADING", "upload"),
    ("PREPROCESSING", "preprocess"),
    ("VALIDATING", "validate"),
    ("IMPORTING", "import"),
    ("POSTPROCESSING", "postprocess"),
    ("NOTIFYING", "notify"),
];

/// Parses a command line; `step` becomes the subcommand of the step that `variable` names.
pub fn parse(
    words: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Arguments, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    let [program, word, options @ ..] = words.as_slice() else { return Arguments::try_parse_from(&words) };
    let is_question = |option: &OsString| option == "--help" || option == "-h";
    if word != WORD || options.iter().any(is_question) {
        return Arguments::try_parse_from(&words);
    }
    let step = variable("RELOCATION_STEP").unwrap_or_default();
    let Some((_, subcommand)) = SUBCOMMANDS.iter().find(|(name, _)| step == *name) else {
        return Err(Arguments::command().error(ErrorKind::InvalidSubcommand, refusal(&step)));
    };
    let of_step = [program.clone(), OsString::from(subcommand)].into_iter().chain(fitting(options, subcommand));
    Arguments::try_parse_from(of_step)
}

fn refusal(step: &OsStr) -> String {
    let is = match step.to_str() {
        Some("") => "not set".to_owned(),
        Some("COMPLETED") => "'COMPLETED', so it is cleanup or notify that is wanted".to_owned(),
        Some(_) | None => format!("'{}' and no step of a plan", step.to_string_lossy()),
    };
    format!("'{WORD}' does what RELOCATION_STEP names, and that is {is}; name the subcommand itself, such as 'upload'")
}

/// The options without those that only other steps take.
fn fitting(options: &[OsString], subcommand: &str) -> Vec<OsString> {
    let mut all = Arguments::command();
    // Gives each subcommand the options that all have.
    all.build();
    let of_plans = |command: &&Command| SUBCOMMANDS.iter().any(|(_, name)| command.get_name() == *name);
    let mut kept = Vec::new();
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let taken = all.get_subcommands().filter(of_plans).filter_map(|by| Some((by.get_name(), find(by, option)?)));
        let taken: Vec<_> = taken.collect();
        let is_kept = taken.is_empty() || taken.iter().any(|(by, _)| *by == subcommand);
        // What takes a value only behind `=` does not take the next word.
        let takes_next = |argument: &Arg| argument.get_action().takes_values() && !argument.is_require_equals_set();
        let takes_value = taken.iter().any(|(_, argument)| takes_next(argument));
        let has_value = takes_value && !is_written_with_value(option);
        let value = if has_value { rest.next() } else { None };
        if is_kept {
            kept.extend([Some(option), value].into_iter().flatten().cloned());
        }
    }
    kept
}

/// What a subcommand calls this option.
fn find<'c>(command: &'c Command, option: &OsStr) -> Option<&'c Arg> {
    let name = option.as_encoded_bytes().strip_prefix(b"--")?;
    let name = name.split(|byte| *byte == b'=').next()?;
    command.get_arguments().find(|argument| argument.get_long().is_some_and(|long| long.as_bytes() == name))
}

fn is_written_with_value(option: &OsStr) -> bool {
    option.as_encoded_bytes().contains(&b'=')
}

#[cfg(test)]
mod tests {
    use super::super::arguments::Step;
    use super::*;

    fn parse_at(step: &str, words: &[&str]) -> Result<Arguments, String> {
        let words = words.iter().map(OsString::from);
        parse(words, |name| (name == "RELOCATION_STEP" && !step.is_empty()).then(|| step.into()))
            .map_err(|error| error.to_string())
    }

    /// Options of four steps, of all steps, with `=` and without.
    const ALL: [&str; 10] = [
        "relocation-mover",
        "step",
        "--source=/source",
        "--target",
        "s3://bucket/data",
        "--staging=none",
        "--allow-empty",
        "--compress",
        "--bandwidth=1M",
        "--url=http://127.0.0.1/",
    ];

    #[test]
    fn one_command_line_is_each_step_with_what_that_step_takes() {
        for (step, subcommand) in SUBCOMMANDS {
            let parsed = parse_at(step, &ALL).unwrap();
            assert_eq!(parsed.bandwidth.0, Some(1 << 20), "{step}");
            let fits = match (subcommand, &parsed.step) {
                ("upload", Step::Upload { source, allow_empty, .. }) => source.to_string() == "/source" && *allow_empty,
                ("preprocess", Step::Preprocess { target, .. })
                | ("import", Step::Import { target, .. })
                | ("postprocess", Step::Postprocess { target, .. }) => target.target.to_string() == "s3://bucket/data",
                ("validate", Step::Validate { source, .. }) => source.source.is_some(),
                ("notify", Step::Notify { url, .. }) => url.as_deref() == Some("http://127.0.0.1/"),
                _ => false,
            };
            assert!(fits, "{step}: {:?}", parsed.step);
        }
    }

    #[test]
    fn what_no_step_takes_is_refused_and_what_a_step_needs_is_asked_for() {
        let unknown = parse_at("IMPORTING", &["relocation-mover", "step", "--target=/target", "--sauce=/source"]);
        assert!(unknown.unwrap_err().contains("--sauce"));
        let value = parse_at("IMPORTING", &["relocation-mover", "step", "/target"]);
        assert!(value.unwrap_err().contains("/target"));
        let missing = parse_at("IMPORTING", &["relocation-mover", "step", "--source=/source"]);
        assert!(missing.unwrap_err().contains("--target"));
    }

    #[test]
    fn outside_of_a_step_it_says_what_to_write_instead() {
        for (step, said) in [("", "not set"), ("COMPLETED", "cleanup"), ("uploading", "'uploading'")] {
            let refused = parse_at(step, &ALL).unwrap_err();
            assert!(refused.contains(said), "{refused}");
        }
        assert!(
            parse_at("IMPORTING", &["relocation-mover", "step", "--help"]).unwrap_err().contains("RELOCATION_STEP")
        );
    }

    #[test]
    fn the_subcommands_are_taken_as_they_are() {
        let parsed = parse_at("IMPORTING", &["relocation-mover", "upload", "--source=/source"]).unwrap();
        assert!(matches!(parsed.step, Step::Upload { .. }));
        assert!(parse_at("IMPORTING", &["relocation-mover"]).is_err());
    }
}
