//! Everything that can stop a step, as a sentence for a person and a disposition for the operator.
//!
//! The sentence says what is wrong, where, and what to do next.
//! The disposition is the exit code: 65 when trying again cannot help before somebody acts, 1 when it can.

use std::fmt::{self, Display, Formatter};
use std::io;

use rustix::io::Errno;

use super::quoted::Quoted;
use super::store::fault::Fault;

/// Which of the three trees a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The data to move; only ever read.
    Source,
    /// The relocation's own volume between the steps.
    Workspace,
    /// Where the data go.
    Target,
}

impl Display for Side {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Source => "source",
            Self::Workspace => "workspace",
            Self::Target => "target",
        })
    }
}

/// Whether another attempt can help without anybody acting first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Exit code 65: the cause stays until somebody removes it.
    Permanent,
    /// Exit code 1: the next attempt may succeed and goes on where this one stopped.
    Transient,
}

/// Why a step stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line does not parse.
    #[error("the command line is wrong: {0}")]
    Arguments(String),
    /// A variable of the step contract has a value that cannot be used.
    #[error("{name} has a value that cannot be used: {problem}; correct the plan's template or the relocation")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A system call on a path failed.
    #[error("cannot {action} {} of the {side}", Quoted(path))]
    Access {
        /// A verb phrase that fits after "cannot".
        action: &'static str,
        /// The tree.
        side: Side,
        /// The path inside the tree, or the tree's own path when it could not be opened.
        path: Vec<u8>,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// One of the directories given on the command line cannot be opened.
    #[error("cannot open {} as the {side}", Quoted(path))]
    Mount {
        /// The tree.
        side: Side,
        /// The path as it was given.
        path: Vec<u8>,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A store did not do what it was asked.
    #[error("{}: the store {}", asked(action, *side, store, path, fault), fault.phrase())]
    Store {
        /// A verb phrase that fits after "cannot".
        action: &'static str,
        /// Which end it is.
        side: Side,
        /// The store's address, which holds no credentials.
        store: Box<str>,
        /// The key below the prefix.
        path: Vec<u8>,
        /// What it answered.
        fault: Fault,
    },
    /// What is said about a store cannot be used.
    #[error(
        "the settings of the {side} {store} cannot be used: {problem}; correct the environment of the plan's template"
    )]
    StoreSettings {
        /// Which end it is.
        side: Side,
        /// The store's address.
        store: String,
        /// What is wrong, without values.
        problem: String,
    },
    /// What rests in the workspace is sealed, and does not open.
    #[error(
        "what rests in the workspace is sealed, and {0}; name the file with its recipient's identity by RELOCATION_AGE_IDENTITY_FILE or --identity-file in the plan's template, then recover"
    )]
    Locked(&'static str),
    /// The identity is none.
    #[error(
        "the age identity cannot be used: {problem}; correct the Secret that the plan's template mounts, then recover"
    )]
    Identity {
        /// What is wrong, without a part of it.
        problem: String,
    },
    /// The source is no longer what was recorded of it.
    #[error(
        "{} of the source {problem}, so it has changed since it was recorded; the target has nothing of it: start over with a retry of the relocation",
        Quoted(path)
    )]
    SourceDiffers {
        /// The path.
        path: Vec<u8>,
        /// A verb phrase.
        problem: &'static str,
    },
    /// The steps of a relocation do not agree about the staging.
    #[error("{0}; correct the arguments in the plan's template, then recover")]
    Staging(&'static str),
    /// There is nothing to move.
    #[error(
        "the source is empty; mount the volume that holds the data at --source, or pass --allow-empty if nothing is what is to be moved"
    )]
    EmptySource,
    /// `RELOCATION_ITEMS` names what is not there.
    #[error("item '{item}' does not exist at the source; correct spec.items or put it at the top level of the source")]
    MissingItem {
        /// The slug.
        item: String,
    },
    /// The workspace is part of what would be copied into it.
    #[error("the workspace lies inside the source, at {}; mount it elsewhere", Quoted(path))]
    WorkspaceInsideSource {
        /// Where, below the source.
        path: Vec<u8>,
    },
    /// Several things are wrong at once; all are in a report.
    #[error("{summary}; the first of {count}: {first}; all are in {report}")]
    Problems {
        /// What they have in common.
        summary: &'static str,
        /// How many there are.
        count: u64,
        /// The first one's sentence.
        first: String,
        /// The report's path.
        report: String,
    },
    /// Exactly one thing is wrong.
    #[error("{0}")]
    Problem(String),
    /// The source was written to while it was read.
    #[error(
        "{} of the source changed while it was copied; stop whoever writes to the source, the next attempt copies it again",
        Quoted(path)
    )]
    Changed {
        /// The path.
        path: Vec<u8>,
    },
    /// No manifest, so the step before has not been here.
    #[error("there is no manifest.jsonl in the workspace; run `relocation-mover upload` with the same workspace first")]
    ManifestMissing,
    /// No records at the target, so the step before has not been here.
    #[error(
        "there are no records of this relocation at {target}; run `relocation-mover upload` with the same --target first, or start over with a retry of the relocation"
    )]
    NoRecords {
        /// Where they would be.
        target: String,
    },
    /// Nowhere to work on the records of a store.
    #[error(
        "no directory can be made in {} to work on the records of the move ({}); mount an emptyDir there, name another place with TMPDIR, or give the plan a workspace",
        std::env::temp_dir().display(),
        cause(.0)
    )]
    Scratch(io::Error),
    /// The manifest cannot be trusted.
    #[error(
        "manifest.jsonl of the workspace is damaged at line {line}: {problem}; start over with a retry of the relocation"
    )]
    ManifestBroken {
        /// Line, counted from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The staged copy is not what the manifest says.
    #[error("the staged copy of {} {problem}; start over with a retry of the relocation", Quoted(path))]
    StageDiffers {
        /// The path.
        path: Vec<u8>,
        /// A verb phrase.
        problem: &'static str,
    },
    /// Something else is where a path of the manifest must go.
    #[error(
        "{} exists at the target and {problem}; nothing was overwritten: move it away or choose another target, then recover",
        Quoted(path)
    )]
    Conflict {
        /// The path.
        path: Vec<u8>,
        /// A verb phrase.
        problem: &'static str,
    },
    /// A newer launch has been here.
    #[error(
        "fencing token {ours} is older than {recorded}, which the {side} has already seen: a newer launch of this relocation has taken over, so this one must not write"
    )]
    Fenced {
        /// Our token.
        ours: u64,
        /// The one that was found.
        recorded: u64,
        /// Where it was found.
        side: Side,
    },
    /// The URL for the notification cannot be used.
    #[error("the notification's URL cannot be used: {0}; correct the parameter that --url takes")]
    Url(String),
    /// The receiver refused the event.
    #[error("{receiver} refused the event with HTTP status {status}; correct the URL or the receiver, then recover")]
    Refused {
        /// Host of the URL; never its credentials or query.
        receiver: String,
        /// The status.
        status: u16,
    },
    /// The receiver could not take the event now.
    #[error("{receiver} could not take the event: {problem}; the next attempt sends the same event again")]
    Unreachable {
        /// Host of the URL; never its credentials or query.
        receiver: String,
        /// Status or connection problem.
        problem: String,
    },
}

