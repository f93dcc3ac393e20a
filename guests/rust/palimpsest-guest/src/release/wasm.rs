//! Releases Wasm pages inside WebAssembly.

use crate::clear::Frames;
use crate::imports;

/// Zeroes whole Wasm pages and releases their frames.
pub(crate) fn release(wasm_pages: &mut [u8]) -> Frames {
    // SAFETY: 1. The slice is borrowed exclusively, and zeros are valid `u8`s. 2. `clear` passes
    // whole Wasm pages, so no other value has a byte in them.
    let retained = unsafe { imports::discard(wasm_pages.as_mut_ptr(), wasm_pages.len()) };
    match retained {
        0 => Frames::Released,
        _ => Frames::Retained,
    }
}
