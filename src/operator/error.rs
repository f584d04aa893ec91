//! Why a pass could not be finished, and what follows from each cause.

use std::time::Duration;

use kube::runtime::controller::Action;

/// Why a pass could not be finished. Waiting is no error; see [`crate::lifecycle::Because`].
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    /// A call to the API server failed.
    #[error("cannot {verb} {resource}")]
    Call {
        verb: &'static str,
        resource: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    /// A call to the API server took too long.
    #[error("the API server did not answer in time: {verb} {resource}")]
    Timeout { verb: &'static str, resource: &'static str },
    /// Another operator leads, so this one writes nothing.
    #[error("this operator no longer leads and does not {verb} {resource}")]
    NotLeading { verb: &'static str, resource: &'static str },
    /// Another writer was faster, again and again.
    #[error("the status was changed by others each time it was to be written")]
    Overtaken,
    /// An object cannot be read as what it should be.
    #[error("{what} cannot be read: {message}")]
    Unreadable { what: &'static str, message: String },
}

impl ReconcileError {
    /// The error of the API server itself, if it is one.
    pub fn api_status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Call { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Timeout { .. } | Self::NotLeading { .. } | Self::Overtaken | Self::Unreadable { .. } => None,
        }
    }

    /// What follows: when to try again.
    pub fn disposition(&self) -> Action {
        match self {
            // Everything is looked at when this operator leads again.
            Self::NotLeading { .. } => Action::await_change(),
            Self::Overtaken => Action::requeue(Duration::from_millis(100)),
            Self::Call { .. } | Self::Timeout { .. } => Action::requeue(Duration::from_secs(2)),
            Self::Unreadable { .. } => Action::requeue(Duration::from_mins(1)),
        }
    }
}
