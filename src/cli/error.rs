//! What can go wrong, as one sentence that says what is wrong, where, and what to do next.

use std::path::PathBuf;

use super::jsonpath::TemplateError;
use super::outcome::Outcome;

/// Why a command has not done what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no kubeconfig, and this is no pod.
    #[error(
        "there is no kubeconfig: {looked_at} does not exist and this is not a pod; set KUBECONFIG or name one with --kubeconfig"
    )]
    NoKubeconfig {
        /// Where it was looked for.
        looked_at: String,
    },
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig{}: {why}", path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    Kubeconfig {
        /// The file, when one was named.
        path: Option<PathBuf>,
        /// What is wrong with it.
        why: String,
    },
    /// No context is chosen.
    #[error("the kubeconfig chooses no context; name one with --context{}", one_of(known))]
    NoContext {
        /// The contexts that there are.
        known: Vec<String>,
    },
    /// The context is not in the kubeconfig.
    #[error("the kubeconfig has no context {name:?}; name one with --context{}", one_of(known))]
    UnknownContext {
        /// The context that was asked for.
        name: String,
        /// The contexts that there are.
        known: Vec<String>,
    },
    /// The API server does not answer.
    #[error(
        "cannot reach the API server at {address}: {why}; check that it runs, and that --context names the cluster you mean"
    )]
    Unreachable {
        /// Its address.
        address: String,
        /// What the network says.
        why: String,
    },
    /// The API server has not answered in time.
    #[error(
        "the API server at {address} has not answered within {seconds} s; try again, or give it more time with --request-timeout"
    )]
    TimedOut {
        /// Its address.
        address: String,
        /// How long it had.
        seconds: u64,
    },
    /// No credentials, or wrong ones.
    #[error(
        "the API server at {address} does not accept your credentials: {why}; log in again, or choose another user with --context"
    )]
    Unauthorized {
        /// Its address.
        address: String,
        /// What it says.
        why: String,
    },
    /// Our kinds are not there.
    #[error(
        "the cluster at {address} has no kinds of relocation.dev; install the operator's definitions with: kubectl apply --server-side -f crds/"
    )]
    KindsMissing {
        /// The address of the API server.
        address: String,
    },
    /// The user may not do this.
    #[error(
        "you may not {verb} {resource} {place}: {why}; ask whoever gives permissions for this cluster for the verb {verb} on {resource}"
    )]
    Forbidden {
        /// The verb, as a role names it.
        verb: &'static str,
        /// The resource, as a role names it.
        resource: String,
        /// `in the namespace x`, or `in any namespace`.
        place: String,
        /// What the API server says.
        why: String,
    },
    /// Nothing of that name.
    #[error("there is no {kind} {name:?} in the namespace {namespace:?}{}", hints(similar, elsewhere))]
    NotFound {
        /// The kind in words.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// Where it was looked for.
        namespace: String,
        /// Names that are close.
        similar: Vec<String>,
        /// Namespaces where there is one of that name.
        elsewhere: Vec<String>,
    },
    /// The API server refused the request; its sentence is shown as it is.
    #[error("{message}{}", also(possible.as_deref()))]
    Refused {
        /// The API server's sentence.
        message: String,
        /// What is possible instead.
        possible: Option<String>,
    },
    /// The object was written by a newer version.
    #[error(
        "cannot read the {kind} {name:?}, which a newer version may have written: {why}; update the plugin, or look at it with: kubectl get -o yaml"
    )]
    Unreadable {
        /// The kind in words.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What is not understood.
        why: String,
    },
    /// Something else failed between here and the API server.
    #[error("cannot {verb} {resource}: {why}")]
    Request {
        /// The verb, as a role names it.
        verb: &'static str,
        /// The resource, as a role names it.
        resource: String,
        /// What happened.
        why: String,
    },
    /// A file of the user cannot be read.
    #[error("cannot read {path}: {why}")]
    File {
        /// The file, or `standard input`.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The command line asks for something that makes no sense, which only the cluster could tell.
    #[error("{0}")]
    Usage(String),
    /// The JSONPath cannot be read.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Print(#[source] std::io::Error),
}

impl Error {
    /// The exit code that goes with it.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NoKubeconfig { .. }
            | Self::Kubeconfig { .. }
            | Self::NoContext { .. }
            | Self::UnknownContext { .. }
            | Self::Unreachable { .. }
            | Self::Unauthorized { .. } => Outcome::Unreachable,
            Self::TimedOut { .. } => Outcome::TimedOut,
            Self::KindsMissing { .. } => Outcome::KindsMissing,
            Self::Forbidden { .. } => Outcome::Forbidden,
            Self::NotFound { .. } => Outcome::NotFound,
            Self::Refused { .. } => Outcome::Refused,
            Self::Unreadable { .. }
            | Self::Request { .. }
            | Self::File { .. }
            | Self::Usage(_)
            | Self::Template(_)
            | Self::Print(_) => Outcome::Error,
        }
    }
}

fn one_of(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(": {}", known.join(", ")) }
}

fn also(possible: Option<&str>) -> String {
    possible.map(|possible| format!("\n{possible}")).unwrap_or_default()
}

fn hints(similar: &[String], elsewhere: &[String]) -> String {
    match (elsewhere, similar) {
        ([namespace], _) => format!("; there is one in the namespace {namespace:?}: add -n {namespace}"),
        ([], []) => "; see what there is with: kubectl relocation list".to_owned(),
        ([], similar) => format!("; did you mean {}?", similar.join(" or ")),
        (many, _) => format!("; there is one in each of the namespaces {}: add -n", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(error: &Error, sentence: Expect) {
        sentence.assert_eq(&error.to_string());
    }

    #[test]
    fn what_is_not_found_is_answered_with_what_is_close() {
        let missing = |similar: &[&str], elsewhere: &[&str]| Error::NotFound {
            kind: "relocation",
            name: "acm".to_owned(),
            namespace: "default".to_owned(),
            similar: similar.iter().map(ToString::to_string).collect(),
            elsewhere: elsewhere.iter().map(ToString::to_string).collect(),
        };
        check(
            &missing(&[], &[]),
            expect![[
                r#"there is no relocation "acm" in the namespace "default"; see what there is with: kubectl relocation list"#
            ]],
        );
        check(
            &missing(&["acme", "acme-eu"], &[]),
            expect![[r#"there is no relocation "acm" in the namespace "default"; did you mean acme or acme-eu?"#]],
        );
        check(
            &missing(&["acme"], &["eu"]),
            expect![[
                r#"there is no relocation "acm" in the namespace "default"; there is one in the namespace "eu": add -n eu"#
            ]],
        );
    }
}
