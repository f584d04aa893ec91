//! Every interleaving, within bounds: what people, Jobs, operators and crashes can do, explored without gaps around the
//! real judgement by a model checker.
//!
//! The world is the one in which the random histories play; what is here is only what may happen in it ([`Action`]), how
//! much of it in one run ([`Bounds`]), which states are the same ([`canonical`]), and how a run is told ([`story`]).
//! `RELOCATION_MODEL=deep` widens the bounds.

mod breaks;
mod canonical;
mod configurations;
mod story;

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use parking_lot::Mutex;
use stateright::{Model, Property};

use super::world::{Answer, Broken, Checked, Edit, Event, Flaw, Manner, Outcome, Phase, Promise, World};
use crate::api::{FailureReason, LateRequests, PauseReason, RelocationStatus, StatusValue};
use crate::lifecycle::{Effect, Plan};

/// How long the clock stands between two moments: more than the time in which a recorded Job may still be created, more
/// than the first back-off, less than anything else.
const MOMENT_SECONDS: i64 = 11;

/// What is explored, and how far.
#[derive(Clone, Debug)]
struct Bounds {
    plan: fn() -> Plan,
    /// How many relocations of the one mutex there are.
    relocations: usize,
    /// How many of them people edit.
    edited: usize,
    operators: usize,
    /// By how many seconds the second operator's clock is behind.
    skew: i64,
    late_requests: LateRequests,
    /// What people may ask for.
    menu: Vec<Edit>,
    /// What may go wrong with a Job.
    faults: Vec<Fault>,
    /// How much of each may happen in one run.
    budget: Budget,
}

/// What is left of it in this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Budget {
    edits: u8,
    faults: u8,
    crashes: u8,
    /// Looks by an old copy or an old cache.
    stale: u8,
    deletes: u8,
    wipes: u8,
}

/// What may go wrong with a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Ends(Outcome),
    /// Somebody deletes it.
    Deleted(Manner),
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Edit {
        relocation: usize,
        edit: Edit,
    },
    Look {
        operator: usize,
        relocation: usize,
        sight: Sight,
    },
    Store {
        operator: usize,
    },
    Act {
        operator: usize,
    },
    Crash {
        operator: usize,
    },
    /// A pod ends as it should: well, or because it was asked to.
    Finish {
        pod: usize,
    },
    Fault {
        pod: usize,
        fault: Fault,
    },
    Delete {
        relocation: usize,
    },
    /// The status is lost.
    Wipe {
        relocation: usize,
    },
    Wait,
}

/// How an operator sees the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// As it is.
    Fresh,
    /// The Jobs as they were when it last looked.
    OldJobs,
    /// The relocation as it was one version before.
    OldCopy,
}

/// A moment of a run.
#[derive(Clone, Debug)]
struct Moment {
    world: World,
    left: Budget,
    /// What went wrong in the last transition.
    broken: Option<Broken>,
    digest: u64,
}

impl Hash for Moment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// The model: bounds, the flaw that is explored, and what was found out so far.
struct Interleavings {
    bounds: Bounds,
    flaw: Flaw,
    /// States from which an end is known to be reached, with all that was taken given back.
    ways_out: Mutex<HashSet<u64>>,
    /// The first broken state, so that the shortest story is told.
    first: OnceLock<u64>,
}

impl Interleavings {
    fn new(bounds: Bounds, flaw: Flaw) -> Self {
        Self { bounds, flaw, ways_out: Mutex::new(HashSet::new()), first: OnceLock::new() }
    }

    /// Invariant "every state has a way out": when nobody disturbs any more, everything ends and gives back what it took.
    ///
    /// Runs to the end share most of their way, so each stops where another has been.
    fn way_out(&self, moment: &Moment) -> Checked {
        // What an operator has in mind is lost in the crash: the state before its look has been judged.
        let mut pending = moment.world.operators.iter().filter_map(|operator| operator.pending.as_ref());
        if moment.broken.is_some() || pending.any(|pending| pending.phase == Phase::Decided) {
            return Ok(());
        }
        let mut world = moment.world.clone();
        world.stop_disturbing()?;
        let mut way = Vec::new();
        for _ in 0..120 {
            canonical::forget_the_irrelevant(&mut world, Budget::default());
            let digest = canonical::digest(&world, &());
            if self.ways_out.lock().contains(&digest) {
                self.ways_out.lock().extend(way);
                return Ok(());
            }
            way.push(digest);
            if world.go_on()? {
                self.ways_out.lock().extend(way);
                return Ok(());
            }
        }
        world.never_ends()
    }

    fn is_the_first(&self, moment: &Moment) -> bool {
        *self.first.get_or_init(|| moment.digest) == moment.digest
    }

