//! Kills, competitors and lost Jobs: nothing starts twice, nothing is lost, nothing works beside anything.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PropagationPolicy};
use relocation_operator::api::{Failure, FailureReason, StatusValue, Step};
use serde_json::json;

use crate::support::{
    Behaviour, Happening, SIX_WORKS, Scenario, Script, Seen, a_plan, a_relocation, is_terminal, label_of, on, run,
};

#[tokio::test]
async fn an_operator_killed_in_the_middle_of_each_step_starts_nothing_twice() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        for step in Step::WORKING {
            scenario.script(on(step), Behaviour::Hang);
        }
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        for step in Step::WORKING {
            scenario.wait_for_running_pod("acme", step).await;
            scenario.kill_operators();
            scenario.script(on(step), Behaviour::succeed());
            scenario.start_operator().await;
        }
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn work_that_ends_while_no_operator_lives_is_not_lost() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Importing).await;
        scenario.kill_operators();
        scenario.script(on(Step::Importing), Behaviour::succeed());
        wait_for_the_end_of_the_job(scenario, "acme", Step::Importing).await;
        scenario.patch_spec("acme", json!({ "pauseAtStep": "POSTPROCESSING" })).await.expect("a fence ahead");
        scenario.start_operator().await;
        scenario.wait_for("acme", StatusValue::Pause, Step::Postprocessing).await;
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
    })
    .await;
}

#[tokio::test]
async fn a_kill_between_the_status_write_and_the_job_costs_no_attempt() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.open_gate().await;
        let mut held = scenario.gate().hold(|asked| asked.creates_a_job());
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        for step in Step::WORKING {
            let request = scenario.next_held(&mut held).await;
            let status = scenario.stored_status("acme").await;
            assert_eq!((status.step, status.entered), (Some(step), true), "the intent is stored before the effect");
            assert!(status.job.is_some());
            scenario.kill_operators();
            drop(request);
            held = scenario.gate().hold(|asked| asked.creates_a_job());
            scenario.start_operator().await;
            scenario.next_held(&mut held).await.pass();
        }
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_answer_was_lost_is_not_started_twice() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.open_gate().await;
        let mut held = scenario.gate().hold(|asked| asked.creates_a_job());
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let mut lost = Vec::new();
        while lost.len() < 6 {
            let request = scenario.next_held(&mut held).await;
            let launch = scenario.stored_status("acme").await.launch;
            if lost.contains(&launch) {
                request.pass();
            } else {
                lost.push(launch);
                request.pass_and_lose_the_answer();
            }
        }
        drop(held);
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn two_operators_at_once_come_to_the_same_result_as_one() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing).attempt(1), Behaviour::exit(1, "not yet"));
        scenario.start_operator().await;
        scenario.start_operator().await;
        let names = ["acme", "globex", "initech", "umbrella"];
        for name in names {
            scenario.create(a_relocation(name).paused_at(Step::Postprocessing)).await;
        }
        for name in names {
            scenario.wait_for(name, StatusValue::Pause, Step::Postprocessing).await;
            scenario.patch_spec(name, json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        }
        for name in names {
            let status = scenario.wait_for_success(name).await;
            let mut expected = SIX_WORKS.to_vec();
            expected.insert(4, "IMPORTING/run/2");
            assert_eq!(scenario.works(name), expected, "{name}");
            assert_eq!(status.steps[3].tasks[0].attempts, 2, "no attempt is counted twice");
        }
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_deleted_job_is_followed_only_when_its_pod_no_longer_writes() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::KeepWriting);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let (pod, uid) = scenario.wait_for_running_pod("acme", Step::Importing).await;
        let job = scenario.launches("acme")[3].job.clone();
        scenario.delete_job(&job, PropagationPolicy::Background).await;
        scenario
            .wait(Duration::from_secs(30), "the Job is gone and the relocation waits for its pod", |seen| {
                let status = seen.relocations.get("acme")?.status.as_ref()?;
                let says_so = status.conditions.iter().any(|condition| condition.message.contains(&pod));
                let gone = seen.jobs.values().all(|known| known.metadata.name.as_ref() != Some(&job));
                (says_so && gone && seen.pods.contains_key(&uid)).then_some(())
            })
            .await;
        assert_eq!(scenario.works("acme"), SIX_WORKS[..4], "nothing follows while the pod writes");
        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme")[3..5], ["IMPORTING/run/1", "IMPORTING/run/1"], "no attempt is used");
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_foreign_job_of_the_name_is_left_alone_and_another_launch_is_taken() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.open_gate().await;
        let mut held = scenario.gate().hold(|asked| asked.creates_a_job());
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let request = scenario.next_held(&mut held).await;
        let name = scenario.stored_status("acme").await.job.expect("the Job's name is recorded");
        let foreign = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "suspend": true, "template": { "spec": {
                "restartPolicy": "Never", "containers": [{ "name": "main", "image": "stub" }]
            }}}
        }))
        .expect("a Job");
        let jobs = jobs(scenario);
        jobs.create(&kube::api::PostParams::default(), &foreign).await.expect("a foreign Job");
        request.pass();
        drop(held);
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        let left = jobs.get(&name).await.expect("the foreign Job is still there");
        assert!(left.metadata.owner_references.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_terminated_operator_ends_by_itself_and_the_next_one_goes_on() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Validating), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Validating).await;
        scenario.operators.remove(0).stop().await;
        scenario.script(on(Step::Validating), Behaviour::succeed());
        scenario.start_operator().await;
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
    })
    .await;
}

