//! Random histories: whatever people, Jobs and two operators do, in whatever order, the promises hold.

use proptest::prelude::*;

use super::world::{Edit, Event, Flaw, Manner, Outcome, World};
use crate::api::{AutoPause, DesiredState, LateRequests, Step, WhenLocked};

fn a_step() -> impl Strategy<Value = Option<Step>> {
    proptest::option::of(proptest::sample::select(Step::STOPPABLE.to_vec()))
}

fn an_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        8 => a_step().prop_map(Edit::Pause),
        2 => a_step().prop_map(Edit::Cancel),
        2 => proptest::sample::select(vec![AutoPause::Honour, AutoPause::Skip]).prop_map(Edit::AutoPause),
        6 => proptest::sample::select(vec![DesiredState::Active, DesiredState::Active, DesiredState::Suspended])
            .prop_map(Edit::Desire),
        1 => Just(Edit::Desire(DesiredState::Aborted)),
        1 => proptest::option::of(1_i64..200).prop_map(Edit::Budget),
        1 => proptest::sample::select(vec![WhenLocked::Wait, WhenLocked::Fail]).prop_map(Edit::WhenLocked),
        1 => proptest::sample::select(vec![LateRequests::Refuse, LateRequests::Report]).prop_map(Edit::LateRequests),
        1 => any::<bool>().prop_map(Edit::BadParameter),
    ]
}

fn an_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        12 => Just(Outcome::Valid),
        1 => Just(Outcome::Invalid),
        1 => Just(Outcome::NoVerdict),
        1 => Just(Outcome::Unread),
        4 => proptest::sample::select(vec![1, 65, 143]).prop_map(Outcome::Exit),
        2 => Just(Outcome::Disrupted),
        1 => Just(Outcome::TimedOut),
    ]
}

fn an_event() -> impl Strategy<Value = Event> {
    // The first relocation is edited and looked at more often, so that some histories get far.
    let relocation = || prop_oneof![3 => Just(0_usize), 1 => Just(1_usize)];
    let operator = || 0_usize..2;
    let manner = proptest::sample::select(vec![Manner::Background, Manner::Foreground, Manner::Orphan]);
    prop_oneof![
        24 => (operator(), relocation()).prop_map(|(operator, relocation)| Event::Pass { operator, relocation }),
        6 => (operator(), relocation(), 0_usize..4)
            .prop_map(|(operator, relocation, behind)| Event::Observe { operator, relocation, behind }),
        6 => operator().prop_map(|operator| Event::Record { operator }),
        5 => operator().prop_map(|operator| Event::Act { operator }),
        2 => operator().prop_map(|operator| Event::Crash { operator }),
        2 => operator().prop_map(|operator| Event::Sync { operator }),
        10 => (0_usize..8, an_outcome()).prop_map(|(pod, outcome)| Event::Finish { pod, outcome }),
        6 => (relocation(), an_edit()).prop_map(|(relocation, edit)| Event::Edit { relocation, edit }),
        2 => (0_usize..8, manner).prop_map(|(job, manner)| Event::DeleteJob { job, manner }),
        1 => Just(Event::DeleteLease),
        1 => Just(Event::DeleteRelocation { relocation: 1 }),
        1 => proptest::sample::select(vec![Event::PlanAppears, Event::PlanVanishes]),
        6 => prop_oneof![6 => 1_i64..15, 2 => 15_i64..40, 1 => Just(4000_i64)]
            .prop_map(|seconds| Event::Tick { seconds }),
    ]
}

/// Lets a history happen to a new world, and then everything end.
pub(super) fn play(flaw: Flaw, history: &[Event]) -> Result<World, super::world::Broken> {
    let mut world = World::new(flaw);
    for event in history {
        world.happen(event)?;
    }
    world.run_to_the_end()?;
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_a_promise(history in proptest::collection::vec(an_event(), 0..120)) {
        if let Err(broken) = play(Flaw::None, &history) {
            prop_assert!(false, "{broken}");
        }
    }
}

#[test]
fn a_relocation_that_nobody_touches_succeeds_within_few_writes() {
    let mut world = World::new(Flaw::None);
    world.happen(&Event::DeleteRelocation { relocation: 1 }).unwrap();
    world.run_to_the_end().unwrap();
    assert_eq!(world.status(0).status, Some(crate::api::StatusValue::Success));
    assert!(world.ledger.writes <= 14, "{} status writes", world.ledger.writes);
}
