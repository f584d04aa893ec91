//! The porter's program: moves a directory tree through the steps of a relocation.

use std::process::ExitCode;

fn main() -> ExitCode {
    relocation_operator::mover::exit_on_sigterm();
    relocation_operator::mover::run(std::env::args_os(), |name| std::env::var_os(name), &mut std::io::stdout())
}
