//! The frame budget of one owner, which all of its regions share.
//!
//! An account is charged for data frames and for the table frames that a region owns. Table frames
//! that regions share belong to the address space, as the sink does, and are charged to no account.
//!
//! Invariants: the charge never exceeds the cap. A frame is charged before it is allocated and
//! uncharged after it was released, so the account never shows fewer frames than its regions hold.
//! A reserved account never holds more frames than it is charged for. `lost_to` is set once and
//! never cleared.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::frame::Shortage;
use crate::tlb::Seat;

/// A budget of frames, and how many of them are used.
#[derive(Debug)]
pub struct Account {
    /// The cap, or `u64::MAX` if the account may hold any number.
    cap_frames: u64,
    held_frames: AtomicU64,
    peak_frames: AtomicU64,
    /// The frames that a reserved account is charged for, whether it holds them or not.
    charged_frames: AtomicU64,
    /// Whether the account is charged when a limit makes a page usable, and not when its frame is
    /// allocated.
    is_reserved: bool,
    /// One of [`SOUND`], [`LOST_TO_SOURCE`] and [`LOST_TO_CAP`].
    lost_to: AtomicU8,
    /// The owner's flags, of which the account sets [`LOST`](Self::LOST) and
    /// [`WANTED`](Self::WANTED).
    flags: Option<Arc<AtomicU8>>,
    /// The CPUs that use the account's regions.
    seat: Seat,
}

/// No access went into the sink.
const SOUND: u8 = 0;
/// An access went into the sink because the frame source was empty.
const LOST_TO_SOURCE: u8 = 1;
/// An access went into the sink because the cap was reached.
const LOST_TO_CAP: u8 = 2;

impl Account {
    /// An account that is charged on touch. It may hold up to `cap_frames` frames, or any number.
    ///
    /// A touch that finds no frame goes into the sink, and the account is
    /// [lost](Self::is_lost).
    #[must_use]
    pub const fn new(cap_frames: Option<u64>) -> Self {
        Self::with(cap_frames, false)
    }

    /// An account that is charged beforehand, for up to `cap_frames` frames, or any number.
    ///
    /// Raising the limit of a region charges every data frame up to the limit, and as many table
    /// frames as these can need. The frame source reserves all of them. So the raise may fail, and
    /// a touch cannot. The frame source must implement
    /// [`FrameSource::reserve`](crate::FrameSource::reserve).
    #[must_use]
    pub const fn reserved(cap_frames: Option<u64>) -> Self {
        Self::with(cap_frames, true)
    }

    const fn with(cap_frames: Option<u64>, is_reserved: bool) -> Self {
        let cap_frames = match cap_frames {
            Some(frames) => frames,
            None => u64::MAX,
        };
        Self {
            cap_frames,
            held_frames: AtomicU64::new(0),
            peak_frames: AtomicU64::new(0),
            charged_frames: AtomicU64::new(0),
            is_reserved,
            lost_to: AtomicU8::new(SOUND),
            flags: None,
            seat: Seat::new(),
        }
    }

    /// The flag that shows that the account is [lost](Self::is_lost).
    pub const LOST: u8 = 1 << 0;

    /// The flag that is set while another CPU requests the owner's frames: see
    /// [`AddressSpace::yield_frames`](crate::AddressSpace::yield_frames). The owner clears it
    /// before it yields.
    pub const WANTED: u8 = 1 << 1;

    /// Makes the account set [`LOST`](Self::LOST) and [`WANTED`](Self::WANTED) in `flags`. The
    /// owner may use the other bits. An owner that checks at every step keeps the flags where it
    /// can read them without a call.
    #[must_use]
    pub fn with_flags(mut self, flags: Arc<AtomicU8>) -> Self {
        self.flags = Some(flags);
        self
    }

    /// Frames that the account holds now: data frames, deferred or not, and owned tables.
    #[must_use]
    pub fn held_frames(&self) -> u64 {
        self.held_frames.load(Ordering::Relaxed)
    }

    /// The largest number of frames that the account ever held at once.
    #[must_use]
    pub fn peak_frames(&self) -> u64 {
        self.peak_frames.load(Ordering::Relaxed)
    }

    /// Returns the number of frames that the account is charged for.
    ///
    /// These are the frames that it holds if it is charged on touch, and those that it may come to
    /// hold if it is reserved.
    #[must_use]
    pub fn charged_frames(&self) -> u64 {
        if self.is_reserved { self.charged_frames.load(Ordering::Relaxed) } else { self.held_frames() }
    }

    /// The cap in frames, or `None` if there is none.
    #[must_use]
    pub const fn cap_frames(&self) -> Option<u64> {
        if self.cap_frames < u64::MAX { Some(self.cap_frames) } else { None }
    }

