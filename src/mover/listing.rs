//! A store's listing in little memory.
//!
//! An object of a listing takes some 200 bytes as a structure with texts of its own, and a store can hold millions.
//! [`Listing`] packs them into one text and a row of numbers each, about 60 bytes with keys and `ETag`s of the usual length.
//! [`There`] keeps digests only, for whoever just asks whether a key is taken.

use std::collections::HashMap;

use super::entry::Digest;
use super::error::Error;
use super::store::fault::Fault;
use super::store::{Object, Store};

/// The length of an `ETag` that is not there.
const NO_ETAG: u16 = u16::MAX;
/// The length of one that is packed.
const PACKED: u16 = u16::MAX - 1;
/// Bytes that it takes.
const PACKED_BYTES: usize = 16;
/// So many objects share the place where the bytes of the first one start.
const GROUP: usize = 32;

/// Objects in the order in which they were added.
#[derive(Debug, Default)]
pub struct Listing {
    /// Each object's key, and its `ETag` right after it.
    bytes: Vec<u8>,
    rows: Vec<Row>,
    /// Where the bytes of each group start.
    starts: Vec<u64>,
}

#[derive(Debug)]
struct Row {
    size: u64,
    seconds: i64,
    nanoseconds: u32,
    key: u16,
    etag: u16,
}

impl Row {
    fn etag_bytes(&self) -> usize {
        match self.etag {
            NO_ETAG => 0,
            PACKED => PACKED_BYTES,
            length => length.into(),
        }
    }
}

impl Listing {
    /// Adds an object and says its number. No store has keys of 64 KiB; whoever answers so is no store.
    pub fn push(&mut self, object: &Object) -> Result<u32, Fault> {
        // A listing has no versions.
        let Object { key, size, modified, etag, version: _ } = object;
        let length = |text: &str| u16::try_from(text.len()).ok().filter(|length| *length < PACKED).ok_or(Fault::Key);
        let packed = etag.as_deref().and_then(pack);
        let etag_length = match (etag.as_deref(), packed) {
            (None, _) => NO_ETAG,
            (Some(_), Some(_)) => PACKED,
            (Some(etag), None) => length(etag)?,
        };
        let row =
            Row { size: *size, seconds: modified.0, nanoseconds: modified.1, key: length(key)?, etag: etag_length };
        let number = u32::try_from(self.rows.len()).map_err(|_| Fault::Key)?;
        if self.rows.len().is_multiple_of(GROUP) {
            self.starts.push(self.bytes.len() as u64);
        }
        self.bytes.extend_from_slice(key.as_bytes());
        match packed {
            Some(packed) => self.bytes.extend_from_slice(&packed),
            None => self.bytes.extend_from_slice(etag.as_deref().unwrap_or_default().as_bytes()),
        }
        self.rows.push(row);
        Ok(number)
    }

    /// The key of an object.
    #[must_use]
    pub fn key(&self, number: u32) -> &str {
        text(self.of(number).1)
    }

    /// An object as it was added.
    #[must_use]
    pub fn object(&self, number: u32) -> Object {
        let (row, key, etag) = self.of(number);
        let etag = match row.etag {
            NO_ETAG => None,
            PACKED => Some(unpack(etag)),
            _ => Some(text(etag).to_owned()),
        };
        let modified = (row.seconds, row.nanoseconds);
        Object { key: text(key).to_owned(), size: row.size, modified, etag, version: None }
    }

    /// An object's row, the bytes of its key, and those of its `ETag`.
    fn of(&self, number: u32) -> (&Row, &[u8], &[u8]) {
        let number = usize::try_from(number).expect("at least 32 bits");
        let (row, group) = (&self.rows[number], number / GROUP);
        let before = self.rows[group * GROUP..number].iter().map(|row| usize::from(row.key) + row.etag_bytes());
        let start = usize::try_from(self.starts[group]).expect("it is in memory") + before.sum::<usize>();
        let (key, rest) = self.bytes[start..].split_at(row.key.into());
        (row, key, &rest[..row.etag_bytes()])
    }
}

/// What was put in was text.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text was put in")
}

/// The usual `ETag`, 32 hexadecimal digits between quotes, in half the room.
fn pack(etag: &str) -> Option<[u8; PACKED_BYTES]> {
    let digits = etag.strip_prefix('"')?.strip_suffix('"')?;
    let packed = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    (unpack(&packed) == etag).then_some(packed)
}

fn unpack(packed: &[u8]) -> String {
    let number = packed.try_into().map(u128::from_be_bytes).expect("as many bytes as were packed");
    format!("\"{number:032x}\"")
}

/// Which keys are taken, and by which `ETag`.
#[derive(Debug, Default)]
pub struct There(HashMap<[u8; 16], Option<[u8; 16]>>);

impl There {
    /// Lists a store, but for the keys that `leaves_out` names.
    pub fn list(store: &Store, leaves_out: impl Fn(&str) -> bool) -> Result<Self, Error> {
        let mut there = HashMap::new();
        store.each(|object| {
            if !leaves_out(&object.key) {
                there.insert(short(&object.key), object.etag.as_deref().map(short));
            }
            Ok(())
        })?;
        Ok(Self(there))
    }

    /// Whether there is an object of this key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(&short(key))
    }

    /// Whether there is an object of this key that has this `ETag`.
    #[must_use]
    pub fn has_with(&self, key: &str, etag: &str) -> bool {
        self.0.get(&short(key)).is_some_and(|there| *there == Some(short(etag)))
    }

    /// Takes a key out, if it is there, and says whether it was.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.remove(&short(key)).is_some()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

fn short(text: &str) -> [u8; 16] {
    Digest::half_of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_out_as_they_went_in() {
        let object = |key: &str, etag: Option<&str>| Object {
            key: key.to_owned(),
            size: key.len() as u64,
            modified: (-7, 999_999_999),
            etag: etag.map(str::to_owned),
            version: None,
        };
        let usual = "\"00c0ffee00c0ffee00c0ffee00c0ffee\"";
        let mut objects =
            vec![object("a", Some("\"e\"")), object("", None), object("ä/b", Some("")), object("z", None)];
        objects.extend(
            [usual, &usual.to_uppercase(), &usual.replace("\"00", "\"+0"), "\"00\""]
                .map(|etag| object("y", Some(etag))),
        );
        objects.extend((0..100).map(|number| object(&"k".repeat(number), (number % 3 > 0).then_some(usual))));
        let mut listing = Listing::default();
        let numbers: Vec<u32> = objects.iter().map(|object| listing.push(object).unwrap()).collect();
        for (number, object) in numbers.iter().zip(&objects) {
            assert_eq!(listing.key(*number), object.key);
            assert_eq!(&listing.object(*number), object);
        }
        assert_eq!(listing.push(&object(&"k".repeat(65_535), None)), Err(Fault::Key));
    }
}
