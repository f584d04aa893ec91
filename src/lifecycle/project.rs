//! Conditions, as a projection of the status. Nothing reads them back to decide what happens next.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::because::{Because, Flow};
use crate::api::{
    AutoPause, ConditionType, PauseReason, Readiness, Relocation, RelocationStatus, StatusValue, Step, WorkState,
    condition_status, find_condition,
};

/// How long a condition's message may be: the bound of `metav1.Condition` is 32 KiB; people read one sentence.
const MESSAGE_LIMIT: usize = 1024;

/// The conditions of a relocation, in a fixed order. A transition time moves only when a condition's status does.
#[must_use]
pub fn conditions(
    status: &RelocationStatus,
    relocation: &Relocation,
    because: &Because,
    now: Timestamp,
) -> Vec<Condition> {
    let all = [
        Some(ready(status, relocation, because)),
        reconciling(status, relocation, because),
        stalled(status, because),
        Some(succeeded(status)),
        Some(paused(status, relocation)),
        cancelling(status, relocation, because),
        notified(status),
    ];
    all.into_iter()
        .flatten()
        .map(|view| {
            let previous = find_condition(&status.conditions, view.type_).filter(|known| known.status == view.status);
            Condition {
                type_: view.type_.as_str().to_owned(),
                status: view.status.to_owned(),
                reason: view.reason.to_owned(),
                message: cut(view.message),
                observed_generation: relocation.metadata.generation,
                last_transition_time: previous.map_or(Time(now), |known| known.last_transition_time.clone()),
            }
        })
        .collect()
}

/// Whether the stored conditions already tell this reason with this message.
pub(super) fn is_told(status: &RelocationStatus, because: &Because) -> bool {
    told(status).is_some_and(|condition| condition.message == because.message())
}

/// Whether the stored conditions tell of an unready pod in words that begin like this.
pub(super) fn tells_of_unready_pod(status: &RelocationStatus, beginning: &str) -> bool {
    told(status).is_some_and(|condition| condition.message.starts_with(beginning))
}

/// The condition that tells what it works at or waits for: `Ready`, where `Reconciling` would hide the acceptance.
fn told(status: &RelocationStatus) -> Option<&Condition> {
    let find = |wanted| find_condition(&status.conditions, wanted);
    find(ConditionType::Reconciling).or_else(|| find(ConditionType::Ready))
}

/// Whether it is all that a tool asks for which waits for acceptance alone.
///
/// Such a tool takes `Reconciling` for "not there yet", whatever `Ready` says, so the two never stand together.
fn is_accepted(status: &RelocationStatus, relocation: &Relocation, because: &Because) -> bool {
    let asked = relocation.spec.readiness == Readiness::WhenAccepted;
    asked && status.plan.is_some() && status.failure.is_none() && because.flow() != Flow::Stalled
}

