//! Each promise broken on purpose: the model must find it, and tell it so that a person can follow.

use expect_test::{Expect, expect};
use stateright::{Checker, HasDiscoveries, Model};

use super::configurations::{found_by, peace, two_steps};
use super::*;
use crate::api::{DesiredState, Step};

/// The shortest story that breaks something.
fn search(flaw: Flaw, bounds: &Bounds) -> Option<(Promise, String)> {
    let model = Interleavings::new(bounds.clone(), flaw);
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    found_by(&checker)
}

/// With the flaw the model finds the broken promise; without it, within the same bounds, nothing is broken.
fn check(flaw: Flaw, promise: Promise, bounds: &Bounds) -> String {
    if let Some((_, story)) = search(Flaw::None, bounds) {
        panic!("the protocol as it is breaks here:\n{story}");
    }
    let (found, story) = search(flaw, bounds).unwrap_or_else(|| panic!("{flaw:?} goes unnoticed"));
    assert_eq!(found, promise, "{flaw:?} is told like this:\n{story}");
    story
}

/// One operator, the first step with work is the third, and this much may happen.
fn within(menu: Vec<Edit>, faults: Vec<Fault>) -> Bounds {
    let budget =
        Budget { edits: u8::from(!menu.is_empty()), faults: u8::from(!faults.is_empty()), ..Budget::default() };
    Bounds { plan: two_steps, menu, faults, budget, ..peace() }
}

fn told(story: &str, expected: &Expect) {
    expected.assert_eq(story);
}

