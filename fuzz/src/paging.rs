//! Operations on regions over simulated physical memory, with a TLB that keeps stale translations
//! until they are flushed. The operations and the machine are those of the tests of
//! `palimpsest-paging`.

use crate::operations::{self, Operation};

/// Runs the target.
///
/// # Panics
///
/// Panics if a page has other bytes than were written, if a stale translation is used, or if a
/// frame is missing at the end.
pub fn run(data: &[u8]) {
    let (operations, _) = data.as_chunks::<4>();
    operations::run(operations.iter().copied().map(Operation));
}
