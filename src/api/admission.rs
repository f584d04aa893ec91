//! The admission rules, as CEL that the API server runs on every write.
//!
//! They are the last word on what may be stored, whoever writes: people, GitOps tools, an old operator, a new one.
//! Each rule is one function, attached to the types with `#[kube(validation = …)]` and `#[x_kube(validation = …)]`;
//! [`check`] runs the same rules in this process.
//! Step names, sizes and patterns are the schema's business, not this module's.
//!
//! What every rule here keeps to:
//!
//! - It compares with the old object, so that it speaks only when its field changes.
//!   A rule at the root that could fail on a stored object would block labels, status and the removal of finalizers.
//!   The exceptions look at one field only and stand at that field, where an unchanged value is not judged again.
//! - Its message names the field and the value, what is true now, and what to do instead.
//!   It never says that a field "is immutable": GitOps tools read those words as "delete it and create it again".
//! - No `optionalOldSelf`, no `cel.bind`, no `string(int)`, no list search over steps:
//!   the first two cannot be run in-process, the last two are over the API server's cost budget.

use std::sync::LazyLock;

use kube::core::cel::{self, CompiledSchema};
use kube::core::{Message, Reason, Rule};
use serde_json::Value;

use super::{Relocation, Step, crd};

/// Why the API server would refuse a write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Refusal {
    /// The path of the field that the rule is about, such as `spec.pauseAtStep`.
    pub field: String,
    /// What is wrong with the value, what is true now, and what to do instead.
    pub message: String,
}

/// Judges a write of a `Relocation` by the admission rules, as the API server would.
///
/// `old` is the stored object, or nothing when `new` is to be created.
/// Both are whole objects; defaults of the schema are filled in before they are judged.
/// Only the rules are run: enums, patterns, bounds and required fields are not checked here.
///
/// # Errors
///
/// Every rule that refuses the write.
pub fn check(old: Option<&Value>, new: &Value) -> Result<(), Vec<Refusal>> {
    static RULES: LazyLock<CompiledSchema> = LazyLock::new(|| {
        let definition = crd::<Relocation>();
        let schema = definition.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        cel::compile_schema(&serde_json::to_value(schema).expect("a schema is JSON"))
    });
    cel::validate_compiled(&RULES, new, old).map_err(|errors| {
        errors
            .into_iter()
            .map(|error| Refusal { field: error.field_path.trim_start_matches('.').to_owned(), message: error.message })
            .collect()
    })
}

/// `spec.pauseAtStep` names no step that is behind, and none once everything is done.
pub(super) fn pause_at_step() -> Rule {
    refuse_unless(
        ".spec.pauseAtStep",
        not_too_late("pauseAtStep", &format!("{STATUS} != 'SUCCESS' && !{}", is_behind("pauseAtStep"))),
        too_late(
            "pauseAtStep",
            "pause at",
            "can be fenced",
            &format!(
                "'no later step can be fenced' \
                 + ({STATUS} == 'IN_PROGRESS' ? ', desiredState: Suspended stops the running work now' : '')"
            ),
        ),
    )
}

/// `spec.cancelAtStep` names no step that is behind unless the relocation has failed, and none once everything is done.
pub(super) fn cancel_at_step() -> Rule {
    refuse_unless(
        ".spec.cancelAtStep",
        not_too_late(
            "cancelAtStep",
            &format!("{STATUS} == 'FAILURE' || ({STATUS} != 'SUCCESS' && !{})", is_behind("cancelAtStep")),
        ),
        too_late(
            "cancelAtStep",
            "cancel at",
            "can be cancelled",
            "'no later step can be cancelled, desiredState: Aborted ends the relocation now'",
        ),
    )
}

/// While FAILURE, `spec.recover` is the id of the failure, and nothing stands in the way of one more attempt.
///
/// In every other state it is stored and means nothing, so that a token left in Git is harmless.
pub(super) fn recover() -> Rule {
    refuse_unless(
        ".spec.recover",
        not_too_late("recover", &format!("!{FAILED} || {}", recover_is_accepted())),
        format!(
            "'cannot recover ' + self.spec.recover + ': ' + (self.spec.recover != self.status.failure.id \
             ? 'the failure that stands is ' + self.status.failure.id + '; set recover to that id' : {})",
            what_stands_against_a_recover()
        ),
    )
}