#[test]
fn promise_1_a_consumed_fence_is_found() {
    let bounds = within(vec![Edit::Pause(Some(Step::Preprocessing))], vec![]);
    let story = check(Flaw::ConsumesTheFence, Promise::Pause, &bounds);
    told(
        &story,
        &expect![[r#"
        1. ann sets pauseAtStep to PREPROCESSING of move-0
        2. operator A looks at move-0: it wants to store PENDING before UPLOADING, then takes the lock
        3. operator A stores PENDING before UPLOADING
        4. operator A takes the lock
        5. operator A looks at move-0: then freezes the plan
        6. operator A stores PENDING before UPLOADING
        7. operator A freezes the plan
        8. operator A looks at move-0: it wants to store PENDING before PREPROCESSING
        9. operator A stores PENDING before PREPROCESSING
        10. operator A looks at move-0: it wants to store PAUSE before PREPROCESSING
        11. operator A stores PAUSE before PREPROCESSING
        12. operator A looks at move-0: it wants to store PENDING before VALIDATING
        13. operator A stores PENDING before VALIDATING
        This breaks Pause: PREPROCESSING is entered while an accepted fence stands there
    "#]],
    );
}

#[test]
fn promise_1_a_fence_that_lands_before_a_write_without_its_precondition_is_found() {
    check(Flaw::ForgetsThePrecondition, Promise::Pause, &within(vec![Edit::Pause(Some(Step::Validating))], vec![]));
}

#[test]
fn promise_2_a_mutex_taken_for_quiet_without_a_look_is_found() {
    let bounds = within(vec![], vec![Fault::Deleted(Manner::Background)]);
    let story = check(Flaw::SkipsQuiet, Promise::OneAtATime, &bounds);
    told(
        &story,
        &expect![[r#"
        1. operator A looks at move-0: it wants to store PENDING before UPLOADING, then takes the lock
        2. operator A stores PENDING before UPLOADING
        3. operator A takes the lock
        4. operator A looks at move-0: then freezes the plan
        5. operator A stores PENDING before UPLOADING
        6. operator A freezes the plan
        7. operator A looks at move-0: it wants to store PENDING before PREPROCESSING
        8. operator A stores PENDING before PREPROCESSING
        9. operator A looks at move-0: it wants to store PENDING before VALIDATING
        10. operator A stores PENDING before VALIDATING
        11. operator A looks at move-0: it wants to store IN_PROGRESS in VALIDATING/check, attempt 1, with its Job, then creates the Job
        12. operator A stores IN_PROGRESS in VALIDATING/check, attempt 1, with its Job
        13. operator A creates the Job
        14. somebody deletes the Job of VALIDATING/check; its pod goes on until its grace period is over
        This breaks OneAtATime: pods of move-0-2bd77993 and move-0-86a2084f work at once
    "#]],
    );
}

#[test]
fn promise_3_two_writers_without_a_precondition_are_found() {
    // At one moment by one clock both would give their Job the same name.
    let bounds = Bounds { operators: 2, skew: 3, ..within(vec![], vec![]) };
    // That nothing is broken without the flaw is explored in the configurations: it is too much for here.
    let (found, story) = search(Flaw::ForgetsThePrecondition, &bounds).expect("two writers who both win");
    assert_eq!(found, Promise::NothingTwice, "{story}");
}

#[test]
fn promise_2_a_job_created_before_the_status_names_it_is_found() {
    check(Flaw::ActsBeforeRecording, Promise::IntentFirst, &within(vec![], vec![]));
}

#[test]
fn promise_3_a_failure_that_is_counted_twice_is_found() {
    check(Flaw::CountsTwice, Promise::NothingTwice, &within(vec![], vec![Fault::Ends(Outcome::Exit(1))]));
}

#[test]
fn promise_3_a_result_that_an_abort_overtakes_is_found() {
    check(Flaw::JudgesTheAbortFirst, Promise::FoldFirst, &within(vec![Edit::Desire(DesiredState::Aborted)], vec![]));
}

#[test]
fn promise_3_a_result_that_the_deadline_overtakes_is_found() {
    check(Flaw::JudgesTheDeadlineFirst, Promise::FoldFirst, &within(vec![Edit::Budget(Some(10))], vec![]));
}

#[test]
fn promise_3_a_recover_that_gives_two_attempts_is_found() {
    let menu = vec![Edit::Recover];
    check(Flaw::GivesTwoAttempts, Promise::NothingTwice, &within(menu, vec![Fault::Ends(Outcome::Exit(65))]));
}

#[test]
fn promise_3_a_wiped_status_that_runs_again_is_found() {
    let bounds = within(vec![], vec![]);
    let bounds = Bounds { budget: Budget { wipes: 1, ..bounds.budget }, ..bounds };
    let story = check(Flaw::LooksForNoTraces, Promise::NothingTwice, &bounds);
    told(
        &story,
        &expect![[r#"
        1. operator A looks at move-0: it wants to store PENDING before UPLOADING, then takes the lock
        2. operator A stores PENDING before UPLOADING
        3. operator A takes the lock
        4. operator A looks at move-0: then freezes the plan
        5. operator A stores PENDING before UPLOADING
        6. operator A freezes the plan
        7. somebody removes the status of move-0
        This breaks NothingTwice: VALIDATING/check runs although the status was lost
    "#]],
    );
}

#[test]
fn promise_4_waiting_in_silence_is_found() {
    let story = check(Flaw::WaitsInSilence, Promise::Reasons, &within(vec![], vec![]));
    assert!(story.contains("is not told"), "{story}");
}

#[test]
fn promise_4_a_late_request_without_an_answer_is_found() {
    let bounds = within(vec![Edit::Pause(Some(Step::Validating))], vec![]);
    let bounds = Bounds { late_requests: LateRequests::Report, ..bounds };
    let story = check(Flaw::AnswersNoLateRequest, Promise::Reasons, &bounds);
    told(
        &story,
        &expect![[r#"
        1. operator A looks at move-0: it wants to store PENDING before UPLOADING, then takes the lock
        2. operator A stores PENDING before UPLOADING
        3. operator A takes the lock
        4. operator A looks at move-0: then freezes the plan
        5. operator A stores PENDING before UPLOADING
        6. operator A freezes the plan
        7. operator A looks at move-0: it wants to store PENDING before PREPROCESSING
        8. operator A stores PENDING before PREPROCESSING
        9. operator A looks at move-0: it wants to store PENDING before VALIDATING
        10. operator A stores PENDING before VALIDATING
        11. operator A looks at move-0: it wants to store IN_PROGRESS in VALIDATING/check, attempt 1, with its Job, then creates the Job
        12. operator A stores IN_PROGRESS in VALIDATING/check, attempt 1, with its Job
        13. ann sets pauseAtStep to VALIDATING of move-0
        14. operator A creates the Job
        15. operator A looks at move-0: it wants to store IN_PROGRESS in VALIDATING/check, attempt 1, with its Job
        16. operator A stores IN_PROGRESS in VALIDATING/check, attempt 1, with its Job
        This breaks Reasons: pauseAtStep: VALIDATING came too late, and nobody answers
    "#]],
    );
}

#[test]
fn promise_5_a_finalizer_of_ours_is_found() {
    let bounds = within(vec![], vec![]);
    let bounds = Bounds { budget: Budget { deletes: 1, ..bounds.budget }, ..bounds };
    let story = check(Flaw::SetsAFinalizer, Promise::Deleting, &bounds);
    told(
        &story,
        &expect![[r#"
        1. operator A looks at move-0: it wants to store PENDING before UPLOADING, then takes the lock
        2. operator A stores PENDING before UPLOADING
        3. ann deletes move-0
        This breaks Deleting: the delete waits for the finalizer relocation.dev/tidy
    "#]],
    );
}

#[test]
fn promise_5_a_job_that_holds_its_owner_is_found() {
    let bounds = within(vec![], vec![]);
    let bounds = Bounds { budget: Budget { deletes: 1, ..bounds.budget }, ..bounds };
    check(Flaw::BlocksItsOwner, Promise::Deleting, &bounds);
}

#[test]
fn a_state_without_a_way_out_is_found() {
    let bounds = within(vec![Edit::Pause(Some(Step::Preprocessing))], vec![]);
    let (found, story) = search(Flaw::SleepsInPause, &bounds).expect("a pause that nobody can end");
    assert_eq!(found, Promise::Liveness, "{story}");
    assert!(search(Flaw::None, &bounds).is_none());
}
