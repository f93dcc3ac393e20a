//! The address ranges of the kernel's sections, from the symbols in `kernel.ld`.
//!
//! The kernel is linked and loaded at the same addresses, so each range is both virtual and
//! physical.

use core::ops::Range;

use x86_64::{PhysAddr, VirtAddr};

unsafe extern "C" {
    safe static __text_start: u8;
    safe static __text_end: u8;
    safe static __rodata_start: u8;
    safe static __rodata_end: u8;
    safe static __data_start: u8;
    safe static __data_end: u8;
}

/// Returns the executable, read-only range.
pub(super) fn text() -> Range<VirtAddr> {
    between(&raw const __text_start, &raw const __text_end)
}

/// Returns the range that is neither executable nor writable.
pub(super) fn rodata() -> Range<VirtAddr> {
    between(&raw const __rodata_start, &raw const __rodata_end)
}

/// Returns the writable range, which is not executable: data and `.bss`, including the stacks.
pub(super) fn data() -> Range<VirtAddr> {
    between(&raw const __data_start, &raw const __data_end)
}

/// Returns the frames of the whole image.
pub(super) fn frames() -> Range<PhysAddr> {
    PhysAddr::new(text().start.as_u64())..PhysAddr::new(data().end.as_u64())
}

fn between(start: *const u8, end: *const u8) -> Range<VirtAddr> {
    VirtAddr::from_ptr(start)..VirtAddr::from_ptr(end)
}
