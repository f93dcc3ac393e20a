//! Preview 1 as guests see it, on the `fixed` backing, on a host.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

mod archive;
mod directories;
mod files;
mod hostile;
mod linking;
mod odd_archives;
mod preview1;
mod process;
mod streams;
mod support;
mod waits;
mod world;