/// What a store was asked for. What is wrong with all of it is not said of the one object that was asked for first.
fn asked(action: &str, side: Side, store: &str, path: &[u8], fault: &Fault) -> String {
    match fault {
        Fault::NoBucket | Fault::Credentials(_) => format!("cannot use the {side} {store}"),
        Fault::Denied(_)
        | Fault::Missing
        | Fault::Exists
        | Fault::Changed
        | Fault::Full(_)
        | Fault::Key
        | Fault::Name(_)
        | Fault::Metadata(_)
        | Fault::Unsupported(_)
        | Fault::Busy(_) => format!("cannot {action} {} of the {side} {store}", Quoted(path)),
    }
}

impl Error {
    /// A failed system call and where it happened.
    pub fn access(action: &'static str, side: Side, path: &[u8], source: impl Into<io::Error>) -> Self {
        let path = if path.is_empty() { b"." } else { path };
        Self::Access { action, side, path: path.to_vec(), source: source.into() }
    }

    /// Whether another attempt can help.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Arguments(_)
            | Self::Environment { .. }
            | Self::EmptySource
            | Self::MissingItem { .. }
            | Self::WorkspaceInsideSource { .. }
            | Self::Problems { .. }
            | Self::Problem(_)
            | Self::ManifestMissing
            | Self::NoRecords { .. }
            | Self::Scratch(_)
            | Self::ManifestBroken { .. }
            | Self::StageDiffers { .. }
            | Self::Conflict { .. }
            | Self::Fenced { .. }
            | Self::StoreSettings { .. }
            | Self::SourceDiffers { .. }
            | Self::Staging(_)
            | Self::Locked(_)
            | Self::Identity { .. }
            | Self::Url(_)
            | Self::Refused { .. } => Disposition::Permanent,
            Self::Changed { .. } | Self::Unreachable { .. } => Disposition::Transient,
            Self::Access { source, .. } => Advice::on(source).disposition(),
            Self::Store { fault, .. } => Advice::on_fault(fault).disposition(),
            Self::Mount { source, .. } => Advice::on_mount(source).disposition(),
        }
    }

    /// The whole sentence, with the cause and what to do.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Access { side, source, .. } => {
                format!("{self}: {}; {}", cause(source), Advice::on(source).text(*side))
            }
            Self::Mount { side, source, .. } => {
                format!("{self}: {}; {}", cause(source), Advice::on_mount(source).text(*side))
            }
            Self::Store { side, fault, .. } => format!("{self}; {}", Advice::on_fault(fault).text(*side)),
            Self::Arguments(_)
            | Self::Environment { .. }
            | Self::EmptySource
            | Self::MissingItem { .. }
            | Self::WorkspaceInsideSource { .. }
            | Self::Problems { .. }
            | Self::Problem(_)
            | Self::StoreSettings { .. }
            | Self::SourceDiffers { .. }
            | Self::Staging(_)
            | Self::Locked(_)
            | Self::Identity { .. }
            | Self::Changed { .. }
            | Self::ManifestMissing
            | Self::NoRecords { .. }
            | Self::Scratch(_)
            | Self::ManifestBroken { .. }
            | Self::StageDiffers { .. }
            | Self::Conflict { .. }
            | Self::Fenced { .. }
            | Self::Url(_)
            | Self::Refused { .. }
            | Self::Unreachable { .. } => self.to_string(),
        }
    }
}

