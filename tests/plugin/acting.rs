//! What people do to a relocation, what they see, and the object afterwards.

use expect_test::expect;
use kube::api::{Patch, PatchParams};
use relocation_operator::api::{AutoPause, DesiredState, StatusValue, Step};
use serde_json::{Value, json};

use crate::errors::account;
use crate::person::Person;
use crate::support::{Behaviour, Gate, Scenario, a_plan, a_relocation, on, run};

/// A relocation whose task of this step runs until the script says otherwise.
async fn held_at(scenario: &mut Scenario, step: Step) -> Person {
    scenario.create_plan(a_plan("plan").with_six_steps()).await;
    scenario.script(on(step), Behaviour::Hang);
    scenario.start_operator().await;
    scenario.create(a_relocation("acme")).await;
    scenario.wait_for_running_pod("acme", step).await;
    Person::of(scenario)
}

/// The spec as the API server has it.
async fn spec(scenario: &Scenario, name: &str) -> Value {
    let relocation = scenario.relocations().get(name).await.expect("the relocation");
    serde_json::to_value(relocation.spec).expect("JSON")
}

#[tokio::test]
async fn a_pause_stops_before_the_next_step_and_unpause_lets_it_go_on() {
    run(async |scenario| {
        let person = held_at(scenario, Step::Validating).await;
        person.types("pause acme --dry-run=server").await.shows(expect![[""]]);
        assert_eq!(spec(scenario, "acme").await["pauseAtStep"], Value::Null);

        person.types("pause acme --reason audit").await.shows(expect![[""]]);
        let after = spec(scenario, "acme").await;
        assert_eq!((&after["pauseAtStep"], &after["reason"]), (&json!("IMPORTING"), &json!("audit")));
        let written = scenario.relocations().get("acme").await.expect("the relocation").metadata.resource_version;
        person.types("pause acme --at-step importing").await.shows(expect![[""]]);
        let unchanged = scenario.relocations().get("acme").await.expect("the relocation").metadata.resource_version;
        assert_eq!(written, unchanged, "what is so already is not written again");
        person.types("pause acme --at-step PREPROCESSING").await.shows(expect![[""]]);
        person.types("unpause acme").await.shows(expect![[""]]);

        scenario.script(on(Step::Validating), Behaviour::succeed());
        scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
        person.types("pause acme").await.shows(expect![[""]]);
        person.types("unpause acme --until-step preprocessing").await.shows(expect![[""]]);
        person.types("unpause acme --until-step notifying --dry-run=server").await.shows(expect![[""]]);
        let until = person.types("unpause acme --until-step notifying --wait --reason").await;
        assert_eq!(until.code, 1, "{until:?}");
        let until = person.types("unpause acme --until-step notifying --wait").await.succeeded();
        assert!(until.settled().contains("acme goes on with IMPORTING and pauses before NOTIFYING"), "{}", until.out);
        assert!(until.settled().contains("TIME PAUSE NOTIFYING: paused before NOTIFYING by"), "{}", until.settled());
        let after = spec(scenario, "acme").await;
        assert_eq!(after["reason"], Value::Null, "the reason of the pause is none of the unpause");

        let end = person.types("unpause acme --wait --timeout 50s").await.succeeded();
        assert!(end.settled().contains("TIME SUCCESS COMPLETED: every step is done"), "{}", end.settled());
        person.types("unpause acme").await.shows(expect![[""]]);
        person.types("pause acme").await.shows(expect![[""]]);
        let history = scenario.status("acme").history;
        let entries =
            history.iter().map(|entry| format!("{} {}", entry.action, entry.manager.clone().unwrap_or_default()));
        expect![[""]].assert_eq(&entries.collect::<Vec<_>>().join(", "));
    })
    .await;
}

