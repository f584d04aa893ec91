//! The rules in-process: tables by rule, and generated writes against a second reading of the rules in plain Rust.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::status::{Failure, FailureReason, Pause, PauseReason};
use super::super::{AutoPause, DesiredState, LateRequests, RelocationStatus, RetryOf, StatusValue};
use super::*;

const FAILURE_ID: &str = "IMPORTING-1-0badcafe";

#[test]
fn every_way_to_set_a_fence_is_judged_by_what_is_behind_and_only_where_late_requests_are_refused() {
    for mode in [LateRequests::Refuse, LateRequests::Report] {
        for state in every_state() {
            for (before, after) in every_change(&Step::STOPPABLE) {
                let mut old = a_relocation().with_status(state.clone());
                old.spec.late_requests = mode;
                old.spec.pause_at_step = before;
                let mut new = old.clone();
                new.spec.pause_at_step = after;
                let too_late = after != before
                    && after.is_some_and(|step| state.is_behind(step) || state.status == Some(StatusValue::Success));
                let expected = if too_late && mode == LateRequests::Refuse { vec!["spec.pauseAtStep"] } else { vec![] };
                assert_eq!(refused_fields(&old, &new), expected, "{mode:?} {before:?} -> {after:?} at {state:?}");
            }
        }
    }
}

#[test]
fn every_way_to_set_a_cancel_is_judged_the_same_but_a_failed_relocation_takes_any() {
    for mode in [LateRequests::Refuse, LateRequests::Report] {
        for state in every_state() {
            for (before, after) in every_change(&Step::STOPPABLE) {
                let mut old = a_relocation().with_status(state.clone());
                old.spec.late_requests = mode;
                old.spec.cancel_at_step = before;
                let mut new = old.clone();
                new.spec.cancel_at_step = after;
                let too_late = after != before
                    && after.is_some_and(|step| match state.status {
                        Some(StatusValue::Success) => true,
                        Some(StatusValue::Failure) => false,
                        _ => state.is_behind(step),
                    });
                let expected =
                    if too_late && mode == LateRequests::Refuse { vec!["spec.cancelAtStep"] } else { vec![] };
                assert_eq!(refused_fields(&old, &new), expected, "{mode:?} {before:?} -> {after:?} at {state:?}");
            }
        }
    }
}

#[test]
fn a_late_fence_is_told_what_has_started_and_what_can_still_be_fenced() {
    let fence = |step| move |relocation: &mut Relocation| relocation.spec.pause_at_step = Some(step);
    let running = a_relocation().running(Step::Importing);
    assert_eq!(
        refusal(&running, fence(Step::Importing)),
        "spec.pauseAtStep: cannot pause at IMPORTING: it has started (the relocation is at IMPORTING, task copy); \
         the next step that can be fenced is POSTPROCESSING"
    );
    assert_eq!(
        refusal(&running, fence(Step::Validating)),
        "spec.pauseAtStep: cannot pause at VALIDATING: it is over (the relocation is at IMPORTING, task copy); \
         the next step that can be fenced is POSTPROCESSING"
    );
    assert_eq!(
        refusal(&a_relocation().paused_before(Step::Importing), fence(Step::Validating)),
        "spec.pauseAtStep: cannot pause at VALIDATING: it is over (the relocation is at IMPORTING, task copy); \
         the next step that can be fenced is IMPORTING"
    );
    assert_eq!(
        refusal(&a_relocation().running(Step::Notifying), fence(Step::Notifying)),
        "spec.pauseAtStep: cannot pause at NOTIFYING: it has started (the relocation is at NOTIFYING, task copy); \
         no later step can be fenced, desiredState: Suspended stops the running work now"
    );
    assert_eq!(
        refusal(&a_relocation().failed(Step::Notifying, FailureReason::Aborted), fence(Step::Notifying)),
        "spec.pauseAtStep: cannot pause at NOTIFYING: it has started (the relocation is at NOTIFYING, task copy); \
         no later step can be fenced"
    );
    assert_eq!(
        refusal(&a_relocation().succeeded(), fence(Step::Notifying)),
        "spec.pauseAtStep: cannot pause at NOTIFYING: the relocation has ended in SUCCESS and no step is left; \
         leave pauseAtStep as it is"
    );
}

#[test]
fn a_late_cancel_is_told_what_can_still_be_cancelled() {
    let cancel = |step| move |relocation: &mut Relocation| relocation.spec.cancel_at_step = Some(step);
    assert_eq!(
        refusal(&a_relocation().running(Step::Importing), cancel(Step::Importing)),
        "spec.cancelAtStep: cannot cancel at IMPORTING: it has started (the relocation is at IMPORTING, task copy); \
         the next step that can be cancelled is POSTPROCESSING"
    );
    assert_eq!(
        refusal(&a_relocation().running(Step::Notifying), cancel(Step::Importing)),
        "spec.cancelAtStep: cannot cancel at IMPORTING: it is over (the relocation is at NOTIFYING, task copy); \
         no later step can be cancelled, desiredState: Aborted ends the relocation now"
    );
}

