//! The hands: observe, decide, record, act, once per pass.
//!
//! The intent is stored before the effect. After a crash anywhere the next pass finds either nothing or an intent, and
//! acts again; every effect is idempotent by name. Two operators at once are harmless: the guarded status write picks
//! the winner.

mod act;
mod artifacts;
mod cache;
mod clock;
mod cluster;
mod error;
mod events;
mod follow;
mod http;
mod lease;
mod metrics;
mod observe;
mod places;
mod plans;
mod reconcile;
mod record;
mod run;
mod settings;
mod unreadable;

pub use follow::{FollowError, follow};
pub use run::{RunError, run};
pub use settings::{LogFormat, Settings, SettingsError};
