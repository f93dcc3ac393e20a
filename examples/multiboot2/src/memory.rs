//! The kernel's memory: the frames, the heap, and the address space for guests.
//!
//! This is step 2 of `docs/embedding.md`. Nothing here depends on the loader, except that the
//! window is between the physical memory and the kernel in the upper half.

use alloc::boxed::Box;
use core::error::Error;
use core::ops::Range;

use linked_list_allocator::LockedHeap;
use palimpsest_engine::HeapBudget;
use palimpsest_paging::{AddressSpace, FramePool, Layout, PoolError, SingleCpu};
use spin::Once;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{PageSize, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

const WINDOW: Range<VirtAddr> = VirtAddr::new(0xffff_a000_0000_0000)..VirtAddr::new(0xffff_b000_0000_0000);

const HEAP_BYTES: usize = 32 << 20;
/// The heap from which guests are served when they have taken the rest.
const HEAP_RESERVE_BYTES: usize = 4 << 20;

/// The global allocator, which accounts for what each guest takes.
#[global_allocator]
pub(crate) static HEAP: HeapBudget<LockedHeap> = HeapBudget::new(LockedHeap::empty());

/// The address space of all guests.
pub(crate) type Space = AddressSpace<SingleCpu<&'static FramePool>>;

static POOL: Once<FramePool> = Once::new();
static SPACE: Once<Space> = Once::new();

/// Makes the frame pool of all usable RAM, and the heap of a part of it.
///
/// # Errors
///
/// Fails if the memory map has no usable RAM, or not in the form that the pool requires.
///
/// # Panics
///
/// Panics if the heap does not fit into one range of RAM.
///
/// # Safety
///
/// The caller guarantees that
/// 1. the ranges are RAM, and nothing else uses them from now on,
/// 2. they are mapped at the offset, and
/// 3. this function is called once.
pub(crate) unsafe fn init_frames(
    usable: &[Range<PhysAddr>],
    physical_offset: VirtAddr,
) -> Result<(), PoolError> {
    // SAFETY: the caller's guarantees 1 and 2.
    let pool = unsafe { FramePool::new(usable, physical_offset) }?;
    let pool = POOL.call_once(|| pool);
    let frames = pool.allocate_contiguous(HEAP_BYTES as u64 / Size4KiB::SIZE);
    let frames =
        frames.unwrap_or_else(|| panic!("no {HEAP_BYTES} bytes in one piece for the heap: add memory"));
    let start = physical_offset + frames.into_phys().start.start_address().as_u64();
    // SAFETY: the pool gave up these frames, they are mapped at the offset, and this is the only
    // call.
    unsafe { HEAP.inner().lock().init(start.as_mut_ptr(), HEAP_BYTES) };
    Ok(())
}

/// Creates the address space for guests, and sets the reserve of the heap aside.
///
/// # Errors
///
/// Fails if the heap is smaller than the reserve, if the CPU is not configured for the address
/// space, or if it does not fit into the page tables.
///
/// # Panics
///
/// Panics if [`init_frames`] was not called.
///
/// # Safety
///
/// The caller guarantees that
/// 1. the page tables of the boot stay active, are mapped at the offset, and map nothing in the
///    window, which nothing else uses, and
/// 2. this function is called once.
pub(crate) unsafe fn init_space(physical_offset: VirtAddr) -> Result<&'static Space, Box<dyn Error>> {
    HEAP.set_reserve(HEAP_RESERVE_BYTES)?;
    let layout = Layout { window: WINDOW, physical_offset, root: Cr3::read().0 };
    let platform = SingleCpu::new(pool())?;
    // SAFETY: 1. Nothing else uses the window. 2. All frames of the pool and the tables are mapped
    // at the offset. 3. There is one CPU. 4. There is one level-4 table. 5. `trap::init` set the
    // page-fault handler, which uses the space.
    let space = unsafe { AddressSpace::new(layout, platform) }?;
    Ok(SPACE.call_once(|| space))
}

/// Returns the frame pool.
///
/// # Panics
///
/// Panics if [`init_frames`] was not called.
pub(crate) fn pool() -> &'static FramePool {
    POOL.get().expect("`init_frames` makes the pool before anything else needs it")
}

/// Returns the address space for guests. Returns None before it is created.
pub(crate) fn space() -> Option<&'static Space> {
    SPACE.get()
}
