//! Which states are the same: what cannot matter any more is forgotten, times count from now, launches by their order.
//!
//! Everything is taken apart without `..`, so that a new field is a decision to be made here.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::world::{Flaw, JobState, Ledger, Operator, Pending, Phase, SimJob, SimPod, World};
use super::{Budget, story};
use crate::api::{AnsweredRequests, Failure, Relocation, RelocationSpec, RelocationStatus};
use crate::lifecycle::{Effect, JobFailure, JobSeen};

/// Beyond this many seconds an age makes no difference any more: a launch is as lost as it will be.
const OLD: i64 = 10;

/// Removes what can have no effect on anything that follows.
pub(super) fn forget_the_irrelevant(world: &mut World, left: Budget) {
    let keeps_caches = left.stale > 0;
    // These two flaws are about writes and acts that should have been dropped.
    let drops_outdated = !matches!(world.flaw, Flaw::ForgetsThePrecondition | Flaw::ActsBeforeRecording);
    for index in 0..2 {
        let outdated = world.operators[index].pending.as_ref().is_some_and(|pending| {
            let nothing = !pending.changes_anything();
            pending.phase == Phase::Decided && (nothing || drops_outdated && !is_fresh(world, pending))
        });
        if outdated {
            world.operators[index].pending = None;
        }
    }
    let named = names_in_use(world);
    let keeps = |job: &SimJob| matches!(job.state, JobState::Live) || named.contains(&job.name);
    // What has ended is a trace of the run, for a status that is lost or may be.
    let lost = world.ledger.lost;
    let traces = |job: &SimJob| left.wipes > 0 || lost[job.owner];
    world.jobs.retain(|job| keeps(job) || traces(job));
    let jobs: Vec<(String, String)> = world.jobs.iter().map(|job| (job.name.clone(), job.uid.clone())).collect();
    world.pods.retain(|pod| !pod.finished || jobs.iter().any(|(_, uid)| *uid == pod.job_uid));
    for operator in &mut world.operators {
        operator.known.retain(|name| named.contains(name));
        if keeps_caches {
            operator.jobs.retain(keeps);
        } else {
            operator.jobs.clear();
        }
    }
    for index in 0..2 {
        let status = world.status(index);
        let present = status.step.zip(status.task);
        let Ledger {
            named: names,
            launches,
            failures,
            recovered,
            succeeded: _,
            owed: _,
            standing: _,
            lost: _,
            highest: _,
            writes: _,
        } = &mut world.ledger;
        names[index].retain(|name, _| named.contains(name) || jobs.iter().any(|(job, _)| job == name));
        // Where a lost status is found to have stood may be a task that was over.
        let may_come_back = left.wipes > 0 || lost[index];
        for counts in [launches, failures, recovered] {
            counts.retain(|(owner, step, task), _| {
                let stands = present.as_ref().is_none_or(|(at, name)| at == step && name == task);
                *owner != index || may_come_back || stands
            });
        }
        if let Some(stored) = &mut world.relocations[index] {
            let surplus = stored.versions.len().saturating_sub(if keeps_caches { 2 } else { 1 });
            stored.versions.drain(..surplus);
        }
    }
}

fn is_fresh(world: &World, pending: &Pending) -> bool {
    world.relocations[pending.relocation]
        .as_ref()
        .is_some_and(|stored| stored.current.metadata.resource_version == pending.copy.metadata.resource_version)
}

/// The Jobs that a status, or somebody who is about to act, has a name for.
fn names_in_use(world: &World) -> BTreeSet<String> {
    let stored = world.relocations.iter().flatten().flat_map(|stored| &stored.versions);
    let stored = stored.filter_map(|version| version.status.as_ref()?.job.clone());
    let pending = world.operators.iter().filter_map(|operator| operator.pending.as_ref());
    let pending = pending.flat_map(|pending| {
        let observed = pending.copy.status.as_ref().and_then(|status| status.job.clone());
        observed.into_iter().chain(pending.decision.status.job.clone())
    });
    stored.chain(pending).collect()
}

