//! What is measured, each number next to the bare client's of the same minutes.

use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use relocation_operator::api::{Relocation, Step};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::bare::{Script, record};
use crate::board::Board;
use crate::ground::{Ground, OPEN_REQUESTS, for_each, run_name, usage_of};
use crate::report::Row;
use crate::shared::median;
use crate::support::{Operator, a_relocation, is_write_of_an_operator};

/// How long all of one load may take, or the operator's first look at everything.
const DEADLINE: Duration = Duration::from_mins(5);

/// How many relocations run at once when the time between two steps is measured: far from any load, and four times
/// as many samples in the same time.
const SAMPLED_AT_ONCE: usize = 4;

/// How far apart they start, so that they do not move in step.
const STAGGER: Duration = Duration::from_millis(250);

/// Who does the work.
#[derive(Clone, Copy)]
pub enum Worker<'s> {
    Operator,
    Bare(&'s Script),
}

/// API writes of one run of six steps with a workspace, as the API server counts them.
pub async fn writes(ground: &Ground) -> Row {
    let script = record(ground, |plan| plan.with(json!({ "workspace": { "storage": "1Mi" } }))).await;
    let counted = script.counted.only(is_write_of_an_operator);
    // The creation of the relocation is ours.
    let writes = counted.total() - 1;
    println!("  the API server counted {counted:?}, and {} events", script.events());
    Row::at_most("API writes of a run of six steps, with a workspace, events apart", 20.0, writes as f64, "")
        .beside(Step::WORKING.len() as f64)
}

/// The time from a Job's end to the next Job, nothing else going on.
pub async fn gap(ground: &Ground, script: &Script, rounds: usize) -> [Row; 2] {
    let mut gaps = [Vec::new(), Vec::new()];
    for half in 0..2 {
        for (worker, gaps) in [Worker::Operator, Worker::Bare(script)].into_iter().zip(&mut gaps) {
            let field = Field::open(ground, worker).await;
            for round in 0..rounds.div_ceil(2) {
                let runs = (0..SAMPLED_AT_ONCE).map(async |number| {
                    sleep(STAGGER * u32::try_from(number).expect("four")).await;
                    field.run((half * rounds + round) * SAMPLED_AT_ONCE + number).await;
                });
                join_all(runs).await;
                field.board.all_finished((round + 1) * SAMPLED_AT_ONCE * Step::WORKING.len()).await;
            }
            gaps.extend(field.board.gaps().iter().map(|gap| gap.as_secs_f64() * 1000.0));
            field.close();
        }
    }
    for gaps in &mut gaps {
        gaps.sort_by(f64::total_cmp);
    }
    println!("  {} gaps", gaps[0].len());
    let at = |gaps: &[f64], share: f64| gaps[((gaps.len() - 1) as f64 * share).round() as usize];
    [
        Row::told("a Job's end stored → next Job created, idle, p50", at(&gaps[0], 0.5), " ms")
            .beside(at(&gaps[1], 0.5)),
        Row::at_most("a Job's end stored → next Job created, idle, p99", 50.0, at(&gaps[0], 0.99), " ms")
            .beside(at(&gaps[1], 0.99)),
    ]
}

/// Steps per second with so many relocations at once.
pub async fn load(ground: &Ground, script: &Script, relocations: usize, times: usize) -> Vec<Row> {
    let silent = script.without_events();
    let workers = [Worker::Operator, Worker::Bare(script), Worker::Bare(&silent)];
    let mut loads: [Vec<Load>; 3] = Default::default();
    for time in 0..times {
        // Everyone comes first as often as last.
        for turn in 0..workers.len() {
            let turn = if time % 2 == 0 { turn } else { workers.len() - 1 - turn };
            let load = one_load(ground, workers[turn], relocations).await;
            println!(
                "  {} {:.1} steps/s, {:.1} ms of its own CPU a run, {:.0} MiB",
                ["operator", "bare client", "bare client without events"][turn],
                load.steps_per_second,
                load.cpu_milliseconds,
                load.resident_mib
            );
            loads[turn].push(load);
        }
    }
    let of = |turn: usize, value: fn(&Load) -> f64| median(loads[turn].iter().map(value));
    let speed = |load: &Load| load.steps_per_second;
    let processor = |load: &Load| load.cpu_milliseconds;
    vec![
        Row::share(&format!("steps per second, {relocations} relocations at once"), 0.8, of(0, speed), " /s")
            .beside(of(1, speed)),
        Row::told("the same beside a bare client that tells no events", of(0, speed), " /s").beside(of(2, speed)),
        Row::told("the process' own CPU of a run in it", of(0, processor), " ms").beside(of(1, processor)),
        Row::told("API reads of a run in it", of(0, |load| load.reads), "").beside(0.0),
        Row::told("resident memory at its end", of(0, |load| load.resident_mib), " MiB"),
    ]
}

