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
        4 => Just(Edit::Recover),
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
        1 => relocation().prop_map(|relocation| Event::Wipe { relocation }),
        1 => proptest::sample::select(vec![Event::PlanAppears, Event::PlanVanishes]),
        6 => prop_oneof![6 => 1_i64..15, 2 => 15_i64..40, 1 => Just(4000_i64)]
            .prop_map(|seconds| Event::Tick { seconds }),
    ]
}

/// A few events that belong together, so that what is rare by chance alone happens often.
pub(super) fn a_scene() -> impl Strategy<Value = Vec<Event>> {
    let both = || (0_usize..2, prop_oneof![3 => Just(0_usize), 1 => Just(1_usize)]);
    let observe = |operator, relocation| Event::Observe { operator, relocation, behind: 0 };
    let finish = || (0_usize..4, an_outcome()).prop_map(|(pod, outcome)| Event::Finish { pod, outcome });
    prop_oneof![
        20 => an_event().prop_map(|event| vec![event]),
        // A step forward.
        8 => both().prop_map(|(operator, relocation)| {
            let pass = Event::Pass { operator, relocation };
            let finish = Event::Finish { pod: 0, outcome: Outcome::Valid };
            vec![pass.clone(), pass.clone(), finish, pass.clone(), pass]
        }),
        // A sender that is so late that the other one has given its Job up.
        1 => (both(), finish()).prop_map(move |((operator, relocation), finish)| {
            let other = Event::Pass { operator: 1 - operator, relocation };
            let late = Event::Act { operator };
            let tick = Event::Tick { seconds: 12 };
            let sync = Event::Sync { operator };
            vec![finish, sync, observe(operator, relocation), Event::Record { operator }, tick, other.clone(), late, other]
        }),
        // Two operators with the same copy.
        1 => (both(), finish()).prop_map(move |((one, relocation), finish)| {
            let other = 1 - one;
            let sync = [Event::Sync { operator: one }, Event::Sync { operator: other }];
            let observe = [observe(one, relocation), Event::Tick { seconds: 4 }, observe(other, relocation)];
            let record = [Event::Record { operator: one }, Event::Record { operator: other }];
            let act = [Event::Act { operator: other }, Event::Act { operator: one }];
            [finish].into_iter().chain(sync).chain(observe).chain(record).chain(act).collect()
        }),
        // An edit between the look and the write, and one between the write and the act.
        2 => (both(), finish(), an_edit(), an_edit()).prop_map(move |((operator, relocation), finish, first, second)| {
            let edit = |edit| Event::Edit { relocation, edit };
            let record = Event::Record { operator };
            vec![
                finish,
                Event::Sync { operator },
                observe(operator, relocation),
                edit(first),
                record.clone(),
                observe(operator, relocation),
                record,
                edit(second),
                Event::Act { operator },
            ]
        }),
        // A request to stop, judged by a cache that has not seen the Job end.
        1 => (both(), finish(), an_edit()).prop_map(move |((operator, relocation), finish, edit)| {
            let edit = Event::Edit { relocation, edit };
            let look = observe(operator, relocation);
            vec![Event::Sync { operator }, finish, edit, look, Event::Record { operator }, Event::Act { operator }]
        }),
        // A crash between the write and the act.
        1 => both().prop_map(move |(operator, relocation)| {
            vec![observe(operator, relocation), Event::Record { operator }, Event::Crash { operator }]
        }),
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
    fn no_history_breaks_a_promise(scenes in proptest::collection::vec(a_scene(), 0..50)) {
        let history = scenes.concat();
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
