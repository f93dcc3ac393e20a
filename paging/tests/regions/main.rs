//! The crate through its public API, on a machine that is simulated on the host.

mod adapters;
mod ahead;
mod decommit;
mod deferred;
mod failures;
mod faults;
mod flush;
mod images;
mod limit;
mod model;
mod operations;
mod out_of_frames;
mod pool;
mod pressure;
mod properties;
mod reserve;
mod reserved;
mod scrub;
mod sharing;
mod sink;
mod strategies;
mod threads;
mod touch;
mod world;
mod zero_fill;
mod zero_stores;
