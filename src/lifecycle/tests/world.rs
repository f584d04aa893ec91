//! A small world without a client: a store with resource versions and admission rules, two relocations of one mutex,
//! Jobs and pods that end when they like, two operators around the real [`decide`], and people who edit.
//!
//! A pass of an operator is cut into observe (with the judgement), record and act, so that anything may happen between.
//! Every transition is judged by the promises; the first broken one is the result.

mod operators;
mod promises;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::fixtures::{a_spec, a_template, noon};
use crate::api::{
    AutoPause, DesiredState, FailureReason, LateRequests, Relocation, RelocationPlanSpec, RelocationSpec,
    RelocationStatus, StatusValue, Step, TaskResult, WhenLocked,
};
use crate::lifecycle::{JobFailure, JobSeen, Plan, PlanSeen};
pub(super) use operators::{Operator, Pending, Phase};
pub(super) use promises::{Broken, Promise};
use verdicts::admitted;

pub(super) type Checked = Result<(), Broken>;

/// How many versions of an object a stale reader may still see.
const VERSIONS_KEPT: usize = 4;

/// How long a deleted pod goes on.
const GRACE_SECONDS: i64 = 30;

/// A deliberate break of the protocol or of what the judgement is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The operators do as they should.
    None,
    /// The Job is created first, and the status written after it.
    ActsBeforeRecording,
    /// The status is written without the `resourceVersion` of what was observed.
    ForgetsThePrecondition,
    /// A fence that was once paused at is not looked at again.
    ConsumesTheFence,
    /// A failed attempt is counted when it is folded and again when the next one starts.
    CountsTwice,
    /// The mutex is taken for quiet without a look.
    SkipsQuiet,
    /// An abort is judged while the finished Job is not looked at.
    JudgesTheAbortFirst,
    /// The deadline is judged while the finished Job is not looked at.
    JudgesTheDeadlineFirst,
    /// The status that is written has neither `Reconciling` nor `Stalled`.
    WaitsInSilence,
    /// A request that came too late is not answered.
    AnswersNoLateRequest,
    /// A recover gives two more attempts.
    GivesTwoAttempts,
    /// What an earlier life of a run has left behind is not looked for.
    LooksForNoTraces,
    /// A paused relocation does not see what is edited.
    SleepsInPause,
    /// Each status write comes with a finalizer.
    SetsAFinalizer,
    /// The Job's owner reference holds back the deletion of the relocation.
    BlocksItsOwner,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Edit {
        relocation: usize,
        edit: Edit,
    },
    /// Observe and decide, by a copy that is this many versions old.
    Observe {
        operator: usize,
        relocation: usize,
        behind: usize,
    },
    Record {
        operator: usize,
    },
    Act {
        operator: usize,
    },
    /// A whole pass by the newest copy.
    Pass {
        operator: usize,
        relocation: usize,
    },
    /// The operator is killed and starts again.
    Crash {
        operator: usize,
    },
    /// The operator's cache of Jobs catches up.
    Sync {
        operator: usize,
    },
    /// The pod of a Job ends, and its Job with it if there still is one.
    Finish {
        pod: usize,
        outcome: Outcome,
    },
    DeleteJob {
        job: usize,
        manner: Manner,
    },
    DeleteLease,
    DeleteRelocation {
        relocation: usize,
    },
    /// The whole status is removed.
    Wipe {
        relocation: usize,
    },
    PlanAppears,
    PlanVanishes,
    Tick {
        seconds: i64,
    },
}

/// An edit by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    Pause(Option<Step>),
    Cancel(Option<Step>),
    AutoPause(AutoPause),
    Desire(DesiredState),
    Budget(Option<i64>),
    WhenLocked(WhenLocked),
    LateRequests(LateRequests),
    /// Sets or removes a parameter that the plan does not declare.
    BadParameter(bool),
    /// One more attempt of the failure that stands, with all that is in its way cleared in the same change.
    Recover,
    /// One more attempt of a failure that does not stand.
    RecoverAnother,
}

/// What became of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// There was nothing to change.
    Unchanged,
    /// By the admission rules, in these words.
    Refused(String),
    Stored,
}

/// How a pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Valid,
    Invalid,
    NoVerdict,
    /// It ended well, and is gone before anybody reads it.
    Unread,
    Exit(i32),
    Disrupted,
    TimedOut,
}

