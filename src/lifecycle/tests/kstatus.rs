//! What GitOps tools make of every state, by the published rules of kstatus (`sigs.k8s.io/cli-utils/pkg/kstatus`).
//!
//! Flux waits by these rules, and so does everything else that is built on that library.
//! [`verdict`] is those rules for a kind that the library does not know; it reads an object as it stands in the API.

use std::fmt;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixtures::{Scene, a_pod, a_relocation, ours};
use super::histories::a_scene;
use super::world::{Edit, Event, Flaw, Outcome, World};
use crate::api::{
    AutoPause, AutoPauseAtStep, DesiredState, Readiness, Relocation, RetryOf, StatusValue, Step, WhenLocked, crd,
};
use crate::lifecycle::{
    Because, CreateRefusal, Decision, JobSeen, MutexUse, PlaceSeen, PlanSeen, SourceSeen, WorkspaceSeen,
};

/// What kstatus can say of an object that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    InProgress,
    Failed,
    Current,
    Terminating,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// The rules, in their order: deletion, generation, the first of `Reconciling` and `Stalled` that is True, `Ready`.
pub(super) fn verdict(object: &Value) -> Verdict {
    if object["metadata"]["deletionTimestamp"].as_str().is_some_and(|time| !time.is_empty()) {
        return Verdict::Terminating;
    }
    let generations = (object["metadata"]["generation"].as_i64(), object["status"]["observedGeneration"].as_i64());
    if let (Some(generation), Some(observed)) = generations
        && generation != observed
    {
        return Verdict::InProgress;
    }
    let conditions = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    for condition in conditions {
        match (condition["type"].as_str(), condition["status"].as_str()) {
            (Some("Reconciling"), Some("True")) => return Verdict::InProgress,
            (Some("Stalled"), Some("True")) => return Verdict::Failed,
            _ => {}
        }
    }
    for condition in conditions.iter().filter(|condition| condition["type"] == "Ready") {
        match condition["status"].as_str() {
            Some("True") => return Verdict::Current,
            Some("False" | "Unknown") => return Verdict::InProgress,
            _ => {}
        }
    }
    Verdict::Current
}

/// The verdict on a relocation as the API server would hand it out.
pub(super) fn verdict_of(relocation: &Relocation) -> Verdict {
    verdict(&serde_json::to_value(relocation).expect("a relocation is JSON"))
}

/// The verdict that people want, told from what is true and not from the conditions.
fn wanted(relocation: &Relocation, because: &Because) -> Verdict {
    if relocation.metadata.deletion_timestamp.is_some() {
        return Verdict::Terminating;
    }
    match relocation.status.as_ref().and_then(|status| status.status) {
        Some(StatusValue::Failure) => Verdict::Failed,
        Some(StatusValue::Success) => Verdict::Current,
        Some(StatusValue::Pending | StatusValue::InProgress | StatusValue::Pause) if needs_a_person(because) => {
            Verdict::Failed
        }
        Some(StatusValue::Pending | StatusValue::InProgress | StatusValue::Pause) if is_accepted(relocation) => {
            Verdict::Current
        }
        Some(StatusValue::Pending | StatusValue::InProgress | StatusValue::Pause) | None => Verdict::InProgress,
    }
}

/// Whether the run has begun with an accepted plan, and no more is asked.
fn is_accepted(relocation: &Relocation) -> bool {
    let begun = relocation.status.as_ref().is_some_and(|status| status.plan.is_some());
    begun && relocation.spec.readiness == Readiness::WhenAccepted
}

/// Whether nothing goes on until a person corrects something.
/// A new reason has to be put on one of the two sides, or this does not compile.
fn needs_a_person(because: &Because) -> bool {
    match because {
        Because::PlanMissing { overdue, .. } | Because::PlanNotJudged { overdue, .. } => *overdue,
        Because::PlanNotAccepted { .. }
        | Because::ParameterRefused { .. }
        | Because::RetryUnusable { .. }
        | Because::RevisionMissing { .. }
        | Because::WorkspaceTaken { .. }
        | Because::LockLost { .. }
        | Because::RecoverWaiting { .. }
        | Because::Failed => true,
        Because::Deleted
        | Because::Starting
        | Because::WaitingForLock { .. }
        | Because::WaitingForPlace { .. }
        | Because::WaitingForPods { .. }
        | Because::DeletingStrays { .. }
        | Because::PassedThrough
        | Because::Running { .. }
        | Because::PodNotReady { .. }
        | Because::JobForbidden { .. }
        | Because::JobSuspendedExternally { .. }
        | Because::JobEnding { .. }
        | Because::PodStuck { .. }
        | Because::BackingOff { .. }
        | Because::Suspending
        | Because::Paused
        | Because::StoppingPods { .. }
        | Because::Succeeded => false,
    }
}

