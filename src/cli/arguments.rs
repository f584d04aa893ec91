//! The command line. What the flags mean is in the commands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};

use super::commands::Command;
use super::terminal::ColorChoice;

/// See where a relocation is, why it waits and how far it is, and act on it with words.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-relocation",
    bin_name = "kubectl relocation",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "\
EXAMPLES
  kubectl relocation list                     what there is, newest first
  kubectl relocation status acme --watch      where acme is, live
  kubectl relocation pause acme --at-step IMPORTING
  kubectl relocation unpause acme             let it go on
  kubectl relocation explain acme             why it is where it is

kubectl relocation COMMAND --help shows the flags and examples of a command.

EXIT CODES
  0  done                                      5  nothing of that name
  1  an error without a code of its own        6  you may not do this
  2  wait: the relocation has failed           7  no API server: no kubeconfig, no context, no answer
  3  wait: it was cancelled or aborted         8  the cluster has no kinds of relocation.dev
  4  wait: it has paused before its end        9  the API server refused the change
  124  out of time                           130  interrupted; 143: by SIGTERM"
)]
pub struct Arguments {
    /// Flags of every command.
    #[command(flatten)]
    pub(super) global: GlobalArguments,
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags of every command, named as kubectl names them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(super) struct GlobalArguments {
    /// Work in this namespace instead of the context's
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Look into every namespace
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Use this context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Use this kubeconfig instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Act as this user
    #[arg(long = "as", global = true, value_name = "USER")]
    pub act_as: Option<String>,
    /// Act as a member of this group; may be given more than once
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "act_as")]
    pub act_as_group: Vec<String>,
    /// How long the API server may take for one answer, such as 5s or 2m; 0 means for ever
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = read_duration)]
    pub request_timeout: Duration,
    /// When to use colours: auto, always or never; NO_COLOR turns auto into never
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", hide_possible_values = true)]
    pub color: ColorChoice,
}

/// A duration as kubectl takes it: a number of seconds, or numbers with units such as `90s`, `1m30s`, `2h`.
pub(super) fn read_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write it as in 30s, 5m, 1h30m");
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut milliseconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_length = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let scale = match &rest[..unit_length] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        milliseconds = number.checked_mul(scale).and_then(|more| milliseconds.checked_add(more)).ok_or_else(wrong)?;
        rest = &rest[unit_length..];
    }
    Ok(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Arguments::command().get_subcommands() {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.starts_with("EXAMPLES\n"), "{}: {examples}", command.get_name());
            assert!(examples.contains(&format!("kubectl relocation {}", command.get_name())), "{}", command.get_name());
        }
    }

    #[test]
    fn durations_are_read_as_kubectl_reads_them() {
        let read = |text: &str| read_duration(text).map(|duration| duration.as_millis());
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("90"), Ok(90_000));
        assert_eq!(read("1h30m"), Ok(5_400_000));
        assert_eq!(read("250ms"), Ok(250));
        for wrong in ["", "s", "5x", "5m3", "-1", "99999999999999999999h"] {
            assert!(read(wrong).is_err() || wrong.is_empty(), "{wrong}");
        }
    }
}
