//! Events: what people read in `kubectl describe`. A failed publish is a warning in the log, never an error of a pass.

use std::time::Duration;

use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::cluster::Cluster;
use crate::api::Relocation;
use crate::lifecycle::Notice;

/// The longest note that the API server accepts, in bytes.
const NOTE_LIMIT: usize = 1024;

/// How long an event may hold up the pass that tells it.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);

/// Publishes the notices of one pass, as long as this operator leads.
pub(super) async fn publish(cluster: &Cluster, relocation: &Relocation, notices: &[Notice]) {
    for notice in notices {
        if !cluster.leads() {
            return;
        }
        // A recorder keeps the first note for a reason for minutes, so each note gets a recorder of its own.
        let recorder = Recorder::new(cluster.client(), Reporter::from("relocation-operator"));
        let event = Event {
            type_: if notice.reason.is_warning() { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.as_str().to_owned(),
            note: Some(cut(&notice.note).to_owned()),
            action: notice.reason.as_str().to_owned(),
            secondary: None,
        };
        let reference = relocation.object_ref(&());
        match tokio::time::timeout(PUBLISH_TIMEOUT, recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, reason = event.reason, "cannot publish an event"),
            Err(_) => tracing::warn!(reason = event.reason, "publishing an event took too long"),
        }
    }
}

fn cut(note: &str) -> &str {
    let mut end = note.len().min(NOTE_LIMIT);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    &note[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_on_a_character_boundary() {
        assert_eq!(cut(&"é".repeat(600)).len(), 1024);
        assert_eq!(cut(&format!("a{}", "é".repeat(600))).len(), 1023);
    }
}