    /// Everything that may happen next, whether or not it changes anything.
    fn possible(&self, moment: &Moment) -> Vec<Action> {
        let Moment { world, left, .. } = moment;
        let mut actions = Vec::new();
        let there = (0..2).filter(|index| world.relocations[*index].is_some());
        for relocation in there.clone() {
            if left.edits > 0 && relocation < self.bounds.edited {
                actions.extend(self.bounds.menu.iter().map(|edit| Action::Edit { relocation, edit: *edit }));
            }
            if left.deletes > 0 {
                actions.push(Action::Delete { relocation });
            }
            if left.wipes > 0 {
                actions.push(Action::Wipe { relocation });
            }
        }
        for operator in 0..self.bounds.operators {
            // Of two operators that know the same, one goes first.
            if operator == 1 && world.operators[0].is_like(&world.operators[1]) {
                continue;
            }
            let pending = world.operators[operator].pending.as_ref();
            match pending.map(|pending| pending.phase) {
                None => {
                    for relocation in there.clone() {
                        let stale = [Sight::OldJobs, Sight::OldCopy].into_iter().filter(|_| left.stale > 0);
                        let sights = std::iter::once(Sight::Fresh).chain(stale);
                        actions.extend(sights.map(|sight| Action::Look { operator, relocation, sight }));
                    }
                }
                Some(Phase::Decided | Phase::ActedFirst) => actions.push(Action::Store { operator }),
                Some(Phase::Recorded) => actions.push(Action::Act { operator }),
            }
            // One that has nothing in mind has nothing to lose.
            let remembers = pending.is_some() || !world.operators[operator].known.is_empty();
            if left.crashes > 0 && remembers {
                actions.push(Action::Crash { operator });
            }
        }
        for pod in (0..world.pods.len()).filter(|pod| !world.pods[*pod].finished) {
            actions.push(Action::Finish { pod });
            if left.faults > 0 {
                actions.extend(self.bounds.faults.iter().map(|fault| Action::Fault { pod, fault: *fault }));
            }
        }
        actions.push(Action::Wait);
        actions
    }
}

impl Model for Interleavings {
    type State = Moment;
    type Action = Action;

    fn init_states(&self) -> Vec<Moment> {
        let mut world = World::with_plan(self.flaw, (self.bounds.plan)());
        world.relocations[self.bounds.relocations..].fill(None);
        for relocation in 0..self.bounds.relocations {
            world.edit(relocation, Edit::LateRequests(self.bounds.late_requests));
        }
        world.operators[1].skew = -self.bounds.skew;
        vec![Moment::new(world, self.bounds.budget, Ok(()))]
    }

    fn actions(&self, moment: &Moment, actions: &mut Vec<Action>) {
        if moment.broken.is_none() {
            actions.extend(self.possible(moment));
        }
    }

    fn next_state(&self, moment: &Moment, action: Action) -> Option<Moment> {
        moment.after(action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(PROMISES, |model: &Self, moment: &Moment| {
                moment.broken.is_none() || !model.is_the_first(moment)
            }),
            Property::always(WAY_OUT, |model: &Self, moment: &Moment| {
                model.way_out(moment).is_ok() || !model.is_the_first(moment)
            }),
            Property::sometimes(SUCCESS, |_: &Self, moment: &Moment| {
                moment.stands(|status| status.status == Some(StatusValue::Success))
            }),
            Property::sometimes(FENCED, |_: &Self, moment: &Moment| moment.rests(PauseReason::Fence)),
            Property::sometimes(SUSPENDED, |_: &Self, moment: &Moment| moment.rests(PauseReason::Suspended)),
            Property::sometimes(CANCELLED, |_: &Self, moment: &Moment| moment.failed(FailureReason::Cancelled)),
            Property::sometimes(ABORTED, |_: &Self, moment: &Moment| moment.failed(FailureReason::Aborted)),
            Property::sometimes(EXHAUSTED, |_: &Self, moment: &Moment| moment.failed(FailureReason::AttemptsExhausted)),
            Property::sometimes(RECOVERED, |_: &Self, moment: &Moment| {
                moment.stands(|status| status.recoveries.is_some() && status.status == Some(StatusValue::Success))
            }),
            Property::sometimes(LOST, |_: &Self, moment: &Moment| moment.failed(FailureReason::StatusLost)),
            Property::sometimes(LATE, |_: &Self, moment: &Moment| moment.stands(|status| status.late.is_some())),
            Property::sometimes(ABANDONED, |_: &Self, moment: &Moment| moment.has_an_abandoned_pod()),
            Property::sometimes(OUTRUN, |_: &Self, moment: &Moment| moment.has_a_late_sender()),
        ]
    }
}

impl Moment {
    fn new(mut world: World, left: Budget, checked: Checked) -> Self {
        canonical::forget_the_irrelevant(&mut world, left);
        let broken = checked.err();
        let digest = canonical::digest(&world, &(left, broken.is_some()));
        Self { world, left, broken, digest }
    }

