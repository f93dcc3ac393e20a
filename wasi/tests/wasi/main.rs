//! Tests preview 1 from the guest's side, on the host, over the `fixed` backing.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

mod archive;
mod directories;
mod files;
mod forks;
mod hostile;
mod linking;
mod model;
mod odd_archives;
mod preview1;
mod prices;
mod process;
mod run;
mod state_bytes;
mod streams;
mod support;
mod times;
mod waits;
mod world;
