//! Names that are close to one that is not there.

/// How many names are suggested.
const SHOWN: usize = 3;

/// From here on two names are alike enough to be a slip of the finger, by Jaro and Winkler.
const ALIKE: f64 = 0.8;

/// The names that were probably meant, the likeliest first.
pub(super) fn similar<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (score(&wanted, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    scored.sort_by(|left, right| right.0.total_cmp(&left.0).then_with(|| left.1.cmp(right.1)));
    scored.into_iter().take(SHOWN).map(|(_, name)| name.to_owned()).collect()
}

fn score(wanted: &str, name: &str) -> f64 {
    // Half of a name is what people remember of it.
    let holds = wanted.len() >= 3 && name.contains(wanted) || name.len() >= 3 && wanted.contains(name);
    if holds { 0.95 } else { strsim::jaro_winkler(wanted, name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_halves_are_found_and_strangers_are_not() {
        let names = ["acme", "acme-eu", "globex", "initech"];
        assert_eq!(similar("acm", names), ["acme", "acme-eu"]);
        assert_eq!(similar("globxe", names), ["globex"]);
        assert_eq!(similar("ACME", names), ["acme", "acme-eu"]);
        assert!(similar("umbrella", names).is_empty());
    }
}
