//! Where the kernel's own sections are.
//!
//! Owns the symbols that `kernel.ld` defines. The kernel is linked and loaded at the same addresses, so a
//! section's range is virtual and physical at once. Called by `boot::mapping`, which gives each its rights,
//! and by `boot::ram`, which keeps the image's frames out of the pool.

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

/// Executable, never written.
pub(super) fn text() -> Range<VirtAddr> {
    between(&raw const __text_start, &raw const __text_end)
}

/// Neither executed nor written.
pub(super) fn rodata() -> Range<VirtAddr> {
    between(&raw const __rodata_start, &raw const __rodata_end)
}

/// Written, never executed: data, `.bss` and in it the stacks.
pub(super) fn data() -> Range<VirtAddr> {
    between(&raw const __data_start, &raw const __data_end)
}

/// The frames of the whole image.
pub(super) fn frames() -> Range<PhysAddr> {
    PhysAddr::new(text().start.as_u64())..PhysAddr::new(data().end.as_u64())
}

fn between(start: *const u8, end: *const u8) -> Range<VirtAddr> {
    VirtAddr::from_ptr(start)..VirtAddr::from_ptr(end)
}
