//! The records of a shard's regions, sorted by address.
//!
//! A lookup tries the record that was found last, and then searches the vector. It uses no heap.
//! The caller grows the vector outside of the shard's lock.
//!
//! Invariants: the records do not overlap. A record is among those of its shard for as long as its
//! region lives.

use alloc::vec::Vec;
use core::mem;

use x86_64::VirtAddr;

use super::Record;

/// The records of the regions of a shard.
#[derive(Debug)]
pub(crate) struct Records {
    records: Vec<Record>,
    /// The index of the record that was found last. There may be another record now.
    last_found: usize,
}

impl Records {
    pub(crate) fn all_mut(&mut self) -> &mut [Record] {
        &mut self.records
    }

    /// The record of the region that the address is in.
    #[inline]
    pub(crate) fn find(&mut self, address: VirtAddr) -> Option<&mut Record> {
        let is_again = self.records.get(self.last_found).is_some_and(|record| record.contains(address));
        if is_again { self.records.get_mut(self.last_found) } else { self.search(address) }
    }

    /// The rest of [`find`](Self::find), for another record than the last one.
    #[cold]
    fn search(&mut self, address: VirtAddr) -> Option<&mut Record> {
        let after = self.records.partition_point(|record| record.base() <= address);
        self.last_found = after.checked_sub(1)?;
        self.records.get_mut(self.last_found).filter(|record| record.contains(address))
    }

    /// No records, with room for this many.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { records: Vec::with_capacity(capacity), last_found: 0 }
    }

    /// The capacity that the vector needs before the next record of a small region is inserted, if
    /// its capacity is too small.
    pub(crate) fn wanted_capacity(&self) -> Option<usize> {
        let is_full = self.records.len() == self.records.capacity();
        let wanted = if is_full { 2 * self.records.len() } else { self.records.capacity() };
        let wanted = wanted.max(SMALL_REGIONS);
        (wanted > self.records.capacity()).then_some(wanted)
    }

    /// Moves the records to a larger vector. Returns the old one, to be freed outside of the lock.
    pub(crate) fn move_to(&mut self, mut larger: Vec<Record>) -> Vec<Record> {
        debug_assert!(larger.is_empty() && larger.capacity() > self.records.len());
        larger.append(&mut self.records);
        mem::replace(&mut self.records, larger)
    }

    /// Inserts a record. The vector has the capacity, so this allocates nothing.
    pub(crate) fn insert(&mut self, record: Record) {
        debug_assert!(self.records.len() < self.records.capacity(), "the capacity was ensured before");
        let place = self.records.partition_point(|other| other.base() < record.base());
        self.records.insert(place, record);
    }

    /// Removes the record of the region with this base.
    pub(crate) fn remove(&mut self, base: VirtAddr) -> Option<Record> {
        let place = self.records.binary_search_by_key(&base, Record::base).ok()?;
        Some(self.records.remove(place))
    }
}

/// Enough for the small regions of a small kernel, so that the records of a shard seldom move.
const SMALL_REGIONS: usize = 16;
