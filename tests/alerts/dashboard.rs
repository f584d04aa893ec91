//! Every query of the dashboard has an answer when a real Prometheus reads an operator at work.

use relocation_operator::api::{StatusValue, Step};

use crate::prometheus::Prometheus;
use crate::queries_of_the_dashboard;
use crate::support::{Behaviour, a_plan, a_relocation, on, run};
use crate::work::a_bit_of_everything;

/// The one panel that shows 0 when all is well.
const ZERO: &str = "Stuck pods";

#[tokio::test]
async fn every_panel_of_the_dashboard_shows_what_an_operator_at_work_does() {
    run(async |scenario| {
        scenario.open_gate().await;
        scenario.start_operator().await;
        let prometheus = Prometheus::reading(scenario.operators[0].address()).await;
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        // Twice: a rate compares what was read at two times, so every series must be known before it grows.
        for number in 1..=2 {
            a_bit_of_everything(scenario, number).await;
            let endings = f64::from(2 * number);
            prometheus.wait_until("sum(relocation_finished_total)", |values| values == [endings]).await;
        }
        scenario.script(on(Step::Uploading).relocation("running"), Behaviour::Hang);
        scenario.create(a_relocation("running")).await;
        scenario.create(a_relocation("held").paused_at(Step::Preprocessing)).await;
        scenario.wait_for("held", StatusValue::Pause, Step::Preprocessing).await;

        for (title, query) in queries_of_the_dashboard() {
            let wished = |values: &[f64]| {
                let numbers = !values.is_empty() && values.iter().all(|value| value.is_finite());
                numbers && if title == ZERO { values == [0.0] } else { values.iter().any(|value| *value > 0.0) }
            };
            prometheus.wait_until(&query, wished).await;
        }
    })
    .await;
}
