//! Six steps in order, with any number of tasks, each Job exactly once.

use relocation_operator::api::{Step, WorkState};
use serde_json::json;

use crate::support::{SIX_WORKS, a_plan, a_relocation, run};

#[tokio::test]
async fn a_relocation_runs_six_steps_in_order_with_one_job_each() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let status = scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        let launches = scenario.launches("acme");
        assert!(launches.windows(2).all(|pair| pair[0].launch < pair[1].launch), "the fencing token grows");
        for (step, launch) in Step::WORKING.into_iter().zip(&launches) {
            let told = status.steps.iter().find(|told| told.name == step).expect("every step is told");
            assert_eq!(told.state, WorkState::Succeeded);
            assert!(told.started_at.is_some() && told.finished_at.is_some());
            assert_eq!(told.tasks.len(), 1);
            assert_eq!(told.tasks[0].attempts, 1);
            assert_eq!(told.tasks[0].job.as_ref(), Some(&launch.job));
        }
        assert_eq!(status.uuid, scenario.relocation("acme").metadata.uid);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn tasks_of_a_step_run_in_their_order_and_empty_steps_are_passed_through() {
    run(async |scenario| {
        let plan = a_plan("plan")
            .with_step(Step::Uploading, ["list", "copy", "seal"])
            .with_step(Step::Preprocessing, [])
            .with_step(Step::Validating, ["count", "prove"])
            .with_step(Step::Postprocessing, ["index"]);
        scenario.create_plan(plan).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let status = scenario.wait_for_success("acme").await;
        assert_eq!(
            scenario.works("acme"),
            [
                "UPLOADING/list/1",
                "UPLOADING/copy/1",
                "UPLOADING/seal/1",
                "VALIDATING/count/1",
                "VALIDATING/prove/1",
                "POSTPROCESSING/index/1"
            ]
        );
        let state = |step| status.steps.iter().find(|told| told.name == step).map(|told| told.state);
        for skipped in [Step::Preprocessing, Step::Importing, Step::Notifying] {
            assert_eq!(state(skipped), Some(WorkState::Skipped), "{skipped}");
        }
        assert_eq!(state(Step::Uploading), Some(WorkState::Succeeded));
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn relocations_of_different_owners_run_side_by_side() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        for name in ["acme", "globex", "initech"] {
            scenario.create(a_relocation(name)).await;
        }
        for name in ["acme", "globex", "initech"] {
            scenario.wait_for_success(name).await;
            assert_eq!(scenario.works(name), SIX_WORKS);
        }
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_is_edited_in_mid_run_does_not_change_the_run() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme").paused_at(Step::Importing)).await;
        scenario.wait_for("acme", relocation_operator::api::StatusValue::Pause, Step::Importing).await;
        let other = a_plan("plan").with_six_steps().with_step(Step::Importing, ["other"]).build();
        scenario.patch_plan("plan", other["spec"].clone()).await;
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("the fence is cleared");
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
    })
    .await;
}
