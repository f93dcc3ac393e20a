//! The regions of a space, by address.
//!
//! A vector sorted by address: a lookup tries the record that was found last, and then is a binary search
//! over neighbouring memory; it needs no heap. Growing it is left to the caller, who does it outside of the
//! lock.
//!
//! Invariants: records do not overlap; a record is there exactly as long as its region. Called by: the fault
//! path (lookup), reserve and the drop of a region.

use alloc::vec::Vec;
use core::mem;

use x86_64::VirtAddr;

use super::Record;

/// The records of all regions.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    records: Vec<Record>,
    /// The record that was found last, if it is still there.
    last_found: usize,
}

impl Directory {
    pub(crate) fn records_mut(&mut self) -> &mut [Record] {
        &mut self.records
    }

    /// The record of the region that the address is in.
    #[inline]
    pub(crate) fn find(&mut self, address: VirtAddr) -> Option<&mut Record> {
        let is_again = self.records.get(self.last_found).is_some_and(|record| record.contains(address));
        if is_again { self.records.get_mut(self.last_found) } else { self.search(address) }
    }

    /// As [`find`](Self::find), for a record that was not found last.
    #[cold]
    fn search(&mut self, address: VirtAddr) -> Option<&mut Record> {
        let behind = self.records.partition_point(|record| record.base() <= address);
        self.last_found = behind.checked_sub(1)?;
        self.records.get_mut(self.last_found).filter(|record| record.contains(address))
    }

    /// The capacity to grow to before the next insertion, if it needs one.
    pub(crate) fn wanted_capacity(&self) -> Option<usize> {
        let full = self.records.len() == self.records.capacity();
        full.then(|| (self.records.len() * 2).max(FIRST_CAPACITY))
    }

    /// Moves the records to a larger storage and hands out the old one, to be freed outside of the lock.
    pub(crate) fn move_to(&mut self, mut larger: Vec<Record>) -> Vec<Record> {
        debug_assert!(larger.is_empty() && larger.capacity() > self.records.len());
        larger.append(&mut self.records);
        mem::replace(&mut self.records, larger)
    }

    /// Inserts a record. The storage has room, so this does not touch the heap.
    pub(crate) fn insert(&mut self, record: Record) {
        debug_assert!(self.wanted_capacity().is_none(), "the storage was grown before");
        let place = self.records.partition_point(|other| other.base() < record.base());
        self.records.insert(place, record);
    }

    /// Removes the record of the region with this base.
    pub(crate) fn remove(&mut self, base: VirtAddr) -> Option<Record> {
        let place = self.records.binary_search_by_key(&base, Record::base).ok()?;
        Some(self.records.remove(place))
    }
}

/// Enough for a small kernel's regions, so that the storage seldom grows.
const FIRST_CAPACITY: usize = 16;
