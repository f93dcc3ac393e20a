//! What the kernel requests of Limine.
//!
//! Limine enters the kernel in 64-bit mode with interrupts off, with CR0.WP and EFER.NXE set, as
//! Palimpsest requires, and with the kernel in the upper half. It maps all RAM at the offset of its
//! "higher half direct map" (HHDM). Limine finds the requests by their magic numbers. They are in a
//! section that the linker keeps, although nothing refers to it.

use limine::BaseRevision;
use limine::memory_map::{Entry, EntryType};
use limine::request::{HhdmRequest, MemoryMapRequest, StackSizeRequest};
use x86_64::VirtAddr;

/// Guests are called on the stack that Limine makes. 64 KiB are the smallest that it makes.
const STACK_BYTES: u64 = 64 << 10;

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
/// Panics if the loader is not Limine, or is older than the revision.
pub(crate) fn ram() -> (impl Iterator<Item = &'static Entry>, VirtAddr) {
    assert!(REVISION.is_supported(), "the loader does not support revision 3 of Limine's protocol");
    let map = MEMORY_MAP.get_response().expect("Limine responds to every request of the revision");
    let offset = HHDM.get_response().expect("Limine responds to every request of the revision").offset();
    let entries = map.entries().iter().copied();
    (entries.filter(|entry| entry.entry_type == EntryType::USABLE), VirtAddr::new(offset))
}
