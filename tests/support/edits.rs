//! Writes of relocations, made up so that every admission rule refuses some of them and lets others through.
//!
//! The choices are repeatable: the same writes are judged in this process, without a cluster, and by the API server.
//! Every write is well-formed by the schema, so that only the rules decide.

use relocation_operator::api::Step;
use serde_json::{Value, json};

pub const FAILURE_ID: &str = "IMPORTING-1-0badcafe";

/// How many relocations are made up.
const RELOCATIONS: usize = 96;

/// How many random writes of `spec`, and as many of `status`, are tried on each of them.
const WRITES: usize = 4;

/// A relocation as it is stored, and the writes that are tried on it.
#[derive(Debug)]
pub struct Stored {
    /// A merge patch of the shortest spec there is.
    pub spec: Value,
    /// The status, or null for a relocation that no operator has seen.
    pub status: Value,
    /// Merge patches, each with `spec` or with `status` and never both: the API server stores them apart.
    pub writes: Vec<Value>,
}

/// The mark of one rule: where it speaks, words of its own, and when a write is its concern at all.
pub struct Mark {
    pub field: &'static str,
    pub words: &'static str,
    concerns: fn(&Value, &Value, &Value) -> bool,
}

impl Mark {
    /// Whether the rule looks closer at this write: its field is set to something else, or was to be.
    pub fn concerns(&self, old: &Value, new: &Value, write: &Value) -> bool {
        (self.concerns)(old, new, write)
    }
}

/// Every rule there is.
pub fn marks() -> Vec<Mark> {
    let mark = |field, words, concerns| Mark { field, words, concerns };
    vec![
        mark("spec.pauseAtStep", "cannot pause at ", |old, new, _| is_set_anew("/spec/pauseAtStep", old, new)),
        mark("spec.cancelAtStep", "cannot cancel at ", |old, new, _| is_set_anew("/spec/cancelAtStep", old, new)),
        mark("spec.recover", "cannot recover ", |old, new, _| {
            old["status"]["status"] == "FAILURE" && is_set_anew("/spec/recover", old, new)
        }),
        mark("spec.desiredState", "cannot set desiredState to ", |old, new, _| {
            old["spec"]["desiredState"] == "Aborted" && new["spec"]["desiredState"] != "Aborted"
        }),
        mark("spec.parameters", "cannot change parameters: ", |old, new, _| {
            old["spec"]["parameters"] != new["spec"]["parameters"]
        }),
        mark("status.step", "cannot enter ", |old, new, _| {
            let moves = old["status"]["step"] != new["status"]["step"] || old["status"]["entered"] != true;
            old["status"]["step"].is_string() && new["status"]["entered"] == true && moves
        }),
        mark("status.step", "cannot pass by ", |old, new, _| {
            let moves = old["status"]["step"] != new["status"]["step"] && new["status"]["step"].is_string();
            old["status"]["step"].is_string() && old["status"]["entered"] != true && moves
        }),
        mark("status.recoveries", "cannot count a recovery: ", |old, new, _| {
            let recoveries = |relocation: &Value| relocation["status"]["recoveries"].as_i64().unwrap_or(0);
            old["status"]["step"].is_string() && recoveries(new) > recoveries(old)
        }),
        mark("spec.planRef.name", "cannot change planRef.name", |_, _, write| names("/spec/planRef/name", write)),
        mark("spec.owner", "cannot change owner", |_, _, write| names("/spec/owner", write)),
        mark("spec.provenance", "cannot change provenance", |_, _, write| names("/spec/provenance", write)),
        mark("spec.items", "cannot change items: ", |_, _, write| names("/spec/items", write)),
        mark("spec.uuid", "cannot change uuid", |_, _, write| names("/spec/uuid", write)),
        mark("spec.retryOf", "cannot change retryOf", |_, _, write| names("/spec/retryOf", write)),
        mark("spec.mutex", "cannot change mutex", |_, _, write| names("/spec/mutex", write)),
        mark("spec.items", "\" twice; ", |_, _, write| names("/spec/items", write)),
        mark("spec.items", "it is all digits; ", |_, _, write| names("/spec/items", write)),
        mark("status.step", "cannot go from ", |old, _, write| {
            old["status"]["step"].is_string() && (names("/status/step", write) || names("/status/entered", write))
        }),
        mark("status.status", "cannot rewrite the ending ", |old, _, write| {
            ["SUCCESS", "FAILURE"].iter().any(|ending| old["status"]["status"] == *ending) && !write["status"].is_null()
        }),
        mark("status.attempt", "cannot take back an attempt ", |old, _, write| {
            old["status"]["entered"] == true && (names("/status/attempt", write) || names("/status/task", write))
        }),
        mark("status.launch", "cannot set launch below ", |old, _, write| {
            old["status"]["launch"].is_i64() && names("/status/launch", write)
        }),
        mark("status.recoveries", "cannot go from ", |old, _, write| {
            old["status"]["step"].is_string() && names("/status/recoveries", write)
        }),
        mark("status.uuid", "cannot change the uuid ", |old, _, write| {
            old["status"]["uuid"].is_string() && names("/status/uuid", write)
        }),
        mark("status.failure", "FAILURE and its reason ", |_, _, write| {
            names("/status/status", write) || names("/status/failure", write)
        }),
        mark("status.pause", "PAUSE and its reason ", |_, _, write| {
            names("/status/status", write) || names("/status/pause", write)
        }),
        mark("status.step", "cannot be ", |_, _, write| names("/status/status", write) || names("/status/step", write)),
    ]
}

