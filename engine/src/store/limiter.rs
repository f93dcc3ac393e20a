//! The limits that wasmi checks before it creates or grows something, and the lock on growth.

use wasmi::{ResourceLimiter, errors::TableError};
use wasmi_core::LimiterError;

use crate::config::Limits;

/// Whether wasmi may create or grow a memory at present.
///
/// wasmi zeroes what a memory grows by. If a memory grew without the engine, those writes would go
/// past the limit of its region. So growth is open only during the engine's own calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    Open,
    Closed,
}

/// What a store may still create, and whether its memories may grow at present.
///
/// wasmi frees an instance or a table only with its store, so all of it is counted down.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) growth: Growth,
    /// wasmi numbers instances and tables with 32 bits.
    instances_left: u32,
    /// Section entries that further instances may have, together.
    entries_left: usize,
    /// Tables that further instances may define.
    tables_left: u32,
    /// The most elements of one table.
    table_elements: usize,
    /// Elements that all tables of the store may grow by, together. Host tables are not limited:
    /// each adds its elements before it is created.
    elements_left: usize,
    /// Elements that the last growth took.
    last_growth: usize,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            growth: Growth::Closed,
            instances_left: at_most_32_bits(limits.instances),
            entries_left: limits.store_entries,
            tables_left: at_most_32_bits(limits.tables),
            table_elements: limits.table_elements,
            elements_left: limits.store_table_elements,
            last_growth: 0,
        }
    }

    /// Returns how many more instances the store may have.
    pub(crate) fn instances_left(&self) -> usize {
        self.instances_left as usize
    }

    /// Returns how many more tables the instances of the store may define.
    pub(crate) fn tables_left(&self) -> usize {
        self.tables_left as usize
    }

    /// Counts an instance that defines `tables` tables, besides its host table.
    pub(crate) fn count_instance(&mut self, tables: usize) {
        self.instances_left = self.instances_left.saturating_sub(1);
        self.tables_left = self.tables_left.saturating_sub(at_most_32_bits(tables));
    }

    /// Returns how many section entries further instances may have, together.
    pub(crate) fn entries_left(&self) -> usize {
        self.entries_left
    }

    /// Counts an instance with this many section entries.
    pub(crate) fn add_entries(&mut self, entries: usize) {
        self.entries_left = self.entries_left.saturating_sub(entries);
    }

    /// Returns how many elements the tables of the guest may still grow by, together.
    pub(crate) fn table_elements_left(&self) -> usize {
        self.elements_left
    }

    /// Returns whether the limits allow a table with `size` elements to grow by `delta`. `maximum`
    /// is that of its type.
    pub(crate) fn allows_growth(&self, size: u64, maximum: Option<u64>, delta: u64) -> bool {
        let largest = maximum.unwrap_or(u64::MAX).min(self.table_elements as u64);
        delta <= self.elements_left as u64 && size.checked_add(delta).is_some_and(|grown| grown <= largest)
    }

    /// Allows a host table with this many elements beyond the limit.
    pub(crate) fn allow_host_table(&mut self, elements: usize) {
        self.elements_left = self.elements_left.saturating_add(elements);
    }
}

fn at_most_32_bits(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        Ok(self.growth == Growth::Open)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        let growth = desired.saturating_sub(current);
        let left = self.elements_left.checked_sub(growth).filter(|_| desired <= self.table_elements);
        let Some(left) = left else { return Ok(false) };
        self.elements_left = left;
        self.last_growth = growth;
        Ok(true)
    }

    /// Takes back the growth that was allowed last, because it was refused for another reason: the
    /// maximum of the table's type, or the kernel heap.
    fn table_grow_failed(&mut self, _error: &TableError) -> Result<(), LimiterError> {
        self.elements_left += core::mem::take(&mut self.last_growth);
        Ok(())
    }

    // The engine checks these limits itself, before it creates anything. wasmi counts an imported
    // memory or table again for each importer, and all memories are imported after the splice.

    fn instances(&self) -> usize {
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }

    fn memories(&self) -> usize {
        usize::MAX
    }
}
