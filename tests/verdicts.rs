//! Generated writes of relocations, judged by the admission rules in this process.
//!
//! The acceptance tests hold the API server's answers to the same writes against these.

#![allow(dead_code, reason = "the acceptance tests use the rest of the generator")]

#[path = "support/edits.rs"]
mod edits;

use edits::{Stored, marks, merge, stored_relocations};
use relocation_operator::api::{Relocation, admission, crd};
use serde_json::{Value, json};

/// At least as often every rule refuses a generated write, and lets one through that is its concern.
const OFTEN_ENOUGH: usize = 5;

#[test]
fn every_rule_refuses_some_generated_writes_and_lets_others_through() {
    let marks = marks();
    let mut counts = vec![(0, 0); marks.len()];
    let (mut refused, mut accepted) = (0, 0);
    for (number, stored) in stored_relocations().iter().enumerate() {
        let old = as_stored(number, stored);
        for write in &stored.writes {
            let mut new = old.clone();
            merge(&mut new, write);
            serde_json::from_value::<Relocation>(new.clone()).unwrap_or_else(|error| panic!("{write}: {error}"));
            let refusals = admission::check(Some(&old), &new).err().unwrap_or_default();
            if refusals.is_empty() {
                accepted += 1;
            } else {
                refused += 1;
            }
            let mut said = vec![0; marks.len()];
            for refusal in &refusals {
                let by: Vec<usize> = (0..marks.len())
                    .filter(|index| {
                        refusal.field == marks[*index].field && refusal.message.contains(marks[*index].words)
                    })
                    .collect();
                assert_eq!(by.len(), 1, "{refusal} has the mark of {} rules", by.len());
                said[by[0]] += 1;
            }
            for (index, mark) in marks.iter().enumerate() {
                if said[index] > 0 {
                    assert!(mark.concerns(&old, &new, write), "{} of {}: {write} on {old}", mark.words, mark.field);
                    counts[index].0 += 1;
                } else if mark.concerns(&old, &new, write) {
                    counts[index].1 += 1;
                }
            }
        }
    }
    let table: Vec<String> = marks
        .iter()
        .zip(&counts)
        .map(|(mark, (refuses, passes))| format!("{refuses:4} {passes:4} {}: {}", mark.field, mark.words))
        .collect();
    println!("{refused} refused, {accepted} accepted\n{}", table.join("\n"));
    assert!(refused + accepted >= 400 && refused >= 150 && accepted >= 150, "{refused} refused, {accepted} accepted");
    let rare = counts.iter().position(|(refuses, passes)| *refuses < OFTEN_ENOUGH || *passes < OFTEN_ENOUGH);
    assert_eq!(rare.map(|index| &table[index]), None, "a rule that is hardly tried");
}

#[test]
fn every_rule_of_the_definition_has_one_mark() {
    let definition = serde_json::to_value(crd::<Relocation>()).expect("a definition is JSON");
    let mut rules = Vec::new();
    collect_rules(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut rules);
    let marks = marks();
    for (field, message) in &rules {
        let of_it = marks.iter().filter(|mark| mark.field == field && message.contains(mark.words)).count();
        assert_eq!(of_it, 1, "{field}: {message}");
    }
    assert_eq!(rules.len(), marks.len());
}

/// The field and the message of every rule of a schema.
fn collect_rules(node: &Value, path: &str, rules: &mut Vec<(String, String)>) {
    for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let field = format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default());
        let message = rule["messageExpression"].as_str().expect("a message").to_owned();
        rules.push((field.trim_start_matches('.').to_owned(), message));
    }
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        collect_rules(child, &format!("{path}.{name}"), rules);
    }
    for element in ["items", "additionalProperties"] {
        if node[element].is_object() {
            collect_rules(&node[element], &format!("{path}[]"), rules);
        }
    }
}

/// The object as the API server would have it, without what it only keeps account of.
fn as_stored(number: usize, stored: &Stored) -> Value {
    let mut object = json!({
        "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation",
        "metadata": { "name": format!("acme-{number}"), "namespace": "moves" },
        "spec": { "planRef": { "name": "plan" }, "owner": format!("acme-{number}"), "provenance": "SELF_HOSTED" },
        "status": { "observedGeneration": -1 }
    });
    merge(&mut object, &json!({ "spec": stored.spec, "status": {} }));
    if !stored.status.is_null() {
        merge(&mut object["status"], &stored.status);
    }
    object
}
