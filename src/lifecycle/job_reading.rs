//! Reads a Job and its pods into the values that the judgement knows.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::SignedDuration;

use super::snapshot::{JobFailure, JobSeen, PodSeen};
use crate::api::TaskResult;

/// Reads a Job by its terminal conditions alone, never by `FailureTarget` or `SuccessCriteriaMet`:
/// only the terminal ones come after the last pod has ended.
///
/// `uid` is the uid of the relocation that must own it.
#[must_use]
pub fn read_job(job: &Job, uid: &str) -> JobSeen {
    let owners = job.metadata.owner_references.as_deref().unwrap_or_default();
    if !owners.iter().any(|owner| owner.uid == uid) {
        let owner =
            owners.first().map_or_else(|| "nobody".to_owned(), |owner| format!("{} {}", owner.kind, owner.name));
        return JobSeen::Foreign { owner };
    }
    let status = job.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let terminal = |wanted: &str| conditions.iter().find(|known| known.type_ == wanted && known.status == "True");
    if terminal("Complete").is_some() {
        return JobSeen::Succeeded;
    }
    if let Some(failed) = terminal("Failed") {
        let message = failed.message.clone().unwrap_or_default();
        return JobSeen::Failed(JobFailure {
            disrupted: message.contains("has condition DisruptionTarget matching FailJob rule"),
            timed_out: failed.reason.as_deref() == Some("DeadlineExceeded"),
            exit_code: exit_code_in(&message),
            message,
        });
    }
    let spec = job.spec.clone().unwrap_or_default();
    JobSeen::Live {
        uid: job.metadata.uid.clone().unwrap_or_default(),
        ready: status.ready.unwrap_or(0),
        deleted_at: job.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        suspended: spec.suspend.unwrap_or(false),
        deadline_at: status
            .start_time
            .zip(spec.active_deadline_seconds)
            .and_then(|(start, seconds)| start.0.checked_add(SignedDuration::from_secs(seconds)).ok()),
    }
}

/// The exit code in a sentence of the Job controller:
/// `Container main for pod ns/name failed with exit code 65 matching FailJob rule at index 1`.
fn exit_code_in(message: &str) -> Option<i32> {
    let (_, rest) = message.split_once("failed with exit code ")?;
    rest.split(' ').next()?.parse().ok()
}

/// Reads a pod: whether it has ended, what its main container said, and why it does not start.
#[must_use]
pub fn read_pod(pod: &Pod) -> PodSeen {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.as_deref().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let main = main_container(&containers);
    let terminated = main.and_then(|container| container.state.as_ref()?.terminated.as_ref());
    let waiting = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(&containers)
        .find_map(|container| {
            let waiting = container.state.as_ref()?.waiting.as_ref()?;
            let reason =
                waiting.reason.clone().filter(|reason| reason != "ContainerCreating" && reason != "PodInitializing")?;
            Some((reason, waiting.message.clone().unwrap_or_default()))
        })
        .or_else(|| {
            status.conditions.iter().flatten().find_map(|condition| {
                let unscheduled = condition.type_ == "PodScheduled" && condition.status == "False";
                unscheduled.then(|| {
                    let reason = condition.reason.clone().unwrap_or_else(|| "Unschedulable".to_owned());
                    (reason, condition.message.clone().unwrap_or_default())
                })
            })
        })
        .or_else(|| {
            // The kubelet says what is missing in its events alone.
            let is_unprepared = status
                .conditions
                .iter()
                .flatten()
                .any(|condition| condition.type_ == "PodReadyToStartContainers" && condition.status == "False");
            is_unprepared.then(|| ("ContainerCreating".to_owned(), unprepared(pod)))
        })
        .filter(|_| phase == "Pending");
    PodSeen {
        name: pod.metadata.name.clone().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        finished: matches!(phase, "Succeeded" | "Failed"),
        deleted_at: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        waiting,
        exit_code: terminated.map(|terminated| terminated.exit_code),
        result: terminated.map(|terminated| TaskResult::read(terminated.message.as_deref().unwrap_or_default())),
    }
}

fn unprepared(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    format!(
        "its volumes or its network are not ready; a Secret, ConfigMap or volume that is missing is named at the end of: kubectl describe pod {name}"
    )
}

/// The container named `main`, or the only one.
fn main_container(containers: &[ContainerStatus]) -> Option<&ContainerStatus> {
    containers.iter().find(|container| container.name == "main").or_else(|| containers.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_read_from_the_job_controllers_sentence() {
        let sentence = "Container main for pod a/b-x failed with exit code 65 matching FailJob rule at index 1";
        assert_eq!(exit_code_in(sentence), Some(65));
        assert_eq!(exit_code_in("Pod a/b has condition DisruptionTarget matching FailJob rule at index 0"), None);
    }
}
