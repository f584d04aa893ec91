//! Totality: every combination of status and observation has an answer, and no question is asked twice.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::fixtures::{Scene, UID, a_pod, a_relocation, ours};
use crate::api::{
    AutoPause, ConditionType, DesiredState, FailurePolicy, Pause, PauseReason, PlanInUse, RelocationStatus,
    StatusValue, Step, StepStatus, TaskStatus, WhenLocked, WorkState, find_condition,
};
use crate::lifecycle::{
    CreateRefusal, Decision, Facet, JobFailure, JobRead, JobSeen, LiveJob, LockSeen, MutexUse, PlanSeen, Snapshot,
    WorkspaceSeen, decide,
};

const STEPS: [Step; 7] = [
    Step::Uploading,
    Step::Preprocessing,
    Step::Validating,
    Step::Importing,
    Step::Postprocessing,
    Step::Notifying,
    Step::Completed,
];

fn a_time() -> impl Strategy<Value = Time> {
    let usual = 1_772_000_000_i64..1_773_000_000;
    prop_oneof![8 => usual.prop_map(|second| Timestamp::from_second(second).expect("a time")),
                1 => Just(Timestamp::MAX), 1 => Just(Timestamp::MIN)]
    .prop_map(Time)
}

fn a_number() -> impl Strategy<Value = i32> {
    prop_oneof![6 => 0..6, 1 => Just(i32::MAX), 1 => Just(i32::MIN), 1 => Just(-1)]
}

fn a_long_number() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0_i64..4000, 1 => Just(i64::MAX), 1 => Just(i64::MIN)]
}

fn a_record() -> impl Strategy<Value = StepStatus> {
    let states = [WorkState::Pending, WorkState::Running, WorkState::Succeeded, WorkState::Failed, WorkState::Skipped];
    (select(STEPS.to_vec()), select(states.to_vec()), option::of(a_time()), any::<bool>(), a_number()).prop_map(
        |(name, state, time, with_task, attempts)| StepStatus {
            name,
            state,
            started_at: time.clone(),
            finished_at: time,
            tasks: if with_task {
                let name = name.as_str().to_lowercase();
                vec![TaskStatus { name, state, attempts, ..TaskStatus::default() }]
            } else {
                Vec::new()
            },
        },
    )
}

prop_compose! {
    fn a_place()(
        status in option::of(select(StatusValue::ALL.to_vec())),
        step in option::of(select(STEPS.to_vec())),
        known in any::<bool>(),
        task in any::<bool>(),
        entered in any::<bool>(),
        attempt in option::of(a_number()),
        attempt_limit in option::of(a_number()),
        jobs_missing in option::of(a_number()),
        launch in option::of(a_long_number()),
        job in option::of(Just("acme-job".to_owned())),
        planned in any::<bool>(),
        of_this_run in proptest::bool::weighted(0.95),
    ) -> RelocationStatus {
        let name = step.filter(|_| task).map(|step| if known { step.as_str().to_lowercase() } else { "other".to_owned() });
        RelocationStatus {
            uuid: of_this_run.then(|| UID.to_owned()),
            status, step, task: name, entered, attempt, attempt_limit, jobs_missing, launch, job,
            plan: planned.then(|| PlanInUse { generation: 1, revision: "r".to_owned() }),
            ..RelocationStatus::default()
        }
    }
}

prop_compose! {
    fn a_status()(
        place in a_place(),
        auto_pause_at_step in option::of(select(Step::STOPPABLE.to_vec())),
        times in proptest::array::uniform5(option::of(a_time())),
        active_seconds in option::of(a_long_number()),
        recoveries in option::of(a_number()),
        steps in proptest::collection::vec(a_record(), 0..4),
        paused in option::of(select(vec![PauseReason::Fence, PauseReason::AutoFence, PauseReason::Suspended])),
        observed_generation in option::of(select(vec![-1_i64, 1, 2])),
    ) -> RelocationStatus {
        let [launched_at, started_at, active_since, next_attempt_at, since] = times;
        let pause = paused.zip(since).map(|(reason, since)| Pause {
            step: place.step.unwrap_or(Step::Uploading), since, reason, message: "paused".to_owned(),
        });
        RelocationStatus {
            observed_generation, launched_at, auto_pause_at_step, steps, pause, recoveries, started_at, active_since,
            active_seconds, next_attempt_at, ..place
        }
    }
}

