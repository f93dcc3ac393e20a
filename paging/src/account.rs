//! The budget of frames of one owner, shared by all of its regions.
//!
//! Invariants: `held` never exceeds the cap; a frame is charged before it is taken from the source and
//! uncharged after it went back, so the account never shows less than what is held; `lost` is set once and
//! never cleared. Charged are data frames, table frames that a region owns, and the frames set aside for its
//! sink. Table frames that regions share belong to the address space and are charged to nobody.
//!
//! Called by: the fault path and the decommit, which charge and uncharge; the owner, who reads the figures.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A budget of frames, and what became of it.
#[derive(Debug)]
pub struct Account {
    cap_frames: Option<u64>,
    held_frames: AtomicU64,
    peak_frames: AtomicU64,
    lost: AtomicBool,
}

impl Account {
    /// An account that may hold up to `cap_frames` frames, or any number of them.
    #[must_use]
    pub const fn new(cap_frames: Option<u64>) -> Self {
        Self {
            cap_frames,
            held_frames: AtomicU64::new(0),
            peak_frames: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        }
    }

    /// Frames held now: data, owned tables, and what is set aside.
    #[must_use]
    pub fn held_frames(&self) -> u64 {
        self.held_frames.load(Ordering::Relaxed)
    }

    /// The largest number of frames that were ever held at once.
    #[must_use]
    pub fn peak_frames(&self) -> u64 {
        self.peak_frames.load(Ordering::Relaxed)
    }

    /// The cap in frames, or `None` if there is none.
    #[must_use]
    pub const fn cap_frames(&self) -> Option<u64> {
        self.cap_frames
    }

    /// Whether an access found no frame and went into a sink.
    ///
    /// From then on the memory of the owner's regions is not what the owner wrote, and nothing that was
    /// computed from it may be believed.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn mark_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Charges one frame, unless the cap is reached.
    pub(crate) fn charge(&self) -> Result<(), CapReached> {
        let cap = self.cap_frames.unwrap_or(u64::MAX);
        let before = self
            .held_frames
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| (held < cap).then_some(held + 1))
            .map_err(|_| CapReached { cap_frames: cap })?;
        self.peak_frames.fetch_max(before + 1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn uncharge(&self) {
        let before = self.held_frames.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a frame was uncharged that was never charged");
    }
}

/// The account holds as many frames as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CapReached {
    pub(crate) cap_frames: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charging_stops_at_the_cap_and_the_peak_stays() {
        let account = Account::new(Some(2));
        assert_eq!(account.charge(), Ok(()));
        assert_eq!(account.charge(), Ok(()));
        assert_eq!(account.charge(), Err(CapReached { cap_frames: 2 }));
        account.uncharge();
        assert_eq!((account.held_frames(), account.peak_frames()), (1, 2));
        assert!(!account.is_lost());
    }

    #[test]
    fn an_account_without_a_cap_charges_on() {
        let account = Account::new(None);
        for _ in 0..1000 {
            assert_eq!(account.charge(), Ok(()));
        }
        assert_eq!((account.held_frames(), account.cap_frames()), (1000, None));
    }
}