#[tokio::test]
async fn unpause_opens_whichever_fence_holds_it() {
    run(async |scenario| {
        let fence = json!({ "autoPauseAtStep": { "SELF_HOSTED": "IMPORTING" } });
        scenario.create_plan(a_plan("plan").with_six_steps().with(fence)).await;
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.create(a_relocation("both").paused_at(Step::Importing)).await;
        scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
        scenario.wait_for("both", StatusValue::Pause, Step::Importing).await;
        let person = Person::of(scenario);
        person.types("unpause acme --until-step NOTIFYING").await.shows(expect![[""]]);
        scenario.wait_for("acme", StatusValue::Pause, Step::Notifying).await;
        assert_eq!(scenario.relocation("acme").spec.auto_pause, AutoPause::Skip);
        person.types("unpause both").await.shows(expect![[""]]);
        scenario.wait_for_success("both").await;
    })
    .await;
}

#[tokio::test]
async fn a_cancel_ends_it_before_a_step_and_can_be_withdrawn() {
    run(async |scenario| {
        let person = held_at(scenario, Step::Validating).await;
        person.types("cancel acme --withdraw").await.shows(expect![[""]]);
        person.types("cancel acme --reason wrong").await.shows(expect![[""]]);
        person.types("cancel acme --withdraw").await.shows(expect![[""]]);
        assert_eq!(spec(scenario, "acme").await["cancelAtStep"], Value::Null);
        person.types("cancel acme --at-step uploading").await.shows(expect![[""]]);
        person.types("cancel acme --at-step preprocessing").await.shows(expect![[""]]);
        person.types("cancel acme --at-step importing").await.succeeded();
        scenario.script(on(Step::Validating), Behaviour::succeed());
        scenario.wait_for_failure("acme").await;
        person.types("cancel acme --withdraw").await.shows(expect![[""]]);
        person.types("cancel acme").await.shows(expect![[""]]);

        scenario.create(a_relocation("globex").paused_at(Step::Preprocessing)).await;
        scenario.wait_for("globex", StatusValue::Pause, Step::Preprocessing).await;
        person.types("cancel globex").await.shows(expect![[""]]);
        let at_once = person.types("cancel globex --at-step PREPROCESSING --wait").await.succeeded();
        assert!(at_once.out.starts_with("globex ends now, before PREPROCESSING\n"), "{}", at_once.out);
        assert_eq!(scenario.stored_status("globex").await.status, Some(StatusValue::Failure));
    })
    .await;
}

#[tokio::test]
async fn work_is_suspended_resumed_and_aborted() {
    run(async |scenario| {
        let person = held_at(scenario, Step::Importing).await;
        person.types("resume acme").await.shows(expect![[""]]);
        let suspended = person.types("suspend acme --wait --reason full").await.succeeded();
        assert!(suspended.settled().contains("PAUSE IMPORTING: suspended in IMPORTING"), "{}", suspended.settled());
        person.types("suspend acme").await.shows(expect![[""]]);
        person.types("unpause acme").await.shows(expect![[""]]);
        person.types("resume acme").await.shows(expect![[""]]);
        scenario.wait_for_running_pod("acme", Step::Importing).await;
        assert_eq!(scenario.relocation("acme").spec.desired_state, DesiredState::Active);

        let aborted = person.types("abort acme --wait").await.succeeded();
        assert!(aborted.out.starts_with("acme ends now; it was IN_PROGRESS at IMPORTING\n"), "{}", aborted.out);
        person.types("abort acme").await.shows(expect![[""]]);
        person.types("suspend acme").await.shows(expect![[""]]);
        person.types("wait acme").await.code_is(3);
    })
    .await;
}

