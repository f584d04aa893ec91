//! The two operators: observe with the real judgement, record with a precondition, act.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;

use super::{Broken, Checked, Flaw, JobState, Manner, Promise, SimJob, SimPod, World, admitted, uid_of};
use crate::api::{DesiredState, PauseReason, Relocation, RelocationStatus, StatusValue, revision_name};
use crate::lifecycle::{
    Decision, Effect, Facet, JobRead, JobSeen, Leftovers, LiveJob, LockSeen, MutexUse, PlaceSeen, Plan, PodSeen,
    Snapshot, SourceSeen, Trace, WorkspaceSeen, build_job, decide,
};

/// From when on after its record a Job that is not there may be given up.
const CREATION_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// One operator process: what it remembers, and the pass it is in.
#[derive(Clone, Debug)]
pub(in super::super) struct Operator {
    /// Its cache of Jobs, as old as its last sync.
    pub jobs: Vec<SimJob>,
    /// Names of Jobs that it has seen exist.
    pub known: BTreeSet<String>,
    /// By how many seconds its clock is off.
    pub skew: i64,
    pub pending: Option<Pending>,
    /// For [`Flaw::ConsumesTheFence`]: it has paused at a fence.
    pub paused_once: bool,
}

#[derive(Clone, Debug)]
pub(in super::super) struct Pending {
    pub relocation: usize,
    /// The copy that was observed.
    pub copy: Arc<Relocation>,
    /// The named Job as it was seen, before any flaw hid it.
    pub seen: JobSeen,
    /// The named Job as it really was at that moment.
    pub truth: JobSeen,
    pub decision: Arc<Decision>,
    pub phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Phase {
    Decided,
    /// Only with [`Flaw::ActsBeforeRecording`].
    ActedFirst,
    Recorded,
}

impl Pending {
    /// Whether there is anything to store or to do.
    pub fn changes_anything(&self) -> bool {
        let stored = self.copy.status.as_ref();
        let same = stored.map_or_else(
            || self.decision.status == RelocationStatus::default(),
            |status| *status == self.decision.status,
        );
        self.decision.effect.is_some() || !same
    }
}

impl Operator {
    /// Whether both are idle and know the same.
    pub fn is_like(&self, other: &Self) -> bool {
        let seen = |operator: &Self| -> Vec<(String, std::mem::Discriminant<JobState>)> {
            operator.jobs.iter().map(|job| (job.uid.clone(), std::mem::discriminant(&job.state))).collect()
        };
        let idle = self.pending.is_none() && other.pending.is_none();
        let alike = (self.skew, self.paused_once, &self.known) == (other.skew, other.paused_once, &other.known);
        idle && alike && seen(self) == seen(other)
    }

    pub fn new(skew: i64) -> Self {
        Self { jobs: Vec::new(), known: BTreeSet::new(), skew, pending: None, paused_once: false }
    }
}

impl World {
    pub(in super::super) fn crash(&mut self, operator: usize) {
        let jobs = self.jobs.clone();
        let old = &self.operators[operator];
        self.operators[operator] = Operator { jobs, paused_once: old.paused_once, ..Operator::new(old.skew) };
    }

    /// One pass by the newest copies; whether it changed anything or wants to go on at once.
    pub(in super::super) fn pass(&mut self, operator: usize, relocation: usize) -> Result<bool, Broken> {
        self.operators[operator].jobs.clone_from(&self.jobs);
        self.observe(operator, relocation, 0)?;
        let Some(pending) = &self.operators[operator].pending else { return Ok(false) };
        let changes = pending.changes_anything();
        let clock = self.clock(operator);
        let due = pending.decision.wake.is_some_and(|wake| wake <= clock);
        if due && !changes {
            return Err(Broken::new(
                Promise::Silence,
                format!("due at once without a change: {:?}", pending.decision.because),
            ));
        }
        self.record(operator)?;
        self.record_again_if_flawed(operator)?;
        self.act(operator)?;
        Ok(changes)
    }

