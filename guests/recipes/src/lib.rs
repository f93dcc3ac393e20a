//! Recipes for the guest programs that Palimpsest is shown, tested and measured with.
//!
//! - [`guest`] compiles the sources in `guests/`, and those of other projects, with a choice of
//!   allocators.
//! - [`registry`] fetches modules that other projects published at npm and PyPI.
//! - [`programs`] turns both into jobs: a module with the words and files that it is given.
//! - [`node`] runs a job under Node.js on this machine, as the result to compare with.
//!
//! A program whose tools, sources or network are missing is skipped with a message; if the variable
//! `CI` is `true` that is an error.

#![forbid(unsafe_code)]

mod cache;
mod clang;
pub mod guest;
pub mod node;
pub mod programs;
pub mod registry;
mod rust;
mod sources;
mod units;