/// What a person can do about an error of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Advice {
    Permit,
    MakeRoom,
    MakeWritable,
    Unsupported,
    Provide,
    Authenticate,
    Grant,
    Bucket,
    Buy,
    Configure,
    Rename,
    Shorten,
    Unsay,
    Wait,
}

impl Advice {
    fn on(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::ACCESS | Errno::PERM) => Self::Permit,
            // A full disk does not empty itself: four attempts would only delay the sentence.
            Some(Errno::NOSPC | Errno::DQUOT) => Self::MakeRoom,
            Some(Errno::ROFS) => Self::MakeWritable,
            Some(Errno::FBIG | Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ | Errno::OPNOTSUPP | Errno::MLINK) => {
                Self::Unsupported
            }
            Some(_) | None => Self::Wait,
        }
    }

    /// A mount point that is not there, or is a file, does not get better by itself; inside a tree the same errors mean that somebody else is writing to it.
    fn on_mount(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Self::Provide,
            Some(_) | None => Self::on(error),
        }
    }

    fn on_fault(fault: &Fault) -> Self {
        match fault {
            Fault::Credentials(_) => Self::Authenticate,
            Fault::Denied(_) => Self::Grant,
            Fault::NoBucket => Self::Bucket,
            Fault::Full(_) => Self::Buy,
            Fault::Key => Self::Rename,
            Fault::Name(_) => Self::Shorten,
            Fault::Metadata(_) => Self::Unsay,
            Fault::Unsupported(_) => Self::Configure,
            Fault::Missing | Fault::Exists | Fault::Changed | Fault::Busy(_) => Self::Wait,
        }
    }

    fn disposition(self) -> Disposition {
        match self {
            Self::Wait => Disposition::Transient,
            Self::Permit
            | Self::MakeRoom
            | Self::MakeWritable
            | Self::Unsupported
            | Self::Provide
            | Self::Authenticate
            | Self::Grant
            | Self::Bucket
            | Self::Buy
            | Self::Configure
            | Self::Rename
            | Self::Shorten
            | Self::Unsay => Disposition::Permanent,
        }
    }

    fn text(self, side: Side) -> String {
        let uid = rustix::process::geteuid().as_raw();
        match (self, side) {
            (Self::Permit, Side::Source) => format!(
                "make it readable for user id {uid}, or run the task as its owner or as root (securityContext.runAsUser in the plan's template), then recover"
            ),
            (Self::Permit, Side::Workspace) => format!(
                "run all tasks of the relocation as the same user, this one runs as user id {uid} (securityContext in the plan's template), then recover"
            ),
            (Self::Permit, Side::Target) => format!(
                "make it writable for user id {uid}, or run the task as its owner or as root (securityContext in the plan's template), then recover"
            ),
            (Self::MakeRoom, Side::Workspace) => {
                "enlarge the workspace's volume (workspace.storage of the plan), then recover: what is staged is kept and not copied again".to_owned()
            }
            (Self::MakeRoom, Side::Source | Side::Target) => format!(
                "enlarge the {side}'s volume or free space and inodes on it, then recover: what has been written is kept and not written again"
            ),
            (Self::MakeWritable, _) => {
                format!("mount the {side} writable in the plan's template, then recover")
            }
            (Self::Unsupported, _) => {
                format!("the {side}'s file system cannot do this; rename or leave out the path, or choose another volume")
            }
            (Self::Provide, _) => format!("mount the {side}'s volume there in the plan's template, then recover"),
            (Self::Authenticate, _) => {
                "correct the credentials in the Secret that the plan's template mounts, then recover".to_owned()
            }
            (Self::Grant, Side::Source) => {
                "allow these credentials to list and read there (S3: s3:ListBucket, s3:GetObject; Google: Storage Object Viewer; Azure: Storage Blob Data Reader), then recover".to_owned()
            }
            (Self::Grant, Side::Workspace | Side::Target) => {
                "allow these credentials to list, read, write and delete there (S3: s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload; Google: Storage Object User; Azure: Storage Blob Data Contributor), then recover".to_owned()
            }
            (Self::Bucket, _) => {
                "make the bucket or correct its name in the plan or the relocation's parameters, then recover".to_owned()
            }
            (Self::Buy, _) => {
                "raise the store's quota or free room there, then recover: what has been written is kept and not written again".to_owned()
            }
            (Self::Configure, _) => {
                "correct the settings of the store in the plan's template, or choose a store that can do it, then recover".to_owned()
            }
            (Self::Rename, Side::Source) => {
                "rename such objects, or choose a prefix without them, then start over with a retry of the relocation".to_owned()
            }
            (Self::Rename, Side::Workspace | Side::Target) => {
                "remove or rename such objects, or choose another prefix, then recover".to_owned()
            }
            (Self::Shorten, _) => {
                "shorten or rename the path at the source, leave it out with --exclude, or choose a shorter prefix, then start over with a retry of the relocation".to_owned()
            }
            (Self::Unsay, _) => {
                "rename or remove such metadata at the source, or leave the object out with --exclude, then start over with a retry of the relocation".to_owned()
            }
            (Self::Wait, _) => "the next attempt tries again".to_owned(),
        }
    }
}

