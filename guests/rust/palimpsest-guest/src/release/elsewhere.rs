//! Outside WebAssembly no host can release frames, so the zeros are written.

use crate::clear::Frames;

/// Zeroes whole Wasm pages.
pub(crate) fn release(wasm_pages: &mut [u8]) -> Frames {
    wasm_pages.fill(0);
    Frames::Retained
}