    fn record_again_if_flawed(&mut self, operator: usize) -> Checked {
        if self.flaw == Flaw::ActsBeforeRecording { self.record(operator) } else { Ok(()) }
    }

    fn clock(&self, operator: usize) -> k8s_openapi::jiff::Timestamp {
        self.now.checked_add(SignedDuration::from_secs(self.operators[operator].skew)).expect("a time")
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of the moves, which all have this shape")]
    pub(in super::super) fn observe(&mut self, operator: usize, relocation: usize, behind: usize) -> Checked {
        self.operators[operator].pending = None;
        let Some(stored) = &self.relocations[relocation] else { return Ok(()) };
        let copy = stored.versions[stored.versions.len().saturating_sub(1 + behind)].clone();
        let status = copy.status.clone().unwrap_or_default();
        let seen = self.see_job(operator, relocation, status.job.as_deref());
        if let (JobSeen::Live { .. }, Some(name)) = (&seen, &status.job) {
            self.operators[operator].known.insert(name.clone());
        }
        let mut told = (*copy).clone();
        if self.flaw == Flaw::ConsumesTheFence && self.operators[operator].paused_once {
            told.spec.pause_at_step = None;
        }
        if self.flaw == Flaw::SleepsInPause && status.status == Some(StatusValue::Pause) {
            told.spec.pause_at_step = status.pause.as_ref().map(|pause| pause.step);
        }
        let truth = self.live_job(operator, status.job.as_deref());
        let mut decision = self.judge(operator, relocation, &told, &seen);
        if decision.status.pause.as_ref().is_some_and(|pause| pause.reason == PauseReason::Fence) {
            self.operators[operator].paused_once = true;
        }
        let backs_off = status.next_attempt_at.is_none() && decision.status.next_attempt_at.is_some();
        if self.flaw == Flaw::CountsTwice && backs_off {
            decision.status.attempt = decision.status.attempt.map(|attempt| attempt + 1);
        }
        if self.flaw == Flaw::WaitsInSilence {
            decision
                .status
                .conditions
                .retain(|condition| !["Reconciling", "Stalled"].contains(&condition.type_.as_str()));
        }
        if self.flaw == Flaw::AnswersNoLateRequest {
            decision.status.late.clone_from(&status.late);
        }
        if self.flaw == Flaw::GivesTwoAttempts && decision.status.recoveries > status.recoveries {
            decision.status.attempt_limit = decision.status.attempt_limit.map(|limit| limit + 1);
        }
        let decision = Arc::new(decision);
        self.operators[operator].pending =
            Some(Pending { relocation, copy, seen, truth, decision, phase: Phase::Decided });
        Ok(())
    }

    /// A Job by name: from the cache, or live when the cache does not show it.
    fn see_job(&self, operator: usize, relocation: usize, name: Option<&str>) -> JobSeen {
        let Some(name) = name else { return JobSeen::NotNamed };
        let cached = self.operators[operator].jobs.iter().find(|job| job.name == name && job.owner == relocation);
        cached.map_or_else(|| self.live_job(operator, Some(name)), SimJob::seen)
    }

    /// A Job by name, read live.
    fn live_job(&self, operator: usize, name: Option<&str>) -> JobSeen {
        let Some(name) = name else { return JobSeen::NotNamed };
        match self.jobs.iter().find(|job| job.name == name) {
            Some(job) => job.seen(),
            None => JobSeen::Missing { known: self.operators[operator].known.contains(name) },
        }
    }

    /// Asks the real judgement, answering its questions by live reads.
    fn judge(&self, operator: usize, relocation: usize, copy: &Relocation, seen: &JobSeen) -> Decision {
        let status = copy.status.clone().unwrap_or_default();
        let live_jobs = self.operators[operator].jobs.iter().filter(|job| job.owner == relocation);
        let live_jobs = live_jobs.filter(|job| matches!(job.state, JobState::Live)).map(|job| LiveJob {
            name: job.name.clone(),
            uid: job.uid.clone(),
            deleting: job.deleted_at.is_some(),
        });
        let hidden = match self.flaw {
            Flaw::JudgesTheAbortFirst => copy.spec.desired_state == DesiredState::Aborted,
            Flaw::JudgesTheDeadlineFirst => copy.spec.active_deadline_seconds.is_some(),
            Flaw::None
            | Flaw::ActsBeforeRecording
            | Flaw::ForgetsThePrecondition
            | Flaw::ConsumesTheFence
            | Flaw::CountsTwice
            | Flaw::SkipsQuiet
            | Flaw::WaitsInSilence
            | Flaw::AnswersNoLateRequest
            | Flaw::GivesTwoAttempts
            | Flaw::LooksForNoTraces
            | Flaw::SleepsInPause
            | Flaw::SetsAFinalizer
            | Flaw::BlocksItsOwner => false,
        };
        let hide = |job: JobSeen| match job {
            JobSeen::Succeeded | JobSeen::Failed(_) if hidden => {
                let uid = "hidden".to_owned();
                JobSeen::Live { uid, ready: 1, deleted_at: None, suspended: false, deadline_at: None }
            }
            job => job,
        };
        let job = hide(seen.clone());
        let mut snapshot = Snapshot {
            relocation: copy,
            plan: (*self.plan).clone(),
            frozen: None,
            job,
            job_read: JobRead::Cached,
            pods: None,
            failed_create: None,
            live_jobs: live_jobs.collect(),
            mutex_use: None,
            lock: None,
            workspace: None,
            end_job: None,
            end_pods: None,
            create_refusal: None,
            retried_by: None,
            traces: None,
            source: None,
            successor: None,
            adopted: None,
            place: None,
            leftovers: None,
        };
        for _ in 0..16 {
            match decide(&snapshot, self.clock(operator)) {
                Ok(decision) => return decision,
                Err(Facet::Job) => {
                    snapshot.job = hide(self.live_job(operator, status.job.as_deref()));
                    snapshot.job_read = JobRead::Live;
                }
                Err(Facet::Frozen) => snapshot.frozen = Some(self.revision(relocation, &status, 0)),
                Err(Facet::Pods) => snapshot.pods = Some(self.pods_of(status.job.as_deref().unwrap_or_default())),
                Err(Facet::MutexUse) => snapshot.mutex_use = Some(self.mutex_use()),
                Err(Facet::Lock) => snapshot.lock = Some(self.lock(relocation)),
                Err(Facet::Workspace) => {
                    let ours = self.claims[relocation];
                    snapshot.workspace = Some(if ours { WorkspaceSeen::Ours } else { WorkspaceSeen::Missing });
                }
                Err(Facet::EndJob) => snapshot.end_job = Some(JobSeen::NotNamed),
                Err(Facet::EndPods) => snapshot.end_pods = Some(Vec::new()),
                Err(Facet::Traces) => snapshot.traces = Some(self.traces(relocation)),
                Err(Facet::Source) => snapshot.source = Some(SourceSeen::Missing),
                Err(Facet::Successor) => snapshot.successor = Some(None),
                Err(Facet::Adopted) => snapshot.adopted = Some(self.revision(relocation, &status, 1)),
                Err(Facet::Place) => snapshot.place = Some(PlaceSeen::Free),
                Err(Facet::Leftovers) => snapshot.leftovers = Some(Leftovers::default()),
            }
        }
        panic!("the judgement asks the same question again");
    }

    /// The plan that is frozen for this run, or for the recovery after so many more.
    fn revision(&self, relocation: usize, status: &RelocationStatus, more: i32) -> Option<Arc<Plan>> {
        let recoveries = status.recoveries.unwrap_or(0) + more;
        let derived = revision_name(&super::name_of(relocation), &uid_of(relocation), recoveries);
        let in_use = status.plan.as_ref().filter(|_| more == 0).map(|plan| plan.revision.clone());
        self.revisions[relocation].get(&in_use.unwrap_or(derived)).cloned()
    }

    /// What exists under the label of the run's uuid, the newest launch first.
    fn traces(&self, relocation: usize) -> Vec<Trace> {
        if self.flaw == Flaw::LooksForNoTraces {
            return Vec::new();
        }
        let mut jobs: Vec<_> = self.jobs.iter().filter(|job| job.owner == relocation).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.launch));
        let jobs = jobs.into_iter().map(|job| Trace::Job {
            step: job.step,
            task: job.task.clone(),
            attempt: job.attempt,
            launch: job.launch,
        });
        let revisions = self.revisions[relocation].iter().map(|_| Trace::Revision);
        let claims = self.claims[relocation].then_some(Trace::Other);
        jobs.chain(revisions).chain(claims).collect()
    }