#[test]
fn a_recover_is_the_id_of_a_failure_that_can_be_recovered() {
    let recover = |id: &'static str| move |relocation: &mut Relocation| relocation.spec.recover = Some(id.to_owned());
    let failed = a_relocation().failed(Step::Importing, FailureReason::AttemptsExhausted);
    accepts(&failed, recover(FAILURE_ID));
    assert_eq!(
        refusal(&failed, recover("IMPORTING-1-00000000")),
        "spec.recover: cannot recover IMPORTING-1-00000000: the failure that stands is IMPORTING-1-0badcafe; \
         set recover to that id"
    );
    for state in every_state().into_iter().filter(|state| state.status != Some(StatusValue::Failure)) {
        accepts(&a_relocation().with_status(state), recover("IMPORTING-1-00000000"));
    }

    let mut final_failure = failed.clone();
    final_failure.failure_mut().recoverable = false;
    assert_eq!(
        refusal(&final_failure, recover(FAILURE_ID)),
        "spec.recover: cannot recover IMPORTING-1-0badcafe: the task that failed is declared recoverable: false; \
         create a Relocation whose retryOf names this one"
    );

    let mut late_out_of_mind = failed.clone();
    late_out_of_mind.spec.late_requests = LateRequests::Report;
    accepts(&late_out_of_mind, recover("IMPORTING-1-00000000"));
}

#[test]
fn a_recover_that_would_be_cancelled_or_aborted_again_is_refused_until_the_same_change_puts_that_right() {
    let mut cancelled = a_relocation().failed(Step::Importing, FailureReason::Cancelled);
    cancelled.spec.cancel_at_step = Some(Step::Importing);
    cancelled.status_mut().entered = false;
    assert_eq!(
        refusal(&cancelled, |relocation| relocation.spec.recover = Some(FAILURE_ID.into())),
        "spec.recover: cannot recover IMPORTING-1-0badcafe: cancelAtStep would end it again before IMPORTING; \
         clear or move cancelAtStep in the same change"
    );
    for cleared in [None, Some(Step::Notifying)] {
        accepts(&cancelled, |relocation| {
            relocation.spec.recover = Some(FAILURE_ID.into());
            relocation.spec.cancel_at_step = cleared;
        });
    }

    let mut aborted = a_relocation().failed(Step::Importing, FailureReason::Aborted);
    aborted.spec.desired_state = DesiredState::Aborted;
    assert_eq!(
        refusal(&aborted, |relocation| relocation.spec.recover = Some(FAILURE_ID.into())),
        "spec.recover: cannot recover IMPORTING-1-0badcafe: desiredState is Aborted; \
         set desiredState: Active in the same change"
    );
    for going_on in [DesiredState::Active, DesiredState::Suspended] {
        accepts(&aborted, |relocation| {
            relocation.spec.recover = Some(FAILURE_ID.into());
            relocation.spec.desired_state = going_on;
        });
    }
}

#[test]
fn a_recover_after_the_deadline_needs_a_larger_budget() {
    let mut late = a_relocation().failed(Step::Importing, FailureReason::DeadlineExceeded);
    late.spec.active_deadline_seconds = Some(600);
    late.status_mut().active_seconds = Some(600);
    let with_budget = |budget: Option<i64>| {
        move |relocation: &mut Relocation| {
            relocation.spec.recover = Some(FAILURE_ID.into());
            relocation.spec.active_deadline_seconds = budget;
        }
    };
    assert_eq!(
        refusal(&late, with_budget(Some(600))),
        "spec.recover: cannot recover IMPORTING-1-0badcafe: its budget is used up; \
         raise activeDeadlineSeconds above status.activeSeconds, or clear it, in the same change"
    );
    accepts(&late, with_budget(Some(601)));
    accepts(&late, with_budget(None));
}

#[test]
fn an_abort_is_left_only_by_a_recover_that_is_accepted() {
    for mode in [LateRequests::Refuse, LateRequests::Report] {
        for state in every_state() {
            let mut old = a_relocation().with_status(state.clone());
            old.spec.late_requests = mode;
            old.spec.desired_state = DesiredState::Aborted;
            let mut new = old.clone();
            new.spec.desired_state = DesiredState::Active;
            let expected = if state.status == Some(StatusValue::Success) { vec![] } else { vec!["spec.desiredState"] };
            assert_eq!(refused_fields(&old, &new), expected, "{mode:?} at {state:?}");
        }
    }
    let mut aborted = a_relocation().failed(Step::Importing, FailureReason::Aborted);
    aborted.spec.desired_state = DesiredState::Aborted;
    assert_eq!(
        refusal(&aborted, |relocation| relocation.spec.desired_state = DesiredState::Active),
        "spec.desiredState: cannot set desiredState to Active: the relocation was aborted; \
         to go on, set recover to IMPORTING-1-0badcafe in the same change"
    );
    let mut stopping = a_relocation().running(Step::Importing);
    stopping.spec.desired_state = DesiredState::Aborted;
    assert_eq!(
        refusal(&stopping, |relocation| relocation.spec.desired_state = DesiredState::Suspended),
        "spec.desiredState: cannot set desiredState to Suspended: the relocation was aborted; \
         it is being stopped, and can be recovered as soon as its status is FAILURE"
    );
}

