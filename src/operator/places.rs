//! Places: at most `maxActive` relocations of a plan work at once; the rest wait in the order in which they began to.
//!
//! Who works is read from the cache, and beside it this process remembers whom it has let in, because the cache is
//! behind its own writes. Nothing of it is stored: after a restart the statuses tell who works. While the leader changes,
//! one more than allowed may be let in.

use std::collections::HashSet;

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use parking_lot::Mutex;

use super::plans::GuardedRelocation;
use crate::api::{Relocation, StatusValue};
use crate::lifecycle::PlaceSeen;

/// Whom this process has let in, by uid, and how those that wait are told.
pub(super) struct Places {
    admitted: Mutex<HashSet<String>>,
    wake: UnboundedSender<ObjectRef<GuardedRelocation>>,
}

impl Places {
    pub fn new(wake: UnboundedSender<ObjectRef<GuardedRelocation>>) -> Self {
        Self { admitted: Mutex::default(), wake }
    }

    /// Takes a place for a relocation, if its plan has one and nobody has waited longer for it.
    pub fn take(&self, relocation: &Relocation, limit: i32, relocations: &Store<GuardedRelocation>) -> PlaceSeen {
        let uid = relocation.uid().unwrap_or_default();
        let mut admitted = self.admitted.lock();
        if admitted.contains(&uid) {
            return PlaceSeen::Free;
        }
        let peers = peers(relocation, relocations);
        let works = |peer: &Relocation| {
            value_of(peer) == Some(StatusValue::InProgress) || admitted.contains(&peer.uid().unwrap_or_default())
        };
        let working = peers.iter().filter(|peer| works(peer)).count();
        let turn = turn_of(relocation);
        let ahead = peers
            .iter()
            .filter(|peer| !works(peer) && value_of(peer) == Some(StatusValue::Pending))
            .filter(|peer| {
                let theirs = turn_of(peer);
                theirs.0.is_some() && (turn.0.is_none() || theirs < turn)
            })
            .count();
        let free = usize::try_from(limit).unwrap_or(0).saturating_sub(working);
        if ahead < free {
            admitted.insert(uid);
            return PlaceSeen::Free;
        }
        PlaceSeen::Taken { limit, ahead }
    }

    /// Takes note of who works, and when somebody has stopped, wakes those that wait for the place.
    pub fn observe(&self, relocation: &Relocation, relocations: &Store<GuardedRelocation>) {
        let uid = relocation.uid().unwrap_or_default();
        let mut admitted = self.admitted.lock();
        if value_of(relocation) == Some(StatusValue::InProgress) {
            admitted.insert(uid);
            return;
        }
        if !admitted.remove(&uid) {
            return;
        }
        drop(admitted);
        for waiting in peers(relocation, relocations).iter().filter(|peer| turn_of(peer).0.is_some()) {
            self.nudge(waiting);
        }
    }

    /// Lets a relocation be looked at although nothing of its own has changed.
    pub fn nudge(&self, relocation: &Relocation) {
        // The receiver lives as long as the controller.
        let _ = self.wake.unbounded_send(reference_to(relocation));
    }

    /// Drops everything that is remembered: the statuses tell who works.
    pub fn forget_all(&self) {
        self.admitted.lock().clear();
    }

    /// Drops what is remembered about a relocation that is gone.
    pub fn forget(&self, uid: &str) {
        self.admitted.lock().remove(uid);
    }
}

/// How the controller names a relocation.
fn reference_to(relocation: &Relocation) -> ObjectRef<GuardedRelocation> {
    ObjectRef::new(&relocation.name_any()).within(&relocation.namespace().unwrap_or_default())
}

fn value_of(relocation: &Relocation) -> Option<StatusValue> {
    relocation.status.as_ref().and_then(|status| status.status)
}

/// Since when a relocation waits, and what decides between two that began at once.
fn turn_of(relocation: &Relocation) -> (Option<Timestamp>, String) {
    let since = relocation.status.as_ref().and_then(|status| status.waiting_since.as_ref()).map(|time| time.0);
    (since, relocation.uid().unwrap_or_default())
}

/// The other relocations of the same plan.
fn peers(relocation: &Relocation, relocations: &Store<GuardedRelocation>) -> Vec<Relocation> {
    let is_peer = |other: &Relocation| {
        other.spec.plan_ref == relocation.spec.plan_ref
            && other.namespace() == relocation.namespace()
            && other.uid() != relocation.uid()
    };
    let found = relocations.state_filter(|guarded| guarded.0.as_ref().is_ok_and(is_peer));
    found.iter().filter_map(|guarded| guarded.0.as_ref().ok().cloned()).collect()
}
