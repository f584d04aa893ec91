//! Paths as keys of objects.
//!
//! A path may hold bytes that a key cannot: control characters, and bytes that are not UTF-8; at Azure also `\`, which it makes `/` of.
//! Such a path becomes a key in which these bytes, and every `%`, are `%` and two upper-case hexadecimal digits;
//! the object then carries the metadata `relocationname: escaped`, and only such a key is turned back.
//! Every other path is its own key, and every key without that mark its own path: `100%25.txt` stays what it is in both directions.
//!
//! Two paths could meet in one key only if one of them is spelt like the escaped form of the other.
//! That is not silent: an object is compared with the mark it should carry.

use super::super::end::Service;

/// Longest key in bytes, of all services.
pub const LONGEST: usize = 1024;

/// A path as a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key, below the prefix.
    pub text: String,
    /// Whether it is spelt differently from the path.
    pub is_escaped: bool,
}

/// The key for a path at a service.
#[must_use]
pub fn encode(path: &[u8], service: Service) -> Key {
    let is_unfit = |character| is_unfit(character) || service == Service::Azure && character == '\\';
    if let Ok(text) = std::str::from_utf8(path)
        && !text.chars().any(is_unfit)
    {
        return Key { text: text.to_owned(), is_escaped: false };
    }
    let mut text = String::with_capacity(path.len() + 16);
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '%' || is_unfit(character) {
                let mut bytes = [0; 4];
                character.encode_utf8(&mut bytes).bytes().for_each(|byte| push(&mut text, byte));
            } else {
                text.push(character);
            }
        }
        chunk.invalid().iter().for_each(|byte| push(&mut text, *byte));
    }
    Key { text, is_escaped: true }
}

/// The path of a key that carries the mark; nothing if it is not one that [`encode`] makes.
#[must_use]
pub fn decode(key: &str, service: Service) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            path.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            path.push(*first);
        }
    }
    (encode(&path, service) == Key { text: key.to_owned(), is_escaped: true }).then_some(path)
}

/// Whether a key may be the escaped form of a path, so that it is worth looking for the mark.
#[must_use]
pub fn may_be_escaped(key: &str, service: Service) -> bool {
    key.contains('%') && decode(key, service).is_some()
}

/// What XML 1.0, in which stores list their keys, or the library cannot hold.
fn is_unfit(character: char) -> bool {
    character.is_ascii_control() || matches!(character, '\u{fffe}' | '\u{ffff}')
}

fn push(text: &mut String, byte: u8) {
    use std::fmt::Write as _;
    write!(text, "%{byte:02X}").expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_name_is_its_own_key() {
        for name in ["a/b", "100%", "a%20b", "%25", "Ü b", "{}[]~^|\\"] {
            assert_eq!(encode(name.as_bytes(), Service::S3), Key { text: name.to_owned(), is_escaped: false });
        }
    }

    #[test]
    fn an_odd_name_is_escaped_with_all_its_percent_signs() {
        assert_eq!(encode(b"a%\n\xff\xc3\xa4", Service::S3).text, "a%25%0A%FFä");
        let may_be = |key| may_be_escaped(key, Service::S3);
        assert!(!may_be("a%20b") && !may_be("100%") && may_be("a%0Ab"));
    }

    #[test]
    fn a_backslash_is_escaped_at_azure_only() {
        let path = br"a\b";
        assert_eq!(encode(path, Service::Azure), Key { text: "a%5Cb".to_owned(), is_escaped: true });
        assert_eq!(encode(path, Service::Google), Key { text: r"a\b".to_owned(), is_escaped: false });
        assert!(may_be_escaped("a%5Cb", Service::Azure) && !may_be_escaped("a%5Cb", Service::S3));
    }

    fn any_service() -> impl Strategy<Value = Service> {
        prop_oneof![Just(Service::S3), Just(Service::Google), Just(Service::Azure)]
    }

    proptest! {
        #[test]
        fn every_path_comes_back(path in proptest::collection::vec(any::<u8>(), 0..40), service in any_service()) {
            let key = encode(&path, service);
            let back = if key.is_escaped { decode(&key.text, service) } else { Some(key.text.into_bytes()) };
            prop_assert_eq!(back, Some(path));
        }

        #[test]
        fn a_key_is_decoded_only_if_it_is_what_its_path_becomes(key in "[a%0-9A-F/]{0,12}", service in any_service()) {
            if let Some(path) = decode(&key, service) {
                prop_assert_eq!(encode(&path, service).text, key);
            }
        }
    }
}