/// A relocation once the decision about it is stored.
fn stored(relocation: &Relocation, decision: &Decision) -> Relocation {
    Relocation { status: Some(decision.status.clone()), ..relocation.clone() }
}

#[test]
fn the_rules_are_those_that_kstatus_publishes() {
    let condition = |type_: &str, status: &str| json!({ "type": type_, "status": status });
    let check = |object: Value, expected: Verdict| assert_eq!(verdict(&object), expected, "{object}");
    let answered = |conditions: &[Value]| {
        json!({
            "metadata": { "generation": 2 }, "status": { "observedGeneration": 2, "conditions": conditions }
        })
    };
    check(json!({ "metadata": { "generation": 1 } }), Verdict::Current);
    check(json!({ "metadata": { "generation": 1 }, "status": { "observedGeneration": -1 } }), Verdict::InProgress);
    check(answered(&[]), Verdict::Current);
    check(answered(&[condition("Ready", "True")]), Verdict::Current);
    check(answered(&[condition("Ready", "False")]), Verdict::InProgress);
    check(answered(&[condition("Ready", "Unknown")]), Verdict::InProgress);
    check(answered(&[condition("Ready", "True"), condition("Reconciling", "True")]), Verdict::InProgress);
    check(answered(&[condition("Ready", "True"), condition("Reconciling", "False")]), Verdict::Current);
    check(answered(&[condition("Ready", "False"), condition("Stalled", "True")]), Verdict::Failed);
    check(answered(&[condition("Stalled", "True"), condition("Reconciling", "True")]), Verdict::Failed);
    check(answered(&[condition("Reconciling", "True"), condition("Stalled", "True")]), Verdict::InProgress);
    let mut object = answered(&[condition("Ready", "True")]);
    object["metadata"]["generation"] = json!(3);
    check(object.clone(), Verdict::InProgress);
    object["metadata"]["deletionTimestamp"] = json!("2026-03-01T12:00:00Z");
    check(object, Verdict::Terminating);
}

#[test]
fn a_relocation_that_nobody_has_looked_at_yet_is_in_progress() {
    let definition = serde_json::to_value(crd::<Relocation>()).expect("a definition is JSON");
    let status = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"];
    let object = json!({ "metadata": { "generation": 1 }, "status": status });
    assert_eq!(verdict(&object), Verdict::InProgress, "{object}");
}

/// A scene, changed by somebody who knows the time in it.
fn changed(scene: Scene, edit: impl FnOnce(&mut Scene, k8s_openapi::jiff::Timestamp)) -> Scene {
    scene.with(|scene| {
        let now = scene.now;
        edit(scene, now);
    })
}

