//! Checks that the global allocator has room for an engine.
//!
//! wasmi cannot handle an allocation that fails, and so a kernel would end at its first engine. An
//! attempt to allocate as much in one block shows that beforehand.

use alloc::vec::Vec;
use core::hint::black_box;

use super::EngineError;

/// Words of heap for the first engine of a program, whose self-check runs a module. With 64 bits
/// 17,271 bytes were measured.
const FIRST_WORDS: usize = 2_560;

/// Words of heap for a later engine. With 64 bits 1,088 bytes were measured.
const LATER_WORDS: usize = 256;

/// Checks that there is room for the first engine of the program, or for a later one.
///
/// # Errors
///
/// [`EngineError::HeapTooSmall`].
pub(super) fn check(is_first: bool) -> Result<(), EngineError> {
    let words = if is_first { FIRST_WORDS } else { LATER_WORDS };
    let mut block: Vec<usize> = Vec::new();
    let reserved = block.try_reserve_exact(words);
    // An allocation that nothing uses may be left out.
    black_box(&mut block);
    reserved.map_err(|_| EngineError::HeapTooSmall { needed_bytes: words * size_of::<usize>() })
}
