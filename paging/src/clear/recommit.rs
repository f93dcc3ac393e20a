//! Zeroing pages that stay resident: in place, or by an exchange of their frames.
//!
//! The sink was recalled before, so no entry leads to it. Deferred pages and pages that were
//! committed ahead and never written read as zero, and stay as they are.
//!
//! Invariants of the exchange: an entry always owns a frame, so the exchange cannot fail. An old
//! frame is released after the flush that follows its exchange. At most [`FLUSH_SINGLY`] frames are
//! taken beyond those that the region holds, for a range of any size.

use core::ops::AddAssign;

use arrayvec::ArrayVec;
use x86_64::structures::paging::page::PageRange;

use crate::frame::{FrameBatch, Shortage};
use crate::platform::Platform;
use crate::state::Mapping;
use crate::supply::Supply;
use crate::table::{Resident, Stale};
use crate::tlb::{FLUSH_SINGLY, FlushBatch};

/// The result of a recommit, in frames of resident pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recommitted {
    /// Old frames that went back to the frame source.
    pub frames_released: u64,
    /// Fresh frames of zeros that took their places.
    pub frames_committed: u64,
    /// Frames that were zeroed in place instead, because the source had no fresh one.
    pub frames_retained: u64,
}

impl AddAssign for Recommitted {
    fn add_assign(&mut self, more: Self) {
        self.frames_released += more.frames_released;
        self.frames_committed += more.frames_committed;
        self.frames_retained += more.frames_retained;
    }
}

impl<P: Platform> Mapping<'_, P> {
    /// Fills the resident frames of the pages with zeros, and returns their number.
    pub(crate) fn zero_in_place(&mut self, pages: PageRange) -> u64 {
        let mut frames = 0;
        self.tables.each_resident(pages, |mut resident| {
            if !resident.is_untouched() {
                resident.zero();
                frames += 1;
            }
        });
        frames
    }

    /// Replaces the frame of each resident page by a fresh one, and releases the old frames.
    pub(crate) fn recommit(&mut self, pages: PageRange) -> Recommitted {
        // A fresh frame takes over what its page's account was charged for the old one.
        let mut exchange =
            Exchange::new(Supply::new(self.platform.frames(), self.tables.memory(), None), self.platform);
        self.tables.each_resident(pages, |resident| {
            if !resident.is_untouched() {
                exchange.renew(resident);
            }
        });
        exchange.release_stale();
        self.tables.cpus().record_change(self.record.account.seat(), self.platform);
        self.record.figures.frames_released += exchange.outcome.frames_released;
        exchange.outcome
    }
}

/// An exchange of frames that is under way.
struct Exchange<'a, P: Platform> {
    supply: Supply<'a, P::Frames>,
    platform: &'a P,
    batch: FlushBatch,
    /// Frames that were exchanged and are not released yet.
    stale: ArrayVec<Stale, FLUSH_SINGLY>,
    outcome: Recommitted,
}

impl<'a, P: Platform> Exchange<'a, P> {
    fn new(supply: Supply<'a, P::Frames>, platform: &'a P) -> Self {
        let stale = ArrayVec::new();
        let outcome = Recommitted::default();
        Self { supply, platform, batch: FlushBatch::new(), stale, outcome }
    }

    fn renew(&mut self, mut resident: Resident<'_>) {
        if self.stale.is_full() {
            self.release_stale();
        }
        let fresh = self.supply.take().or_else(|_| {
            self.release_stale();
            self.supply.take()
        });
        match fresh {
            Ok(zeroed) => {
                self.stale.push(resident.replace(zeroed, &mut self.batch));
                self.outcome.frames_committed += 1;
            }
            Err(Shortage::SourceEmpty | Shortage::CapReached { .. }) => {
                resident.zero();
                self.outcome.frames_retained += 1;
            }
        }
    }

    fn release_stale(&mut self) {
        let flushed = self.batch.flush(self.platform);
        let mut frames = FrameBatch::new();
        self.stale.drain(..).for_each(|stale| frames.push(stale.into_frame(&flushed).into()));
        self.outcome.frames_released += frames.len();
        self.supply.release_all(&mut frames);
    }
}
