//! The operator is killed at every API call of a run, reads and watches included: the result is as if nothing had happened.

use std::time::Duration;

use futures::future::join_all;
use relocation_operator::api::{StatusValue, Step};

use crate::support::{Scenario, a_plan, a_relocation, amount, run};

/// How many runs are killed at the same time, each in a namespace of its own: a run mostly waits for the Job controller.
const LANES: usize = 8;

/// A run with a kill, on a machine where seven others run.
const DEADLINE: Duration = Duration::from_secs(120);

/// A call, and whether the API server still gets it.
#[derive(Clone, Copy, Debug)]
struct Kill {
    call: usize,
    arrives: bool,
}

#[tokio::test]
async fn a_kill_at_every_api_call_changes_nothing_in_the_result() {
    // A plan needs the evidence of VALIDATING, the third step.
    let steps = &Step::WORKING[..amount("RELOCATION_KILLED_STEPS", 3)];
    let mut calls = 0;
    run(async |scenario| {
        begin(scenario, steps).await;
        // The first run is not counted: in it the plan is judged, once for all runs.
        for name in ["first", "whole"] {
            let before = scenario.gate().calls();
            scenario.create(a_relocation(name)).await;
            scenario.spawn_operator().await;
            success(scenario, name, steps).await;
            scenario.kill_operators();
            calls = scenario.gate().calls() - before;
        }
    })
    .await;
    assert!(calls > 6 * steps.len(), "{calls} calls");
    let kills: Vec<Kill> = (0..calls).flat_map(|call| [false, true].map(|arrives| Kill { call, arrives })).collect();
    let lanes = (0..LANES).map(|lane| {
        let kills = kills.iter().copied().skip(lane).step_by(LANES).collect::<Vec<_>>();
        async move {
            let mut reached = 0;
            run(async |scenario| reached = kill_at_each(scenario, steps, &kills).await).await;
            reached
        }
    });
    let reached: usize = join_all(lanes).await.into_iter().sum();
    println!("{calls} calls, {} kills planned, {reached} done", kills.len());
    // Events come together or apart, so the last calls of one run are not there in another.
    assert!(reached * 10 >= kills.len() * 8, "only {reached} of {} kills were done", kills.len());
}

/// Answers how many of the kills were done: a run that needs fewer calls ends before the last ones.
async fn kill_at_each(scenario: &mut Scenario, steps: &[Step], kills: &[Kill]) -> usize {
    begin(scenario, steps).await;
    let mut reached = 0;
    for kill in kills {
        let name = format!("cut-{}-{}", kill.call, if kill.arrives { "after" } else { "before" });
        scenario.create(a_relocation(&name)).await;
        let mut held = scenario.gate().hold_call(kill.call);
        scenario.spawn_operator().await;
        let request = tokio::select! {
            request = held.recv() => request,
            () = success(scenario, &name, steps) => None,
        };
        if let Some(request) = request {
            reached += 1;
            if kill.arrives {
                request.pass_and_lose_the_answer();
            } else {
                drop(request);
            }
            scenario.kill_operators();
            drop(held);
            scenario.spawn_operator().await;
            success(scenario, &name, steps).await;
        }
        scenario.kill_operators();
    }
    scenario.assert_no_overlap();
    scenario.assert_no_attempt_ran_twice();
    reached
}

async fn begin(scenario: &mut Scenario, steps: &[Step]) {
    let plan = steps.iter().fold(a_plan("plan"), |plan, step| plan.with_step(*step, ["run"]));
    scenario.create_plan(plan).await;
    scenario.open_gate().await;
}

async fn success(scenario: &Scenario, name: &str, steps: &[Step]) {
    scenario
        .wait(DEADLINE, &format!("{name}: SUCCESS"), |seen| {
            let status = seen.relocations.get(name)?.status.as_ref()?;
            (status.status == Some(StatusValue::Success)).then_some(())
        })
        .await;
    let expected: Vec<String> = steps.iter().map(|step| format!("{step}/run/1")).collect();
    assert_eq!(scenario.works(name), expected, "{name}: by the Jobs that were there");
    assert_eq!(scenario.ran(name), expected, "{name}: by the log of what ran");
}
