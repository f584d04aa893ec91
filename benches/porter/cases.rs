//! What is moved: two kinds of data, three ways.

use crate::Size;

/// What there is to move.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Many files of 4 KiB, 250 in a directory.
    Small,
    /// Four large files.
    Large,
}

/// Where one side of a move is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A folder.
    File,
    /// A bucket.
    S3,
}

/// One section of the report.
#[derive(Clone, Copy)]
pub struct Case {
    pub data: Data,
    pub from: End,
    pub to: End,
}

/// All of them. What a later one reads from a bucket, it puts there first, without being timed.
pub const CASES: [Case; 6] = [
    Case { data: Data::Small, from: End::File, to: End::File },
    Case { data: Data::Small, from: End::File, to: End::S3 },
    Case { data: Data::Small, from: End::S3, to: End::File },
    Case { data: Data::Large, from: End::File, to: End::File },
    Case { data: Data::Large, from: End::File, to: End::S3 },
    Case { data: Data::Large, from: End::S3, to: End::File },
];

impl Data {
    /// How many files, and of how many bytes each.
    pub fn files(self, size: Size) -> (usize, usize) {
        match (self, size) {
            (Self::Small, Size::Full) => (100_000, 4 << 10),
            (Self::Small, Size::Quick) => (10_000, 4 << 10),
            (Self::Large, Size::Full) => (4, 1 << 30),
            (Self::Large, Size::Quick) => (4, 128 << 20),
        }
    }

    /// A word for file names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

impl End {
    fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::S3 => "s3",
        }
    }
}

impl Case {
    /// How it is chosen, like `small:file-s3`.
    pub fn name(self) -> String {
        format!("{}:{}-{}", self.data.word(), self.from.word(), self.to.word())
    }

    /// The heading of its section.
    pub fn title(self, size: Size) -> String {
        let (files, bytes) = self.data.files(size);
        let bytes = if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) };
        let end = |end| if end == End::File { "folder" } else { "S3" };
        format!("{} → {}, {files} × {bytes}", end(self.from), end(self.to))
    }
}
