//! Clears a slice: zeroes its bytes, and releases the frames of its whole Wasm pages.
//!
//! Only whole Wasm pages can be released, so the bytes before and after them are zeroed by writing.
//! Clearing is safe because the slice is borrowed exclusively and zero is a valid `u8`.

use core::ops::Range;

use crate::release::release;

/// The size of a Wasm page in bytes.
pub const WASM_PAGE: usize = 65536;

/// The fate of the frames of cleared Wasm pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// All frames are free.
    Released,
    /// The guest keeps some frames, zeroed: the host's strategy requires it, it has no MMU, or it
    /// is not Palimpsest.
    Retained,
}

/// The result of [`clear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The number of whole Wasm pages in the slice.
    pub wasm_pages: usize,
    /// The fate of their frames. [`Frames::Released`] if there are no whole Wasm pages.
    pub frames: Frames,
}

/// Zeroes all bytes, and releases the frames of the whole Wasm pages among them. The next write to
/// such a page allocates a new frame.
///
/// # Examples
/// ```
/// let mut bytes = vec![1_u8; 3 * palimpsest_guest::WASM_PAGE];
/// let cleared = palimpsest_guest::clear(&mut bytes);
/// assert!(cleared.wasm_pages >= 2);
/// assert!(bytes.iter().all(|&byte| byte == 0));
/// ```
pub fn clear(bytes: &mut [u8]) -> Cleared {
    let inside = whole_wasm_pages(bytes.as_ptr().addr(), bytes.len());
    let (rest, after) = bytes.split_at_mut(inside.end);
    let (before, pages) = rest.split_at_mut(inside.start);
    before.fill(0);
    after.fill(0);
    let frames = if pages.is_empty() { Frames::Released } else { release(pages) };
    Cleared { wasm_pages: pages.len() / WASM_PAGE, frames }
}

/// Returns the whole Wasm pages in `length` bytes at `address`, as offsets from `address`. Returns
/// `0..0` if there are none.
fn whole_wasm_pages(address: usize, length: usize) -> Range<usize> {
    let Some(first) = address.checked_next_multiple_of(WASM_PAGE) else { return 0..0 };
    let start = first - address;
    let Some(rest) = length.checked_sub(start) else { return 0..0 };
    match rest - rest % WASM_PAGE {
        0 => 0..0,
        whole => start..start + whole,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn only_whole_wasm_pages_are_inside() {
        for (address, length, inside) in [
            (0, 2 * WASM_PAGE, 0..2 * WASM_PAGE),
            (0, WASM_PAGE - 1, 0..0),
            (1, WASM_PAGE, 0..0),
            (1, 2 * WASM_PAGE - 1, WASM_PAGE - 1..2 * WASM_PAGE - 1),
            (WASM_PAGE - 8, WASM_PAGE + 16, 8..WASM_PAGE + 8),
            (WASM_PAGE - 8, 4, 0..0),
            (3 * WASM_PAGE, 0, 0..0),
        ] {
            assert_eq!(whole_wasm_pages(address, length), inside, "{length} bytes at {address}");
        }
    }

    #[test]
    fn an_incomplete_wasm_page_at_the_end_of_the_address_space_is_ignored() {
        assert_eq!(whole_wasm_pages(usize::MAX - 100, 100), 0..0);
    }

    #[test]
    fn every_byte_of_the_slice_becomes_zero_and_no_other() {
        let mut bytes = vec![7_u8; 4 * WASM_PAGE];
        let cleared = clear(&mut bytes[100..4 * WASM_PAGE - 100]);
        assert!((2..=3).contains(&cleared.wasm_pages), "{cleared:?}");
        assert_eq!(cleared.frames, Frames::Retained);
        assert!(bytes[..100].iter().chain(&bytes[4 * WASM_PAGE - 100..]).all(|&byte| byte == 7));
        assert!(bytes[100..4 * WASM_PAGE - 100].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_slice_without_a_whole_wasm_page_retains_nothing() {
        let cleared = clear(&mut [7; 64]);
        assert_eq!(cleared, Cleared { wasm_pages: 0, frames: Frames::Released });
    }
}
