//! Requests: what people have changed in the spec since they were last answered, and the answer to each.
//!
//! An answer is an event, an entry of the history, or, for what came too late, `status.late`.
//! Nothing here decides what happens next: that compares the spec as it is, at every look.

use super::draft::{Draft, NoticeReason};
use super::recover;
use crate::api::{AnsweredRequests, AutoPause, DesiredState, LateRequest, StatusValue, Step};

/// Answers every request that is new in this generation; a later look at the same spec answers nothing again.
pub(super) fn answer(draft: &mut Draft<'_>) {
    let stored = draft.relocation.status.as_ref();
    if stored.is_some_and(|status| status.observed_generation == draft.status.observed_generation) {
        return;
    }
    let asked = AnsweredRequests::of(draft.spec);
    let before = draft.status.answered.replace(asked.clone()).unwrap_or_default();
    if asked.pause_at_step != before.pause_at_step {
        answer_pause(draft, &asked);
    }
    if asked.auto_pause != before.auto_pause {
        answer_auto_pause(draft, &asked);
    }
    if asked.cancel_at_step != before.cancel_at_step {
        answer_cancel(draft, &asked);
    }
    if asked.desired_state != before.desired_state {
        answer_desired_state(draft, &before, &asked);
    }
    if asked.recover != before.recover
        && let Some((value, why)) = asked.recover.zip(recover::refusal(draft))
    {
        answer_late(draft, "recover", value, why);
    }
    // Without an earlier answer nothing can be said to have changed.
    let parameters_changed = !before.parameters.is_empty() && asked.parameters != before.parameters;
    if parameters_changed && draft.status.status == Some(StatusValue::InProgress) {
        let why =
            format!("cannot change what runs: {} keeps its parameters; the next launch takes these", draft.place());
        answer_late(draft, "parameters", "changed".to_owned(), why);
    }
}

fn answer_pause(draft: &mut Draft<'_>, asked: &AnsweredRequests) {
    match asked.pause_at_step {
        Some(step) if draft.status.is_behind(step) => {
            let why = format!("cannot pause at {step}: {}", behind(draft, step));
            answer_late(draft, "pauseAtStep", step.to_string(), why);
        }
        Some(step) => {
            let sentence = format!("will pause before {step}");
            draft.notice(NoticeReason::PauseScheduled, sentence.clone());
            draft.remember_request(NoticeReason::PauseScheduled, Some(sentence), Some("pauseAtStep"));
        }
        // What ends a pause is answered when it ends.
        None if draft.status.pause.is_some() => {}
        None => {
            let sentence = "spec.pauseAtStep is cleared; no fence of the spec is ahead any more".to_owned();
            draft.notice(NoticeReason::Unpaused, sentence.clone());
            draft.remember_request(NoticeReason::Unpaused, Some(sentence), None);
        }
    }
}

fn answer_auto_pause(draft: &mut Draft<'_>, asked: &AnsweredRequests) {
    let Some(step) = draft.status.auto_pause_at_step.filter(|step| !draft.status.is_behind(*step)) else { return };
    match asked.auto_pause {
        AutoPause::Honour => {
            let sentence = format!("will pause before {step}, where the plan's automatic fence stands");
            draft.remember_request(NoticeReason::PauseScheduled, Some(sentence), Some("autoPause"));
        }
        AutoPause::Skip if draft.status.pause.is_some() => {}
        AutoPause::Skip => {
            let sentence = format!("the plan's automatic fence before {step} is open");
            draft.remember_request(NoticeReason::Unpaused, Some(sentence), Some("autoPause"));
        }
    }
}

fn answer_cancel(draft: &mut Draft<'_>, asked: &AnsweredRequests) {
    let failed = draft.status.status == Some(StatusValue::Failure);
    match asked.cancel_at_step {
        Some(step) if draft.status.is_behind(step) => {
            // After a failure it is a wish for the next time, and no step that was entered is entered again.
            if !failed {
                let why = format!("cannot cancel at {step}: {}", behind(draft, step));
                answer_late(draft, "cancelAtStep", step.to_string(), why);
            }
        }
        // At the step before which it stands it ends at once, which tells itself.
        Some(step) if draft.status.step == Some(step) && !failed => {}
        Some(step) => {
            let sentence = format!("will end instead of entering {step}");
            draft.notice(NoticeReason::CancelScheduled, sentence.clone());
            draft.remember_request(NoticeReason::CancelScheduled, Some(sentence), Some("cancelAtStep"));
        }
        None => {
            draft.remember_request(NoticeReason::CancelScheduled, Some("the cancel is withdrawn".to_owned()), None);
        }
    }
}

fn answer_desired_state(draft: &mut Draft<'_>, before: &AnsweredRequests, asked: &AnsweredRequests) {
    match asked.desired_state {
        DesiredState::Aborted => {
            if let Some((field, value, why)) = late_abort(draft) {
                answer_late(draft, field, value, why);
            }
        }
        DesiredState::Suspended if !draft.status.has_ended() => {
            draft.remember_request(NoticeReason::Suspended, None, Some("desiredState"));
        }
        // Resumed before the work had stopped; a resumed pause is answered when it ends.
        DesiredState::Active
            if before.desired_state == DesiredState::Suspended
                && draft.status.pause.is_none()
                && !draft.status.has_ended() =>
        {
            draft.remember_request(NoticeReason::Resumed, None, Some("desiredState"));
        }
        DesiredState::Active | DesiredState::Suspended => {}
    }
}

/// An abort that finds everything done has come too late.
pub(super) fn late_abort(draft: &Draft<'_>) -> Option<(&'static str, String, String)> {
    let late = draft.spec.desired_state == DesiredState::Aborted && draft.status.status == Some(StatusValue::Success);
    late.then(|| ("desiredState", "Aborted".to_owned(), "cannot abort: the relocation has succeeded".to_owned()))
}

/// Answers a request that came too late, once.
pub(super) fn answer_late(draft: &mut Draft<'_>, field: &str, value: String, why: String) {
    draft.notice(NoticeReason::RequestTooLate, format!("spec.{field}: {why}"));
    draft.status.late = Some(LateRequest { field: field.to_owned(), value, why, at: draft.time() });
}

/// Why a step is behind.
fn behind(draft: &Draft<'_>, step: Step) -> String {
    match draft.status.status {
        Some(StatusValue::Success) => "the relocation has succeeded".to_owned(),
        Some(StatusValue::Pending | StatusValue::InProgress | StatusValue::Pause | StatusValue::Failure) | None => {
            let fate = if draft.status.step == Some(step) { "has started" } else { "is over" };
            format!("it {fate} (the relocation is at {})", draft.place())
        }
    }
}