#[tokio::test]
async fn watches_that_break_in_the_middle_of_each_step_are_taken_up_again() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(Script::everything(), Behaviour::Hang);
        scenario.open_gate().await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        for step in Step::WORKING {
            scenario.wait_for_running_pod("acme", step).await;
            scenario.gate().cut_watches();
            scenario.script(on(step), Behaviour::succeed());
            scenario.gate().cut_watches();
        }
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.ran("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn an_operator_that_hears_of_nothing_honours_a_pause_all_the_same() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Validating), Behaviour::Hang);
        scenario.open_gate().await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Validating).await;
        scenario.gate().blind();
        scenario.patch_spec("acme", json!({ "pauseAtStep": "IMPORTING" })).await.expect("a fence ahead");
        scenario.script(on(Step::Validating), Behaviour::succeed());
        wait_for_the_end_of_the_job(scenario, "acme", Step::Validating).await;
        scenario.gate().see();
        scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
        assert_eq!(scenario.ran("acme"), SIX_WORKS[..3]);
        scenario.gate().blind();
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        scenario.gate().see();
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.ran("acme"), SIX_WORKS);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_somebody_suspends_is_reported_and_not_fought() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Importing).await;
        let job = scenario.launches("acme")[3].job.clone();
        let suspend = |suspended: bool| Patch::Merge(json!({ "spec": { "suspend": suspended } }));
        jobs(scenario).patch(&job, &PatchParams::default(), &suspend(true)).await.expect("a Job can be suspended");
        scenario
            .wait_until("acme", "it says that somebody suspended its Job", |relocation| {
                let conditions = relocation.status.as_ref().map(|status| status.conditions.as_slice());
                conditions.unwrap_or_default().iter().any(|condition| condition.reason == "JobSuspendedExternally")
            })
            .await;
        scenario
            .wait(Duration::from_secs(30), "the pod is gone", |seen| {
                let left = seen.pods.values().all(|pod| label_of(pod, "step") != Some("importing"));
                left.then_some(())
            })
            .await;
        scenario.script(on(Step::Importing), Behaviour::succeed());
        jobs(scenario).patch(&job, &PatchParams::default(), &suspend(false)).await.expect("a Job can be resumed");
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS, "the same Job went on");
        scenario.assert_no_overlap();
        scenario.assert_nothing_ran_after_its_success();
    })
    .await;
}

#[tokio::test]
async fn a_timed_out_attempt_is_followed_only_when_its_pod_no_longer_writes() {
    run(async |scenario| {
        let plan = a_plan("plan").with_six_steps().with_task(Step::Importing, "run", json!({ "timeoutSeconds": 3 }));
        scenario.create_plan(plan).await;
        scenario.script(on(Step::Importing).attempt(1), Behaviour::KeepWriting);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let (_, uid) = scenario.wait_for_running_pod("acme", Step::Importing).await;
        let deletion = |seen: &Seen| {
            let pod = seen.pods.get(&uid)?;
            pod.metadata.deletion_timestamp.clone()
        };
        scenario.wait(Duration::from_secs(30), "the Job controller deletes the pod", deletion).await;
        // The operator is asked at once, not after some time: a new one looks at everything.
        scenario.restart_operator().await;
        assert_eq!(scenario.ran("acme"), SIX_WORKS[..4], "nothing follows while the pod writes");
        scenario.script(on(Step::Importing).attempt(1), Behaviour::Hang);
        scenario.wait_for_success("acme").await;
        let mut expected = SIX_WORKS.to_vec();
        expected.insert(4, "IMPORTING/run/2");
        assert_eq!(scenario.ran("acme"), expected);
        scenario.assert_no_overlap();
        scenario.assert_no_attempt_ran_twice();
    })
    .await;
}

