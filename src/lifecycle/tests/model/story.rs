//! A run as a story that a person can read.

use super::super::world::{Edit, Manner, Outcome, Phase, World, name_of};
use super::{Action, Fault, MOMENT_SECONDS, Moment, Sight};
use crate::api::{AutoPause, DesiredState, RelocationStatus, StatusValue};
use crate::lifecycle::Effect;

/// Tells what happened, one numbered sentence for each thing, and what came of it.
pub(super) fn tell(run: &[(Moment, Option<Action>)], end: &str) -> String {
    let sentences = run.windows(2).enumerate().filter_map(|(number, pair)| {
        let [(before, Some(action)), (after, _)] = pair else { return None };
        Some(format!("{}. {}\n", number + 1, sentence(before, *action, after)))
    });
    sentences.chain([format!("{end}\n")]).collect()
}

fn sentence(before: &Moment, action: Action, after: &Moment) -> String {
    let (world, next) = (&before.world, &after.world);
    match action {
        Action::Edit { relocation, edit } => format!("ann {} of {}", wish(edit), name_of(relocation)),
        Action::Look { operator, relocation, sight } => {
            let sight = match sight {
                Sight::Fresh => "",
                Sight::OldJobs => " by an old cache of its Jobs",
                Sight::OldCopy => " by an old copy",
            };
            let outcome = plan_of(next, operator);
            format!("{} looks at {}{sight}: {outcome}", who(operator), name_of(relocation))
        }
        Action::Store { operator } => {
            let pending = world.operators[operator].pending.as_ref();
            if pending.is_some_and(|pending| pending.phase == Phase::Decided)
                && next.operators[operator].pending.as_ref().is_some_and(|pending| pending.phase == Phase::ActedFirst)
            {
                return format!("{} acts before it has stored anything", who(operator));
            }
            let stored = pending.map(|pending| standing(&pending.decision.status)).unwrap_or_default();
            format!("{} stores {stored}", who(operator))
        }
        Action::Act { operator } => {
            let pending = world.operators[operator].pending.as_ref();
            let deed = pending.and_then(|pending| pending.decision.effect.as_ref().map(deed)).unwrap_or("does nothing");
            format!("{} {deed}", who(operator))
        }
        Action::Crash { operator } => format!("{} is killed and starts again", who(operator)),
        Action::Finish { pod } => {
            let asked = world.pods[pod].deleted_at.is_some();
            format!("the pod of {} ends{}", work_of(world, pod), if asked { ", as it was asked to" } else { " well" })
        }
        Action::Fault { pod, fault } => match fault {
            Fault::Ends(outcome) => format!("the pod of {} {}", work_of(world, pod), ending(outcome)),
            Fault::Deleted(manner) => {
                let manner = match manner {
                    Manner::Background => "; its pod goes on until its grace period is over",
                    Manner::Foreground => " in the foreground",
                    Manner::Orphan => " and orphans its pod",
                };
                format!("somebody deletes the Job of {}{manner}", work_of(world, pod))
            }
        },
        Action::Delete { relocation } => format!("ann deletes {}", name_of(relocation)),
        Action::Wipe { relocation } => format!("somebody removes the status of {}", name_of(relocation)),
        Action::Wait => format!("{MOMENT_SECONDS} s pass"),
    }
}

fn who(operator: usize) -> &'static str {
    ["operator A", "operator B"][operator]
}

