//! The kernel's frame allocator: a stack of the addresses of free frames.
//!
//! It stands for the allocator that a kernel already has. Palimpsest gets its two functions, and
//! the rest of the kernel still uses it. The page-fault handler calls them, so they must not
//! allocate and must not touch the memory of a guest. Invariant: the stack contains exactly the
//! frames that are not in use.

use core::ops::Range;

use arrayvec::ArrayVec;
use palimpsest_paging::FromFns;
use spin::Mutex;

/// The largest number of free frames: 16 MiB.
const CAPACITY: usize = 4096;

/// The size of a frame.
const FRAME_BYTES: usize = 4096;

/// The page-fault handler takes this lock too. A kernel that enables interrupts must disable them
/// while it holds it.
static FREE: Mutex<ArrayVec<u64, CAPACITY>> = Mutex::new(ArrayVec::new_const());

/// Adds the frames of `range` to the free frames, and returns the allocator as a frame source.
///
/// # Panics
///
/// Panics if more than [`CAPACITY`] frames are then free.
///
/// # Safety
///
/// The caller guarantees that the range starts and ends at multiples of 4096, that it is RAM that
/// is not otherwise used, and that no frame is passed twice.
pub(crate) unsafe fn init(range: Range<u64>) -> FromFns {
    FREE.lock().extend(range.step_by(FRAME_BYTES));
    // SAFETY: the caller guarantees that the frames on the stack are unused RAM. `allocate` removes
    // a frame from it until `release` puts it back.
    unsafe { FromFns::new(allocate, release) }
}

fn allocate() -> Option<u64> {
    FREE.lock().pop()
}

fn release(frame: u64) {
    FREE.lock().push(frame);
}

/// Returns the number of free frames.
pub(crate) fn free() -> usize {
    FREE.lock().len()
}
