//! The objects that a launch needs, built from the frozen plan and the recorded intent.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use serde_json::{Map, Value, json};

use super::plan::Plan;
use crate::api::{
    Labels, PodTemplate, Relocation, RelocationStatus, Step, TaskSpec, end_job_name, environment, workspace_name,
};

/// The name of the record of `onEnd` among the tasks of COMPLETED.
pub(super) const END_TASK: &str = "on-end";

/// Where the workspace is mounted in every task.
const WORKSPACE_PATH: &str = "/relocation";

/// The name of the workspace among the volumes of a pod.
const WORKSPACE_VOLUME: &str = "relocation-workspace";

/// Where a retry finds the workspace of the relocation that it starts over, read-only.
const SOURCE_PATH: &str = "/relocation-source";

/// The name of that workspace among the volumes of a pod.
const SOURCE_VOLUME: &str = "relocation-source";

/// A volume's claim that every container of a pod gets.
struct Mount {
    volume: &'static str,
    claim: String,
    path: &'static str,
    read_only: bool,
}

/// The workspace of the relocation, and that of the one it starts over.
fn mounts(workspace: Option<String>, source: Option<String>) -> Vec<Mount> {
    let workspace =
        workspace.map(|claim| Mount { volume: WORKSPACE_VOLUME, claim, path: WORKSPACE_PATH, read_only: false });
    let source = source.map(|claim| Mount { volume: SOURCE_VOLUME, claim, path: SOURCE_PATH, read_only: true });
    workspace.into_iter().chain(source).collect()
}

/// The Job of the launch that the status records, as JSON so that no field of the plan's template is lost.
///
/// One launch never has two pods: no back-off, no restarts, and a failure policy that fails the Job on every exit code
/// but 0. The first rule tells a disruption from a failure, the second names the fatal exit codes.
/// `None` when the status records no launch, or one of a task that the plan does not have.
#[must_use]
pub fn build_job(relocation: &Relocation, status: &RelocationStatus, plan: &Plan) -> Option<Value> {
    let step = status.step?;
    let task = plan.task(step, status.task.as_deref()?)?;
    let labels = Labels {
        relocation: relocation.metadata.name.as_deref()?,
        uuid: status.uuid.as_deref()?,
        mutex: relocation.spec.effective_mutex(),
        step: Some(step),
        task: &task.name,
        attempt: status.attempt?,
        launch: status.launch?,
    };
    let variables = variables(relocation, status, plan, &labels);
    let mut spec = job_spec(
        &task.template,
        task.timeout_seconds,
        &labels,
        &variables,
        &mounts(workspace_claim(relocation, plan), status.source_workspace.clone()),
    );
    spec["podFailurePolicy"] = failure_policy(task);
    Some(job(relocation, status.job.as_deref()?, &labels, &spec))
}

/// The Job of `onEnd`. It is not part of the mutex.
#[must_use]
pub fn build_end_job(relocation: &Relocation, status: &RelocationStatus, plan: &Plan) -> Option<Value> {
    let on_end = plan.on_end.as_ref()?;
    let labels = Labels {
        relocation: relocation.metadata.name.as_deref()?,
        uuid: status.uuid.as_deref()?,
        mutex: relocation.spec.effective_mutex(),
        step: None,
        task: END_TASK,
        attempt: 1,
        launch: status.launch.unwrap_or(0),
    };
    let mut variables = variables(relocation, status, plan, &labels);
    let result = status.status.map(crate::api::StatusValue::as_str).unwrap_or_default();
    let failure = status.failure.as_ref();
    let reason = failure.map_or("Succeeded", |failure| failure.reason.as_str());
    variables.push((environment::RESULT.to_owned(), result.to_owned()));
    variables.push((environment::REASON.to_owned(), reason.to_owned()));
    let failure_id = failure.map(|failure| failure.id.clone()).unwrap_or_default();
    variables.push((environment::FAILURE_ID.to_owned(), failure_id));
    let mounts = mounts(workspace_claim(relocation, plan), status.source_workspace.clone());
    let spec = job_spec(&on_end.template, on_end.timeout_seconds, &labels, &variables, &mounts);
    let name = end_job_name(labels.relocation, relocation.metadata.uid.as_deref()?, status.recoveries.unwrap_or(0));
    Some(job(relocation, &name, &labels, &spec))
}

