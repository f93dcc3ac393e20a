//! A frame source made of two functions over addresses.

use core::fmt;

use x86_64::PhysAddr;
use x86_64::structures::paging::PhysFrame;

use super::{Allocation, Frame, FrameBatch, FrameSource, Request};

/// A frame source made of two functions: one allocates a frame and returns its physical address,
/// the other gets the address of a frame that is free again.
///
/// It suits a kernel whose frame allocator has no traits, or those of another version of the
/// `x86_64` crate. The page-fault handler calls both functions, so they must not use the heap or
/// wait for a lock that the interrupted code may hold. The source serves no
/// [reserved](crate::Account::reserved) account.
///
/// Without parameters the type is that of function pointers, for the type of a static.
///
/// # Examples
///
/// ```
/// use palimpsest_paging::FromFns;
///
/// # fn pop() -> Option<u64> { None }
/// # fn push(_: u64) {}
/// fn allocate() -> Option<u64> {
///     pop() // from the kernel's own allocator
/// }
///
/// fn release(frame: u64) {
///     push(frame);
/// }
///
/// // SAFETY: the allocator has RAM without another use, and returns no frame twice.
/// let frames: FromFns = unsafe { FromFns::new(allocate, release) };
/// ```
pub struct FromFns<A = fn() -> Option<u64>, R = fn(u64)> {
    allocate: A,
    release: R,
}

impl<A: Fn() -> Option<u64>, R: Fn(u64)> FromFns<A, R> {
    /// A source that calls these functions.
    ///
    /// # Safety
    ///
    /// The caller guarantees that every address that `allocate` returns is a multiple of 4096, and
    /// that of usable RAM that nothing else owns or accesses until `release` gets it.
    pub const unsafe fn new(allocate: A, release: R) -> Self {
        Self { allocate, release }
    }
}

impl<A, R> fmt::Debug for FromFns<A, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FromFns").finish_non_exhaustive()
    }
}

// SAFETY: 1. The caller of `new` guarantees unique unused frames. 2. No allocation is marked as
// zeroed. 3. No frame is ever reserved.
unsafe impl<A: Fn() -> Option<u64>, R: Fn(u64)> FrameSource for FromFns<A, R> {
    fn allocate(&self, _: Request) -> Option<Allocation> {
        let address = (self.allocate)()?;
        debug_assert!(address.is_multiple_of(4096), "the frame at {address:#x} is not a multiple of 4096");
        let frame = PhysFrame::containing_address(PhysAddr::new_truncate(address));
        // SAFETY: the caller of `new` guarantees that the frame is usable, unused and handed out
        // once.
        Some(unsafe { Frame::from_phys(frame) }.into())
    }

    fn release(&self, frames: &mut FrameBatch, _: bool) {
        for frame in frames.flatten() {
            (self.release)(frame.into_phys().start_address().as_u64());
        }
    }
}
