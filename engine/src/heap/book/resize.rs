//! `realloc`, as far as it needs no byte: what stays where it is, what becomes shorter, what has to move.

use super::{Book, Found, Holding, NotABlock, Wanted};
use crate::heap::{
    class::Class,
    pages::{PAGE_BYTES, Pages},
};

/// What became of a block that is to have another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::heap) enum Resized {
    /// It has that size at the same address.
    InPlace,
    /// It has these bytes still, and has to move.
    Elsewhere { bytes: u64 },
}

impl Book {
    /// Gives the block at `address` a size of `bytes`, if it can stay where it is.
    ///
    /// A large block that is to be small is cut down to a page before it has to move.
    ///
    /// # Errors
    ///
    /// [`NotABlock`]; nothing has changed then.
    pub(in crate::heap) fn resize(&mut self, address: u64, bytes: u64) -> Result<Resized, NotABlock> {
        let wanted = Wanted::new(bytes, 1);
        match (self.find(address)?, wanted) {
            (Found::Small { class, .. }, Some(Wanted::Small(wanted))) if class == wanted => {
                Ok(Resized::InPlace)
            }
            (Found::Small { class, .. }, _) => Ok(Resized::Elsewhere { bytes: class.slot_bytes() as u64 }),
            (Found::Large(pages), Some(Wanted::Large { pages: count, .. })) => Ok(self.recount(pages, count)),
            (Found::Large(pages), Some(Wanted::Small(_))) => {
                self.recount(pages, 1);
                Ok(Resized::Elsewhere { bytes: PAGE_BYTES })
            }
            (Found::Large(pages), None) => Ok(Resized::Elsewhere { bytes: pages.bytes() }),
        }
    }

    /// By how many pages the memory, whose last whole page is in front of page `end`, has to grow so that the
    /// block at `address` can have `bytes` bytes where it is. Nothing if it is not large, or not the last one.
    pub(in crate::heap) fn missing_behind(&self, address: u64, bytes: u64, end: u64) -> Option<u64> {
        let Ok(Found::Large(pages)) = self.find(address) else { return None };
        let behind = self.free.starting_at(pages.end()).map_or(pages.end(), Pages::end);
        if behind != end || Class::of(bytes).is_some() {
            return None;
        }
        pages.first.checked_add(bytes.div_ceil(PAGE_BYTES))?.checked_sub(end)
    }

    /// Gives a large block `count` pages, if they are free behind it.
    fn recount(&mut self, pages: Pages, count: u64) -> Resized {
        if count <= pages.count {
            let tail = Pages::new(pages.first + count, pages.count - count);
            if tail.count > 0 {
                self.give_up(tail);
            }
        } else if self.free.take_at(pages.end(), count - pages.count).is_none() {
            return Resized::Elsewhere { bytes: pages.bytes() };
        }
        self.holdings.insert(pages.first, Holding::Large(count));
        Resized::InPlace
    }
}