#[tokio::test]
async fn two_people_who_recover_the_same_failure_get_one_attempt() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::exit(65, "disk full"));
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_failure("acme").await;
        scenario.script(on(Step::Importing), Behaviour::Hang);
        let person = Person::of(scenario);
        person.types("recover acme --dry-run=server").await.shows(expect![[""]]);
        let (one, other) = tokio::join!(
            person.types("recover acme --until-step notifying --reason enlarged"),
            person.types("recover acme --until-step notifying --reason enlarged")
        );
        let said = [one.settled(), other.settled()];
        assert!(
            said.iter().any(|text| text.starts_with("acme tries IMPORTING/run once more and pauses before NOTIFYING")),
            "{said:?}"
        );
        scenario.wait_for_running_pod("acme", Step::Importing).await;
        person.types("recover acme").await.shows(expect![[""]]);
        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.wait_for("acme", StatusValue::Pause, Step::Notifying).await;
        assert_eq!(scenario.status("acme").recoveries, Some(1));
        let attempts = scenario.works("acme").into_iter().filter(|work| work.starts_with("IMPORTING")).count();
        assert_eq!(attempts, 2);
    })
    .await;
}

#[tokio::test]
async fn recover_clears_what_stands_in_the_way() {
    run(async |scenario| {
        let person = held_at(scenario, Step::Validating).await;
        person.types("abort acme --wait").await.succeeded();
        person.types("recover acme").await.shows(expect![[""]]);
        scenario.wait_for_running_pod("acme", Step::Validating).await;
        person.types("cancel acme").await.succeeded();
        scenario.script(on(Step::Validating), Behaviour::succeed());
        scenario.wait_for_failure("acme").await;
        let end = person.types("recover acme --wait").await.succeeded();
        assert!(end.settled().contains("note: cancelAtStep IMPORTING is withdrawn"), "{}", end.settled());
        scenario.wait_for_success("acme").await;
        person.types("recover acme").await.shows(expect![[""]]);
    })
    .await;
}

#[tokio::test]
async fn a_retry_starts_over_with_the_same_under_the_next_name() {
    run(async |scenario| {
        let declared = json!({ "parameters": [{ "name": "TARGET" }] });
        scenario.create_plan(a_plan("plan").with_six_steps().with(declared)).await;
        scenario.script(on(Step::Importing).relocation("acme"), Behaviour::exit(65, "no"));
        scenario.start_operator().await;
        let asked = json!({ "items": ["wiki"], "parameters": { "TARGET": "/data" }, "autoPause": "Skip" });
        scenario.create(a_relocation("acme").with(asked)).await;
        scenario.create(a_relocation("acme-2").with(json!({ "owner": "other" })).paused_at(Step::Preprocessing)).await;
        scenario.wait_for_failure("acme").await;
        let person = Person::of(scenario);
        person.types("retry acme --dry-run=server").await.shows(expect![[""]]);
        person.types("retry acme --name acme-2").await.shows(expect![[""]]);
        person.types("retry acme --reason again").await.shows(expect![[""]]);
        scenario.wait_for_success("acme-3").await;
        let new = spec(scenario, "acme-3").await;
        assert_eq!((&new["items"], &new["parameters"]), (&json!(["wiki"]), &json!({ "TARGET": "/data" })));
        assert_eq!((&new["retryOf"]["name"], &new["reason"]), (&json!("acme"), &json!("again")));
        let is_told = |relocation: &relocation_operator::api::Relocation| {
            let failure = relocation.status.as_ref().and_then(|status| status.failure.clone());
            failure.is_some_and(|failure| failure.retried_by.is_some())
        };
        scenario.wait_until("acme", "it is told that it was started over", is_told).await;
        person.types("retry acme").await.shows(expect![[""]]);
        person.types("retry acme-3").await.shows(expect![[""]]);
    })
    .await;
}

