//! Tests by rule, and random histories around the judgement.
//!
//! A test's name is the rule as a sentence. The world in which histories play is in [`world`].

mod answers;
mod boundaries;
mod breaks;
mod endings;
mod fixtures;
mod histories;
mod job_readings;
mod jobs;
mod kstatus;
mod launches;
mod model;
mod order;
mod plans;
mod projections;
mod purity;
mod recoveries;
mod requests;
mod retries;
mod totality;
mod world;
