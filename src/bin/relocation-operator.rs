//! The operator.

use std::io::IsTerminal;

use anyhow::Context;
use clap::Parser;
use kube::{Client, Config};
use relocation_operator::operator::{LogFormat, Settings, run};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A list of thousands of objects is parsed in pieces; glibc's allocator would keep what that took for ever.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    // kube's own spans would repeat on every line what ours say.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=warn"));
    let colours = std::io::stdout().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_target(false);
    match settings.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    let mut config = Config::infer().await.context("cannot find out how to reach the API server")?;
    config.default_retry = false;
    let client = Client::try_from(config).context("cannot make a client of the kubeconfig")?;
    let listener = TcpListener::bind(settings.http_address)
        .await
        .with_context(|| format!("cannot listen on {}", settings.http_address))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    Ok(run(settings, client, listener, shutdown).await?)
}
