//! What the operator costs, next to a bare client that makes the same writes on the same server in the same minutes.
//!
//! `make bench` starts it with a cluster and kwok; `docs/benchmarks.md` explains each number.
//! It measures a real operator in a process of its own. What it makes in the cluster goes at the end, also after a failure.

#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::duration_suboptimal_units,
    clippy::redundant_closure_for_method_calls,
    clippy::struct_field_names,
    reason = "it writes as people do, counts far below what a float can hold, and shares the tests' harness"
)]

mod bare;
mod board;
mod ground;
mod measure;
mod report;
#[path = "../shared/mod.rs"]
mod shared;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use futures::FutureExt;
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};

use ground::Ground;
use report::{Row, report};

/// What to measure, and how much of it.
#[derive(Parser)]
struct Settings {
    /// How much is measured; each size can be set apart.
    #[arg(long, env = "BENCH", value_enum, default_value_t = Size::Full)]
    size: Size,

    /// Relocations at once, and how often, as in `50x3,200x2,500x1`.
    #[arg(long, env = "BENCH_LOADS", value_delimiter = ',', value_parser = a_load)]
    loads: Vec<(usize, usize)>,

    /// How many rounds of four runs the time between two steps is taken from.
    #[arg(long, env = "BENCH_ROUNDS")]
    rounds: Option<usize>,

    /// How many relocations are kept in memory; 0 leaves this out.
    #[arg(long, env = "BENCH_RELOCATIONS")]
    relocations: Option<usize>,

    /// How often the operator is started again with them.
    #[arg(long, env = "BENCH_RESTARTS")]
    restarts: Option<usize>,

    /// Where the report is written.
    #[arg(long, env = "BENCH_RECORD")]
    record: Option<PathBuf>,

    /// The program that plays pods.
    #[arg(long, env = "KWOK", default_value = "kwok")]
    kwok: PathBuf,

    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    /// What is recorded: about 12 minutes on two cores.
    Full,
    /// A trial: about 3 minutes.
    Quick,
}

fn a_load(text: &str) -> Result<(usize, usize), String> {
    let (relocations, times) = text.split_once('x').unwrap_or((text, "1"));
    match (relocations.parse(), times.parse()) {
        (Ok(relocations), Ok(times)) if relocations > 0 && times > 0 => Ok((relocations, times)),
        _ => Err("a load is like 200 or 200x2: 200 relocations at once, twice".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let client = Client::try_default().await.expect("a kubeconfig; `make bench` brings one");
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, namespace] = arguments.as_slice()
        && command == "keep"
    {
        bare::keep(client, namespace).await;
        return ExitCode::SUCCESS;
    }
    let settings = Settings::parse();
    let ground = Ground::prepare(client, &settings.kwok, Path::new(env!("CARGO_TARGET_TMPDIR"))).await;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate()).expect("signals can be listened to"),
        signal(SignalKind::interrupt()).expect("signals can be listened to"),
    );
    let outcome = tokio::select! {
        outcome = AssertUnwindSafe(measure_all(&ground, &settings)).catch_unwind() => Some(outcome),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let report = match outcome {
        Some(Ok(report)) => report,
        Some(Err(panic)) => {
            ground.clear().await;
            resume_unwind(panic);
        }
        None => {
            ground.clear().await;
            eprintln!("stopped; what the benchmark had made in the cluster is being deleted");
            return ExitCode::FAILURE;
        }
    };
    ground.clear().await;
    println!("\n{report}");
    if let Some(path) = &settings.record {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder for the report");
        std::fs::write(path, report).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        println!("written to {}", path.display());
    }
    ExitCode::SUCCESS
}

async fn measure_all(ground: &Ground, settings: &Settings) -> String {
    let quick = settings.size == Size::Quick;
    let rounds = settings.rounds.unwrap_or(if quick { 2 } else { 8 });
    let relocations = settings.relocations.unwrap_or(if quick { 1_000 } else { 10_000 });
    let restarts = settings.restarts.unwrap_or(if quick { 1 } else { 3 });
    let loads = match settings.loads.as_slice() {
        [] if quick => &[(50, 1)],
        [] => &[(50, 3), (200, 2), (500, 1)][..],
        chosen => chosen,
    };
    let mut rows: Vec<Row> = Vec::new();
    println!("API writes of one run");
    rows.push(measure::writes(ground).await);
    println!("recording what the bare client does");
    let script = bare::record(ground, |plan| plan).await;
    println!("time between two steps: {rounds} rounds of four runs each");
    rows.extend(measure::gap(ground, &script, rounds).await);
    if relocations > 0 {
        println!("memory and restart: {relocations} relocations, {restarts} times");
        rows.extend(measure::keep(ground, &script, relocations, restarts).await);
    }
    for (relocations, times) in loads {
        println!("throughput: {relocations} relocations at once, {times} times");
        rows.extend(measure::load(ground, &script, *relocations, *times).await);
    }
    let sizes = format!("{rounds} rounds, {relocations} relocations kept, {restarts} restarts, loads {loads:?}");
    report(&ground.client, &settings.kwok, &sizes, &rows).await
}
