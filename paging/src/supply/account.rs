//! The budget of frames of one owner, shared by all of its regions, and when it is charged.
//!
//! Charged are data frames and table frames that a region owns. Table frames that regions share, and the
//! sink, belong to the address space and are charged to nobody. An account is charged
//! either on touch, frame by frame, or beforehand, for all that its regions' limits can come to.
//!
//! Invariants: what is charged never exceeds the cap; a frame is charged before it is taken from the source
//! and uncharged after it went back, so the account never shows less than what is held; a reserved account
//! never holds more than it was charged for; `lost` is set once and never cleared.
//!
//! Called by: the fault path and whatever releases frames; reserve and the limit, for reserved accounts; the
//! owner, who reads the figures.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A budget of frames, and what became of it.
#[derive(Debug)]
pub struct Account {
    cap_frames: Option<u64>,
    policy: Policy,
    held_frames: AtomicU64,
    peak_frames: AtomicU64,
    lost: AtomicBool,
}

/// When frames are charged.
#[derive(Debug)]
enum Policy {
    /// When they are taken.
    OnTouch,
    /// When they become usable.
    Reserved { charged_frames: AtomicU64 },
}

impl Account {
    /// An account that is charged on touch, and may hold up to `cap_frames` frames, or any number of them.
    ///
    /// A write that finds no frame is lost, and so is the account then.
    #[must_use]
    pub const fn new(cap_frames: Option<u64>) -> Self {
        Self::with(cap_frames, Policy::OnTouch)
    }

    /// An account that is charged beforehand, for up to `cap_frames` frames, or any number of them.
    ///
    /// Raising the limit of a region charges every data frame up to it and the table frames that these can
    /// need at most, and the frame source reserves them: so the raise may fail, and a touch cannot. The frame
    /// source must implement [`FrameSource::reserve`](crate::FrameSource::reserve).
    #[must_use]
    pub const fn reserved(cap_frames: Option<u64>) -> Self {
        Self::with(cap_frames, Policy::Reserved { charged_frames: AtomicU64::new(0) })
    }

    const fn with(cap_frames: Option<u64>, policy: Policy) -> Self {
        Self {
            cap_frames,
            policy,
            held_frames: AtomicU64::new(0),
            peak_frames: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        }
    }

    /// Frames held now: data, deferred or not, and owned tables.
    #[must_use]
    pub fn held_frames(&self) -> u64 {
        self.held_frames.load(Ordering::Relaxed)
    }

    /// The largest number of frames that were ever held at once.
    #[must_use]
    pub fn peak_frames(&self) -> u64 {
        self.peak_frames.load(Ordering::Relaxed)
    }

    /// Frames charged now: of an account that is charged on touch, those that it holds; of a reserved one,
    /// those that it may come to hold.
    #[must_use]
    pub fn charged_frames(&self) -> u64 {
        match &self.policy {
            Policy::OnTouch => self.held_frames(),
            Policy::Reserved { charged_frames } => charged_frames.load(Ordering::Relaxed),
        }
    }

    /// The cap in frames, or `None` if there is none.
    #[must_use]
    pub const fn cap_frames(&self) -> Option<u64> {
        self.cap_frames
    }

    /// Whether the account is charged beforehand.
    #[must_use]
    pub const fn is_reserved(&self) -> bool {
        match self.policy {
            Policy::OnTouch => false,
            Policy::Reserved { .. } => true,
        }
    }

    /// Whether an access found no frame and went into a sink.
    ///
    /// From then on the memory of the owner's regions is not what the owner wrote, and nothing that was
    /// computed from it may be believed. It never comes to that in a reserved account.
    #[inline]
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn mark_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Charges one frame that is about to be taken, unless the cap is reached.
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

    /// The most frames that it may hold as things are.
    fn most_held_frames(&self) -> u64 {
        match &self.policy {
            Policy::OnTouch => self.cap_frames.unwrap_or(u64::MAX),
            Policy::Reserved { charged_frames } => charged_frames.load(Ordering::Relaxed),
        }
    }

    /// Charges as many frames that are about to be taken as it may, up to `most`; tells how many.
    pub(crate) fn hold_up_to(&self, most: u64) -> u64 {
        let room = self.most_held_frames().saturating_sub(self.held_frames());
        let frames = most.min(room);
        // Somebody else may have been quicker.
        if self.hold_many(frames).is_ok() { frames } else { 0 }
    }

    /// Uncharges frames that went back.
    #[inline]
    pub(crate) fn let_go(&self, frames: u64) {
        let before = self.held_frames.fetch_sub(frames, Ordering::Relaxed);
        debug_assert!(before >= frames, "a frame was uncharged that was never charged");
    }

    /// Charges a reserved account for frames that it may take later; the others are charged then.
    pub(crate) fn charge(&self, frames: u64) -> Result<(), CapReached> {
        match &self.policy {
            Policy::OnTouch => Ok(()),
            Policy::Reserved { charged_frames } => {
                raise(charged_frames, frames, self.cap_frames.unwrap_or(u64::MAX)).map(drop)
            }
        }
    }

    /// Takes back what [`charge`](Self::charge) did.
    pub(crate) fn uncharge(&self, frames: u64) {
        match &self.policy {
            Policy::OnTouch => {}
            Policy::Reserved { charged_frames } => {
                let before = charged_frames.fetch_sub(frames, Ordering::Relaxed);
                debug_assert!(before >= frames, "frames were uncharged that were never charged");
            }
        }
    }
}

/// Raises a counter by `frames`, up to `most`, and tells what it was before.
#[inline]
fn raise(counter: &AtomicU64, frames: u64, most: u64) -> Result<u64, CapReached> {
    let raised = |before: u64| before.checked_add(frames).filter(|after| *after <= most);
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised)
        .map_err(|charged_frames| CapReached { charged_frames, cap_frames: most })
}

/// The account is charged for as many frames as it may.
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
        account.let_go(1);
        assert_eq!((account.held_frames(), account.charged_frames(), account.peak_frames()), (1, 1, 2));
        assert!(!account.is_lost());
    }

    #[test]
    fn an_account_without_a_cap_charges_on() {
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
        account.let_go(1);
        account.uncharge(1);
        assert_eq!((account.charged_frames(), account.held_frames()), (1, 1));
    }
}