/// An abort stays an abort until the failure it led to is recovered. Holds in both modes of `lateRequests`.
pub(super) fn leave_aborted() -> Rule {
    refuse_unless(
        ".spec.desiredState",
        format!(
            "!(has(oldSelf.spec.desiredState) && oldSelf.spec.desiredState == 'Aborted') || {STAYS_ABORTED} \
             || {STATUS} == 'SUCCESS' || {}",
            recover_is_accepted()
        ),
        format!(
            "'cannot set desiredState to ' + {DESIRED_STATE} + ': the relocation was aborted; ' + \
             (!{FAILED} ? 'it is being stopped, and can be recovered as soon as its status is FAILURE' \
             : {NOT_RECOVERABLE} || (has(self.spec.recover) && self.spec.recover == self.status.failure.id) \
             ? 'it cannot be recovered like this: ' + {} \
             : 'to go on, set recover to ' + self.status.failure.id + ' in the same change')",
            what_stands_against_a_recover()
        ),
    )
}

/// `spec.parameters` stand still while a task runs with them.
pub(super) fn parameters() -> Rule {
    refuse_unless(
        ".spec.parameters",
        format!(
            "(has(self.spec.parameters) ? self.spec.parameters : {{}}) \
             == (has(oldSelf.spec.parameters) ? oldSelf.spec.parameters : {{}}) \
             || {REPORT} || {STATUS} != 'IN_PROGRESS'"
        ),
        format!(
            "'cannot change parameters: the relocation is IN_PROGRESS at ' + {HERE} + \
             '; stop it with pauseAtStep or desiredState: Suspended, change them, and let it go on'"
        ),
    )
}

/// Nobody records the entry into a step on which a fence or a cancel stands, whatever precondition the writer used.
///
/// This is what makes an accepted pause binding: from the moment it is stored, the API server refuses the entry itself.
/// A status that appears from nothing, as a restore from a backup writes it, is not an entry.
pub(super) fn enter_step() -> Rule {
    let stands = stands_before("self.status.step");
    refuse_unless(
        ".status.step",
        format!(
            "!(has(self.status) && has(oldSelf.status) && has(oldSelf.status.step) && has(self.status.step) \
             && {ENTERED} && (self.status.step != oldSelf.status.step || !{WAS_ENTERED})) || !{stands}"
        ),
        format!("'cannot enter ' + self.status.step + ': ' + {}", what_stands_before("self.status.step")),
    )
}

/// Nobody passes by a step without tasks while a fence or a cancel stands on it.
pub(super) fn pass_step() -> Rule {
    let stands = stands_before("oldSelf.status.step");
    refuse_unless(
        ".status.step",
        format!(
            "!(has(self.status) && has(oldSelf.status) && has(oldSelf.status.step) && has(self.status.step) \
             && self.status.step != oldSelf.status.step && !{WAS_ENTERED}) || !{stands}"
        ),
        format!("'cannot pass by ' + oldSelf.status.step + ': ' + {}", what_stands_before("oldSelf.status.step")),
    )
}

/// `status.recoveries` grows only because `spec.recover` is the id of the failure that stood.
pub(super) fn count_recovery() -> Rule {
    refuse_unless(
        ".status.recoveries",
        "!has(self.status) || !has(oldSelf.status) || !has(self.status.recoveries) \
         || (!has(oldSelf.status.step) && !has(oldSelf.status.recoveries)) \
         || self.status.recoveries <= (has(oldSelf.status.recoveries) ? oldSelf.status.recoveries : 0) \
         || (has(oldSelf.status.status) && oldSelf.status.status == 'FAILURE' && has(oldSelf.status.failure) \
         && has(self.spec.recover) && self.spec.recover == oldSelf.status.failure.id)"
            .to_owned(),
        "'cannot count a recovery: ' + \
         (has(oldSelf.status.failure) \
         ? 'spec.recover is ' + (has(self.spec.recover) ? self.spec.recover : 'not set') \
         + ' and the failure that stands is ' + oldSelf.status.failure.id + '; only a matching id recovers it' \
         : 'the relocation has not failed, there is nothing to recover')"
            .to_owned(),
    )
}

