//! What an operator must have done before all of its metrics say something.

use relocation_operator::api::{StatusValue, Step};
use serde_json::json;

use crate::support::{Asked, Behaviour, Scenario, a_relocation, on};

/// A relocation that is paused, loses an answer of the API server and succeeds, and one that fails.
pub async fn a_bit_of_everything(scenario: &Scenario, number: u32) {
    let (good, bad) = (format!("good-{number}"), format!("bad-{number}"));
    let mut held = scenario.gate().hold(Asked::creates_a_job);
    scenario.create(a_relocation(&good).paused_at(Step::Importing)).await;
    scenario.next_held(&mut held).await.pass_and_lose_the_answer();
    drop(held);
    scenario.wait_for(&good, StatusValue::Pause, Step::Importing).await;
    scenario.patch_spec(&good, json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
    scenario.wait_for_success(&good).await;

    scenario.script(on(Step::Importing).relocation(&bad), Behaviour::exit(65, "no"));
    scenario.create(a_relocation(&bad)).await;
    scenario.wait_for_failure(&bad).await;
}
