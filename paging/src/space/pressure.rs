//! Obstacles on the fault path, which lie outside of the fault's shard: a shortage of frames, and a
//! sink that another region borrows.
//!
//! When frames run short, the space reclaims deferred frames, then frames that were committed
//! ahead, and then calls the embedder. It visits one shard after another, and holds the lock of one
//! at a time.
//!
//! Invariant: the embedder's callback runs with no lock of the space held, between two attempts to
//! resolve one fault, and at most once per fault.

use core::ptr;

use x86_64::VirtAddr;
use x86_64::structures::paging::Page;

use super::AddressSpace;
use crate::clear::Decommitted;
use crate::fault::{Fault, Outcome, Unresolved, attempt, attempt_again, lose};
use crate::frame::Shortage;
use crate::platform::Platform;
use crate::record::Record;
use crate::state::Shard;
use crate::supply::Account;

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
    /// reserved for it. No lock is held from one level-1 table to the next.
    pub fn reclaim(&self, budget_frames: u64) -> Decommitted {
        let mut released = Decommitted::default();
        for shard in self.directory.shards() {
            released += reclaim(budget_frames - released.frames_released, |budget_frames| {
                self.reclaim_some(shard, |_| true, budget_frames)
            });
        }
        released
    }

    /// Releases frames of the account that another CPU has wanted and could not take, because the
    /// calling CPU uses the account's regions: deferred ones, and some that were committed ahead.
    ///
    /// The page-fault handler does the same. A CPU that uses regions for long without a fault may
    /// call it from time to time. [`Account::WANTED`] shows when.
    pub fn yield_frames(&self, account: &Account) {
        if account.seat().take_wanted() {
            self.yield_frames_of(ptr::from_ref(account).addr());
        }
    }

    /// Yields frames of the account of the region at this address, if they are wanted.
    #[cold]
    pub(super) fn yield_frames_at(&self, shard: &Shard, address: VirtAddr) {
        let wanted = self.env.lock(shard, |state| {
            let account = &state.records.find(address)?.account;
            account.seat().take_wanted().then(|| ptr::from_ref(&**account).addr())
        });
        if let Some(account) = wanted {
            self.yield_frames_of(account);
        }
    }

    /// Yields frames of the account at this address.
    #[cold]
    fn yield_frames_of(&self, account: usize) {
        let is_its = |record: &Record| ptr::from_ref(&*record.account).addr() == account;
        let mut budget_frames = YIELDED_FRAMES;
        for shard in self.directory.open_shards() {
            // The pages that this finds become deferred.
            self.demote_some(shard, is_its);
            let released =
                reclaim(budget_frames, |budget_frames| self.reclaim_some(shard, is_its, budget_frames));
            budget_frames -= released.frames_released;
        }
    }

    /// Goes on with a fault that an attempt has not resolved: removes the obstacle and attempts
    /// again, as often as it takes, unless the fault is not ours.
    #[cold]
    pub(super) fn overcome(&self, shard: &Shard, fault: Fault, unresolved: Unresolved) -> Outcome {
        let mut unresolved = unresolved;
        let mut pressure = self.pressure;
        let mut reliefs = 0;
        loop {
            let attempted = match unresolved {
                Unresolved::NotOurs(reason) => return Outcome::NotOurs(reason),
                Unresolved::SinkLent(borrower) => {
                    self.recall_sink(borrower);
                    self.env.lock(shard, |state| attempt(state, fault, None, &self.env))
                }
                Unresolved::Shortage(shortage) => {
                    reliefs += 1;
                    let is_relieved = (reliefs <= MOST_RELIEFS && self.relieve(shard, fault, shortage))
                        || self.press(shortage, &mut pressure);
                    self.env.lock(shard, |state| {
                        if is_relieved {
                            attempt_again(state, fault, &self.env)
                        } else {
                            lose(state, fault, shortage, &self.env)
                        }
                    })
                }
            };
            match attempted {
                Ok(()) => return Outcome::Handled,
                Err(next) => unresolved = next,
            }
        }
    }

    /// Takes the sink of this CPU back from the region with this base, if it still borrows it.
    ///
    /// No other CPU runs the region, because it would have taken the sink back when it entered.
    fn recall_sink(&self, base: VirtAddr) {
        if let Some(shard) = self.directory.find(Page::containing_address(base)) {
            self.env.lock(shard, |state| {
                if let Some(mut mapping) = state.mapping(base, &self.env.platform) {
                    mapping.recall_sinks(1 << self.env.platform.cpu(), &self.env);
                }
            });
        }
    }

    /// Calls the embedder's callback if it was not called before and frames in the source would
    /// help, and returns whether it has.
    fn press(&self, shortage: Shortage, pressure: &mut Option<Pressure<P>>) -> bool {
        shortage == Shortage::SourceEmpty && pressure.take().inspect(|pressure| pressure(self)).is_some()
    }

    /// Makes frames available that can end this shortage, and returns whether it has found any.
    fn relieve(&self, shard: &Shard, fault: Fault, shortage: Shortage) -> bool {
        let payer = self.env.lock(shard, |state| {
            state.records.find(fault.address).map(|record| ptr::from_ref(&*record.account).addr())
        });
        let helps = |record: &Record| match shortage {
            // Frames of reserved accounts stay reserved for them.
            Shortage::SourceEmpty => !record.account.is_reserved(),
            Shortage::CapReached { .. } => Some(ptr::from_ref(&*record.account).addr()) == payer,
        };
        let mut shards = self.directory.open_shards();
        (shortage == Shortage::SourceEmpty && self.env.cpus.release_waiting(&self.env.platform) > 0)
            || shards.any(|shard| self.reclaim_some(shard, helps, RECLAIM_FRAMES).frames_released > 0)
            // The pages that this finds become deferred. The next call reclaims them.
            || self.directory.open_shards().any(|shard| self.demote_some(shard, helps) > 0)
    }

    fn reclaim_some(
        &self,
        shard: &Shard,
        helps: impl Fn(&Record) -> bool,
        budget_frames: u64,
    ) -> Decommitted {
        self.env.lock(shard, |state| state.reclaim_some(helps, budget_frames, &self.env.platform))
    }

    fn demote_some(&self, shard: &Shard, helps: impl Fn(&Record) -> bool) -> u64 {
        self.env.lock(shard, |state| state.demote_some(helps, &self.env.platform))
    }
}

/// The number of deferred frames that a fault reclaims at a time: enough for several faults, and
/// few enough to keep this one short.
const RECLAIM_FRAMES: u64 = 32;

/// The most frames that a CPU yields at a time.
const YIELDED_FRAMES: u64 = 512;

/// The most reliefs of one fault. A fault takes at most three frames, and it takes two reliefs to
/// find one that was committed ahead. Other CPUs may take what a relief has found, so a limit ends
/// the fault.
const MOST_RELIEFS: u32 = 16;

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
