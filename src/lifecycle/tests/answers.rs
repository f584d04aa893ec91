//! What each edit does in each state, as a page for people: `docs/answers.md`.
//!
//! The judgement, the admission rules and the small world make the page; `UPDATE_EXPECT=1` writes it anew.

use std::fmt::Write;

use expect_test::expect_file;

use super::world::{Answer, Edit, Event, Flaw, Outcome, World};
use crate::api::find_condition;
use crate::api::{AutoPause, ConditionType, DesiredState, LateRequests, RelocationStatus, StatusValue, Step};

/// Passes and seconds within which everything comes to rest.
const PASSES: usize = 200;

const OPENING: &str = "\
# What each edit does in each state

This page is generated from the judgement and the admission rules, and a test compares it.
The plan of these relocations has tasks in UPLOADING, VALIDATING, IMPORTING and NOTIFYING, and none in PREPROCESSING and POSTPROCESSING.

- *refused* is what the API server answers to `kubectl patch` while `lateRequests` is `Refuse` (the default); the object stays as it was.
- With `lateRequests: Report` a request that compares with the state is stored and answered in `status.late` instead; the last column says so where it differs.
- *nothing changes* means that the edit is stored and nothing follows now: a level that is reached already, a token that fits no failure, or a fence, a cancel or a suspend that counts only after a recover.
- A state that is reached (`IN_PROGRESS at IMPORTING`) is told with the message of the condition `Ready`.
- Deleting the relocation works in every state, at once: nothing more starts, and its Jobs and pods go with it.
- Starting over (`retryOf`) is a new object; the states in which it can name this one are FAILURE, whatever the reason.

| state | edit | what happens | with `lateRequests: Report` |
| --- | --- | --- | --- |
";

#[test]
fn the_page_of_answers_is_what_the_judgement_says() {
    let mut page = OPENING.to_owned();
    for state in states() {
        let mut name = state.name;
        for (shown, edit) in edits() {
            let refuse = outcome_of(&state, LateRequests::Refuse, edit);
            let report = outcome_of(&state, LateRequests::Report, edit);
            let report = if report == refuse { "" } else { &report };
            writeln!(page, "| {name} | `{shown}` | {refuse} | {report} |").expect("a string takes everything");
            name = "";
        }
    }
    expect_file!["../../../docs/answers.md"].assert_eq(&page);
}

/// The relocations of the world that the edits are tried on, each in a world of its own.
const ACME: usize = 0;
/// The one on whose way the plan's automatic fence stands.
const FENCED: usize = 1;

/// A way to a state, told by what happens on it.
struct State {
    name: &'static str,
    relocation: usize,
    happens: fn(&mut World),
}

fn states() -> [State; 11] {
    let state = |name, happens| State { name, relocation: ACME, happens };
    let at_the_automatic_fence: fn(&mut World) = |world| work_until(world, FENCED, Step::Importing);
    [
        state("PENDING, its plan is not there", |world| {
            let_happen(world, &Event::PlanVanishes);
            rest(world, ACME);
        }),
        state("IN_PROGRESS in UPLOADING", |world| rest(world, ACME)),
        state("IN_PROGRESS in IMPORTING", |world| work_until(world, ACME, Step::Importing)),
        state("PAUSE before IMPORTING, at the fence", |world| {
            world.edit(ACME, Edit::Pause(Some(Step::Importing)));
            work_until(world, ACME, Step::Importing);
        }),
        State {
            name: "PAUSE before IMPORTING, at the plan's automatic fence",
            relocation: FENCED,
            happens: at_the_automatic_fence,
        },
        state("PAUSE in IMPORTING, suspended", |world| {
            work_until(world, ACME, Step::Importing);
            world.edit(ACME, Edit::Desire(DesiredState::Suspended));
            rest(world, ACME);
        }),
        state("FAILURE in IMPORTING, AttemptsExhausted", |world| {
            work_until(world, ACME, Step::Importing);
            while world.status(ACME).status != Some(StatusValue::Failure) {
                let_happen(world, &Event::Finish { pod: 0, outcome: Outcome::Exit(1) });
                rest(world, ACME);
            }
        }),
        state("FAILURE before IMPORTING, Cancelled", |world| {
            world.edit(ACME, Edit::Cancel(Some(Step::Importing)));
            work_until(world, ACME, Step::Importing);
        }),
        state("FAILURE in IMPORTING, Aborted", |world| {
            work_until(world, ACME, Step::Importing);
            world.edit(ACME, Edit::Desire(DesiredState::Aborted));
            rest(world, ACME);
        }),
        state("FAILURE in IMPORTING, DeadlineExceeded", |world| {
            world.edit(ACME, Edit::Budget(Some(600)));
            work_until(world, ACME, Step::Importing);
            let_happen(world, &Event::Tick { seconds: 601 });
            rest(world, ACME);
        }),
        state("SUCCESS", |world| work_until(world, ACME, Step::Completed)),
    ]
}