#[tokio::test]
async fn a_relocation_that_is_deleted_and_created_again_waits_for_the_pod_of_the_first() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::KeepWriting);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let (pod, uid) = scenario.wait_for_running_pod("acme", Step::Importing).await;
        let first = scenario.relocation("acme").metadata.uid;
        scenario.relocations().delete("acme", &DeleteParams::background()).await.expect("deleting always works");
        scenario
            .wait(Duration::from_secs(30), "the relocation and its Jobs are gone, the pod is not", |seen| {
                let deleting = seen.pods.get(&uid)?.metadata.deletion_timestamp.is_some();
                (deleting && seen.jobs.is_empty() && seen.relocations.is_empty()).then_some(())
            })
            .await;
        scenario.create(a_relocation("acme")).await;
        let second = scenario
            .wait_until("acme", "the second one waits for the pod of the first", |relocation| {
                let conditions = relocation.status.as_ref().map(|status| status.conditions.as_slice());
                conditions.unwrap_or_default().iter().any(|condition| condition.message.contains(&pod))
            })
            .await;
        assert_ne!(second.metadata.uid, first);
        assert_eq!(scenario.ran("acme"), SIX_WORKS[..4], "nothing starts while the pod writes");
        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.ran("acme"), [&SIX_WORKS[..4], &SIX_WORKS[..]].concat());
        scenario.assert_no_overlap();
        scenario.assert_no_attempt_ran_twice();
    })
    .await;
}

#[tokio::test]
async fn a_create_that_lands_after_an_abort_is_stopped_and_changes_nothing() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(Script::everything(), Behaviour::Hang);
        scenario.open_gate().await;
        let mut held = scenario.gate().hold(|asked| asked.creates_a_job());
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let late = scenario.next_held(&mut held).await;
        scenario.kill_operators();
        scenario.patch_spec("acme", json!({ "desiredState": "Aborted" })).await.expect("an abort is always accepted");
        scenario.start_operator().await;
        let aborted = scenario.wait_for_failure("acme").await;
        assert!(scenario.works("acme").is_empty());
        late.pass();
        scenario
            .wait(Duration::from_secs(30), "the late Job came and went", |seen| {
                (seen.launches.len() == 1 && seen.jobs.is_empty() && seen.pods.is_empty()).then_some(())
            })
            .await;
        let status = scenario.stored_status("acme").await;
        assert_eq!(status.failure, aborted.failure);
        assert_eq!(status.status, Some(StatusValue::Failure));
        assert!(scenario.log().iter().all(|ran| ran.what != Happening::Ended(0)), "the stray did not finish");
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn operators_of_other_time_zones_take_over_in_mid_run() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing).attempt(1), Behaviour::exit(1, "not yet"));
        scenario.script(on(Step::Postprocessing), Behaviour::Hang);
        // Fourteen hours ahead, then twelve behind: rules of POSIX, so that no file of time zones is needed.
        scenario.start_operator_with(&[("TZ", "AHEAD-14".to_owned())]).await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Postprocessing).await;
        scenario.kill_operators();
        scenario.start_operator_with(&[("TZ", "BEHIND+12".to_owned())]).await;
        scenario.script(on(Step::Postprocessing), Behaviour::succeed());
        let status = scenario.wait_for_success("acme").await;
        let mut expected = SIX_WORKS.to_vec();
        expected.insert(4, "IMPORTING/run/2");
        assert_eq!(scenario.ran("acme"), expected);
        let created = scenario.relocation("acme").metadata.creation_timestamp.expect("a time of creation").0;
        for time in [status.started_at, status.finished_at] {
            let after = time.expect("a time of the run").0.duration_since(created).as_secs();
            assert!((0..300).contains(&after), "{after} s after the API server's own time of creation");
        }
    })
    .await;
}

