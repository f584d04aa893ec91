//! The API server's own rules, with a memory: the model asks them the same question many thousand times.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;

use super::noon;
use crate::api::{Failure, Pause, Relocation, RelocationStatus, admission};

type Verdict = Result<(), String>;

static VERDICTS: LazyLock<Mutex<HashMap<u64, Verdict>>> = LazyLock::new(Mutex::default);

/// One in so many remembered verdicts is asked for again, lest a rule look at what [`seen`] leaves out.
const PROVEN_AGAIN: u64 = 32;

/// Whether the rules allow `new` over `old`, and what they say if not.
pub(super) fn admitted(old: &Relocation, new: &Relocation) -> Verdict {
    let mut hasher = DefaultHasher::new();
    let grows = launch_of(new).cmp(&launch_of(old));
    let seen = serde_json::to_string(&(&old.spec, seen(old), &new.spec, seen(new))).expect("a relocation is JSON");
    (seen, grows).hash(&mut hasher);
    let question = hasher.finish();
    let known = VERDICTS.lock().get(&question).cloned();
    if let Some(verdict) = &known
        && !question.is_multiple_of(PROVEN_AGAIN)
    {
        return verdict.clone();
    }
    let verdict = judged(old, new);
    if let Some(known) = known {
        assert_eq!(known, verdict, "the rules look at more than is remembered");
    }
    VERDICTS.lock().insert(question, verdict.clone());
    verdict
}

fn judged(old: &Relocation, new: &Relocation) -> Verdict {
    let json = |relocation| serde_json::to_value(relocation).expect("a relocation is JSON");
    admission::check(Some(&json(old)), &json(new))
        .map_err(|refusals| refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn launch_of(relocation: &Relocation) -> Option<i64> {
    relocation.status.as_ref()?.launch
}

/// What the rules look at: neither times, nor records, nor which launch it is.
fn seen(relocation: &Relocation) -> Option<RelocationStatus> {
    let status = relocation.status.as_ref()?;
    Some(RelocationStatus {
        uuid: status.uuid.clone(),
        status: status.status,
        step: status.step,
        task: status.task.clone(),
        entered: status.entered,
        attempt: status.attempt,
        launch: status.launch.map(|_| 1),
        auto_pause_at_step: status.auto_pause_at_step,
        pause: status.pause.clone().map(|pause| Pause { since: Time(noon()), ..pause }),
        failure: status.failure.clone().map(|failure| Failure { at: Time(noon()), ..failure }),
        recoveries: status.recoveries,
        active_seconds: status.active_seconds,
        ..RelocationStatus::default()
    })
}