/// Every reason there is, and what kstatus makes of it.
#[expect(clippy::too_many_lines, reason = "a table, one row per reason")]
fn every_reason() -> Vec<(&'static str, Scene, Verdict)> {
    use Verdict::{Current, Failed, InProgress, Terminating};
    let running = || a_relocation().at(Step::Importing);
    let planned = |plan: PlanSeen| a_relocation().with(|scene| scene.plan = Some(plan));
    let fenced = || a_relocation().before(Step::Importing).wanting(|spec| spec.pause_at_step = Some(Step::Importing));
    let suspended = |scene: Scene| scene.wanting(|spec| spec.desired_state = DesiredState::Suspended);
    let deleting = |scene: Scene| {
        changed(scene, |scene, now| {
            if let JobSeen::Live { deleted_at, .. } = &mut scene.job {
                *deleted_at = Some(now);
            }
            scene.pods = vec![a_pod()];
        })
    };
    let not_accepted = PlanSeen::NotAccepted { message: "spec.steps: none".to_owned() };
    let ending = Some(("old-x".to_owned(), None, super::fixtures::noon()));
    let stuck = MutexUse::Busy { what: vec!["pod old-x".to_owned()], ending };
    let automatic = a_relocation().planned(|plan| {
        plan.auto_pause_at_step = Some(AutoPauseAtStep { self_hosted: Some(Step::Importing), saas_to_saas: None });
    });
    let locked = a_relocation().locked_by("other").passed();
    let id = locked.status().failure.as_ref().map(|failure| failure.id.clone());
    let recovering = locked.wanting(|spec| spec.recover = id).locked_by("other");
    vec![
        ("Starting", a_relocation(), InProgress),
        ("PlanMissing", planned(PlanSeen::Missing), InProgress),
        ("PlanMissing", planned(PlanSeen::Missing).later(60), Failed),
        ("PlanNotJudged", planned(PlanSeen::NotJudged), InProgress),
        ("PlanNotJudged", planned(PlanSeen::NotJudged).later(60), Failed),
        ("PlanNotAccepted", planned(not_accepted), Failed),
        (
            "ParameterRefused",
            a_relocation().wanting(|spec| drop(spec.parameters.insert("COLOUR".to_owned(), "red".to_owned()))),
            Failed,
        ),
        (
            "WaitingForLock",
            a_relocation().locked_by("other").wanting(|spec| spec.when_locked = WhenLocked::Wait),
            InProgress,
        ),
        (
            "WaitingForPlace",
            a_relocation().planned(|plan| plan.max_active = Some(1)).before(Step::Uploading).with(|scene| {
                scene.place = PlaceSeen::Taken { limit: 1, ahead: 2 };
            }),
            InProgress,
        ),
        ("Failed", a_relocation().locked_by("other"), Failed),
        ("RecoverWaiting", recovering, Failed),
        (
            "RetryUnusable",
            a_relocation().with(|scene| {
                scene.relocation.spec.retry_of = Some(RetryOf { name: "old".to_owned(), uid: "u0".to_owned() });
                scene.source = SourceSeen::Missing;
            }),
            Failed,
        ),
        (
            "WorkspaceTaken",
            a_relocation().planned(|plan| plan.workspace = Some(a_workspace())).with(|scene| {
                scene.lock = ours();
                scene.workspace = WorkspaceSeen::Foreign;
            }),
            Failed,
        ),
        ("Running", running(), InProgress),
        (
            "PodNotReady",
            changed(running(), |scene, _| {
                if let JobSeen::Live { ready, .. } = &mut scene.job {
                    *ready = 0;
                }
                let waiting = Some(("ImagePullBackOff".to_owned(), "not found".to_owned()));
                scene.pods = vec![crate::lifecycle::PodSeen { waiting, ..a_pod() }];
            })
            .later(30),
            InProgress,
        ),
        (
            "JobForbidden",
            running().missing(false).with(|scene| {
                scene.create_refusal = Some(CreateRefusal::Forbidden("exceeded quota".to_owned()));
            }),
            InProgress,
        ),
        (
            "JobSuspendedExternally",
            changed(running(), |scene, _| {
                if let JobSeen::Live { suspended, .. } = &mut scene.job {
                    *suspended = true;
                }
            }),
            InProgress,
        ),
        ("JobEnding", deleting(running()), InProgress),
        ("PodStuck", deleting(running()).later(120), InProgress),
        (
            "PodStuck",
            a_relocation().before(Step::Importing).with(|scene| scene.mutex_use = stuck).later(120),
            InProgress,
        ),
        ("BackingOff", running().failed_with(1), InProgress),
        ("WaitingForPods", running().missing(true).busy_with("pod acme-x"), InProgress),
        ("PassedThrough", a_relocation().with_empty(Step::Importing).before(Step::Importing), InProgress),
        ("Suspending", suspended(running()), InProgress),
        ("Paused", fenced(), InProgress),
        ("Paused", automatic.before(Step::Importing), InProgress),
        ("Paused", suspended(a_relocation().before(Step::Importing)), InProgress),
        ("RevisionMissing", fenced().passed().with(|scene| scene.frozen = false), Failed),
        ("LockLost", running().succeeded().locked_by("other"), Failed),
        ("StoppingPods", running().wanting(|spec| spec.desired_state = DesiredState::Aborted), Failed),
        ("Failed", running().failed_with(65), Failed),
        (
            "Failed",
            a_relocation().before(Step::Importing).wanting(|spec| spec.cancel_at_step = Some(Step::Importing)),
            Failed,
        ),
        ("Succeeded", a_relocation().at(Step::Notifying).succeeded(), Current),
        ("Succeeded", a_relocation().at(Step::Notifying).succeeded().passed().busy_with("pod acme-x"), Current),
        (
            "Deleted",
            running().passed().with(|scene| {
                let now = scene.now;
                scene.relocation.metadata.deletion_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            }),
            Terminating,
        ),
    ]
}

fn a_workspace() -> crate::api::WorkspaceSpec {
    serde_json::from_value(json!({ "storage": "1Gi" })).expect("a workspace")
}

#[test]
fn each_reason_leads_to_the_verdict_that_people_want() {
    for (reason, scene, expected) in every_reason() {
        let decision = scene.decide();
        assert_eq!(decision.because.reason(), reason);
        let relocation = stored(&scene.relocation, &decision);
        assert_eq!(verdict_of(&relocation), expected, "{reason}: {:#?}", decision.status.conditions);
        assert_eq!(wanted(&relocation, &decision.because), expected, "{reason}: what is wanted");
    }
}

