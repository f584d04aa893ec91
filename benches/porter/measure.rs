//! One run after the other, each command under `time`, which tells what the kernel counted for it and its children.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Settings;
use crate::cases::{Case, Data, End};
use crate::data::{assert_same, make};
use crate::server::Server;
use crate::shared::said_by;
use crate::tools::{Kind, Places, Tool, fill_bucket, flush, make_repository};

/// Where the kernel is told to forget what it has read.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// An ext4 without a journal gives the inode of a removed file to no other for a minute or more, and whoever makes files meanwhile waits for it to pass over each of those.
/// So small files are not removed between two runs, and nobody begins before this time is over.
const FORGOTTEN: Duration = Duration::from_mins(2);

/// The folder of the data, and a server over a folder beside them.
pub struct Ground {
    pub folder: PathBuf,
    pub server: Server,
    /// Whether each run starts with nothing of the data in memory. Only root can see to that; else everything is warm for all.
    pub is_cold: bool,
    /// The commit that was built, as it was when this started.
    pub commit: String,
}

/// What one command took.
#[derive(Debug, Clone)]
pub struct Took {
    pub name: &'static str,
    pub kind: Kind,
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// Of the largest process.
    pub peak_mib: f64,
    pub requests: usize,
}

/// What one tool took for one move.
#[derive(Debug, Clone)]
pub struct Run {
    pub tool: Tool,
    pub steps: Vec<Took>,
}

impl Ground {
    /// Makes what is not there yet, and removes what an earlier run has left.
    pub fn prepare(settings: &Settings) -> Self {
        let folder = settings.folder.clone();
        let work = folder.join("work");
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work).unwrap();
        let server = Server::start_in(&work);
        let is_cold = fs::OpenOptions::new().write(true).open(DROP_CACHES).is_ok();
        Self { folder, server, is_cold, commit: said_by("git", &["describe", "--always", "--dirty"]) }
    }

    fn work(&self, name: &str) -> PathBuf {
        self.folder.join("work").join(name)
    }

    /// Writes out what is waiting to be written, and forgets what was read.
    fn settle(&self) {
        assert!(Command::new("sync").status().unwrap().success());
        if self.is_cold {
            fs::write(DROP_CACHES, "3").unwrap();
        }
    }

    fn requests(&self) -> usize {
        self.server.all_requests()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.folder.join("work"));
    }
}

/// Moves the data of a case with every tool that can, again and again, in turns.
pub fn case(ground: &Ground, settings: &Settings, case: Case, rounds: usize) -> Vec<Run> {
    let is_chosen = |tool: &Tool| *tool == Tool::Porter || settings.tools.iter().any(|name| name == tool.name());
    let tools: Vec<Tool> = Tool::ALL.into_iter().filter(is_chosen).filter(|tool| tool.can(case)).collect();
    let source =
        ground.folder.join(format!("{}-{}", case.data.word(), if settings.is_quick() { "quick" } else { "full" }));
    make(case.data, settings.size, &source);
    let at = |tool: Tool| places(ground, settings, case, tool, &source);
    if case.from == End::S3 {
        prepare_source(ground, case, &tools, &source, &at);
    }
    if case.data == Data::Small {
        println!("  waiting two minutes, so that nobody pays for files that were removed before");
        std::thread::sleep(FORGOTTEN);
    }
    let mut runs = Vec::new();
    for round in 0..rounds {
        for turn in 0..tools.len() {
            // Everyone comes first as often as last.
            let tool = tools[if round % 2 == 0 { turn } else { tools.len() - 1 - turn }];
            let run = one_run(ground, case, tool, &at(tool), &source);
            println!("  {:<20}{}", tool.title(), run.said());
            runs.push(run);
        }
    }
    let _ = fs::remove_dir_all(ground.work("aside"));
    if case.from == End::S3 {
        empty(&ground.server.bucket("source"));
        let _ = fs::remove_dir_all(ground.work("repository"));
    }
    runs
}

impl Settings {
    pub fn is_quick(&self) -> bool {
        self.size == crate::Size::Quick
    }
}

/// A bucket's place for each tool below its own prefix, and a folder's.
fn places<'a>(ground: &'a Ground, settings: &'a Settings, case: Case, tool: Tool, source: &Path) -> Places<'a> {
    let folder = |path: &Path| path.to_str().expect("a path that can be written").to_owned();
    let repository = |bucket: &str| format!("s3:{}/{bucket}/restic", ground.server.endpoint());
    Places {
        mover: &settings.mover,
        rclone: &settings.rclone,
        server: &ground.server,
        source: if case.from == End::File { folder(source) } else { "source/data".to_owned() },
        target: if case.to == End::File { folder(&ground.work("target")) } else { "target/data".to_owned() },
        scratch: ground.work(tool.name()),
        repository: match (case.from, case.to) {
            (End::S3, _) => repository("source"),
            (End::File, End::S3) => repository("target"),
            (End::File, End::File) => folder(&ground.work("repository")),
        },
    }
}

