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
    /// reserved for it. The lock of the space is released after each level-1 table.
    pub fn reclaim(&self, budget_frames: u64) -> Decommitted {
        reclaim(budget_frames, |budget_frames| {
            self.with_state(|state, env| state.reclaim_some(|_| true, budget_frames, &env.platform))
        })
    }
}

/// Calls `reclaim_some` with what is left of the budget until it releases nothing.
pub(super) fn reclaim(budget_frames: u64, mut reclaim_some: impl FnMut(u64) -> Decommitted) -> Decommitted {
    let mut released = Decommitted::default();
    loop {
        let more = reclaim_some(budget_frames - released.frames_released);
        if more.frames_released == 0 {
            return released;
        }
        released += more;
    }
}
