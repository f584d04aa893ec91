//! What people do to a relocation, what they see, and the object afterwards.

use axum::http::StatusCode;
use expect_test::expect;
use kube::api::{Patch, PatchParams};
use relocation_operator::api::{AutoPause, DesiredState, Relocation, StatusValue, Step};
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
        person.types("pause acme --dry-run=server").await.shows(expect![[r#"
            @@ -8,6 +8,7 @@
               desiredState: Active
               lateRequests: Refuse
               owner: acme
            +  pauseAtStep: IMPORTING
               planRef:
                 name: plan
               provenance: SELF_HOSTED
            not stored: acme pauses before IMPORTING; it is IN_PROGRESS at VALIDATING
        "#]]);
        assert_eq!(spec(scenario, "acme").await["pauseAtStep"], Value::Null);

        person.types("pause acme --reason audit").await.shows(expect![[r#"
            acme pauses before IMPORTING; it is IN_PROGRESS at VALIDATING
        "#]]);
        let after = spec(scenario, "acme").await;
        assert_eq!((&after["pauseAtStep"], &after["reason"]), (&json!("IMPORTING"), &json!("audit")));
        let answered = |relocation: &Relocation| {
            relocation.status.as_ref().and_then(|status| status.observed_generation) == relocation.metadata.generation
        };
        let written = scenario.wait_until("acme", "the pause is answered", answered).await.metadata.resource_version;
        person.types("pause acme --at-step importing").await.shows(expect![[r#"
            acme pauses before IMPORTING already
        "#]]);
        let unchanged = scenario.relocations().get("acme").await.expect("the relocation").metadata.resource_version;
        assert_eq!(written, unchanged, "what is so already is not written again");
        person.types("pause acme --at-step PREPROCESSING").await.shows(expect![[r#"
            error: Relocation.relocation.dev "acme" is invalid: spec.pauseAtStep: Forbidden: cannot pause at PREPROCESSING: it is over (the relocation is at VALIDATING, task run); the next step that can be fenced is IMPORTING
            possible now:
              kubectl relocation patch acme --pauseAtStep='' -n NAMESPACE  do not stop before IMPORTING
              kubectl relocation cancel acme --at-step IMPORTING -n NAMESPACE  end instead of entering IMPORTING
              kubectl relocation suspend acme -n NAMESPACE  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme -n NAMESPACE  end now
            exit code 9
        "#]]);
        person.types("unpause acme").await.shows(expect![[r#"
            error: there is nothing to unpause: acme is IN_PROGRESS at VALIDATING and not paused; the fence before IMPORTING, which is ahead, is taken back with: kubectl relocation patch acme --pauseAtStep= -n NAMESPACE
            exit code 1
        "#]]);

        scenario.script(on(Step::Validating), Behaviour::succeed());
        scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
        person.types("pause acme").await.shows(expect![[r#"
            error: acme is paused before IMPORTING already; to let it go on until a later step: kubectl relocation unpause acme --until-step POSTPROCESSING -n NAMESPACE
            exit code 1
        "#]]);
        person.types("unpause acme --until-step preprocessing").await.shows(expect![[r#"
            error: acme is paused before IMPORTING, so --until-step PREPROCESSING lets nothing go on; choose a later step
            exit code 1
        "#]]);
        person.types("unpause acme --until-step notifying --dry-run=server").await.shows(expect![[r#"
            @@ -8,10 +8,9 @@
               desiredState: Active
               lateRequests: Refuse
               owner: acme
            -  pauseAtStep: IMPORTING
            +  pauseAtStep: NOTIFYING
               planRef:
                 name: plan
               provenance: SELF_HOSTED
               readiness: WhenSucceeded
            -  reason: audit
               whenLocked: Fail
            not stored: acme goes on with IMPORTING and pauses before NOTIFYING: its fence is open
        "#]]);
        let until = person.types("unpause acme --until-step notifying --wait --reason").await;
        assert_eq!(until.code, 1, "{until:?}");
        let until = person.types("unpause acme --until-step notifying --wait").await.succeeded();
        assert!(until.settled().contains("acme goes on with IMPORTING and pauses before NOTIFYING"), "{}", until.out);
        assert!(until.settled().contains("TIME PAUSE NOTIFYING: paused before NOTIFYING by"), "{}", until.settled());
        let after = spec(scenario, "acme").await;
        assert_eq!(after["reason"], Value::Null, "the reason of the pause is none of the unpause");

        let end = person.types("unpause acme --wait --timeout 50s").await.succeeded();
        assert!(end.settled().contains("TIME SUCCESS COMPLETED: every step is done"), "{}", end.settled());
        person.types("unpause acme").await.shows(expect![[r#"
            error: there is nothing to unpause: acme has succeeded
            exit code 1
        "#]]);
        person.types("pause acme").await.shows(expect![[r#"
            error: acme has succeeded; no step is left to stop before
            exit code 1
        "#]]);
        let history = scenario.status("acme").history;
        let entries =
            history.iter().map(|entry| format!("{} {}", entry.action, entry.manager.clone().unwrap_or_default()));
        expect!["PauseScheduled relocation-plugin, PauseScheduled relocation-plugin, Unpaused relocation-plugin, Unpaused , Succeeded "].assert_eq(&entries.collect::<Vec<_>>().join(", "));
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
        person.types("unpause acme --until-step NOTIFYING").await.shows(expect![[r#"
            acme goes on with IMPORTING and pauses before NOTIFYING: the plan's automatic fence is open
        "#]]);
        scenario.wait_for("acme", StatusValue::Pause, Step::Notifying).await;
        assert_eq!(scenario.relocation("acme").spec.auto_pause, AutoPause::Skip);
        person.types("unpause both").await.shows(expect![[r#"
            both goes on with IMPORTING: its own and the plan's automatic fence are open
        "#]]);
        scenario.wait_for_success("both").await;
    })
    .await;
}

#[tokio::test]
async fn a_cancel_ends_it_before_a_step_and_can_be_withdrawn() {
    run(async |scenario| {
        let person = held_at(scenario, Step::Validating).await;
        person.types("cancel acme --withdraw").await.shows(expect![[r#"
            error: there is nothing to withdraw: nobody has asked to cancel acme
            exit code 1
        "#]]);
        person.types("cancel acme --reason wrong").await.shows(expect![[r#"
            acme ends instead of entering IMPORTING; it is IN_PROGRESS at VALIDATING
        "#]]);
        person.types("cancel acme --withdraw").await.shows(expect![[r#"
            acme no longer ends before IMPORTING
        "#]]);
        assert_eq!(spec(scenario, "acme").await["cancelAtStep"], Value::Null);
        person.types("cancel acme --at-step uploading").await.shows(expect![[r#"
            error: invalid value 'uploading' for '--at-step <STEP>': a relocation begins with UPLOADING; choose one of PREPROCESSING, VALIDATING, IMPORTING, POSTPROCESSING, NOTIFYING

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("cancel acme --at-step preprocessing").await.shows(expect![[r#"
            error: Relocation.relocation.dev "acme" is invalid: spec.cancelAtStep: Forbidden: cannot cancel at PREPROCESSING: it is over (the relocation is at VALIDATING, task run); the next step that can be cancelled is IMPORTING
            possible now:
              kubectl relocation pause acme --at-step IMPORTING -n NAMESPACE  stop before IMPORTING
              kubectl relocation cancel acme --at-step IMPORTING -n NAMESPACE  end instead of entering IMPORTING
              kubectl relocation suspend acme -n NAMESPACE  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme -n NAMESPACE  end now
            exit code 9
        "#]]);
        person.types("cancel acme --at-step importing").await.succeeded();
        scenario.script(on(Step::Validating), Behaviour::succeed());
        scenario.wait_for_failure("acme").await;
        person.types("cancel acme --withdraw").await.shows(expect![[r#"
            error: acme was cancelled before IMPORTING, which cannot be withdrawn any more; go on with: kubectl relocation recover acme -n NAMESPACE
            exit code 1
        "#]]);
        person.types("cancel acme").await.shows(expect![[r#"
            error: acme has ended already, Cancelled; see what is possible with: kubectl relocation status acme -n NAMESPACE
            exit code 1
        "#]]);

        scenario.create(a_relocation("globex").paused_at(Step::Preprocessing)).await;
        scenario.wait_for("globex", StatusValue::Pause, Step::Preprocessing).await;
        person.types("cancel globex").await.shows(expect![[r#"
            globex ends instead of entering VALIDATING; it is PAUSE at PREPROCESSING
            note: it stays paused before PREPROCESSING until somebody unpauses it; to end it there: kubectl relocation cancel globex --at-step PREPROCESSING -n NAMESPACE
        "#]]);
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
        person.types("resume acme").await.shows(expect![[r#"
            error: there is nothing to resume: acme is not suspended; it is IN_PROGRESS at IMPORTING
            exit code 1
        "#]]);
        let suspended = person.types("suspend acme --wait --reason full").await.succeeded();
        assert!(suspended.settled().contains("PAUSE IMPORTING: suspended in IMPORTING"), "{}", suspended.settled());
        person.types("suspend acme").await.shows(expect![[r#"
            acme is suspended already
        "#]]);
        person.types("unpause acme").await.shows(expect![[r#"
            error: acme is suspended, which no fence does; go on with: kubectl relocation resume acme -n NAMESPACE
            exit code 1
        "#]]);
        person.types("resume acme").await.shows(expect![[r#"
            acme goes on where it was suspended
        "#]]);
        scenario.wait_for_running_pod("acme", Step::Importing).await;
        assert_eq!(scenario.relocation("acme").spec.desired_state, DesiredState::Active);

        let aborted = person.types("abort acme --wait").await.succeeded();
        assert!(aborted.out.starts_with("acme ends now; it was IN_PROGRESS at IMPORTING\n"), "{}", aborted.out);
        person.types("abort acme").await.shows(expect![[r#"
            acme was aborted already
        "#]]);
        person.types("suspend acme").await.shows(expect![[r#"
            error: acme has failed; nothing of it works; see what is possible with: kubectl relocation status acme -n NAMESPACE
            exit code 1
        "#]]);
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
        person.types("recover acme --dry-run=server").await.shows(expect![[r#"
            @@ -12,4 +12,5 @@
                 name: plan
               provenance: SELF_HOSTED
               readiness: WhenSucceeded
            +  recover: IMPORTING-1-ID
               whenLocked: Fail
            not stored: acme tries IMPORTING/run once more (failure IMPORTING-1-ID)
        "#]]);
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
        person.types("recover acme").await.shows(expect![[r#"
            error: there is nothing to recover from: acme is IN_PROGRESS at IMPORTING and has not failed
            exit code 1
        "#]]);
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
        person.types("recover acme").await.shows(expect![[r#"
            acme tries VALIDATING/run once more (failure VALIDATING-1-ID)
            note: desiredState is Active again, it was Aborted
        "#]]);
        scenario.wait_for_running_pod("acme", Step::Validating).await;
        person.types("cancel acme").await.succeeded();
        scenario.script(on(Step::Validating), Behaviour::succeed());
        scenario.wait_for_failure("acme").await;
        let end = person.types("recover acme --wait").await.succeeded();
        assert!(end.settled().contains("note: cancelAtStep IMPORTING is withdrawn"), "{}", end.settled());
        scenario.wait_for_success("acme").await;
        person.types("recover acme").await.shows(expect![[r#"
            error: there is nothing to recover from: acme has succeeded
            exit code 1
        "#]]);
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
        person.types("retry acme --dry-run=server").await.shows(expect![[r#"
            @@ -0,0 +1,22 @@
            +apiVersion: relocation.dev/v1alpha1
            +kind: Relocation
            +metadata:
            +  name: acme-3
            +  namespace: NAMESPACE
            +spec:
            +  autoPause: Honour
            +  desiredState: Active
            +  items:
            +  - wiki
            +  lateRequests: Refuse
            +  owner: acme
            +  parameters:
            +  TARGET: /data
            +  planRef:
            +  name: plan
            +  provenance: SELF_HOSTED
            +  readiness: WhenSucceeded
            +  retryOf:
            +  name: acme
            +  uid: UUID
            +  whenLocked: Fail
            not stored: acme-3 starts acme over
        "#]]);
        person.types("retry acme --name acme-2").await.shows(expect![[r#"
            error: there is a relocation "acme-2" already; choose another name, or look at that one with: kubectl relocation status acme-2 -n NAMESPACE
            exit code 1
        "#]]);
        person.types("retry acme --reason again").await.shows(expect![[r#"
            acme-3 starts acme over
        "#]]);
        scenario.wait_for_success("acme-3").await;
        let new = spec(scenario, "acme-3").await;
        assert_eq!((&new["items"], &new["parameters"]), (&json!(["wiki"]), &json!({ "TARGET": "/data" })));
        assert_eq!((&new["retryOf"]["name"], &new["reason"]), (&json!("acme"), &json!("again")));
        let is_told = |relocation: &relocation_operator::api::Relocation| {
            let failure = relocation.status.as_ref().and_then(|status| status.failure.clone());
            failure.is_some_and(|failure| failure.retried_by.is_some())
        };
        scenario.wait_until("acme", "it is told that it was started over", is_told).await;
        person.types("retry acme").await.shows(expect![[r#"
            error: acme was started over as acme-3 already; see where that one is with: kubectl relocation status acme-3 -n NAMESPACE
            exit code 1
        "#]]);
        person.types("retry acme-3").await.shows(expect![[r#"
            error: acme-3 is SUCCESS and has not failed; only a failed one is started over
            exit code 1
        "#]]);
    })
    .await;
}

#[tokio::test]
async fn patch_takes_the_fields_by_their_names_in_any_case_of_the_values() {
    run(async |scenario| {
        let person = held_at(scenario, Step::Validating).await;
        person.types("patch acme --pauseAtStep=Importing --cleanupSecondsAfterFinished=60").await.shows(expect![[r#"
            acme: pauseAtStep is IMPORTING, cleanupSecondsAfterFinished is 60
        "#]]);
        let after = spec(scenario, "acme").await;
        assert_eq!((&after["pauseAtStep"], &after["cleanupSecondsAfterFinished"]), (&json!("IMPORTING"), &json!(60)));
        person
            .types("patch acme --pauseAtStep= --autoPause=skip --reason=why --dry-run=server")
            .await
            .shows(expect![[r#"
                @@ -4,14 +4,14 @@
                   name: acme
                   namespace: NAMESPACE
                 spec:
                -  autoPause: Honour
                +  autoPause: Skip
                   cleanupSecondsAfterFinished: 60
                   desiredState: Active
                   lateRequests: Refuse
                   owner: acme
                -  pauseAtStep: IMPORTING
                   planRef:
                     name: plan
                   provenance: SELF_HOSTED
                   readiness: WhenSucceeded
                +  reason: why
                   whenLocked: Fail
                not stored: acme: pauseAtStep is cleared, autoPause is Skip, reason is why
            "#]]);
        person.types("patch acme --pauseAtStep=null --readiness=whenaccepted").await.shows(expect![[r#"
            acme: pauseAtStep is cleared, readiness is WhenAccepted
        "#]]);
        assert_eq!(spec(scenario, "acme").await["pauseAtStep"], Value::Null);
        person.types("patch acme").await.shows(expect![[r#"
            error: name a field to change, as in --pauseAtStep=IMPORTING; kubectl relocation patch --help lists them
            exit code 1
        "#]]);
        person.types("patch acme --owner=other").await.shows(expect![[r#"
            error: invalid value 'other' for '--owner <OWNER>': this field never changes; make a new one with: kubectl relocation create

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("patch acme --pauseAtStep=flying").await.shows(expect![[r#"
            error: invalid value 'flying' for '--pauseAtStep <STEP>': "flying" is not a step; the steps are UPLOADING, PREPROCESSING, VALIDATING, IMPORTING, POSTPROCESSING, NOTIFYING

            For more information, try '--help'.
            exit code 1
        "#]]);
        // Both are the API server's to refuse, in its own words.
        person.types("patch acme --activeDeadlineSeconds=0").await.shows(expect![[r#"
            error: Relocation.relocation.dev "acme" is invalid: spec.activeDeadlineSeconds: Invalid value: 0: spec.activeDeadlineSeconds in body should be greater than or equal to 1
            possible now:
              kubectl relocation pause acme --at-step IMPORTING -n NAMESPACE  stop before IMPORTING
              kubectl relocation cancel acme --at-step IMPORTING -n NAMESPACE  end instead of entering IMPORTING
              kubectl relocation suspend acme -n NAMESPACE  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme -n NAMESPACE  end now
            exit code 9
        "#]]);
        person.types("patch acme --parameters=A=b").await.shows(expect![[r#"
            error: Relocation.relocation.dev "acme" is invalid: spec.parameters: Forbidden: cannot change parameters: the relocation is IN_PROGRESS at VALIDATING, task run; stop it with pauseAtStep or desiredState: Suspended, change them, and let it go on
            possible now:
              kubectl relocation pause acme --at-step IMPORTING -n NAMESPACE  stop before IMPORTING
              kubectl relocation cancel acme --at-step IMPORTING -n NAMESPACE  end instead of entering IMPORTING
              kubectl relocation suspend acme -n NAMESPACE  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme -n NAMESPACE  end now
            exit code 9
        "#]]);
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
            scenario.wait_until_answered("acme").await;
            first.pass();
            let second = scenario.next_held(&mut held).await;
            assert_eq!(spec(scenario, "acme").await["pauseAtStep"], "NOTIFYING", "the first one was not stored");
            drop(held);
            second.pass();
        };
        let (answer, ()) = tokio::join!(typed, meanwhile);
        answer.shows(expect![[r#"
            acme pauses before IMPORTING, no longer before NOTIFYING; it is IN_PROGRESS at VALIDATING
        "#]]);
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
        person.types("pause acme").await.shows(expect![[r#"
            acme pauses before IMPORTING; it is IN_PROGRESS at VALIDATING
            warning: acme is kept by Flux (moves), which may undo this; change it in Git if it is to stay
        "#]]);
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
        person.types("pause acme").await.shows(expect![[r#"
            error: you may not patch relocations.relocation.dev in the namespace "NAMESPACE": you are the user "system:serviceaccount:NAMESPACE:watcher"; ask whoever gives permissions for this cluster for the verb patch on relocations.relocation.dev
            exit code 6
        "#]]);
        person.types("create globex --plan plan --owner globex").await.shows(expect![[r#"
            error: you may not create relocations.relocation.dev in the namespace "NAMESPACE": you are the user "system:serviceaccount:NAMESPACE:watcher"; ask whoever gives permissions for this cluster for the verb create on relocations.relocation.dev
            exit code 6
        "#]]);
        person.types("wait acme --for step=validating").await.succeeded();
        let rules = json!([{ "apiGroups": ["relocation.dev"], "resources": ["relocations"], "verbs": ["get"] }]);
        let other = account(scenario, "peeker", rules).await;
        person.clone().with_kubeconfig(&other).types("wait acme").await.shows(expect![[r#"
            TIME IN_PROGRESS VALIDATING: VALIDATING/run runs, attempt 1 of 2, as Job acme-JOB
            error: you may not watch relocations.relocation.dev in the namespace "NAMESPACE": you are the user "system:serviceaccount:NAMESPACE:peeker"; ask whoever gives permissions for this cluster for the verb watch on relocations.relocation.dev
            exit code 6
        "#]]);
        std::fs::remove_file(&other).expect("it is there");
        std::fs::remove_file(&kubeconfig).expect("it is there");
    })
    .await;
}

#[tokio::test]
async fn what_a_policy_refuses_is_shown_in_its_own_words() {
    run(async |scenario| {
        held_at(scenario, Step::Validating).await;
        let gate = Gate::open(&scenario.client).await;
        let sentence = "relocations.relocation.dev \"acme\" is forbidden: ValidatingAdmissionPolicy 'relocation-verbs' with binding \
                        'relocation-verbs' denied request: aborting needs the verb abort on relocations.relocation.dev, which jane lacks";
        let refusal = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": sentence
        });
        gate.answer(|asked| asked.method == "PATCH", StatusCode::FORBIDDEN, &refusal.to_string());
        let person = Person::of(scenario).with_kubeconfig(gate.kubeconfig());
        person.types("abort acme").await.shows(expect![[r#"
            error: relocations.relocation.dev "acme" is forbidden: ValidatingAdmissionPolicy 'relocation-verbs' with binding 'relocation-verbs' denied request: aborting needs the verb abort on relocations.relocation.dev, which jane lacks
            possible now:
              kubectl relocation pause acme --at-step IMPORTING -n NAMESPACE  stop before IMPORTING
              kubectl relocation cancel acme --at-step IMPORTING -n NAMESPACE  end instead of entering IMPORTING
              kubectl relocation suspend acme -n NAMESPACE  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme -n NAMESPACE  end now
            exit code 9
        "#]]);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_acted_on() {
    run(async |scenario| {
        scenario.create(a_relocation("acme")).await;
        let person = Person::of(scenario);
        person.types("pause amce").await.shows(expect![[r#"
            error: there is no relocation "amce" in the namespace "NAMESPACE"; did you mean acme?
            exit code 5
        "#]]);
        person.types("abort").await.shows(expect![[r#"
            error: the following required arguments were not provided:
              <NAME>

            Usage: kubectl relocation abort --namespace <NAMESPACE> <NAME>

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types_exactly(&["abort", "acme", "-A"]).await.shows(expect![[r#"
            error: a name belongs to one namespace; say which with -n, not -A
            exit code 1
        "#]]);
        person.types("abort acme --dry-run=client").await.shows(expect![[r#"
            error: invalid value 'client' for '--dry-run <WHERE>'
              [possible values: server]

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("abort acme --timeout 5s").await.shows(expect![[r#"
            error: the following required arguments were not provided:
              --wait

            Usage: kubectl relocation abort --wait --timeout <TIME> --namespace <NAMESPACE> <NAME>

            For more information, try '--help'.
            exit code 1
        "#]]);
        // Nobody has looked at it yet, and it can be stopped all the same.
        person.types("pause acme").await.shows(expect![[r#"
            acme pauses before PREPROCESSING; it is new
        "#]]);
        person.types("suspend acme").await.succeeded();
        person.types("unpause acme").await.shows(expect![[r#"
            error: there is nothing to unpause: acme is new and not paused; the fence before PREPROCESSING, which is ahead, is taken back with: kubectl relocation patch acme --pauseAtStep= -n NAMESPACE
            exit code 1
        "#]]);
    })
    .await;
}
