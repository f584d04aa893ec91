//! The relocation operator: moves an owner's data through six ordered steps and keeps people in command of it.
//!
//! The dependency law is `api ← lifecycle ← operator` and `api ← cli`; nothing depends on `operator`, `cli` or `mover`.
//! `ARCHITECTURE.md` says what lives where and which invariant is enforced where.

pub mod api;
pub mod cli;
pub mod lifecycle;
pub mod mover;
pub mod operator;