struct Load {
    steps_per_second: f64,
    cpu_milliseconds: f64,
    resident_mib: f64,
    reads: f64,
}

async fn one_load(ground: &Ground, worker: Worker<'_>, relocations: usize) -> Load {
    let field = Field::open(ground, worker).await;
    let steps = relocations * Step::WORKING.len();
    let (before, start) = (field.usage(), Instant::now());
    let work = async { join_all((0..relocations).map(|number| field.run(number))).await };
    let finished = async {
        field.board.all_finished(steps).await;
        start.elapsed()
    };
    let (_, elapsed) = timeout(DEADLINE, async { tokio::join!(work, finished) }).await.expect("the load ends in time");
    let mut reads = 0;
    if let Some(operator) = &field.operator {
        counted_by(operator, r#"relocation_count{status="SUCCESS""#, relocations).await;
        let requests = counted_by(operator, "relocation_api_requests_total", 0).await;
        let of_a_run = |(labels, count): &(String, usize)| {
            // {verb="get",resource="jobs",code="200"}
            let words: Vec<_> = labels.split('"').collect();
            format!("{} {} {:.1}", words[1], words[3], *count as f64 / relocations as f64)
        };
        println!("  requests of a run: {}", requests.iter().map(of_a_run).collect::<Vec<_>>().join(", "));
        let is_read = |labels: &str| labels.contains(r#"verb="get""#) || labels.contains(r#"verb="list""#);
        reads = requests.iter().filter(|(labels, _)| is_read(labels)).map(|(_, count)| count).sum();
    }
    let after = field.usage();
    let relocations = relocations as f64;
    field.close();
    Load {
        steps_per_second: steps as f64 / elapsed.as_secs_f64(),
        cpu_milliseconds: (after.cpu_seconds - before.cpu_seconds) * 1000.0 / relocations,
        resident_mib: after.resident_mib,
        reads: reads as f64 / relocations,
    }
}

/// A namespace where relocations run, by an operator or by the bare client.
struct Field<'g> {
    ground: &'g Ground,
    namespace: String,
    worker: Worker<'g>,
    operator: Option<Operator>,
    board: Board,
    requests: Semaphore,
}

impl<'g> Field<'g> {
    async fn open(ground: &'g Ground, worker: Worker<'g>) -> Self {
        let namespace = ground.namespace().await;
        let operator = match worker {
            Worker::Operator => {
                let operator = Operator::start(&namespace, None).await;
                ground.create_plan(&namespace, |plan| plan).await;
                Some(operator)
            }
            Worker::Bare(_) => None,
        };
        let board = Board::of(&ground.client, &namespace);
        Self { ground, namespace, worker, operator, board, requests: Semaphore::new(OPEN_REQUESTS) }
    }

    /// Starts one relocation; the bare client also works it to its end.
    async fn run(&self, number: usize) {
        let relocation = {
            let _open = self.requests.acquire().await.expect("it is never closed");
            self.ground.create(&self.namespace, a_relocation(&run_name(number))).await
        };
        if let Worker::Bare(script) = self.worker {
            script.replay(&self.ground.client, &self.requests, &self.board, &relocation).await;
        }
    }

    /// The use of the worker's process. The bare client is this one, with its board.
    fn usage(&self) -> crate::ground::Usage {
        usage_of(self.operator.as_ref().map_or_else(std::process::id, Operator::pid))
    }

    fn close(self) {
        if let Some(operator) = self.operator {
            operator.kill();
        }
    }
}

/// Memory with so many relocations that have succeeded, and the time from a start to the first write for a new one.
pub async fn keep(ground: &Ground, script: &Script, relocations: usize, restarts: usize) -> [Row; 3] {
    let namespace = &ground.namespace().await;
    let operator = Operator::start(namespace, None).await;
    ground.create_plan(namespace, |plan| plan).await;
    operator.kill();
    let requests = Semaphore::new(OPEN_REQUESTS);
    for_each(relocations, async |number| {
        let relocation = ground.create(namespace, a_relocation(&run_name(number))).await;
        script.finish(&ground.client, &requests, &relocation).await;
    })
    .await;
    println!("  {relocations} relocations that have succeeded are there");
    let (mut first, mut settled, mut resident) = ([Vec::new(), Vec::new()], Vec::new(), [Vec::new(), Vec::new()]);
    for restart in 0..restarts {
        let name = format!("zz-operator-{restart}");
        ground.create(namespace, a_relocation(&name)).await;
        let start = Instant::now();
        let operator = Operator::spawn(namespace, None).await;
        first[0].push(first_effect(ground, namespace, &name, start).await);
        let passes = counted_by(&operator, "relocation_reconcile_total", relocations).await;
        settled.push(start.elapsed().as_secs_f64());
        resident[0].push(usage_of(operator.pid()).resident_mib);
        println!("  {passes:?}");
        operator.kill();

        let name = format!("zz-bare-{restart}");
        ground.create(namespace, a_relocation(&name)).await;
        let start = Instant::now();
        let mut keeper = Keeper::start(namespace);
        first[1].push(first_effect(ground, namespace, &name, start).await);
        keeper.has_listed().await;
        resident[1].push(usage_of(keeper.0.id().expect("it lives")).resident_mib);
        println!(
            "  operator: first effect {:.2} s, all seen {:.2} s, {:.0} MiB; bare client: {:.2} s, {:.0} MiB",
            first[0][restart], settled[restart], resident[0][restart], first[1][restart], resident[1][restart]
        );
    }
    let median = |values: &[f64]| median(values.iter().copied());
    [
        Row::at_most(&format!("resident memory with {relocations} relocations"), 100.0, median(&resident[0]), " MiB")
            .beside(median(&resident[1])),
        Row::at_most(&format!("restart with {relocations} → first effect"), 5.0, median(&first[0]), " s")
            .beside(median(&first[1])),
        Row::told(&format!("restart with {relocations} → each looked at"), median(&settled), " s"),
    ]
}

/// The seconds from `start` to the first status of a relocation whose name sorts after all others, so that it is listed last.
async fn first_effect(ground: &Ground, namespace: &str, name: &str, start: Instant) -> f64 {
    let has_status = |relocation: &Relocation| relocation.status.as_ref().is_some_and(|status| status.status.is_some());
    ground.wait_until(namespace, name, has_status, DEADLINE).await;
    start.elapsed().as_secs_f64()
}

/// Waits until the operator's own metrics of this name add up to so many; gives them back by their labels.
async fn counted_by(operator: &Operator, name: &str, wanted: usize) -> Vec<(String, usize)> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let page = operator.page("/metrics").await.unwrap_or_default();
        let lines = page.lines().filter_map(|line| line.strip_prefix(name));
        let counts: Vec<(String, usize)> = lines
            .filter_map(|line| {
                let (labels, count) = line.rsplit_once(' ')?;
                Some((labels.to_owned(), count.parse().ok()?))
            })
            .collect();
        let sum: usize = counts.iter().map(|(_, count)| count).sum();
        if sum >= wanted {
            return counts;
        }
        assert!(Instant::now() < deadline, "{name}: {sum} instead of {wanted}\n{}", operator.log_tail());
        sleep(Duration::from_millis(500)).await;
    }
}

/// The bare client's process that keeps the relocations in memory; killed when it is dropped.
struct Keeper(Child);

impl Keeper {
    fn start(namespace: &str) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new(program);
        command.args(["keep", namespace]).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        Self(command.spawn().expect("this program starts"))
    }

    async fn has_listed(&mut self) {
        let mut said = String::new();
        let mut lines = BufReader::new(self.0.stdout.as_mut().expect("it is piped"));
        let read = timeout(DEADLINE, lines.read_line(&mut said)).await.expect("it lists in time");
        assert!(read.is_ok() && said == "ready\n", "the bare client said {said:?}");
    }
}