#[test]
fn a_tool_that_only_wants_acceptance_is_done_at_a_fence_and_is_told_of_failures_all_the_same() {
    let accepting = |scene: Scene| scene.wanting(|spec| spec.readiness = Readiness::WhenAccepted);
    let seen = |scene: Scene| {
        let scene = accepting(scene);
        verdict_of(&stored(&scene.relocation, &scene.decide()))
    };
    let fenced = a_relocation().before(Step::Importing).wanting(|spec| spec.pause_at_step = Some(Step::Importing));
    assert_eq!(seen(fenced), Verdict::Current);
    assert_eq!(seen(a_relocation().at(Step::Notifying).succeeded()), Verdict::Current);
    assert_eq!(seen(a_relocation().at(Step::Importing)), Verdict::Current, "accepted, and running");
    assert_eq!(seen(a_relocation()), Verdict::InProgress, "not accepted yet");
    for (reason, scene, expected) in every_reason() {
        if matches!(expected, Verdict::Failed | Verdict::Terminating) {
            assert_eq!(seen(scene), expected, "{reason}");
        }
    }
}

/// Lets an event happen; every status that an operator is about to write on the way is judged.
fn happen(world: &mut World, event: &Event) -> Result<(), TestCaseError> {
    let broken = |broken: super::world::Broken| TestCaseError::fail(broken.to_string());
    match *event {
        Event::Pass { operator, relocation } => {
            world.happen(&Event::Sync { operator }).map_err(broken)?;
            world.happen(&Event::Observe { operator, relocation, behind: 0 }).map_err(broken)?;
            judge(world, operator)?;
            world.happen(&Event::Record { operator }).map_err(broken)?;
            world.happen(&Event::Act { operator }).map_err(broken)?;
        }
        Event::Observe { operator, .. } => {
            world.happen(event).map_err(broken)?;
            judge(world, operator)?;
        }
        _ => world.happen(event).map_err(broken)?,
    }
    for stored in world.relocations.iter().flatten() {
        let observed = stored.current.status.as_ref().and_then(|status| status.observed_generation);
        let unanswered = observed.is_some() && observed != stored.current.metadata.generation;
        prop_assert!(!unanswered || verdict_of(&stored.current) == Verdict::InProgress, "an edit is not answered yet");
    }
    Ok(())
}

/// What an operator has decided and not written yet. A decision that changes nothing was judged when it was written.
fn judge(world: &World, operator: usize) -> Result<(), TestCaseError> {
    let Some(pending) = &world.operators[operator].pending else { return Ok(()) };
    if pending.decision.status == pending.copy.status.clone().unwrap_or_default() {
        return Ok(());
    }
    let relocation = stored(&pending.copy, &pending.decision);
    let because = &pending.decision.because;
    let (seen, wanted) = (verdict_of(&relocation), wanted(&relocation, because));
    prop_assert_eq!(seen, wanted, "{:?}: {:#?}", because, relocation.status);
    Ok(())
}

/// Everybody stops editing, every fence opens, every pod ends well.
fn let_everything_end(world: &mut World) -> Result<(), TestCaseError> {
    happen(world, &Event::PlanAppears)?;
    for relocation in 0..2 {
        let edits = [
            Edit::Pause(None),
            Edit::Cancel(None),
            Edit::AutoPause(AutoPause::Skip),
            Edit::Budget(None),
            Edit::Desire(DesiredState::Active),
        ];
        for edit in edits {
            happen(world, &Event::Edit { relocation, edit })?;
        }
    }
    for round in 0..150 {
        let ended = |index: usize| world.relocations[index].is_none() || world.status(index).has_ended();
        if ended(0) && ended(1) {
            return Ok(());
        }
        for relocation in 0..2 {
            happen(world, &Event::Edit { relocation, edit: Edit::BadParameter(false) })?;
            happen(world, &Event::Pass { operator: 0, relocation })?;
        }
        if round % 3 == 2 {
            happen(world, &Event::Finish { pod: 0, outcome: Outcome::Valid })?;
            happen(world, &Event::Tick { seconds: 11 })?;
        }
    }
    Err(TestCaseError::fail("it does not end"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_state_of_every_history_has_the_verdict_that_people_want(
        scenes in proptest::collection::vec(a_scene(), 0..40),
        readiness in proptest::sample::select(vec![Readiness::WhenSucceeded, Readiness::WhenAccepted]),
    ) {
        let mut world = World::new(Flaw::None);
        for stored in world.relocations.iter_mut().flatten() {
            let mut relocation = Relocation::clone(&stored.current);
            relocation.spec.readiness = readiness;
            *stored = super::world::Stored { current: relocation.clone().into(), versions: vec![relocation.into()] };
        }
        for event in &scenes.concat() {
            happen(&mut world, event)?;
        }
        let_everything_end(&mut world)?;
    }
}
