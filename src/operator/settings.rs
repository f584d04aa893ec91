//! What can be set from outside.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// The settings of the operator, from flags or environment variables.
#[derive(Clone, Debug, Parser)]
#[command(name = "relocation-operator", version, about = "Moves an owner's data through six ordered steps")]
pub struct Settings {
    /// Watch this namespace alone; default: all namespaces.
    #[arg(long, env = "WATCH_NAMESPACE")]
    pub namespace: Option<String>,

    /// Where metrics and probes are served.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,

    /// How logs are written. What is logged is set by `RUST_LOG`; default: info.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// How many relocations are worked on at the same time, 1 to 1000.
    #[arg(long, env = "CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
