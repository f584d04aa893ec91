//! Whatever a file is called, it arrives under that name.

use proptest::prelude::*;

use super::bench::Bench;
use super::nasty::{a_tree, plant, trees};

proptest! {
    #![proptest_config(trees(24))]

    #[test]
    fn whatever_it_is_called_it_arrives_in_a_tree(nodes in a_tree(255)) {
        let bench = Bench::quick();
        plant(&bench.path("source"), &nodes);
        let done = bench.move_all();
        prop_assert_eq!(done.count("extra"), 0);
        bench.assert_moved();
    }
}
