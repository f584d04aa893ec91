//! The operator.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use kube::{Client, Config};
use relocation_operator::operator::{LogFormat, Settings, follow, run};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A list of thousands of objects is parsed in pieces; glibc's allocator would keep what that took for ever.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "relocation-operator", version, about = "Moves an owner's data through six ordered steps")]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Follow one relocation; ends with 0 when it has reached SUCCESS. `helm test` runs it.
    Follow {
        /// Its name.
        name: String,
        /// Its namespace.
        #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
        namespace: String,
        /// How long to wait for its end.
        #[arg(long, default_value_t = 300)]
        timeout_seconds: u32,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { settings, command } = Arguments::parse();
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
    if let Some(Command::Follow { name, namespace, timeout_seconds }) = command {
        let limit = Duration::from_secs(timeout_seconds.into());
        return Ok(follow(client, &namespace, &name, limit, |change| println!("{change}")).await?);
    }
    let listener = TcpListener::bind(settings.http_address)
        .await
        .with_context(|| format!("cannot listen on {}", settings.http_address))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    Ok(run(settings, client, listener, shutdown).await?)
}