fn wish(edit: Edit) -> String {
    match edit {
        Edit::Pause(Some(step)) => format!("sets pauseAtStep to {step}"),
        Edit::Pause(None) => "clears pauseAtStep".to_owned(),
        Edit::Cancel(Some(step)) => format!("sets cancelAtStep to {step}"),
        Edit::Cancel(None) => "clears cancelAtStep".to_owned(),
        Edit::AutoPause(AutoPause::Skip) => "opens the automatic fence".to_owned(),
        Edit::AutoPause(AutoPause::Honour) => "closes the automatic fence".to_owned(),
        Edit::Desire(DesiredState::Active) => "sets desiredState to Active".to_owned(),
        Edit::Desire(DesiredState::Suspended) => "sets desiredState to Suspended".to_owned(),
        Edit::Desire(DesiredState::Aborted) => "sets desiredState to Aborted".to_owned(),
        Edit::Budget(Some(seconds)) => format!("sets activeDeadlineSeconds to {seconds}"),
        Edit::Budget(None) => "clears activeDeadlineSeconds".to_owned(),
        Edit::WhenLocked(value) => format!("sets whenLocked to {value:?}"),
        Edit::LateRequests(value) => format!("sets lateRequests to {value:?}"),
        Edit::Recover => "recovers the failure".to_owned(),
        Edit::RecoverAnother => "recovers a failure that does not stand".to_owned(),
        Edit::BadParameter(true) => "sets a parameter that the plan does not know".to_owned(),
        Edit::BadParameter(false) => "clears the parameters".to_owned(),
    }
}

fn ending(outcome: Outcome) -> String {
    match outcome {
        Outcome::Valid => "ends well".to_owned(),
        Outcome::Invalid => "finds the data invalid".to_owned(),
        Outcome::NoVerdict => "ends without a verdict".to_owned(),
        Outcome::Unread => "ends well and is gone before anybody reads it".to_owned(),
        Outcome::Exit(code) => format!("ends with exit code {code}"),
        Outcome::Disrupted => "is lost to a disruption".to_owned(),
        Outcome::TimedOut => "runs out of time".to_owned(),
    }
}

/// What an operator has made up its mind to do.
fn plan_of(world: &World, operator: usize) -> String {
    let Some(pending) = &world.operators[operator].pending else { return "nothing to do".to_owned() };
    let writes = pending.copy.status.as_ref() != Some(&pending.decision.status);
    let status = writes.then(|| format!("it wants to store {}", standing(&pending.decision.status)));
    let effect = pending.decision.effect.as_ref().map(|effect| format!("then {}", deed(effect)));
    status.into_iter().chain(effect).collect::<Vec<_>>().join(", ")
}

/// The one place that names the effects.
pub(super) fn deed(effect: &Effect) -> &'static str {
    match effect {
        Effect::TakeLock => "takes the lock",
        Effect::ReleaseLock { .. } => "gives the lock back",
        Effect::CreateWorkspace(_) => "creates the workspace",
        Effect::FreezePlan { .. } => "freezes the plan",
        Effect::CreateJob(_) => "creates the Job",
        Effect::DeleteJobs(_) => "deletes the Job",
        Effect::CreateEndJob(_) => "creates the Job of onEnd",
        Effect::CleanUp(_) => "cleans up",
    }
}

/// A status in a few words.
pub(super) fn standing(status: &RelocationStatus) -> String {
    let value = status.status.map_or("no status", StatusValue::as_str);
    let Some(step) = status.step else { return value.to_owned() };
    let place = match (&status.task, status.entered) {
        (Some(task), true) => format!("in {step}/{task}"),
        (_, false) => format!("before {step}"),
        (None, true) => format!("at {step}"),
    };
    let attempt = status.attempt.filter(|_| status.entered).map(|attempt| format!(", attempt {attempt}"));
    let job = if status.job.is_some() { ", with its Job" } else { "" };
    let failure = status.failure.as_ref().map(|failure| format!(" ({})", failure.reason.as_str()));
    format!("{value}{} {place}{}{job}", failure.unwrap_or_default(), attempt.unwrap_or_default())
}

fn work_of(world: &World, pod: usize) -> String {
    let job = &world.pods[pod].job;
    let named = world.ledger.named.iter().find_map(|names| names.get(job));
    named.map_or_else(|| job.clone(), |(step, task)| format!("{step}/{task}"))
}
