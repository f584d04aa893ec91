//! The porter, from outside: the real program on real trees, judged by a comparison that shares no code with it.

#![allow(clippy::unwrap_used, missing_docs)] // a test that cannot go on says where

#[path = "mover/attributes.rs"]
mod attributes;
#[path = "mover/bench.rs"]
mod bench;
#[path = "mover/faults.rs"]
mod faults;
#[path = "mover/full.rs"]
mod full;
#[path = "mover/injected.rs"]
mod injected;
#[path = "mover/killing.rs"]
mod killing;
#[path = "mover/kills.rs"]
mod kills;
#[path = "mover/moves.rs"]
mod moves;
#[path = "mover/names.rs"]
mod names;
#[path = "mover/nasty.rs"]
mod nasty;
#[path = "mover/notifies.rs"]
mod notifies;
#[path = "mover/owners.rs"]
mod owners;
#[path = "mover/parts.rs"]
mod parts;
#[path = "mover/records.rs"]
mod records;
#[path = "mover/refusals.rs"]
mod refusals;
#[path = "mover/scale.rs"]
mod scale;
#[path = "mover/sealed.rs"]
mod sealed;
#[path = "mover/writers.rs"]
mod writers;
