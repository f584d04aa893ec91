//! Large files, moved in parts: several threads work on one file, and a killed attempt loses some parts and not the file.
//!
//! BLAKE3 is a tree of hashes. A part whose length is a power of two, at a multiple of that length, is a whole subtree of it,
//! so the digest of a file follows from one value for each part, whoever hashed it and when (section 5.1 of the BLAKE3 paper).
//! [`Chain`] merges these values as they come, in order, and keeps one for each level of the tree:
//! that and a number is all that a checkpoint inside a file has to hold.
//!
//! **Invariant: a checkpoint means bytes on the disk, or parts that the store has taken.** Its line is written to the journal (see [`super::journal`]) after them.

use std::ops::Range;
use std::sync::Arc;

use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};

use super::entry::Digest;

/// Bytes of a part that is read from a file.
pub const FILE_PART: u64 = 8 << 20;
/// Bytes of a part that is read from a store into a file: long enough that the request for it does not count.
pub const FETCHED_PART: u64 = 64 << 20;
/// Bytes of a part that is sent to a store, at least: the smallest power of two that S3 takes, because parts are held in memory.
const STORE_PART: u64 = 8 << 20;
/// Most parts of an object. S3 takes 10,000.
const MOST: u64 = 10_000;

/// The length of the parts of an object of `size` bytes at a store: a power of two, so that no object has more parts than a store takes.
#[must_use]
pub fn store_part(size: u64) -> u64 {
    size.div_ceil(MOST).next_power_of_two().max(STORE_PART)
}

/// How a file is cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of a part, a power of two; the last one may be shorter.
    pub part_size: u64,
}

impl Cut {
    /// How many parts there are.
    #[must_use]
    pub fn count(self) -> u64 {
        self.size.div_ceil(self.part_size)
    }

    /// Where a part is, counted from 0.
    #[must_use]
    pub fn range(self, number: u64) -> Range<u64> {
        let start = number * self.part_size;
        start..(start + self.part_size).min(self.size)
    }

    /// Bytes of a part.
    #[must_use]
    pub fn length(self, number: u64) -> u64 {
        let Range { start, end } = self.range(number);
        end - start
    }
}

/// Hands out the parts of one large file after the other.
#[derive(Debug)]
pub struct Parts<L>(Option<(Arc<L>, Range<u64>)>);

impl<L> Default for Parts<L> {
    fn default() -> Self {
        Self(None)
    }
}

impl<L> Parts<L> {
    /// Goes on with these parts of a file. Those of the last one have all been handed out.
    pub fn begin(&mut self, large: L, parts: Range<u64>) {
        self.0 = Some((Arc::new(large), parts));
    }

    /// The next part and its file.
    pub fn next_part(&mut self) -> Option<(Arc<L>, u64)> {
        let (large, parts) = self.0.as_mut()?;
        parts.next().map(|number| (large.clone(), number))
    }
}

/// Hashes one part, which starts at `offset` of its file.
#[must_use]
pub fn hasher_at(offset: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher
}

/// The value of a part that `hasher` was fed with. A file that is one part has a digest instead.
#[must_use]
pub fn value(hasher: &blake3::Hasher) -> ChainingValue {
    hasher.finalize_non_root()
}

/// The values of the parts from the first on, merged as far as they can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    count: u64,
    stack: Vec<ChainingValue>,
}

impl Chain {
    /// Adds the value of the next part.
    pub fn push(&mut self, value: ChainingValue) {
        // A subtree is closed only when something follows it: the last merge of all is another one.
        while self.stack.len() > self.count.count_ones() as usize
            && let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop())
        {
            self.stack.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
        self.stack.push(value);
        self.count += 1;
    }

    /// Parts so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The digest of the file, when all its parts have been added; nothing of fewer than two.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        let (first, rest) = self.stack.split_first()?;
        let (last, between) = rest.split_last()?;
        let right = between.iter().rev().fold(*last, |right, left| merge_subtrees_non_root(left, &right, Mode::Hash));
        Some(merge_subtrees_root(first, &right, Mode::Hash).into())
    }

    /// What a checkpoint holds of it beside the count.
    #[must_use]
    pub fn saved(&self) -> Saved {
        Saved(self.stack.iter().map(|value| Digest::from(blake3::Hash::from_bytes(*value))).collect())
    }
}

/// The values of a [`Chain`], the largest subtree first, written like digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Saved(Vec<Digest>);

impl Saved {
    /// The chain of `count` parts; nothing if that many parts cannot have left these values.
    #[must_use]
    pub fn chain(&self, count: u64) -> Option<Chain> {
        let levels = if count == 0 { 0 } else { (count - 1).count_ones() as usize + 1 };
        let stack = self.0.iter().map(|value| *value.as_bytes()).collect();
        (self.0.len() == levels).then_some(Chain { count, stack })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_digest_of_the_parts_is_that_of_the_file(length in 1025_usize..40_000, stop in 0_u64..40) {
            const PART: usize = 1024;
            let bytes: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
            let mut chain = Chain::default();
            for (number, part) in bytes.chunks(PART).enumerate() {
                if chain.count() == stop {
                    let text = serde_json::to_string(&chain.saved()).unwrap();
                    let saved: Saved = serde_json::from_str(&text).unwrap();
                    prop_assert_eq!(saved.chain(0).is_some(), stop == 0);
                    chain = saved.chain(stop).unwrap();
                }
                let mut hasher = hasher_at((number * PART) as u64);
                hasher.update(part);
                chain.push(value(&hasher));
            }
            prop_assert_eq!(chain.digest(), Some(Digest::of(&bytes)));
        }
    }

    #[test]
    fn every_size_fits_into_the_parts_that_a_store_takes() {
        for size in [0, 1, STORE_PART, STORE_PART + 1, 49 << 30, 100 << 30, 5 << 40] {
            let part = store_part(size);
            assert!(part >= STORE_PART && part.is_power_of_two() && size.div_ceil(part) <= MOST, "{size}");
        }
        assert_eq!(store_part(1 << 30), STORE_PART);
    }
}
