//! The admission rules, as the API server answers.
