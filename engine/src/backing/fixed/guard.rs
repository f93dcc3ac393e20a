//! Lent pages that stay lent while the guest runs, closed by a memory protection unit.
//!
//! wasmi makes slices over them then, so nothing else may have a reference into them: their user
//! has a pointer, and uses it only while no call of the store runs. The guard keeps the guest's own
//! accesses away.

use alloc::{boxed::Box, sync::Arc};
use core::{
    fmt,
    fmt::Debug,
    ops::Range,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
};
use spin::Mutex;

use super::arenas::Block;
use crate::backing::LOST;

/// What [`Fate`] records if the guest has touched no lent page. It is not an offset: a memory does
/// not have the whole address space.
const UNTOUCHED: usize = usize::MAX;

/// Closes ranges of addresses to the CPU, such as the memory protection unit (MPU) of a Cortex-M.
///
/// # Safety
///
/// From [`close`](Self::close) until [`open`](Self::open) no access of the CPU to the range reads
/// or changes its bytes. A load from there gets zeros instead. Before the code goes on that made
/// the access, [`Fixed::handle_fault`](crate::Fixed::handle_fault) is called with an address of it
/// in the range.
#[allow(unsafe_code, reason = "a guard that lets an access pass lets guests use what others use")]
pub unsafe trait PageGuard: Debug + Send + Sync {
    /// Returns whether it can close exactly `range` as its range number `slot`, which is less than
    /// [`GuardedPages::MOST`].
    fn can_close(&self, slot: usize, range: &Range<usize>) -> bool;

    /// Closes `range`, which [`can_close`](Self::can_close) has accepted for `slot`.
    fn close(&self, slot: usize, range: &Range<usize>);

    /// Opens what is closed as `slot`.
    fn open(&self, slot: usize);
}

/// Cleared pages of a memory that hardware uses while the guest runs, zeroed at first.
///
/// [`Memory::lend_guarded`](crate::Memory::lend_guarded) makes it. While a call of the store runs,
/// the [`PageGuard`] closes the pages to the CPU. If the guest or a host function touches them, the
/// guest ends with [`LentPageTouched`](crate::LentPageTouched). When this value is dropped and the
/// store is next called, the pages are the memory's again and read as zero.
pub struct GuardedPages {
    /// All bytes of the block.
    bytes: NonNull<[u8]>,
    /// Keeps the bytes lent.
    _block: Block,
}

// SAFETY: Sending the value sends no access: its bytes are used through a raw pointer.
#[allow(unsafe_code, reason = "a pointer is not `Send`, and the value makes no access with it")]
unsafe impl Send for GuardedPages {}
// SAFETY: As above.
#[allow(unsafe_code, reason = "a pointer is not `Sync`, and the value makes no access with it")]
unsafe impl Sync for GuardedPages {}

impl GuardedPages {
    /// The most ranges of a backing that are lent like this at a time. A Cortex-M4 closes as many.
    pub const MOST: usize = 8;

    /// Takes a block that owns all bytes of its span.
    pub(super) fn new(block: Block) -> Self {
        Self { bytes: block.with_span(|bytes| bytes), _block: block }
    }

    /// Returns the bytes, for hardware that uses them at any time.
    ///
    /// Code may use them through this pointer until the value is dropped, while no call of the
    /// store runs. No reference to them may be left when one begins. Code on a second CPU must keep
    /// to that as well: the interpreter makes slices over the bytes, and another access at that
    /// time is a data race.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<[u8]> {
        self.bytes
    }
}

impl Debug for GuardedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedPages").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Whether a store is lost because its guest has touched a closed page.
#[derive(Debug)]
pub(super) struct Fate {
    /// The flags of the store, which its gate reads.
    flags: Arc<AtomicU8>,
    /// Bytes from the start of the memory to the first access, or [`UNTOUCHED`].
    touched: AtomicUsize,
}

impl Fate {
    pub(super) fn new(flags: &Arc<AtomicU8>) -> Self {
        Self { flags: Arc::clone(flags), touched: AtomicUsize::new(UNTOUCHED) }
    }

    /// Returns the offset of the first access.
    pub(super) fn touched(&self) -> Option<u64> {
        let offset = self.touched.load(Ordering::Acquire);
        (offset != UNTOUCHED).then_some(offset as u64)
    }

    fn touch(&self, offset: usize) {
        // Only the first access counts. If there was one, the store is lost already.
        let _ = self.touched.compare_exchange(UNTOUCHED, offset, Ordering::AcqRel, Ordering::Relaxed);
        self.flags.fetch_or(LOST, Ordering::Release);
    }
}

/// A guard, and the ranges that it closes for memories.
///
/// The fault handler searches them. It waits for no lock: that of a range is held only while its
/// store makes or ends the loan, or begins or ends a call, and no lent page is touched meanwhile.
#[derive(Debug)]
pub(super) struct Guard {
    guard: Box<dyn PageGuard>,
    ranges: [Mutex<Option<GuardedRange>>; GuardedPages::MOST],
}

#[derive(Debug)]
struct GuardedRange {
    addresses: Range<usize>,
    /// The address of the first byte of the memory.
    memory: usize,
    fate: Arc<Fate>,
}

impl Guard {
    pub(super) fn new(guard: impl PageGuard + 'static) -> Self {
        Self { guard: Box::new(guard), ranges: Default::default() }
    }

    /// Records the fault if it was on a closed page. Returns whether it was.
    pub(super) fn handle_fault(&self, address: usize) -> bool {
        self.ranges.iter().any(|range| {
            let Some(range) = range.try_lock() else {
                return false;
            };
            let Some(range) = range.as_ref().filter(|range| range.addresses.contains(&address)) else {
                return false;
            };
            range.fate.touch(address - range.memory);
            true
        })
    }
}

/// The lent pages of a memory in the list of their guard. They are taken out on drop.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Arc<Guard>,
    slot: usize,
    is_closed: bool,
}

impl Guarded {
    /// Adds `addresses` of the memory at `memory`. Returns `None` if the guard cannot close them,
    /// or if it has no slot left.
    pub(super) fn new(
        guard: &Arc<Guard>,
        addresses: Range<usize>,
        memory: usize,
        fate: &Arc<Fate>,
    ) -> Option<Self> {
        let slot = guard.ranges.iter().enumerate().find_map(|(slot, range)| {
            let mut range = range.lock();
            let fits = range.is_none() && guard.guard.can_close(slot, &addresses);
            fits.then(|| {
                *range = Some(GuardedRange { addresses: addresses.clone(), memory, fate: Arc::clone(fate) });
                slot
            })
        })?;
        Some(Self { guard: Arc::clone(guard), slot, is_closed: false })
    }

    /// Returns whether no access of the CPU reaches the pages.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn close(&mut self) {
        if let Some(range) = &*self.guard.ranges[self.slot].lock()
            && !self.is_closed
        {
            self.guard.guard.close(self.slot, &range.addresses);
            self.is_closed = true;
        }
    }

    pub(super) fn open(&mut self) {
        if self.is_closed {
            self.guard.guard.open(self.slot);
            self.is_closed = false;
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.open();
        *self.guard.ranges[self.slot].lock() = None;
    }
}
