//! What the porter costs, next to rclone, rsync and restic with the same data, on the same disk and in the same minutes.
//!
//! `make bench-porter` starts it; `docs/benchmarks.md` explains each number.
//! It needs no cluster: every step is the program that a step's pod runs.

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "it takes the time, counts far below what a float can hold, and shares a server with the tests; whatever fails ends it and says where"
)]

mod cases;
mod data;
mod measure;
mod report;
#[path = "../../tests/store/server.rs"]
#[allow(dead_code, reason = "what only the tests need")]
mod server;
#[path = "../shared/mod.rs"]
mod shared;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use cases::{CASES, Case};
use tools::Tool;

/// What to measure, and how much of it.
#[derive(Parser)]
struct Settings {
    /// How much is moved.
    #[arg(long, env = "BENCH", value_enum, default_value_t = Size::Full)]
    size: Size,

    /// Which of the cases, as in `small:file-file,large:s3-file`.
    #[arg(long, env = "BENCH_CASES", value_delimiter = ',')]
    cases: Vec<String>,

    /// How often each tool moves the data of each case.
    #[arg(long, env = "BENCH_ROUNDS")]
    rounds: Option<usize>,

    /// Which tools beside the porter; empty for none.
    #[arg(long, env = "BENCH_TOOLS", value_delimiter = ',', default_value = "rclone,rclone-many,rsync,restic")]
    tools: Vec<String>,

    /// Where the data are made, on the disk to be measured; kept for the next run.
    #[arg(long, env = "BENCH_FOLDER", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/porter"))]
    folder: PathBuf,

    /// Where the report is written. The sections of cases that are not measured stay as they are there.
    #[arg(long, env = "BENCH_RECORD")]
    record: Option<PathBuf>,

    /// The program that is measured.
    #[arg(long, env = "BENCH_MOVER", default_value = env!("CARGO_BIN_EXE_relocation-mover"))]
    mover: PathBuf,

    /// rclone.
    #[arg(long, env = "RCLONE", default_value = "rclone")]
    rclone: PathBuf,

    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    /// What is recorded: 100,000 files of 4 KiB, and 4 of 1 GiB.
    Full,
    /// A trial: 10,000 files of 4 KiB, and 4 of 128 MiB.
    Quick,
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    let (cases, tools) = (CASES.map(Case::name), Tool::ALL.map(|tool| tool.name().to_owned()));
    for (what, chosen, known) in [("case", &settings.cases, &cases[..]), ("tool", &settings.tools, &tools[..])] {
        if let Some(wrong) = chosen.iter().find(|name| !name.is_empty() && !known.contains(name)) {
            eprintln!("error: there is no {what} '{wrong}'; they are {}", known.join(", "));
            return ExitCode::FAILURE;
        }
    }
    let is_chosen = |case: &Case| settings.cases.is_empty() || settings.cases.contains(&case.name());
    let rounds = settings.rounds.unwrap_or(if settings.size == Size::Quick { 1 } else { 3 });
    let ground = measure::Ground::prepare(&settings);
    let sections: Vec<report::Section> = CASES
        .into_iter()
        .filter(is_chosen)
        .map(|case| {
            println!("{}", case.title(settings.size));
            let measured = measure::case(&ground, &settings, case, rounds);
            let section = report::section(&ground, &settings, case, rounds, &measured);
            println!("\n{}", section.text);
            section
        })
        .collect();
    if let Some(path) = &settings.record {
        report::write(path, &sections, settings.size);
        println!("written to {}", path.display());
    }
    ExitCode::SUCCESS
}