/// How somebody deletes a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// The Job is gone at once, its pod ends within its grace period.
    Background,
    /// The Job goes after its pod.
    Foreground,
    /// The Job is gone at once, its pod goes on.
    Orphan,
}

#[derive(Clone, Debug)]
pub(super) struct SimJob {
    pub name: String,
    pub uid: String,
    pub owner: usize,
    pub launch: i64,
    pub step: Step,
    pub task: String,
    pub attempt: i32,
    /// What of it would hold back the deletion of its owner.
    pub holds: Option<&'static str>,
    pub state: JobState,
    pub deleted_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) enum JobState {
    Live,
    Succeeded,
    Failed(JobFailure),
}

impl SimJob {
    pub fn seen(&self) -> JobSeen {
        match &self.state {
            JobState::Live => JobSeen::Live {
                uid: self.uid.clone(),
                ready: 1,
                deleted_at: self.deleted_at,
                suspended: false,
                deadline_at: self.created_at.checked_add(SignedDuration::from_hours(1)).ok(),
            },
            JobState::Succeeded => JobSeen::Succeeded,
            JobState::Failed(failure) => JobSeen::Failed(failure.clone()),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct SimPod {
    pub job: String,
    pub job_uid: String,
    pub launch: i64,
    /// Its Job was not named by the status when it was created, or had just been given up: its sender was late.
    pub stray: bool,
    pub finished: bool,
    pub deleted_at: Option<Timestamp>,
    pub exit_code: Option<i32>,
    pub result: Option<TaskResult>,
}

/// An object in the store, with the versions that a stale reader may still see.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub current: Arc<Relocation>,
    pub versions: Vec<Arc<Relocation>>,
}

/// What really happened, for the promises.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Fences that were stored before their step was entered, and still stand.
    pub standing: [BTreeSet<Step>; 2],
    /// Requests that came too late and have not been answered: field and value.
    pub owed: [BTreeMap<&'static str, Step>; 2],
    /// The Jobs that a stored status has named, with their step and task.
    pub named: [BTreeMap<String, (Step, String)>; 2],
    /// Launches recorded, and Jobs that really failed, by relocation, step and task.
    pub launches: BTreeMap<(usize, Step, String), i32>,
    pub failures: BTreeMap<(usize, Step, String), i32>,
    /// Tasks whose success was stored, by relocation, step and task.
    pub succeeded: BTreeSet<(usize, Step, String)>,
    /// How many recoveries of entered steps were accepted, by step and task.
    pub recovered: BTreeMap<(usize, Step, String), i32>,
    /// The status was wiped while objects of the run exist, and nobody has recovered it since.
    pub lost: [bool; 2],
    /// The highest fencing token a Job was created with.
    pub highest: [i64; 2],
    /// How many status writes were stored.
    pub writes: usize,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub now: Timestamp,
    pub flaw: Flaw,
    pub relocations: [Option<Stored>; 2],
    pub plan: Arc<PlanSeen>,
    pub lease: Option<usize>,
    /// Which Lease that is, and at which generation of its holder it was taken.
    pub lease_taken: (u64, i64),
    /// Frozen plans by relocation and name.
    pub revisions: [BTreeMap<String, Arc<Plan>>; 2],
    pub claims: [bool; 2],
    pub jobs: Vec<SimJob>,
    pub pods: Vec<SimPod>,
    pub operators: [Operator; 2],
    pub ledger: Ledger,
    /// The plan that appears.
    pub whole_plan: Arc<PlanSeen>,
    pub version: u64,
}

/// Two tasks, an empty step, evidence, an automatic fence, another empty step, a task whose failure is ignored.
pub(super) fn the_plan() -> Plan {
    let task = |name: &str, attempts: i32| json!({ "name": name, "attempts": attempts, "template": a_template() });
    let mut validate = task("check", 2);
    validate["evidence"] = json!(true);
    let spec: RelocationPlanSpec = serde_json::from_value(json!({
        "autoPauseAtStep": { "SAAS_TO_SAAS": "IMPORTING" },
        "workspace": { "storage": "1Gi" },
        "steps": [
            { "step": "UPLOADING", "tasks": [task("list", 2), task("copy", 3)] },
            { "step": "VALIDATING", "tasks": [validate] },
            { "step": "IMPORTING", "tasks": [task("write", 2)] },
            { "step": "NOTIFYING", "tasks": [task("mail", 1)] },
        ],
    }))
    .expect("a plan");
    Plan::read(spec, 1).expect("a valid plan")
}

pub(super) fn name_of(relocation: usize) -> String {
    format!("move-{relocation}")
}

pub(super) fn uid_of(relocation: usize) -> String {
    format!("3f0c0000-0000-4000-8000-00000000000{relocation}")
}

impl World {
    /// Two relocations of one mutex, of different provenance, with an accepted plan and nothing done yet.
    pub fn new(flaw: Flaw) -> Self {
        Self::with_plan(flaw, the_plan())
    }

    /// The same with another plan.
    pub fn with_plan(flaw: Flaw, plan: Plan) -> Self {
        let plan = Arc::new(PlanSeen::Accepted(Arc::new(plan)));
        let relocation = |index: usize| {
            let mut spec = a_spec();
            spec.when_locked = WhenLocked::Wait;
            if index == 1 {
                spec.provenance = crate::api::Provenance::SaasToSaas;
            }
            let mut relocation = Relocation::new(&name_of(index), spec);
            relocation.metadata.uid = Some(uid_of(index));
            relocation.metadata.namespace = Some("moves".to_owned());
            relocation.metadata.generation = Some(1);
            relocation.metadata.resource_version = Some("1".to_owned());
            relocation.metadata.creation_timestamp = Some(Time(noon()));
            let relocation = Arc::new(relocation);
            Some(Stored { current: relocation.clone(), versions: vec![relocation] })
        };
        Self {
            now: noon(),
            flaw,
            relocations: [relocation(0), relocation(1)],
            plan: plan.clone(),
            lease: None,
            lease_taken: (0, 0),
            revisions: [BTreeMap::new(), BTreeMap::new()],
            claims: [false, false],
            jobs: Vec::new(),
            pods: Vec::new(),
            operators: [Operator::new(0), Operator::new(-3)],
            ledger: Ledger::default(),
            whole_plan: plan,
            version: 1,
        }
    }

    /// Lets something happen, and judges what came of it.
    pub fn happen(&mut self, event: &Event) -> Checked {
        match *event {
            Event::Edit { relocation, edit } => {
                self.edit(relocation, edit);
            }
            Event::Observe { operator, relocation, behind } => self.observe(operator, relocation, behind)?,
            Event::Record { operator } => self.record(operator)?,
            Event::Act { operator } => self.act(operator)?,
            Event::Pass { operator, relocation } => {
                self.pass(operator, relocation)?;
            }
            Event::Crash { operator } => self.crash(operator),
            Event::Sync { operator } => self.operators[operator].jobs.clone_from(&self.jobs),
            Event::Finish { pod, outcome } => self.finish_one_of(pod, outcome),
            Event::DeleteJob { job, manner } => {
                if let Some(index) = job.checked_rem(self.jobs.len()) {
                    self.delete_job(index, manner);
                }
            }
            Event::DeleteLease => self.delete_lease(),
            Event::DeleteRelocation { relocation } => self.delete_relocation(relocation)?,
            Event::Wipe { relocation } => self.wipe(relocation),
            Event::PlanAppears => self.plan = self.whole_plan.clone(),
            Event::PlanVanishes => self.plan = Arc::new(PlanSeen::Missing),
            Event::Tick { seconds } => self.tick(seconds),
        }
        self.one_at_a_time()
    }

    pub fn edit(&mut self, relocation: usize, edit: Edit) -> Answer {
        let Some(stored) = &self.relocations[relocation] else { return Answer::Unchanged };
        let old = stored.current.clone();
        let mut spec = old.spec.clone();
        change(&mut spec, edit, old.status.as_ref());
        if spec == old.spec {
            return Answer::Unchanged;
        }
        let mut new = Relocation { spec, ..(*old).clone() };
        new.metadata.generation = new.metadata.generation.map(|generation| generation + 1);
        if let Err(refusal) = admitted(&old, &new) {
            return Answer::Refused(refusal);
        }
        let status = old.status.clone().unwrap_or_default();
        let standing = &mut self.ledger.standing[relocation];
        if new.spec.pause_at_step != old.spec.pause_at_step {
            *standing = new.spec.pause_at_step.into_iter().filter(|step| !status.is_behind(*step)).collect();
        }
        let failed = status.status == Some(StatusValue::Failure);
        let (pause, cancel) = (new.spec.pause_at_step, new.spec.cancel_at_step.filter(|_| !failed));
        let answered = status.answered.clone().unwrap_or_default();
        let asked = [
            ("pauseAtStep", pause, new.spec.pause_at_step != old.spec.pause_at_step, answered.pause_at_step),
            ("cancelAtStep", cancel, new.spec.cancel_at_step != old.spec.cancel_at_step, answered.cancel_at_step),
        ];
        let owed = &mut self.ledger.owed[relocation];
        for (field, wanted, _, answered) in asked.into_iter().filter(|(.., changed, _)| *changed) {
            owed.remove(field);
            // What is asked again before anybody saw it taken back has its answer already.
            let late = wanted.filter(|step| status.is_behind(*step) && answered != Some(*step));
            owed.extend(late.map(|step| (field, step)));
        }
        self.store(relocation, new);
        Answer::Stored
    }

    /// Stores an object as its next version.
    fn store(&mut self, relocation: usize, mut object: Relocation) {
        self.version += 1;
        object.metadata.resource_version = Some(self.version.to_string());
        if let Some(status) = &object.status
            && let (Some(job), Some(step)) = (&status.job, status.step)
        {
            let task = status.task.clone().unwrap_or_default();
            self.ledger.named[relocation].entry(job.clone()).or_insert((step, task));
        }
        if let Some(stored) = &mut self.relocations[relocation] {
            stored.current = Arc::new(object);
            stored.versions.push(stored.current.clone());
            let surplus = stored.versions.len().saturating_sub(VERSIONS_KEPT);
            stored.versions.drain(..surplus);
        }
    }

    fn tick(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).expect("a time");
        let over = |pod: &SimPod| {
            !pod.finished && pod.deleted_at.is_some_and(|at| self.now.duration_since(at).as_secs() >= GRACE_SECONDS)
        };
        let ending: Vec<usize> = (0..self.pods.len()).filter(|index| over(&self.pods[*index])).collect();
        for pod in ending {
            self.finish(pod, Outcome::Exit(143));
        }
    }

    fn finish_one_of(&mut self, pod: usize, outcome: Outcome) {
        let running: Vec<usize> = (0..self.pods.len()).filter(|index| !self.pods[*index].finished).collect();
        if let Some(choice) = pod.checked_rem(running.len()) {
            self.finish(running[choice], outcome);
        }
    }

    /// Ends a pod. Its Job, if it still is one and is not being deleted, ends with it.
    pub fn finish(&mut self, index: usize, outcome: Outcome) {
        let pod = &mut self.pods[index];
        let say = |text: &str| Some(TaskResult::read(text));
        let (code, result) = match outcome {
            Outcome::Valid => (0, say(r#"{"verdict":"VALID","message":"all there"}"#)),
            Outcome::Invalid => (0, say(r#"{"verdict":"INVALID","message":"12 differ"}"#)),
            Outcome::NoVerdict | Outcome::Unread => (0, say("done")),
            Outcome::Exit(code) => (code, say("it broke")),
            Outcome::Disrupted | Outcome::TimedOut => (143, say("")),
        };
        (pod.finished, pod.exit_code, pod.result) = (true, Some(code), result);
        let uid = pod.job_uid.clone();
        let Some(at) = self.jobs.iter().position(|job| job.uid == uid) else { return };
        if self.jobs[at].deleted_at.is_some() {
            self.jobs.remove(at);
            self.pods.retain(|pod| pod.job_uid != uid);
            return;
        }
        let failure = |disrupted, timed_out, exit_code: Option<i32>| {
            let message = exit_code.map_or("Job was active longer than specified deadline".to_owned(), |code| {
                format!("Container main for pod moves/x failed with exit code {code} matching FailJob rule at index 2")
            });
            JobState::Failed(JobFailure { disrupted, timed_out, exit_code, message })
        };
        self.jobs[at].state = match outcome {
            Outcome::Valid | Outcome::Invalid | Outcome::NoVerdict | Outcome::Unread | Outcome::Exit(0) => {
                JobState::Succeeded
            }
            Outcome::Exit(code) => failure(false, false, Some(code)),
            Outcome::Disrupted => failure(true, false, None),
            Outcome::TimedOut => failure(false, true, None),
        };
        if matches!(outcome, Outcome::Unread) {
            self.pods.remove(index);
        }
        self.count_failure(at, outcome);
    }

    pub fn delete_job(&mut self, index: usize, manner: Manner) {
        let uid = self.jobs[index].uid.clone();
        let works = self.pods.iter().any(|pod| pod.job_uid == uid && !pod.finished);
        if !works {
            let SimJob { owner, ref name, ref state, .. } = self.jobs[index];
            if matches!(state, JobState::Succeeded) && self.status(owner).job.as_ref() == Some(name) {
                // Its verdict goes with it, before it was read: a failed attempt of a task that must give evidence.
                self.count_failure(index, Outcome::Unread);
            }
            self.jobs.remove(index);
            self.pods.retain(|pod| pod.job_uid != uid);
            return;
        }
        let now = self.now;
        match manner {
            Manner::Orphan => {}
            Manner::Background | Manner::Foreground => {
                for pod in self.pods.iter_mut().filter(|pod| pod.job_uid == uid) {
                    pod.deleted_at.get_or_insert(now);
                }
            }
        }
        match manner {
            Manner::Orphan | Manner::Background => {
                self.jobs.remove(index);
            }
            Manner::Foreground => {
                self.jobs[index].deleted_at.get_or_insert(now);
            }
        }
    }

    /// Not while a launch is on its way from its decision to the store: a Lease deleted in that very moment is beyond
    /// what a lock without fencing of the store can hold.
    fn delete_lease(&mut self) {
        if self.operators.iter().all(|operator| operator.pending.is_none()) {
            self.lease = None;
        }
    }

    /// Promise 5: it is gone at once, in whatever state; nothing of ours is waited for.
    fn delete_relocation(&mut self, relocation: usize) -> Checked {
        promises::nothing_holds_it(self, relocation)?;
        self.relocations[relocation] = None;
        while let Some(index) = self.jobs.iter().position(|job| job.owner == relocation) {
            self.delete_job(index, Manner::Background);
        }
        Ok(())
    }

    /// Somebody removes the whole status, which the API server allows.
    fn wipe(&mut self, relocation: usize) {
        let Some(stored) = &self.relocations[relocation] else { return };
        let old = stored.current.clone();
        let new = Relocation { status: None, ..(*old).clone() };
        if old.status.is_none() || admitted(&old, &new).is_err() {
            return;
        }
        self.ledger.forget_what_the_traces_hide(relocation, &self.jobs);
        self.ledger.lost[relocation] = !self.revisions[relocation].is_empty() || self.claims[relocation];
        self.ledger.owed[relocation].clear();
        self.store(relocation, new);
    }

    pub fn status(&self, relocation: usize) -> crate::api::RelocationStatus {
        let stored = self.relocations[relocation].as_ref();
        stored.and_then(|stored| stored.current.status.clone()).unwrap_or_default()
    }
}

fn change(spec: &mut RelocationSpec, edit: Edit, status: Option<&RelocationStatus>) {
    match edit {
        Edit::Recover => {
            let Some((status, failure)) = status.and_then(|status| Some((status, status.failure.as_ref()?))) else {
                return;
            };
            spec.recover = Some(failure.id.clone());
            if spec.desired_state == DesiredState::Aborted {
                spec.desired_state = DesiredState::Active;
            }
            spec.cancel_at_step.take_if(|step| !status.entered && status.step == Some(*step));
            if failure.reason == FailureReason::DeadlineExceeded {
                spec.active_deadline_seconds = None;
            }
        }
        Edit::RecoverAnother => spec.recover = Some("IMPORTING-9-0badcafe".to_owned()),
        Edit::Pause(step) => spec.pause_at_step = step,
        Edit::Cancel(step) => spec.cancel_at_step = step,
        Edit::AutoPause(value) => spec.auto_pause = value,
        Edit::Desire(state) => spec.desired_state = state,
        Edit::Budget(seconds) => spec.active_deadline_seconds = seconds,
        Edit::WhenLocked(value) => spec.when_locked = value,
        Edit::LateRequests(value) => spec.late_requests = value,
        Edit::BadParameter(true) => {
            spec.parameters.insert("undeclared".to_owned(), "1".to_owned());
        }
        Edit::BadParameter(false) => spec.parameters.clear(),
    }
}
