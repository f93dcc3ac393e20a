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

/// The limits of a store, and whether its memories may grow at present.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) limits: Limits,
    pub(crate) growth: Growth,
    /// Section entries of all instances.
    entries: usize,
    /// Elements in all tables of the store. wasmi never frees a table before its store.
    table_elements: usize,
    /// Elements in host tables, which the limit does not count.
    host_elements: usize,
    /// Elements that the last growth added to `table_elements`.
    last_growth: usize,
    /// Instances in the store, and the tables that they define. wasmi never frees either before its
    /// store.
    instances: usize,
    tables: usize,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            growth: Growth::Closed,
            table_elements: 0,
            host_elements: 0,
            last_growth: 0,
            instances: 0,
            entries: 0,
            tables: 0,
        }
    }

    /// Returns how many more instances the store may have.
    pub(crate) fn instances_left(&self) -> usize {
        self.limits.instances.saturating_sub(self.instances)
    }

    /// Returns how many more tables the instances of the store may define.
    pub(crate) fn tables_left(&self) -> usize {
        self.limits.tables.saturating_sub(self.tables)
    }

    /// Counts an instance that defines `tables` tables, besides its host table.
    pub(crate) fn count_instance(&mut self, tables: usize) {
        self.instances += 1;
        self.tables += tables;
    }

    /// Returns how many section entries further instances may have, together.
    pub(crate) fn entries_left(&self) -> usize {
        self.limits.store_entries.saturating_sub(self.entries)
    }

    /// Counts an instance with this many section entries.
    pub(crate) fn add_entries(&mut self, entries: usize) {
        self.entries += entries;
    }

    /// Returns how many elements the tables of the guest may still grow by, together.
    pub(crate) fn table_elements_left(&self) -> usize {
        let counted = self.table_elements.saturating_sub(self.host_elements);
        self.limits.store_table_elements.saturating_sub(counted)
    }

    /// Allows a host table with this many elements beyond the limit.
    pub(crate) fn allow_host_table(&mut self, elements: usize) {
        self.host_elements += elements;
    }
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
        let limit = self.limits.store_table_elements.saturating_add(self.host_elements);
        let sum = self.table_elements.checked_add(growth).filter(|&sum| sum <= limit);
        let Some(sum) = sum.filter(|_| desired <= self.limits.table_elements) else { return Ok(false) };
        self.table_elements = sum;
        self.last_growth = growth;
        Ok(true)
    }

    /// Takes back the growth that was allowed last, because it was refused for another reason: the
    /// maximum of the table's type, or the kernel heap.
    fn table_grow_failed(&mut self, _error: &TableError) -> Result<(), LimiterError> {
        self.table_elements -= core::mem::take(&mut self.last_growth);
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
