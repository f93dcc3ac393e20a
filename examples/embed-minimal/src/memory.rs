//! The kernel's memory: where everything is, the heap, and the address space for guests.
//!
//! | from | to | |
//! | --- | --- | --- |
//! | 0 | 2 MiB | not mapped: a null pointer, or a stack that overflows, faults |
//! | 2 MiB | 3 MiB | the stack |
//! | 3 MiB | 16 MiB | the kernel (`kernel.ld`) |
//! | 16 MiB | 48 MiB | the heap, for which the engine's default limits are made |
//! | 48 MiB | 64 MiB | frames for guests |
//! | 512 GiB | 1 TiB | the window: addresses for the memories of guests |
//!
//! `boot` maps the first 64 MiB at their own addresses. A kernel for more than one kind of machine takes the
//! borders from its boot loader. Called by `main` at boot, and by `trap` for every page fault.

use alloc::boxed::Box;
use core::error::Error;

use linked_list_allocator::LockedHeap;
use palimpsest_paging::{AddressSpace, CpuTlb, FromX86, Layout};
use spin::Once;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};

use crate::frames::KernelFrames;

/// Where the mapping of physical memory ends. The machine must have as much, and QEMU takes a little of the
/// end of it for itself: its usual 128 MiB are enough.
pub(crate) const MAPPED_BYTES: u64 = 64 << 20;

const HEAP_START: usize = 16 << 20;
const HEAP_BYTES: usize = 32 << 20;
const FRAMES_START: u64 = 48 << 20;

const WINDOW_START: VirtAddr = VirtAddr::new(512 << 30);
const WINDOW_END: VirtAddr = VirtAddr::new(1024 << 30);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// The address space of all guests.
pub(crate) type Space = AddressSpace<FromX86<KernelFrames>, CpuTlb>;

static SPACE: Once<Space> = Once::new();

/// Gives the heap its memory.
///
/// # Safety
///
/// The caller guarantees that
/// 1. the first [`MAPPED_BYTES`] are mapped at their own addresses, and
/// 2. it is called once.
pub(crate) unsafe fn init_heap() {
    // SAFETY: nothing else uses these addresses, says the table above, and the caller guarantees the rest.
    unsafe { HEAP.lock().init(HEAP_START as *mut u8, HEAP_BYTES) };
}

/// Makes the address space for guests.
///
/// # Errors
///
/// The CPU is not set up for it, or it does not fit into the page tables.
///
/// # Safety
///
/// The caller guarantees that
/// 1. the page tables in force map the first [`MAPPED_BYTES`] at their own addresses, nothing in the window,
///    and stay in force, and
/// 2. it is called once.
pub(crate) unsafe fn init_space() -> Result<&'static Space, Box<dyn Error>> {
    let [start, end] = [FRAMES_START, MAPPED_BYTES].map(PhysAddr::new);
    let free = PhysFrame::range(PhysFrame::containing_address(start), PhysFrame::containing_address(end));
    // SAFETY: nothing else uses these frames, says the table above, and this is called once.
    let frames = unsafe { KernelFrames::new(free) };
    let window = WINDOW_START..WINDOW_END;
    let layout = Layout { window, physical_offset: VirtAddr::zero(), root: Cr3::read().0 };
    // SAFETY: 1. Nothing else uses the window. 2. The frames and the tables are below `MAPPED_BYTES`, where
    // addresses are mapped to themselves. 3. There is one CPU. 4. There is one level-4 table.
    let space = unsafe { AddressSpace::new(layout, FromX86::new(frames), CpuTlb::new()?) }?;
    Ok(SPACE.call_once(|| space))
}

/// The address space for guests, once it is made.
pub(crate) fn space() -> Option<&'static Space> {
    SPACE.get()
}
