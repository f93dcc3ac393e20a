//! `realloc`, as far as it concerns addresses: whether a block can change its size in place or must
//! move.

use super::{Book, Extent, Found, NotABlock, Request};
use crate::{
    block::Block,
    class::Class,
    pages::{PAGE_BYTES, Pages},
};

/// The outcome of [`Book::resize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resized {
    /// The block has the new size at the same address.
    InPlace,
    /// The block must move. Until then its length is `bytes`.
    Elsewhere { bytes: u64 },
}

/// A block that moves in several calls.
#[derive(Clone, Debug)]
pub(crate) struct Moving {
    /// The address of the block. Its end was already moved and cut off.
    pub(crate) pointer: u64,
    /// Its length.
    pub(crate) left: u64,
    /// The new block.
    pub(crate) to: Block,
}

impl Book {
    /// Records the move that a later call with the same pointer continues.
    pub(crate) fn set_moving(&mut self, moving: Moving) {
        self.moving = Some(moving);
    }

    /// Returns the move of the block at `pointer` that is not complete. The record is dropped if
    /// the guest has freed or resized one of the blocks since.
    pub(crate) fn take_moving(&mut self, pointer: u64) -> Option<Moving> {
        let moving = self.moving.take_if(|moving| moving.pointer == pointer)?;
        let has_length = |address, bytes| self.usable_size(address) == Ok(bytes);
        let is_valid = has_length(pointer, moving.left) && has_length(moving.to.address, moving.to.bytes);
        is_valid.then_some(moving)
    }

    /// Changes the size of the block at `address` to `bytes` if that is possible in place.
    ///
    /// A large block that becomes small is shortened to one page, and must then move into a slot.
    ///
    /// # Errors
    ///
    /// [`NotABlock`]; nothing has changed then.
    pub(crate) fn resize(&mut self, address: u64, bytes: u64) -> Result<Resized, NotABlock> {
        match (self.find(address)?, Request::new(bytes, 1)) {
            (Found::Small { class, .. }, Some(Request::Small(requested))) if class == requested => {
                Ok(Resized::InPlace)
            }
            (Found::Small { class, .. }, _) => Ok(Resized::Elsewhere { bytes: class.slot_bytes() as u64 }),
            (Found::Large(pages), Some(Request::Large { pages: count, .. })) => {
                Ok(self.recount(pages, count))
            }
            (Found::Large(pages), Some(Request::Small(_))) => {
                self.recount(pages, 1);
                Ok(Resized::Elsewhere { bytes: PAGE_BYTES })
            }
            (Found::Large(pages), None) => Ok(Resized::Elsewhere { bytes: pages.bytes() }),
        }
    }

    /// Returns the number of pages by which the memory must grow so that the block at `address` can
    /// have `bytes` bytes in place. `end` is the page after the memory's last whole page. Returns
    /// `None` unless the block is large and the last one.
    pub(crate) fn missing_after(&self, address: u64, bytes: u64, end: u64) -> Option<u64> {
        let Ok(Found::Large(pages)) = self.find(address) else { return None };
        let next = self.free.starting_at(pages.end()).map_or(pages.end(), Pages::end);
        if next != end || Class::of(bytes).is_some() {
            return None;
        }
        pages.first.checked_add(bytes.div_ceil(PAGE_BYTES))?.checked_sub(end)
    }

    /// Changes a large block to `count` pages. A longer one needs free pages directly after it.
    fn recount(&mut self, pages: Pages, count: u64) -> Resized {
        if count <= pages.count {
            let tail = Pages::new(pages.first + count, pages.count - count);
            if tail.count > 0 {
                self.release(tail);
            }
        } else if self.free.take_at(pages.end(), count - pages.count).is_none() {
            return Resized::Elsewhere { bytes: pages.bytes() };
        }
        self.extents.insert(pages.first, Extent::Large(count));
        Resized::InPlace
    }
}
