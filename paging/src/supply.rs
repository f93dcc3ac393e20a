//! Zeroed frames that are charged to an account, and their way back.
//!
//! Invariants: a frame is charged before it is allocated and uncharged after it was released. A
//! frame for a reserved account was reserved before, and its release reserves it again, until the
//! limit that needed the reservation is lowered. Some frames are charged to no account: the zero
//! frame, the sink, the tables of the space, the tables that regions share, and the new frames of a
//! recommit.
//!
//! The functions on the way to one frame are always inlined, down to the pool. Nearly all of their
//! code is removed if the number of frames is the constant 1, and a fault executes little else.

mod account;

use thiserror::Error;

pub use self::account::Account;
use crate::frame::{
    Allocation, Frame, FrameBatch, FrameReserveError, FrameSource, PhysicalMemory, Request, Shortage,
    ZeroedFrame,
};

/// A frame source, and the account that its frames are charged to.
#[derive(Debug)]
pub(crate) struct Supply<'a, S> {
    pub(crate) memory: PhysicalMemory,
    pub(crate) source: &'a S,
    pub(crate) account: Option<&'a Account>,
}

impl<'a, S: FrameSource> Supply<'a, S> {
    /// Frames of this source that are charged to this account, or to none.
    #[inline]
    pub(crate) const fn new(source: &'a S, memory: PhysicalMemory, account: Option<&'a Account>) -> Self {
        Self { memory, source, account }
    }

    /// Takes a zeroed frame. It never fails for a reserved account that was charged for it.
    #[inline(always)]
    pub(crate) fn take(&self) -> Result<ZeroedFrame, Shortage> {
        self.hold_one()?;
        self.allocate_zeroed(1).and_then(|mut frames| frames.next()).ok_or_else(|| self.source_is_empty())
    }

    /// As [`take`](Self::take), for a caller that overwrites the whole frame: it may hold anything.
    pub(crate) fn take_to_overwrite(&self) -> Result<Frame, Shortage> {
        self.hold_one()?;
        let request = Request { frames: 1, zeroed: false, reserved: self.is_reserved() };
        let allocation = self.source.allocate(request);
        allocation.and_then(|mut taken| taken.frames.next()).ok_or_else(|| self.source_is_empty())
    }

    #[inline(always)]
    fn hold_one(&self) -> Result<(), Shortage> {
        let Some(account) = self.account else { return Ok(()) };
        account.hold().map_err(|cap| Shortage::CapReached { cap_frames: cap.cap_frames })
    }

    /// Takes back the charge of a frame that the source did not have.
    fn source_is_empty(&self) -> Shortage {
        self.unhold(1);
        Shortage::SourceEmpty
    }

    /// Takes as many frames as there are, up to `most`, which is not zero, and passes each to
    /// `put`, zeroed. Returns their number.
    pub(crate) fn take_up_to(&self, most: u64, put: &mut dyn FnMut(ZeroedFrame)) -> u64 {
        let charged = self.account.map_or(most, |account| account.hold_up_to(most));
        let mut taken = 0;
        while taken < charged
            && let Some(frames) = self.allocate_zeroed(charged - taken)
        {
            taken += frames.len();
            frames.for_each(&mut *put);
        }
        self.unhold(charged - taken);
        taken
    }

    /// Allocates up to `frames` frames. Those that were not zeroed ahead of need are zeroed one by
    /// one, as they are taken out.
    #[inline(always)]
    fn allocate_zeroed(&self, frames: u64) -> Option<ZeroedFrames> {
        let request = Request { frames, zeroed: true, reserved: self.is_reserved() };
        let allocation = self.source.allocate(request)?;
        Some(ZeroedFrames { memory: self.memory, allocation })
    }

    /// Releases a frame.
    pub(crate) fn release(&self, frame: Frame) {
        self.release_all(&mut FrameBatch::from(frame));
    }

    /// Releases all frames of the batch.
    pub(crate) fn release_all(&self, frames: &mut FrameBatch) {
        let count = frames.len();
        self.source.release(frames, self.is_reserved());
        debug_assert!(frames.is_empty(), "the source has left {} frames in the batch", frames.len());
        self.unhold(count);
    }

    /// Charges a reserved account for frames, and reserves them in the source. Does nothing for
    /// another account.
    pub(crate) fn reserve(&self, frames: u64) -> Result<(), ChargeError> {
        let Some(account) = self.account.filter(|account| account.is_reserved()) else { return Ok(()) };
        account.charge(frames).map_err(|cap| ChargeError::CapReached {
            requested_frames: frames,
            charged_frames: cap.charged_frames,
            cap_frames: cap.cap_frames,
        })?;
        self.source.reserve(frames).inspect_err(|_| account.uncharge(frames))?;
        Ok(())
    }

    /// Reserves frames in the source for a reserved account that is charged for them, and is about
    /// to give them up without a release. Does nothing for another account.
    pub(crate) fn reserve_again(&self, frames: u64) -> Result<(), FrameReserveError> {
        if self.is_reserved() { self.source.reserve(frames) } else { Ok(()) }
    }

    /// Takes back what [`reserve`](Self::reserve) did, for frames that were released, except for
    /// some that are still `waiting` for that and will not be reserved again.
    pub(crate) fn unreserve(&self, frames: u64, waiting: u64) {
        if let Some(account) = self.account.filter(|account| account.is_reserved()) {
            self.source.unreserve(frames - waiting);
            account.uncharge(frames);
        }
    }

    /// Whether the source has reserved the frames that the account may hold.
    #[inline]
    fn is_reserved(&self) -> bool {
        self.account.is_some_and(Account::is_reserved)
    }

    /// Takes back the charge of frames that are released, or wait for that on their own.
    pub(crate) fn unhold(&self, frames: u64) {
        if let Some(account) = self.account {
            account.unhold(frames);
        }
    }
}

/// Allocated frames that come out zeroed.
struct ZeroedFrames {
    memory: PhysicalMemory,
    allocation: Allocation,
}

impl ZeroedFrames {
    fn len(&self) -> u64 {
        self.allocation.frames.len()
    }
}

impl Iterator for ZeroedFrames {
    type Item = ZeroedFrame;

    #[inline]
    fn next(&mut self) -> Option<ZeroedFrame> {
        let frame = self.allocation.frames.next()?;
        if self.allocation.zeroed {
            // SAFETY: the frame holds zeros, by guarantee 2 of `FrameSource`.
            Some(unsafe { ZeroedFrame::new_unchecked(frame) })
        } else {
            Some(self.memory.zeroed(frame))
        }
    }
}

/// Why a reserved account cannot be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChargeError {
    /// The charge would exceed the account's cap.
    #[error(
        "{requested_frames} frames on top of the {charged_frames} that the account is charged for exceed its \
         cap of {cap_frames}: raise the cap, or lower another limit of the account"
    )]
    CapReached {
        /// The number of frames to be charged.
        requested_frames: u64,
        /// The number of frames that the account is charged for already.
        charged_frames: u64,
        /// The account's cap in frames.
        cap_frames: u64,
    },
    /// The frame source cannot reserve the frames.
    #[error("the frame source cannot reserve the frames of the account")]
    Unreserved(#[from] FrameReserveError),
}
