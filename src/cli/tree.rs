//! `status` as text: a header, the sentence, the tree, what is possible now, and the last events. Pure.

use anstyle::Style;
use k8s_openapi::jiff::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::ages;
use super::progress::{Progress, grouped};
use super::table::{Cell, Table};
use super::terminal::{BAD, FAINT, STRONG, WAITING, harmless, status_style, styled, work_style};
use super::view::{LaunchView, PodView, StepView, TaskView, View};
use crate::api::{StatusValue, Step, WorkState};

/// How much is shown, and how wide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    /// The time now.
    pub now: Timestamp,
    /// How many columns there are; nothing where lines may be as long as they are.
    pub width: Option<usize>,
    /// Whether finished tasks are unfolded too, and nodes shown.
    pub wide: bool,
}

/// The columns of an age.
const AGE_WIDTH: usize = 7;

/// The whole picture.
pub(super) fn picture(view: &View, canvas: Canvas) -> String {
    let mut text = header(view, canvas);
    for line in wrap(&harmless(&view.sentence), canvas.width) {
        text.push_str(&line);
        text.push('\n');
    }
    if let Some(late) = &view.late {
        text.push_str(&styled(&harmless(late), WAITING));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&tree(view, canvas));
    if !view.actions.is_empty() {
        text.push_str(&title("possible now"));
        text.push_str(&actions(view, canvas));
    }
    if !view.events.is_empty() {
        text.push_str(&title("last events"));
        text.push_str(&events(view, canvas));
    }
    if !view.remarks.is_empty() {
        text.push('\n');
        for remark in &view.remarks {
            text.push_str(&styled(&harmless(remark), FAINT));
            text.push('\n');
        }
    }
    text
}

/// What is so, a line each, for a reader who is no terminal and wants to know what has changed.
pub(super) fn facts(view: &View) -> Vec<String> {
    let value = view.status.map_or("NEW", StatusValue::as_str);
    let step = view.step.map(|step| format!(" {step}")).unwrap_or_default();
    let mut facts = Vec::new();
    for step in &view.steps {
        for task in &step.tasks {
            let place =
                if step.name == Step::Completed { task.name.clone() } else { format!("{}/{}", step.name, task.name) };
            facts.extend(task.launches.iter().flat_map(|launch| launch_facts(&place, launch)));
        }
    }
    facts.extend(view.late.as_deref().map(harmless));
    facts.push(format!("{value}{step}: {}", harmless(&view.sentence)));
    facts.extend(view.remarks.iter().map(|remark| harmless(remark)));
    facts
}

fn launch_facts(place: &str, launch: &LaunchView) -> Vec<String> {
    let attempt = format!("{place}, attempt {}", launch.attempt);
    let reason = launch.reason.as_deref().map(|reason| format!(": {}", harmless(reason))).unwrap_or_default();
    let mut facts = vec![format!("{attempt}: Job {} {}{reason}", launch.job, word(launch.state))];
    for pod in &launch.pods {
        let said = pod.message.as_deref().map(|said| format!(": {}", harmless(said))).unwrap_or_default();
        facts.push(format!("{attempt}: pod {} {}{said}", pod.name, harmless(&pod.phase)));
        // Every tenth is news enough for a log.
        facts.extend(pod.progress.as_ref().and_then(Progress::tenths).map(|tenths| format!("{attempt}: {tenths}0 %")));
    }
    facts
}

fn header(view: &View, canvas: Canvas) -> String {
    let value = view.status.map_or("NEW", StatusValue::as_str);
    let age = view.created_at.map(|created| format!(", {} old", ages::since(created, canvas.now))).unwrap_or_default();
    let took = match (view.started_at, view.finished_at) {
        (Some(started), Some(finished)) => format!(", took {}", ages::short(finished.duration_since(started))),
        _ => String::new(),
    };
    let about = format!("plan {}, owner {}{age}{took}", harmless(&view.plan), harmless(&view.owner));
    format!(
        "{}  {}  {}\n",
        styled(&view.name, STRONG),
        styled(value, status_style(view.status).bold()),
        styled(
            &cut(&about, canvas.width.map(|width| width.saturating_sub(view.name.width() + value.width() + 4))),
            FAINT
        )
    )
}

fn title(text: &str) -> String {
    format!("\n{}\n", styled(text, FAINT))
}

fn actions(view: &View, canvas: Canvas) -> String {
    let longest = view.actions.iter().map(|offer| offer.command.width()).max().unwrap_or(0);
    let mut text = String::new();
    for offer in &view.actions {
        let padding = " ".repeat(longest - offer.command.width() + 3);
        let room = canvas.width.map(|width| width.saturating_sub(longest + 5));
        let effect = if room == Some(0) { String::new() } else { cut(&offer.effect, room) };
        text.push_str(&format!("  {}{padding}{}\n", offer.command, styled(&effect, FAINT)));
    }
    text
}

