//! Patterns that say which paths are moved.
//!
//! A pattern without a slash is compared with the last name of a path, wherever that is; one with a slash with the whole path from the root of the source.
//! `*` and `?` stop at slashes, `**` does not, `[a-z]` and `{a,b}` are as in a shell.
//!
//! - `--exclude`: what it names is left out, with everything below it.
//! - `--include`: only files and links that one of these names are taken; directories stay, unless they are excluded.

use serde::{Deserialize, Serialize};

use super::tree::Kind;

/// Which paths are moved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Takes only these; none = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Leaves these out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is moved.
    Yes,
    /// It is not, but something below it may be.
    Not,
    /// Neither it nor anything below it.
    NorBelow,
}

impl Filter {
    /// Judges a path, given that no directory above it is left out.
    #[must_use]
    pub fn judge(&self, path: &[u8], kind: Kind) -> Taken {
        if self.exclude.iter().any(|pattern| matches(pattern, path)) {
            return Taken::NorBelow;
        }
        let is_included = self.include.is_empty() || self.include.iter().any(|pattern| matches(pattern, path));
        if kind == Kind::Directory || is_included { Taken::Yes } else { Taken::Not }
    }

    /// Judges a path by itself and by all directories above it: for keys, which come without their directories.
    #[must_use]
    pub fn takes(&self, path: &[u8], kind: Kind) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut above = slashes.map(|end| &path[..end]);
        !above.any(|above| self.judge(above, Kind::Directory) == Taken::NorBelow)
            && self.judge(path, kind) == Taken::Yes
    }
}

/// Reads a pattern, for the command line. Nothing is no pattern, so that a parameter may be empty.
pub fn parse_pattern(text: &str) -> Result<String, String> {
    fast_glob::validate(text).map_err(|error| format!("the pattern is malformed: {error}"))?;
    if text.starts_with('!') {
        return Err("a pattern does not start with '!'; use --include and --exclude".to_owned());
    }
    Ok(text.to_owned())
}

fn matches(pattern: &str, path: &[u8]) -> bool {
    let subject = if pattern.contains('/') { path } else { super::tree::split(path).1 };
    fast_glob::glob_match(pattern.trim_start_matches('/'), subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(include: &[&str], exclude: &[&str], taken: &[&str], left: &[&str]) {
        let own = |patterns: &[&str]| patterns.iter().map(|pattern| parse_pattern(pattern).unwrap()).collect();
        let filter = Filter { include: own(include), exclude: own(exclude) };
        for path in taken {
            assert!(filter.takes(path.as_bytes(), Kind::File), "{path} is to be taken");
        }
        for path in left {
            assert!(!filter.takes(path.as_bytes(), Kind::File), "{path} is to be left");
        }
    }

    #[test]
    fn without_patterns_everything_is_taken() {
        check(&[], &[], &["a", "a/b", ".x"], &[]);
    }

    #[test]
    fn a_pattern_without_a_slash_is_a_name_anywhere() {
        check(&[], &["*.log", "cache"], &["a.txt", "cachet/a"], &["a.log", "a/b.log", "cache/a", "x/cache/y/z"]);
    }

    #[test]
    fn a_pattern_with_a_slash_starts_at_the_root() {
        check(&[], &["/a", "b/c*", "d/**/x"], &["z/a", "z/b/c", "d/y"], &["a/b", "b/cd", "d/x", "d/e/f/x"]);
    }

    #[test]
    fn what_is_excluded_is_not_included_again() {
        check(&["*.txt"], &["old"], &["a.txt", "b/c.txt"], &["a.md", "old/a.txt"]);
    }

    #[test]
    fn a_malformed_pattern_is_refused() {
        assert!(parse_pattern("a{b").is_err() && parse_pattern("!a").is_err());
    }
}
