//! The kernel heap: the global allocator.
//!
//! It is a first-fit list over one contiguous range of frames. `memory` takes the range from the
//! pool at boot, and it is never released. Before that, every allocation fails.
//!
//! The engine's `HeapBudget` wraps it, so that a guest cannot take what the kernel and the other
//! guests need.

use core::sync::atomic::{AtomicBool, Ordering};

use linked_list_allocator::LockedHeap;
use palimpsest_engine::{HeapBudget, HeapMeter, HeapMeters};

use crate::{cpu, cpus};

#[global_allocator]
static HEAP: HeapBudget<Inner, CpuMeters> = HeapBudget::with_meters(empty(), CpuMeters);

/// A meter for each CPU. A call of a guest ends on the CPU on which it began, because this kernel
/// moves a task only between two of its turns.
pub(crate) struct CpuMeters;

// SAFETY: `this` and `heap_meter` return references, and neither unwind nor allocate.
unsafe impl HeapMeters for CpuMeters {
    fn current(&self) -> &HeapMeter {
        cpu::this().heap_meter()
    }

    fn stores_at_once(&self) -> usize {
        if IS_ONE_AT_A_TIME.load(Ordering::Relaxed) { 1 } else { cpus::count() }
    }
}

/// Whether the CPUs serve one store at a time.
static IS_ONE_AT_A_TIME: AtomicBool = AtomicBool::new(false);

/// Calls `work`, in which the CPUs serve one store at a time, so that the reserve is as large as
/// for one CPU. No engine that it makes may be used after it has returned.
pub(crate) fn one_at_a_time<R>(work: impl FnOnce() -> R) -> R {
    IS_ONE_AT_A_TIME.store(true, Ordering::Relaxed);
    let result = work();
    IS_ONE_AT_A_TIME.store(false, Ordering::Relaxed);
    result
}

/// The allocator that the budget wraps: the list itself.
#[cfg(not(feature = "failing-heap"))]
type Inner = LockedHeap;

/// The allocator that the budget wraps: the list, with failures that a test chooses.
#[cfg(feature = "failing-heap")]
type Inner = palimpsest_exhaustion::Failing<LockedHeap>;

#[cfg(not(feature = "failing-heap"))]
const fn empty() -> Inner {
    LockedHeap::empty()
}

#[cfg(feature = "failing-heap")]
const fn empty() -> Inner {
    Inner::new(LockedHeap::empty())
}

/// Returns the list.
fn list() -> &'static LockedHeap {
    #[cfg(not(feature = "failing-heap"))]
    return HEAP.inner();
    #[cfg(feature = "failing-heap")]
    return HEAP.inner().inner();
}

/// The part of the heap that one guest may take.
const GUEST_DIVISOR: usize = 2;

/// The use of the kernel heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapUsage {
    /// Allocated bytes, as rounded by the allocator. The reserve counts as allocated.
    pub used_bytes: usize,
    /// The bytes of the reserve, which grows and shrinks with what all guests need.
    pub reserve_bytes: usize,
    /// The size of the heap in bytes.
    pub size_bytes: usize,
}

/// Returns the current use of the kernel heap.
pub(crate) fn usage() -> HeapUsage {
    let heap = list().lock();
    HeapUsage { used_bytes: heap.used(), reserve_bytes: HEAP.reserve_bytes(), size_bytes: heap.size() }
}

/// Returns the allocator, which accounts for the heap of guests.
pub(crate) fn budget() -> &'static HeapBudget<Inner, CpuMeters> {
    &HEAP
}

/// Returns how many bytes of the heap a guest may take.
pub(crate) fn guest_bytes() -> usize {
    usage().size_bytes / GUEST_DIVISOR
}

/// Initializes the heap.
///
/// # Safety
///
/// The caller guarantees that
/// 1. `size_bytes` bytes at `start` are always mapped and writable, and have no other use, and
/// 2. this function is called once.
pub(crate) unsafe fn init(start: *mut u8, size_bytes: usize) {
    // SAFETY: the caller guarantees both requirements of the allocator, by 1 and 2.
    unsafe { list().lock().init(start, size_bytes) };
}