/// Puts the data into the bucket that is read from: by rclone for all, and as a repository for restic.
fn prepare_source<'a>(ground: &Ground, case: Case, tools: &[Tool], source: &Path, at: &impl Fn(Tool) -> Places<'a>) {
    println!("  filling the bucket that is read from");
    empty(&ground.server.bucket("source"));
    let there =
        Places { source: source.to_str().unwrap().to_owned(), target: "source/data".to_owned(), ..at(Tool::Rclone) };
    fs::create_dir_all(&there.scratch).unwrap();
    assert!(fill_bucket(&there).status().unwrap().success(), "rclone fills the bucket");
    if tools.contains(&Tool::Restic) {
        let there = Places { source: source.to_str().unwrap().to_owned(), ..at(Tool::Restic) };
        fs::create_dir_all(&there.scratch).unwrap();
        assert!(make_repository(&there).status().unwrap().success(), "restic makes its repository");
        let backup = Case { from: End::File, to: End::S3, ..case };
        let mut steps = Tool::Restic.steps(backup, &there);
        assert!(steps[0].command.status().unwrap().success(), "restic fills its repository");
    }
}

fn one_run(ground: &Ground, case: Case, tool: Tool, at: &Places, source: &Path) -> Run {
    let target = match case.to {
        End::File => ground.work("target"),
        End::S3 => ground.server.bucket("target"),
    };
    match case.data {
        Data::Small => put_aside(&target, &ground.work("aside")),
        Data::Large => empty(&target),
    }
    let _ = fs::remove_dir_all(&at.scratch);
    fs::create_dir_all(at.scratch.join("workspace")).unwrap();
    if tool == Tool::Restic && case.from == End::File {
        let _ = fs::remove_dir_all(ground.work("repository"));
        assert!(make_repository(at).status().unwrap().success(), "restic makes its repository");
    }
    let mut steps = tool.steps(case, at);
    ground.settle();
    let mut took = Vec::new();
    let mut last_move = steps.iter().rposition(|step| step.kind == Kind::Moves);
    for (number, step) in steps.iter_mut().enumerate() {
        let before = ground.requests();
        let (seconds, cpu_seconds, peak_mib) = timed(&step.command, &at.scratch, step.must_be_silent);
        let requests = ground.requests() - before;
        took.push(Took { name: step.name, kind: step.kind, seconds, cpu_seconds, peak_mib, requests });
        if last_move == Some(number) {
            last_move = None;
            // The porter's last step of a move ends when all is on the disk; the others' time counts until then, too.
            let (seconds, cpu_seconds, peak_mib) = timed(&flush(&target, at), &at.scratch, false);
            took.push(Took { name: "to the disk", kind: Kind::Moves, seconds, cpu_seconds, peak_mib, requests: 0 });
        }
    }
    match (case.to, tool) {
        // It is in a repository; the case that reads from one compares what comes out of it.
        (End::S3, Tool::Restic) => {}
        (End::S3, _) => assert_same(source, &target.join("data")),
        (End::File, _) => assert_same(source, &target),
    }
    Run { tool, steps: took }
}

/// Runs a command to its end: seconds, seconds of processor time, MiB of its largest process.
fn timed(command: &Command, scratch: &Path, must_be_silent: bool) -> (f64, f64, f64) {
    let (record, said) = (scratch.join("time"), scratch.join("said"));
    // A process that starts another takes its own size along as the least peak, so the small `time` stands between.
    let mut wrapped = Command::new("time");
    wrapped.args(["--quiet", "--format", "%U %S %M", "--output"]).arg(&record);
    wrapped.arg(command.get_program()).args(command.get_args()).env_clear();
    wrapped.envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    let errors = scratch.join("errors");
    wrapped.stdin(Stdio::null()).stdout(fs::File::create(&said).unwrap()).stderr(fs::File::create(&errors).unwrap());
    let start = Instant::now();
    let status = wrapped.status().expect("`time` starts; `make bench-porter` installs it");
    let seconds = start.elapsed().as_secs_f64();
    let said = fs::read_to_string(said).unwrap();
    assert!(
        status.success() && (said.is_empty() || !must_be_silent),
        "{command:?} ended with {status} and said {said:.2000} {:.2000}",
        fs::read_to_string(errors).unwrap()
    );
    let record = fs::read_to_string(record).unwrap();
    let numbers: Vec<f64> = record.split_whitespace().map(|number| number.parse().unwrap()).collect();
    (seconds, numbers[0] + numbers[1], numbers[2] / 1024.0)
}

/// Moves everything in a folder to a new one below `aside`, and keeps the folder, or makes it.
fn put_aside(folder: &Path, aside: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::create_dir_all(aside).unwrap();
    let place = aside.join(fs::read_dir(aside).unwrap().count().to_string());
    fs::create_dir(&place).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), place.join(entry.file_name())).unwrap();
    }
}

/// Removes everything in a folder and keeps the folder, or makes it.
fn empty(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
}

impl Run {
    /// From the start to the end, with the verification.
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum()
    }

    /// Without it.
    pub fn seconds_of_moving(&self) -> f64 {
        self.steps.iter().filter(|step| step.kind == Kind::Moves).map(|step| step.seconds).sum()
    }

    /// All processor time.
    pub fn cpu_seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.cpu_seconds).sum()
    }

    /// The largest process.
    pub fn peak_mib(&self) -> f64 {
        self.steps.iter().map(|step| step.peak_mib).fold(0.0, f64::max)
    }

    /// All requests.
    pub fn requests(&self) -> usize {
        self.steps.iter().map(|step| step.requests).sum()
    }

    fn said(&self) -> String {
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|step| {
                format!(
                    "{} {:.1} s, {:.1} s of CPU, {:.0} MiB",
                    step.name, step.seconds, step.cpu_seconds, step.peak_mib
                )
            })
            .collect();
        format!("{:.1} s: {}", self.seconds(), steps.join("; "))
    }
}
