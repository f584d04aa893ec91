//! Six steps in order, with any number of tasks, each Job exactly once.

use relocation_operator::api::{Step, WorkState};

use crate::support::{a_plan, a_relocation, run};

#[tokio::test]
async fn a_relocation_runs_six_steps_in_order_with_one_job_each() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        let status = scenario.wait_for_success("acme").await;
        assert_eq!(
            scenario.works("acme"),
            [
                "UPLOADING/run/1",
                "PREPROCESSING/run/1",
                "VALIDATING/run/1",
                "IMPORTING/run/1",
                "POSTPROCESSING/run/1",
                "NOTIFYING/run/1"
            ]
        );
        for step in Step::WORKING {
            let told = status.steps.iter().find(|told| told.name == step).expect("every step is told");
            assert_eq!(told.state, WorkState::Succeeded);
            assert_eq!(told.tasks.len(), 1);
            assert_eq!(told.tasks[0].attempts, 1);
        }
        scenario.assert_no_overlap();
    })
    .await;
}