#[tokio::test]
async fn patch_takes_the_fields_by_their_names_in_any_case_of_the_values() {
    run(async |scenario| {
        let person = held_at(scenario, Step::Validating).await;
        person.types("patch acme --pauseAtStep=Importing --cleanupSecondsAfterFinished=60").await.shows(expect![[""]]);
        let after = spec(scenario, "acme").await;
        assert_eq!((&after["pauseAtStep"], &after["cleanupSecondsAfterFinished"]), (&json!("IMPORTING"), &json!(60)));
        person
            .types("patch acme --pauseAtStep= --autoPause=skip --reason=why --dry-run=server")
            .await
            .shows(expect![[""]]);
        person.types("patch acme --pauseAtStep=null --readiness=whenaccepted").await.shows(expect![[""]]);
        assert_eq!(spec(scenario, "acme").await["pauseAtStep"], Value::Null);
        person.types("patch acme").await.shows(expect![[""]]);
        person.types("patch acme --owner=other").await.shows(expect![[""]]);
        person.types("patch acme --pauseAtStep=flying").await.shows(expect![[""]]);
        // Both are the API server's to refuse, in its own words.
        person.types("patch acme --activeDeadlineSeconds=0").await.shows(expect![[""]]);
        person.types("patch acme --parameters=A=b").await.shows(expect![[""]]);
    })
    .await;
}

#[tokio::test]
async fn whoever_was_faster_is_decided_on_anew() {
    run(async |scenario| {
        let person = held_at(scenario, Step::Validating).await;
        let gate = Gate::open(&scenario.client).await;
        let mut held = gate.hold(|asked| asked.method == "PATCH");
        let slow = person.clone().with_kubeconfig(gate.kubeconfig());
        let typed = async { slow.types("pause acme").await };
        let meanwhile = async {
            let first = scenario.next_held(&mut held).await;
            scenario.patch_spec("acme", json!({ "pauseAtStep": "NOTIFYING" })).await.expect("somebody is faster");
            first.pass();
            let second = scenario.next_held(&mut held).await;
            assert_eq!(spec(scenario, "acme").await["pauseAtStep"], "NOTIFYING", "the first one was not stored");
            second.pass();
        };
        let (answer, ()) = tokio::join!(typed, meanwhile);
        answer.shows(expect![[""]]);
        assert_eq!(spec(scenario, "acme").await["pauseAtStep"], "IMPORTING");
    })
    .await;
}

#[tokio::test]
async fn what_git_keeps_is_changed_with_a_warning() {
    run(async |scenario| {
        let person = held_at(scenario, Step::Validating).await;
        let label = json!({ "metadata": { "labels": { "kustomize.toolkit.fluxcd.io/name": "moves" } } });
        scenario.relocations().patch("acme", &PatchParams::default(), &Patch::Merge(&label)).await.expect("a label");
        person.types("pause acme").await.shows(expect![[""]]);
    })
    .await;
}

#[tokio::test]
async fn who_may_only_read_is_told_what_is_missing_for_the_rest() {
    run(async |scenario| {
        held_at(scenario, Step::Validating).await;
        let rules = json!([{
            "apiGroups": ["relocation.dev"], "resources": ["relocations"], "verbs": ["get", "list", "watch"]
        }]);
        let kubeconfig = account(scenario, "watcher", rules).await;
        let person = Person::of(scenario).with_kubeconfig(&kubeconfig);
        person.types("pause acme").await.shows(expect![[""]]);
        person.types("create globex --plan plan --owner globex").await.shows(expect![[""]]);
        person.types("wait acme --for step=validating").await.succeeded();
        std::fs::remove_file(&kubeconfig).expect("it is there");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_acted_on() {
    run(async |scenario| {
        scenario.create(a_relocation("acme")).await;
        let person = Person::of(scenario);
        person.types("pause amce").await.shows(expect![[""]]);
        person.types("abort").await.shows(expect![[""]]);
        person.types_exactly(&["abort", "acme", "-A"]).await.shows(expect![[""]]);
        person.types("abort acme --dry-run=client").await.shows(expect![[""]]);
        person.types("abort acme --timeout 5s").await.shows(expect![[""]]);
        // Nobody has looked at it yet, and it can be stopped all the same.
        person.types("pause acme").await.shows(expect![[""]]);
        person.types("suspend acme").await.succeeded();
        person.types("unpause acme").await.shows(expect![[""]]);
    })
    .await;
}
