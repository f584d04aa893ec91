//! The tables: a section for each case, with its goals and the machine it was measured on.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cases::{CASES, Case};
use crate::measure::{Ground, Run, Took};
use crate::shared::{machine, median, said_by};
use crate::tools::{Kind, Tool};
use crate::{Settings, Size};

/// What the file begins with.
const HEAD: &str = "# What the porter's benchmark measured\n\nWritten by `make bench-porter-record`; [benchmarks.md](../benchmarks.md#the-porter) explains each column.\nEach section is of the run that it names.\n";
/// At most this share of rclone's memory.
const SHARE_OF_MEMORY: f64 = 0.25;

/// One case's part of the report.
pub struct Section {
    pub title: String,
    pub text: String,
}

/// The tables of a case.
pub fn section(ground: &Ground, settings: &Settings, case: Case, rounds: usize, runs: &[Run]) -> Section {
    let title = case.title(settings.size);
    let mut text = format!("## {title}\n\n");
    text.push_str("| tool | time | fastest to slowest | without verification | CPU | largest process | requests |\n");
    text.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    let of = |tool: Tool| -> Vec<&Run> { runs.iter().filter(|run| run.tool == tool).collect() };
    for tool in Tool::ALL {
        let runs = of(tool);
        if runs.is_empty() {
            continue;
        }
        let all = |value: fn(&Run) -> f64| runs.iter().map(move |run| value(run));
        let (least, most) = (all(Run::seconds).fold(f64::MAX, f64::min), all(Run::seconds).fold(0.0, f64::max));
        let _ = writeln!(
            text,
            "| {} | {} s | {} to {} s | {} s | {} s | {:.0} MiB | {:.0} |",
            tool.title(),
            digits(median(all(Run::seconds))),
            digits(least),
            digits(most),
            digits(median(all(Run::seconds_of_moving))),
            digits(median(all(Run::cpu_seconds))),
            median(all(Run::peak_mib)),
            median(all(|run| run.requests() as f64)),
        );
    }
    text.push_str(&goals(case, &of));
    text.push_str("\nStep by step:\n\n| tool | step | time | CPU | largest process | requests |\n| --- | --- | ---: | ---: | ---: | ---: |\n");
    for tool in Tool::ALL {
        let runs = of(tool);
        for (number, step) in runs.first().map_or(&[][..], |run| &run.steps).iter().enumerate() {
            let all = |value: fn(&Took) -> f64| median(runs.iter().map(|run| value(&run.steps[number])));
            let _ = writeln!(
                text,
                "| {} | {}{} | {} s | {} s | {:.0} MiB | {:.0} |",
                tool.title(),
                step.name,
                if step.kind == Kind::Verifies { " (verification)" } else { "" },
                digits(all(|step| step.seconds)),
                digits(all(|step| step.cpu_seconds)),
                all(|step| step.peak_mib),
                all(|step| step.requests as f64),
            );
        }
    }
    let caches = if ground.is_cold { "nothing of the data in memory" } else { "what was read before still in memory" };
    let _ = write!(
        text,
        "\n- {rounds} rounds, each begun with {caches}\n- machine: {}; {}\n- date: {}\n- {}, {}, {}, relocation-operator {} ({}), {}\n",
        machine(),
        disk(&settings.folder),
        said_by("date", &["--utc", "+%Y-%m-%d %H:%M UTC"]),
        said_by(&settings.rclone.to_string_lossy(), &["version"]),
        said_by("rsync", &["--version"]).split("  ").take(2).collect::<Vec<_>>().join(" "),
        said_by("restic", &["version"]).split(" compiled").next().unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
        ground.commit,
        said_by("uname", &["-sr"]),
    );
    Section { title, text }
}

/// Whether the porter is as fast as the fastest that does the same, and has a quarter of rclone's memory.
fn goals<'a>(case: Case, of: &impl Fn(Tool) -> Vec<&'a Run>) -> String {
    let median_of = |tool: Tool, value: fn(&Run) -> f64| median(of(tool).into_iter().map(value));
    let others = || Tool::ALL.into_iter().filter(|tool| *tool != Tool::Porter && !of(*tool).is_empty());
    let seconds = |tool: &Tool| median_of(*tool, Run::seconds);
    let mut text = "\n| goal | porter | bound | met |\n| --- | ---: | ---: | --- |\n".to_owned();
    let met = |is_met: bool| if is_met { "yes" } else { "**no**" };
    let rivals = others().filter(|tool| tool.does_the_same(case));
    if let Some(fastest) = rivals.min_by(|one, other| seconds(one).total_cmp(&seconds(other))) {
        let (ours, bound) = (seconds(&Tool::Porter), seconds(&fastest));
        let _ = writeln!(
            text,
            "| not slower than the fastest that does the same ({}) | {} s | {} s | {} |",
            fastest.title(),
            digits(ours),
            digits(bound),
            met(ours <= bound)
        );
    }
    let peak = |tool: &Tool| median_of(*tool, Run::peak_mib);
    if let Some(rclone) = others().find(|tool| *tool == Tool::Rclone) {
        let (ours, bound) = (peak(&Tool::Porter), peak(&rclone) * SHARE_OF_MEMORY);
        let _ = writeln!(
            text,
            "| at most a quarter of rclone's memory | {ours:.0} MiB | {bound:.0} MiB | {} |",
            met(ours <= bound)
        );
    }
    text
}

/// Writes the sections into a file, in the order of the cases; sections of the same sizes that are there and were not measured now stay.
pub fn write(path: &Path, sections: &[Section], size: Size) {
    let earlier = fs::read_to_string(path).unwrap_or_default();
    let mut text = HEAD.to_owned();
    for case in CASES {
        let title = case.title(size);
        let heading = format!("## {title}\n");
        let kept = || {
            let start = earlier.find(&heading)?;
            let rest = &earlier[start..];
            let end = rest[heading.len()..].find("\n## ").map_or(rest.len(), |at| heading.len() + at + 1);
            Some(rest[..end].to_owned())
        };
        let measured = sections.iter().find(|section| section.title == title).map(|section| section.text.clone());
        if let Some(section) = measured.or_else(kept) {
            let _ = write!(text, "\n{}\n", section.trim_end());
        }
    }
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder for the report");
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// As many digits as mean something.
fn digits(number: f64) -> String {
    if number >= 100.0 { format!("{number:.0}") } else { format!("{number:.3}")[..4].trim_end_matches('.').to_owned() }
}

/// What the data lie on.
fn disk(folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    let said = Command::new("df").args(["--output=source,fstype", &folder]).output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let words: Vec<&str> = said.lines().nth(1).unwrap_or("?").split_whitespace().collect();
    format!("all data on {}", words.join(", "))
}
