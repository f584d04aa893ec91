//! People and the operator write at the same time: every accepted pause is honoured.

use std::time::Duration;

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use relocation_operator::api::{Relocation, StatusValue, Step};
use serde_json::json;

use crate::SIX_WORKS;
use crate::support::edits::working;
use crate::support::{a_plan, a_relocation, run};

#[tokio::test]
async fn a_pause_that_races_with_the_entry_is_refused_or_honoured() {
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.start_operator().await;
        scenario.start_operator().await;
        let names: Vec<String> = (0..24).map(|number| format!("acme-{number}")).collect();
        for name in &names {
            scenario.create(a_relocation(name)).await;
        }
        let scenario = &*scenario;
        // Each is fenced in the moment in which the Job before the fence has ended.
        let paused = join_all(names.iter().map(|name| async move {
            scenario
                .wait(Duration::from_secs(120), "the validation ends", |seen| {
                    let validating = seen
                        .launches
                        .iter()
                        .find(|launch| launch.relocation == *name && launch.step == Some(Step::Validating))?;
                    seen.jobs.values().find(|job| {
                        job.metadata.name.as_ref() == Some(&validating.job)
                            && job.status.as_ref().and_then(|status| status.completion_time.as_ref()).is_some()
                    })?;
                    Some(())
                })
                .await;
            (name, scenario.patch_spec(name, json!({ "pauseAtStep": "IMPORTING" })).await)
        }))
        .await;
        let (mut honoured, mut refused) = (0, 0);
        for (name, answer) in paused {
            match answer {
                Ok(()) => {
                    scenario.wait_for(name, StatusValue::Pause, Step::Importing).await;
                    assert_eq!(scenario.works(name), SIX_WORKS[..3], "{name}: an accepted pause was broken");
                    honoured += 1;
                }
                Err(message) => {
                    assert!(message.contains("cannot pause at IMPORTING: it has started"), "{message}");
                    scenario.wait_for_success(name).await;
                    assert_eq!(scenario.works(name), SIX_WORKS, "{name}");
                    refused += 1;
                }
            }
        }
        println!("{honoured} pauses honoured, {refused} refused");
        scenario.assert_no_overlap();
    })
    .await;
}

#[tokio::test]
async fn a_writer_without_precondition_never_breaks_a_pause_that_was_accepted() {
    run(async |scenario| {
        let api = scenario.relocations();
        let (mut accepted, mut refused) = (0, 0);
        for round in 0..300 {
            let name = format!("acme-{round}");
            let relocation: Relocation = serde_json::from_value(a_relocation(&name).build()).expect("a relocation");
            api.create(&PostParams::default(), &relocation).await.expect("a relocation");
            let parameters = PatchParams::default();
            let before = Patch::Merge(json!({ "status": working(Step::Validating, true) }));
            api.patch_status(&name, &parameters, &before).await.expect("a status from nothing");

            let entry = Patch::Merge(json!({ "status": working(Step::Importing, true) }));
            let fence = Patch::Merge(json!({ "spec": { "pauseAtStep": "IMPORTING" } }));
            let (entered, fenced) =
                futures::join!(api.patch_status(&name, &parameters, &entry), api.patch(&name, &parameters, &fence));
            let stored = api.get(&name).await.expect("the relocation");
            let is_in = stored.status.as_ref().is_some_and(|status| status.is_behind(Step::Importing));
            assert!(
                fenced.is_ok() != is_in,
                "an accepted pause and an entry: {:?} {:?}",
                entered.map(|relocation| relocation.resource_version()),
                fenced.map(|relocation| relocation.resource_version())
            );
            if is_in { refused += 1 } else { accepted += 1 }
        }
        println!("{accepted} pauses accepted, {refused} refused");
    })
    .await;
}
