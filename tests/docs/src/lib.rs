//! The documents, so that their code blocks are compiled as documentation tests.
//!
//! `tests/documents.rs` checks that no document with a block of Rust is missing here.

#[doc = include_str!("../../../docs/semantics.md")]
pub mod semantics {}

#[doc = include_str!("../../../README.md")]
pub mod readme {}

#[doc = include_str!("../../../heap/README.md")]
pub mod heap {}

#[doc = include_str!("../../../engine/README.md")]
pub mod engine {}

#[doc = include_str!("../../../paging/README.md")]
pub mod paging {}

#[doc = include_str!("../../../wasi/README.md")]
pub mod wasi {}

#[doc = include_str!("../../../docs/firmware.md")]
pub mod firmware {}

#[doc = include_str!("../../../docs/embedding.md")]
pub mod embedding {}

#[doc = include_str!("../../../docs/forks.md")]
pub mod forks {}

#[doc = include_str!("../../../floats/README.md")]
pub mod floats {}
