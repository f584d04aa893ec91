//! The porter's program: moves a directory tree through the steps of a relocation.

use std::process::ExitCode;

/// Parts of objects are megabytes that several threads take and give back; glibc's allocator would keep some for each thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    relocation_operator::mover::exit_on_sigterm();
    relocation_operator::mover::run(std::env::args_os(), |name| std::env::var_os(name), &mut std::io::stdout())
}
