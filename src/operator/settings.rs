//! What can be set from outside.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::lease::{Candidacy, Terms, identity};

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

    /// Let one of several operators work at a time: the one that holds the lease. The others keep their caches warm.
    #[arg(long, env = "LEADER_ELECTION")]
    pub leader_election: bool,

    /// The name of the lease of the election.
    #[arg(long, env = "LEASE_NAME", default_value = "relocation-operator")]
    pub lease_name: String,

    /// The namespace of the lease; default: the namespace of the pod, as the variable `POD_NAMESPACE` says it.
    #[arg(long, env = "LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// How many seconds the others wait for a leader that does not renew the lease, 3 to 3600.
    #[arg(long, env = "LEASE_DURATION_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=3600))]
    pub lease_duration_seconds: u16,

    /// How many seconds after its last renewal a leader stops by itself; less than the duration of the lease.
    #[arg(long, env = "LEASE_RENEW_DEADLINE_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=3599))]
    pub lease_renew_deadline_seconds: u16,

    /// After how many seconds a leader renews the lease and the others look at it; less than the renew deadline.
    #[arg(long, env = "LEASE_RETRY_PERIOD_SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3598))]
    pub lease_retry_period_seconds: u16,

    /// The namespace this operator runs in.
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pub pod_namespace: Option<String>,

    /// The name of the pod this operator runs in; it stands in the lease.
    #[arg(long, env = "POD_NAME", hide = true, default_value = "relocation-operator")]
    pub pod_name: String,
}

/// Settings that do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nobody says where the lease is.
    #[error("--leader-election needs the namespace of the lease: set --lease-namespace, or POD_NAMESPACE in the pod")]
    LeaseNamespaceMissing,
    /// The times of the election are in the wrong order.
    #[error(
        "the lease's duration ({duration} s) must be longer than its renew deadline ({renew_deadline} s), \
         and that longer than its retry period ({retry_period} s)"
    )]
    LeaseTimes {
        /// `--lease-duration-seconds`
        duration: u16,
        /// `--lease-renew-deadline-seconds`
        renew_deadline: u16,
        /// `--lease-retry-period-seconds`
        retry_period: u16,
    },
}

impl Settings {
    /// How this operator takes part in the election; nothing when there is none.
    pub(super) fn candidacy(&self) -> Result<Option<Candidacy>, SettingsError> {
        if !self.leader_election {
            return Ok(None);
        }
        let namespace = self.lease_namespace.as_ref().or(self.pod_namespace.as_ref());
        let namespace = namespace.ok_or(SettingsError::LeaseNamespaceMissing)?.clone();
        let (duration, renew_deadline, retry_period) =
            (self.lease_duration_seconds, self.lease_renew_deadline_seconds, self.lease_retry_period_seconds);
        if duration <= renew_deadline || renew_deadline <= retry_period {
            return Err(SettingsError::LeaseTimes { duration, renew_deadline, retry_period });
        }
        let terms = Terms {
            duration: Duration::from_secs(duration.into()),
            renew_deadline: Duration::from_secs(renew_deadline.into()),
            retry_period: Duration::from_secs(retry_period.into()),
        };
        Ok(Some(Candidacy { namespace, name: self.lease_name.clone(), identity: identity(&self.pod_name), terms }))
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidacy(arguments: &[&str]) -> Result<Option<Candidacy>, String> {
        let arguments = ["relocation-operator"].iter().chain(arguments);
        let settings = Settings::try_parse_from(arguments).map_err(|error| error.to_string())?;
        settings.candidacy().map_err(|error| error.to_string())
    }

    #[test]
    fn without_the_flag_there_is_no_election() {
        assert!(candidacy(&[]).expect("settings").is_none());
    }

    #[test]
    fn the_lease_is_in_the_namespace_of_the_pod_unless_it_is_named() {
        let namespace = |more: &[&str]| {
            let arguments = [&["--leader-election", "--pod-namespace", "pods"], more].concat();
            candidacy(&arguments).expect("settings").expect("an election").namespace
        };
        assert_eq!(namespace(&[]), "pods");
        assert_eq!(namespace(&["--lease-namespace", "leases"]), "leases");
        let message = candidacy(&["--leader-election"]).expect_err("no namespace");
        assert!(message.contains("--lease-namespace"), "{message}");
    }

    #[test]
    fn times_in_the_wrong_order_or_out_of_bounds_are_refused_with_their_numbers() {
        let times = |duration, deadline, retry| {
            let flags = ["--lease-duration-seconds", duration, "--lease-renew-deadline-seconds", deadline];
            let more = ["--lease-retry-period-seconds", retry, "--leader-election", "--lease-namespace", "here"];
            candidacy(&[&flags[..], &more[..]].concat()).map(drop)
        };
        assert_eq!(times("15", "10", "2"), Ok(()));
        assert!(times("10", "10", "2").expect_err("equal").contains("(10 s) must be longer than its renew deadline"));
        assert!(times("15", "5", "5").expect_err("equal").contains("retry period (5 s)"));
        assert!(times("2", "10", "2").expect_err("too short").contains("2 is not in 3..=3600"));
    }
}
