//! `completion`: the script by which a shell completes, or the program by which kubectl does.

use clap::{Args, ValueEnum};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::super::completing::{PROGRAM, VARIABLE, WORD};
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::session::Session;

/// The flags of `completion`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation completion kubectl > ~/.local/bin/kubectl_complete-relocation
  chmod +x ~/.local/bin/kubectl_complete-relocation     for: kubectl relocation <TAB>, in every shell that completes kubectl
  source <(kubectl relocation completion bash)          for: kubectl-relocation <TAB>
  kubectl relocation completion fish | source

Names of relocations, plans, steps, failures, owners and namespaces come from the cluster.")]
pub struct CompletionArguments {
    /// The shell, or kubectl for kubectl's own completion
    #[arg(value_enum)]
    shell: Shell,
}

/// Who completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// Kubectl's own completion, by a program that must be named `kubectl_complete-relocation`.
    Kubectl,
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

impl CompletionArguments {
    /// Writes it.
    pub fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Kubectl => {
                session.print(&format!("#!/bin/sh\nexec {PROGRAM} {WORD} \"$@\"\n"))?;
                return Ok(Outcome::Done);
            }
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
            Shell::Powershell => &Powershell,
            Shell::Elvish => &Elvish,
        };
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script).map_err(Error::Print)?;
        session.print_bytes(&script)?;
        Ok(Outcome::Done)
    }
}