struct View {
    type_: ConditionType,
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn view(type_: ConditionType, status: &'static str, reason: &'static str, message: String) -> View {
    View { type_, status, reason, message }
}

/// The sentence that says why it stands where it stands.
fn sentence(status: &RelocationStatus, because: &Because) -> (&'static str, String) {
    match (&status.failure, &status.pause) {
        (Some(failure), _) if matches!(because, Because::RecoverWaiting { .. }) => {
            (because.reason(), format!("{} (failure {})", because.message(), failure.id))
        }
        (Some(failure), _) => (failure.reason.as_str(), format!("{} (failure {})", failure.message, failure.id)),
        (None, Some(pause)) if because.flow() != Flow::Stalled => (paused_reason(pause.reason), pause.message.clone()),
        (None, Some(_) | None) => (because.reason(), because.message()),
    }
}

fn ready(status: &RelocationStatus, relocation: &Relocation, because: &Because) -> View {
    let (reason, message) = sentence(status, because);
    let (value, reason) = match status.status {
        Some(StatusValue::Success) => (condition_status::TRUE, "Succeeded"),
        _ if is_accepted(status, relocation, because) => (condition_status::TRUE, "Accepted"),
        _ => (condition_status::FALSE, reason),
    };
    view(ConditionType::Ready, value, reason, message)
}

fn reconciling(status: &RelocationStatus, relocation: &Relocation, because: &Because) -> Option<View> {
    match because.flow() {
        Flow::Reconciling if is_accepted(status, relocation, because) => None,
        Flow::Reconciling => {
            Some(view(ConditionType::Reconciling, condition_status::TRUE, because.reason(), because.message()))
        }
        Flow::Stalled | Flow::Still => None,
    }
}

fn stalled(status: &RelocationStatus, because: &Because) -> Option<View> {
    match because.flow() {
        Flow::Stalled => {
            let (reason, message) = sentence(status, because);
            Some(view(ConditionType::Stalled, condition_status::TRUE, reason, message))
        }
        Flow::Reconciling | Flow::Still => None,
    }
}

fn succeeded(status: &RelocationStatus) -> View {
    match (status.status, &status.failure) {
        (Some(StatusValue::Success), _) => {
            view(ConditionType::Succeeded, condition_status::TRUE, "Succeeded", "every step is done".to_owned())
        }
        (Some(StatusValue::Failure), Some(failure)) => {
            view(ConditionType::Succeeded, condition_status::FALSE, failure.reason.as_str(), failure.message.clone())
        }
        _ => view(ConditionType::Succeeded, condition_status::UNKNOWN, "Active", "not ended yet".to_owned()),
    }
}

const fn paused_reason(reason: PauseReason) -> &'static str {
    match reason {
        PauseReason::Fence => "AtFence",
        PauseReason::AutoFence => "AtAutoFence",
        PauseReason::Suspended => "Suspended",
    }
}

fn paused(status: &RelocationStatus, relocation: &Relocation) -> View {
    if let Some(pause) = &status.pause {
        return view(ConditionType::Paused, condition_status::TRUE, paused_reason(pause.reason), pause.message.clone());
    }
    match pending_fence(status, relocation) {
        Some(step) => {
            let message = format!("will pause before {step}");
            view(ConditionType::Paused, condition_status::FALSE, "PausePending", message)
        }
        None => view(ConditionType::Paused, condition_status::FALSE, "NotPaused", "no fence is ahead".to_owned()),
    }
}

/// The next fence that is still ahead.
fn pending_fence(status: &RelocationStatus, relocation: &Relocation) -> Option<Step> {
    if status.has_ended() {
        return None;
    }
    let automatic = status.auto_pause_at_step.filter(|_| relocation.spec.auto_pause == AutoPause::Honour);
    [relocation.spec.pause_at_step, automatic].into_iter().flatten().filter(|step| !status.is_behind(*step)).min()
}

fn cancelling(status: &RelocationStatus, relocation: &Relocation, because: &Because) -> Option<View> {
    if matches!(because, Because::StoppingPods { .. }) {
        return Some(view(ConditionType::Cancelling, condition_status::TRUE, "StoppingPods", because.message()));
    }
    let step = relocation.spec.cancel_at_step.filter(|step| !status.has_ended() && !status.is_behind(*step))?;
    let message = format!("will end instead of entering {step}; withdraw by clearing spec.cancelAtStep");
    Some(view(ConditionType::Cancelling, condition_status::TRUE, "Scheduled", message))
}

fn notified(status: &RelocationStatus) -> Option<View> {
    let record = status.steps.iter().find(|record| record.name == Step::Completed)?;
    let said = record.tasks.first().and_then(|task| task.message.clone());
    let (value, reason, fallback) = match record.state {
        WorkState::Succeeded => (condition_status::TRUE, "Succeeded", "the onEnd Job has succeeded"),
        WorkState::Failed => (condition_status::FALSE, "Failed", "the onEnd Job has failed"),
        WorkState::Pending | WorkState::Running | WorkState::Skipped => {
            (condition_status::UNKNOWN, "Running", "the onEnd Job runs")
        }
    };
    Some(view(ConditionType::Notified, value, reason, said.unwrap_or_else(|| fallback.to_owned())))
}

fn cut(message: String) -> String {
    if message.len() <= MESSAGE_LIMIT {
        return message;
    }
    let mut end = MESSAGE_LIMIT;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}