#[tokio::test]
async fn a_status_that_is_wiped_ends_in_failure_and_starts_nothing_until_a_recover() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("running")).await;
        scenario.create(a_relocation("paused").paused_at(Step::Importing)).await;
        scenario.wait_for_running_pod("running", Step::Importing).await;
        scenario.wait_for("paused", StatusValue::Pause, Step::Importing).await;
        let failures = ["running", "paused"].map(|name| lose_the_status(scenario, name));
        let failures = join_all(failures).await;
        assert_eq!(failures[0].step, Step::Importing);
        // Of the paused one there is no Job of a later step.
        assert_eq!(failures[1].step, Step::Validating);
        let no_live_job = |seen: &Seen| seen.jobs.values().all(is_terminal).then_some(());
        scenario.wait(Duration::from_secs(60), "the Job of the lost launch is stopped", no_live_job).await;
        assert_eq!(scenario.ran("running"), SIX_WORKS[..4]);
        assert_eq!(scenario.ran("paused"), SIX_WORKS[..3]);

        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.patch_spec("paused", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        for (name, failure) in ["running", "paused"].into_iter().zip(&failures) {
            scenario.patch_spec(name, json!({ "recover": failure.id })).await.expect("a lost status can be recovered");
            scenario.wait_for_success(name).await;
        }
        // A task whose success was lost with the status is repeated, as a new attempt with a new fencing token.
        assert_eq!(scenario.ran("running")[..3], SIX_WORKS[..3], "what was done before is not repeated");
        assert_eq!(scenario.ran("running")[5..], SIX_WORKS[4..]);
        scenario.assert_no_overlap();
        let mut launches: Vec<i64> = scenario.launches("running").iter().map(|launch| launch.launch).collect();
        let in_order = launches.clone();
        launches.sort_unstable();
        launches.dedup();
        assert_eq!(launches, in_order, "no fencing token comes twice or goes back");
    })
    .await;
}

/// Wipes the status, waits until the relocation has ended because of that, and answers with its failure.
async fn lose_the_status(scenario: &Scenario, name: &str) -> Failure {
    let nothing = Patch::Merge(json!({ "status": null }));
    let wiped = scenario.relocations().patch_status(name, &PatchParams::default(), &nothing).await;
    wiped.expect("a whole status can be removed");
    let lost = scenario
        .wait_until(name, "its status is lost", |relocation| {
            let failure = relocation.status.as_ref().and_then(|status| status.failure.as_ref());
            failure.is_some_and(|failure| failure.reason == FailureReason::StatusLost)
        })
        .await;
    lost.status.unwrap_or_default().failure.expect("the failure that was waited for")
}

#[tokio::test]
async fn people_who_recover_the_same_failure_at_once_get_one_attempt() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::exit(65, "the disk is broken"));
        scenario.start_operator().await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let mut expected = SIX_WORKS[..4].iter().map(|work| (*work).to_owned()).collect::<Vec<_>>();
        for attempt in 2..=4 {
            let failure = scenario.wait_for_failure("acme").await.failure.expect("a failure has an id");
            assert_eq!(failure.attempt, Some(attempt - 1));
            if attempt == 4 {
                scenario.script(on(Step::Importing), Behaviour::succeed());
            }
            let people = (0..8).map(|person| {
                let change = json!({ "recover": failure.id, "reason": format!("person {person}") });
                let scenario = &*scenario;
                async move { scenario.patch_spec("acme", change).await }
            });
            let answers = join_all(people).await;
            assert!(answers.iter().any(Result::is_ok), "{answers:?}");
            expected.push(format!("IMPORTING/run/{attempt}"));
            scenario
                .wait_until("acme", "the recover is answered", |relocation| {
                    let status = relocation.status.as_ref();
                    status.is_some_and(|status| status.recoveries == Some(attempt - 1))
                })
                .await;
            if attempt < 4 {
                scenario
                    .wait_until("acme", "the next failure", |relocation| {
                        let status = relocation.status.as_ref();
                        let new = status.and_then(|status| status.failure.as_ref());
                        new.is_some_and(|new| new.id != failure.id)
                    })
                    .await;
                assert_eq!(scenario.ran("acme"), expected, "one attempt for all of them");
            }
        }
        scenario.wait_for_success("acme").await;
        expected.extend(SIX_WORKS[4..].iter().map(|work| (*work).to_owned()));
        assert_eq!(scenario.ran("acme"), expected);
        scenario.assert_no_overlap();
    })
    .await;
}

fn jobs(scenario: &Scenario) -> Api<Job> {
    Api::namespaced(scenario.client.clone(), &scenario.namespace)
}

/// Waits until the Job controller has seen the success of the first launch of a step.
async fn wait_for_the_end_of_the_job(scenario: &Scenario, name: &str, step: Step) {
    scenario
        .wait(Duration::from_secs(30), "the Job ends", |seen| {
            let launch = seen.launches.iter().find(|launch| launch.relocation == name && launch.step == Some(step))?;
            seen.jobs
                .values()
                .any(|job| job.metadata.name.as_ref() == Some(&launch.job) && is_terminal(job))
                .then_some(())
        })
        .await;
}
