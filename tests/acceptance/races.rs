//! People and the operator write at the same time: every accepted pause is honoured.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use relocation_operator::api::{Relocation, StatusValue, Step};
use serde_json::json;

use crate::support::edits::working;
use crate::support::{Held, SIX_WORKS, Scenario, a_plan, a_relocation, amount, run};

/// How many relocations race side by side; more would only wait for the Job controller.
const SIDE_BY_SIDE: usize = 40;

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

/// Around each status write that enters a step, a person sets the fence on that step: the gate holds the write,
/// and both are let go at random moments within a few milliseconds. What was accepted is judged by the Jobs.
#[tokio::test]
async fn a_pause_at_a_random_moment_around_the_entry_is_refused_or_honoured() {
    let races = amount("RELOCATION_RACES", 200);
    run(async |scenario| {
        scenario.create_plan(a_plan("plan").with_six_steps()).await;
        scenario.open_gate().await;
        let mut held = scenario.gate().hold(|asked| asked.writes_a_status());
        scenario.start_operator().await;
        let course = Course::default();
        let scenario = &*scenario;
        let names: Vec<String> =
            (0..races.div_ceil(Step::STOPPABLE.len())).map(|number| format!("acme-{number}")).collect();
        for names in names.chunks(SIDE_BY_SIDE) {
            join_all(names.iter().map(|name| scenario.create(a_relocation(name)))).await;
            let mut over = std::pin::pin!(all_succeed(scenario, names));
            let mut running = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Some(write) = held.recv() => running.push(course.race(scenario, write)),
                    Some(()) = running.next(), if !running.is_empty() => {}
                    () = &mut over => break,
                }
            }
            while running.next().await.is_some() {}
            for name in names {
                assert_eq!(scenario.works(name), SIX_WORKS, "{name}");
                assert_eq!(scenario.ran(name), SIX_WORKS, "{name}");
            }
        }
        let results = course.results.lock().expect("nobody panics here").clone();
        let honoured = results.iter().filter(|is_honoured| **is_honoured).count();
        println!("{honoured} pauses honoured, {} refused", results.len() - honoured);
        assert!(results.len() >= races, "{} of {races} races took place", results.len());
        assert!(honoured > 0 && honoured < results.len(), "the moments lie before and after the write");
        scenario.assert_no_overlap();
    })
    .await;
}

async fn all_succeed(scenario: &Scenario, names: &[String]) {
    scenario
        .wait(Duration::from_secs(300), "all succeed", |seen| {
            let mut statuses = names.iter().map(|name| seen.relocations.get(name)?.status.as_ref()?.status);
            statuses.all(|status| status == Some(StatusValue::Success)).then_some(())
        })
        .await;
}

#[derive(Default)]
struct Course {
    /// Which relocation was raced against at which step: once each, or no relocation would ever arrive.
    raced: Mutex<BTreeSet<(String, Step)>>,
    /// Of each race, whether the pause was honoured, not refused.
    results: Mutex<Vec<bool>>,
}

impl Course {
    async fn race(&self, scenario: &Scenario, write: Held) {
        let name = write.asked.path.rsplit('/').nth(1).expect("the path of a status").to_owned();
        let status = scenario.stored_status(&name).await;
        let next = match status.step {
            Some(step) if status.entered => step.next(),
            Some(_) | None => Step::Uploading,
        };
        let is_new = Step::STOPPABLE.contains(&next)
            && self.raced.lock().expect("nobody panics here").insert((name.clone(), next));
        if !is_new {
            write.pass();
            return;
        }
        let moment = || Duration::from_micros(fastrand::u64(0..8000));
        let (written, asked) = (moment(), moment());
        let written = async {
            tokio::time::sleep(written).await;
            write.pass();
        };
        let asked = async {
            tokio::time::sleep(asked).await;
            scenario.patch_spec(&name, json!({ "pauseAtStep": next })).await
        };
        let is_honoured = match futures::join!(written, asked).1 {
            Ok(()) => {
                scenario.wait_for(&name, StatusValue::Pause, next).await;
                let label = next.as_str().to_lowercase();
                let selector = format!("relocation.dev/name={name},relocation.dev/step={label}");
                let jobs: Api<Job> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
                let there = jobs.list(&ListParams::default().labels(&selector)).await.expect("a list of Jobs");
                assert!(
                    there.items.is_empty(),
                    "{name}: the pause before {next} was accepted, and there is a Job of it"
                );
                let place = format!("{next}/run/1");
                assert!(!scenario.ran(&name).contains(&place), "{name}: {place} ran in spite of an accepted pause");
                scenario.patch_spec(&name, json!({ "pauseAtStep": null })).await.expect("a fence can be cleared");
                true
            }
            Err(message) => {
                let told = format!("cannot pause at {next}: it has started");
                assert!(message.contains(&told), "{name}: {message}");
                false
            }
        };
        self.results.lock().expect("nobody panics here").push(is_honoured);
    }
}
