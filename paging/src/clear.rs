//! Clearing pages: they read as zero afterwards, and their frames are released now, later, or not
//! at all.
//!
//! [`Mapping::sweep`](crate::state::Mapping::sweep) unmaps pages and releases what they own. A
//! recommit and a zeroing in place keep pages resident, a deferral leaves the release for later,
//! and a demotion gives up frames that were committed ahead. All of them are methods of a mapping;
//! those of a [`State`] apply to the regions of a space.

mod decommit;
mod defer;
mod demote;
mod part;
mod recommit;

use x86_64::VirtAddr;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

pub use self::decommit::Decommitted;
pub use self::part::PartCleared;
pub use self::recommit::Recommitted;
use crate::pages::{count, entry_pages};
use crate::platform::Platform;
use crate::record::Record;
use crate::state::{Mapping, State};
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

    /// Makes an entry absent if it still leads to the sink.
    pub(crate) fn uncover(&mut self, place: SinkPlace) {
        let SinkPlace { page, level } = place;
        let table = self.tables.descend(page, level);
        if table.level() == level && table.state(page) == EntryState::Sink {
            self.sweep(Sweep::Sink, entry_pages(page, level));
        }
    }
}

impl State {
    /// Takes the sink back from the region that has it, whose pages that lead there become absent.
    pub(crate) fn recall_sink<P: Platform>(&mut self, platform: &P) {
        let Some(loan) = self.sink.recall() else { return };
        if let Some(mut mapping) = self.mapping(loan.base, platform) {
            loan.places.into_iter().for_each(|place| mapping.uncover(place));
        }
    }

    /// Takes the sink back if the region with this base has it.
    pub(crate) fn recall_sink_of<P: Platform>(&mut self, base: VirtAddr, platform: &P) {
        if self.sink.is_lent_to(base) {
            self.recall_sink(platform);
        }
    }

    /// Takes the sink back if a region of the account has it.
    pub(crate) fn recall_sink_from<P: Platform>(&mut self, account: &Account, platform: &P) {
        let Some(base) = self.sink.base() else { return };
        let is_account = |record: &mut Record| core::ptr::eq(&raw const *record.account, account);
        if self.directory.find(base).is_some_and(is_account) {
            self.recall_sink(platform);
        }
    }
}