/// A field of `spec` that says what is moved, for whom or by which plan: settled when the object is created.
pub(super) fn settled(field: Settled) -> Rule {
    let Settled { path, optional, shown } = field;
    let rule = if optional {
        format!("has(self.{path}) == has(oldSelf.{path}) && (!has(self.{path}) || self.{path} == oldSelf.{path})")
    } else {
        format!("self.{path} == oldSelf.{path}")
    };
    let change = match (shown, optional) {
        (None, _) => "': '".to_owned(),
        (Some(shown), true) => format!(
            "' from ' + (has(oldSelf.{path}) ? '\"' + oldSelf.{shown} + '\"' : 'nothing') + ' to ' \
             + (has(self.{path}) ? '\"' + self.{shown} + '\"' : 'nothing') + ': '"
        ),
        (Some(shown), false) => format!("' from \"' + oldSelf.{shown} + '\" to \"' + self.{shown} + '\": '"),
    };
    refuse_unless(
        &format!(".{path}"),
        rule,
        format!(
            "'cannot change {path}' + {change} + \
             'what a relocation moves, for whom and by which plan is settled when it is created; \
             create another Relocation for this'"
        ),
    )
}

/// A settled field, as [`settled`] needs to know it.
#[derive(Clone, Copy)]
pub(super) struct Settled {
    /// The field below `spec`.
    path: &'static str,
    /// Whether it may be absent.
    optional: bool,
    /// What a message shows of it: a field of text at or below `path`.
    shown: Option<&'static str>,
}

impl Settled {
    pub(super) const PLAN: Self = Self { path: "planRef.name", optional: false, shown: Some("planRef.name") };
    pub(super) const OWNER: Self = Self { path: "owner", optional: false, shown: Some("owner") };
    pub(super) const PROVENANCE: Self = Self { path: "provenance", optional: true, shown: Some("provenance") };
    pub(super) const UUID: Self = Self { path: "uuid", optional: true, shown: Some("uuid") };
    pub(super) const RETRY_OF: Self = Self { path: "retryOf", optional: true, shown: Some("retryOf.name") };
    pub(super) const MUTEX: Self = Self { path: "mutex", optional: true, shown: Some("mutex") };
}

/// `spec.items` is settled too; an empty list and an absent one are the same.
pub(super) fn settled_items() -> Rule {
    refuse_unless(
        ".items",
        "(has(self.items) ? self.items : []) == (has(oldSelf.items) ? oldSelf.items : [])".to_owned(),
        "'cannot change items: what a relocation moves, for whom and by which plan is settled when it is created; \
         create another Relocation for these items'"
            .to_owned(),
    )
}

/// No item is listed twice. Stands at `spec.items`.
pub(super) fn items_are_distinct() -> Rule {
    refuse(
        "self.all(item, self.exists_one(other, item == other))".to_owned(),
        "'cannot move \"' + self.filter(item, !self.exists_one(other, item == other))[0] \
         + '\" twice; list each item once'"
            .to_owned(),
    )
}

/// No item is a number, so that slugs and numeric ids of the source are never confused. Stands at `spec.items`.
pub(super) fn items_are_slugs() -> Rule {
    refuse(
        "!self.exists(item, item.matches('^[0-9]+$'))".to_owned(),
        "'cannot move \"' + self.filter(item, item.matches('^[0-9]+$'))[0] \
         + '\": it is all digits; name the item by its slug, which has at least one letter or hyphen'"
            .to_owned(),
    )
}

/// `status.step` goes forward one by one, and no step is entered twice.
pub(super) fn step_goes_forward() -> Rule {
    let wiped = is_wiped();
    let (now, before) = (position_of("self.step"), position_of("oldSelf.step"));
    refuse_unless(
        ".step",
        format!(
            "{wiped} || !has(oldSelf.step) || (has(self.step) && ({now} == {before} + 1 \
             || (self.step == oldSelf.step && (!(has(oldSelf.entered) && oldSelf.entered) \
             || (has(self.entered) && self.entered)))))"
        ),
        "'cannot go from ' + oldSelf.step + (has(oldSelf.entered) && oldSelf.entered ? ' (entered)' : '') \
         + ' to ' + (has(self.step) ? self.step : 'no step') + (has(self.entered) && self.entered ? ' (entered)' : '') \
         + ': steps follow each other one by one, and what was entered stays so'"
            .to_owned(),
    )
}

