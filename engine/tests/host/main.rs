//! Tests of the public API on a host, over the fixed backing.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

mod bad_input;
mod bulk;
mod clear;
mod entry;
mod exact_limits;
mod host_functions;
mod images;
mod lent;
mod lent_model;
mod limits;
mod memories;
mod owners;
mod prepared;
mod shared_limits;
mod snapshot_ready;
mod snapshots;
mod splice;
mod stack;
mod support;
mod surcharge;
mod task;
mod turns;