/// A Job as a launch of the template would be, for the API server's dry run when a plan is judged.
#[must_use]
pub fn build_sample_job(name: &str, template: &PodTemplate, task: Option<&TaskSpec>, has_workspace: bool) -> Value {
    let labels = Labels {
        relocation: name,
        uuid: "00000000-0000-0000-0000-000000000000",
        mutex: name,
        step: task.map(|_| Step::Uploading),
        task: task.map_or(END_TASK, |task| &task.name),
        attempt: 1,
        launch: 1,
    };
    let variables = vec![(environment::NAME.to_owned(), name.to_owned())];
    let mounts = mounts(has_workspace.then(|| format!("{name}-workspace")), None);
    let mut spec = job_spec(template, task.map_or(1, |task| task.timeout_seconds), &labels, &variables, &mounts);
    if let Some(task) = task {
        spec["podFailurePolicy"] = failure_policy(task);
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": name, "labels": labels.to_map() },
        "spec": spec,
    })
}

/// The claim of a relocation's workspace; `None` when the plan has none.
#[must_use]
pub fn build_workspace(relocation: &Relocation, plan: &Plan) -> Option<Value> {
    let workspace = plan.workspace.as_ref()?;
    let access_modes = workspace.access_modes.clone().unwrap_or_else(|| vec!["ReadWriteOnce".to_owned()]);
    let mut spec = json!({
        "accessModes": access_modes,
        "resources": { "requests": { "storage": workspace.storage } },
    });
    if let Some(class) = &workspace.storage_class_name {
        spec["storageClassName"] = json!(class);
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": workspace_claim(relocation, plan)?,
            "labels": owner_labels(relocation),
            "ownerReferences": [owner_reference(relocation)],
        },
        "spec": spec,
    }))
}

/// The labels of what belongs to a relocation and is neither a Job nor a pod.
pub(crate) fn owner_labels(relocation: &Relocation) -> BTreeMap<String, String> {
    let uuid = relocation.status.as_ref().and_then(|status| status.uuid.clone());
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "relocation-operator".to_owned()),
        (crate::api::label(Labels::NAME), relocation.metadata.name.clone().unwrap_or_default()),
        (
            crate::api::label(Labels::UUID),
            uuid.or_else(|| relocation.spec.uuid.clone())
                .or_else(|| relocation.metadata.uid.clone())
                .unwrap_or_default(),
        ),
    ])
}

/// The owner reference of everything that belongs to a relocation.
/// It does not block the owner's deletion: deleting always works.
pub(crate) fn owner_reference(relocation: &Relocation) -> OwnerReference {
    OwnerReference { block_owner_deletion: None, ..relocation.controller_owner_ref(&()).unwrap_or_default() }
}

fn workspace_claim(relocation: &Relocation, plan: &Plan) -> Option<String> {
    plan.workspace.as_ref()?;
    Some(workspace_name(relocation.metadata.name.as_deref()?, relocation.metadata.uid.as_deref()?))
}

fn job(relocation: &Relocation, name: &str, labels: &Labels<'_>, spec: &Value) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": labels.to_map(),
            "ownerReferences": [owner_reference(relocation)],
        },
        "spec": spec,
    })
}

fn job_spec(
    template: &PodTemplate,
    timeout_seconds: i64,
    labels: &Labels<'_>,
    variables: &[(String, String)],
    mounts: &[Mount],
) -> Value {
    let mut template = Value::Object(template.0.clone());
    // Without its labels a pod would be unseen when the mutex is asked to be quiet, so they replace whatever stands there.
    let pod_labels = object(object_field(&mut template, "metadata"), "labels");
    pod_labels.extend(labels.to_map().into_iter().map(|(key, value)| (key, Value::String(value))));
    let pod = object_field(&mut template, "spec");
    pod.insert("restartPolicy".to_owned(), json!("Never"));
    // A step's pod gets no API token unless its template asks for one.
    default(pod, "automountServiceAccountToken", json!(false));
    for Mount { volume, claim, read_only, path: _ } in mounts {
        let mut source = json!({ "claimName": claim });
        if *read_only {
            source["readOnly"] = json!(true);
        }
        append(pod, "volumes", json!({ "name": volume, "persistentVolumeClaim": source }));
    }
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = pod.get_mut(list) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            finish_container(container, variables, mounts);
        }
    }
    json!({
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "activeDeadlineSeconds": timeout_seconds,
        "template": template,
    })
}

