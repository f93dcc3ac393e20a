//! What the kernel requests of Limine.
//!
//! Limine enters the kernel in 64-bit mode with interrupts off, with CR0.WP and EFER.NXE set, as
//! Palimpsest requires, and with the kernel in the upper half. It maps all RAM at the offset of its
//! "higher half direct map" (HHDM). Limine finds the requests by their magic numbers. They are in a
//! section that the linker keeps, although nothing refers to it.

use core::ops::Range;

use arrayvec::ArrayVec;
use limine::BaseRevision;
use limine::memory_map::EntryType;
use limine::request::{HhdmRequest, MemoryMapRequest, StackSizeRequest};
use x86_64::{PhysAddr, VirtAddr};

/// Guests are called on the stack that Limine makes. 64 KiB are the smallest that it makes.
const STACK_BYTES: u64 = 64 << 10;

/// The largest number of ranges of usable RAM.
const MAX_RANGES: usize = 128;

/// The revision of the protocol, in which the HHDM maps RAM and nothing else.
#[used]
#[unsafe(link_section = ".requests")]
static REVISION: BaseRevision = BaseRevision::with_revision(3);

#[used]
#[unsafe(link_section = ".requests")]
static STACK: StackSizeRequest = StackSizeRequest::new().with_size(STACK_BYTES);

#[used]
#[unsafe(link_section = ".requests")]
static MEMORY_MAP: MemoryMapRequest = MemoryMapRequest::new();

#[used]
#[unsafe(link_section = ".requests")]
static HHDM: HhdmRequest = HhdmRequest::new();

/// Returns the ranges of RAM that neither the kernel nor Limine uses, and the offset at which they
/// are mapped.
///
/// # Panics
///
/// Panics if the loader is not Limine, or is older than the revision, or if the memory map has too
/// many ranges.
pub(crate) fn ram() -> (ArrayVec<Range<PhysAddr>, MAX_RANGES>, VirtAddr) {
    assert!(REVISION.is_supported(), "the loader does not support revision 3 of Limine's protocol");
    let map = MEMORY_MAP.get_response().expect("Limine responds to every request of the revision");
    let offset = HHDM.get_response().expect("Limine responds to every request of the revision").offset();
    let usable = map.entries().iter().filter(|entry| entry.entry_type == EntryType::USABLE);
    let ranges = usable.map(|entry| PhysAddr::new(entry.base)..PhysAddr::new(entry.base + entry.length));
    (ranges.collect(), VirtAddr::new(offset))
}