#[test]
fn an_abort_that_is_left_by_a_recover_in_vain_is_told_what_stands_in_its_way() {
    let mut aborted = a_relocation().failed(Step::Importing, FailureReason::Aborted);
    aborted.status_mut().entered = false;
    aborted.spec.desired_state = DesiredState::Aborted;
    aborted.spec.cancel_at_step = Some(Step::Importing);
    aborted.spec.late_requests = LateRequests::Report;
    let go_on = |relocation: &mut Relocation| {
        relocation.spec.desired_state = DesiredState::Active;
        relocation.spec.recover = Some(FAILURE_ID.into());
    };
    assert_eq!(
        refusal(&aborted, go_on),
        "spec.desiredState: cannot set desiredState to Active: the relocation was aborted; \
         it cannot be recovered like this: cancelAtStep would end it again before IMPORTING; \
         clear or move cancelAtStep in the same change"
    );
    let mut final_failure = aborted.clone();
    final_failure.failure_mut().recoverable = false;
    assert_eq!(
        refusal(&final_failure, |relocation| relocation.spec.desired_state = DesiredState::Active),
        "spec.desiredState: cannot set desiredState to Active: the relocation was aborted; \
         it cannot be recovered like this: the task that failed is declared recoverable: false; \
         create a Relocation whose retryOf names this one"
    );
    let mut late = aborted.clone();
    late.failure_mut().reason = FailureReason::DeadlineExceeded;
    late.spec.cancel_at_step = None;
    late.spec.active_deadline_seconds = Some(600);
    assert_eq!(
        refusal(&late, go_on),
        "spec.desiredState: cannot set desiredState to Active: the relocation was aborted; \
         it cannot be recovered like this: its budget is used up; \
         raise activeDeadlineSeconds above status.activeSeconds, or clear it, in the same change"
    );
}

#[test]
fn parameters_stand_still_while_a_task_runs_with_them() {
    for mode in [LateRequests::Refuse, LateRequests::Report] {
        for state in every_state() {
            let mut old = a_relocation().with_status(state.clone());
            old.spec.late_requests = mode;
            let mut new = old.clone();
            new.spec.parameters.insert("RATE".into(), "fast".into());
            let too_late = mode == LateRequests::Refuse && state.status == Some(StatusValue::InProgress);
            let expected = if too_late { vec!["spec.parameters"] } else { vec![] };
            assert_eq!(refused_fields(&old, &new), expected, "added, {mode:?} at {state:?}");
            assert_eq!(refused_fields(&new, &old), expected, "removed, {mode:?} at {state:?}");
        }
    }
    assert_eq!(
        refusal(&a_relocation().running(Step::Importing), |relocation| {
            relocation.spec.parameters.insert("RATE".into(), "fast".into());
        }),
        "spec.parameters: cannot change parameters: the relocation is IN_PROGRESS at IMPORTING, task copy; \
         stop it with pauseAtStep or desiredState: Suspended, change them, and let it go on"
    );
}

#[test]
fn an_empty_map_of_parameters_is_the_same_as_none() {
    let old = json(&a_relocation().running(Step::Importing));
    let mut new = old.clone();
    new["spec"]["parameters"] = json!({});
    assert_eq!(check(Some(&old), &new), Ok(()));
}

#[test]
fn what_is_moved_for_whom_and_by_which_plan_is_settled_in_both_modes() {
    type Change = fn(&mut Relocation);
    let changes: [(&str, Change); 7] = [
        ("spec.planRef.name", |relocation| relocation.spec.plan_ref.name = "other".into()),
        ("spec.owner", |relocation| relocation.spec.owner = "other".into()),
        ("spec.provenance", |relocation| relocation.spec.provenance = super::super::Provenance::SaasToSaas),
        ("spec.items", |relocation| relocation.spec.items.push("other".into())),
        ("spec.uuid", |relocation| relocation.spec.uuid = Some("00000000-0000-0000-0000-000000000001".into())),
        ("spec.retryOf", |relocation| {
            relocation.spec.retry_of =
                Some(RetryOf { name: "first".into(), uid: "00000000-0000-0000-0000-000000000002".into() });
        }),
        ("spec.mutex", |relocation| relocation.spec.mutex = Some("other".into())),
    ];
    for mode in [LateRequests::Refuse, LateRequests::Report] {
        for (field, change) in changes {
            for state in [a_relocation(), a_relocation().paused_before(Step::Importing), a_relocation().succeeded()] {
                let mut old = state;
                old.spec.late_requests = mode;
                let mut new = old.clone();
                change(&mut new);
                assert_eq!(refused_fields(&old, &new), [field]);
                assert_eq!(refused_fields(&new, &old), [field]);
            }
        }
    }
    assert_eq!(
        refusal(&a_relocation(), |relocation| relocation.spec.owner = "globex".into()),
        "spec.owner: cannot change owner from \"acme\" to \"globex\": what a relocation moves, for whom and by which \
         plan is settled when it is created; create another Relocation for this"
    );
    assert_eq!(
        refusal(&a_relocation(), |relocation| relocation.spec.mutex = Some("vault".into())),
        "spec.mutex: cannot change mutex from nothing to \"vault\": what a relocation moves, for whom and by which \
         plan is settled when it is created; create another Relocation for this"
    );
}

