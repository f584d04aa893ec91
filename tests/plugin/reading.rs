//! What the reading commands show.

use axum::http::StatusCode;
use expect_test::expect;
use kube::api::DeleteParams;
use relocation_operator::api::{StatusValue, Step};
use serde_json::{Value, json};

use crate::person::{Person, wait_for_event, wait_for_free_locks};
use crate::support::{Behaviour, Gate, Scenario, a_plan, a_relocation, a_template, on, run};

/// A relocation that stands before IMPORTING because of the plan's automatic fence.
async fn paused_by_the_plan(scenario: &mut Scenario) {
    let fence = json!({ "autoPauseAtStep": { "SELF_HOSTED": "IMPORTING" } });
    scenario.create_plan(a_plan("plan").with_six_steps().with(fence)).await;
    scenario.start_operator().await;
    scenario.create(a_relocation("acme")).await;
    scenario.wait_for("acme", StatusValue::Pause, Step::Importing).await;
    wait_for_event(scenario, "acme", "Paused").await;
}

#[tokio::test]
async fn a_list_shows_what_there_is_newest_first_and_finds_by_status_owner_and_terms() {
    run(async |scenario| {
        paused_by_the_plan(scenario).await;
        scenario.script(on(Step::Uploading).relocation("globex"), Behaviour::exit(65, "no such source"));
        let items = json!({ "owner": "globex-inc", "items": ["wiki", "shop"] });
        scenario.create(a_relocation("globex").with(items)).await;
        scenario.wait_for_failure("globex").await;
        scenario.create(a_relocation("initech").with(json!({ "planRef": { "name": "none" } }))).await;
        scenario.wait_until_answered("initech").await;
        let person = Person::of(scenario);

        let listed = person.types("list --no-headers -o wide").await.succeeded();
        let mut lines: Vec<&str> = listed.out.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["acme", "globex", "initech"]);

        person.types("list --status pause").await.shows(expect![[r#"
            NAME  STEP  STATUS  TASK  TRY  PAUSE-AT  READY  AGE
            acme  IMPORTING  PAUSE  run  False  AGE
        "#]]);
        person.types("list --status failure -o wide").await.shows(expect![[r#"
            NAME  STEP  STATUS  TASK  TRY  PAUSE-AT  READY  AGE  REASON  FAILURE  JOB  PLAN  OWNER
            globex  UPLOADING  FAILURE  run  1  False  AGE  FatalExitCode  UPLOADING-1-ID  plan  globex-inc
        "#]]);
        person.types("list --owner initech").await.shows(expect![[r#"
            NAME  STEP  STATUS  TASK  TRY  PAUSE-AT  READY  AGE
            initech  UPLOADING  PENDING  False  AGE
        "#]]);
        person.types("list --query GLOB wiki -o name").await.shows(expect![[r#"
            relocation.relocation.dev/globex
        "#]]);
        person.types("list --query globex blog").await.shows(expect![[r#"
            there is no such relocation in the namespace "NAMESPACE"; -A looks into all
        "#]]);
        person.types("list -o jsonpath={.items[*].metadata.name} --owner acme").await.shows(expect!["acme"]);
        let everywhere = person.types("list -A --query globex-inc --no-headers").await.succeeded();
        assert!(everywhere.out.contains(&format!("{}  ", scenario.namespace)), "{}", everywhere.out);

        let json: Value = serde_json::from_str(&person.types("list -o json").await.succeeded().out).expect("JSON");
        assert_eq!(json["kind"], "List");
        assert_eq!(json["items"].as_array().map(Vec::len), Some(3));
        assert_eq!(json["items"][0]["kind"], "Relocation");
        let yaml = person.types("list -o yaml").await.succeeded().out;
        let yaml: Value = serde_saphyr::from_str(&yaml).expect("YAML");
        assert_eq!(yaml, json);
    })
    .await;
}

#[tokio::test]
async fn the_status_of_a_paused_one_says_by_what_it_is_held_and_how_it_goes_on() {
    run(async |scenario| {
        paused_by_the_plan(scenario).await;
        let person = Person::of(scenario);
        person.types("status acme").await.shows(expect![[r#"
            acme  PAUSE  plan plan, owner acme, AGE old
            paused before IMPORTING by the plan's automatic fence since TIME (AGE ago); go on with: kubectl relocation unpause acme -n NAMESPACE

            ✔ UPLOADING  AGE
            └─ ✔ run  AGE  done
            ✔ PREPROCESSING  AGE
            └─ ✔ run  AGE  done
            ✔ VALIDATING  AGE
            └─ ✔ run  AGE  done
            ‖ IMPORTING  paused here, automatic fence; run
            ○ POSTPROCESSING  run
            ○ NOTIFYING  run

            possible now
              kubectl relocation unpause acme -n NAMESPACE  go on
              kubectl relocation unpause acme --until-step POSTPROCESSING -n NAMESPACE  go on and stop before POSTPROCESSING
              kubectl relocation cancel acme --at-step IMPORTING -n NAMESPACE  end instead of entering IMPORTING
              kubectl relocation abort acme -n NAMESPACE  end now

            last events
              AGE  Paused  paused before IMPORTING by the plan's automatic fence; go on by setting spec.autoPause to Skip
              AGE  TaskSucceeded  VALIDATING/run succeeded: done
              AGE  StepEntered  entered VALIDATING: task run runs as Job acme-JOB
              AGE  TaskSucceeded  PREPROCESSING/run succeeded: done
              AGE  StepEntered  entered PREPROCESSING: task run runs as Job acme-JOB
        "#]]);
        person.types("status acme -o wide").await.shows(expect![[r#"
            acme  PAUSE  plan plan, owner acme, AGE old
            paused before IMPORTING by the plan's automatic fence since TIME (AGE ago); go on with: kubectl relocation unpause acme -n NAMESPACE

            ✔ UPLOADING  AGE
            └─ ✔ run  AGE  done
               └─ ✔ attempt 1  AGE  Job acme-JOB, fencing token TOKEN
                  └─ ✔ pod  AGE  acme-JOB-POD, Succeeded, on relocation-stub, done
            ✔ PREPROCESSING  AGE
            └─ ✔ run  AGE  done
               └─ ✔ attempt 1  AGE  Job acme-JOB, fencing token TOKEN
                  └─ ✔ pod  AGE  acme-JOB-POD, Succeeded, on relocation-stub, done
            ✔ VALIDATING  AGE
            └─ ✔ run  AGE  done
               └─ ✔ attempt 1  AGE  Job acme-JOB, fencing token TOKEN
                  └─ ✔ pod  AGE  acme-JOB-POD, Succeeded, on relocation-stub, done
            ‖ IMPORTING  paused here, automatic fence
            └─ ○ run
            ○ POSTPROCESSING
            └─ ○ run
            ○ NOTIFYING
            └─ ○ run

            possible now
              kubectl relocation unpause acme -n NAMESPACE  go on
              kubectl relocation unpause acme --until-step POSTPROCESSING -n NAMESPACE  go on and stop before POSTPROCESSING
              kubectl relocation cancel acme --at-step IMPORTING -n NAMESPACE  end instead of entering IMPORTING
              kubectl relocation abort acme -n NAMESPACE  end now

            last events
              AGE  Paused  paused before IMPORTING by the plan's automatic fence; go on by setting spec.autoPause to Skip
              AGE  TaskSucceeded  VALIDATING/run succeeded: done
              AGE  StepEntered  entered VALIDATING: task run runs as Job acme-JOB
              AGE  TaskSucceeded  PREPROCESSING/run succeeded: done
              AGE  StepEntered  entered PREPROCESSING: task run runs as Job acme-JOB
        "#]]);
        person.types("status acme -o jsonpath={.sentence}").await.shows(expect!["paused before IMPORTING by the plan's automatic fence since TIME; go on with: kubectl relocation unpause acme -n NAMESPACE"]);
        person.types("status acme -o name").await.shows(expect![[r#"
            relocation.relocation.dev/acme
        "#]]);
        person.types("explain acme").await.shows(expect![[r#"
            acme is PAUSE at IMPORTING: paused before IMPORTING by the plan's automatic fence since TIME (AGE ago); go on with: kubectl relocation unpause acme -n NAMESPACE

            plan  plan is accepted, in use as it was at generation 1
            fence  the plan's automatic fence before IMPORTING: it stands here
            lock  it holds the mutex "acme"

            possible now
              kubectl relocation unpause acme -n NAMESPACE
              kubectl relocation unpause acme --until-step POSTPROCESSING -n NAMESPACE
              kubectl relocation cancel acme --at-step IMPORTING -n NAMESPACE
              kubectl relocation abort acme -n NAMESPACE
        "#]]);
        let view: Value = serde_json::from_str(&person.types("status acme -o json").await.out).expect("JSON");
        assert_eq!(view["steps"][0]["tasks"][0]["launches"][0]["pods"][0]["phase"], "Succeeded");
        assert_eq!(view["actions"][0]["action"], "unpause");
    })
    .await;
}

#[tokio::test]
async fn a_look_costs_few_requests() {
    run(async |scenario| {
        paused_by_the_plan(scenario).await;
        let gate = Gate::open(&scenario.client).await;
        let person = Person::of(scenario).with_kubeconfig(gate.kubeconfig());
        let mut calls = gate.calls();
        for (command, at_most) in [("list", 1), ("status acme", 5), ("history acme", 1), ("artifacts acme", 2)] {
            person.types(command).await.succeeded();
            let made = gate.calls() - calls;
            assert!(made <= at_most, "{command} makes {made} requests");
            calls = gate.calls();
        }
    })
    .await;
}

#[tokio::test]
async fn colours_come_when_they_are_asked_for_and_go_into_no_pipe() {
    run(async |scenario| {
        paused_by_the_plan(scenario).await;
        let person = Person::of(scenario);
        let escape = '\u{1b}';
        assert!(!person.types("status acme").await.succeeded().out.contains(escape));
        assert!(person.types("status acme --color always").await.succeeded().out.contains(escape));
        let refused = person.clone().with_variable("NO_COLOR", "1");
        assert!(
            refused.types("status acme --color always").await.succeeded().out.contains(escape),
            "asked for outright"
        );
        assert!(!person.types("list --color never").await.succeeded().out.contains(escape));
    })
    .await;
}

#[tokio::test]
async fn the_status_of_a_running_one_shows_its_attempts_and_how_far_it_is() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Uploading).attempt(1), Behaviour::exit(1, "connection reset"));
        scenario.script(on(Step::Uploading).attempt(2), Behaviour::Hang);
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario
            .wait_until("acme", "the second attempt", |relocation| {
                relocation
                    .status
                    .as_ref()
                    .is_some_and(|status| status.attempt == Some(2) && status.next_attempt_at.is_none())
            })
            .await;
        scenario.wait_for_running_pod("acme", Step::Uploading).await;
        wait_for_event(scenario, "acme", "TaskRetrying").await;
        let gate = Gate::open(&scenario.client).await;
        gate.answer(
            |asked| asked.path.ends_with("/log"),
            StatusCode::OK,
            "2026-07-02T14:02:10Z starting\n\
             2026-07-02T14:02:10Z {\"progress\":{\"done\":1000,\"total\":20000,\"unit\":\"files\"}}\n\
             2026-07-02T14:02:20Z {\"progress\":{\"done\":9000,\"total\":20000,\"unit\":\"files\"}}\n",
        );
        let person = Person::of(scenario).with_kubeconfig(gate.kubeconfig());
        person.types("status acme").await.shows(expect![[r#"
            acme  IN_PROGRESS  plan plan, owner acme, AGE old
            UPLOADING/run runs, attempt 2 of 2, as Job acme-JOB

            ● UPLOADING  AGE
            └─ ● run  AGE  attempt 2 of 2; before: exit code 1, connection reset
               ├─ ✖ attempt 1  AGE  Job acme-JOB, exit code 1
               │  └─ ✖ pod  AGE  acme-JOB-POD, Failed, exit code 1, connection reset
               └─ ● attempt 2  AGE  Job acme-JOB
                  └─ ● pod  AGE  acme-JOB-POD, Running
                     █████████████▌░░░░░░░░░░░░░░░░  45 %  9,000 of 20,000 files, 800/s, AGE left
            ○ PREPROCESSING  run
            ○ VALIDATING  run
            ○ IMPORTING  run
            ○ POSTPROCESSING  run
            ○ NOTIFYING  run

            possible now
              kubectl relocation pause acme --at-step PREPROCESSING -n NAMESPACE  stop before PREPROCESSING
              kubectl relocation cancel acme --at-step PREPROCESSING -n NAMESPACE  end instead of entering PREPROCESSING
              kubectl relocation suspend acme -n NAMESPACE  stop the running work now, keep step, task and attempt
              kubectl relocation abort acme -n NAMESPACE  end now

            last events
              AGE  TaskRetrying  UPLOADING/run runs again as Job acme-JOB, attempt 2
              AGE  TaskFailed  UPLOADING/run failed with exit code 1, attempt 1 of 2; tried again in 1 s: connection reset
              AGE  StepEntered  entered UPLOADING: task run runs as Job acme-JOB
              AGE  Accepted  accepted, to run the plan "plan"
        "#]]);
        person.types("explain acme").await.shows(expect![[r#"
            acme is IN_PROGRESS at UPLOADING: UPLOADING/run runs, attempt 2 of 2, as Job acme-JOB

            plan  plan is accepted, in use as it was at generation 1
            fence  none
            lock  it holds the mutex "acme"
            attempt  UPLOADING/run is at attempt 2 of 2
            said  the last attempt that ended said: connection reset
            job  acme-JOB is there
            pod  acme-JOB-POD on relocation-stub is Running

            possible now
              kubectl relocation pause acme --at-step PREPROCESSING -n NAMESPACE
              kubectl relocation cancel acme --at-step PREPROCESSING -n NAMESPACE
              kubectl relocation suspend acme -n NAMESPACE
              kubectl relocation abort acme -n NAMESPACE
        "#]]);
        // Who has no kubelet to ask is told so, and sees the rest.
        let without = Person::of(scenario).types("status acme").await.succeeded();
        assert!(without.out.contains("not shown: the progress: "), "{}", without.out);
    })
    .await;
}

#[tokio::test]
async fn the_status_of_a_failed_one_says_where_and_why_and_what_is_possible() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Importing), Behaviour::exit(65, "the target is full"));
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_failure("acme").await;
        wait_for_event(scenario, "acme", "Failed").await;
        wait_for_free_locks(scenario).await;
        let person = Person::of(scenario);
        person.types("status acme").await.shows(expect![[r#"
            acme  FAILURE  plan plan, owner acme, AGE old, took AGE
            failed at TIME (AGE ago), FatalExitCode: IMPORTING/run ended with the fatal exit code 65: the target is full (failure IMPORTING-1-ID)

            ✔ UPLOADING  AGE
            └─ ✔ run  AGE  done
            ✔ PREPROCESSING  AGE
            └─ ✔ run  AGE  done
            ✔ VALIDATING  AGE
            └─ ✔ run  AGE  done
            ✖ IMPORTING
            └─ ✖ run  AGE  attempt 1 of 2; exit code 65, the target is full
               └─ ✖ attempt 1  AGE  Job acme-JOB, exit code 65
                  └─ ✖ pod  AGE  acme-JOB-POD, Failed, exit code 65, the target is full
            ○ POSTPROCESSING  run
            ○ NOTIFYING  run

            possible now
              kubectl relocation recover acme -n NAMESPACE  one more attempt of IMPORTING/run
              kubectl relocation retry acme -n NAMESPACE  start over as a new relocation

            last events
              AGE  Failed  FatalExitCode: IMPORTING/run ended with the fatal exit code 65: the target is full (failure IMPORTING-1-ID)
              AGE  StepEntered  entered IMPORTING: task run runs as Job acme-JOB
              AGE  TaskSucceeded  VALIDATING/run succeeded: done
              AGE  StepEntered  entered VALIDATING: task run runs as Job acme-JOB
              AGE  TaskSucceeded  PREPROCESSING/run succeeded: done
        "#]]);
        person.types("explain acme").await.shows(expect![[r#"
            acme is FAILURE at IMPORTING: failed at TIME (AGE ago), FatalExitCode: IMPORTING/run ended with the fatal exit code 65: the target is full (failure IMPORTING-1-ID)

            plan  plan is accepted, in use as it was at generation 1
            fence  none
            lock  nobody holds the mutex "acme"
            attempt  IMPORTING/run ended with attempt 1 of 2
            said  the last attempt that ended said: the target is full

            possible now
              kubectl relocation recover acme -n NAMESPACE
              kubectl relocation retry acme -n NAMESPACE
        "#]]);
        person.types("history acme").await.shows(expect![[r#"
            AGE  ACTION  STEP  BY  REASON  DETAIL
            AGE  Failed  IMPORTING  IMPORTING/run ended with the fatal exit code 65: the target is full
        "#]]);
    })
    .await;
}

#[tokio::test]
async fn explain_names_what_is_in_the_way() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps().with(json!({ "maxActive": 1 }))).await;
        scenario.create_plan(a_plan("blind").with_step(Step::Uploading, ["run"])).await;
        let image = Behaviour::wait("ImagePullBackOff", "Back-off pulling image \"stub\"");
        scenario.script(on(Step::Uploading).relocation("stuck"), image);
        scenario.start_operator().await;
        scenario.create(a_relocation("stuck").with(json!({ "owner": "acme" }))).await;
        scenario
            .wait_until("stuck", "its first Job", |relocation| {
                relocation.status.as_ref().is_some_and(|status| status.job.is_some())
            })
            .await;
        let person = Person::of(scenario);
        scenario
            .wait(std::time::Duration::from_secs(30), "a pod that waits", |seen| {
                seen.pods
                    .values()
                    .any(|pod| pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some()))
                    .then_some(())
            })
            .await;
        let stuck = person.types("explain stuck").await.succeeded().settled();
        let pod = "stuck-JOB-POD on relocation-stub does not start: ImagePullBackOff: Back-off pulling image \"stub\"";
        assert!(stuck.contains(pod), "{stuck}");
        let status = person.types("status stuck").await.succeeded().settled();
        assert!(status.contains("stuck-JOB-POD, ImagePullBackOff, Back-off pulling image \"stub\""), "{status}");

        scenario.create(a_relocation("second").with(json!({ "owner": "acme", "whenLocked": "Wait" }))).await;
        scenario.wait_until_answered("second").await;
        person.types("explain second").await.shows(expect![[r#"
            second is PENDING at UPLOADING: the mutex is held by the relocation "stuck"; waiting until that has ended and nothing of it runs any more

            plan  plan is accepted
            fence  none
            lock  the mutex "acme" is held by stuck, which is IN_PROGRESS at UPLOADING
            places  1 of 1 places of the plan are taken: stuck

            possible now
              kubectl relocation pause second --at-step PREPROCESSING -n NAMESPACE
              kubectl relocation cancel second --at-step PREPROCESSING -n NAMESPACE
              kubectl relocation suspend second -n NAMESPACE
              kubectl relocation abort second -n NAMESPACE
        "#]]);

        scenario.create(a_relocation("unplanned").with(json!({ "planRef": { "name": "blind" } }))).await;
        scenario
            .wait_until("unplanned", "it is told what is wrong", |relocation| {
                let conditions =
                    relocation.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
                conditions.iter().any(|condition| condition.reason == "PlanNotAccepted")
            })
            .await;
        person.types("explain unplanned").await.shows(expect![[r#"
            unplanned is PENDING at UPLOADING: the RelocationPlan "blind" is not accepted: spec.steps[VALIDATING]: the last task must have evidence: true, because nothing is imported without a verdict; correct it and the relocation goes on by itself

            plan  blind is not accepted: spec.steps[VALIDATING]: the last task must have evidence: true, because nothing is imported without a verdict
            fence  none
            lock  nobody holds the mutex "unplanned"

            possible now
              kubectl relocation pause unplanned --at-step PREPROCESSING -n NAMESPACE
              kubectl relocation cancel unplanned --at-step PREPROCESSING -n NAMESPACE
              kubectl relocation suspend unplanned -n NAMESPACE
              kubectl relocation abort unplanned -n NAMESPACE
        "#]]);
        person.types("explain unplanned -o json").await.succeeded();
    })
    .await;
}

#[tokio::test]
async fn explain_says_what_a_manifest_would_run_before_it_is_applied() {
    run(async |scenario| {
        let person = Person::of(scenario);
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/volume-to-volume");
        person.types(&format!("explain -f {examples}/plan.yaml")).await.shows(expect![[r#"
            plan volume-to-volume: runs as many relocations at once as there are
              UPLOADING  copy: up to 4 times, within AGE each, image localhost/relocation-operator:dev
              PREPROCESSING  check: up to 4 times, within AGE each, image localhost/relocation-operator:dev
              VALIDATING  evidence: up to 4 times, within AGE each, must give a verdict, image localhost/relocation-operator:dev
              IMPORTING  write: up to 4 times, within AGE each, image localhost/relocation-operator:dev
              POSTPROCESSING  compare: up to 4 times, within AGE each, image localhost/relocation-operator:dev
              NOTIFYING  tell: up to 4 times, within AGE each, a failure is ignored, image localhost/relocation-operator:dev
              parameter  EXISTING: default "fail"
              parameter  BANDWIDTH: default ""
              parameter  CONCURRENCY: default ""
              parameter  NOTIFY_URL: default ""
        "#]]);
        let manifest = format!("{}/acme-{}.yaml", env!("CARGO_TARGET_TMPDIR"), scenario.namespace);
        let relocation = a_relocation("acme").paused_at(Step::Importing).with(json!({ "parameters": { "A": "b" } }));
        std::fs::write(&manifest, relocation.build().to_string()).expect("a manifest");
        person.types(&format!("explain -f {manifest}")).await.shows(expect![[r#"
            relocation acme: moves everything the plan moves of acme by the plan plan
              stops before IMPORTING: spec.pauseAtStep
              problem  there is no plan "plan", neither in this file nor in the namespace; it would wait for one
            exit code 1
        "#]]);
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        person.types(&format!("explain -f {manifest}")).await.shows(expect![[r#"
            relocation acme: moves everything the plan moves of acme by the plan plan of the cluster
              stops before IMPORTING: spec.pauseAtStep
              UPLOADING  run: up to 2 times, within AGE each, image stub
              PREPROCESSING  run: up to 2 times, within AGE each, image stub
              VALIDATING  run: up to 2 times, within AGE each, must give a verdict, image stub
              IMPORTING  run: up to 2 times, within AGE each, image stub
              POSTPROCESSING  run: up to 2 times, within AGE each, image stub
              NOTIFYING  run: up to 2 times, within AGE each, a failure is ignored, image stub
              problem  the plan declares no parameter "A"
            exit code 1
        "#]]);
        std::fs::write(&manifest, "kind: Relocation\nspec: 7\n").expect("a manifest");
        let wrong = person.types(&format!("explain -f {manifest}")).await;
        assert_eq!(wrong.code, 1);
        assert!(wrong.err.starts_with("error: cannot read "), "{}", wrong.err);
        std::fs::remove_file(&manifest).expect("it is there");
    })
    .await;
}

#[tokio::test]
async fn artifacts_are_listed_with_the_task_that_left_them() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        let reported = r#"{"artifacts":[{"name":"manifest","path":"/relocation/manifest.jsonl","sizeBytes":1536,"digest":"blake3:00ff"}]}"#;
        scenario.script(on(Step::Uploading), Behaviour::Succeed(reported.to_owned()));
        scenario.create(a_relocation("acme").paused_at(Step::Validating)).await;
        scenario.wait_for("acme", StatusValue::Pause, Step::Validating).await;
        scenario.create(a_relocation("empty").paused_at(Step::Preprocessing)).await;
        scenario.script(on(Step::Uploading).relocation("empty"), Behaviour::Hang);
        let person = Person::of(scenario);
        person.types("artifacts acme -o wide").await.shows(expect![[r#"
            NAME  STEP  TASK  SIZE  PATH  DIGEST
            manifest  UPLOADING  run  1.5 KiB  /relocation/manifest.jsonl  blake3:00ff
        "#]]);
        person.types("artifacts acme -o jsonpath={[0].path}").await.shows(expect!["/relocation/manifest.jsonl"]);
        person.types("artifacts acmee").await.shows(expect![[r#"
            error: there is no relocation "acmee" in the namespace "NAMESPACE"; did you mean acme?
            exit code 5
        "#]]);
    })
    .await;
}

#[tokio::test]
async fn logs_of_all_attempts_are_printed_with_their_task_and_followed_to_the_end() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.script(on(Step::Uploading).attempt(1), Behaviour::exit(1, "no"));
        scenario.script(on(Step::Importing), Behaviour::Hang);
        scenario.start_operator().await;
        let gate = Gate::open(&scenario.client).await;
        gate.answer(|asked| asked.path.ends_with("/log"), StatusCode::OK, "one\ntwo");
        let person = Person::of(scenario).with_kubeconfig(gate.kubeconfig());
        scenario.create(a_relocation("acme")).await;
        let mut following = person.begins("logs acme -f");
        following.until("IMPORTING/run/1 two").await;
        person.types("logs acme").await.shows(expect![[r#"
            UPLOADING/run/1 one
            UPLOADING/run/1 two
            UPLOADING/run/2 one
            UPLOADING/run/2 two
            PREPROCESSING/run/1 one
            PREPROCESSING/run/1 two
            VALIDATING/run/1 one
            VALIDATING/run/1 two
            IMPORTING/run/1 one
            IMPORTING/run/1 two
        "#]]);
        person.types("logs acme --step uploading --attempt 2 --no-prefix").await.shows(expect![[r#"
            one
            two
        "#]]);
        let json = person.types("logs acme -o json --task run --attempt 2").await.succeeded();
        assert!(json.out.starts_with(r#"{"step":"UPLOADING","task":"run","attempt":2,"pod":"acme-"#), "{}", json.out);
        person.types("logs acme -o name --step uploading").await.shows(expect![[r#"
            pod/acme-JOB-POD
            pod/acme-JOB-POD
        "#]]);
        person.types("logs acme --task runn").await.shows(expect![[r#"
            error: no pod of acme belongs to a task "runn"; did you mean run?
            exit code 1
        "#]]);
        person.types("logs acme --step notifying").await.shows(expect![[r#"
            no pod of acme fits --step, --task and --attempt
        "#]]);
        gate.answer(
            |asked| asked.path.ends_with("/log") && asked.query.contains("tailLines=7"),
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "reason": "InternalError",
                "message": "the kubelet of node-1 does not answer"
            })
            .to_string(),
        );
        person.types("logs acme --step uploading --tail 7").await.shows(expect![[r#"
            error: UPLOADING/run/1: cannot get pods/log: the API server answered 500: the kubelet of node-1 does not answer
            error: UPLOADING/run/2: cannot get pods/log: the API server answered 500: the kubelet of node-1 does not answer
            exit code 1
        "#]]);
        scenario.script(on(Step::Importing), Behaviour::succeed());
        scenario.wait_for_success("acme").await;
        let (rest, code) = following.end().await;
        assert_eq!(
            (rest.as_str(), code),
            ("POSTPROCESSING/run/1 one\nPOSTPROCESSING/run/1 two\nNOTIFYING/run/1 one\nNOTIFYING/run/1 two\n", 0)
        );
    })
    .await;
}

#[tokio::test]
async fn a_watch_in_a_pipe_prints_a_line_for_every_change_and_ends_with_the_relocation() {
    run(async |scenario| {
        paused_by_the_plan(scenario).await;
        let person = Person::of(scenario);
        let mut watching = person.begins("status acme --watch");
        let before = watching.until("PAUSE IMPORTING").await;
        assert!(before.contains("UPLOADING/run, attempt 1: Job acme-JOB has succeeded"), "{before}");
        scenario.patch_spec("acme", json!({ "autoPause": "Skip" })).await.expect("the automatic fence is opened");
        let (after, code) = watching.end().await;
        assert_eq!(code, 0, "{after}");
        assert!(after.contains("IMPORTING/run, attempt 1: Job acme-JOB has succeeded"), "{after}");
        assert!(after.trim_end().ends_with("SUCCESS COMPLETED: every step is done, since TIME"), "{after}");
        let told = after.lines().filter(|line| line.contains("Job acme-JOB has succeeded")).count();
        assert!(told <= 3, "each is told once: {after}");
    })
    .await;
}

#[tokio::test]
async fn a_watch_of_what_is_deleted_ends_and_says_so() {
    run(async |scenario| {
        scenario.create(a_relocation("acme")).await;
        let mut watching = Person::of(scenario).begins("status acme --watch");
        watching.until("NEW: ").await;
        scenario.relocations().delete("acme", &DeleteParams::default()).await.expect("it is there");
        let (_, code) = watching.end().await;
        assert_eq!(code, 5);
    })
    .await;
}

#[tokio::test]
async fn the_end_hook_and_the_retry_of_a_failed_one_are_shown() {
    run(async |scenario| {
        let plan = a_plan("plan").with_six_steps().with(json!({ "onEnd": { "template": a_template() } }));
        scenario.create_plan(plan).await;
        scenario.script(on(Step::Importing).relocation("acme"), Behaviour::exit(65, "no"));
        scenario.start_operator().await;
        scenario.create(a_relocation("acme")).await;
        scenario.wait_for_failure("acme").await;
        let uid = scenario.relocation("acme").metadata.uid.expect("a uid");
        let retry = json!({ "owner": "acme", "retryOf": { "name": "acme", "uid": uid }, "activeDeadlineSeconds": 900 });
        scenario.create(a_relocation("acme-2").with(retry)).await;
        scenario.wait_for_success("acme-2").await;
        scenario
            .wait_until("acme-2", "the end is told", |relocation| {
                let conditions =
                    relocation.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
                conditions.iter().any(|condition| condition.type_ == "Notified" && condition.status == "True")
            })
            .await;
        scenario
            .wait_until("acme", "it is told who starts it over", |relocation| {
                let failure = relocation.status.as_ref().and_then(|status| status.failure.as_ref());
                failure.is_some_and(|failure| failure.retried_by.is_some())
            })
            .await;
        wait_for_free_locks(scenario).await;
        let person = Person::of(scenario);
        let status = person.types("status acme-2").await.succeeded().settled();
        assert!(status.contains("✔ when it has ended  AGE\n└─ ✔ on-end  AGE  done"), "{status}");
        let old = person.types("status acme").await.succeeded().settled();
        assert!(old.contains("; started over as acme-2"), "{old}");
        assert!(!old.contains("possible now"), "{old}");
        person.types("explain acme-2").await.shows(expect![[r#"
            acme-2 is SUCCESS at COMPLETED: every step is done, since TIME (AGE ago)

            plan  plan is accepted, in use as it was at generation 1
            fence  none
            lock  nobody holds the mutex "acme"
            budget  AGE of AGE of work are used
            retry  it starts acme over
        "#]]);
    })
    .await;
}