    /// Whether the account is charged beforehand.
    #[must_use]
    pub const fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Whether an access went into the sink because there was no frame.
    ///
    /// From then on the memory of the owner's regions is not what the owner wrote, so nothing that
    /// is computed from it may be used. A reserved account is never lost.
    #[inline]
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost_to.load(Ordering::Acquire) != SOUND
    }

    /// Returns why the account is lost: the shortage at its first access that went into the sink.
    #[must_use]
    pub fn lost_to(&self) -> Option<Shortage> {
        match self.lost_to.load(Ordering::Acquire) {
            SOUND => None,
            LOST_TO_CAP => Some(Shortage::CapReached { cap_frames: self.cap_frames }),
            _ => Some(Shortage::SourceEmpty),
        }
    }

    pub(crate) fn mark_lost(&self, shortage: Shortage) {
        let to = match shortage {
            Shortage::SourceEmpty => LOST_TO_SOURCE,
            Shortage::CapReached { .. } => LOST_TO_CAP,
        };
        // The first shortage stays.
        let _ = self.lost_to.compare_exchange(SOUND, to, Ordering::AcqRel, Ordering::Acquire);
        self.raise(Self::LOST);
    }

    /// Sets one of the owner's flags.
    pub(crate) fn raise(&self, flag: u8) {
        if let Some(flags) = &self.flags {
            flags.fetch_or(flag, Ordering::Release);
        }
    }

    pub(crate) const fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Charges one frame that is about to be allocated, unless the cap is reached.
    #[inline]
    pub(crate) fn hold(&self) -> Result<(), CapReached> {
        self.hold_many(1)
    }

    #[inline]
    fn hold_many(&self, frames: u64) -> Result<(), CapReached> {
        let before = raise(&self.held_frames, frames, self.most_held_frames())?;
        self.peak_frames.fetch_max(before + frames, Ordering::Relaxed);
        Ok(())
    }

    /// The most frames that the account may hold with its present charge.
    fn most_held_frames(&self) -> u64 {
        if self.is_reserved { self.charged_frames.load(Ordering::Relaxed) } else { self.cap_frames }
    }

    /// Charges as many frames that are about to be allocated as the account may hold, up to `most`.
    /// Returns their number.
    pub(crate) fn hold_up_to(&self, most: u64) -> u64 {
        let room = self.most_held_frames().saturating_sub(self.held_frames());
        let frames = most.min(room);
        // Another CPU may have charged frames since `room` was computed.
        if self.hold_many(frames).is_ok() { frames } else { 0 }
    }

    /// Takes back a [`hold`](Self::hold) of frames that were released.
    #[inline]
    pub(crate) fn unhold(&self, frames: u64) {
        let before = self.held_frames.fetch_sub(frames, Ordering::Relaxed);
        debug_assert!(before >= frames, "{frames} frames were uncharged, of {before} that were charged");
    }

    /// Charges a reserved account for frames that it may allocate later. Does nothing for another
    /// account.
    pub(crate) fn charge(&self, frames: u64) -> Result<(), CapReached> {
        if self.is_reserved {
            raise(&self.charged_frames, frames, self.cap_frames)?;
        }
        Ok(())
    }

    /// Takes back a [`charge`](Self::charge).
    pub(crate) fn uncharge(&self, frames: u64) {
        if self.is_reserved {
            let before = self.charged_frames.fetch_sub(frames, Ordering::Relaxed);
            debug_assert!(before >= frames, "{frames} frames were uncharged, of {before} that were charged");
        }
    }
}

/// Raises a counter by `frames`, at most to `most`, and returns its value before.
#[inline]
fn raise(counter: &AtomicU64, frames: u64, most: u64) -> Result<u64, CapReached> {
    let raised = |before: u64| before.checked_add(frames).filter(|after| *after <= most);
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised)
        .map_err(|charged_frames| CapReached { charged_frames, cap_frames: most })
}

/// The charge cannot be raised, because it would exceed the cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CapReached {
    pub(crate) charged_frames: u64,
    pub(crate) cap_frames: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charging_stops_at_the_cap_and_the_peak_stays() {
        let account = Account::new(Some(2));
        assert_eq!(account.hold(), Ok(()));
        assert_eq!(account.hold(), Ok(()));
        assert_eq!(account.hold(), Err(CapReached { charged_frames: 2, cap_frames: 2 }));
        account.unhold(1);
        assert_eq!((account.held_frames(), account.charged_frames(), account.peak_frames()), (1, 1, 2));
        assert!(!account.is_lost());
    }

    #[test]
    fn an_account_sets_its_owners_flag_when_it_is_lost() {
        let flags = Arc::new(AtomicU8::new(0x80));
        let account = Account::new(None).with_flags(Arc::clone(&flags));
        assert!(account.lost_to().is_none() && !account.is_lost());
        assert_eq!(flags.load(Ordering::Acquire), 0x80);
        account.mark_lost(Shortage::SourceEmpty);
        account.mark_lost(Shortage::CapReached { cap_frames: 7 });
        assert!(account.is_lost());
        assert_eq!(flags.load(Ordering::Acquire), 0x80 | Account::LOST);
        assert_eq!(account.lost_to(), Some(Shortage::SourceEmpty));
    }

    #[test]
    fn an_account_without_a_cap_may_hold_any_number() {
        let account = Account::new(None);
        for _ in 0..1000 {
            assert_eq!(account.hold(), Ok(()));
        }
        assert_eq!((account.held_frames(), account.cap_frames()), (1000, None));
    }

    #[test]
    fn a_reserved_account_is_charged_up_to_the_cap_and_holds_up_to_the_charge() {
        let account = Account::reserved(Some(10));
        assert_eq!(account.charge(2), Ok(()));
        assert_eq!(account.charge(9), Err(CapReached { charged_frames: 2, cap_frames: 10 }));
        assert_eq!(account.charge(u64::MAX), Err(CapReached { charged_frames: 2, cap_frames: 10 }));
        assert_eq!((account.hold(), account.hold()), (Ok(()), Ok(())));
        assert_eq!(account.hold(), Err(CapReached { charged_frames: 2, cap_frames: 2 }));
        assert_eq!((account.charged_frames(), account.held_frames()), (2, 2));
        account.unhold(1);
        account.uncharge(1);
        assert_eq!((account.charged_frames(), account.held_frames()), (1, 1));
    }
}