fn a_job() -> impl Strategy<Value = JobSeen> {
    let failed = (any::<bool>(), any::<bool>(), option::of(select(vec![0, 1, 65, 137, -1])), "\\PC{0,30}").prop_map(
        |(disrupted, timed_out, exit_code, message)| {
            JobSeen::Failed(JobFailure { disrupted, timed_out, exit_code, message })
        },
    );
    let live = (0..2, option::of(a_time()), any::<bool>(), option::of(a_time())).prop_map(
        |(ready, deleted_at, suspended, deadline_at)| JobSeen::Live {
            uid: "job-uid".to_owned(),
            ready,
            deleted_at: deleted_at.map(|time| time.0),
            suspended,
            deadline_at: deadline_at.map(|time| time.0),
        },
    );
    prop_oneof![
        Just(JobSeen::NotNamed),
        any::<bool>().prop_map(|known| JobSeen::Missing { known }),
        Just(JobSeen::Foreign { owner: "CronJob x".to_owned() }),
        live,
        Just(JobSeen::Succeeded),
        failed,
    ]
}

prop_compose! {
    /// What was observed around a status.
    fn an_observation()(
        jobs in (a_job(), a_job()),
        pod in option::of((option::of(select(vec![0, 1, 65])), "\\PC{0,20}", any::<bool>())),
        stray in option::of(any::<bool>()),
        busy in option::of(option::of(a_time())),
        lock in select(vec![LockSeen::Free, ours(), LockSeen::Held { holder: "other".to_owned() }]),
        workspace in select(vec![WorkspaceSeen::Missing, WorkspaceSeen::Ours, WorkspaceSeen::Foreign]),
        plan in select(vec![None, Some(PlanSeen::Missing), Some(PlanSeen::NotJudged),
                            Some(PlanSeen::NotAccepted { message: "m".to_owned() })]),
        frozen in any::<bool>(),
        refusal in option::of(select(vec![CreateRefusal::Invalid("i".repeat(2000)),
                                          CreateRefusal::Forbidden("f".to_owned()), CreateRefusal::NameTaken])),
        empty in option::of(select(Step::WORKING.to_vec()).prop_filter("VALIDATING has evidence", |step| *step != Step::Validating)),
        ignoring in any::<bool>(),
        on_end in any::<bool>(),
    ) -> Scene {
        let mut scene = a_relocation();
        if let Some(step) = empty {
            scene = scene.with_empty(step);
        }
        if ignoring {
            scene = scene.with_policy(Step::Importing, FailurePolicy::Ignore);
        }
        if on_end {
            scene = scene.with_on_end();
        }
        (scene.job, scene.end_job) = jobs;
        scene.pods = pod.into_iter().map(|(code, said, deleted)| {
            let pod = match code { Some(code) => a_pod().exited(code, &said), None => a_pod() };
            crate::lifecycle::PodSeen { deleted_at: deleted.then_some(scene.now), ..pod }
        }).collect();
        scene.end_pods.clone_from(&scene.pods);
        scene.live_jobs = stray.into_iter().map(|deleting| LiveJob { name: "acme-stray".to_owned(), uid: "u".to_owned(), deleting }).collect();
        scene.mutex_use = match busy {
            None => MutexUse::Quiet,
            Some(ending) => MutexUse::Busy {
                what: vec!["pod p".to_owned()],
                ending: ending.map(|since| ("p".to_owned(), None, since.0)),
            },
        };
        scene.lock = lock;
        scene.workspace = workspace;
        scene.plan = plan;
        scene.frozen = frozen;
        scene.create_refusal = refusal;
        scene
    }
}