    /// Lets it happen; nothing when it cannot, or changes nothing.
    fn after(&self, action: Action) -> Option<Self> {
        let mut world = self.world.clone();
        let mut left = self.left;
        let event = |event: Event, world: &mut World| world.happen(&event);
        let checked = match action {
            Action::Edit { relocation, edit } => {
                left.edits -= 1;
                if world.edit(relocation, edit) != Answer::Stored {
                    return None;
                }
                Ok(())
            }
            Action::Look { operator, relocation, sight } => {
                let behind = usize::from(sight == Sight::OldCopy);
                match sight {
                    Sight::OldJobs | Sight::OldCopy => left.stale -= 1,
                    Sight::Fresh => {}
                }
                if sight != Sight::OldJobs {
                    event(Event::Sync { operator }, &mut world).ok()?;
                }
                let checked = event(Event::Observe { operator, relocation, behind }, &mut world);
                let idle = world.operators[operator].pending.as_ref().is_none_or(|pending| !pending.changes_anything());
                if sight != Sight::Fresh && idle && checked.is_ok() {
                    return None;
                }
                checked
            }
            Action::Store { operator } => event(Event::Record { operator }, &mut world),
            Action::Act { operator } => event(Event::Act { operator }, &mut world),
            Action::Crash { operator } => {
                left.crashes -= 1;
                event(Event::Crash { operator }, &mut world)
            }
            Action::Finish { pod } => {
                let asked = world.pods[pod].deleted_at.is_some();
                world.finish(pod, if asked { Outcome::Exit(143) } else { Outcome::Valid });
                world.one_at_a_time()
            }
            Action::Fault { pod, fault } => {
                left.faults -= 1;
                match fault {
                    Fault::Ends(outcome) => world.finish(pod, outcome),
                    Fault::Deleted(manner) => {
                        let uid = &world.pods[pod].job_uid;
                        let job = world.jobs.iter().position(|job| job.uid == *uid)?;
                        world.delete_job(job, manner);
                    }
                }
                world.one_at_a_time()
            }
            Action::Delete { relocation } => {
                left.deletes -= 1;
                event(Event::DeleteRelocation { relocation }, &mut world)
            }
            Action::Wipe { relocation } => {
                left.wipes -= 1;
                event(Event::Wipe { relocation }, &mut world)
            }
            Action::Wait => event(Event::Tick { seconds: MOMENT_SECONDS }, &mut world),
        };
        Some(Self::new(world, left, checked))
    }

    fn stands(&self, so: impl Fn(&RelocationStatus) -> bool) -> bool {
        let stored = self.world.relocations.iter().flatten();
        stored.filter_map(|stored| stored.current.status.as_ref()).any(so)
    }

    fn rests(&self, reason: PauseReason) -> bool {
        self.stands(|status| status.pause.as_ref().is_some_and(|pause| pause.reason == reason))
    }

    fn failed(&self, reason: FailureReason) -> bool {
        self.stands(|status| status.failure.as_ref().is_some_and(|failure| failure.reason == reason))
    }

    fn has_an_abandoned_pod(&self) -> bool {
        let World { pods, jobs, .. } = &self.world;
        pods.iter().any(|pod| !pod.finished && jobs.iter().all(|job| job.uid != pod.job_uid))
    }

    /// Somebody is about to create a Job that the status has given up.
    fn has_a_late_sender(&self) -> bool {
        let World { operators, relocations, .. } = &self.world;
        operators.iter().filter_map(|operator| operator.pending.as_ref()).any(|pending| {
            let status = relocations[pending.relocation].as_ref().and_then(|stored| stored.current.status.as_ref());
            pending.phase == Phase::Recorded
                && matches!(pending.decision.effect, Some(Effect::CreateJob(_)))
                && status.is_some_and(|status| status.job != pending.decision.status.job)
        })
    }
}

/// The property that no promise is broken in any transition.
const PROMISES: &str = "the promises are kept";

/// The property that every state has a way out.
const WAY_OUT: &str = "every state has a way out";

// What must have been met, lest a narrow world prove nothing.
const SUCCESS: &str = "it succeeds";
const FENCED: &str = "it stands at a fence";
const SUSPENDED: &str = "it is suspended";
const CANCELLED: &str = "it is cancelled";
const ABORTED: &str = "it is aborted";
const EXHAUSTED: &str = "it is out of attempts";
const RECOVERED: &str = "it succeeds after a recover";
const LOST: &str = "its status is lost";
const LATE: &str = "a request comes too late";
const ABANDONED: &str = "a pod goes on without its Job";
const OUTRUN: &str = "a sender is so late that its Job was given up";
