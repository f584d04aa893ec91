//! Chained conditions: what a relocation is, where it stands, and what was observed about it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::{
    FailurePolicy, PlanInUse, PlanReference, PodTemplate, Relocation, RelocationPlanSpec, RelocationSpec,
    RelocationStatus, RetriedBy, StatusValue, Step, StepStatus, TaskResult, TaskStatus, Verdict, WorkState, job_name,
    revision_name,
};
use crate::lifecycle::{
    CreateRefusal, Decision, JobFailure, JobRead, JobSeen, Leftovers, LiveJob, LockSeen, MutexUse, PlaceSeen, Plan,
    PlanSeen, PodSeen, Snapshot, SourceSeen, Trace, WorkspaceSeen, decide,
};

pub(super) const NAME: &str = "acme";
/// Stands for the present generation.
const NOW: i64 = 0;

pub(super) const UID: &str = "3f0c0000-0000-4000-8000-000000000001";

/// The moment at which every scene plays, unless it moves.
pub(super) fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

/// A pod template with one container.
pub(super) fn a_template() -> PodTemplate {
    template(json!({ "spec": { "containers": [{ "name": "main", "image": "porter" }] } }))
}

pub(super) fn template(value: Value) -> PodTemplate {
    serde_json::from_value(value).expect("a template is an object")
}

/// A plan with one task per step, each named like its step in small letters.
pub(super) fn a_plan_spec() -> RelocationPlanSpec {
    let steps: Vec<Value> = Step::WORKING
        .into_iter()
        .map(|step| {
            let name = step.as_str().to_lowercase();
            let evidence = step == Step::Validating;
            json!({ "step": step, "tasks": [{ "name": name, "evidence": evidence, "template": a_template() }] })
        })
        .collect();
    serde_json::from_value(json!({ "steps": steps })).expect("a plan")
}

/// A spec with every field at its default.
pub(super) fn a_spec() -> RelocationSpec {
    serde_json::from_value(json!({ "planRef": PlanReference { name: "files".to_owned() }, "owner": "acme" }))
        .expect("a spec")
}

/// One relocation, its plan, and all that was observed.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub relocation: Relocation,
    pub plan_spec: RelocationPlanSpec,
    pub plan: Option<PlanSeen>,
    pub frozen: bool,
    pub job: JobSeen,
    pub pods: Vec<PodSeen>,
    pub live_jobs: Vec<LiveJob>,
    pub mutex_use: MutexUse,
    pub lock: LockSeen,
    pub workspace: WorkspaceSeen,
    pub end_job: JobSeen,
    pub end_pods: Vec<PodSeen>,
    pub create_refusal: Option<CreateRefusal>,
    pub traces: Vec<Trace>,
    pub source: SourceSeen,
    pub successor: Option<RetriedBy>,
    pub adopted: bool,
    pub place: PlaceSeen,
    pub leftovers: Leftovers,
    pub now: Timestamp,
}

/// A relocation that was just created, with an accepted plan and nothing else there.
pub(super) fn a_relocation() -> Scene {
    let mut relocation = Relocation::new(NAME, a_spec());
    relocation.metadata.uid = Some(UID.to_owned());
    relocation.metadata.namespace = Some("moves".to_owned());
    relocation.metadata.generation = Some(1);
    relocation.metadata.resource_version = Some("1".to_owned());
    relocation.metadata.creation_timestamp = Some(Time(noon()));
    Scene {
        relocation,
        plan_spec: a_plan_spec(),
        plan: None,
        frozen: false,
        job: JobSeen::NotNamed,
        pods: Vec::new(),
        live_jobs: Vec::new(),
        mutex_use: MutexUse::Quiet,
        lock: LockSeen::Free,
        workspace: WorkspaceSeen::Missing,
        end_job: JobSeen::NotNamed,
        end_pods: Vec::new(),
        create_refusal: None,
        traces: Vec::new(),
        source: SourceSeen::Missing,
        successor: None,
        adopted: true,
        place: PlaceSeen::Free,
        leftovers: Leftovers::default(),
        now: noon(),
    }
}

impl Scene {
    pub fn plan(&self) -> Plan {
        Plan::read(self.plan_spec.clone(), 1).expect("the plan of a scene is valid")
    }

