//! Conditions in every state, as people and tools read them.

use std::fmt::Write;

use expect_test::{Expect, expect};

use super::fixtures::{Scene, a_pod, a_relocation};
use super::kstatus::verdict_of;
use crate::api::{
    AutoPauseAtStep, ConditionType, DesiredState, Readiness, Relocation, RelocationStatus, Step, WhenLocked,
    condition_status, find_condition,
};
use crate::lifecycle::{Decision, JobFailure, JobSeen, LockSeen, PlanSeen};

/// One line per condition, and what kstatus makes of them.
fn table(scene: &Scene) -> String {
    let decision = scene.decide();
    let status = &decision.status;
    let mut text = String::new();
    writeln!(
        text,
        "{} {} kstatus {}",
        status.status.map_or("-", crate::api::StatusValue::as_str),
        status.step.map_or("-", Step::as_str),
        verdict_of(&Relocation { status: Some(status.clone()), ..scene.relocation.clone() })
    )
    .unwrap();
    for condition in &status.conditions {
        writeln!(text, "{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message).unwrap();
    }
    text
}

fn check(scene: &Scene, expected: &Expect) {
    expected.assert_eq(&table(scene));
}

fn pausing(scene: Scene) -> Scene {
    scene.wanting(|spec| spec.pause_at_step = Some(Step::Importing))
}

#[test]
fn before_the_start() {
    check(
        &a_relocation(),
        &expect![[r#"
        PENDING UPLOADING kstatus InProgress
        Ready=False Starting: preparing the first launch: lock, workspace and plan revision
        Reconciling=True Starting: preparing the first launch: lock, workspace and plan revision
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    check(
        &a_relocation().with(|scene| scene.plan = Some(PlanSeen::Missing)),
        &expect![[r#"
        PENDING UPLOADING kstatus InProgress
        Ready=False PlanMissing: spec.planRef.name: there is no RelocationPlan "files" in this namespace; create it and the relocation goes on by itself
        Reconciling=True PlanMissing: spec.planRef.name: there is no RelocationPlan "files" in this namespace; create it and the relocation goes on by itself
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    check(
        &a_relocation().with(|scene| scene.plan = Some(PlanSeen::Missing)).later(60),
        &expect![[r#"
        PENDING UPLOADING kstatus Failed
        Ready=False PlanMissing: spec.planRef.name: there is no RelocationPlan "files" in this namespace; create it and the relocation goes on by itself
        Stalled=True PlanMissing: spec.planRef.name: there is no RelocationPlan "files" in this namespace; create it and the relocation goes on by itself
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    check(
        &a_relocation().with(|scene| scene.plan = Some(PlanSeen::NotJudged)),
        &expect![[r#"
        PENDING UPLOADING kstatus InProgress
        Ready=False PlanNotJudged: waiting until the RelocationPlan "files" has been checked
        Reconciling=True PlanNotJudged: waiting until the RelocationPlan "files" has been checked
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    let waiting = a_relocation().locked_by("other").wanting(|spec| spec.when_locked = WhenLocked::Wait);
    check(
        &waiting,
        &expect![[r#"
        PENDING UPLOADING kstatus InProgress
        Ready=False WaitingForLock: the mutex is held by the relocation "other"; waiting until that has ended and nothing of it runs any more
        Reconciling=True WaitingForLock: the mutex is held by the relocation "other"; waiting until that has ended and nothing of it runs any more
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
}

#[test]
fn while_a_task_runs() {
    check(
        &a_relocation().at(Step::Importing),
        &expect![[r#"
        IN_PROGRESS IMPORTING kstatus InProgress
        Ready=False Running: IMPORTING/importing runs, attempt 1 of 4, as Job acme-ddc82258
        Reconciling=True Running: IMPORTING/importing runs, attempt 1 of 4, as Job acme-ddc82258
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    check(
        &pausing(a_relocation().at(Step::Validating)),
        &expect![[r#"
        IN_PROGRESS VALIDATING kstatus InProgress
        Ready=False Running: VALIDATING/validating runs, attempt 1 of 4, as Job acme-ddc82258
        Reconciling=True Running: VALIDATING/validating runs, attempt 1 of 4, as Job acme-ddc82258
        Succeeded=Unknown Active: not ended yet
        Paused=False PausePending: will pause before IMPORTING
    "#]],
    );
    let cancelling = a_relocation().at(Step::Validating).wanting(|spec| spec.cancel_at_step = Some(Step::Importing));
    check(
        &cancelling,
        &expect![[r#"
        IN_PROGRESS VALIDATING kstatus InProgress
        Ready=False Running: VALIDATING/validating runs, attempt 1 of 4, as Job acme-ddc82258
        Reconciling=True Running: VALIDATING/validating runs, attempt 1 of 4, as Job acme-ddc82258
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
        Cancelling=True Scheduled: will end instead of entering IMPORTING; withdraw by clearing spec.cancelAtStep
    "#]],
    );
    check(
        &a_relocation().at(Step::Importing).failed_with(1),
        &expect![[r#"
        IN_PROGRESS IMPORTING kstatus InProgress
        Ready=False BackingOff: IMPORTING/importing failed and is tried again at 2026-03-01T12:00:10Z
        Reconciling=True BackingOff: IMPORTING/importing failed and is tried again at 2026-03-01T12:00:10Z
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    check(
        &a_relocation().at(Step::Importing).missing(true).busy_with("pod acme-x"),
        &expect![[r#"
        IN_PROGRESS IMPORTING kstatus InProgress
        Ready=False WaitingForPods: waiting until nothing of the same mutex runs any more: pod acme-x
        Reconciling=True WaitingForPods: waiting until nothing of the same mutex runs any more: pod acme-x
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    check(
        &a_relocation().at(Step::Importing).succeeded().locked_by("other"),
        &expect![[r#"
        IN_PROGRESS POSTPROCESSING kstatus Failed
        Ready=False LockLost: the mutex was lost to the relocation "other" in mid-run; nothing more starts until that one has ended
        Stalled=True LockLost: the mutex was lost to the relocation "other" in mid-run; nothing more starts until that one has ended
        Succeeded=Unknown Active: not ended yet
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
}

#[test]
fn at_a_fence() {
    check(
        &pausing(a_relocation().before(Step::Importing)),
        &expect![[r#"
        PAUSE IMPORTING kstatus InProgress
        Ready=False AtFence: paused before IMPORTING by spec.pauseAtStep; go on by clearing it or moving it to a later step
        Succeeded=Unknown Active: not ended yet
        Paused=True AtFence: paused before IMPORTING by spec.pauseAtStep; go on by clearing it or moving it to a later step
    "#]],
    );
    let automatic = a_relocation().planned(|plan| {
        plan.auto_pause_at_step = Some(AutoPauseAtStep { self_hosted: Some(Step::Importing), saas_to_saas: None });
    });
    check(
        &automatic.before(Step::Importing),
        &expect![[r#"
        PAUSE IMPORTING kstatus InProgress
        Ready=False AtAutoFence: paused before IMPORTING by the plan's automatic fence; go on by setting spec.autoPause to Skip
        Succeeded=Unknown Active: not ended yet
        Paused=True AtAutoFence: paused before IMPORTING by the plan's automatic fence; go on by setting spec.autoPause to Skip
    "#]],
    );
    let suspended = a_relocation().before(Step::Importing).passed();
    check(
        &suspended.wanting(|spec| spec.desired_state = DesiredState::Suspended),
        &expect![[r#"
        PAUSE IMPORTING kstatus InProgress
        Ready=False Suspended: suspended; go on by setting spec.desiredState to Active
        Succeeded=Unknown Active: not ended yet
        Paused=True Suspended: suspended; go on by setting spec.desiredState to Active
    "#]],
    );
    check(
        &pausing(a_relocation().before(Step::Importing)).passed().with(|scene| scene.frozen = false),
        &expect![[r#"
        PAUSE IMPORTING kstatus Failed
        Ready=False RevisionMissing: the ControllerRevision "acme-b4b50a05" that holds the plan of this run is gone; restore it, or abort
        Stalled=True RevisionMissing: the ControllerRevision "acme-b4b50a05" that holds the plan of this run is gone; restore it, or abort
        Succeeded=Unknown Active: not ended yet
        Paused=True AtFence: paused before IMPORTING by spec.pauseAtStep; go on by clearing it or moving it to a later step
    "#]],
    );
}

#[test]
fn after_the_end() {
    check(
        &a_relocation().at(Step::Notifying).succeeded(),
        &expect![[r#"
        SUCCESS COMPLETED kstatus Current
        Ready=True Succeeded: every step is done
        Succeeded=True Succeeded: every step is done
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    check(
        &a_relocation().at(Step::Importing).failed_with(65),
        &expect![[r#"
        FAILURE IMPORTING kstatus Failed
        Ready=False FatalExitCode: IMPORTING/importing ended with the fatal exit code 65: Container main for pod moves/acme-x failed with exit code 65 matching FailJob rule at index 2 (failure IMPORTING-1-06af2243)
        Stalled=True FatalExitCode: IMPORTING/importing ended with the fatal exit code 65: Container main for pod moves/acme-x failed with exit code 65 matching FailJob rule at index 2 (failure IMPORTING-1-06af2243)
        Succeeded=False FatalExitCode: IMPORTING/importing ended with the fatal exit code 65: Container main for pod moves/acme-x failed with exit code 65 matching FailJob rule at index 2
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    let aborted = a_relocation().at(Step::Importing).wanting(|spec| spec.desired_state = DesiredState::Aborted);
    check(
        &aborted,
        &expect![[r#"
        FAILURE IMPORTING kstatus Failed
        Ready=False Aborted: spec.desiredState is Aborted (failure IMPORTING-1-06af2243)
        Stalled=True Aborted: spec.desiredState is Aborted (failure IMPORTING-1-06af2243)
        Succeeded=False Aborted: spec.desiredState is Aborted
        Paused=False NotPaused: no fence is ahead
        Cancelling=True StoppingPods: ended; waiting until its pods have ended: job acme-ddc82258
    "#]],
    );
    let cancelled = a_relocation().before(Step::Importing).wanting(|spec| spec.cancel_at_step = Some(Step::Importing));
    check(
        &cancelled,
        &expect![[r#"
        FAILURE IMPORTING kstatus Failed
        Ready=False Cancelled: spec.cancelAtStep is IMPORTING (failure IMPORTING-1-06af2243)
        Stalled=True Cancelled: spec.cancelAtStep is IMPORTING (failure IMPORTING-1-06af2243)
        Succeeded=False Cancelled: spec.cancelAtStep is IMPORTING
        Paused=False NotPaused: no fence is ahead
    "#]],
    );
    let failure = JobFailure { disrupted: false, timed_out: true, exit_code: None, message: "late".to_owned() };
    let ended = a_relocation().with_on_end().at(Step::Notifying).succeeded().passed().with(|scene| {
        scene.lock = LockSeen::Free;
    });
    check(
        &ended.passed().with(|scene| scene.end_job = JobSeen::Failed(failure)),
        &expect![[r#"
        SUCCESS COMPLETED kstatus Current
        Ready=True Succeeded: every step is done
        Succeeded=True Succeeded: every step is done
        Paused=False NotPaused: no fence is ahead
        Notified=False Failed: late
    "#]],
    );
}

#[test]
fn what_a_tool_that_only_wants_acceptance_sees() {
    let accepted = |scene: Scene| scene.wanting(|spec| spec.readiness = Readiness::WhenAccepted);
    let ready = |decision: Decision| {
        let ready = find_condition(&decision.status.conditions, ConditionType::Ready).unwrap().clone();
        (ready.status, ready.reason)
    };
    let seen = |scene: Scene| ready(accepted(scene).decide());
    let yes = (condition_status::TRUE.to_owned(), "Accepted".to_owned());
    assert_eq!(seen(a_relocation().at(Step::Importing)), yes);
    assert_eq!(seen(pausing(a_relocation().before(Step::Importing))), yes);
    assert_eq!(seen(a_relocation()).0, condition_status::FALSE);
    assert_eq!(seen(a_relocation().at(Step::Importing).failed_with(65)).0, condition_status::FALSE);
}

#[test]
fn a_transition_time_moves_only_with_its_status() {
    let scene = pausing(a_relocation().at(Step::Validating));
    let before = scene.decide().status;
    let after = scene.having(|status| *status = before.clone()).succeeded().later(50).decide().status;
    let time = |status: &RelocationStatus, type_| {
        find_condition(&status.conditions, type_).unwrap().last_transition_time.clone()
    };
    assert_eq!(time(&before, ConditionType::Ready), time(&after, ConditionType::Ready));
    assert_ne!(time(&before, ConditionType::Paused), time(&after, ConditionType::Paused));
}

#[test]
fn a_message_is_cut_on_a_character_and_every_condition_has_the_generation() {
    let scene = a_relocation().at(Step::Importing).later(30).with(|scene| {
        if let JobSeen::Live { ready, .. } = &mut scene.job {
            *ready = 0;
        }
        let waiting = Some(("Unschedulable".to_owned(), "é".repeat(3000)));
        scene.pods = vec![crate::lifecycle::PodSeen { waiting, ..a_pod() }];
    });
    for condition in scene.decide().status.conditions {
        assert!(condition.message.len() <= 1024);
        assert_eq!(condition.observed_generation, Some(1));
    }
}
