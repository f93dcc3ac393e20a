//! Frames that several clusters of images have in common, and how many clusters these are.
//!
//! A frame of one cluster needs no count. The first cluster that shares it gives it a slot with a
//! count, in blocks on the heap. Slots are used again, so the heap is proportional to the number of
//! frames that were shared at once, whichever images they belong to.
//!
//! Invariants: a frame has as many [`Share`]s as its count says, or one if it has no slot. Slots
//! are given and counts changed with the lock of the [`Shares`] held.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::{AtomicU32, Ordering};

use x86_64::structures::paging::PhysFrame;

use crate::frame::{Frame, FrameRun};
use crate::pages::frame_after;

/// The slot of a share whose frame has no count, and the end of the list of free slots.
const NO_SLOT: u32 = u32::MAX;

/// The number of slots in a block.
const BLOCK_SLOTS: usize = 1024;

type Block = Box<[u32; BLOCK_SLOTS]>;

/// A part of the ownership of a frame.
#[must_use = "the frame is leaked unless the share is given up"]
#[derive(Debug)]
pub(crate) struct Share {
    frame: PhysFrame,
    slot: AtomicU32,
    payer: u32,
}

impl Share {
    /// The frame, which is not written while the share exists.
    pub(crate) const fn frame(&self) -> PhysFrame {
        self.frame
    }

    /// The payer of the frame, which is the same for all of its shares.
    pub(crate) const fn payer(&self) -> u32 {
        self.payer
    }
}

/// The only share of the frame, with payer 0.
impl From<Frame> for Share {
    fn from(frame: Frame) -> Self {
        Self::new(frame, 0)
    }
}

impl Share {
    /// The only share of the frame.
    pub(crate) fn new(frame: Frame, payer: u32) -> Self {
        Self { frame: frame.into_phys(), slot: AtomicU32::new(NO_SLOT), payer }
    }

    /// The only shares of the frames of a run.
    pub(crate) fn of_run(run: FrameRun, payer: u32) -> impl ExactSizeIterator<Item = Self> {
        let frames = run.into_phys();
        let count = u32::try_from(frames.len()).expect("a run is that of one sweep");
        (0..count).map(move |number| Self {
            frame: frame_after(frames.start, number.into()),
            slot: AtomicU32::new(NO_SLOT),
            payer,
        })
    }
}

impl Drop for Share {
    /// Panics in a debug build, because the frame is lost.
    fn drop(&mut self) {
        debug_assert!(false, "a share of {:?} was dropped: give it up", self.frame);
    }
}

/// The counts of shared frames.
#[derive(Debug)]
pub(crate) struct Shares {
    /// The count of each slot, or the next free slot of a free one.
    blocks: Vec<Block>,
    first_free: u32,
    free_slots: usize,
}

/// Heap for more slots, which is allocated without the lock.
#[derive(Debug)]
pub(crate) struct Room {
    /// The number of its first slot.
    first: u32,
    /// The block, until it is added. Each of its slots leads to the next one.
    block: Option<Block>,
    blocks: Vec<Block>,
}

impl Room {
    /// Room for the next block of shares that have `block_count` blocks. The error is the number of
    /// bytes that the heap does not have in a row.
    pub(crate) fn new(block_count: usize) -> Result<Self, usize> {
        let (mut block, mut blocks) = (Vec::new(), Vec::<Block>::new());
        block.try_reserve_exact(BLOCK_SLOTS).map_err(|_| BLOCK_SLOTS * size_of::<u32>())?;
        let list_bytes = (block_count + 1) * size_of::<Block>();
        blocks.try_reserve_exact(block_count + 1).map_err(|_| list_bytes)?;
        let first = u32::try_from(block_count * BLOCK_SLOTS).expect("no heap has 16 GiB of counts");
        block.extend((first + 1..).take(BLOCK_SLOTS));
        Ok(Self { first, block: block.try_into().ok(), blocks })
    }
}

impl Shares {
    pub(crate) const fn new() -> Self {
        Self { blocks: Vec::new(), first_free: NO_SLOT, free_slots: 0 }
    }

    /// The number of frames that can get a count before there must be more [`Room`].
    pub(crate) const fn free_slots(&self) -> usize {
        self.free_slots
    }

