//! Clearing pages: they read as zero afterwards, and their frames are released now, later, or not at all.
//!
//! [`sweep`] unmaps pages and releases what they own. [`recommit()`] and [`zero_in_place`] keep pages resident,
//! [`defer()`] leaves the release for later, and [`demote_ahead`] gives up frames that were committed ahead.

mod decommit;
mod defer;
mod demote;
mod recommit;

use x86_64::VirtAddr;

pub use self::decommit::Decommitted;
pub(crate) use self::decommit::sweep;
pub(crate) use self::defer::{defer, reclaim, reclaim_from};
pub(crate) use self::demote::{demote_ahead, demote_ahead_of};
pub use self::recommit::Recommitted;
pub(crate) use self::recommit::{recommit, zero_in_place};
use crate::frame::FrameSource;
use crate::state::{Env, State};
use crate::table::Sweep;
use crate::tlb::Tlb;

impl State {
    /// Takes the sink back from the region that has it, whose pages that lead there become absent.
    pub(crate) fn recall_sink<S: FrameSource, T: Tlb>(&mut self, env: Env<'_, S, T>) {
        let Some(loan) = self.sink.recall() else { return };
        if let Some(record) = self.directory.find(loan.base) {
            sweep(Sweep::Sink, loan.pages, record, &mut self.tables, env);
        }
    }

    /// Takes the sink back if the region with this base has it.
    pub(crate) fn recall_sink_of<S: FrameSource, T: Tlb>(&mut self, base: VirtAddr, env: Env<'_, S, T>) {
        if self.sink.is_lent_to(base) {
            self.recall_sink(env);
        }
    }
}