/// What has ended stays as it ended; only a recovery brings a failed relocation back, at the step where it stood.
pub(super) fn an_ending_stays() -> Rule {
    let wiped = is_wiped();
    refuse_unless(
        ".status",
        format!(
            "{wiped} || !has(oldSelf.status) || !(oldSelf.status in ['SUCCESS', 'FAILURE']) \
             || (has(self.status) && self.status == oldSelf.status \
             && (!has(oldSelf.step) || (has(self.step) && self.step == oldSelf.step)) \
             && (!has(oldSelf.failure) || (has(self.failure) && self.failure.id == oldSelf.failure.id \
             && self.failure.reason == oldSelf.failure.reason))) \
             || (oldSelf.status == 'FAILURE' && has(self.step) && has(oldSelf.step) && self.step == oldSelf.step \
             && (has(self.recoveries) ? self.recoveries : 0) \
             == (has(oldSelf.recoveries) ? oldSelf.recoveries : 0) + 1)"
        ),
        "'cannot rewrite the ending ' + oldSelf.status \
         + (has(oldSelf.failure) ? ' (' + oldSelf.failure.id + ', ' + oldSelf.failure.reason + ')' : '') \
         + ': what has ended stays as it is' \
         + (oldSelf.status == 'FAILURE' ? ' until it is recovered, at the same step, with recoveries one higher' : '')"
            .to_owned(),
    )
}

/// `status.attempt` never shrinks within a task that has started.
pub(super) fn attempt_grows() -> Rule {
    let wiped = is_wiped();
    refuse_unless(
        ".attempt",
        format!(
            "{wiped} || !has(oldSelf.task) || !has(oldSelf.step) || !has(self.step) || self.step != oldSelf.step \
             || !(has(oldSelf.entered) && oldSelf.entered) \
             || (has(self.task) && (self.task != oldSelf.task || !has(oldSelf.attempt) \
             || (has(self.attempt) && self.attempt >= oldSelf.attempt)))"
        ),
        "'cannot take back an attempt of task ' + oldSelf.task + ': attempts of a task only grow'".to_owned(),
    )
}

/// `status.launch` never shrinks: it is the fencing token.
pub(super) fn launch_grows() -> Rule {
    let wiped = is_wiped();
    refuse_unless(
        ".launch",
        format!("{wiped} || !has(oldSelf.launch) || (has(self.launch) && self.launch >= oldSelf.launch)"),
        "'cannot set launch below %d: it is the fencing token and only grows'.format([oldSelf.launch])".to_owned(),
    )
}

/// `status.recoveries` grows one by one and never shrinks.
pub(super) fn recoveries_grow() -> Rule {
    let wiped = is_wiped();
    refuse_unless(
        ".recoveries",
        format!(
            "{wiped} || (!has(oldSelf.step) && !has(oldSelf.recoveries)) || ((has(self.recoveries) ? self.recoveries : 0) \
             - (has(oldSelf.recoveries) ? oldSelf.recoveries : 0)) in [0, 1]"
        ),
        "'cannot go from %d recoveries to %d: they are counted one by one and never taken back'\
         .format([has(oldSelf.recoveries) ? oldSelf.recoveries : 0, has(self.recoveries) ? self.recoveries : 0])"
            .to_owned(),
    )
}

/// `status.uuid` is written once: it is the storage prefix and the idempotency key of every task.
pub(super) fn uuid_stays() -> Rule {
    let wiped = is_wiped();
    refuse_unless(
        ".uuid",
        format!("{wiped} || !has(oldSelf.uuid) || (has(self.uuid) && self.uuid == oldSelf.uuid)"),
        "'cannot change the uuid of the run from ' + oldSelf.uuid + ': it is written once; \
         tasks find their data by it'"
            .to_owned(),
    )
}

/// `status.failure` is there if and only if the status is FAILURE, so that every failure has a reason.
pub(super) fn a_failure_has_a_reason() -> Rule {
    refuse_unless(
        ".failure",
        "(has(self.status) && self.status == 'FAILURE') == has(self.failure)".to_owned(),
        "(has(self.failure) ? 'cannot keep a failure while the status is ' + (has(self.status) ? self.status : 'not set') \
         : 'cannot be FAILURE without a failure') + ': FAILURE and its reason are written together'"
            .to_owned(),
    )
}

/// `status.pause` is there if and only if the status is PAUSE.
pub(super) fn a_pause_has_a_reason() -> Rule {
    refuse_unless(
        ".pause",
        "(has(self.status) && self.status == 'PAUSE') == has(self.pause)".to_owned(),
        "(has(self.pause) ? 'cannot keep a pause while the status is ' + (has(self.status) ? self.status : 'not set') \
         : 'cannot be PAUSE without a pause') + ': PAUSE and its reason are written together'"
            .to_owned(),
    )
}

