//! Kills, competitors and lost Jobs: nothing starts twice, nothing is lost, nothing works beside anything.

use std::time::Duration;

use kube::api::PropagationPolicy;
use relocation_operator::api::{StatusValue, Step};
use serde_json::json;

use crate::SIX_WORKS;
use crate::support::{Behaviour, a_plan, a_relocation, on, run};

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
        scenario
            .wait(Duration::from_secs(30), "the Job ends", |seen| {
                let importing = seen.launches.iter().find(|launch| launch.step == Some(Step::Importing))?;
                seen.jobs.values().find(|job| {
                    job.metadata.name.as_ref() == Some(&importing.job)
                        && job.status.as_ref().and_then(|status| status.completion_time.as_ref()).is_some()
                })?;
                Some(())
            })
            .await;
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
async fn a_kill_at_every_write_changes_nothing_in_the_result() {
    run(async |scenario| {
        let plan = a_plan("plan").with_step(Step::Uploading, ["run"]).with_step(Step::Validating, ["run"]);
        scenario.create_plan(plan).await;
        scenario.open_gate().await;
        // A run without kills says how many writes there are to be killed at.
        scenario.start_operator().await;
        scenario.create(a_relocation("whole")).await;
        scenario.wait_for_success("whole").await;
        let writes = scenario.gate().writes().len();
        assert!(writes >= 6, "{:#?}", scenario.gate().writes());
        for (number, is_stored) in (0..writes).flat_map(|number| [(number, false), (number, true)]) {
            let name = format!("cut-{number}-{}", if is_stored { "after" } else { "before" });
            let mut held = scenario.gate().hold(|asked| asked.writes());
            scenario.create(a_relocation(&name)).await;
            for _ in 0..number {
                scenario.next_held(&mut held).await.pass();
            }
            let last = scenario.next_held(&mut held).await;
            if is_stored {
                last.pass_and_lose_the_answer();
            } else {
                drop(last);
            }
            scenario.kill_operators();
            drop(held);
            scenario.start_operator().await;
            scenario.wait_for_success(&name).await;
            assert_eq!(scenario.works(&name), ["UPLOADING/run/1", "VALIDATING/run/1"], "{name}");
        }
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
        let jobs: kube::Api<k8s_openapi::api::batch::v1::Job> =
            kube::Api::namespaced(scenario.client.clone(), &scenario.namespace);
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
