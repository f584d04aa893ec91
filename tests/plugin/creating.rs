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
        person.types("create acme --plan plan --owner acme --item wiki --dry-run=server").await.shows(expect![[""]]);
        person
            .types("create acme --plan plan --owner acme --item wiki --item shop --pause-at-step importing")
            .await
            .shows(expect![[""]]);
        let made = scenario.relocations().get("acme").await.expect("it was made").spec;
        assert_eq!(
            (made.items, made.pause_at_step),
            (vec!["wiki".to_owned(), "shop".to_owned()], Some(Step::Importing))
        );
        person.types("create acme --plan plan --owner acme").await.shows(expect![[""]]);
        person.types("create Acme --plan plan --owner acme").await.shows(expect![[""]]);
        person.types("create globex --plan plan").await.shows(expect![[""]]);
        person.types("create globex --plan plan --owner globex --item 77").await.shows(expect![[""]]);
        person.types("create globex --plan plan --owner globex --provenance mars").await.shows(expect![[""]]);
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
        person.types(&format!("create -f {path} --reason move")).await.shows(expect![[""]]);
        let two = scenario.relocations().get("two").await.expect("it was made").spec;
        assert_eq!(two.reason.as_deref(), Some("move"));
        let mut slip = a_relocation("three").build();
        slip["spec"]["pauseAtSteps"] = json!("IMPORTING");
        write(&[slip]);
        person.types(&format!("create -f {path}")).await.shows(expect![[""]]);
        write(&[a_plan("plan").with_six_steps().build()]);
        let plan = person.types(&format!("create -f {path}")).await.settled();
        expect![[""]].assert_eq(&plan.replace(&path.replace(&scenario.namespace, "NAMESPACE"), "FILE"));
        let mut elsewhere = a_relocation("four").build();
        elsewhere["metadata"]["namespace"] = json!("elsewhere");
        write(&[elsewhere]);
        person.types(&format!("create -f {path}")).await.shows(expect![[""]]);
        std::fs::remove_file(&path).expect("it is there");
    })
    .await;
}
