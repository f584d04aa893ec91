//! What is explored, and that nothing is found.
//!
//! Several small worlds without gaps say more than one big one with them: each widens one side and keeps the others narrow.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, HasDiscoveries, Model};

use super::super::fixtures::a_template;
use super::*;
use crate::api::{DesiredState, RelocationPlanSpec, Step};

/// Whether the long run was asked for.
pub(super) fn is_deep() -> bool {
    std::env::var("RELOCATION_MODEL").is_ok_and(|value| value == "deep")
}

fn plan_with(steps: &[(Step, &str, i32)]) -> Plan {
    let steps: Vec<Value> = steps
        .iter()
        .map(|(step, name, attempts)| {
            let evidence = *step == Step::Validating;
            let task = json!({ "name": name, "attempts": attempts, "evidence": evidence, "template": a_template() });
            json!({ "step": step, "tasks": [task] })
        })
        .collect();
    let spec: RelocationPlanSpec = serde_json::from_value(json!({ "steps": steps })).expect("a plan");
    Plan::read(spec, 1).expect("a valid plan")
}

/// The step that no plan can do without.
fn one_step() -> Plan {
    plan_with(&[(Step::Validating, "check", 1)])
}

/// Two steps that work and four that are passed through.
pub(super) fn two_steps() -> Plan {
    plan_with(&[(Step::Validating, "check", 2), (Step::Importing, "write", 2)])
}

/// The first step works, so that work may run before anything can be fenced.
pub(super) fn three_steps() -> Plan {
    plan_with(&[(Step::Uploading, "copy", 2), (Step::Validating, "check", 1), (Step::Importing, "write", 2)])
}

/// One relocation, one operator, nobody who disturbs.
pub(super) fn peace() -> Bounds {
    Bounds {
        plan: three_steps,
        relocations: 1,
        edited: 1,
        operators: 1,
        skew: 0,
        late_requests: LateRequests::Refuse,
        menu: Vec::new(),
        faults: Vec::new(),
        budget: Budget::default(),
    }
}

/// What people ask of a relocation, at the steps of the plans above.
pub(super) fn every_wish() -> Vec<Edit> {
    vec![
        Edit::Pause(Some(Step::Validating)),
        Edit::Pause(Some(Step::Importing)),
        Edit::Pause(Some(Step::Notifying)),
        Edit::Pause(None),
        Edit::Cancel(Some(Step::Importing)),
        Edit::Cancel(None),
        Edit::Desire(DesiredState::Active),
        Edit::Desire(DesiredState::Suspended),
        Edit::Desire(DesiredState::Aborted),
        Edit::Recover,
    ]
}

pub(super) fn every_fault() -> Vec<Fault> {
    vec![
        Fault::Ends(Outcome::Exit(1)),
        Fault::Ends(Outcome::Exit(65)),
        Fault::Ends(Outcome::Disrupted),
        Fault::Ends(Outcome::Invalid),
        Fault::Ends(Outcome::Unread),
        Fault::Deleted(Manner::Background),
        Fault::Deleted(Manner::Orphan),
    ]
}

/// Explores everything within the bounds; a broken promise is told as a story.
///
/// All that is listed in `met` must have happened somewhere.
fn explore(name: &str, bounds: Bounds, met: &[&'static str]) {
    let checker = Interleavings::new(bounds, Flaw::None)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join_and_report(&mut Progress { name });
    if let Some((_, story)) = found_by(&checker) {
        panic!("{name}\n{story}");
    }
    for &what in met {
        assert!(checker.discovery(what).is_some(), "{name}: never {what}");
    }
    assert!(checker.is_done(), "{name} was not explored to its end");
}

/// Tells how far an exploration is.
struct Progress<'n> {
    name: &'n str,
}

impl Reporter<Interleavings> for Progress<'_> {
    fn report_checking(&mut self, data: ReportData) {
        let ReportData { total_states, unique_states, max_depth, duration, done } = data;
        let is = if done { "has" } else { "so far" };
        println!(
            "{} {is} {unique_states} states, {total_states} transitions, depth {max_depth}, after {} s",
            self.name,
            duration.as_secs()
        );
    }

    /// They are told as a story.
    fn report_discoveries(&mut self, _: &Interleavings, _: BTreeMap<&'static str, ReportDiscovery<Interleavings>>) {}

    fn delay(&self) -> Duration {
        Duration::from_millis(if is_deep() { 5000 } else { 500 })
    }
}

/// The promise that the first broken run breaks, and its story.
pub(super) fn found_by(checker: &impl Checker<Interleavings>) -> Option<(Promise, String)> {
    let run = checker.discovery(PROMISES).or_else(|| checker.discovery(WAY_OUT))?.into_vec();
    let (last, _) = run.last()?;
    let broken = last.broken.clone().or_else(|| checker.model().way_out(last).err())?;
    Some((broken.promise, story::tell(&run, &format!("This breaks {broken}"))))
}

fn depth(bounded: u8, deep: u8) -> u8 {
    if is_deep() { deep } else { bounded }
}

/// What may go wrong with a Job where two operators look after it.
fn two_faults() -> Vec<Fault> {
    vec![Fault::Ends(Outcome::Exit(1)), Fault::Deleted(Manner::Background)]
}