fn edits() -> [(&'static str, Edit); 15] {
    [
        ("pauseAtStep: PREPROCESSING", Edit::Pause(Some(Step::Preprocessing))),
        ("pauseAtStep: IMPORTING", Edit::Pause(Some(Step::Importing))),
        ("pauseAtStep: NOTIFYING", Edit::Pause(Some(Step::Notifying))),
        ("pauseAtStep: null", Edit::Pause(None)),
        ("autoPause: Skip", Edit::AutoPause(AutoPause::Skip)),
        ("cancelAtStep: IMPORTING", Edit::Cancel(Some(Step::Importing))),
        ("cancelAtStep: NOTIFYING", Edit::Cancel(Some(Step::Notifying))),
        ("cancelAtStep: null", Edit::Cancel(None)),
        ("desiredState: Suspended", Edit::Desire(DesiredState::Suspended)),
        ("desiredState: Active", Edit::Desire(DesiredState::Active)),
        ("desiredState: Aborted", Edit::Desire(DesiredState::Aborted)),
        ("recover: the id of the failure, and what it needs in the same change", Edit::Recover),
        ("recover: another id", Edit::RecoverAnother),
        ("activeDeadlineSeconds: 36000", Edit::Budget(Some(36_000))),
        ("parameters: changed to one that the plan does not declare", Edit::BadParameter(true)),
    ]
}

/// What an edit does, as a cell of the table.
fn outcome_of(state: &State, late_requests: LateRequests, edit: Edit) -> String {
    let mut world = World::new(Flaw::None);
    let relocation = state.relocation;
    world.edit(relocation, Edit::LateRequests(late_requests));
    (state.happens)(&mut world);
    let before = world.status(relocation);
    let answer = world.edit(relocation, edit);
    rest(&mut world, relocation);
    match answer {
        Answer::Unchanged if edit == Edit::Recover => "there is no failure to recover".to_owned(),
        Answer::Unchanged => "it is so already".to_owned(),
        Answer::Refused(why) => format!("refused: {}", as_cell(&why)),
        Answer::Stored => told(&before, &world.status(relocation)),
    }
}

/// What is different afterwards.
fn told(before: &RelocationStatus, after: &RelocationStatus) -> String {
    let mut parts = Vec::new();
    let stands = |status: &RelocationStatus| {
        let ready = find_condition(&status.conditions, ConditionType::Ready);
        let sentence = ready.map_or("", |ready| &ready.message).to_owned();
        (status.status, status.step, sentence)
    };
    if stands(before) != stands(after) {
        let (status, step, sentence) = stands(after);
        let status = status.map_or("", StatusValue::as_str);
        let step = step.map_or("", Step::as_str);
        parts.push(format!("{status} at {step}: {}", as_cell(&sentence)));
    }
    let scheduled = |status: &RelocationStatus, wanted: ConditionType, reason: &str| {
        let condition = find_condition(&status.conditions, wanted).filter(|condition| condition.reason == reason);
        condition.map(|condition| condition.message.clone())
    };
    let plans = [(ConditionType::Paused, "PausePending"), (ConditionType::Cancelling, "Scheduled")];
    for (condition, reason) in plans {
        let (old, new) = (scheduled(before, condition, reason), scheduled(after, condition, reason));
        match new {
            Some(new) if old.as_ref() != Some(&new) => parts.push(as_cell(&new)),
            _ => {}
        }
    }
    if let Some(late) = after.late.as_ref().filter(|late| Some(*late) != before.late.as_ref()) {
        parts.push(format!("stored without effect; `status.late`: {}", as_cell(&late.why)));
    }
    if parts.is_empty() { "nothing changes".to_owned() } else { parts.join("; ") }
}

/// Text that neither ends the cell nor the line.
fn as_cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn let_happen(world: &mut World, event: &Event) {
    world.happen(event).unwrap_or_else(|broken| panic!("{broken:?}"));
}

/// Passes and time, until nothing happens by itself any more. Pods that are not told to end go on.
fn rest(world: &mut World, relocation: usize) {
    let mut quiet_passes = 0;
    for _ in 0..PASSES {
        if world.pass(0, relocation).unwrap_or_else(|broken| panic!("{broken:?}")) {
            quiet_passes = 0;
            continue;
        }
        quiet_passes += 1;
        let ending = world.pods.iter().any(|pod| !pod.finished && pod.deleted_at.is_some());
        let waits = world.status(relocation).next_attempt_at.is_some();
        if quiet_passes > 1 && !ending && !waits {
            return;
        }
        let_happen(world, &Event::Tick { seconds: 5 });
    }
    panic!("it does not come to rest: {:?}", world.status(relocation).conditions);
}

/// Lets every task succeed until this step is entered, or its relocation stands before it or has ended.
fn work_until(world: &mut World, relocation: usize, step: Step) {
    rest(world, relocation);
    loop {
        let status = world.status(relocation);
        let stops = matches!(status.status, Some(StatusValue::Pause | StatusValue::Failure | StatusValue::Success));
        if stops || status.step >= Some(step) {
            return;
        }
        let_happen(world, &Event::Finish { pod: 0, outcome: Outcome::Valid });
        rest(world, relocation);
    }
}