    /// Standing before `step`, which is not entered, with everything before it done.
    pub fn before(mut self, step: Step) -> Self {
        self.frozen = true;
        self.lock = ours();
        let plan = self.plan();
        let provenance = self.relocation.spec.provenance;
        let started = step > Step::Uploading;
        let done = Step::WORKING.into_iter().filter(|earlier| *earlier < step);
        let steps = done
            .map(|step| StepStatus {
                name: step,
                state: WorkState::Succeeded,
                started_at: Some(Time(noon())),
                finished_at: Some(Time(noon())),
                tasks: plan
                    .tasks(step, provenance)
                    .map(|task| TaskStatus {
                        name: task.name.clone(),
                        state: WorkState::Succeeded,
                        attempts: 1,
                        ..TaskStatus::default()
                    })
                    .collect(),
            })
            .collect();
        self.relocation.status = Some(RelocationStatus {
            observed_generation: Some(1),
            uuid: Some(UID.to_owned()),
            origin: Some(UID.to_owned()),
            status: Some(if started { StatusValue::InProgress } else { StatusValue::Pending }),
            step: Some(step),
            task: plan.tasks(step, provenance).next().map(|task| task.name.clone()),
            plan: Some(PlanInUse { generation: 1, revision: revision_name(NAME, UID, 0) }),
            auto_pause_at_step: plan.auto_pause_at_step(provenance),
            started_at: started.then(|| Time(noon())),
            active_since: started.then(|| Time(noon())),
            launch: started.then(|| noon().as_second() - 1),
            steps,
            ..RelocationStatus::default()
        });
        self
    }

    /// In the first task of `step`, whose Job has a ready pod.
    pub fn at(self, step: Step) -> Self {
        let mut scene = self.before(step);
        let decision = scene.decide();
        assert!(decision.status.job.is_some(), "the scene should launch: {:?}", decision.because);
        scene.relocation.status = Some(decision.status);
        scene.alive()
    }

    /// The named Job is there, with a ready pod.
    pub fn alive(mut self) -> Self {
        let name = self.status().job.clone().expect("a Job is named");
        self.job = JobSeen::Live {
            uid: "job-uid".to_owned(),
            ready: 1,
            deleted_at: None,
            suspended: false,
            deadline_at: self.now.checked_add(SignedDuration::from_hours(1)).ok(),
        };
        self.live_jobs = vec![LiveJob { name: name.clone(), uid: "job-uid".to_owned(), deleting: false }];
        self.mutex_use = MutexUse::Busy { what: vec![format!("job {name}")], ending: None };
        self
    }

    /// The named Job has ended well, and its pod says this.
    pub fn succeeded_saying(mut self, termination_message: &str) -> Self {
        self.job = JobSeen::Succeeded;
        self.live_jobs = Vec::new();
        self.mutex_use = MutexUse::Quiet;
        self.pods = vec![a_pod().exited(0, termination_message)];
        self
    }

    /// The named Job has ended well; a task that must give evidence gives it.
    pub fn succeeded(self) -> Self {
        self.succeeded_saying(r#"{"verdict":"VALID"}"#)
    }

    /// The named Job has failed like this, and no pod is left to tell.
    pub fn failed(mut self, failure: JobFailure) -> Self {
        self.job = JobSeen::Failed(failure);
        self.live_jobs = Vec::new();
        self.mutex_use = MutexUse::Quiet;
        self.pods = Vec::new();
        self
    }

    /// The named Job has failed with this exit code.
    pub fn failed_with(self, code: i32) -> Self {
        self.failed(JobFailure {
            disrupted: false,
            timed_out: false,
            exit_code: Some(code),
            message: format!(
                "Container main for pod moves/acme-x failed with exit code {code} matching FailJob rule at index 2"
            ),
        })
    }

    /// One attempt of the present task failed, and its back-off has been recorded.
    pub fn failed_once(self) -> Self {
        self.failed_with(1).passed()
    }

    /// What was decided has been stored; nothing is there of the Job that was named.
    pub fn passed(mut self) -> Self {
        let decision = self.decide();
        self.relocation.status = Some(decision.status);
        self.job = JobSeen::NotNamed;
        self.live_jobs = Vec::new();
        self.pods = Vec::new();
        self.mutex_use = MutexUse::Quiet;
        self
    }

    /// The named Job is not there.
    pub fn missing(mut self, known: bool) -> Self {
        self.job = JobSeen::Missing { known };
        self.live_jobs = Vec::new();
        self.mutex_use = MutexUse::Quiet;
        self
    }

    /// Something of the mutex is unfinished.
    pub fn busy_with(mut self, what: &str) -> Self {
        self.mutex_use = MutexUse::Busy { what: vec![what.to_owned()], ending: None };
        self
    }

    pub fn locked_by(mut self, holder: &str) -> Self {
        self.lock = LockSeen::Held { holder: holder.to_owned() };
        self
    }

    pub fn later(mut self, seconds: i64) -> Self {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).expect("a time");
        self
    }

