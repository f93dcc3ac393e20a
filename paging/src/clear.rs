//! Clearing pages: they read as zero afterwards, and their frames are released now, later, or not
//! at all.
//!
//! [`Mapping::sweep`](crate::state::Mapping::sweep) unmaps pages and releases what they own. A
//! recommit and a zeroing in place keep pages resident, a deferral leaves the release for later,
//! and a demotion gives up frames that were committed ahead. All of them are methods of a mapping;
//! those of a [`State`](crate::state::State) apply to the regions of a space.

mod blocks;
mod decommit;
mod defer;
mod demote;
mod freeze;
mod part;
mod recommit;

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

pub(crate) use self::blocks::Block;
pub use self::decommit::Decommitted;
pub use self::part::PartCleared;
pub use self::recommit::Recommitted;
use crate::pages::{count, entry_pages};
use crate::platform::Platform;
use crate::state::{Env, Mapping};
use crate::supply::Account;
use crate::table::{EntryState, SinkPlace, Sweep, TABLE_WORK};

impl<P: Platform> Mapping<'_, P> {
    /// The end of the first part of the pages that a walk should visit at a time, because it takes
    /// the time of about `most_frames` frames. The tables are measured only if it may be too long.
    pub(crate) fn batch_end(&mut self, pages: PageRange, most_frames: u64) -> Page {
        let held = &self.record.figures;
        let most_work = held.mapped_frames + held.deferred_frames + held.table_frames * TABLE_WORK;
        if count(pages).min(most_work) <= most_frames {
            return pages.end;
        }
        self.tables.batch_end(pages, most_frames)
    }

    /// Runs `work`, which unmaps pages from outside, unless another CPU uses the region. The lock
    /// is held with interrupts off.
    fn relieve<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let account = &self.record.account;
        let relief = self.tables.cpus().begin_relief(account.seat(), self.platform);
        let Some(relief) = relief else {
            account.raise(Account::WANTED);
            return None;
        };
        let done = work(self);
        self.tables.cpus().end_relief(relief, self.record.account.seat(), self.platform);
        Some(done)
    }

    /// Makes an entry absent if it still leads to the sink.
    pub(crate) fn uncover(&mut self, place: SinkPlace) {
        let SinkPlace { page, level } = place;
        let table = self.tables.descend(page, level);
        if table.level() == level && table.state(page) == EntryState::Sink {
            self.sweep(Sweep::Sink, entry_pages(page, level));
        }
    }
}

/// The set of all CPUs.
pub(crate) const ALL_CPUS: u64 = u64::MAX;

impl<P: Platform> Mapping<'_, P> {
    /// Takes back those sinks of this set of CPUs that the region borrows. The region's pages that
    /// lead there become absent.
    #[inline]
    pub(crate) fn recall_sinks(&mut self, cpus: u64, env: &Env<P>) {
        if self.record.sinks & cpus != 0 {
            let Self { record, tables, platform } = self;
            Mapping { record, tables, platform: *platform }.recall_borrowed(cpus, env);
        }
    }

    /// The rest of [`recall_sinks`](Self::recall_sinks). It takes the mapping by value, so that the
    /// caller's can stay in registers.
    #[cold]
    fn recall_borrowed(mut self, cpus: u64, env: &Env<P>) {
        let base = self.record.base();
        let sinks = self.record.sinks & cpus;
        self.record.sinks &= !cpus;
        for (_, sink) in env.sinks.iter().enumerate().filter(|(cpu, _)| sinks & (1 << cpu) != 0) {
            // Locked to the end, so that nothing else borrows the sink while pages lead there.
            let mut sink = sink.lock();
            if let Some(loan) = sink.recall_from(base) {
                loan.places.into_iter().for_each(|place| self.uncover(place));
            }
        }
    }
}
