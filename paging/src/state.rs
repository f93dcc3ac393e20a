//! What the fault path and the clears work on.
//!
//! A space's lock guards one [`State`]. A [`Mapping`] is the part of it that belongs to one region: the region's record
//! and the tables that map its pages. An [`Env`] is what the embedder provides. The operations on a mapping are methods
//! that the layers above define.

mod policy;

use x86_64::VirtAddr;

pub use self::policy::{FaultAround, Policies, ZeroStores};
use crate::frame::{Frame, PhysicalMemory};
use crate::record::{Directory, Record};
use crate::supply::{Account, Supply};
use crate::table::{Sink, WindowTables};

/// What the lock of a space guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tables: WindowTables,
    pub(crate) directory: Directory,
    /// The frame of zeros that all untouched pages show when they are read.
    pub(crate) zero: Frame,
    pub(crate) sink: Sink,
    pub(crate) image_frames: u64,
    pub(crate) policies: Policies,
}

impl State {
    /// The mapping of the region that the address is in.
    pub(crate) fn mapping<'a, S, T>(
        &'a mut self,
        address: VirtAddr,
        env: Env<'a, S, T>,
    ) -> Option<Mapping<'a, S, T>> {
        let record = self.directory.find(address)?;
        Some(Mapping { record, tables: &mut self.tables, env })
    }

    /// Visits the mapping of each region whose record is `eligible`, in the order of their addresses.
    pub(crate) fn each_mapping<S, T>(
        &mut self,
        eligible: impl Fn(&Record) -> bool,
        env: Env<'_, S, T>,
        mut visit: impl FnMut(Mapping<'_, S, T>),
    ) {
        for record in self.directory.records_mut().iter_mut().filter(|record| eligible(record)) {
            visit(Mapping { record, tables: &mut self.tables, env });
        }
    }
}

/// One region's record, the tables that map its pages, and what the embedder provides.
#[derive(Debug)]
pub(crate) struct Mapping<'a, S, T> {
    pub(crate) record: &'a mut Record,
    pub(crate) tables: &'a mut WindowTables,
    pub(crate) env: Env<'a, S, T>,
}

impl<S, T> Mapping<'_, S, T> {
    /// Frames that are charged to the region's account.
    pub(crate) fn supply(&self) -> Supply<'_, S> {
        self.env.supply(self.tables.memory(), Some(&self.record.account))
    }
}

/// What the embedder provides: frames, and the flushes of the TLB. It is small enough to be passed in registers.
#[derive(Debug)]
pub(crate) struct Env<'a, S, T> {
    pub(crate) source: &'a S,
    pub(crate) tlb: &'a T,
}

impl<'a, S, T> Env<'a, S, T> {
    /// Frames that are charged to this account, or to none.
    #[inline]
    pub(crate) const fn supply<'b>(
        self,
        memory: PhysicalMemory,
        account: Option<&'b Account>,
    ) -> Supply<'b, S>
    where
        'a: 'b,
    {
        Supply { memory, source: self.source, account }
    }
}

impl<S, T> Clone for Env<'_, S, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, T> Copy for Env<'_, S, T> {}