/// Puts the step contract before the template's own variables, so that `$(NAME)` works in them.
fn finish_container(container: &mut Map<String, Value>, variables: &[(String, String)], mounts: &[Mount]) {
    default(container, "terminationMessagePolicy", json!("FallbackToLogsOnError"));
    let mut all: Vec<Value> = variables.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    if let Some(Value::Array(own)) = container.remove("env") {
        all.extend(own);
    }
    container.insert("env".to_owned(), Value::Array(all));
    for Mount { volume, path, read_only, claim: _ } in mounts {
        let mut mount = json!({ "name": volume, "mountPath": path });
        if *read_only {
            mount["readOnly"] = json!(true);
        }
        append(container, "volumeMounts", mount);
    }
}

fn failure_policy(task: &TaskSpec) -> Value {
    let mut rules = vec![json!({
        "action": "FailJob",
        "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }],
    })];
    if !task.fatal_exit_codes.is_empty() {
        let mut codes = task.fatal_exit_codes.clone();
        codes.sort_unstable();
        rules.push(json!({ "action": "FailJob", "onExitCodes": { "operator": "In", "values": codes } }));
    }
    rules.push(json!({ "action": "FailJob", "onExitCodes": { "operator": "NotIn", "values": [0] } }));
    json!({ "rules": rules })
}

fn variables(
    relocation: &Relocation,
    status: &RelocationStatus,
    plan: &Plan,
    labels: &Labels<'_>,
) -> Vec<(String, String)> {
    let spec = &relocation.spec;
    let step = labels.step.map_or(Step::Completed, |step| step);
    let items = serde_json::to_string(&spec.items).unwrap_or_else(|_| "[]".to_owned());
    let contract = vec![
        (environment::NAME, labels.relocation.to_owned()),
        (environment::NAMESPACE, relocation.metadata.namespace.clone().unwrap_or_default()),
        (environment::UUID, labels.uuid.to_owned()),
        (environment::ORIGIN, status.origin.clone().unwrap_or_else(|| labels.uuid.to_owned())),
        (environment::STEP, step.to_string()),
        (environment::TASK, labels.task.to_owned()),
        (environment::ATTEMPT, labels.attempt.to_string()),
        (environment::FENCING_TOKEN, labels.launch.to_string()),
        (environment::OWNER, spec.owner.clone()),
        (environment::PROVENANCE, spec.provenance.as_str().to_owned()),
        (environment::ITEMS, items),
        (environment::WORKSPACE, plan.workspace.as_ref().map(|_| WORKSPACE_PATH.to_owned()).unwrap_or_default()),
    ];
    let mut all: Vec<_> = contract.into_iter().map(|(name, value)| (name.to_owned(), escape(&value))).collect();
    // Parameters were checked before the first launch; one that a later edit broke reaches no task.
    let parameters = plan.resolve(&spec.parameters).unwrap_or_default();
    all.extend(parameters.into_iter().map(|(name, value)| (name, escape(&value))));
    all
}

/// `$(NAME)` in a value would be expanded by the kubelet: what people write in a parameter is data, not a template.
/// The kubelet reads `$$` as one `$` wherever it stands, so every `$` is doubled, not only those before a parenthesis.
fn escape(value: &str) -> String {
    value.replace('$', "$$")
}

fn object_field<'v>(value: &'v mut Value, field: &str) -> &'v mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    object(value.as_object_mut().expect("an object was put there"), field)
}

fn object<'v>(object: &'v mut Map<String, Value>, field: &str) -> &'v mut Map<String, Value> {
    let value = object.entry(field).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("an object was put there")
}

/// Sets a field that the template leaves open; an explicit null, as an empty YAML value leaves it, is open too.
fn default(object: &mut Map<String, Value>, field: &str, value: Value) {
    if object.get(field).is_none_or(Value::is_null) {
        object.insert(field.to_owned(), value);
    }
}

fn append(object: &mut Map<String, Value>, field: &str, item: Value) {
    match object.entry(field).or_insert_with(|| json!([])) {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}
