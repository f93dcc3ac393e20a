//! The frame pool, the kernel heap out of it, and the one address space for guests.
//!
//! Owns the statics that hold them: written once by `boot`, in this order, and alive until the machine ends.
//! The page-fault handler reaches the address space through `handle_fault`, everybody else through `Machine`.
//! Nothing else in the kernel talks to `palimpsest_paging` at boot or in a fault.

mod block;

use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use palimpsest_paging::{
    AddressSpace, CpuError, CpuTlb, Fault, FramePool, Layout, NotOurs, Outcome, PoolError, SpaceError,
    StringRegisters,
};
use spin::Once;
use thiserror::Error;
use x86_64::VirtAddr;
use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::{PageSize, PhysFrame, Size4KiB};

use crate::boot::UsableRam;
use crate::heap;
use crate::trap::TrapFrame;

pub use self::block::{BLOCK_BYTES, Block};
pub use crate::boot::PHYSICAL_OFFSET;

/// The address space that guests' regions are reserved in.
pub type Space = AddressSpace<&'static FramePool, CpuTlb>;

/// Where regions are: 16 TiB of the lower half, far from the kernel at its start and from physical memory in
/// the higher half.
const WINDOW: Range<VirtAddr> =
    VirtAddr::new_truncate(0x0000_1000_0000_0000)..VirtAddr::new_truncate(0x0000_2000_0000_0000);

/// The heap gets this part of the pool, within the bounds below: an instance of one page takes three or four frames
/// of its own and, in the interpreter's books, about half as much heap.
const HEAP_DIVISOR: u64 = 3;
const MIN_HEAP_BYTES: u64 = 8 << 20;
const MAX_HEAP_BYTES: u64 = 64 << 20;

static POOL: Once<FramePool> = Once::new();
static SPACE: Once<Space> = Once::new();
static PLAIN_ENTRY: AtomicBool = AtomicBool::new(false);

/// Why the kernel has no memory to work with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum MemoryError {
    /// The frame pool refused the memory map.
    #[error("frame pool: {0}")]
    Pool(#[from] PoolError),
    /// Too little memory.
    #[error("no {bytes} bytes in a row for the kernel heap in {free_frames} free frames: add memory")]
    Heap { bytes: u64, free_frames: u64 },
    /// The CPU is not set up as the address space needs it.
    #[error("address space: {0}")]
    Cpu(#[from] CpuError),
    /// The address space refused its window.
    #[error("address space: {0}")]
    Space(#[from] SpaceError),
}

/// Which of the address space's two fault entries the page-fault handler calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultEntry {
    /// With the saved registers, so that a fill of zeros can be fast-forwarded. The one in use from boot on.
    RegisterAware,
    /// With the address and the error code alone, as in a kernel whose fault handler has no more.
    Plain,
}

/// Chooses the entry for all further page faults.
pub fn set_fault_entry(entry: FaultEntry) {
    PLAIN_ENTRY.store(entry == FaultEntry::Plain, Ordering::Relaxed);
}

/// The frame pool.
pub(crate) fn pool() -> &'static FramePool {
    POOL.get().expect("boot fills the pool before it makes a machine")
}

/// The address space.
pub(crate) fn space() -> &'static Space {
    SPACE.get().expect("boot makes the address space before it makes a machine")
}

/// Builds the pool from `usable`, takes the heap out of it, and makes the address space under `root`.
///
/// # Errors
///
/// See [`MemoryError`].
///
/// # Safety
///
/// 1. `usable` is RAM that nothing else uses, mapped at [`PHYSICAL_OFFSET`], readable and writable, for good.
/// 2. `root` is the level-4 table in force, for good, and maps nothing in the window.
/// 3. It is called once.
pub(crate) unsafe fn init(usable: &UsableRam, root: PhysFrame) -> Result<(), MemoryError> {
    // SAFETY: the caller's fact 1.
    let pool = unsafe { FramePool::new(usable.ranges(), PHYSICAL_OFFSET) }?;
    let pool = POOL.call_once(|| pool);
    init_heap(pool)?;
    let layout = Layout { window: WINDOW, physical_offset: PHYSICAL_OFFSET, root };
    // SAFETY: the caller's facts 1 and 2, and the window is the address space's own: nothing else uses it.
    let space = unsafe { AddressSpace::new(layout, pool, CpuTlb::new()?) }?;
    SPACE.call_once(|| space);
    Ok(())
}

fn init_heap(pool: &FramePool) -> Result<(), MemoryError> {
    let share = pool.total_frames() / HEAP_DIVISOR * Size4KiB::SIZE;
    let bytes = share.clamp(MIN_HEAP_BYTES, MAX_HEAP_BYTES);
    let out_of_memory = MemoryError::Heap { bytes, free_frames: pool.free_frames() };
    let run = pool.allocate_contiguous(bytes / Size4KiB::SIZE).ok_or(out_of_memory)?;
    let start = PHYSICAL_OFFSET + run.into_phys().start.start_address().as_u64();
    // SAFETY: 1. the frames are out of the pool for good and reachable through the offset (`init`'s fact 1).
    // 2. `init` runs once.
    unsafe { heap::init(start.as_mut_ptr(), bytes as usize) };
    Ok(())
}

/// Handles a page fault in a region. On return the interrupted instruction is to be tried again.
///
/// # Errors
///
/// [`Unhandled`] if the fault is not one that the address space brings about on purpose.
///
/// # Safety
///
/// `address` and `code` are those of the page fault that this CPU is handling, and `frame` holds what the
/// interrupted code had in its registers.
pub(crate) unsafe fn handle_fault(
    address: VirtAddr,
    code: PageFaultErrorCode,
    frame: &mut TrapFrame,
) -> Result<(), Unhandled> {
    // The address space is not even asked: the kernel's own fault may have hit it with its lock held.
    if !WINDOW.contains(&address) {
        return Err(Unhandled::OutsideWindow);
    }
    let space = SPACE.get().ok_or(Unhandled::TooEarly)?;
    let fault = Fault { address, code };
    let outcome = if PLAIN_ENTRY.load(Ordering::Relaxed) {
        space.handle_fault(fault)
    } else {
        let mut registers = string_registers(frame);
        // SAFETY: the caller's fact.
        let outcome = unsafe { space.handle_fault_with(fault, &mut registers) };
        (frame.rcx, frame.rdi) = (registers.rcx, registers.rdi);
        outcome
    };
    match outcome {
        Outcome::Handled => Ok(()),
        Outcome::NotOurs(reason) => Err(Unhandled::NotOurs(reason)),
    }
}

fn string_registers(frame: &TrapFrame) -> StringRegisters {
    StringRegisters {
        rip: frame.interrupted.instruction_pointer,
        rax: frame.rax,
        rcx: frame.rcx,
        rdi: frame.rdi,
        rflags: frame.interrupted.cpu_flags,
    }
}

/// Why a page fault was not handled.
#[derive(Debug)]
pub(crate) enum Unhandled {
    /// No region can be there.
    OutsideWindow,
    /// There is no address space yet.
    TooEarly,
    /// The address space says why.
    NotOurs(NotOurs),
}

impl fmt::Display for Unhandled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsideWindow => f.write_str("the address is outside of the regions' window"),
            Self::TooEarly => f.write_str("the kernel is still booting"),
            Self::NotOurs(reason) => write!(f, "{reason}"),
        }
    }
}