#[test]
fn people_who_change_their_minds_break_no_promise() {
    let budget = Budget { edits: depth(2, 3), ..Budget::default() };
    explore(
        "people",
        Bounds { menu: every_wish(), budget, ..peace() },
        &[SUCCESS, FENCED, SUSPENDED, CANCELLED, ABORTED],
    );
}

#[test]
fn requests_that_come_too_late_are_answered() {
    let menu = vec![
        Edit::Pause(Some(Step::Validating)),
        Edit::Pause(Some(Step::Importing)),
        Edit::Cancel(Some(Step::Importing)),
        Edit::Cancel(None),
        Edit::Desire(DesiredState::Aborted),
    ];
    let budget = Budget { edits: depth(2, 3), ..Budget::default() };
    explore("late", Bounds { late_requests: LateRequests::Report, menu, budget, ..peace() }, &[SUCCESS, LATE]);
}

#[test]
fn jobs_that_fail_vanish_or_go_on_break_no_promise() {
    let budget = Budget { edits: 1, faults: 1, crashes: depth(0, 1), ..Budget::default() };
    let bounds = Bounds { menu: every_wish(), faults: every_fault(), budget, ..peace() };
    explore("jobs", bounds, &[SUCCESS, EXHAUSTED, ABANDONED]);
}

#[test]
fn two_operators_and_an_edit_break_no_promise() {
    let budget = Budget { edits: 1, crashes: depth(0, 1), ..Budget::default() };
    let menu = vec![
        Edit::Pause(Some(Step::Validating)),
        Edit::Desire(DesiredState::Suspended),
        Edit::Desire(DesiredState::Aborted),
    ];
    explore(
        "race",
        Bounds { plan: one_step, operators: 2, menu, budget, ..peace() },
        &[SUCCESS, FENCED, SUSPENDED, ABORTED, OUTRUN],
    );
}

#[test]
fn operators_with_old_caches_break_no_promise() {
    let budget = Budget { edits: 1, faults: 1, stale: depth(1, 2), ..Budget::default() };
    let menu = vec![Edit::Desire(DesiredState::Suspended), Edit::Pause(Some(Step::Importing))];
    let bounds = Bounds { plan: one_step, menu, faults: two_faults(), budget, ..peace() };
    explore("caches", bounds, &[SUCCESS, ABANDONED]);
}

#[test]
fn two_operators_whose_clocks_differ_break_no_promise() {
    let budget = Budget { faults: 1, crashes: depth(0, 1), ..Budget::default() };
    let faults = vec![Fault::Deleted(Manner::Background)];
    let bounds = Bounds { plan: one_step, operators: 2, skew: 3, faults, budget, ..peace() };
    explore("clocks", bounds, &[SUCCESS, ABANDONED]);
}

#[test]
fn two_relocations_of_one_mutex_break_no_promise() {
    let menu = vec![Edit::Desire(DesiredState::Suspended), Edit::Desire(DesiredState::Aborted)];
    let budget = Budget { edits: 1, faults: depth(0, 1), deletes: depth(0, 1), ..Budget::default() };
    let faults = vec![Fault::Deleted(Manner::Background)];
    let bounds = Bounds { plan: one_step, relocations: 2, menu, faults, budget, ..peace() };
    explore("mutex", bounds, &[SUCCESS, ABORTED, SUSPENDED]);
}

#[test]
fn a_relocation_that_is_deleted_at_any_moment_is_gone_and_holds_nobody_up() {
    let budget = Budget { deletes: 1, ..Budget::default() };
    let operators = depth(1, 2).into();
    explore("deleted", Bounds { plan: one_step, relocations: 2, operators, budget, ..peace() }, &[SUCCESS, ABANDONED]);
}

#[test]
fn the_lock_of_a_recovered_run_is_not_given_back_by_a_late_operator() {
    let menu = vec![Edit::Desire(DesiredState::Aborted), Edit::Recover];
    let budget = Budget { edits: 2, crashes: depth(0, 1), ..Budget::default() };
    let bounds = Bounds { plan: one_step, relocations: 2, menu, budget, ..peace() };
    explore("handover", bounds, &[SUCCESS, ABORTED, RECOVERED]);
}

#[test]
fn a_recover_gives_exactly_one_more_attempt() {
    let menu = vec![
        Edit::Recover,
        Edit::Desire(DesiredState::Aborted),
        Edit::Desire(DesiredState::Suspended),
        Edit::Pause(Some(Step::Importing)),
    ];
    let faults = vec![Fault::Ends(Outcome::Exit(65)), Fault::Deleted(Manner::Background)];
    let budget = Budget { edits: 2, faults: depth(1, 2), ..Budget::default() };
    let bounds = Bounds { plan: two_steps, menu, faults, budget, ..peace() };
    explore("recover", bounds, &[SUCCESS, RECOVERED, ABORTED]);
}

#[test]
fn a_wiped_status_never_runs_again_by_itself() {
    let menu = vec![Edit::Recover, Edit::Desire(DesiredState::Suspended)];
    let budget = Budget { edits: 1, faults: depth(0, 1), wipes: 1, ..Budget::default() };
    let plan = if is_deep() { three_steps } else { two_steps };
    explore("lost", Bounds { plan, menu, faults: two_faults(), budget, ..peace() }, &[SUCCESS, LOST, RECOVERED]);
}
