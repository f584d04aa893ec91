//! Trees with names that break programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;

use super::bench::name;

/// One path of a tree and what is there.
#[derive(Debug, Clone)]
pub struct Node {
    pub path: Vec<Vec<u8>>,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Directory,
    File(Vec<u8>),
    Link(Vec<u8>),
    /// A further name of the file that is always there, at the root.
    Again,
}

/// Names that somebody has had trouble with.
const TROUBLE: [&[u8]; 40] = [
    b" ",
    b"  two",
    b"end ",
    b"\n",
    b"a\nb",
    b"\t",
    b"\r\n",
    b"\"",
    b"'",
    b"\\",
    b"\\n",
    b"%",
    b"%2F",
    b"%0A",
    b"%25",
    b"100%",
    b"..foo",
    b"...",
    b"-rf",
    b"--",
    b"~",
    b"#",
    b"?a=b&c",
    b"+",
    b"*",
    b"[a]",
    b"{a,b}",
    b"$HOME",
    b"`id`",
    b";",
    b"|",
    b"<&>",
    b"\x01\x7f",
    b"\xff\xfe",
    b"\xc3",
    b"a\xf0\x9f",
    b".relocation",
    b"relocation-tmp-1",
    b"manifest.jsonl",
    b"import.journal.jsonl",
];

/// Letters and the like that look the same and are not, or turn the line around.
const LETTERS: [&str; 8] =
    ["\u{e9}", "e\u{301}", "\u{212b}", "\u{c5}", "a\u{202e}b", "\u{fffe}", "\u{2028}", "\u{1f600}\u{200d}\u{1f680}"];

fn is_fine(name: &Vec<u8>) -> bool {
    let is_ours = name.starts_with(b".relocation-") || name == b"lost+found";
    !is_ours && !matches!(name.as_slice(), b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

/// Names of at most so many odd bytes; plain ones may have 255.
fn a_name(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::sample::select(&TROUBLE[..]).prop_map(<[u8]>::to_vec),
        2 => proptest::sample::select(&LETTERS[..]).prop_map(|text| text.as_bytes().to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 1..30),
        1 => proptest::collection::vec(any::<u8>(), longest..=longest),
        1 => Just(vec![b'x'; 255]),
        2 => "[a-c.%\\\\ ]{1,4}".prop_map(String::into_bytes),
    ]
    .prop_filter("a name of a directory", is_fine)
}

/// A tree of a few such names.
pub fn a_tree(longest: usize) -> impl Strategy<Value = Vec<Node>> {
    let what = prop_oneof![
        1 => Just(What::Directory),
        4 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(What::File),
        1 => a_name(longest).prop_map(What::Link),
        1 => Just(What::Again),
    ];
    let node = (proptest::collection::vec(a_name(longest), 1..4), what).prop_map(|(path, what)| Node { path, what });
    proptest::collection::vec(node, 1..10)
}

/// Makes it below a directory. What does not go with what is there already is left out.
pub fn plant(root: &Path, nodes: &[Node]) {
    // A source of nothing is refused.
    fs::write(root.join("always"), "there").unwrap();
    for Node { path, what } in nodes {
        let from = if matches!(what, What::Again) { path.len() - 1 } else { 0 };
        let path = path[from..].iter().fold(root.to_owned(), |path, part| path.join(name(part)));
        if fs::create_dir_all(path.parent().unwrap()).is_err() || path.symlink_metadata().is_ok() {
            continue;
        }
        match what {
            What::Directory => fs::create_dir(path).unwrap(),
            What::File(content) => fs::write(path, content).unwrap(),
            What::Link(target) => symlink(name(target), path).unwrap(),
            What::Again => fs::hard_link(root.join("always"), path).unwrap(),
        }
    }
}

/// How many trees are tried: `RELOCATION_MOVER_TREES`, or a few.
pub fn trees(usually: u32) -> ProptestConfig {
    let cases = std::env::var("RELOCATION_MOVER_TREES").map_or(usually, |text| text.parse().unwrap());
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 60, ..ProptestConfig::default() }
}
