//! The trait through which the address space gets its frames.

use thiserror::Error;

use super::{Frame, FrameBatch, FrameRun};

/// Where frames come from and go back to.
///
/// The page-fault handler calls these methods, among others. The address space calls them within
/// [`Platform::without_interrupts`](crate::Platform::without_interrupts), and often holds its own
/// lock. So they must not touch the memory of a region, must not fault, and must not wait for
/// anything that the interrupted code may hold. All other code that takes a lock of the source must
/// do so with interrupts off.
///
/// A source that cannot keep frames free for later leaves [`reserve`](Self::reserve) and
/// [`unreserve`](Self::unreserve) out. It then serves every account except
/// [reserved](crate::Account::reserved) ones. A source that does not count its frames leaves
/// [`available_frames`](Self::available_frames) out.
///
/// # Safety
///
/// The implementer guarantees that
/// 1. every frame that [`allocate`](Self::allocate) returns is usable RAM that nothing else owns or
///    accesses until it comes back through [`release`](Self::release);
/// 2. every byte of the frames is zero, for every CPU, if [`Allocation::zeroed`] is set;
/// 3. as long as fewer reserved frames are allocated than were reserved, a request for reserved
///    frames returns at least one.
pub unsafe trait FrameSource {
    /// Allocates at least one and at most `request.frames` frames, or returns `None` if there is
    /// none.
    fn allocate(&self, request: Request) -> Option<Allocation>;

    /// Takes back all frames of the batch, and reserves them again if `reserved` is set.
    ///
    /// A release and the reservation of its frames are one step: no allocation comes between them.
    fn release(&self, frames: &mut FrameBatch, reserved: bool);

    /// Keeps `frames` more free frames for requests of reserved ones: all of them, or none.
    ///
    /// # Errors
    ///
    /// - [`FrameReserveError::TooFew`]: fewer frames are free and not reserved.
    /// - [`FrameReserveError::Unsupported`]: the source never reserves frames. The default
    ///   implementation returns it.
    fn reserve(&self, frames: u64) -> Result<(), FrameReserveError> {
        Err(FrameReserveError::Unsupported { requested_frames: frames })
    }

    /// Makes `frames` frames that were reserved, and are free, available to all requests again.
    fn unreserve(&self, frames: u64) {
        panic!(
            "{frames} frames unreserved in a source that reserves none: implement `unreserve` with `reserve`"
        );
    }

    /// Returns how many frames are free and not reserved, or `None` if the source does not count
    /// them. The default returns `None`.
    ///
    /// The figure may be out of date when the method returns. It is used for shares of what there
    /// is.
    fn available_frames(&self) -> Option<u64> {
        None
    }
}

/// The parameters of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The most frames that are wanted, at least one. They must follow each other in physical
    /// memory.
    pub frames: u64,
    /// Whether the caller is going to zero the frames, so that frames which are zero already are
    /// better.
    pub zeroed: bool,
    /// Whether to allocate frames that were [reserved](FrameSource::reserve).
    pub reserved: bool,
}

/// Frames that were allocated together.
#[must_use = "dropped frames are leaked: release them to their frame source"]
#[derive(Debug)]
pub struct Allocation {
    /// The frames.
    pub frames: FrameRun,
    /// Whether the frames were zeroed ahead of need. They may hold anything otherwise.
    pub zeroed: bool,
}

/// One frame that may hold anything.
impl From<Frame> for Allocation {
    fn from(frame: Frame) -> Self {
        Self { frames: frame.into(), zeroed: false }
    }
}

// SAFETY: every method is that of `S`, whose implementer gives the guarantees.
unsafe impl<S: FrameSource + ?Sized> FrameSource for &S {
    #[inline(always)]
    fn allocate(&self, request: Request) -> Option<Allocation> {
        (**self).allocate(request)
    }

    fn release(&self, frames: &mut FrameBatch, reserved: bool) {
        (**self).release(frames, reserved);
    }

    fn reserve(&self, frames: u64) -> Result<(), FrameReserveError> {
        (**self).reserve(frames)
    }

    fn unreserve(&self, frames: u64) {
        (**self).unreserve(frames);
    }

    fn available_frames(&self) -> Option<u64> {
        (**self).available_frames()
    }
}

/// Why a frame source cannot reserve frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameReserveError {
    /// Too few frames are free and not reserved.
    #[error(
        "{requested_frames} frames cannot be reserved, because only {available_frames} are free and not \
         reserved: reserve fewer, or release some"
    )]
    TooFew {
        /// The number of frames to be reserved.
        requested_frames: u64,
        /// The number of frames that could have been reserved.
        available_frames: u64,
    },
    /// The source does not implement [`FrameSource::reserve`].
    #[error(
        "{requested_frames} frames cannot be reserved, because the frame source never reserves any: use a \
         source that does, such as `FramePool`, or an account that is charged on touch"
    )]
    Unsupported {
        /// The number of frames to be reserved.
        requested_frames: u64,
    },
}