/// A status value goes with a step, and SUCCESS with COMPLETED and nothing else.
pub(super) fn success_is_completed() -> Rule {
    refuse_unless(
        ".step",
        "(!has(self.status) || has(self.step)) \
         && (has(self.status) && self.status == 'SUCCESS') == (has(self.step) && self.step == 'COMPLETED')"
            .to_owned(),
        "'cannot be ' + (has(self.status) ? self.status : 'without a status') + ' at ' \
         + (has(self.step) ? self.step : 'no step') + ': every status has its step, and only SUCCESS is at COMPLETED'"
            .to_owned(),
    )
}

/// The status value, or nothing before the first one is written. At the root.
const STATUS: &str = "(has(self.status) && has(self.status.status) ? self.status.status : '')";

/// Whether the present step has been entered. At the root, where the status exists.
const ENTERED: &str = "(has(self.status.entered) && self.status.entered)";

/// Whether the step of the old object had been entered. At the root, where the old status exists.
const WAS_ENTERED: &str = "(has(oldSelf.status.entered) && oldSelf.status.entered)";

/// Whether a request that comes too late is stored and reported instead of refused. At the root.
const REPORT: &str = "(has(self.spec.lateRequests) && self.spec.lateRequests == 'Report')";

/// What people want the relocation to do. At the root.
const DESIRED_STATE: &str = "(has(self.spec.desiredState) ? self.spec.desiredState : 'Active')";

/// Whether the object asks for the abort, or goes on asking. At the root.
const STAYS_ABORTED: &str = "(has(self.spec.desiredState) && self.spec.desiredState == 'Aborted')";

/// Whether the relocation stands in a failure. At the root.
const FAILED: &str = "(has(self.status) && has(self.status.failure))";

/// Whether the failure is final. At the root of a failed relocation.
const NOT_RECOVERABLE: &str = "(has(self.status.failure.recoverable) && !self.status.failure.recoverable)";

/// Whether a recovered relocation would be cancelled again at once. At the root of a failed relocation.
const CANCELLED_AGAIN: &str = "(has(self.spec.cancelAtStep) && has(self.status.step) \
     && self.spec.cancelAtStep == self.status.step && !(has(self.status.entered) && self.status.entered))";

/// Whether a recovered relocation would run out of time again at once. At the root of a failed relocation.
const OUT_OF_TIME: &str = "(self.status.failure.reason == 'DeadlineExceeded' && has(self.spec.activeDeadlineSeconds) \
     && (!has(self.status.activeSeconds) || self.spec.activeDeadlineSeconds <= self.status.activeSeconds))";

/// Where the relocation is, as text. At the root, where the status exists.
const HERE: &str = "(has(self.status.step) ? self.status.step : 'its start') \
     + (has(self.status.task) ? ', task ' + self.status.task : '')";

/// Every field of the status that is gone when the whole status is: all but `observedGeneration`, which has a default.
const STATUS_FIELDS: [&str; 29] = [
    "uuid",
    "origin",
    "status",
    "step",
    "task",
    "entered",
    "attempt",
    "attemptLimit",
    "launch",
    "launchedAt",
    "job",
    "jobsMissing",
    "plan",
    "autoPauseAtStep",
    "steps",
    "pause",
    "failure",
    "late",
    "recoveries",
    "answered",
    "history",
    "startedAt",
    "finishedAt",
    "activeSince",
    "activeSeconds",
    "waitingSince",
    "sourceWorkspace",
    "nextAttemptAt",
    "conditions",
];

/// Whether the whole status was removed in one write, which is allowed and leads to `StatusLost`. At the status.
///
/// A part of it that stayed behind would be read as the status of a run that has hardly begun.
fn is_wiped() -> String {
    format!("({})", STATUS_FIELDS.map(|field| format!("!has(self.{field})")).join(" && "))
}

/// Whether a recover that is set would be acted on. At the root.
fn recover_is_accepted() -> String {
    format!(
        "({FAILED} && has(self.spec.recover) && self.spec.recover == self.status.failure.id \
         && !{NOT_RECOVERABLE} && !{STAYS_ABORTED} && !{CANCELLED_AGAIN} && !{OUT_OF_TIME})"
    )
}

