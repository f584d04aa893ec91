//! Requests as the API server itself counts them.
//!
//! `apiserver_request_total` knows verb, resource and subresource, but neither namespace nor client.
//! So a test that counts runs alone (`run_alone`), and looks only at requests that nobody but an operator makes.

use std::collections::BTreeMap;

use axum::http::Request;
use kube::Client;

/// How many requests the API server has answered, by `VERB resource/subresource`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts(BTreeMap<String, u64>);

impl RequestCounts {
    /// What was added since an earlier count.
    pub fn since(&self, earlier: &Self) -> Self {
        let added = self.0.iter().filter_map(|(request, count)| {
            let added = count - earlier.0.get(request).copied().unwrap_or(0);
            (added > 0).then(|| (request.clone(), added))
        });
        Self(added.collect())
    }

    /// The requests that fit.
    pub fn only(&self, fits: impl Fn(&str) -> bool) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(request, _)| fits(request))
                .map(|(request, count)| (request.clone(), *count))
                .collect(),
        )
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// Reads the counts; dry runs and watches are left out.
pub async fn count_requests(client: &Client) -> RequestCounts {
    let request = Request::get("/metrics").body(Vec::new()).expect("a request");
    let text = client.request_text(request).await.expect("the API server's metrics");
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("apiserver_request_total{") else { continue };
        let Some((labels, count)) = rest.split_once("} ") else { continue };
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        if label("dry_run") != Some("") || label("verb") == Some("WATCH") {
            continue;
        }
        let (verb, resource) = (label("verb").unwrap_or_default(), label("resource").unwrap_or_default());
        let subresource = label("subresource").unwrap_or_default();
        let slash = if subresource.is_empty() { "" } else { "/" };
        let count: f64 = count.trim().parse().unwrap_or_default();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter is a whole number")]
        let count = count as u64;
        *counts.entry(format!("{verb} {resource}{slash}{subresource}")).or_default() += count;
    }
    RequestCounts(counts)
}

/// Writes that nobody but an operator makes, as the API server counts them.
///
/// The Job controller writes the status of Jobs, and the volume controller updates claims: those are not ours.
/// A Lease of a mutex is created and deleted, never updated; those of the cluster are only updated.
pub fn is_write_of_an_operator(request: &str) -> bool {
    const CREATED: [&str; 6] =
        ["jobs", "leases", "controllerrevisions", "persistentvolumeclaims", "artifactindices", "relocations"];
    let (verb, resource) = request.split_once(' ').unwrap_or_default();
    match verb {
        "POST" | "DELETE" => CREATED.contains(&resource),
        "PUT" | "PATCH" | "APPLY" => {
            matches!(resource, "relocations/status" | "relocations" | "artifactindices" | "jobs")
        }
        _ => false,
    }
}
