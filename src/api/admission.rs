//! The admission rules, as CEL.