/// Whether a write says anything about a field, be it that it is removed.
fn names(field: &str, write: &Value) -> bool {
    write.pointer(field).is_some()
}

fn is_set_anew(field: &str, old: &Value, new: &Value) -> bool {
    new.pointer(field).is_some() && new.pointer(field) != old.pointer(field)
}

/// Applies a JSON merge patch (RFC 7396).
pub fn merge(target: &mut Value, change: &Value) {
    let Value::Object(fields) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// The made-up relocations with their writes.
pub fn stored_relocations() -> Vec<Stored> {
    let mut random = Random(0x0dd_ba11);
    (0..RELOCATIONS)
        .map(|number| {
            let (spec, status) = random.relocation();
            let mut writes = vec![json!({ "spec": random.settled(number, &spec) })];
            if spec["desiredState"] == "Aborted" {
                writes.push(json!({ "spec": {
                    "desiredState": "Active", "recover": FAILURE_ID, "cancelAtStep": null, "activeDeadlineSeconds": null
                }}));
            }
            for _ in 0..WRITES {
                let mut change = random.change_of_spec();
                if random.one_in(3) {
                    let another = random.change_of_spec();
                    merge_keeping_nulls(&mut change, &another);
                }
                writes.push(json!({ "spec": change }));
                writes.push(json!({ "status": random.change_of_status(&status) }));
            }
            Stored { spec, status, writes }
        })
        .collect()
}

/// Joins two patches into one that does both.
fn merge_keeping_nulls(patch: &mut Value, another: &Value) {
    for (name, value) in another.as_object().into_iter().flatten() {
        patch[name] = value.clone();
    }
}

/// A status in which a task works, or stands before its step.
pub fn working(step: Step, entered: bool) -> Value {
    json!({
        "uuid": "run", "status": "IN_PROGRESS", "step": step, "task": "copy", "attempt": 2, "launch": 1000,
        "entered": if entered { json!(true) } else { json!(null) }
    })
}

fn a_pause(step: &Value) -> Value {
    json!({ "step": step, "since": "2026-01-01T00:00:00Z", "reason": "Fence", "message": "stands before it" })
}

fn a_failure(step: &Value, reason: &str) -> Value {
    json!({
        "id": FAILURE_ID, "step": step, "reason": reason, "message": "no", "recoverable": true,
        "at": "2026-01-01T00:00:00Z"
    })
}

/// A repeatable source of choices (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("a small number")
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn stoppable(&mut self) -> Value {
        json!(self.pick(&Step::STOPPABLE))
    }

    /// Spec and status of a relocation as an operator could have left it.
    fn relocation(&mut self) -> (Value, Value) {
        let mut spec = json!({
            "lateRequests": if self.one_in(3) { "Report" } else { "Refuse" },
            "items": ["one", "two"], "parameters": { "RATE": "slow" }
        });
        if self.one_in(2) {
            spec["uuid"] = json!("4f0c0bb2-0000-4000-8000-000000000001");
            spec["retryOf"] = json!({ "name": "first", "uid": "4f0c0bb2-0000-4000-8000-000000000002" });
            spec["mutex"] = json!("vault");
        }
        if self.one_in(3) {
            spec["autoPause"] = json!("Skip");
        }
        if self.one_in(2) {
            spec["pauseAtStep"] = self.stoppable();
        }
        if self.one_in(4) {
            spec["cancelAtStep"] = self.stoppable();
        }
        let step = self.pick(&Step::WORKING);
        let mut status = working(step, !self.one_in(3));
        if self.one_in(3) {
            status["autoPauseAtStep"] = self.stoppable();
        }
        if self.one_in(3) {
            status["recoveries"] = json!(1);
        }
        match self.below(20) {
            0 => status = json!(null),
            1 | 2 => {
                status = json!({ "uuid": "run", "status": "SUCCESS", "step": "COMPLETED", "launch": 1000 });
                spec["desiredState"] = json!(self.pick(&["Active", "Aborted"]));
            }
            3 => status["status"] = json!("PENDING"),
            4..=7 => {
                // Running, and stopped before the next step where that can be fenced.
                let next = json!(step.next());
                if step.next() != Step::Completed && self.one_in(2) {
                    let stop = self.pick(&["pauseAtStep", "cancelAtStep"]);
                    spec[stop] = next;
                }
                if self.one_in(4) {
                    spec["desiredState"] = json!("Aborted");
                }
            }
            8..=10 => {
                let step = self.stoppable();
                spec["pauseAtStep"] = step.clone();
                status["pause"] = a_pause(&step);
                status["step"] = step;
                status["status"] = json!("PAUSE");
                status["entered"] = json!(null);
            }
            _ => self.fail(&mut spec, &mut status),
        }
        (spec, status)
    }

    /// Makes a failed relocation of one that works.
    fn fail(&mut self, spec: &mut Value, status: &mut Value) {
        let reason = self.pick(&["AttemptsExhausted", "Cancelled", "Aborted", "DeadlineExceeded"]);
        status["status"] = json!("FAILURE");
        status["activeSeconds"] = json!(600);
        match reason {
            "Cancelled" => {
                let step = self.stoppable();
                spec["cancelAtStep"] = step.clone();
                status["step"] = step;
                status["entered"] = json!(null);
            }
            "Aborted" => spec["desiredState"] = json!("Aborted"),
            "DeadlineExceeded" => spec["activeDeadlineSeconds"] = json!(600),
            _ => {}
        }
        let mut failure = a_failure(&status["step"], reason);
        failure["recoverable"] = json!(!self.one_in(5));
        status["failure"] = failure;
        if self.one_in(3) {
            spec["recover"] = json!(FAILURE_ID);
        }
    }

    /// One of the fields that never change: written as it is, written otherwise, or removed.
    fn settled(&mut self, number: usize, spec: &Value) -> Value {
        let as_it_is = (number / 7).is_multiple_of(2);
        let kept = |field: &str, other: Value| {
            let present = spec.get(field).cloned().unwrap_or(Value::Null);
            json!({ field: if as_it_is { present } else { other } })
        };
        match number % 7 {
            0 => json!({ "planRef": { "name": if as_it_is { "plan" } else { "other" } } }),
            1 => json!({ "owner": if as_it_is { format!("acme-{number}") } else { "globex".to_owned() } }),
            2 => json!({ "provenance": if as_it_is { "SELF_HOSTED" } else { "SAAS_TO_SAAS" } }),
            3 => kept("items", self.pick(&[json!(["two", "one"]), json!(["one"]), json!(null)])),
            4 => kept("uuid", json!("4f0c0bb2-0000-4000-8000-000000000009")),
            5 => kept("retryOf", json!({ "name": "second", "uid": "4f0c0bb2-0000-4000-8000-000000000002" })),
            _ => kept("mutex", json!("other")),
        }
    }

    fn change_of_spec(&mut self) -> Value {
        match self.below(14) {
            0 | 1 => json!({ "pauseAtStep": self.stoppable() }),
            2 | 3 => json!({ "cancelAtStep": self.stoppable() }),
            4 => json!({ self.pick(&["pauseAtStep", "cancelAtStep"]): null }),
            5 | 6 => self.recover(),
            7..=9 => json!({ "desiredState": self.pick(&["Active", "Suspended", "Aborted"]) }),
            10 => {
                json!({ "parameters": self.pick(&[json!({ "RATE": "fast" }), json!({ "RATE": "slow" }), json!(null)]) })
            }
            11 => json!({ "parameters": { "RATE": null, "SIZE": "small" } }),
            12 => json!({ "items": self.pick(&[
                json!(["one", "one"]), json!(["one", "42"]), json!(["42", "42"]), json!(["one", "two"])
            ])}),
            _ => self.pick(&[
                json!({ "lateRequests": "Report" }),
                json!({ "lateRequests": "Refuse" }),
                json!({ "autoPause": "Skip" }),
                json!({ "reason": "because", "readiness": "WhenAccepted" }),
            ]),
        }
    }

    /// A recover, with none or some of what it may need in the same change.
    fn recover(&mut self) -> Value {
        let mut change = json!({ "recover": FAILURE_ID });
        if self.one_in(5) {
            change["recover"] = json!("IMPORTING-9-00000000");
        }
        if !self.one_in(3) {
            change["desiredState"] = json!("Active");
        }
        if !self.one_in(3) {
            change["cancelAtStep"] = json!(null);
        }
        if !self.one_in(3) {
            change["activeDeadlineSeconds"] = self.pick(&[json!(null), json!(600), json!(601)]);
        }
        change
    }

    fn change_of_status(&mut self, status: &Value) -> Value {
        let present: Step = serde_json::from_value(status["step"].clone()).unwrap_or(Step::Uploading);
        let entered = status["entered"] == true;
        let recoveries = status["recoveries"].as_i64().unwrap_or(0);
        let mut works = json!({ "status": "IN_PROGRESS", "pause": null, "failure": null });
        match self.below(16) {
            // Into the next step that is not entered yet.
            0..=2 => {
                works["step"] = json!(if entered { present.next() } else { present });
                works["entered"] = json!(true);
                works
            }
            3 | 4 => {
                works["step"] = json!(present.next());
                works["entered"] = json!(null);
                works
            }
            5 => {
                works["step"] = json!(self.pick(&Step::WORKING));
                works["entered"] = self.pick(&[json!(true), json!(null)]);
                works
            }
            6..=8 => {
                works["recoveries"] = json!(recoveries + self.pick(&[1, 1, 1, 0, 2]));
                works["attempt"] = json!(3);
                works["launch"] = json!(1001);
                works
            }
            9 => json!({ "recoveries": self.pick(&[json!(null), json!(0), json!(1), json!(2)]) }),
            10 => {
                // A failure stands before or in a step that can run; the schema knows no other.
                let step = if present == Step::Completed { Step::Notifying } else { present };
                let mut failure = a_failure(&json!(step), self.pick(&["Aborted", "AttemptsExhausted"]));
                failure["message"] = json!("told again");
                failure["id"] = json!(self.pick(&[FAILURE_ID, "IMPORTING-2-00000000"]));
                self.pick(&[json!({ "failure": failure.clone() }), json!({ "status": "FAILURE", "failure": failure })])
            }
            11 => self.pick(&[
                json!({ "attempt": 1 }),
                json!({ "attempt": 3 }),
                json!({ "attempt": null }),
                json!({ "task": "index", "attempt": 1 }),
                json!({ "task": null }),
            ]),
            12 => self.pick(&[json!({ "launch": 999 }), json!({ "launch": 1001 }), json!({ "launch": null })]),
            13 => json!({ "uuid": self.pick(&[json!("run"), json!("other"), json!(null)]) }),
            14 => self.pick(&[
                json!({ "status": "FAILURE" }),
                json!({ "status": "PAUSE" }),
                json!({ "status": "PAUSE", "failure": null, "pause": a_pause(&json!(Step::Importing)) }),
                json!({ "status": "PENDING" }),
                json!({ "pause": a_pause(&json!(Step::Importing)) }),
                json!({ "step": "COMPLETED" }),
                json!({ "status": "SUCCESS", "step": "COMPLETED", "entered": null, "failure": null, "pause": null }),
            ]),
            _ => self.pick(&[
                json!(null),
                json!({ "observedGeneration": 7 }),
                json!({ "status": null, "step": null, "uuid": null, "recoveries": null, "launch": null,
                        "failure": null, "pause": null }),
                json!({ "autoPauseAtStep": null, "entered": true }),
            ]),
        }
    }
}