fn events(view: &View, canvas: Canvas) -> String {
    let mut table = Table::new(&["", "", ""]);
    let reasons = view.events.iter().map(|event| event.reason.width()).max().unwrap_or(0);
    let room = canvas.width.map(|width| width.saturating_sub(2 + AGE_WIDTH + 3 + reasons + 3));
    for event in &view.events {
        let age = event.at.map(|at| ages::since(at, canvas.now)).unwrap_or_default();
        let style = if event.warning { BAD } else { Style::new() };
        table.row(vec![
            Cell::new(&format!("  {age}"), FAINT),
            Cell::new(&event.reason, style),
            Cell::from(cut(&harmless(&event.note), room)),
        ]);
    }
    table.render(false)
}

/// A line of the tree.
struct Row {
    /// The lines that lead to it.
    branch: String,
    symbol: &'static str,
    style: Style,
    name: String,
    age: String,
    info: String,
    /// Stands below the name instead of behind it.
    below: Option<(String, String)>,
}

impl Row {
    fn width(&self) -> usize {
        self.branch.width() + self.symbol.width() + 1 + self.name.width()
    }
}

fn tree(view: &View, canvas: Canvas) -> String {
    let rows: Vec<Row> = view.steps.iter().flat_map(|step| step_rows(step, canvas)).collect();
    let names = rows.iter().map(Row::width).max().unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        let padding = " ".repeat(names - row.width() + 2);
        let age = format!("{:<AGE_WIDTH$}", row.age);
        let room = canvas.width.map(|width| width.saturating_sub(names + 2 + AGE_WIDTH));
        // What waits for a person, or has failed, is not beside the point.
        let info_style = if row.style == WAITING || row.style == BAD { Style::new() } else { FAINT };
        let line = format!(
            "{}{} {}{padding}{age}{}",
            styled(&row.branch, FAINT),
            styled(row.symbol, row.style),
            row.name,
            styled(&cut(&row.info, room), info_style)
        );
        text.push_str(line.trim_end());
        text.push('\n');
        if let Some((branch, below)) = &row.below {
            text.push_str(&format!("{}{below}\n", styled(branch, FAINT)));
        }
    }
    text
}

const fn word(state: WorkState) -> &'static str {
    match state {
        WorkState::Pending => "waits",
        WorkState::Running => "runs",
        WorkState::Succeeded => "has succeeded",
        WorkState::Failed => "has failed",
        WorkState::Skipped => "had nothing to do",
    }
}

const fn symbol(state: WorkState) -> &'static str {
    match state {
        WorkState::Pending => "○",
        WorkState::Running => "●",
        WorkState::Succeeded => "✔",
        WorkState::Failed => "✖",
        WorkState::Skipped => "–",
    }
}

fn step_rows(step: &StepView, canvas: Canvas) -> Vec<Row> {
    let mut info = Vec::new();
    if step.paused {
        info.push("paused here".to_owned());
    }
    info.extend(step.mark.map(str::to_owned));
    if step.passed_through {
        info.push("nothing to do".to_owned());
    }
    let name = if step.name == Step::Completed { "when it has ended".to_owned() } else { step.name.to_string() };
    let mut rows = vec![Row {
        branch: String::new(),
        symbol: if step.paused { "‖" } else { symbol(step.state) },
        style: if step.paused { WAITING } else { work_style(step.state) },
        name,
        age: age(step.started_at, step.finished_at, step.state, canvas.now),
        info: info.join(", "),
        below: None,
    }];
    // What has not begun is not unfolded: its tasks are listed in a line.
    if step.state == WorkState::Pending && !canvas.wide {
        let names: Vec<&str> = step.tasks.iter().map(|task| task.name.as_str()).collect();
        if !names.is_empty() {
            let listed = names.join(", ");
            rows[0].info = if rows[0].info.is_empty() { listed } else { format!("{}; {listed}", rows[0].info) };
        }
        return rows;
    }
    for (place, task) in step.tasks.iter().enumerate() {
        rows.extend(task_rows(task, place + 1 == step.tasks.len(), canvas));
    }
    rows
}