    pub(crate) const fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Adds the slots of a block, if the room is for as many blocks as there are. Returns heap to
    /// be freed without the lock.
    pub(crate) fn add(&mut self, mut room: Room) -> Room {
        let is_next = room.first as usize == self.blocks.len() * BLOCK_SLOTS;
        if let Some(mut block) = room.block.take_if(|_| is_next) {
            block[BLOCK_SLOTS - 1] = mem::replace(&mut self.first_free, room.first);
            self.free_slots += BLOCK_SLOTS;
            room.blocks.append(&mut self.blocks);
            room.blocks.push(block);
            mem::swap(&mut self.blocks, &mut room.blocks);
        }
        room
    }

    /// Returns one more share of the frame.
    ///
    /// # Panics
    ///
    /// If no slot is free.
    pub(crate) fn share(&mut self, share: &Share) -> Share {
        let mut slot = share.slot.load(Ordering::Relaxed);
        if slot == NO_SLOT {
            slot = self.first_free;
            self.first_free = mem::replace(self.count(slot), 2);
            self.free_slots -= 1;
            share.slot.store(slot, Ordering::Relaxed);
        } else {
            *self.count(slot) += 1;
        }
        Share { frame: share.frame, slot: AtomicU32::new(slot), payer: share.payer }
    }

    /// Returns the frame if this was its last share.
    pub(crate) fn give_up(&mut self, share: Share) -> Option<Frame> {
        let (frame, slot) = (share.frame, share.slot.load(Ordering::Relaxed));
        mem::forget(share);
        if slot != NO_SLOT {
            let next_free = self.first_free;
            let count = self.count(slot);
            *count -= 1;
            if *count > 0 {
                return None;
            }
            *count = next_free;
            self.first_free = slot;
            self.free_slots += 1;
        }
        // SAFETY: the first share took the frame from its owner. All shares have been given up, by
        // the count, and none is left to make another.
        Some(unsafe { Frame::from_phys(frame) })
    }

    fn count(&mut self, slot: u32) -> &mut u32 {
        let slot = slot as usize;
        &mut self.blocks[slot / BLOCK_SLOTS][slot % BLOCK_SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64) -> Frame {
        // SAFETY: the tests neither access nor map the frame, and give each number to one frame.
        unsafe { Frame::from_phys(PhysFrame::from_pfn(number)) }
    }

    fn with_room() -> Shares {
        let mut shares = Shares::new();
        drop(shares.add(Room::new(0).expect("the host has heap")));
        shares
    }

    #[test]
    fn a_frame_is_returned_with_its_last_share() {
        let mut shares = with_room();
        let first = Share::from(frame(7));
        let [second, third] = [shares.share(&first), shares.share(&first)];
        let fourth = shares.share(&third);
        assert_eq!(shares.free_slots(), BLOCK_SLOTS - 1);
        for share in [first, fourth, second] {
            assert!(shares.give_up(share).is_none());
        }
        let last = shares.give_up(third).map(Frame::into_phys);
        assert_eq!((last, shares.free_slots()), (Some(PhysFrame::from_pfn(7)), BLOCK_SLOTS));
    }

    #[test]
    fn a_frame_of_one_share_takes_no_slot() {
        let mut shares = Shares::new();
        let only = shares.give_up(Share::from(frame(7))).map(Frame::into_phys);
        assert_eq!((only, shares.free_slots()), (Some(PhysFrame::from_pfn(7)), 0));
    }

    #[test]
    fn slots_are_used_again_and_added_in_blocks() {
        let mut shares = with_room();
        let firsts: Vec<Share> = (0..BLOCK_SLOTS as u64).map(|number| frame(number).into()).collect();
        let seconds: Vec<Share> = firsts.iter().map(|first| shares.share(first)).collect();
        assert_eq!(shares.free_slots(), 0);
        let unused = shares.add(Room::new(0).expect("the host has heap"));
        assert_eq!((unused.block.is_some(), shares.block_count()), (true, 1), "it is for no second block");
        drop(shares.add(Room::new(1).expect("the host has heap")));
        assert_eq!((shares.free_slots(), shares.block_count()), (BLOCK_SLOTS, 2));
        seconds.into_iter().for_each(|second| assert!(shares.give_up(second).is_none()));
        for first in firsts {
            let frame = shares.give_up(first);
            let _ = frame.expect("it is the last share").into_phys();
        }
        assert_eq!(shares.free_slots(), 2 * BLOCK_SLOTS);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "was dropped: give it up")]
    fn a_dropped_share_is_a_panic_in_debug_builds() {
        drop(Share::from(frame(7)));
    }
}
