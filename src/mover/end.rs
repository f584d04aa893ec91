//! The two ends of a move: a directory tree, or a part of an object store.
//!
//! | written | end |
//! |---|---|
//! | `/path`, `path`, `file:///path` | a directory tree |
//! | `s3://BUCKET[/PREFIX]` | an S3-compatible bucket |
//! | `gs://BUCKET[/PREFIX]` | a Google Cloud Storage bucket |
//! | `az://CONTAINER[/PREFIX]` | an Azure Blob Storage container |
//!
//! An address never holds credentials: it is shown in results and logs. Where credentials come from, [`super::store::open`] says.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// Where data come from or go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A directory tree.
    Tree(PathBuf),
    /// A part of an object store.
    Store(Location),
}

/// A bucket and the part of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Whose protocol.
    pub service: Service,
    /// Bucket or container.
    pub bucket: String,
    /// What all keys start with, without slashes at its ends; empty = the whole bucket.
    pub prefix: String,
}

/// The protocols of object stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// S3 and what speaks like it.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

impl Service {
    /// How addresses of this service start.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

impl Display for Location {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { service, bucket, prefix } = self;
        write!(formatter, "{}://{bucket}", service.scheme())?;
        if prefix.is_empty() { Ok(()) } else { write!(formatter, "/{prefix}") }
    }
}

impl End {
    /// Reads an address. A refusal does not repeat the address: somebody may have put a secret into it.
    pub fn parse(text: OsString) -> Result<Self, String> {
        let Some(address) = text.to_str() else { return Ok(Self::Tree(text.into())) };
        let Some((scheme, rest)) = address.split_once("://") else { return Ok(Self::Tree(text.into())) };
        let service = match scheme {
            "file" if rest.starts_with('/') => return Ok(Self::Tree(rest.into())),
            "file" => return Err("a file:// address names an absolute path: file:///path".to_owned()),
            "s3" => Service::S3,
            "gs" => Service::Google,
            "az" => Service::Azure,
            _ => return Err("an address starts with file://, s3://, gs:// or az://, or is a path".to_owned()),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(is_plain) {
            return Err(
                "the name of the bucket has other characters than letters, digits, '.', '_' and '-'; credentials do not belong there but into the environment"
                    .to_owned(),
            );
        }
        let prefix = prefix.trim_matches('/');
        let is_fine = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(|c| c.is_ascii_control());
        if !prefix.is_empty() && !prefix.split('/').all(is_fine) {
            return Err("the prefix has an empty part, '.', '..' or a control character".to_owned());
        }
        Ok(Self::Store(Location { service, bucket: bucket.to_owned(), prefix: prefix.to_owned() }))
    }
}

impl Display for End {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(path) => write!(formatter, "{}", path.display()),
            Self::Store(location) => location.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_path_however_it_is_written() {
        for (text, path) in [("/a/b", "/a/b"), ("a", "a"), ("file:///a b", "/a b"), ("./s3:/x", "./s3:/x")] {
            assert_eq!(End::parse(text.into()), Ok(End::Tree(path.into())), "{text}");
        }
    }

    #[test]
    fn an_address_is_shown_as_it_is_meant() {
        for (text, shown) in [
            ("s3://b", "s3://b"),
            ("s3://b/", "s3://b"),
            ("gs://b/a/c/", "gs://b/a/c"),
            ("az://container/p%20q", "az://container/p%20q"),
        ] {
            assert_eq!(End::parse(text.into()).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_address_with_credentials_is_refused_and_not_repeated() {
        for text in
            ["s3://key:secret@bucket/a", "s3://secret@bucket", "s3:///a", "secret://a", "s3://b/a//b", "s3://b/../c"]
        {
            let sentence = End::parse(text.into()).unwrap_err();
            assert!(!sentence.contains("secret"), "{sentence}");
        }
    }
}