    fn pods_of(&self, job: &str) -> Vec<PodSeen> {
        let pods = self.pods.iter().filter(|pod| pod.job == job);
        pods.map(|pod| PodSeen {
            name: format!("{}-x", pod.job),
            node: Some("node-1".to_owned()),
            finished: pod.finished,
            deleted_at: pod.deleted_at,
            waiting: None,
            exit_code: pod.exit_code,
            result: pod.result.clone(),
        })
        .collect()
    }

    fn mutex_use(&self) -> MutexUse {
        if self.flaw == Flaw::SkipsQuiet {
            return MutexUse::Quiet;
        }
        let jobs = self.jobs.iter().filter(|job| matches!(job.state, JobState::Live));
        let pods: Vec<_> = self.pods.iter().filter(|pod| !pod.finished).collect();
        let what: Vec<_> = jobs
            .map(|job| format!("job {}", job.name))
            .chain(pods.iter().map(|pod| format!("pod {}-x", pod.job)))
            .take(3)
            .collect();
        if what.is_empty() {
            return MutexUse::Quiet;
        }
        let ending = pods.iter().find_map(|pod| Some((format!("{}-x", pod.job), None, pod.deleted_at?)));
        MutexUse::Busy { what, ending }
    }

    fn lock(&self, relocation: usize) -> LockSeen {
        match self.lease {
            None => LockSeen::Free,
            Some(holder) if holder == relocation => {
                let (uid, generation) = self.lease_taken;
                LockSeen::Ours { uid: uid.to_string(), generation }
            }
            Some(holder) if self.relocations[holder].is_none() => LockSeen::Free,
            Some(holder) => LockSeen::Held { holder: super::name_of(holder) },
        }
    }

