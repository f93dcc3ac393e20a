//! The state that the fault path and the clears share, divided into shards.
//!
//! The lock of a [`Shard`] guards one [`State`]: the tables of the shard, and the records of its
//! regions. What needs no lock, or has one that is taken inside of a shard's, is in the [`Env`]. A
//! [`Mapping`] is the part of a state that belongs to one region: the region's record, and the
//! tables that map its pages. The layers above define the operations on them, as methods.

mod directory;
mod policy;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::sync::atomic::AtomicU64;

use spin::Mutex;
use x86_64::VirtAddr;

pub(crate) use self::directory::{Directory, Shard};
pub(crate) use self::policy::PoliciesInForce;
pub use self::policy::{FaultAround, Policies, ZeroStores};
use crate::frame::Frame;
use crate::platform::Platform;
use crate::record::{Record, Records, Shares};
use crate::supply::{Account, Supply};
use crate::table::{ShardTables, Sink, Window};
use crate::tlb::Cpus;

/// What the fault path and the clears use without the lock of a shard.
#[derive(Debug)]
pub(crate) struct Env<P> {
    pub(crate) platform: P,
    pub(crate) cpus: Arc<Cpus>,
    pub(crate) window: Window,
    /// The frame of zeros that absent pages show when they are read. The end of the space takes it.
    pub(crate) zero: ManuallyDrop<Frame>,
    pub(crate) policies: PoliciesInForce,
    /// The sink of each CPU. Its lock is taken inside of a shard's.
    pub(crate) sinks: Box<[Mutex<Sink>]>,
    /// The counts of frames that images share. Its lock is taken inside of no other one.
    pub(crate) shares: Mutex<Shares>,
    /// The frames of images, also of those that are being made.
    pub(crate) image_frames: AtomicU64,
    /// The frames that images and regions which have ended have released, tables of these regions
    /// included.
    pub(crate) past_released: AtomicU64,
}

impl<P: Platform> Env<P> {
    /// Runs `work` on the state of a shard, with its lock held and interrupts off.
    pub(crate) fn lock<R>(&self, shard: &Shard, work: impl FnOnce(&mut State) -> R) -> R {
        self.platform.without_interrupts(|| work(&mut shard.state.lock()))
    }

    /// Runs `work` on the counts of the frames of images, with their lock held and interrupts off.
    pub(crate) fn lock_shares<R>(&self, work: impl FnOnce(&mut Shares) -> R) -> R {
        self.platform.without_interrupts(|| work(&mut self.shares.lock()))
    }

    /// Frames that are charged to this account, or to none.
    pub(crate) fn supply<'a>(&'a self, account: Option<&'a Account>) -> Supply<'a, P::Frames> {
        Supply::new(self.platform.frames(), self.window.memory(), account)
    }
}

/// The data that the lock of a shard guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tables: ShardTables,
    pub(crate) records: Records,
}

impl State {
    /// The mapping of the region that the address is in.
    pub(crate) fn mapping<'a, P: Platform>(
        &'a mut self,
        address: VirtAddr,
        platform: &'a P,
    ) -> Option<Mapping<'a, P>> {
        let record = self.records.find(address)?;
        Some(Mapping { record, tables: &mut self.tables, platform })
    }

    /// Visits the mapping of each region, in the order of their addresses.
    pub(crate) fn each_mapping<P: Platform>(&mut self, platform: &P, mut visit: impl FnMut(Mapping<'_, P>)) {
        self.first_mapping(
            |_| true,
            platform,
            |mapping| {
                visit(mapping);
                None::<()>
            },
        );
    }

    /// Visits the mapping of each region whose record is `eligible`, in the order of their
    /// addresses, until one visit finds something.
    pub(crate) fn first_mapping<P: Platform, R>(
        &mut self,
        eligible: impl Fn(&Record) -> bool,
        platform: &P,
        mut visit: impl FnMut(Mapping<'_, P>) -> Option<R>,
    ) -> Option<R> {
        let mut records = self.records.all_mut().iter_mut().filter(|record| eligible(record));
        records.find_map(|record| visit(Mapping { record, tables: &mut self.tables, platform }))
    }
}

/// One region's record, the tables that map its pages, and the platform.
#[derive(Debug)]
pub(crate) struct Mapping<'a, P: Platform> {
    pub(crate) record: &'a mut Record,
    pub(crate) tables: &'a mut ShardTables,
    pub(crate) platform: &'a P,
}

impl<P: Platform> Mapping<'_, P> {
    /// Frames that are charged to the region's account.
    pub(crate) fn supply(&self) -> Supply<'_, P::Frames> {
        Supply::new(self.platform.frames(), self.tables.memory(), Some(&self.record.account))
    }
}
