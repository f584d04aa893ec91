//! How much of something a test does: little in every run, all of it in `make test-long`.

/// The number in the environment variable, or the reduced one.
pub fn amount(variable: &str, reduced: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: a whole number is wanted")),
        Err(_) => reduced,
    }
}