/// A number that two states share if and only if they are the same (but for a chance of one in some billions).
pub(super) fn digest(world: &World, beside: &impl Hash) -> u64 {
    let mut launches: Vec<i64> = Vec::new();
    launches.extend(world.jobs.iter().map(|job| job.launch));
    launches.extend(world.pods.iter().map(|pod| pod.launch));
    launches.extend(world.ledger.highest);
    for stored in world.relocations.iter().flatten() {
        launches.extend(stored.versions.iter().filter_map(|version| version.status.as_ref()?.launch));
    }
    for operator in &world.operators {
        launches.extend(operator.pending.iter().filter_map(|pending| pending.decision.status.launch));
        launches.extend(operator.jobs.iter().map(|job| job.launch));
    }
    launches.sort_unstable();
    launches.dedup();
    let mut hasher = DefaultHasher::new();
    beside.hash(&mut hasher);
    Reader { world, launches }.read(&mut hasher);
    hasher.finish()
}

struct Reader<'w> {
    world: &'w World,
    launches: Vec<i64>,
}

impl Reader<'_> {
    fn read(&self, hasher: &mut DefaultHasher) {
        let World {
            now: _,
            flaw: _,
            relocations,
            plan,
            lease,
            lease_taken,
            revisions,
            claims,
            jobs,
            pods,
            operators,
            ledger,
            whole_plan: _,
            version: _,
        } = self.world;
        for stored in relocations {
            let Some(stored) = stored else {
                hasher.write_u8(0);
                continue;
            };
            hasher.write_u8(1);
            for version in &stored.versions {
                let status = version.status.clone().unwrap_or_default();
                Self::read_spec(&version.spec, status.failure.as_ref(), hasher);
                self.read_status(&status, version, hasher);
            }
        }
        std::mem::discriminant(&**plan).hash(hasher);
        // Which Lease it is means something only to those who are about to give it back.
        let holder = lease.and_then(|holder| relocations[holder].as_ref());
        let unchanged = holder.map(|holder| holder.current.metadata.generation == Some(lease_taken.1));
        unchanged.hash(hasher);
        (lease, claims, revisions.each_ref().map(BTreeMap::len)).hash(hasher);
        for job in jobs {
            self.read_job(job, hasher);
        }
        for pod in pods {
            self.read_pod(pod, hasher);
        }
        let mut digests = operators.each_ref().map(|operator| {
            let mut hasher = DefaultHasher::new();
            self.read_operator(operator, &mut hasher);
            hasher.finish()
        });
        // Two operators of one clock are the same operator twice.
        if operators[0].skew == operators[1].skew {
            digests.sort_unstable();
        }
        digests.hash(hasher);
        let Ledger { standing, owed, named: _, launches, failures, succeeded, recovered, lost, highest, writes: _ } =
            ledger;
        (standing, owed, launches, failures, succeeded, recovered, lost).hash(hasher);
        highest.map(|launch| self.rank(launch)).hash(hasher);
    }

    fn rank(&self, launch: i64) -> Option<usize> {
        self.launches.iter().position(|known| *known == launch)
    }

    fn age(&self, time: Option<&Time>) -> Option<i64> {
        time.map(|time| self.world.now.duration_since(time.0).as_secs().clamp(0, OLD))
    }

    /// How far off it is; what is over is over.
    fn ahead(&self, time: Option<&Time>) -> Option<i64> {
        time.map(|time| time.0.duration_since(self.world.now).as_secs().max(0))
    }

    fn read_spec(spec: &RelocationSpec, failure: Option<&Failure>, hasher: &mut DefaultHasher) {
        let RelocationSpec {
            plan_ref: _,
            owner: _,
            provenance: _,
            items: _,
            uuid: _,
            retry_of: _,
            mutex: _,
            parameters,
            pause_at_step,
            auto_pause,
            cancel_at_step,
            desired_state,
            recover,
            when_locked,
            late_requests,
            reason: _,
            active_deadline_seconds,
            cleanup_seconds_after_finished,
            readiness: _,
        } = spec;
        (pause_at_step, auto_pause, cancel_at_step, desired_state, when_locked, late_requests).hash(hasher);
        (parameters, active_deadline_seconds, cleanup_seconds_after_finished).hash(hasher);
        // A token means something only to the failure that stands.
        let stands = recover.is_some() && recover.as_ref() == failure.map(|failure| &failure.id);
        (recover.is_some(), stands).hash(hasher);
    }

    fn read_status(&self, status: &RelocationStatus, of: &Relocation, hasher: &mut DefaultHasher) {
        let RelocationStatus {
            observed_generation,
            uuid,
            origin: _,
            status: value,
            step,
            task,
            entered,
            attempt,
            attempt_limit,
            launch,
            launched_at,
            job,
            jobs_missing,
            plan,
            auto_pause_at_step,
            steps,
            pause,
            failure,
            late,
            recoveries,
            answered,
            history: _,
            started_at,
            finished_at: _,
            active_since,
            active_seconds,
            waiting_since,
            source_workspace: _,
            next_attempt_at,
            conditions,
        } = status;
        (*observed_generation == of.metadata.generation, value, step, task, entered, attempt, attempt_limit)
            .hash(hasher);
        (launch.and_then(|launch| self.rank(launch)), self.age(launched_at.as_ref())).hash(hasher);
        (job.is_some(), jobs_missing, uuid.is_some(), plan.is_some(), auto_pause_at_step).hash(hasher);
        for step in steps {
            (step.name, step.state).hash(hasher);
            for task in &step.tasks {
                (&task.name, task.state, task.attempts, task.exit_code, task.message.is_some()).hash(hasher);
            }
        }
        pause.as_ref().map(|pause| (pause.step, pause.reason)).hash(hasher);
        let failure = failure.as_ref().map(|failure| (failure.step, &failure.task, failure.entered, failure.reason));
        (failure, late.as_ref().map(|late| (&late.field, &late.value)), recoveries, started_at.is_some()).hash(hasher);
        // What was answered matters as far as it differs from what is asked.
        let asked = answered.as_ref().map(|answered| *answered == AnsweredRequests::of(&of.spec));
        (asked, waiting_since.is_some()).hash(hasher);
        // Without a budget the account of time is only shown; with one, it matters until all is used.
        if let Some(limit) = of.spec.active_deadline_seconds {
            let running = active_since.as_ref().map_or(0, |since| self.world.now.duration_since(since.0).as_secs());
            (active_since.is_some(), (active_seconds.unwrap_or(0) + running).min(limit)).hash(hasher);
        }
        self.ahead(next_attempt_at.as_ref()).hash(hasher);
        for condition in conditions {
            (&condition.type_, &condition.status, &condition.reason).hash(hasher);
        }
    }

    fn read_job(&self, job: &SimJob, hasher: &mut DefaultHasher) {
        let SimJob { name: _, uid: _, owner, launch, step, task, attempt, holds, state, deleted_at, created_at: _ } =
            job;
        (owner, self.rank(*launch), step, task, attempt, holds, deleted_at.is_some()).hash(hasher);
        match state {
            JobState::Live => 0.hash(hasher),
            JobState::Succeeded => 1.hash(hasher),
            JobState::Failed(JobFailure { disrupted, timed_out, exit_code, message: _ }) => {
                (2, disrupted, timed_out, exit_code).hash(hasher);
            }
        }
    }

    fn read_pod(&self, pod: &SimPod, hasher: &mut DefaultHasher) {
        let SimPod { job: _, job_uid, launch, stray, finished, deleted_at, exit_code, result } = pod;
        let of_job = self.world.jobs.iter().position(|job| job.uid == *job_uid);
        (of_job, self.rank(*launch), stray, finished, deleted_at.is_some(), exit_code).hash(hasher);
        result.as_ref().map(|result| result.verdict).hash(hasher);
    }

    fn read_operator(&self, operator: &Operator, hasher: &mut DefaultHasher) {
        let Operator { jobs, known, skew: _, pending, paused_once } = operator;
        for job in jobs {
            self.read_job(job, hasher);
            self.world.jobs.iter().position(|real| real.uid == job.uid).hash(hasher);
        }
        for stored in self.world.relocations.iter().flatten() {
            let named = stored.current.status.as_ref().and_then(|status| status.job.as_ref());
            named.is_some_and(|name| known.contains(name)).hash(hasher);
        }
        (known.len(), paused_once).hash(hasher);
        let Some(pending) = pending else { return };
        let Pending { relocation, copy, seen, truth, decision, phase } = pending;
        let stored = self.world.relocations[*relocation].as_ref();
        let unedited = stored.is_some_and(|stored| stored.current.metadata.generation == copy.metadata.generation);
        (relocation, is_fresh(self.world, pending), unedited, *phase as u8).hash(hasher);
        let kind = |seen: &JobSeen| std::mem::discriminant(seen);
        (kind(seen), kind(truth)).hash(hasher);
        self.read_status(&decision.status, copy, hasher);
        let Some(effect) = &decision.effect else { return };
        story::deed(effect).hash(hasher);
        if let Effect::ReleaseLock { uid } = effect {
            (*uid == self.world.lease_taken.0.to_string()).hash(hasher);
        }
        if let Effect::DeleteJobs(references) = effect {
            for reference in references {
                self.world.jobs.iter().position(|job| job.uid == reference.uid).hash(hasher);
            }
        }
    }
}
