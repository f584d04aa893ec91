//! The leader's network link to the API server is cut in the middle of a step.

use std::path::{Path, PathBuf};

use relocation_operator::api::{StatusValue, Step};
use tokio::time::Instant;

use crate::support::{
    Behaviour, Operator, SIX_WORKS, TAKEOVER, a_plan, a_relocation, candidate, leads, on, run_alone, wait_for_leader,
};
use crate::{DEADLINE, cluster, wait_for};

#[tokio::test]
async fn a_leader_whose_link_is_cut_has_stopped_before_another_one_takes_over_and_nothing_runs_twice() {
    let machine = Machine::add().await;
    run_alone(async |scenario| {
        let first = Operator::start_in(&machine.network, &scenario.namespace, &candidate(scenario, "first")).await;
        scenario.operators.push(first);
        wait_for_leader(scenario, "first").await;
        scenario.start_operator_with(&candidate(scenario, "second")).await;
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::Hang);
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_running_pod("acme", Step::Importing).await;

        machine.cut().await;
        scenario.script(on(Step::Importing), Behaviour::succeed());
        let took = wait_for_leader(scenario, "second").await;
        assert!(!leads(&scenario.operators[0]).await, "the first has stopped before the second begins");
        assert!(took <= TAKEOVER, "the takeover took {took:?}");
        let said = scenario.operators[0].log_tail();
        assert!(
            said.contains("no longer leading, nothing more is written: the lease was not renewed for 4 s"),
            "{said}"
        );
        wait_for(scenario, "acme", StatusValue::Success, Step::Completed).await;

        // It learns what has happened meanwhile; what it had sent arrives late, if there was anything.
        machine.mend().await;
        let deadline = Instant::now() + DEADLINE;
        let knows = "relocation_count{status=\"SUCCESS\",step=\"COMPLETED\"} 1";
        while !scenario.operators[0].page("/metrics").await.is_ok_and(|page| page.lines().any(|line| line == knows)) {
            assert!(
                Instant::now() < deadline,
                "the first does not hear of the end\n{}",
                scenario.operators[0].log_tail()
            );
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        scenario.create(a_relocation("globex")).await;
        wait_for(scenario, "globex", StatusValue::Success, Step::Completed).await;
        assert!(!leads(&scenario.operators[0]).await && leads(&scenario.operators[1]).await, "the first follows");
        assert!(scenario.operators[0].lives(), "it waited and did not end");
        for name in ["acme", "globex"] {
            assert_eq!(scenario.works(name), SIX_WORKS);
            assert_eq!(scenario.ran(name), SIX_WORKS);
        }
        scenario.assert_no_overlap();
        scenario.assert_no_attempt_ran_twice();
    })
    .await;
    machine.remove().await;
}

/// A network namespace beside the cluster, with one link to the API server.
struct Machine {
    network: PathBuf,
}

impl Machine {
    /// Adds it; one that an earlier test has left behind is replaced.
    async fn add() -> Self {
        cluster(&["remove-machine"]).await;
        Self { network: Path::new(&cluster(&["add-machine"]).await).to_owned() }
    }

    async fn cut(&self) {
        cluster(&["cut-machine"]).await;
    }

    async fn mend(&self) {
        cluster(&["mend-machine"]).await;
    }

    async fn remove(self) {
        cluster(&["remove-machine"]).await;
    }
}
