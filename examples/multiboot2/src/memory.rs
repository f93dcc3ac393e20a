//! The kernel's memory: the frames, the heap, and the address space for guests.
//!
//! | from | to | |
//! | --- | --- | --- |
//! | 0 | the upper half | not mapped |
//! | `0xffff_8000_0000_0000` | + 4 GiB | physical memory |
//! | `0xffff_a000_0000_0000` | + 16 TiB | the window: addresses for the memories of guests |
//! | `0xffff_ffff_8000_0000` | + 1 GiB | the kernel (`kernel.ld`), at 2 MiB of physical memory |

use alloc::boxed::Box;
use core::error::Error;
use core::ops::Range;

use arrayvec::ArrayVec;
use linked_list_allocator::LockedHeap;
use multiboot2::{BootInformation, MemoryAreaType};
use palimpsest_engine::HeapBudget;
use palimpsest_paging::{AddressSpace, FramePool, Layout, PoolError, SingleCpu};
use spin::Once;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{PageSize, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

/// The physical memory that `boot` maps. RAM above it is not used.
pub(crate) const MAPPED_BYTES: u64 = 4 << 30;

/// `boot` maps each physical address at this offset.
pub(crate) const PHYSICAL_OFFSET: VirtAddr = VirtAddr::new(0xffff_8000_0000_0000);

const WINDOW: Range<VirtAddr> = VirtAddr::new(0xffff_a000_0000_0000)..VirtAddr::new(0xffff_b000_0000_0000);

const HEAP_BYTES: usize = 32 << 20;
/// The heap from which guests are served when they have taken the rest.
const HEAP_RESERVE_BYTES: usize = 4 << 20;

/// The largest number of ranges of usable RAM. The memory map of OVMF has about ten.
const MAX_RANGES: usize = 64;

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
/// Panics if the heap does not fit into one range of RAM, or the memory map is missing or has too
/// many ranges.
///
/// # Safety
///
/// The caller guarantees that
/// 1. `information` is what GRUB passed, and no reference into it is used after this call, and
/// 2. this function is called once.
pub(crate) unsafe fn init_frames(information: &BootInformation<'_>) -> Result<(), PoolError> {
    // SAFETY: 1. The memory map reports the ranges as RAM. They are above the kernel, and by the
    // caller's guarantee nothing of GRUB is used any more. 2. `boot` mapped them at the offset.
    let pool = unsafe { FramePool::new(&usable(information), PHYSICAL_OFFSET) }?;
    let pool = POOL.call_once(|| pool);
    let frames = pool.allocate_contiguous(HEAP_BYTES as u64 / Size4KiB::SIZE);
    let frames =
        frames.unwrap_or_else(|| panic!("no {HEAP_BYTES} bytes in one piece for the heap: add memory"));
    let start = PHYSICAL_OFFSET + frames.into_phys().start.start_address().as_u64();
    // SAFETY: the pool gave up these frames, they are mapped at the offset, and this is the only
    // call.
    unsafe { HEAP.inner().lock().init(start.as_mut_ptr(), HEAP_BYTES) };
    Ok(())
}

/// Returns the RAM above the kernel that `boot` mapped.
fn usable(information: &BootInformation<'_>) -> ArrayVec<Range<PhysAddr>, MAX_RANGES> {
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
/// 1. the page tables of `boot` stay active, and nothing else uses the window, and
/// 2. this function is called once.
pub(crate) unsafe fn init_space() -> Result<&'static Space, Box<dyn Error>> {
    HEAP.set_reserve(HEAP_RESERVE_BYTES)?;
    let layout = Layout { window: WINDOW, physical_offset: PHYSICAL_OFFSET, root: Cr3::read().0 };
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
