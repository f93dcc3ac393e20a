//! The kernel's memory: its layout, the heap, and the address space for guests.
//!
//! | from | to | |
//! | --- | --- | --- |
//! | 0 | 2 MiB | not mapped, so that null pointers and stack overflows fault |
//! | 2 MiB | 3 MiB | the stack |
//! | 3 MiB | 16 MiB | the kernel (`kernel.ld`) |
//! | 16 MiB | 48 MiB | the heap, sized for the default limits of the engine |
//! | 48 MiB | 64 MiB | frames for guests |
//! | 512 GiB | 1 TiB | the window: addresses for the memories of guests |
//!
//! `boot` maps the first 64 MiB at their own addresses. A kernel for more than one machine gets the
//! limits of RAM from its boot loader.

use alloc::boxed::Box;
use core::error::Error;
use core::ops::Range;

use linked_list_allocator::LockedHeap;
use palimpsest_engine::{HeapBudget, ReserveError};
use palimpsest_paging::{AddressSpace, FromFns, Layout, SingleCpu};
use spin::Once;
use x86_64::registers::control::Cr3;

use crate::frames;

/// The end of the mapping of physical memory. The machine must have more RAM than this, because
/// QEMU uses a little at its end. The 128 MiB that QEMU has by default are enough.
pub(crate) const MAPPED_BYTES: u64 = 64 << 20;

/// The lowest address of the stack.
pub(crate) const STACK_END: usize = 2 << 20;

const HEAP_START: usize = 16 << 20;
const HEAP_BYTES: usize = 32 << 20;
const FRAMES_START: u64 = 48 << 20;

const WINDOW: Range<u64> = 512 << 30..1024 << 30;

/// The heap from which guests are served when they have taken the rest.
const HEAP_RESERVE_BYTES: usize = 4 << 20;

/// The global allocator, which accounts for what each guest takes.
#[global_allocator]
pub(crate) static HEAP: HeapBudget<LockedHeap> = HeapBudget::new(LockedHeap::empty());

/// The address space of all guests.
pub(crate) type Space = AddressSpace<SingleCpu<FromFns>>;

static SPACE: Once<Space> = Once::new();

/// Initializes the heap and sets the reserve aside.
///
/// # Errors
///
/// Fails if the heap is smaller than the reserve.
///
/// # Safety
///
/// The caller guarantees that
/// 1. the first [`MAPPED_BYTES`] are mapped at their own addresses, and
/// 2. this function is called once.
pub(crate) unsafe fn init_heap() -> Result<(), ReserveError> {
    // SAFETY: 1. By the table above, these addresses have no other use. 2. The caller guarantees
    // that they are mapped and that this is the only call.
    unsafe { HEAP.inner().lock().init(HEAP_START as *mut u8, HEAP_BYTES) };
    HEAP.set_reserve(HEAP_RESERVE_BYTES)
}

/// Creates the address space for guests.
///
/// # Errors
///
/// Fails if the CPU is not configured for it, or if it does not fit into the page tables.
///
/// # Safety
///
/// The caller guarantees that
/// 1. the active page tables map the first [`MAPPED_BYTES`] at their own addresses and nothing in
///    the window, and stay active, and
/// 2. this function is called once.
pub(crate) unsafe fn init_space() -> Result<&'static Space, Box<dyn Error>> {
    // SAFETY: by the table above, these frames have no other use, and this function is called once.
    let frames = unsafe { frames::init(FRAMES_START..MAPPED_BYTES) };
    let platform = SingleCpu::new(frames)?;
    let layout = Layout::new(WINDOW, 0, Cr3::read().0.start_address().as_u64())?;
    // SAFETY: 1. The window has no other use. 2. The frames and the tables are below
    // `MAPPED_BYTES`, where each address is mapped to itself. 3. There is one CPU. 4. There is one
    // level-4 table. 5. The page-fault handler passes faults to `space`, which is set below.
    let space = unsafe { AddressSpace::new(layout, platform) }?;
    Ok(SPACE.call_once(|| space))
}

/// Returns the address space for guests. Returns None before it is created.
pub(crate) fn space() -> Option<&'static Space> {
    SPACE.get()
}