#[test]
fn items_are_distinct_slugs_with_at_least_one_letter_or_hyphen() {
    let created = |items: &[&str]| {
        let mut relocation = a_relocation();
        relocation.spec.items = items.iter().map(ToString::to_string).collect();
        check(None, &json(&relocation)).map_err(|refusals| refusals[0].to_string())
    };
    assert_eq!(created(&["acme", "acme-2", "4-2"]), Ok(()));
    assert_eq!(
        created(&["acme", "billing", "acme"]),
        Err("spec.items: cannot move \"acme\" twice; list each item once".into())
    );
    assert_eq!(
        created(&["acme", "42"]),
        Err("spec.items: cannot move \"42\": it is all digits; \
             name the item by its slug, which has at least one letter or hyphen"
            .into())
    );
}

#[test]
fn a_step_is_not_entered_while_a_fence_or_a_cancel_stands_on_it() {
    type Stand = fn(&mut Relocation);
    let stands: [(&str, Stand); 3] = [
        ("pauseAtStep", |relocation| relocation.spec.pause_at_step = Some(Step::Importing)),
        ("cancelAtStep", |relocation| relocation.spec.cancel_at_step = Some(Step::Importing)),
        ("the automatic fence of the plan", |relocation| {
            relocation.status_mut().auto_pause_at_step = Some(Step::Importing);
        }),
    ];
    for (name, stand) in stands {
        for mut old in [
            a_relocation().running(Step::Validating),
            a_relocation().paused_before(Step::Importing),
            a_relocation().with_status(working(Step::Importing, false)),
        ] {
            stand(&mut old);
            let mut entry = old.clone();
            entry.status = Some(RelocationStatus {
                auto_pause_at_step: entry.status.as_ref().and_then(|status| status.auto_pause_at_step),
                ..working(Step::Importing, true)
            });
            assert_eq!(
                refusals(&old, &entry),
                [format!(
                    "status.step: cannot enter IMPORTING: {name} stands on it; \
                     read the relocation again and stop before the step"
                )]
            );
        }

        let mut before_an_empty_step = a_relocation().paused_before(Step::Importing);
        stand(&mut before_an_empty_step);
        let mut passed = before_an_empty_step.clone();
        passed.status = Some(RelocationStatus {
            auto_pause_at_step: passed.status.as_ref().and_then(|status| status.auto_pause_at_step),
            ..working(Step::Postprocessing, true)
        });
        assert_eq!(
            refusals(&before_an_empty_step, &passed),
            [format!(
                "status.step: cannot pass by IMPORTING: {name} stands on it; \
                 read the relocation again and stop before the step"
            )]
        );
    }
}

#[test]
fn a_writer_that_drops_the_automatic_fence_does_not_open_it_but_skip_does() {
    let mut old = a_relocation().paused_before(Step::Importing);
    old.status_mut().auto_pause_at_step = Some(Step::Importing);
    let mut entry = old.clone();
    entry.status = Some(working(Step::Importing, true));
    assert_eq!(refused_fields(&old, &entry), ["status.step"]);
    old.spec.auto_pause = AutoPause::Skip;
    entry.spec.auto_pause = AutoPause::Skip;
    assert_eq!(refused_fields(&old, &entry), [""; 0]);
}

#[test]
fn a_fence_on_a_step_that_was_entered_does_not_hold_what_runs_there() {
    let mut old = a_relocation().running(Step::Importing);
    old.spec.pause_at_step = Some(Step::Importing);
    old.spec.late_requests = LateRequests::Report;
    let mut next_task = old.clone();
    next_task.status_mut().task = Some("index".into());
    next_task.status_mut().launch = Some(2000);
    assert_eq!(refused_fields(&old, &next_task), [""; 0]);
    let mut next_step = old.clone();
    next_step.status = Some(working(Step::Postprocessing, true));
    assert_eq!(refused_fields(&old, &next_step), [""; 0]);
}

#[test]
fn a_status_that_appears_from_nothing_may_stand_anywhere() {
    let mut old = a_relocation();
    old.spec.pause_at_step = Some(Step::Importing);
    let mut restored = old.clone();
    restored.status = Some(working(Step::Importing, true));
    restored.status_mut().recoveries = Some(3);
    assert_eq!(refused_fields(&old, &restored), [""; 0]);
}

#[test]
fn steps_follow_each_other_one_by_one() {
    let places: Vec<(Step, bool)> = Step::WORKING.into_iter().flat_map(|step| [(step, false), (step, true)]).collect();
    for (place, &(step, entered)) in places.iter().enumerate() {
        for (next_place, &(next_step, next_entered)) in places.iter().enumerate() {
            let old = a_relocation().with_status(working(step, entered));
            let mut new = old.clone();
            new.status = Some(working(next_step, next_entered));
            let allowed = next_place >= place && (next_step == step || next_step == step.next());
            let expected = if allowed { vec![] } else { vec!["status.step"] };
            assert_eq!(refused_fields(&old, &new), expected, "{step} {entered} -> {next_step} {next_entered}");
        }
    }
}

