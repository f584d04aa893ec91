//! Several operators with leader election: one works, and another one takes over when it is gone.

use std::time::Duration;

use relocation_operator::api::{StatusValue, Step};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    Asked, Behaviour, LEASE, SHORT, SIX_WORKS, Scenario, TAKEOVER, a_plan, a_relocation, amount, candidate,
    candidate_with, leads, on, run, wait_for_leader,
};

/// Duration and renew deadline for a leader that must have the time to send something after it was cut off.
const LONG: (u64, u64) = (12, 9);

const DEADLINE: Duration = Duration::from_secs(60);

/// Whether a request changes anything but the lease of the election.
fn has_effect(asked: &Asked) -> bool {
    asked.writes() && !is_about_the_lease(asked)
}

fn is_about_the_lease(asked: &Asked) -> bool {
    asked.path.ends_with(&format!("/leases/{LEASE}"))
}

async fn a_relocation_in_the_middle_of_importing(scenario: &Scenario) {
    scenario.create_plan(a_plan("plan").with_six_steps()).await;
    scenario.script(on(Step::Importing), Behaviour::Hang);
    scenario.create(a_relocation("acme")).await;
    scenario.wait_for_running_pod("acme", Step::Importing).await;
}

/// In the middle of one step, or of so many as `RELOCATION_FAILOVERS` says.
#[tokio::test]
async fn another_operator_takes_over_from_a_leader_that_was_killed_and_nothing_runs_twice() {
    let steps = match amount("RELOCATION_FAILOVERS", 1) {
        1 => vec![Step::Importing],
        several => Step::WORKING.into_iter().take(several).collect(),
    };
    run(async |scenario| {
        scenario.start_operator_with(&candidate(scenario, "leader-0")).await;
        wait_for_leader(scenario, "leader-0").await;
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        for step in &steps {
            scenario.script(on(*step), Behaviour::Hang);
        }
        scenario.create(a_relocation("acme")).await;
        for (number, step) in steps.iter().enumerate() {
            let next = format!("leader-{}", number + 1);
            scenario.start_operator_with(&candidate(scenario, &next)).await;
            scenario.wait_for_running_pod("acme", *step).await;
            assert!(leads(&scenario.operators[0]).await && !leads(&scenario.operators[1]).await, "one leads");
            scenario.operators.remove(0).kill();
            scenario.script(on(*step), Behaviour::succeed());
            let took = wait_for_leader(scenario, &next).await;
            assert!(took <= TAKEOVER, "the takeover in {step} took {took:?}");
        }
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        assert!(leads(&scenario.operators[0]).await);
        scenario.assert_no_overlap();
        scenario.assert_no_attempt_ran_twice();
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_has_stopped_before_another_one_takes_over() {
    run(async |scenario| {
        scenario.open_gate().await;
        scenario.start_operator_with(&candidate_with(scenario, "first", LONG)).await;
        wait_for_leader(scenario, "first").await;
        scenario.start_operator_beside_the_gate(&candidate_with(scenario, "second", LONG)).await;
        a_relocation_in_the_middle_of_importing(scenario).await;

        // It hears and reads that the Job has ended, and nothing that it writes arrives; nor does it see the lease.
        let mut swallowed = scenario.gate().hold(|asked| has_effect(asked) || is_about_the_lease(asked));
        scenario.script(on(Step::Importing), Behaviour::succeed());
        let took = wait_for_leader(scenario, "second").await;
        assert!(took <= TAKEOVER + Duration::from_secs(LONG.0 - SHORT.0), "the takeover took {took:?}");
        assert!(!leads(&scenario.operators[0]).await, "the first has stopped before the second begins");
        let said = scenario.operators[0].log_tail();
        assert!(
            said.contains("no longer leading, nothing more is written: the lease was not renewed for 9 s"),
            "{said}"
        );
        let before = scenario.gate().writes().iter().filter(|asked| has_effect(asked)).count();

        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        let after = scenario.gate().writes().iter().filter(|asked| has_effect(asked)).count();
        assert_eq!(after, before, "it heard of all that, and wrote nothing");

        // What it had sent arrives late, and what it asks from now on is answered again.
        swallowed.close();
        let mut late = 0;
        while let Some(held) = swallowed.recv().await {
            late += usize::from(has_effect(&held.asked));
            held.pass();
        }
        assert!(late > 0, "it had something on the wire when it was cut off");
        scenario.create(a_relocation("globex")).await;
        scenario.wait_for_success("globex").await;
        assert_eq!(scenario.works("globex"), SIX_WORKS);
        assert_eq!(scenario.works("acme"), SIX_WORKS, "what came late had no effect");
        let at_the_end = scenario.gate().writes().iter().filter(|asked| has_effect(asked)).count();
        assert_eq!(at_the_end, before, "it follows");
        assert!(!leads(&scenario.operators[0]).await);
        scenario.assert_no_overlap();
        scenario.assert_no_attempt_ran_twice();
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_gives_the_lease_back() {
    run(async |scenario| {
        // So long that the test would fail if the lease had to run out.
        scenario.start_operator_with(&candidate_with(scenario, "first", (600, 300))).await;
        wait_for_leader(scenario, "first").await;
        scenario.start_operator_with(&candidate_with(scenario, "second", (600, 300))).await;
        a_relocation_in_the_middle_of_importing(scenario).await;
        scenario.operators.remove(0).stop().await;
        wait_for_leader(scenario, "second").await;
        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_follower_writes_nothing_and_works_as_soon_as_it_leads() {
    run(async |scenario| {
        scenario.start_operator_with(&candidate(scenario, "first")).await;
        wait_for_leader(scenario, "first").await;
        scenario.open_gate().await;
        scenario.start_operator_with(&candidate(scenario, "second")).await;
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.create(a_relocation("acme").paused_at(Step::Importing)).await;
        scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
        assert_eq!(scenario.gate().writes().len(), 0, "{:?}", scenario.gate().writes());

        // What is asked while nobody leads is answered by the next leader.
        scenario.operators.remove(0).kill();
        scenario.patch_spec("acme", json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
        scenario.create(a_relocation("globex")).await;
        for name in ["acme", "globex"] {
            scenario.wait_for_success(name).await;
            assert_eq!(scenario.works(name), SIX_WORKS, "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_operator_that_cannot_read_the_lease_is_not_ready_and_says_why() {
    run(async |scenario| {
        scenario.open_gate().await;
        let _held = scenario.gate().hold(is_about_the_lease);
        let environment = candidate(scenario, "first");
        scenario.spawn_operator_with(&environment).await;
        let deadline = Instant::now() + DEADLINE;
        let mut page = String::new();
        while !page.contains("it is not known who holds the lease") || page.contains("have not been listed") {
            assert!(Instant::now() < deadline, "{page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            page = scenario.operators[0].page("/readyz").await.unwrap_or_default();
        }
        assert!(page.starts_with("HTTP/1.1 503"), "{page}");
    })
    .await;
}
