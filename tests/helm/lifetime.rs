//! A release from its installation to its end, with relocations that run meanwhile.

use std::path::Path;
use std::time::Duration;

use relocation_operator::api::{StatusValue, Step};

use crate::release::{NAME, Release, chart};
use crate::support::{Behaviour, SIX_WORKS, Scenario, a_plan, a_relocation, is_terminal, on, run};

const DEADLINE: Duration = Duration::from_secs(60);

async fn a_relocation_in_the_middle_of_importing(scenario: &Scenario) {
    scenario.create_plan(a_plan("plan").with_six_steps()).await;
    scenario.script(on(Step::Importing), Behaviour::Hang);
    scenario.create(a_relocation("acme")).await;
    scenario.wait_for_running_pod("acme", Step::Importing).await;
}

#[tokio::test]
async fn what_is_installed_passes_its_own_test_and_a_typing_mistake_leaves_it_as_it_is() {
    run(async |scenario| {
        let release = Release::prepare(&scenario.client).await;
        let notes = release.install(&[]);
        assert!(notes.contains(&format!("helm test {NAME} --namespace {}", release.namespace)), "{notes}");
        let ready = release.kubectl(&["get", "deployment", NAME, "-o", "jsonpath={.status.readyReplicas}"]);
        assert_eq!(ready, "2", "two replicas, one of which follows");

        let said = release.helm(&["test", NAME, "--logs", "--timeout", "120s"]).expect("the chart's own test");
        assert!(said.contains("Phase:          Succeeded") && said.contains("IN_PROGRESS at NOTIFYING"), "{said}");
        assert!(said.trim_end().ends_with("SUCCESS"), "{said}");

        let said = release.try_install(&["replicaCont=3"]).expect_err("a typing mistake");
        assert!(said.contains("replicaCont"), "{said}");
        let after = release.kubectl(&["get", "deployment", NAME, "-o", "jsonpath={.spec.replicas}"]);
        assert_eq!(after, "2");
        release.remove().await;
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_and_a_downgrade_in_the_middle_of_a_step_run_nothing_twice() {
    run(async |scenario| {
        let release = Release::prepare(&scenario.client).await;
        let older = older_chart(&release.namespace);
        release.install_chart(&older, &[]).expect("the older version");
        a_relocation_in_the_middle_of_importing(scenario).await;
        let running = scenario.status("acme").job;

        release.install(&["podAnnotations.turn=upgrade"]);
        assert_eq!(installed_version(&release), "0.1.0");
        assert_eq!(scenario.status("acme").job, running, "the running Job goes on");
        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.script(on(Step::Postprocessing), Behaviour::Hang);
        scenario.wait_for_running_pod("acme", Step::Postprocessing).await;

        release.install_chart(&older, &["podAnnotations.turn=downgrade"]).expect("the older version");
        assert_eq!(installed_version(&release), "0.1.0", "the kinds never go back");
        scenario.script(on(Step::Postprocessing), Behaviour::succeed());
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
        scenario.assert_no_attempt_ran_twice();
        release.remove().await;
    })
    .await;
}

/// The version of the chart that installed the kinds.
fn installed_version(release: &Release) -> String {
    let annotation = r"jsonpath={.metadata.annotations.relocation\.dev/chart-version}";
    release.kubectl(&["get", "crd", "relocations.relocation.dev", "-o", annotation])
}

/// The chart as it stands, under an older version.
fn older_chart(name: &str) -> std::path::PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("charts").join(name);
    copy_folder(&chart(), &copy);
    let file = copy.join("Chart.yaml");
    let text = std::fs::read_to_string(&file).expect("Chart.yaml");
    std::fs::write(&file, text.replace("version: 0.1.0\nappVersion", "version: 0.0.9\nappVersion")).expect("a copy");
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the chart") {
        let (from, to) = (entry.as_ref().expect("a file").path(), to.join(entry.as_ref().expect("a file").file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}

#[tokio::test]
async fn what_runs_ends_normally_without_the_operator_and_a_new_installation_goes_on() {
    run(async |scenario| {
        let release = Release::prepare(&scenario.client).await;
        release.install(&[]);
        a_relocation_in_the_middle_of_importing(scenario).await;
        let job = scenario.status("acme").job.expect("a running Job");

        release.uninstall().expect("Helm removes the release");
        let left = release.kubectl(&["get", "deployment,role,networkpolicy,serviceaccount", "-o", "name"]);
        assert_eq!(left.trim(), "serviceaccount/default", "nothing else is left");
        assert_eq!(scenario.status("acme").status, Some(StatusValue::InProgress), "the relocation stays");
        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario
            .wait(DEADLINE, "the running Job ends by itself", |seen| {
                let ended = seen.jobs.values().find(|known| known.metadata.name.as_ref() == Some(&job))?;
                is_terminal(ended).then_some(())
            })
            .await;
        assert_eq!(scenario.works("acme"), SIX_WORKS[..4], "nobody starts the next step");

        release.install(&[]);
        scenario.wait_for_success("acme").await;
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
        scenario.assert_no_attempt_ran_twice();
        release.remove().await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_leader_is_replaced_by_its_other_replica() {
    run(async |scenario| {
        let release = Release::prepare(&scenario.client).await;
        release.install(&["leaderElection.leaseDurationSeconds=6,leaderElection.renewDeadlineSeconds=4"]);
        a_relocation_in_the_middle_of_importing(scenario).await;
        let holder = || release.kubectl(&["get", "lease", NAME, "-o", "jsonpath={.spec.holderIdentity}"]);
        let leader = holder();
        let (pod, _) = leader.split_once('_').expect("the name of a pod");
        release.kubectl(&["delete", "pod", pod, "--grace-period=0", "--force"]);
        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.wait_for_success("acme").await;
        assert_ne!(holder(), leader);
        assert_eq!(scenario.works("acme"), SIX_WORKS);
        scenario.assert_no_overlap();
        scenario.assert_no_attempt_ran_twice();
        release.remove().await;
    })
    .await;
}