#[test]
fn what_has_ended_stays_until_it_is_recovered() {
    let failed = a_relocation().failed(Step::Importing, FailureReason::AttemptsExhausted);
    let mut back = failed.clone();
    back.status = Some(working(Step::Importing, true));
    assert_eq!(refused_fields(&failed, &back), ["status.status"]);

    let mut other_failure = failed.clone();
    other_failure.failure_mut().reason = FailureReason::Aborted;
    assert_eq!(
        refusals(&failed, &other_failure),
        ["status.status: cannot rewrite the ending FAILURE (IMPORTING-1-0badcafe, AttemptsExhausted): what has ended \
          stays as it is until it is recovered, at the same step, with recoveries one higher"]
    );

    let mut recovered = back.clone();
    recovered.status_mut().recoveries = Some(1);
    assert_eq!(
        refusals(&failed, &recovered),
        ["status.recoveries: cannot count a recovery: spec.recover is not set and the failure that stands is \
          IMPORTING-1-0badcafe; only a matching id recovers it"]
    );
    let mut asked = failed.clone();
    asked.spec.recover = Some(FAILURE_ID.into());
    recovered.spec.recover = Some(FAILURE_ID.into());
    assert_eq!(refused_fields(&asked, &recovered), [""; 0]);
    recovered.status_mut().recoveries = Some(2);
    assert_eq!(refused_fields(&asked, &recovered), ["status.recoveries", "status.status"]);

    let succeeded = a_relocation().succeeded();
    let mut again = succeeded.clone();
    again.status = Some(working(Step::Uploading, true));
    assert_eq!(refused_fields(&succeeded, &again), ["status.status", "status.step"]);
}

#[test]
fn status_goes_with_its_reason_and_its_step() {
    let running = a_relocation().running(Step::Importing);
    type Change = fn(&mut RelocationStatus);
    let changes: [(&str, Change); 8] = [
        ("status.failure", |status| status.status = Some(StatusValue::Failure)),
        ("status.failure", |status| status.failure = Some(a_failure(Step::Importing, FailureReason::Aborted))),
        ("status.pause", |status| status.status = Some(StatusValue::Pause)),
        ("status.pause", |status| status.pause = Some(a_pause(Step::Importing))),
        ("status.step", |status| status.status = Some(StatusValue::Success)),
        ("status.attempt", |status| status.attempt = Some(1)),
        ("status.launch", |status| status.launch = Some(999)),
        ("status.uuid", |status| status.uuid = Some("other".into())),
    ];
    for (field, change) in changes {
        let mut new = running.clone();
        change(new.status_mut());
        assert_eq!(refused_fields(&running, &new), [field]);
    }
    let mut completed = a_relocation().running(Step::Notifying);
    let old = completed.clone();
    completed.status_mut().step = Some(Step::Completed);
    assert_eq!(
        refusals(&old, &completed),
        ["status.step: cannot be IN_PROGRESS at COMPLETED: every status has its step, \
          and only SUCCESS is at COMPLETED"]
    );
}

#[test]
fn removing_the_whole_status_is_allowed() {
    for state in every_state() {
        let old = a_relocation().with_status(state);
        let mut wiped = old.clone();
        wiped.status = None;
        assert_eq!(refused_fields(&old, &wiped), [""; 0]);
    }
}

#[test]
fn a_part_of_a_removed_status_does_not_stay_behind() {
    let mut running = a_relocation().running(Step::Importing);
    running.status_mut().job = Some("acme-0badcafe".into());
    let whole = json(&running);
    for (field, value) in whole["status"].as_object().expect("a status") {
        let mut left_over = whole.clone();
        left_over["status"] = json!({ "observedGeneration": -1, field: value });
        let mut wiped = left_over.clone();
        wiped["status"].as_object_mut().expect("a status").remove(field);
        assert_eq!(check(Some(&whole), &wiped), Ok(()));
        let refusals = check(Some(&whole), &left_over).expect_err(field);
        assert!(!refusals.is_empty(), "{field}");
    }
    let ended = json(&a_relocation().failed(Step::Importing, FailureReason::AttemptsExhausted));
    let mut forgotten = ended.clone();
    forgotten["status"] = json!({ "observedGeneration": 1, "task": "copy" });
    assert_eq!(
        check(Some(&ended), &forgotten).expect_err("a task stays behind")[0].to_string(),
        "status.step: cannot go from IMPORTING (entered) to no step: steps follow each other one by one, \
         and what was entered stays so"
    );
}

#[test]
fn a_removed_status_is_one_of_which_every_field_is_gone() {
    let schema = schema();
    let fields = schema["properties"]["status"]["properties"].as_object().expect("a status").keys();
    let removed: BTreeSet<&str> = STATUS_FIELDS.into_iter().collect();
    let known: BTreeSet<&str> = fields.map(String::as_str).filter(|field| *field != "observedGeneration").collect();
    assert_eq!(removed, known);
}

#[test]
fn recoveries_are_not_taken_back_where_no_step_is_known_either() {
    let counted = |recoveries: i32| {
        a_relocation().with_status(RelocationStatus { recoveries: Some(recoveries), ..RelocationStatus::default() })
    };
    assert_eq!(
        refusals(&counted(3), &counted(1)),
        ["status.recoveries: cannot go from 3 recoveries to 1: they are counted one by one and never taken back"]
    );
    assert_eq!(
        refusals(&counted(3), &counted(4)),
        ["status.recoveries: cannot count a recovery: the relocation has not failed, there is nothing to recover"]
    );
}

