//! What a file system can hold, found out by trying: its documentation is not at hand, and mount options change it.
//!
//! Every try is a temporary file in the target's root that is removed at once; a leftover of a killed try is recognised like any other.

use std::cell::Cell;
use std::collections::HashMap;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::error::{At, Error, Side};
use super::fence::Fence;
use super::tree::Dir;

/// Tries things at a target.
#[derive(Debug)]
pub struct Probe<'a> {
    root: &'a Dir,
    fence: &'a Fence,
    tries: Cell<u64>,
    /// Longest name in bytes.
    pub longest_name: u64,
    bytes: HashMap<Option<u8>, bool>,
}

impl<'a> Probe<'a> {
    /// Prepares, and fails if nothing can be written there.
    pub fn new(root: &'a Dir, fence: &'a Fence) -> Result<Self, Error> {
        let volume = rustix::fs::fstatvfs(root).at("measure", Side::Target, b".")?;
        let probe = Self { root, fence, tries: Cell::new(0), longest_name: volume.f_namemax, bytes: HashMap::new() };
        let name = probe.name(b"");
        root.create_file(&name).and_then(|_| root.remove_file(&name)).at("write", Side::Target, b".")?;
        Ok(probe)
    }

    /// Whether `a` and `A` are the same name.
    pub fn is_blind_to_case(&self) -> Result<bool, Error> {
        let (lower, upper) = self.cases();
        self.with_file(&lower, || self.root.look(&upper).map(|found| found.is_some()))
    }

    /// Whether a file can have a second name.
    pub fn holds_hard_links(&self) -> Result<bool, Error> {
        let (first, second) = (self.name(b"1"), self.name(b"2"));
        self.with_file(&first, || {
            let linked = rustix::fs::linkat(self.root, &first, self.root, &second, AtFlags::empty());
            self.root.remove_file(&second)?;
            can(linked)
        })
    }

    /// Whether there are symbolic links.
    pub fn holds_links(&self) -> Result<bool, Error> {
        let name = self.name(b"l");
        let made = rustix::fs::symlinkat(c"nowhere", self.root, &name);
        self.root.remove_file(&name).at("write", Side::Target, b".")?;
        can(made).at("write", Side::Target, b".")
    }

    /// Whether a file can be `size` bytes long. The file has no content, so no room is needed.
    pub fn holds_size(&self, size: u64) -> Result<bool, Error> {
        let name = self.name(b"s");
        let file = self.root.create_file(&name).at("write", Side::Target, b".")?;
        let grown = rustix::fs::ftruncate(file, size);
        self.root.remove_file(&name).at("write", Side::Target, b".")?;
        match grown {
            Err(Errno::FBIG | Errno::INVAL) => Ok(false),
            other => other.map(|()| true).at("write", Side::Target, b"."),
        }
    }

    /// The first character of `name` that the target does not allow in names: a byte, or `None` for bytes that are not UTF-8.
    pub fn forbidden_in(&mut self, name: &[u8]) -> Option<Option<u8>> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte) || !byte.is_ascii();
        let odd = name.iter().filter(|byte| !is_plain(byte)).map(|byte| Some(*byte));
        let raw = std::str::from_utf8(name).is_err().then_some(None);
        odd.chain(raw).find(|what| !self.holds_byte(*what))
    }

    fn holds_byte(&mut self, what: Option<u8>) -> bool {
        if let Some(known) = self.bytes.get(&what) {
            return *known;
        }
        let name = self.name(&[b'x', what.unwrap_or(0xff), b'x']);
        let made = self.root.create_file(&name);
        let _ = self.root.remove_file(&name);
        let holds = made.is_ok();
        self.bytes.insert(what, holds);
        holds
    }

    fn with_file<T>(&self, name: &[u8], inner: impl FnOnce() -> Result<T, Errno>) -> Result<T, Error> {
        let tried = self.root.create_file(name).and_then(|_| inner());
        self.root.remove_file(name).and(tried).at("write", Side::Target, b".")
    }

    /// A name, and the same in capitals.
    fn cases(&self) -> (Vec<u8>, Vec<u8>) {
        let lower = self.name(b"a");
        let upper = lower.to_ascii_uppercase();
        (lower, upper)
    }

    /// A name that nothing has. An attempt that was killed here may have left something under it.
    fn name(&self, suffix: &[u8]) -> Vec<u8> {
        self.tries.set(self.tries.get() + 1);
        let name = [&self.fence.temporary(self.tries.get()), b"-probe-".as_slice(), suffix].concat();
        // What cannot be removed is met again by the probe itself.
        let _ = self.root.remove_file(&name);
        name
    }
}

/// Whether the target can do what was tried; an error that says nothing about that is one.
fn can<T>(tried: Result<T, Errno>) -> Result<bool, Errno> {
    tried.map(|_| true).or_else(|errno| match errno {
        Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::MLINK => Ok(false),
        errno => Err(errno),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_names_of_the_question_about_case_differ_in_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Dir::open_root(temporary.path(), Side::Target).unwrap();
        let fence = Fence::look(&root, None).unwrap();
        let probe = Probe::new(&root, &fence).unwrap();
        let (lower, upper) = probe.cases();
        assert!(
            lower != upper && lower.eq_ignore_ascii_case(&upper),
            "{} {}",
            lower.escape_ascii(),
            upper.escape_ascii()
        );
    }

    #[test]
    fn what_a_killed_probe_left_is_no_answer() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Dir::open_root(temporary.path(), Side::Target).unwrap();
        let fence = Fence::look(&root, None).unwrap();
        let name = |number| [&fence.temporary(number), b"-probe-l".as_slice()].concat();
        for number in 1..5 {
            rustix::fs::symlinkat(c"left", &root, name(number)).unwrap();
        }
        assert!(Probe::new(&root, &fence).unwrap().holds_links().unwrap());
    }
}
