//! Outside of WebAssembly nobody takes frames back: the zeros are written.

use crate::clear::Frames;

/// Makes whole Wasm pages zero.
pub(crate) fn release(wasm_pages: &mut [u8]) -> Frames {
    wasm_pages.fill(0);
    Frames::Retained
}