#[test]
fn what_is_stored_can_always_be_labelled_and_released() {
    for state in every_state() {
        for fence in Step::STOPPABLE {
            let mut old = a_relocation().with_status(state.clone());
            old.spec.pause_at_step = Some(fence);
            old.spec.cancel_at_step = Some(fence);
            old.spec.recover = Some("IMPORTING-9-00000000".into());
            let mut labelled = old.clone();
            labelled.metadata.labels = Some([("team".to_owned(), "blue".to_owned())].into());
            assert_eq!(refused_fields(&old, &labelled), [""; 0]);
        }
    }
}

#[test]
fn every_rule_at_the_root_and_at_the_spec_of_any_kind_compares_with_the_old_object() {
    let mut seen = 0;
    for definition in super::super::all_crds() {
        let definition = serde_json::to_value(definition).expect("a definition is JSON");
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for node in [schema, &schema["properties"]["spec"], &schema["properties"]["metadata"]] {
            for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["rule"].as_str().is_some_and(|text| text.contains("oldSelf")), "{rule}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 8 + 7);
}

#[test]
fn every_rule_has_a_message_of_its_own_and_no_words_that_make_a_tool_delete_and_create() {
    let mut seen = 0;
    each_rule(&schema(), &mut |rule| {
        let message = rule["messageExpression"].as_str().expect("a message");
        assert!(!message.to_lowercase().contains("immutable"), "{message}");
        assert_eq!(rule["reason"], "FieldValueForbidden");
        assert!(rule.get("optionalOldSelf").is_none());
        seen += 1;
    });
    assert_eq!(seen, 8 + 7 + 2 + 9);
}

#[test]
fn generated_writes_are_judged_as_a_second_reading_of_the_rules_judges_them() {
    let mut random = Random(0x5eed);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..4000 {
        let old = random.relocation();
        let mut new = old.clone();
        for _ in 0..=random.below(2) {
            random.change(&mut new);
        }
        let expected = second_reading(&old, &new);
        let verdict: BTreeSet<String> = refused_fields(&old, &new).into_iter().collect();
        assert_eq!(verdict, expected, "\nold {}\nnew {}", json(&old), json(&new));
        if expected.is_empty() { accepted += 1 } else { refused += 1 }
    }
    assert!(accepted > 500 && refused > 500, "{accepted} accepted, {refused} refused");
}

/// Section by section what the rules say, read once more and written in plain Rust.
fn second_reading(old: &Relocation, new: &Relocation) -> BTreeSet<String> {
    let mut refused = BTreeSet::new();
    let mut refuse = |field: &str, wrong: bool| {
        if wrong {
            refused.insert(field.to_owned());
        }
    };
    let (before, after) = (old.status.clone().unwrap_or_default(), new.status.clone().unwrap_or_default());
    let report = new.spec.late_requests == LateRequests::Report;
    let succeeded = after.status == Some(StatusValue::Success);

    let fence = new.spec.pause_at_step.filter(|_| new.spec.pause_at_step != old.spec.pause_at_step && !report);
    refuse("spec.pauseAtStep", fence.is_some_and(|step| succeeded || after.is_behind(step)));
    let cancel = new.spec.cancel_at_step.filter(|_| new.spec.cancel_at_step != old.spec.cancel_at_step && !report);
    let has_failed = after.status == Some(StatusValue::Failure);
    refuse("spec.cancelAtStep", cancel.is_some_and(|step| succeeded || (!has_failed && after.is_behind(step))));

    let acceptable = after.failure.as_ref().is_some_and(|failure| {
        let cancelled_again = !after.entered && after.step.is_some() && new.spec.cancel_at_step == after.step;
        let out_of_time = failure.reason == FailureReason::DeadlineExceeded
            && new
                .spec
                .active_deadline_seconds
                .is_some_and(|budget| after.active_seconds.is_none_or(|used| budget <= used));
        new.spec.recover.as_ref() == Some(&failure.id)
            && failure.recoverable
            && new.spec.desired_state != DesiredState::Aborted
            && !cancelled_again
            && !out_of_time
    });
    let asked = new.spec.recover.is_some() && new.spec.recover != old.spec.recover && !report;
    refuse("spec.recover", asked && after.failure.is_some() && !acceptable);
    let leaves = old.spec.desired_state == DesiredState::Aborted && new.spec.desired_state != DesiredState::Aborted;
    refuse("spec.desiredState", leaves && !succeeded && !acceptable);
    refuse(
        "spec.parameters",
        new.spec.parameters != old.spec.parameters && !report && after.status == Some(StatusValue::InProgress),
    );

    let wiped =
        after == RelocationStatus { observed_generation: after.observed_generation, ..RelocationStatus::default() };
    if let (Some(from), Some(to)) = (before.step, after.step) {
        let stands = |step: Step| {
            let automatic = [before.auto_pause_at_step, after.auto_pause_at_step].contains(&Some(step));
            new.spec.pause_at_step == Some(step)
                || new.spec.cancel_at_step == Some(step)
                || (new.spec.auto_pause == AutoPause::Honour && automatic)
        };
        let enters = after.entered && (from != to || !before.entered);
        refuse("status.step", enters && stands(to));
        refuse("status.step", from != to && !before.entered && stands(from));
    }
    let grown = after.recoveries.unwrap_or(0) - before.recoveries.unwrap_or(0);
    if before.step.is_some() || before.recoveries.is_some() {
        let matching = before.failure.is_some()
            && new.spec.recover.is_some()
            && new.spec.recover.as_ref() == before.failure.as_ref().map(|failure| &failure.id);
        refuse("status.recoveries", grown > 0 && !matching);
        refuse("status.recoveries", !wiped && !(0..=1).contains(&grown));
    }
    if !wiped {
        if let Some(from) = before.step {
            let forward = after.step.is_some_and(|to| {
                (to == from.next() && to != from) || (to == from && (after.entered || !before.entered))
            });
            refuse("status.step", !forward);
            if before.has_ended() {
                let same_ending = after.status == before.status
                    && after.step == before.step
                    && before.failure.as_ref().is_none_or(|was| {
                        after.failure.as_ref().is_some_and(|is| is.id == was.id && is.reason == was.reason)
                    });
                let recovered = before.status == Some(StatusValue::Failure) && after.step == before.step && grown == 1;
                refuse("status.status", !same_ending && !recovered);
            }
            if before.entered && after.step == before.step && before.task.is_some() {
                let went_on = after.task.is_some() && after.task != before.task;
                refuse("status.attempt", !went_on && (after.task.is_none() || after.attempt < before.attempt));
            }
        }
        refuse("status.launch", after.launch < before.launch);
        refuse("status.uuid", before.uuid.is_some() && after.uuid != before.uuid);
    }
    refuse("status.failure", (after.status == Some(StatusValue::Failure)) != after.failure.is_some());
    refuse("status.pause", (after.status == Some(StatusValue::Pause)) != after.pause.is_some());
    refuse(
        "status.step",
        (after.status.is_some() && after.step.is_none()) || succeeded != (after.step == Some(Step::Completed)),
    );
    refused
}

/// A repeatable source of choices (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("a small number")
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn maybe_step(&mut self) -> Option<Step> {
        let step = self.pick(&Step::STOPPABLE);
        self.pick(&[None, Some(step)])
    }

    fn relocation(&mut self) -> Relocation {
        let states = every_state();
        let mut relocation = a_relocation().with_status(self.pick(&states));
        for _ in 0..self.below(5) {
            self.change_spec(&mut relocation);
        }
        if relocation.status_mut().step.is_some() {
            let automatic = self.maybe_step();
            relocation.status_mut().auto_pause_at_step = automatic;
        }
        if let Some(failure) = &mut relocation.status_mut().failure {
            failure.recoverable = self.below(4) > 0;
        }
        relocation
    }

    fn change(&mut self, relocation: &mut Relocation) {
        if self.below(2) == 0 { self.change_spec(relocation) } else { self.change_status(relocation) }
    }

    fn change_spec(&mut self, relocation: &mut Relocation) {
        let step = self.maybe_step();
        let spec = &mut relocation.spec;
        match self.below(8) {
            0 => spec.pause_at_step = step,
            1 => spec.cancel_at_step = step,
            2 => spec.auto_pause = self.pick(&[AutoPause::Honour, AutoPause::Skip]),
            3 => {
                spec.desired_state = self.pick(&[DesiredState::Active, DesiredState::Suspended, DesiredState::Aborted]);
            }
            4 => {
                spec.recover = self.pick(&[None, Some(FAILURE_ID.to_owned()), Some("IMPORTING-9-00000000".to_owned())]);
            }
            5 => spec.late_requests = self.pick(&[LateRequests::Refuse, LateRequests::Refuse, LateRequests::Report]),
            6 => spec.active_deadline_seconds = self.pick(&[None, Some(500), Some(700)]),
            _ => drop(spec.parameters.insert("RATE".to_owned(), self.pick(&["slow", "fast"]).to_owned())),
        }
    }

    fn change_status(&mut self, relocation: &mut Relocation) {
        let states = every_state();
        let automatic = self.maybe_step();
        let status = relocation.status_mut();
        match self.below(10) {
            0..=3 => {
                let next = self.pick(&states);
                *status = RelocationStatus { auto_pause_at_step: status.auto_pause_at_step, ..next };
            }
            4 => status.entered = !status.entered,
            5 => status.step = status.step.map(Step::next),
            6 => status.recoveries = self.pick(&[None, Some(0), Some(1), Some(2)]),
            7 => status.attempt = self.pick(&[Some(1), Some(2), Some(3)]),
            8 => status.launch = self.pick(&[Some(999), Some(1001)]),
            _ => status.auto_pause_at_step = automatic,
        }
    }
}

/// Every state that a relocation can be in, as far as the rules can tell states apart.
fn every_state() -> Vec<RelocationStatus> {
    let mut states = vec![RelocationStatus::default(), a_relocation().succeeded().status.unwrap_or_default()];
    for step in Step::WORKING {
        for entered in [false, true] {
            states.push(working(step, entered));
            states.push(RelocationStatus { status: Some(StatusValue::Pending), ..working(step, entered) });
            states.push(RelocationStatus {
                status: Some(StatusValue::Pause),
                pause: Some(a_pause(step)),
                ..working(step, entered)
            });
            for reason in [FailureReason::AttemptsExhausted, FailureReason::DeadlineExceeded] {
                states.push(RelocationStatus {
                    status: Some(StatusValue::Failure),
                    failure: Some(a_failure(step, reason)),
                    ..working(step, entered)
                });
            }
        }
    }
    states
}

/// Every way to set, move, keep and clear a field that names one of `steps`.
fn every_change(steps: &[Step]) -> Vec<(Option<Step>, Option<Step>)> {
    let values: Vec<Option<Step>> = steps.iter().copied().map(Some).chain([None]).collect();
    values.iter().flat_map(|&before| values.iter().map(move |&after| (before, after))).collect()
}

fn a_relocation() -> Relocation {
    serde_json::from_value(json!({
        "apiVersion": "relocation.dev/v1alpha1",
        "kind": "Relocation",
        "metadata": { "name": "acme", "namespace": "moves" },
        "spec": { "planRef": { "name": "files" }, "owner": "acme" }
    }))
    .expect("a relocation")
}

fn working(step: Step, entered: bool) -> RelocationStatus {
    RelocationStatus {
        uuid: Some("4f0c0bb2-0000-4000-8000-000000000000".into()),
        status: Some(StatusValue::InProgress),
        step: Some(step),
        task: Some("copy".into()),
        entered,
        attempt: Some(2),
        launch: Some(1000),
        active_seconds: Some(600),
        ..RelocationStatus::default()
    }
}

fn a_failure(step: Step, reason: FailureReason) -> Failure {
    let failure = json!({
        "id": FAILURE_ID, "step": step, "entered": true, "reason": reason, "message": "no",
        "recoverable": true, "at": "2026-01-01T00:00:00Z"
    });
    serde_json::from_value(failure).expect("a failure")
}

fn a_pause(step: Step) -> Pause {
    let pause = json!({
        "step": step, "since": "2026-01-01T00:00:00Z", "reason": PauseReason::Fence, "message": "stands before it"
    });
    serde_json::from_value(pause).expect("a pause")
}

trait States {
    fn with_status(self, status: RelocationStatus) -> Self;
    fn running(self, step: Step) -> Self;
    fn paused_before(self, step: Step) -> Self;
    fn failed(self, step: Step, reason: FailureReason) -> Self;
    fn succeeded(self) -> Self;
    fn status_mut(&mut self) -> &mut RelocationStatus;
    fn failure_mut(&mut self) -> &mut Failure;
}

impl States for Relocation {
    fn with_status(mut self, status: RelocationStatus) -> Self {
        self.status = Some(status);
        self
    }

    fn running(self, step: Step) -> Self {
        self.with_status(working(step, true))
    }

    fn paused_before(self, step: Step) -> Self {
        self.with_status(RelocationStatus {
            status: Some(StatusValue::Pause),
            pause: Some(a_pause(step)),
            ..working(step, false)
        })
    }

    fn failed(self, step: Step, reason: FailureReason) -> Self {
        self.with_status(RelocationStatus {
            status: Some(StatusValue::Failure),
            failure: Some(a_failure(step, reason)),
            ..working(step, true)
        })
    }

    fn succeeded(self) -> Self {
        self.with_status(RelocationStatus {
            status: Some(StatusValue::Success),
            task: None,
            ..working(Step::Completed, false)
        })
    }

    fn status_mut(&mut self) -> &mut RelocationStatus {
        self.status.get_or_insert_default()
    }

    fn failure_mut(&mut self) -> &mut Failure {
        self.status_mut().failure.as_mut().expect("a failed relocation")
    }
}

fn json(relocation: &Relocation) -> Value {
    serde_json::to_value(relocation).expect("a relocation is JSON")
}

/// Every refusal of a write, in the order of their texts.
fn refusals(old: &Relocation, new: &Relocation) -> Vec<String> {
    let mut texts: Vec<String> = match check(Some(&json(old)), &json(new)) {
        Ok(()) => Vec::new(),
        Err(refusals) => refusals.iter().map(ToString::to_string).collect(),
    };
    for text in &texts {
        assert!(!text.contains("failed rule") && !text.contains("evaluation error"), "{text}");
    }
    texts.sort();
    texts
}

fn refused_fields(old: &Relocation, new: &Relocation) -> Vec<String> {
    let fields: BTreeSet<String> =
        refusals(old, new).iter().filter_map(|text| Some(text.split_once(": ")?.0.to_owned())).collect();
    fields.into_iter().collect()
}

fn refusal(old: &Relocation, change: impl FnOnce(&mut Relocation)) -> String {
    let mut new = old.clone();
    change(&mut new);
    let refusals = refusals(old, &new);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals[0].clone()
}

fn accepts(old: &Relocation, change: impl FnOnce(&mut Relocation)) {
    let mut new = old.clone();
    change(&mut new);
    assert_eq!(refusals(old, &new), [""; 0]);
}

fn schema() -> Value {
    let definition = serde_json::to_value(crd::<Relocation>()).expect("a definition is JSON");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn each_rule(node: &Value, visit: &mut impl FnMut(&Value)) {
    node["x-kubernetes-validations"].as_array().into_iter().flatten().for_each(&mut *visit);
    for child in node["properties"].as_object().into_iter().flat_map(serde_json::Map::values) {
        each_rule(child, visit);
    }
    if node["items"].is_object() {
        each_rule(&node["items"], visit);
    }
}