    /// Writes the decided status if it differs, and only over the version that was observed.
    pub(in super::super) fn record(&mut self, operator: usize) -> Checked {
        let Some(pending) = self.operators[operator].pending.clone() else { return Ok(()) };
        if pending.phase == Phase::Recorded {
            return Ok(());
        }
        if self.flaw == Flaw::ActsBeforeRecording && pending.phase == Phase::Decided {
            self.set_phase(operator, Phase::ActedFirst);
            return self.do_effect(operator, &pending);
        }
        let Some(stored) = &self.relocations[pending.relocation] else {
            self.operators[operator].pending = None;
            return Ok(());
        };
        let old = stored.current.clone();
        let fresh = old.metadata.resource_version == pending.copy.metadata.resource_version;
        let changes = pending.decision.status != pending.copy.status.clone().unwrap_or_default();
        let lost = !fresh && (self.flaw != Flaw::ForgetsThePrecondition || !changes);
        if lost {
            self.operators[operator].pending = None;
            return Ok(());
        }
        if changes {
            let mut new = Relocation { status: Some(pending.decision.status.clone()), ..(*old).clone() };
            if self.flaw == Flaw::SetsAFinalizer {
                new.metadata.finalizers = Some(vec![format!("{}/tidy", crate::api::GROUP)]);
            }
            self.judge_write(&pending, &old, &new)?;
            match admitted(&old, &new) {
                Ok(()) => self.store(pending.relocation, new),
                Err(refusal) if fresh => {
                    return Err(Broken::new(Promise::Admission, format!("a fresh write was refused: {refusal}")));
                }
                Err(_) => {
                    self.operators[operator].pending = None;
                    return Ok(());
                }
            }
        }
        if pending.decision.effect.is_none() || pending.phase == Phase::ActedFirst {
            self.operators[operator].pending = None;
        } else {
            self.set_phase(operator, Phase::Recorded);
        }
        Ok(())
    }

