//! The frame pool, the kernel heap, and the address space for guests.
//!
//! `boot` initializes them once, in this order, and they exist until the machine ends. The
//! page-fault handler uses the address space through `handle_fault`, and all other code uses it
//! through `Machine`.

mod block;
mod hardware;

use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use palimpsest_paging::{
    AddressSpace, CpuError, FramePool, Layout, NotOurs, Outcome, PageFault, PoolError, SpaceError,
};
use spin::Once;
use thiserror::Error;
use x86_64::VirtAddr;
use x86_64::structures::paging::{PageSize, PhysFrame, Size4KiB};

use crate::boot::UsableRam;
use crate::heap;

pub use self::block::{BLOCK_BYTES, Block};
pub(crate) use self::hardware::USES_MANY_CPUS;
pub use self::hardware::{Frames, Hardware};
pub use crate::boot::PHYSICAL_OFFSET;

/// The address space for the regions of all guests.
pub type Space = AddressSpace<Hardware>;

/// The addresses for regions: 16 TiB of the lower half. The kernel is at its start, and physical
/// memory in the higher half.
const WINDOW: Range<VirtAddr> =
    VirtAddr::new_truncate(0x0000_1000_0000_0000)..VirtAddr::new_truncate(0x0000_2000_0000_0000);

/// The part of the pool that becomes the heap of instances, within the bounds below. An instance
/// with one page uses three or four frames, and about half as much heap for the interpreter's data.
const HEAP_DIVISOR: u64 = 3;
const MIN_HEAP_BYTES: u64 = 8 << 20;
const MAX_HEAP_BYTES: u64 = 64 << 20;

/// The bytes of heap for each byte of the module to run, besides the part for instances: what the
/// engine sets aside for translated code, and what loading keeps.
const CODE_BYTES_PER_MODULE_BYTE: u64 = 16;

/// A larger pool gives half of what exceeds this to the heap, for many instances of large modules.
/// One of QuickJS takes 122 KiB.
const LARGE_POOL_BYTES: u64 = 512 << 20;

/// The bytes of heap for each byte of the module to run, if they are more than the heap has
/// otherwise.
///
/// The engine sets aside what the first calls of all functions may take, which is 7 to 9 times the
/// code of real modules, and 72 times the largest function (`palimpsest_engine::HeapBudget`). The
/// rest is enough to load them.
const HEAP_BYTES_PER_MODULE_BYTE: u64 = 20;
/// The most of the pool that becomes heap for a module, in quarters.
const MAX_HEAP_QUARTERS: u64 = 3;

/// More bytes of heap for each byte of the module, up to [`MAX_SPARE_BYTES`] and half of the pool.
///
/// What is set aside is one block. It grows while the module is loaded, so a module with a few
/// large functions needs room beside the block.
const SPARE_BYTES_PER_MODULE_BYTE: u64 = 16;
const MAX_SPARE_BYTES: u64 = 32 << 20;

static POOL: Once<Frames> = Once::new();
static SPACE: Once<Space> = Once::new();
static PLAIN_ENTRY: AtomicBool = AtomicBool::new(false);

/// Why the kernel's memory cannot be initialized.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum MemoryError {
    /// The frame pool refused the memory map.
    #[error("frame pool: {0}")]
    Pool(#[from] PoolError),
    /// There is not enough contiguous memory for the heap.
    #[error("no {bytes} contiguous bytes for the kernel heap in {free_frames} free frames: add memory")]
    Heap { bytes: u64, free_frames: u64 },
    /// The CPU is not configured as the address space requires.
    #[error("address space: {0}")]
    Cpu(#[from] CpuError),
    /// The address space refused its window.
    #[error("address space: {0}")]
    Space(#[from] SpaceError),
}

/// The fault entry of the address space that the page-fault handler calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultEntry {
    /// With the saved registers, so that zero fills can be fast-forwarded. This is the default.
    RegisterAware,
    /// With only the address and the error code, as in a kernel whose fault handler has no more.
    Plain,
}

/// Selects the entry for all further page faults.
pub fn set_fault_entry(entry: FaultEntry) {
    PLAIN_ENTRY.store(entry == FaultEntry::Plain, Ordering::Relaxed);
}

/// Returns the frame pool.
pub(crate) fn pool() -> &'static Frames {
    POOL.get().expect("`init` fills the pool before `boot` creates the machine")
}

/// Returns the address space.
pub(crate) fn space() -> &'static Space {
    SPACE.get().expect("`init` creates the address space before `boot` creates the machine")
}