prop_compose! {
    fn a_scene()(
        scene in an_observation(),
        status in option::of(a_status()),
        pause in option::of(select(Step::STOPPABLE.to_vec())),
        cancel in option::of(select(Step::STOPPABLE.to_vec())),
        auto_pause in select(vec![AutoPause::Honour, AutoPause::Skip]),
        desired in select(vec![DesiredState::Active, DesiredState::Active, DesiredState::Suspended, DesiredState::Aborted]),
        when_locked in select(vec![WhenLocked::Wait, WhenLocked::Fail]),
        budget in option::of(select(vec![1_i64, 60, i64::MAX])),
        undeclared in prop::bool::weighted(0.1),
        now in a_time(),
        fraction in select(vec![0_i32, 999_999_999]),
    ) -> Scene {
        let mut scene = scene.wanting(|spec| {
            spec.pause_at_step = pause;
            spec.cancel_at_step = cancel;
            spec.auto_pause = auto_pause;
            spec.desired_state = desired;
            spec.when_locked = when_locked;
            spec.active_deadline_seconds = budget;
            if undeclared {
                spec.parameters.insert("undeclared".to_owned(), String::new());
            }
        });
        scene.relocation.status = status;
        scene.now = Timestamp::new(now.0.as_second(), fraction).unwrap_or(now.0);
        scene
    }
}

/// Answers each question once; a second time would be a loop.
fn judge(scene: &Scene) -> Result<Decision, Facet> {
    let all = scene.snapshot();
    let mut snapshot = Snapshot {
        frozen: None,
        pods: None,
        mutex_use: None,
        lock: None,
        workspace: None,
        end_job: None,
        end_pods: None,
        job_read: JobRead::Cached,
        traces: None,
        source: None,
        successor: None,
        adopted: None,
        place: None,
        leftovers: None,
        ..all.clone()
    };
    let mut asked = Vec::new();
    loop {
        let facet = match decide(&snapshot, scene.now) {
            Ok(decision) => return Ok(decision),
            Err(facet) if asked.contains(&facet) => return Err(facet),
            Err(facet) => facet,
        };
        asked.push(facet);
        match facet {
            Facet::Job => snapshot.job_read = JobRead::Live,
            Facet::Frozen => snapshot.frozen.clone_from(&all.frozen),
            Facet::Pods => snapshot.pods.clone_from(&all.pods),
            Facet::MutexUse => snapshot.mutex_use.clone_from(&all.mutex_use),
            Facet::Lock => snapshot.lock.clone_from(&all.lock),
            Facet::Workspace => snapshot.workspace = all.workspace,
            Facet::EndJob => snapshot.end_job.clone_from(&all.end_job),
            Facet::EndPods => snapshot.end_pods.clone_from(&all.end_pods),
            Facet::Traces => snapshot.traces.clone_from(&all.traces),
            Facet::Source => snapshot.source.clone_from(&all.source),
            Facet::Successor => snapshot.successor.clone_from(&all.successor),
            Facet::Adopted => snapshot.adopted.clone_from(&all.adopted),
            Facet::Place => snapshot.place.clone_from(&all.place),
            Facet::Leftovers => snapshot.leftovers.clone_from(&all.leftovers),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_combination_has_an_answer(scene in a_scene()) {
        let decision = judge(&scene).map_err(|facet| TestCaseError::fail(format!("{facet:?} is asked twice")))?;
        let status = &decision.status;
        let told = |type_| find_condition(&status.conditions, type_).is_some();
        prop_assert!(!(told(ConditionType::Reconciling) && told(ConditionType::Stalled)));
        prop_assert!(status.conditions.iter().all(|known| known.message.len() <= 1024));
        if let Some(failure) = &status.failure {
            prop_assert!(!failure.message.is_empty() && failure.message.len() <= 1024);
        }
        prop_assert!(status.history.len() <= 20);
        prop_assert_eq!(judge(&scene), Ok(decision), "the same question has the same answer");
    }

    /// What is decided can be decided upon: the next look at an unchanged world settles.
    #[test]
    fn an_unchanged_world_comes_to_rest(scene in a_scene()) {
        let mut scene = scene;
        for _ in 0..16 {
            let Ok(decision) = judge(&scene) else { return Err(TestCaseError::fail("a question is asked twice")) };
            if Some(&decision.status) == scene.relocation.status.as_ref() {
                return Ok(());
            }
            // A Job that the status no longer names is not looked at, and a new one is being created.
            if decision.status.job != scene.relocation.status.as_ref().and_then(|status| status.job.clone()) {
                let named = decision.status.job.is_some();
                scene.job = if named { JobSeen::Missing { known: false } } else { JobSeen::NotNamed };
                scene.create_refusal = None;
            }
            scene.relocation.status = Some(decision.status);
        }
        prop_assert!(false, "it writes again and again: {:?}", scene.decide().because);
    }
}