    fn set_phase(&mut self, operator: usize, phase: Phase) {
        if let Some(pending) = &mut self.operators[operator].pending {
            pending.phase = phase;
        }
    }

    pub(in super::super) fn act(&mut self, operator: usize) -> Checked {
        let recorded = |pending: &mut Pending| pending.phase == Phase::Recorded;
        let Some(pending) = self.operators[operator].pending.take_if(recorded) else { return Ok(()) };
        self.do_effect(operator, &pending)
    }

    fn do_effect(&mut self, operator: usize, pending: &Pending) -> Checked {
        let relocation = pending.relocation;
        match &pending.decision.effect {
            None | Some(Effect::CreateEndJob(_) | Effect::CleanUp(_)) => {}
            Some(Effect::TakeLock) => match self.lease {
                None => {
                    self.lease = Some(relocation);
                    self.version += 1;
                    self.lease_taken = (self.version, pending.copy.metadata.generation.unwrap_or(0));
                }
                Some(holder) if self.relocations[holder].is_none() => self.lease = None,
                Some(_) => {}
            },
            Some(Effect::ReleaseLock { uid }) => {
                self.lease.take_if(|holder| *holder == relocation && *uid == self.lease_taken.0.to_string());
            }
            Some(Effect::CreateWorkspace(_)) => self.claims[relocation] = true,
            Some(Effect::FreezePlan { plan, revision }) => {
                self.revisions[relocation].entry(revision.clone()).or_insert_with(|| Arc::new((**plan).clone()));
            }
            Some(Effect::CreateJob(plan)) => {
                let mut job = build_job(&pending.copy, &pending.decision.status, plan).expect("a Job of the plan");
                if self.flaw == Flaw::BlocksItsOwner {
                    job["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into();
                }
                return self.create_job(operator, relocation, &pending.decision.status, &job);
            }
            Some(Effect::DeleteJobs(jobs)) => {
                super::promises::nothing_finished_is_deleted(pending)?;
                for reference in jobs {
                    let found = self.jobs.iter().position(|job| job.uid == reference.uid);
                    if let Some(index) = found {
                        self.delete_job(index, Manner::Foreground);
                    }
                }
            }
        }
        Ok(())
    }

    fn create_job(
        &mut self,
        operator: usize,
        relocation: usize,
        status: &RelocationStatus,
        job: &serde_json::Value,
    ) -> Checked {
        let name = job["metadata"]["name"].as_str().expect("a name").to_owned();
        self.operators[operator].known.insert(name.clone());
        let owned = job["metadata"]["ownerReferences"][0]["uid"] == uid_of(relocation).as_str();
        assert!(owned, "a Job belongs to its relocation");
        if self.relocations[relocation].is_none() || self.jobs.iter().any(|job| job.name == name) {
            return Ok(());
        }
        // Whoever is so late may meet another operator that has just given this launch up.
        let late = status.launched_at.as_ref().is_some_and(|at| self.now.duration_since(at.0) >= CREATION_GRACE);
        let stray = late || self.status(relocation).job.as_deref() != Some(name.as_str());
        self.judge_creation(relocation, status, stray)?;
        let launch = status.launch.expect("a launch");
        let uid = format!("{name}-{}", self.version);
        self.version += 1;
        self.jobs.push(SimJob {
            name: name.clone(),
            uid: uid.clone(),
            owner: relocation,
            launch,
            step: status.step.expect("a step"),
            task: status.task.clone().unwrap_or_default(),
            attempt: status.attempt.unwrap_or(1),
            holds: super::promises::what_holds_its_owner(job),
            state: JobState::Live,
            deleted_at: None,
            created_at: self.now,
        });
        self.pods.push(SimPod {
            job: name,
            job_uid: uid,
            launch,
            stray,
            finished: false,
            deleted_at: None,
            exit_code: None,
            result: None,
        });
        Ok(())
    }

    /// Passes by both operators until nothing changes any more; the clock stands still.
    pub(in super::super) fn settle(&mut self) -> Checked {
        for _ in 0..40 {
            let mut changed = false;
            for relocation in 0..2 {
                changed |= self.pass(0, relocation)?;
                self.one_at_a_time()?;
            }
            if !changed {
                return Ok(());
            }
        }
        let because = self.operators[0].pending.as_ref().map(|pending| pending.decision.because.clone());
        Err(Broken::new(Promise::Silence, format!("it never settles: {because:?}")))
    }

    /// Everybody stops editing, every fence opens, every pod ends well: whatever has not failed must succeed.
    pub(in super::super) fn run_to_the_end(&mut self) -> Checked {
        self.stop_disturbing()?;
        for _ in 0..120 {
            if self.go_on()? {
                return Ok(());
            }
        }
        self.never_ends()
    }

    /// The last edits and crashes: from here on nobody does anything but what helps.
    pub(in super::super) fn stop_disturbing(&mut self) -> Checked {
        use super::{Edit, Event};
        use crate::api::AutoPause;
        self.happen(&Event::PlanAppears)?;
        for operator in 0..2 {
            self.crash(operator);
        }
        for relocation in 0..2 {
            self.edit(relocation, Edit::Pause(None));
            self.edit(relocation, Edit::Cancel(None));
            self.edit(relocation, Edit::AutoPause(AutoPause::Skip));
            self.edit(relocation, Edit::Budget(None));
            self.edit(relocation, Edit::Desire(DesiredState::Active));
        }
        Ok(())
    }

    /// One stretch on the way to the end; whether it is reached, with everything given back.
    pub(in super::super) fn go_on(&mut self) -> Result<bool, Broken> {
        use super::{Edit, Event, Outcome};
        self.settle()?;
        let busy = |index: &usize| self.relocations[*index].is_some() && !self.status(*index).has_ended();
        if (0..2).all(|index| !busy(&index)) && self.pods.iter().all(|pod| pod.finished) {
            self.all_is_given_back()?;
            return Ok(true);
        }
        for relocation in 0..2 {
            // Refused while IN_PROGRESS, so it is tried until it can be.
            self.edit(relocation, Edit::BadParameter(false));
        }
        let running: Vec<usize> = (0..self.pods.len()).filter(|index| !self.pods[*index].finished).collect();
        match running.last() {
            Some(pod) => self.finish(*pod, Outcome::Valid),
            None => self.happen(&Event::Tick { seconds: 11 })?,
        }
        Ok(false)
    }

    pub(in super::super) fn never_ends(&self) -> Checked {
        let standing: Vec<_> = (0..2).map(|index| self.status(index)).collect();
        Err(Broken::new(Promise::Liveness, format!("it does not end: {standing:#?}")))
    }

    /// After the last ending nothing is held, and another look is silent, now and later.
    fn all_is_given_back(&mut self) -> Checked {
        self.happen(&super::Event::Tick { seconds: 5000 })?;
        self.settle()?;
        let writes = self.ledger.writes;
        self.settle()?;
        if self.ledger.writes != writes {
            return Err(Broken::new(Promise::Silence, "a settled state was written".to_owned()));
        }
        if let Some(holder) = self.lease.filter(|holder| self.relocations[*holder].is_some()) {
            return Err(Broken::new(Promise::Liveness, format!("the lock of {holder} is never given back")));
        }
        for index in 0..2 {
            let status = self.status(index).status;
            let ended = matches!(status, Some(StatusValue::Success | StatusValue::Failure));
            if self.relocations[index].is_some() && !ended {
                return Err(Broken::new(Promise::Liveness, format!("{index} stands in {status:?}")));
            }
        }
        Ok(())
    }
}
