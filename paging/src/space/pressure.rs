//! Relief when frames run short: the space reclaims, and then calls the embedder.
//!
//! Invariant: the embedder's callback runs with no lock of the space held, between two attempts to
//! resolve one fault, and at most once per fault.

use super::AddressSpace;
use crate::clear::Decommitted;
use crate::platform::Platform;

/// The callback of [`AddressSpace::with_pressure`].
pub type Pressure<P> = fn(&AddressSpace<P>);

impl<P: Platform> AddressSpace<P> {
    /// Sets the function that a fault calls when it finds the frame source empty.
    ///
    /// The page-fault handler calls it on its stack, at most once per fault, after no deferred
    /// frame was left to be reclaimed. Then it resolves the fault again, even if the callback has
    /// released nothing. For an account whose cap is reached it does not call it, because more free
    /// frames would not help.
    ///
    /// No lock of the space is held. So the callback may release frames into the [frame
    /// source](Self::frames), and may call [`reclaim`](Self::reclaim). It must not touch the memory
    /// of a region, block, use a heap that the interrupted code may have locked, or wait for
    /// anything else that this code may hold.
    #[must_use]
    pub fn with_pressure(mut self, pressure: Pressure<P>) -> Self {
        self.pressure = Some(pressure);
        self
    }

    /// Releases up to `budget_frames` frames of deferred pages, and the tables that this empties.
    ///
    /// It visits the regions that have deferred pages in the order of their addresses, and the
    /// pages of each in ascending order. Frames of a reserved account are released, and stay
    /// reserved for it. The space is locked meanwhile, so an idle loop should pass a small budget.
    pub fn reclaim(&self, budget_frames: u64) -> Decommitted {
        self.with_state(|state, platform| state.reclaim(|_| true, budget_frames, platform))
    }
}
