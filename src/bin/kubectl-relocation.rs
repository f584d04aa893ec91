//! The kubectl plugin: `kubectl relocation`.

use std::process::ExitCode;

use relocation_operator::cli::{Outside, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(std::env::args_os(), Outside::of_process()).await
}
