//! New relocations, by flags and from files.

use expect_test::expect;
use relocation_operator::api::{StatusValue, Step};
use serde_json::{Value, json};

use crate::person::Person;
use crate::support::{a_plan, a_relocation, run};

#[tokio::test]
async fn one_is_made_by_flags() {
    run(async |scenario| {
        let person = Person::of(scenario);
        person.types("create acme --plan plan --owner acme --item wiki --dry-run=server").await.shows(expect![[r#"
            @@ -0,0 +1,17 @@
            +apiVersion: relocation.dev/v1alpha1
            +kind: Relocation
            +metadata:
            +  name: acme
            +  namespace: NAMESPACE
            +spec:
            +  autoPause: Honour
            +  desiredState: Active
            +  items:
            +  - wiki
            +  lateRequests: Refuse
            +  owner: acme
            +  planRef:
            +  name: plan
            +  provenance: SELF_HOSTED
            +  readiness: WhenSucceeded
            +  whenLocked: Fail
            not stored: acme could be made
            note: there is no plan "plan" in this namespace yet; it waits for one
        "#]]);
        person
            .types("create acme --plan plan --owner acme --item wiki --item shop --pause-at-step importing")
            .await
            .shows(expect![[r#"
                acme is made; see how it goes with: kubectl relocation status acme --watch -n NAMESPACE
                note: there is no plan "plan" in this namespace yet; it waits for one
            "#]]);
        let made = scenario.relocations().get("acme").await.expect("it was made").spec;
        assert_eq!(
            (made.items, made.pause_at_step),
            (vec!["wiki".to_owned(), "shop".to_owned()], Some(Step::Importing))
        );
        person.types("create acme --plan plan --owner acme").await.shows(expect![[r#"
            error: there is a relocation "acme" already; choose another name, or look at that one with: kubectl relocation status acme -n NAMESPACE
            exit code 1
        "#]]);
        person.types("create Acme --plan plan --owner acme").await.shows(expect![[r#"
            error: Relocation.relocation.dev "Acme" is invalid: [metadata.name: Invalid value: "Acme": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), metadata.name: Invalid value: "Acme": metadata.name in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$']
            exit code 9
        "#]]);
        person.types("create globex --plan plan").await.shows(expect![[r#"
            error: the following required arguments were not provided:
              --owner <OWNER>

            Usage: kubectl relocation create --plan <PLAN> --namespace <NAMESPACE> --owner <OWNER> <NAME>

            For more information, try '--help'.
            exit code 1
        "#]]);
        person.types("create globex --plan plan --owner globex --item 77").await.shows(expect![[r#"
            error: Relocation.relocation.dev "globex" is invalid: spec.items: Forbidden: cannot move "77": it is all digits; name the item by its slug, which has at least one letter or hyphen
            exit code 9
        "#]]);
        person.types("create globex --plan plan --owner globex --provenance mars").await.shows(expect![[r#"
            error: invalid value 'mars' for '--provenance <PROVENANCE>'
              [possible values: self_hosted, saas_to_saas]

            For more information, try '--help'.
            exit code 1
        "#]]);
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        let waited = person
            .types("create globex --plan plan --owner globex --pause-at-step validating --wait")
            .await
            .succeeded();
        assert!(waited.settled().contains("PAUSE VALIDATING"), "{}", waited.settled());
        assert_eq!(scenario.stored_status("globex").await.status, Some(StatusValue::Pause));
    })
    .await;
}

#[tokio::test]
async fn a_file_is_made_as_it_is_written_and_a_slip_is_an_error() {
    run(async |scenario| {
        let person = Person::of(scenario);
        let path = format!("{}/create-{}.yaml", env!("CARGO_TARGET_TMPDIR"), scenario.namespace);
        let write = |objects: &[Value]| {
            let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
            std::fs::write(&path, texts.join("\n---\n")).expect("a manifest");
        };
        write(&[a_relocation("one").build(), a_relocation("two").with(json!({ "whenLocked": "Wait" })).build()]);
        person.types(&format!("create -f {path} --reason move")).await.shows(expect![[r#"
            one is made; see how it goes with: kubectl relocation status one --watch -n NAMESPACE
            two is made; see how it goes with: kubectl relocation status two --watch -n NAMESPACE
            note: there is no plan "plan" in this namespace yet; it waits for one
            note: there is no plan "plan" in this namespace yet; it waits for one
        "#]]);
        let two = scenario.relocations().get("two").await.expect("it was made").spec;
        assert_eq!(two.reason.as_deref(), Some("move"));
        let mut slip = a_relocation("three").build();
        slip["spec"]["pauseAtSteps"] = json!("IMPORTING");
        write(&[slip]);
        person.types(&format!("create -f {path}")).await.shows(expect![[r#"
            error: Relocation in version "v1alpha1" cannot be handled as a Relocation: strict decoding error: unknown field "spec.pauseAtSteps"
            exit code 9
        "#]]);
        write(&[a_plan("plan").with_six_steps().build()]);
        let plan = person.types(&format!("create -f {path}")).await.settled();
        expect![[r#"
            error: FILE holds RelocationPlan, which this command does not make; apply the file as a whole with: kubectl apply --server-side -f FILE
            exit code 1
        "#]].assert_eq(&plan.replace(&path.replace(&scenario.namespace, "NAMESPACE"), "FILE"));
        let mut elsewhere = a_relocation("four").build();
        elsewhere["metadata"]["namespace"] = json!("elsewhere");
        write(&[elsewhere]);
        person.types(&format!("create -f {path}")).await.shows(expect![[r#"
            error: four belongs to the namespace "elsewhere" and this is "NAMESPACE"; add -n elsewhere
            exit code 1
        "#]]);
        std::fs::remove_file(&path).expect("it is there");
    })
    .await;
}
