//! What a space does when frames run short: reclaim, and ask the embedder.
//!
//! Invariant: the embedder's callback runs with no lock of the space held, between two attempts to resolve
//! one fault, and at most once for it. Called by: the embedder, and the fault path.

use super::AddressSpace;
use crate::clear::Decommitted;
use crate::platform::Platform;

/// What an embedder does when a fault finds the frame source empty: see [`AddressSpace::with_pressure`].
pub type Pressure<P> = fn(&AddressSpace<P>);

impl<P: Platform> AddressSpace<P> {
    /// Has `pressure` called when a fault finds no frame.
    ///
    /// It is called from the page-fault handler, on its stack, after deferred frames were reclaimed and gave
    /// none; at most once for a fault. Then the fault is resolved anew, whatever the callback has achieved.
    /// It is not called for an account whose cap is reached, because frames do not help there.
    ///
    /// The callback may release frames into the frame source, which it finds in [`frames`](Self::frames), and
    /// may call [`reclaim`](Self::reclaim): no lock of the space is held. It must not touch the memory of a
    /// region, block, use a heap that the interrupted code may have locked, or wait for anything else that it
    /// may hold.
    #[must_use]
    pub fn with_pressure(mut self, pressure: Pressure<P>) -> Self {
        self.pressure = Some(pressure);
        self
    }

    /// Releases up to `budget_frames` frames of deferred pages, and the tables that this empties.
    ///
    /// The regions are gone through in the order of their addresses, and so are the pages of each; those
    /// without a deferred page are skipped. Frames of a reserved account are released, and stay reserved for
    /// it. The space is locked meanwhile: an idle loop hands in a budget that it can wait for.
    pub fn reclaim(&self, budget_frames: u64) -> Decommitted {
        self.with_state(|state, platform| state.reclaim(|_| true, budget_frames, platform))
    }
}