fn task_rows(task: &TaskView, is_last: bool, canvas: Canvas) -> Vec<Row> {
    let (branch, trunk) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    let mut info = Vec::new();
    if task.attempts > 1 || (task.attempts > 0 && task.state != WorkState::Succeeded) {
        let limit = task.attempt_limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        info.push(format!("attempt {}{limit}", task.attempts));
    }
    if let Some(at) = task.next_attempt_at.filter(|at| *at > canvas.now) {
        info.push(format!("again in {}", ages::short(at.duration_since(canvas.now))));
    }
    let code = task.exit_code.filter(|code| *code != 0).map(|code| format!("exit code {code}"));
    let said: Vec<String> = code.into_iter().chain(task.message.as_deref().map(harmless)).collect();
    if !said.is_empty() {
        // While the next attempt runs or waits, this is what the last one ended with.
        let before = if task.state == WorkState::Running { "before: " } else { "" };
        info.push(format!("{before}{}", said.join(", ")));
    }
    let counts: Vec<String> = task
        .counts
        .iter()
        .map(|(name, count)| {
            format!("{} {}", u64::try_from(*count).map_or_else(|_| count.to_string(), grouped), harmless(name))
        })
        .collect();
    if !counts.is_empty() {
        info.push(counts.join(", "));
    }
    let started = task.launches.iter().filter_map(|launch| launch.started_at).min();
    let finished = task.launches.iter().filter_map(|launch| launch.finished_at).max();
    let mut rows = vec![Row {
        branch: branch.to_owned(),
        symbol: symbol(task.state),
        style: work_style(task.state),
        name: task.name.clone(),
        age: age(started, finished.filter(|_| task.state != WorkState::Running), task.state, canvas.now),
        info: info.join("; "),
        below: None,
    }];
    // What went well is folded.
    let folded = matches!(task.state, WorkState::Succeeded | WorkState::Skipped) && !canvas.wide;
    if folded {
        return rows;
    }
    for (place, launch) in task.launches.iter().enumerate() {
        rows.extend(launch_rows(launch, trunk, place + 1 == task.launches.len(), canvas));
    }
    rows
}

fn launch_rows(launch: &LaunchView, trunk: &str, is_last: bool, canvas: Canvas) -> Vec<Row> {
    let (branch, deeper) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    let mut info = vec![format!("Job {}", launch.job)];
    info.extend(launch.reason.as_deref().map(harmless));
    if canvas.wide && launch.launch > 0 {
        info.push(format!("fencing token {}", launch.launch));
    }
    let mut rows = vec![Row {
        branch: format!("{trunk}{branch}"),
        symbol: symbol(launch.state),
        style: work_style(launch.state),
        name: format!("attempt {}", launch.attempt),
        age: age(launch.started_at, launch.finished_at, launch.state, canvas.now),
        info: info.join(", "),
        below: None,
    }];
    for (place, pod) in launch.pods.iter().enumerate() {
        rows.push(pod_row(pod, &format!("{trunk}{deeper}"), place + 1 == launch.pods.len(), canvas));
    }
    rows
}

fn pod_row(pod: &PodView, trunk: &str, is_last: bool, canvas: Canvas) -> Row {
    let (branch, deeper) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    let mut info = vec![pod.name.clone(), harmless(&pod.phase)];
    if let Some(code) = pod.exit_code.filter(|code| *code != 0) {
        info.push(format!("exit code {code}"));
    }
    if canvas.wide {
        info.extend(pod.node.as_ref().map(|node| format!("on {node}")));
    }
    info.extend(pod.message.as_deref().map(harmless));
    let below = pod.progress.as_ref().map(|progress| {
        let trunk = format!("{trunk}{deeper}");
        let room = canvas.width.unwrap_or(100).saturating_sub(trunk.width());
        let bar = progress.render(room);
        (trunk, bar)
    });
    Row {
        branch: format!("{trunk}{branch}"),
        symbol: symbol(pod.state),
        style: work_style(pod.state),
        name: "pod".to_owned(),
        age: age(pod.started_at, pod.finished_at, pod.state, canvas.now),
        info: info.join(", "),
        below,
    }
}

/// How long it took, or has taken so far.
fn age(started: Option<Timestamp>, finished: Option<Timestamp>, state: WorkState, now: Timestamp) -> String {
    match (started, finished, state) {
        (Some(started), Some(finished), _) => ages::short(finished.duration_since(started)),
        (Some(started), None, WorkState::Running) => ages::since(started, now),
        _ => String::new(),
    }
}

/// The text, cut where the room ends.
fn cut(text: &str, room: Option<usize>) -> String {
    let Some(room) = room.filter(|room| text.width() > *room) else { return text.to_owned() };
    let mut used = 0;
    let mut kept = String::new();
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used + 1 > room {
            break;
        }
        kept.push(character);
    }
    if room > 0 {
        kept.push('…');
    }
    kept
}

/// The text in lines that are not wider than the terminal, broken between words.
fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width.filter(|width| *width >= 20) else { return vec![text.to_owned()] };
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests;
