//! The books as bytes, for snapshots that leave the machine: numbers in little-endian order.
//!
//! The reader trusts nothing. Books that were read own no page twice, and what is derived from the
//! blocks is not in the bytes.

use alloc::{boxed::Box, vec::Vec};
use palimpsest_engine::DataError;

use super::{Book, Extent};
use crate::{
    class::Class,
    error::StateError,
    options::HeapOptions,
    pages::Pages,
    partial::Rank,
    slab::{Slab, SlabState},
};

/// A large block, before its number of pages. Other numbers are size classes.
const LARGE: u64 = u64::MAX;

/// The limit of page numbers, far above those of any memory. Sums of two do not overflow.
const PAGES_MAX: u64 = 1 << 52;

impl Book {
    /// # Errors
    ///
    /// [`StateError::Moving`], and those of the sink.
    pub(crate) fn write(
        &self,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        if self.moving.is_some() {
            return Err(StateError::Moving.into());
        }
        let mut put = |number: u64| sink(&number.to_le_bytes());
        put(self.extents.len() as u64)?;
        for (first, extent) in &self.extents {
            put(*first)?;
            match extent {
                Extent::Large(count) => [LARGE, *count].into_iter().try_for_each(&mut put)?,
                Extent::Slab(slab) => {
                    put(slab.class().index() as u64)?;
                    let SlabState { taken, used } = slab.state();
                    taken.into_iter().chain([used]).try_for_each(&mut put)?;
                }
            }
        }
        let free: Vec<Pages> = self.free.iter().collect();
        for runs in [&free, &self.released] {
            put(runs.len() as u64)?;
            runs.iter().flat_map(|run| [run.first, run.count]).try_for_each(&mut put)?;
        }
        Ok(())
    }

    /// Reads books from the start of `bytes`, and removes what was read.
    ///
    /// # Errors
    ///
    /// See [`StateError`].
    pub(crate) fn read(bytes: &mut &[u8]) -> Result<Self, StateError> {
        let mut book = Self::new(HeapOptions::default());
        let mut owned = Vec::new();
        for _ in 0..number(bytes)? {
            let first = number(bytes)?;
            let kind = number(bytes)?;
            let extent = match kind {
                LARGE => Extent::Large(number(bytes)?),
                _ => Extent::Slab(Box::new(book.read_slab(bytes, first, kind)?)),
            };
            let first = checked(first, 1)?.first;
            let pages = extent.pages(first);
            owned.push(checked(pages.first, pages.count)?);
            book.extents.insert(first, extent);
        }
        let mut free = Vec::new();
        for _ in 0..number(bytes)? {
            let run = checked(number(bytes)?, number(bytes)?)?;
            owned.push(run);
            free.push(run);
        }
        owned.sort_unstable_by_key(|pages| pages.first);
        if let Some(pair) = owned.windows(2).find(|pair| pair[0].end() > pair[1].first) {
            return Err(StateError::Number { what: "page of a second block", number: pair[1].first });
        }
        free.into_iter().for_each(|run| book.free.insert(run));
        for _ in 0..number(bytes)? {
            let run = checked(number(bytes)?, number(bytes)?)?;
            if book.free.containing(run.first).is_none_or(|free| run.end() > free.end()) {
                return Err(StateError::Number { what: "page that is to be released", number: run.first });
            }
            book.released.push(run);
        }
        Ok(book)
    }

    /// Reads a slab of a class, and lists it if it has a vacant slot.
    fn read_slab(&mut self, bytes: &mut &[u8], first: u64, class: u64) -> Result<Slab, StateError> {
        let class = Class::numbered(class).ok_or(StateError::Number { what: "size class", number: class })?;
        checked(first, class.pages() as u64)?;
        let mut taken = [0; Class::MAX_SLOTS / 64];
        for word in &mut taken {
            *word = number(bytes)?;
        }
        let state = SlabState { taken, used: number(bytes)? };
        let slab = Slab::restored(class, first, state, &mut self.idle);
        let slab = slab.ok_or(StateError::Number { what: "page of a slab", number: first })?;
        if !slab.is_full() {
            self.partial[class.index()].add(Rank::new(slab.live(), first));
        }
        Ok(slab)
    }
}

/// Reads a number and removes it.
///
/// # Errors
///
/// [`StateError::Truncated`].
pub(crate) fn number(bytes: &mut &[u8]) -> Result<u64, StateError> {
    let (number, rest) = bytes.split_first_chunk().ok_or(StateError::Truncated)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*number))
}

/// Returns pages that a memory can have.
///
/// # Errors
///
/// [`StateError::Number`].
fn checked(first: u64, count: u64) -> Result<Pages, StateError> {
    let is_valid = (1..PAGES_MAX).contains(&first) && (1..PAGES_MAX).contains(&count);
    if is_valid {
        Ok(Pages::new(first, count))
    } else {
        Err(StateError::Number { what: "page", number: first })
    }
}