    /// The spec was edited by a person.
    pub fn wanting(mut self, edit: impl FnOnce(&mut RelocationSpec)) -> Self {
        edit(&mut self.relocation.spec);
        self.relocation.metadata.generation = self.relocation.metadata.generation.map(|generation| generation + 1);
        self
    }

    pub fn planned(mut self, edit: impl FnOnce(&mut RelocationPlanSpec)) -> Self {
        edit(&mut self.plan_spec);
        self
    }

    /// The step has no tasks in the plan.
    pub fn with_empty(self, step: Step) -> Self {
        self.planned(|plan| plan.steps.retain(|planned| planned.step != step))
    }

    /// The plan runs something at every end.
    pub fn with_on_end(self) -> Self {
        self.planned(|plan| {
            plan.on_end = Some(crate::api::OnEnd { template: a_template(), timeout_seconds: 300 });
        })
    }

    /// The failures of this step's tasks do what `policy` says.
    pub fn with_policy(self, step: Step, policy: FailurePolicy) -> Self {
        self.planned(|plan| {
            for task in
                plan.steps.iter_mut().filter(|planned| planned.step == step).flat_map(|planned| &mut planned.tasks)
            {
                task.failure_policy = Some(policy);
            }
        })
    }

    pub fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    pub fn having(mut self, edit: impl FnOnce(&mut RelocationStatus)) -> Self {
        edit(self.relocation.status.get_or_insert_default());
        self
    }

    pub fn status(&self) -> &RelocationStatus {
        self.relocation.status.as_ref().expect("the scene has a status")
    }

    /// What is decided when every question is answered.
    pub fn decide(&self) -> Decision {
        decide(&self.snapshot(), self.now).expect("every question is answered")
    }

    pub fn snapshot(&self) -> Snapshot<'_> {
        let plan = Arc::new(self.plan());
        Snapshot {
            relocation: &self.relocation,
            plan: self.plan.clone().unwrap_or_else(|| PlanSeen::Accepted(plan.clone())),
            frozen: Some(self.frozen.then(|| plan.clone())),
            adopted: Some(self.adopted.then_some(plan)),
            retried_by: self.successor.clone(),
            traces: Some(self.traces.clone()),
            source: Some(self.source.clone()),
            successor: Some(self.successor.clone()),
            place: Some(self.place.clone()),
            leftovers: Some(self.leftovers.clone()),
            job: self.job.clone(),
            job_read: JobRead::Live,
            pods: Some(self.pods.clone()),
            failed_create: None,
            live_jobs: self.live_jobs.clone(),
            mutex_use: Some(self.mutex_use.clone()),
            lock: Some(match self.lock.clone() {
                LockSeen::Ours { uid, generation: NOW } => {
                    LockSeen::Ours { uid, generation: self.relocation.metadata.generation.unwrap_or_default() }
                }
                lock => lock,
            }),
            workspace: Some(self.workspace),
            end_job: Some(self.end_job.clone()),
            end_pods: Some(self.end_pods.clone()),
            create_refusal: self.create_refusal.clone(),
        }
    }
}

/// The lock, taken at the present generation, whatever that is when it is looked at.
pub(super) fn ours() -> LockSeen {
    LockSeen::Ours { uid: "lease-uid".to_owned(), generation: NOW }
}

/// The effect that gives that lock back.
pub(super) fn release() -> crate::lifecycle::Effect {
    crate::lifecycle::Effect::ReleaseLock { uid: "lease-uid".to_owned() }
}

/// A pod that runs.
pub(super) fn a_pod() -> PodSeen {
    PodSeen {
        name: "acme-x".to_owned(),
        node: Some("node-1".to_owned()),
        finished: false,
        deleted_at: None,
        waiting: None,
        exit_code: None,
        result: None,
    }
}

impl PodSeen {
    pub(super) fn exited(self, code: i32, termination_message: &str) -> Self {
        let result = Some(TaskResult::read(termination_message));
        Self { finished: true, exit_code: Some(code), result, ..self }
    }
}

/// The first Job of a scene that starts at noon.
pub(super) fn job_of_launch(launch: i64) -> String {
    job_name(NAME, UID, launch)
}

/// A verdict of the last pod, as the termination message that gives it.
pub(super) fn verdict(verdict: Verdict) -> String {
    json!({ "verdict": verdict, "message": "12 files differ" }).to_string()
}
