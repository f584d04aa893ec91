//! A store's listing in little memory.
//!
//! An object of a listing takes some 200 bytes as a structure with texts of its own, and a store can hold millions.
//! [`Listing`] packs them to about 35 bytes each, however deep their keys are: a key is what it has other than the one before it.
//! [`There`] keeps digests only, for whoever just asks whether a key is taken.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::entry::Digest;
use super::error::Error;
use super::store::fault::Fault;
use super::store::{Object, Store};
use super::tree::Time;

/// So many objects are packed one after the other; to unpack one of them, those before it in its group are.
const GROUP: usize = 16;

/// Objects in the order in which they were added.
#[derive(Debug, Default)]
pub struct Listing {
    groups: Vec<Box<[u8]>>,
    /// The group that is not whole yet.
    open: Vec<u8>,
    count: usize,
    /// The key that was added last.
    last: String,
}

/// An object as it is packed.
#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    /// How many bytes its key begins with like the one before it in its group.
    shared: usize,
    /// The rest of the key.
    rest: &'a str,
    size: u64,
    modified: Time,
    #[serde(borrow)]
    etag: Option<PackedEtag<'a>>,
}

#[derive(Serialize, Deserialize)]
enum PackedEtag<'a> {
    /// The usual one, 32 hexadecimal digits between quotes, in half the room.
    Usual([u8; 16]),
    Other(&'a str),
}

impl Listing {
    /// Adds an object and says its number.
    #[allow(clippy::missing_panics_doc)] // it cannot
    pub fn push(&mut self, object: &Object) -> Result<u32, Fault> {
        // A listing has no versions.
        let Object { key, size, modified, etag, version: _ } = object;
        let number = u32::try_from(self.count).map_err(|_| Fault::Key)?;
        if self.count.is_multiple_of(GROUP) && self.count > 0 {
            self.groups.push(self.open.as_slice().into());
            self.open.clear();
            self.last.clear();
        }
        let same = key.bytes().zip(self.last.bytes()).take_while(|(one, other)| one == other).count();
        let shared = key.floor_char_boundary(same);
        let etag = etag.as_deref().map(|etag| etag_number(etag).map_or(PackedEtag::Other(etag), PackedEtag::Usual));
        let packed = Packed { shared, rest: &key[shared..], size: *size, modified: *modified, etag };
        self.open =
            postcard::to_extend(&packed, std::mem::take(&mut self.open)).expect("memory takes what it is given");
        self.last.clone_from(key);
        self.count += 1;
        Ok(number)
    }

    /// The key of an object.
    #[must_use]
    pub fn key(&self, number: u32) -> String {
        self.unpack(number).0
    }

    /// An object as it was added.
    #[must_use]
    pub fn object(&self, number: u32) -> Object {
        let (key, Packed { size, modified, etag, .. }) = self.unpack(number);
        let etag = etag.map(|etag| match etag {
            PackedEtag::Usual(number) => usual_etag(number),
            PackedEtag::Other(etag) => etag.to_owned(),
        });
        Object { key, size, modified, etag, version: None }
    }

    fn unpack(&self, number: u32) -> (String, Packed<'_>) {
        let number = usize::try_from(number).expect("at least 32 bits");
        let mut rest = self.groups.get(number / GROUP).map_or(self.open.as_slice(), |group| group);
        let mut key = String::new();
        let mut next = || {
            let (packed, after): (Packed, _) = postcard::take_from_bytes(rest).expect("it was packed here");
            rest = after;
            key.truncate(packed.shared);
            key.push_str(packed.rest);
            packed
        };
        for _ in 0..number % GROUP {
            next();
        }
        let packed = next();
        (key, packed)
    }
}

fn etag_number(etag: &str) -> Option<[u8; 16]> {
    let digits = etag.strip_prefix('"')?.strip_suffix('"')?;
    let number = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    (usual_etag(number) == etag).then_some(number)
}

fn usual_etag(number: [u8; 16]) -> String {
    format!("\"{:032x}\"", u128::from_be_bytes(number))
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
        // They begin alike up to the middle of a character.
        objects.extend(["folder/ä", "folder/ö", "folder/ö", "folder", "other"].map(|key| object(key, None)));
        let mut listing = Listing::default();
        let numbers: Vec<u32> = objects.iter().map(|object| listing.push(object).unwrap()).collect();
        for (number, object) in numbers.iter().zip(&objects) {
            assert_eq!(listing.key(*number), object.key);
            assert_eq!(&listing.object(*number), object);
        }
    }
}
