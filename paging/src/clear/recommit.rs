//! Zeroing pages that stay resident: in place, or by an exchange of their frames.
//!
//! No entry leads to the sink: it was recalled before. Pages that are deferred read as zero and stay so.
//!
//! Invariant of the exchange: an entry always has a frame, so it cannot fail; an old frame is released after
//! the flush that follows its exchange; at most [`FLUSH_SINGLY`] frames are taken beyond those that the
//! region holds, whatever the size of the range. Called by: the region's `zero_in_place` and `recommit`.

use arrayvec::ArrayVec;
use x86_64::structures::paging::page::PageRange;

use crate::frame::{FrameSource, Shortage};
use crate::record::Record;
use crate::state::Env;
use crate::supply::Supply;
use crate::table::{Resident, Stale, WindowTables};
use crate::tlb::{FLUSH_SINGLY, FlushBatch, Tlb};

/// What a recommit did with the frames of resident pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recommitted {
    /// Old frames that went back to the frame source.
    pub frames_released: u64,
    /// Fresh frames of zeros that took their places.
    pub frames_committed: u64,
    /// Frames that were zeroed in place instead, because the source had no fresh one.
    pub frames_retained: u64,
}

/// Fills the resident frames of the pages with zeros, and tells how many there are.
pub(crate) fn zero_in_place(pages: PageRange, tables: &mut WindowTables) -> u64 {
    let mut frames = 0;
    tables.each_resident(pages, |mut resident| {
        resident.zero();
        frames += 1;
    });
    frames
}

/// Gives each resident page a fresh frame, and releases the old ones.
pub(crate) fn recommit<S: FrameSource, T: Tlb>(
    pages: PageRange,
    record: &mut Record,
    tables: &mut WindowTables,
    env: Env<'_, S, T>,
) -> Recommitted {
    // Nobody's account: each page's fresh frame takes over what was charged for the old one.
    let supply = Supply { memory: tables.memory(), source: env.source, account: None };
    let mut exchange = Exchange {
        supply,
        tlb: env.tlb,
        batch: FlushBatch::new(),
        stale: ArrayVec::new(),
        outcome: Recommitted::default(),
    };
    tables.each_resident(pages, |resident| exchange.renew(resident));
    exchange.release_stale();
    record.residency.frames_released += exchange.outcome.frames_released;
    exchange.outcome
}

/// An exchange of frames that is under way.
struct Exchange<'a, S, T> {
    supply: Supply<'a, S>,
    tlb: &'a T,
    batch: FlushBatch,
    /// Frames that were exchanged and are not released yet.
    stale: ArrayVec<Stale, FLUSH_SINGLY>,
    outcome: Recommitted,
}

impl<S: FrameSource, T: Tlb> Exchange<'_, S, T> {
    fn renew(&mut self, mut resident: Resident<'_>) {
        if self.stale.is_full() {
            self.release_stale();
        }
        let fresh = self.supply.take().or_else(|_| {
            self.release_stale();
            self.supply.take()
        });
        match fresh {
            Ok(blank) => {
                self.batch.add(resident.page());
                self.stale.push(resident.exchange(blank));
                self.outcome.frames_committed += 1;
            }
            Err(Shortage::SourceEmpty | Shortage::CapReached { .. }) => {
                resident.zero();
                self.outcome.frames_retained += 1;
            }
        }
    }

    fn release_stale(&mut self) {
        self.batch.flush(self.tlb);
        for stale in self.stale.drain(..) {
            // SAFETY: the frame's page is in the batch, which was flushed just now.
            self.supply.give_back(unsafe { stale.into_frame() });
            self.outcome.frames_released += 1;
        }
    }
}
