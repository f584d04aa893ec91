//! Retry, lost statuses, places and clean-up.

use super::fixtures::{NAME, Scene, UID, a_relocation, a_spec, noon, ours};
use crate::api::{FailureReason, Relocation, RelocationStatus, RetryOf, StatusValue, Step, revision_name};
use crate::lifecycle::{
    Because, Effect, Leftovers, LockSeen, ObjectReference, PlaceSeen, SourceSeen, Trace, build_job,
};

fn a_retry() -> Scene {
    let retry_of = RetryOf { name: "old".to_owned(), uid: "u0".to_owned() };
    let mut scene = a_relocation();
    scene.relocation.spec.retry_of = Some(retry_of);
    scene.with(|scene| scene.source = found(failed_source(), None))
}

fn failed_source() -> Relocation {
    let mut source = Relocation::new("old", a_spec());
    source.metadata.uid = Some("u0".to_owned());
    source.status = Some(RelocationStatus {
        status: Some(StatusValue::Failure),
        uuid: Some("u0".to_owned()),
        origin: Some("the-first".to_owned()),
        ..RelocationStatus::default()
    });
    source
}

fn found(relocation: Relocation, rival: Option<&str>) -> SourceSeen {
    SourceSeen::Found {
        relocation: Box::new(relocation),
        workspace: Some("old-workspace".to_owned()),
        rival: rival.map(ToOwned::to_owned),
    }
}

#[test]
fn a_retry_keeps_the_origin_of_the_chain_and_sees_the_old_workspace() {
    let started = a_retry().with(|scene| (scene.lock, scene.frozen) = (ours(), true));
    let decision = started.decide();
    let status = &decision.status;
    assert_eq!((status.origin.as_deref(), status.uuid.as_deref()), (Some("the-first"), Some(UID)));
    let job = build_job(&started.relocation, status, &started.plan()).expect("a Job");
    let volumes = job["spec"]["template"]["spec"]["volumes"].to_string();
    assert!(volumes.contains("old-workspace") && volumes.contains("\"readOnly\":true"), "{volumes}");
    let mounts = job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].to_string();
    assert!(mounts.contains("/relocation-source"), "{mounts}");
}

/// The pods of an aborted relocation may take their grace period to end, and it holds the lock until then.
#[test]
fn a_retry_waits_for_the_lock_of_what_it_starts_over_and_fails_for_that_of_others() {
    let waits = a_retry().locked_by("old").decide();
    assert_eq!((waits.status.status, waits.because.reason()), (Some(StatusValue::Pending), "WaitingForLock"));
    let fails = a_retry().locked_by("another").decide();
    assert_eq!(fails.status.failure.map(|failure| failure.reason), Some(FailureReason::Locked));
}

#[test]
fn a_retry_of_what_cannot_be_started_over_waits_and_says_why() {
    let check = |scene: Scene, what: &str| {
        let decision = scene.decide();
        assert_eq!((decision.status.status, decision.because.reason()), (Some(StatusValue::Pending), "RetryUnusable"));
        assert!(decision.because.message().contains(what), "{}", decision.because.message());
        assert_eq!(decision.effect, None);
    };
    let source = |edit: fn(&mut Relocation)| {
        let mut source = failed_source();
        edit(&mut source);
        a_retry().with(|scene| scene.source = found(source, None))
    };
    check(a_retry().with(|scene| scene.source = SourceSeen::Missing), "no relocation of that name with the uid u0");
    check(source(|old| old.status = None), "has not ended");
    check(source(|old| old.status.as_mut().unwrap().status = Some(StatusValue::Success)), "has succeeded");
    check(source(|old| old.spec.owner = "other".to_owned()), "\"other\"");
    check(source(|old| old.spec.items = vec!["a".to_owned()]), "items");
    check(a_retry().with(|scene| scene.source = found(failed_source(), Some("third"))), "\"third\"");
}

#[test]
fn a_status_that_is_gone_is_not_run_again() {
    let traces = vec![
        Trace::Revision,
        Trace::Revision,
        Trace::Other,
        Trace::Job { step: Step::Uploading, task: "uploading".to_owned(), attempt: 1, launch: 10 },
        Trace::Job { step: Step::Importing, task: "importing".to_owned(), attempt: 2, launch: 30 },
    ];
    let lost = a_relocation().with(|scene| scene.traces = traces).passed();
    let status = lost.status();
    let failure = status.failure.as_ref().expect("a failure");
    assert_eq!((failure.reason, failure.step, failure.entered), (FailureReason::StatusLost, Step::Importing, true));
    assert_eq!((status.attempt, status.launch, status.recoveries), (Some(2), Some(30), Some(1)));
    assert!(failure.message.contains("IMPORTING/importing"), "{}", failure.message);

    let id = failure.id.clone();
    let lost = lost.with(|scene| scene.traces.clear());
    let recovered = lost.wanting(|spec| spec.recover = Some(id)).with(|scene| scene.lock = ours()).decide();
    assert_eq!((recovered.status.step, recovered.status.attempt), (Some(Step::Importing), Some(3)));
    assert_eq!(recovered.status.plan.map(|plan| plan.revision), Some(revision_name(NAME, UID, 2)));
    assert!(recovered.status.launch > Some(30));
}