/// The kernel's words without Rust's error number.
#[must_use]
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Adds to a failed system call where it happened.
pub trait At<T> {
    /// Names the action, the tree and the path.
    fn at(self, action: &'static str, side: Side, path: &[u8]) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, side: Side, path: &[u8]) -> Result<T, Error> {
        self.map_err(|source| Error::access(action, side, path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(errno: Errno, side: Side) -> Error {
        Err::<(), _>(errno).at("write", side, b"a/b").expect_err("it failed")
    }

    #[test]
    fn a_full_disk_is_permanent_and_says_which_volume_to_enlarge() {
        let error = on(Errno::NOSPC, Side::Workspace);
        assert_eq!(error.disposition(), Disposition::Permanent);
        assert!(
            error.sentence().starts_with("cannot write 'a/b' of the workspace: no space left on device; enlarge"),
            "{}",
            error.sentence()
        );
    }

    #[test]
    fn an_input_output_error_is_tried_again() {
        assert_eq!(on(Errno::IO, Side::Target).disposition(), Disposition::Transient);
        assert_eq!(on(Errno::STALE, Side::Source).disposition(), Disposition::Transient);
    }

    #[test]
    fn a_missing_permission_names_the_user() {
        let sentence = on(Errno::ACCESS, Side::Source).sentence();
        assert!(sentence.contains("'a/b'") && sentence.contains("readable for user id"), "{sentence}");
    }
}
