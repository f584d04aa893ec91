//! Extended attributes of files and directories. Linux keeps access control lists and capabilities of programs as such, so these go along.
//!
//! Moved are `user.*`, `trusted.*`, `security.capability` and the two lists `system.posix_acl_access` and `system.posix_acl_default`;
//! others (labels of `SELinux` and the like) belong to the machine. `trusted.*` is seen and set by root alone. Links have none that a user could set.
//! What the target does not take is counted.
//!
//! In the metadata of an object they are `NAME:VALUE` with a space between two: names with `%` and two hexadecimal digits for what is not a letter, a digit, `.`, `_` or `-`,
//! values in hexadecimal digits. More than [`LONGEST`] bytes do not fit beside the rest of what a store takes as metadata, and are counted.

use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::entry::{Bytes, from_hex, to_hex};
use super::error::{At, Error, Side};

/// Longest text in the metadata of an object, which may have 2 KiB in all.
pub const LONGEST: usize = 1024;

/// Names and values, in order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(Vec<(Bytes, Bytes)>);

/// When an attribute is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// While whoever sets it may still write: a mode may close the file.
    BeforeMode,
    /// After the mode and the owner, which the kernel changes it with.
    AfterOwner,
}

impl Attributes {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all are of the kinds that are moved.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.0.iter().all(|(name, _)| turn(name.as_bytes()).is_some())
    }

    /// Those of an open file or directory. A file system that has none has none.
    pub fn read(fd: impl AsFd) -> Result<Self, Errno> {
        let mut names = vec![0; 512];
        loop {
            match rustix::fs::flistxattr(&fd, &mut names) {
                // Nearly every file has none.
                Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Self::default()),
                Ok(length) => {
                    names.truncate(length);
                    break;
                }
                Err(Errno::RANGE) => names.resize(names.len() * 4, 0),
                Err(errno) => return Err(errno),
            }
        }
        let mut found = Vec::new();
        for name in names.split(|byte| *byte == 0).filter(|name| turn(name).is_some()) {
            if let Some(value) = value(&fd, name)? {
                found.push((Bytes(name.to_vec()), Bytes(value)));
            }
        }
        found.sort_unstable_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
        Ok(Self(found))
    }

    /// Sets those of one turn, and says how many the target does not take. What is as it should be is not touched.
    pub fn settle(&self, at: Turn, path: &[u8], fd: impl AsFd) -> Result<u64, Error> {
        let mut lost = 0;
        for (name, wanted) in self.0.iter().filter(|(name, _)| turn(name.as_bytes()) == Some(at)) {
            let name = name.as_bytes();
            if value(&fd, name).is_ok_and(|value| value.as_deref() == Some(wanted.as_bytes())) {
                continue;
            }
            match rustix::fs::fsetxattr(&fd, name, wanted.as_bytes(), XattrFlags::empty()) {
                Ok(()) => {}
                Err(
                    Errno::PERM
                    | Errno::ACCESS
                    | Errno::OPNOTSUPP
                    | Errno::NOSPC
                    | Errno::DQUOT
                    | Errno::RANGE
                    | Errno::TOOBIG
                    | Errno::INVAL,
                ) => lost += 1,
                Err(errno) => return Err(errno).at("set an attribute of", Side::Target, path),
            }
        }
        Ok(lost)
    }

    /// As the metadata of an object; nothing if that is too long.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        let pair = |(name, value): &(Bytes, Bytes)| format!("{}:{}", escape(name.as_bytes()), to_hex(value.as_bytes()));
        let text = self.0.iter().map(pair).collect::<Vec<_>>().join(" ");
        (text.len() <= LONGEST).then_some(text)
    }

    /// From the metadata of an object; nothing if it is not one that [`Attributes::as_text`] makes.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once(':')?;
            Some((Bytes(unescape(name)?), Bytes(from_hex(value)?)))
        };
        let found = Self(text.split(' ').map(pair).collect::<Option<_>>()?);
        found.are_known().then_some(found)
    }
}

/// When an attribute is set, if it is one that is moved.
fn turn(name: &[u8]) -> Option<Turn> {
    let has_rest = |start: &[u8]| name.strip_prefix(start).is_some_and(|rest| !rest.is_empty() && !rest.contains(&0));
    if has_rest(b"user.") {
        Some(Turn::BeforeMode)
    } else if has_rest(b"trusted.")
        || matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default")
    {
        Some(Turn::AfterOwner)
    } else {
        None
    }
}

fn value(fd: impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::fgetxattr(&fd, name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            // Gone since it was listed.
            Err(Errno::NODATA) => return Ok(None),
            Err(Errno::RANGE) => value.resize(value.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// A name in ASCII without a space, a `:` or a `/`.
pub(super) fn escape(name: &[u8]) -> String {
    let one = |byte: &u8| if is_plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    name.iter().map(one).collect()
}

/// The name that [`escape`] made this of; nothing where a `%` has no digits.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut name = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        name.extend(from_hex(digits)?);
        name.extend(rest.as_bytes());
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_fits_into_metadata_comes_back(
            pairs in proptest::collection::vec((proptest::collection::vec(1_u8.., 1..20), proptest::collection::vec(any::<u8>(), 0..40)), 1..6)
        ) {
            let named = |(name, value): (Vec<u8>, Vec<u8>)| (Bytes([b"user.", name.as_slice()].concat()), Bytes(value));
            let attributes = Attributes(pairs.into_iter().map(named).collect());
            let text = attributes.as_text().unwrap();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(Attributes::from_text(&text), Some(attributes));
        }
    }

    #[test]
    fn what_is_of_no_known_kind_is_refused() {
        for text in ["security.selinux:00", "user.:00", "user.a%00:00", "user.a", "user.a:0", "", "user.%4:00"] {
            assert_eq!(Attributes::from_text(text), None, "{text}");
        }
    }
}