/// Fills the pool from `usable`, allocates a heap for a module of `module_bytes`, and creates the
/// address space below `root`, which `cpus` CPUs will use.
///
/// # Errors
///
/// See [`MemoryError`].
///
/// # Safety
///
/// The caller guarantees that
/// 1. `usable` is RAM without another use, always mapped at [`PHYSICAL_OFFSET`] and writable,
/// 2. `root` is the active level-4 table, stays active, and maps nothing in the window, and
/// 3. this function is called once.
pub(crate) unsafe fn init(
    usable: &UsableRam,
    root: PhysFrame,
    module_bytes: u64,
    cpus: usize,
) -> Result<(), MemoryError> {
    // SAFETY: the caller's guarantee 1.
    let pool = unsafe { FramePool::new(usable.ranges(), PHYSICAL_OFFSET) }?;
    init_heap(&pool, module_bytes)?;
    let pool = POOL.call_once(|| hardware::frames(pool, cpus));
    let layout = Layout { window: WINDOW, physical_offset: PHYSICAL_OFFSET, root };
    // SAFETY: `Cpu::start` and `cpu::harden` set each CPU up like this one.
    let hardware = unsafe { hardware::hardware(pool, cpus) }?;
    // SAFETY: the caller's guarantees 1 and 2. The window has no other use. The page-fault handler
    // passes faults to `space`, which is set below. The engine enters before it touches a region,
    // and the tests of regions do.
    let space = unsafe { AddressSpace::new(layout, hardware) }?;
    SPACE.call_once(|| space);
    Ok(())
}

fn init_heap(pool: &FramePool, module_bytes: u64) -> Result<(), MemoryError> {
    let pool_bytes = pool.total_frames() * Size4KiB::SIZE;
    let most = MAX_HEAP_BYTES.max(pool_bytes.saturating_sub(LARGE_POOL_BYTES) / 2);
    let code = module_bytes * CODE_BYTES_PER_MODULE_BYTE;
    let share = (pool_bytes / HEAP_DIVISOR + code).clamp(MIN_HEAP_BYTES, most);
    let needed = module_bytes * HEAP_BYTES_PER_MODULE_BYTE;
    let spare = (module_bytes * SPARE_BYTES_PER_MODULE_BYTE).min(MAX_SPARE_BYTES);
    let for_module = needed.min(pool_bytes / 4 * MAX_HEAP_QUARTERS).max((needed + spare).min(pool_bytes / 2));
    let bytes = share.max(for_module).next_multiple_of(Size4KiB::SIZE);
    let heap_bytes = usize::try_from(bytes).expect("a part of the pool is inside the address space");
    let out_of_memory = MemoryError::Heap { bytes, free_frames: pool.free_frames() };
    let run = pool.allocate_contiguous(bytes / Size4KiB::SIZE).ok_or(out_of_memory)?;
    let start = PHYSICAL_OFFSET + run.into_phys().start.start_address().as_u64();
    // SAFETY: 1. The frames are never released, and are mapped and writable by guarantee 1 of
    // `init`.
    // 2. `init` is called once.
    unsafe { heap::init(start.as_mut_ptr(), heap_bytes) };
    Ok(())
}

/// Resolves a page fault in a region. If it succeeds, the interrupted instruction must be
/// restarted.
///
/// # Errors
///
/// [`Unhandled`] if the address space did not cause the fault on purpose.
pub(crate) fn handle_fault(fault: &mut PageFault) -> Result<(), Unhandled> {
    // Do not call the address space: a fault of the kernel itself may have occurred with its lock
    // held.
    if !WINDOW.contains(&fault.fault().address) {
        return Err(Unhandled::OutsideWindow);
    }
    let space = SPACE.get().ok_or(Unhandled::TooEarly)?;
    let outcome = if PLAIN_ENTRY.load(Ordering::Relaxed) {
        space.handle_fault(fault.fault())
    } else {
        space.handle_page_fault(fault)
    };
    match outcome {
        Outcome::Handled => Ok(()),
        Outcome::NotOurs(reason) => Err(Unhandled::NotOurs(reason)),
    }
}

/// Why a page fault was not handled.
#[derive(Debug)]
pub(crate) enum Unhandled {
    /// The address is not in the window.
    OutsideWindow,
    /// The address space does not exist yet.
    TooEarly,
    /// The reason that the address space returned.
    NotOurs(NotOurs),
}

impl fmt::Display for Unhandled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsideWindow => f.write_str("the address is outside the window for regions"),
            Self::TooEarly => f.write_str("the kernel is still booting"),
            Self::NotOurs(reason) => write!(f, "{reason}"),
        }
    }
}
