//! A store's listing in little memory.
//!
//! An object of a listing takes some 200 bytes as a structure with texts of its own, and a store can hold millions.
//! [`Listing`] packs them into one text and a row of numbers each, about 80 bytes with keys and `ETag`s of the usual length.
//! [`There`] keeps digests only, for whoever just asks whether a key is taken.

use std::collections::HashMap;

use super::entry::Digest;
use super::error::Error;
use super::store::fault::Fault;
use super::store::{Object, Store};

/// The length of an `ETag` that is not there.
const NO_ETAG: u16 = u16::MAX;

/// Objects in the order in which they were added.
#[derive(Debug, Default)]
pub struct Listing {
    /// Each object's key, and its `ETag` right after it.
    text: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    start: u64,
    size: u64,
    seconds: i64,
    nanoseconds: u32,
    key: u16,
    etag: u16,
}

impl Listing {
    /// Adds an object and says its number. No store has keys of 64 KiB; whoever answers so is no store.
    pub fn push(&mut self, object: &Object) -> Result<u32, Fault> {
        let Object { key, size, modified, etag } = object;
        let length = |text: &str| u16::try_from(text.len()).ok().filter(|length| *length < NO_ETAG).ok_or(Fault::Key);
        let row = Row {
            start: self.text.len() as u64,
            size: *size,
            seconds: modified.0,
            nanoseconds: modified.1,
            key: length(key)?,
            etag: etag.as_deref().map_or(Ok(NO_ETAG), length)?,
        };
        let number = u32::try_from(self.rows.len()).map_err(|_| Fault::Key)?;
        self.text.push_str(key);
        self.text.push_str(etag.as_deref().unwrap_or_default());
        self.rows.push(row);
        Ok(number)
    }

    /// The key of an object.
    #[must_use]
    pub fn key(&self, number: u32) -> &str {
        let row = self.row(number);
        self.text(row.start, row.key)
    }

    /// An object as it was added.
    #[must_use]
    pub fn object(&self, number: u32) -> Object {
        let row = self.row(number);
        let etag = (row.etag != NO_ETAG).then(|| self.text(row.start + u64::from(row.key), row.etag).to_owned());
        Object { key: self.key(number).to_owned(), size: row.size, modified: (row.seconds, row.nanoseconds), etag }
    }

    fn row(&self, number: u32) -> &Row {
        &self.rows[usize::try_from(number).expect("at least 32 bits")]
    }

    fn text(&self, start: u64, length: u16) -> &str {
        let start = usize::try_from(start).expect("it is in memory");
        &self.text[start..start + usize::from(length)]
    }
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
        };
        let objects = [object("a", Some("\"e\"")), object("", None), object("ä/b", Some("")), object("z", None)];
        let mut listing = Listing::default();
        let numbers: Vec<u32> = objects.iter().map(|object| listing.push(object).unwrap()).collect();
        for (number, object) in numbers.iter().zip(&objects) {
            assert_eq!(listing.key(*number), object.key);
            assert_eq!(&listing.object(*number), object);
        }
        assert_eq!(listing.push(&object(&"k".repeat(65_535), None)), Err(Fault::Key));
    }
}
