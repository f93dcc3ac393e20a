//! The RAM that GRUB reports and that the kernel may use.

use core::ops::Range;

use arrayvec::ArrayVec;
use multiboot2::{BootInformation, MemoryAreaType};
use x86_64::PhysAddr;

use crate::boot::MAPPED_BYTES;

/// The largest number of ranges of usable RAM. The memory map of OVMF has about ten.
const MAX_RANGES: usize = 64;

/// Returns the RAM above the kernel that `boot` mapped. What GRUB passes is in these ranges, too.
///
/// # Panics
///
/// Panics if the memory map is missing or has too many ranges.
pub(crate) fn usable(information: &BootInformation<'_>) -> ArrayVec<Range<PhysAddr>, MAX_RANGES> {
    unsafe extern "C" {
        safe static __kernel_end_physical: u8;
    }
    let kernel_end = (&raw const __kernel_end_physical).addr() as u64;
    let map = information.memory_map_tag().expect("GRUB passes a memory map to every kernel");
    let ram = map.memory_areas().iter().filter(|area| area.typ() == MemoryAreaType::Available);
    let ranges = ram.map(|area| area.start_address().max(kernel_end)..area.end_address().min(MAPPED_BYTES));
    let ranges = ranges.filter(|range| !range.is_empty());
    ranges.map(|range| PhysAddr::new(range.start)..PhysAddr::new(range.end)).collect()
}