/// Why a recover with the right id is refused; without numbers, because a formatted text has no bound that the API
/// server's cost estimate knows, and a sentence around it is over the budget. At the root of a failed relocation whose recover is not accepted.
fn what_stands_against_a_recover() -> String {
    format!(
        "({NOT_RECOVERABLE} \
         ? 'the task that failed is declared recoverable: false; create a Relocation whose retryOf names this one' \
         : {STAYS_ABORTED} \
         ? 'desiredState is Aborted; set desiredState: Active in the same change' \
         : {CANCELLED_AGAIN} \
         ? 'cancelAtStep would end it again before ' + self.status.step \
         + '; clear or move cancelAtStep in the same change' \
         : 'its budget is used up; raise activeDeadlineSeconds above status.activeSeconds, or clear it, in the same change')"
    )
}

/// The place of a step in the order of steps, by a lookup that costs next to nothing.
fn position_of(step: &str) -> String {
    let places: Vec<String> = Step::WORKING
        .into_iter()
        .chain([Step::Completed])
        .enumerate()
        .map(|(place, step)| format!("'{step}': {place}"))
        .collect();
    format!("{{{}}}[{step}]", places.join(", "))
}

/// The first step that can still be fenced or cancelled, or nothing. At the root, where a step is known.
fn first_open_step() -> String {
    let followers: Vec<String> = Step::WORKING
        .into_iter()
        .chain([Step::Completed])
        .map(|step| match step.next() {
            Step::Completed => format!("'{step}': ''"),
            next => format!("'{step}': '{next}'"),
        })
        .collect();
    format!("({ENTERED} ? {{{}}}[self.status.step] : self.status.step)", followers.join(", "))
}

/// Whether the step that a field of `spec` names is behind: over, or entered. At the root.
fn is_behind(field: &str) -> String {
    let (wanted, present) = (position_of(&format!("self.spec.{field}")), position_of("self.status.step"));
    format!(
        "(has(self.status) && has(self.status.step) \
         && ({wanted} < {present} || (self.spec.{field} == self.status.step && {ENTERED})))"
    )
}

/// A request is judged when it is made, and only where late requests are refused.
fn not_too_late(field: &str, condition: &str) -> String {
    format!(
        "!has(self.spec.{field}) || (has(oldSelf.spec.{field}) && oldSelf.spec.{field} == self.spec.{field}) \
         || {REPORT} || {condition}"
    )
}

/// What to say to a request that names a step which is behind.
fn too_late(field: &str, verb: &str, open: &str, nothing_open: &str) -> String {
    let first_open_step = first_open_step();
    format!(
        "'cannot {verb} ' + self.spec.{field} + ': ' + ({STATUS} == 'SUCCESS' \
         ? 'the relocation has ended in SUCCESS and no step is left; leave {field} as it is' \
         : (self.spec.{field} == self.status.step ? 'it has started' : 'it is over') \
         + ' (the relocation is at ' + {HERE} + '); ' \
         + ({first_open_step} == '' ? {nothing_open} : 'the next step that {open} is ' + {first_open_step}))"
    )
}

/// Whether a fence or a cancel stands on a step. At the root.
///
/// The automatic fence counts when the old or the new status has it: a writer that drops it does not open it.
fn stands_before(step: &str) -> String {
    format!(
        "((has(self.spec.pauseAtStep) && self.spec.pauseAtStep == {step}) \
         || (has(self.spec.cancelAtStep) && self.spec.cancelAtStep == {step}) \
         || (!(has(self.spec.autoPause) && self.spec.autoPause == 'Skip') \
         && ((has(self.status.autoPauseAtStep) && self.status.autoPauseAtStep == {step}) \
         || (has(oldSelf.status.autoPauseAtStep) && oldSelf.status.autoPauseAtStep == {step}))))"
    )
}

/// Which of the three stands on the step, and that the truth has to be read again.
fn what_stands_before(step: &str) -> String {
    format!(
        "(has(self.spec.cancelAtStep) && self.spec.cancelAtStep == {step} ? 'cancelAtStep' \
         : has(self.spec.pauseAtStep) && self.spec.pauseAtStep == {step} ? 'pauseAtStep' \
         : 'the automatic fence of the plan') + ' stands on it; read the relocation again and stop before the step'"
    )
}

/// A rule about one field of the object it stands at.
fn refuse_unless(field_path: &str, rule: String, message: String) -> Rule {
    refuse(rule, message).field_path(field_path)
}

/// A rule about the value it stands at.
fn refuse(rule: String, message: String) -> Rule {
    Rule::new(rule).message(Message::Expression(message)).reason(Reason::FieldValueForbidden)
}

#[cfg(test)]
mod tests;