#[test]
fn the_place_of_a_lost_status_is_read_before_its_job_is_deleted_as_a_stray() {
    let running = a_relocation().at(Step::Importing);
    let job = Trace::Job { step: Step::Importing, task: "importing".to_owned(), attempt: 1, launch: 7 };
    let wiped = running.with(|scene| {
        scene.relocation.status = None;
        scene.traces = vec![job];
    });
    let decision = wiped.decide();
    assert_eq!((decision.effect, decision.status.step), (None, Some(Step::Importing)));
}

#[test]
fn the_status_of_another_object_is_not_gone_on_with_until_it_is_recovered() {
    let foreign = |status: &mut RelocationStatus| {
        status.uuid = Some("00000000-0000-4000-8000-00000000beef".to_owned());
        status.plan.as_mut().unwrap().revision = revision_name(NAME, "the-old-uid", 0);
    };
    let lost = a_relocation().at(Step::Importing).having(foreign).passed().with(|scene| scene.lock = ours());
    let failure = lost.status().failure.clone().expect("a failure");
    assert_eq!((failure.reason, failure.step), (FailureReason::StatusLost, Step::Importing));
    let recovered = lost.wanting(|spec| spec.recover = Some(failure.id)).passed().alive();
    assert!(matches!(recovered.decide().because, Because::Running { .. }), "{:?}", recovered.decide().because);
}

#[test]
fn without_a_place_it_waits_in_pending_and_keeps_its_turn() {
    let limited = a_relocation().planned(|plan| plan.max_active = Some(1)).before(Step::Uploading);
    let taken = limited.with(|scene| scene.place = PlaceSeen::Taken { limit: 1, ahead: 2 });
    let decision = taken.decide();
    assert_eq!((decision.status.status, decision.because.reason()), (Some(StatusValue::Pending), "WaitingForPlace"));
    let since = decision.status.waiting_since.clone().expect("its turn");
    assert_eq!(since.0, noon());
    let later = taken.passed().later(40);
    assert_eq!(later.decide().status, *later.status(), "a settled wait is not written again");
    let free = later.with(|scene| scene.place = PlaceSeen::Free).decide();
    assert!(matches!(free.effect, Some(Effect::CreateJob(_))) && free.status.waiting_since.is_none());
}

#[test]
fn a_relocation_that_works_needs_no_second_place() {
    let next = a_relocation().planned(|plan| plan.max_active = Some(0)).at(Step::Uploading).succeeded();
    let decision = next.with(|scene| scene.place = PlaceSeen::Taken { limit: 0, ahead: 0 }).decide();
    assert!(matches!(decision.effect, Some(Effect::CreateJob(_))), "{:?}", decision.because);
}

#[test]
fn a_success_is_cleaned_up_after_its_time_and_then_left_alone() {
    let reference = |name: &str| ObjectReference { name: name.to_owned(), uid: format!("{name}-uid") };
    let leftovers = Leftovers { jobs: vec![reference("a-job")], workspace: Some(reference("a-claim")) };
    let done = a_relocation().at(Step::Notifying).succeeded().passed().with(|scene| {
        scene.lock = LockSeen::Free;
        scene.leftovers = leftovers.clone();
    });
    assert_eq!(done.decide().effect, None, "absent means keep");
    let done = done.wanting(|spec| spec.cleanup_seconds_after_finished = Some(60));
    let early = done.clone().later(30).decide();
    assert_eq!((early.effect, early.wake), (None, Some(done.clone().later(60).now)));
    assert_eq!(done.clone().later(60).decide().effect, Some(Effect::CleanUp(leftovers)));
    let clean = done.with(|scene| scene.leftovers = Leftovers::default()).later(90).decide();
    assert_eq!((clean.effect, clean.wake), (None, None));
}

#[test]
fn a_fence_on_a_step_that_turns_out_to_be_entered_is_answered_as_late() {
    let job = Trace::Job { step: Step::Importing, task: "importing".to_owned(), attempt: 1, launch: 7 };
    let lost = a_relocation()
        .wanting(|spec| spec.pause_at_step = Some(Step::Importing))
        .with(|scene| scene.traces = vec![job]);
    let late = lost.decide().status.late.expect("it is answered");
    assert_eq!((late.field.as_str(), late.value.as_str()), ("pauseAtStep", "IMPORTING"));
}
