//! The porter between volumes and a real S3 server (`VERSITYGW`, default `versitygw`), judged by the server's own folder, by `sha256sum` and by curl;
//! and between volumes and emulators of Google (`FAKE_GCS_SERVER`) and Azure (`AZURITE`), judged by their own answers.

#![allow(clippy::unwrap_used, missing_docs)] // a test that cannot go on says where

#[path = "store/azurite.rs"]
mod azurite;
#[path = "mover/bench.rs"]
#[allow(dead_code)] // what only the other tests of the mover need
mod bench;
#[path = "store/clouds.rs"]
mod clouds;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/google.rs"]
mod google;
#[path = "store/holes.rs"]
mod holes;
#[path = "mover/killing.rs"]
mod killing;
#[path = "store/kills.rs"]
mod kills;
#[path = "store/links.rs"]
mod links;
#[path = "store/moves.rs"]
mod moves;
#[path = "store/names.rs"]
mod names;
#[path = "mover/nasty.rs"]
mod nasty;
#[path = "store/network.rs"]
mod network;
#[path = "store/proxy.rs"]
mod proxy;
#[path = "store/records.rs"]
mod records;
#[path = "store/refusals.rs"]
mod refusals;
#[path = "store/sealed.rs"]
mod sealed;
#[path = "store/server.rs"]
mod server;
#[path = "store/undo.rs"]
mod undo;
#[path = "store/versions.rs"]
mod versions;
#[path = "store/work.rs"]
mod work;
