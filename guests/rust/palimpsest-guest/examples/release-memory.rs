//! A program for `wasm32-unknown-unknown` that releases memory, by dropping and by clearing.
//!
//! Build it with `cargo build --release --package palimpsest-guest --target wasm32-unknown-unknown
//! --example release-memory`. Run it with `cargo xtask run release_memory.wasm --invoke build 32`,
//! or `--invoke clear 32`.

#![cfg(target_family = "wasm")]

use std::collections::BTreeMap;

use palimpsest_guest::{Frames, HostHeap};

#[global_allocator]
static HEAP: HostHeap = HostHeap;

/// In bytes
const MIB: usize = 1 << 20;

/// A type whose alignment is larger than that of `malloc`.
#[derive(Clone, Copy)]
#[repr(align(4096))]
struct Page([u8; 4096]);

impl Page {
    /// Returns a page filled with the lowest byte of `number`.
    const fn numbered(number: usize) -> Self {
        Self([number.to_le_bytes()[0]; 4096])
    }
}

/// Builds and drops a vector of `mib` MiB and a map of strings. Returns the number of MiB that were
/// in use.
///
/// # Panics
/// Panics if a value does not contain what was written to it.
#[unsafe(no_mangle)]
pub extern "C" fn build(mib: usize) -> usize {
    let pages: Vec<_> = (0..mib * MIB / size_of::<Page>()).map(Page::numbered).collect();
    let names: BTreeMap<_, _> = (0..10_000).map(|number| (number, format!("page {number}"))).collect();
    assert!(pages.iter().enumerate().all(|(number, page)| page.0[4095] == Page::numbered(number).0[0]));
    assert!(names.iter().all(|(number, name)| *name == format!("page {number}")));
    size_of_val(pages.as_slice()) / MIB
}

/// Fills `mib` MiB, clears them, and checks every byte. Returns how many Wasm pages were released.
///
/// # Panics
/// Panics if a byte is not zero.
#[unsafe(no_mangle)]
pub extern "C" fn clear(mib: usize) -> usize {
    let mut bytes = vec![1_u8; mib * MIB];
    let cleared = palimpsest_guest::clear(&mut bytes);
    assert!(bytes.iter().all(|&byte| byte == 0));
    match cleared.frames {
        Frames::Released => cleared.wasm_pages,
        Frames::Retained => 0,
    }
}
