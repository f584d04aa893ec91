//! How the plugin ends, as an exit code that scripts can rely on.

/// How a command ended.
///
/// | code | meaning |
/// | ---: | --- |
/// | 0 | done; for `wait`: what was waited for has come |
/// | 1 | an error that has no code of its own, wrong use included; for `unpause`: nothing to unpause |
/// | 2 | `wait`, `--wait`: the relocation has failed |
/// | 3 | `wait`, `--wait`: the relocation was cancelled or aborted |
/// | 4 | `wait`, `--wait`: the relocation has paused while its end was waited for |
/// | 5 | nothing of that name |
/// | 6 | the user may not do this |
/// | 7 | no API server: no kubeconfig, no such context, or it does not answer |
/// | 8 | the cluster does not have the kinds of `relocation.dev` |
/// | 9 | the API server refused the change |
/// | 124 | the time given by `--timeout` or `--request-timeout` is over |
/// | 130 | interrupted from the keyboard while watching, following or waiting |
/// | 143 | told to stop by SIGTERM meanwhile |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Done, or reached.
    Done = 0,
    /// An error that has no code of its own.
    Error = 1,
    /// The relocation that was waited for has failed.
    Failed = 2,
    /// The relocation that was waited for was cancelled or aborted.
    Cancelled = 3,
    /// The relocation has paused while its end was waited for.
    Paused = 4,
    /// Nothing of that name.
    NotFound = 5,
    /// The user may not do this.
    Forbidden = 6,
    /// No API server.
    Unreachable = 7,
    /// The cluster does not have our kinds.
    KindsMissing = 8,
    /// The API server refused the change.
    Refused = 9,
    /// The time is over.
    TimedOut = 124,
    /// Interrupted from the keyboard.
    Interrupted = 130,
    /// Told to stop by SIGTERM.
    Terminated = 143,
}

impl Outcome {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}
