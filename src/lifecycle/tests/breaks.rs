//! Deliberate breaks of the protocol and of what the judgement is told: each breaks a promise, and the world says which.
//!
//! Every history here is played twice, because a promise that the whole protocol cannot keep would prove nothing.

use super::histories::play;
use super::world::{Edit, Event, Flaw, Manner, Outcome, Promise, World};
use crate::api::{DesiredState, Step};

const FIRST: usize = 0;

fn pass() -> Event {
    Event::Pass { operator: 0, relocation: FIRST }
}

fn passes(count: usize) -> Vec<Event> {
    vec![pass(); count]
}

fn edit(edit: Edit) -> Event {
    Event::Edit { relocation: FIRST, edit }
}

fn finish(outcome: Outcome) -> Event {
    Event::Finish { pod: 0, outcome }
}

fn observe(operator: usize) -> Event {
    Event::Observe { operator, relocation: FIRST, behind: 0 }
}

fn record(operator: usize) -> Event {
    Event::Record { operator }
}

/// The start: lock, workspace, plan revision, and the first Job.
fn started() -> Vec<Event> {
    passes(4)
}

/// Plays a history with a flaw, which must break the promise, and without it, which must not.
fn check(flaw: Flaw, promise: Promise, history: &[Event]) {
    if let Err(broken) = play(Flaw::None, history) {
        panic!("the protocol as it is breaks in this history: {broken}");
    }
    match play(flaw, history) {
        Ok(_) => panic!("{flaw:?} goes unnoticed"),
        Err(broken) => assert_eq!(broken.promise, promise, "{broken}"),
    }
}

#[test]
fn a_script_starts_a_job_in_four_passes() {
    let mut world = World::new(Flaw::None);
    for event in &started() {
        world.happen(event).unwrap();
    }
    assert_eq!(world.jobs.len(), 1);
}

#[test]
fn a_job_created_before_the_status_names_it_breaks_an_accepted_pause() {
    // The step PREPROCESSING is empty, so the next Job after UPLOADING is that of VALIDATING.
    let mut sound = started();
    sound.extend([finish(Outcome::Valid), pass(), pass(), finish(Outcome::Valid), pass(), pass()]);
    let mut world = World::new(Flaw::None);
    for event in &sound {
        world.happen(event).unwrap();
    }
    world.flaw = Flaw::ActsBeforeRecording;
    world.happen(&observe(0)).unwrap();
    world.happen(&edit(Edit::Pause(Some(Step::Validating)))).unwrap();
    assert_eq!(world.happen(&record(0)).unwrap_err().promise, Promise::Pause);
}

#[test]
fn a_job_created_before_the_status_names_it_is_caught_without_any_fence_too() {
    check(Flaw::ActsBeforeRecording, Promise::IntentFirst, &started());
}

#[test]
fn a_status_written_without_its_resource_version_starts_two_jobs_at_once() {
    let mut history = started();
    history.extend([finish(Outcome::Valid), Event::Sync { operator: 0 }, Event::Sync { operator: 1 }]);
    // Both operators fold the same result, a second apart, and each records a launch of its own.
    history.extend([Event::Tick { seconds: 20 }, observe(0), Event::Tick { seconds: 7 }, observe(1)]);
    history.extend([record(0), Event::Act { operator: 0 }, record(1), Event::Act { operator: 1 }]);
    check(Flaw::ForgetsThePrecondition, Promise::OneAtATime, &history);
}

#[test]
fn a_consumed_fence_lets_a_step_be_entered_that_it_still_stands_before() {
    let mut history = vec![edit(Edit::Pause(Some(Step::Validating)))];
    history.extend(started());
    history.extend([finish(Outcome::Valid), pass(), pass(), finish(Outcome::Valid)]);
    // Folds, passes through PREPROCESSING, and pauses; and looks again.
    history.extend(passes(5));
    check(Flaw::ConsumesTheFence, Promise::Pause, &history);
}

#[test]
fn a_failed_attempt_that_is_counted_twice_is_caught() {
    let mut history = started();
    history.extend([finish(Outcome::Valid), pass(), pass()]);
    history.extend([finish(Outcome::Exit(1)), pass(), Event::Tick { seconds: 15 }, pass(), pass()]);
    check(Flaw::CountsTwice, Promise::NothingTwice, &history);
}

#[test]
fn without_the_quiet_rule_the_pod_of_a_deleted_job_works_beside_the_next_one() {
    for manner in [Manner::Background, Manner::Orphan] {
        let mut history = started();
        history.extend([Event::DeleteJob { job: 0, manner }, pass(), pass()]);
        check(Flaw::SkipsQuiet, Promise::OneAtATime, &history);
    }
}

#[test]
fn an_abort_that_is_judged_before_the_finished_job_loses_its_result() {
    let mut history = started();
    history.extend([finish(Outcome::Valid), edit(Edit::Desire(DesiredState::Aborted)), pass()]);
    check(Flaw::JudgesTheAbortFirst, Promise::FoldFirst, &history);
}

#[test]
fn a_deadline_that_is_judged_before_the_finished_job_loses_its_result() {
    let mut history = vec![edit(Edit::Budget(Some(60)))];
    history.extend(started());
    history.extend([finish(Outcome::Valid), Event::Tick { seconds: 100 }, pass()]);
    check(Flaw::JudgesTheDeadlineFirst, Promise::FoldFirst, &history);
}
