//! Giving Wasm pages back, inside of WebAssembly.

use crate::clear::Frames;
use crate::imports;

/// Makes whole Wasm pages zero and gives their frames back.
pub(crate) fn release(wasm_pages: &mut [u8]) -> Frames {
    // SAFETY: 1. The slice is borrowed exclusively, and zeros are `u8`s. 2. The caller passes whole Wasm pages.
    let retained = unsafe { imports::discard(wasm_pages.as_mut_ptr(), wasm_pages.len()) };
    match retained {
        0 => Frames::Released,
        _ => Frames::Retained,
    }
}
