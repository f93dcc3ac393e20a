//! Frames that several clusters of images have in common, and how many clusters these are.
//!
//! A frame of one cluster needs no count. The first cluster that shares it gives it a slot with a
//! count and with its payer, in blocks on the heap. Slots are used again, so the heap is
//! proportional to the number of frames that were shared at once, whichever images they belong to.
//!
//! Invariants: a frame has as many [`Share`]s as its count says, or one if it has no slot. Slots
//! are given, counts changed and shares given up with the lock of the [`Shares`] held.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::PhysAddr;
use x86_64::structures::paging::PhysFrame;

use crate::frame::{Frame, FrameRun};
use crate::pages::PAGE_BYTES;

/// The number of bits of a slot's number.
const SLOT_BITS: u32 = 24;

/// The slot of a share whose frame has no count.
const NO_SLOT: u32 = (1 << SLOT_BITS) - 1;

/// A share of no frame. No frame at address 0 has this slot, because there are fewer.
const VACANT: u64 = NO_SLOT as u64 - 1;

/// The end of the list of free slots.
const NO_MORE: u32 = u32::MAX;

/// The number of slots in a block.
const BLOCK_SLOTS: usize = 512;

/// The most blocks. Their slots have numbers below those above.
const MOST_BLOCKS: usize = (1 << SLOT_BITS) / BLOCK_SLOTS - 1;

/// The number of shares that are filled together.
const GROUP: usize = 8;

type Block = Box<[Slot; BLOCK_SLOTS]>;

/// What shares of the same frame have in common.
#[derive(Debug)]
struct Slot {
    /// The number of shares, or the next free slot of a free one.
    count: u32,
    payer: u32,
}

/// A part of the ownership of a frame, or none.
///
/// The number of the frame is in the upper bits of the word, and its slot in the lower ones.
#[derive(Debug)]
pub(crate) struct Share(AtomicU64);

/// What is added to the word of a share for that of the frame after it.
const NEXT_FRAME: u64 = 1 << SLOT_BITS;

/// The word of a share of the frame.
const fn word(frame: PhysFrame, slot: u32) -> u64 {
    (frame.start_address().as_u64() / PAGE_BYTES * NEXT_FRAME) | slot as u64
}

const fn frame_of(word: u64) -> PhysFrame {
    PhysFrame::containing_address(PhysAddr::new_truncate(word / NEXT_FRAME * PAGE_BYTES))
}

impl Share {
    /// A share of no frame.
    pub(crate) const fn vacant() -> Self {
        Self(AtomicU64::new(VACANT))
    }

    /// Whether it is a share of no frame.
    pub(crate) fn is_vacant(&self) -> bool {
        self.word() == VACANT
    }

    /// The frame, which is not written while the share exists. The share is not vacant.
    pub(crate) fn frame(&self) -> PhysFrame {
        debug_assert!(!self.is_vacant(), "the share is vacant");
        frame_of(self.word())
    }

    /// Moves as many frames to these shares, which are vacant.
    #[inline]
    pub(crate) fn fill(shares: &[Self], frames: FrameRun) {
        debug_assert_eq!(frames.len(), shares.len() as u64, "frames or shares are left");
        let mut next = word(frames.into_phys().start, NO_SLOT);
        // The compiler unrolls no loop of atomic stores whose length it does not know.
        let (groups, rest) = shares.as_chunks::<GROUP>();
        groups.iter().flatten().chain(rest).for_each(|share| {
            debug_assert!(share.is_vacant(), "a frame would be lost");
            share.set_word(next);
            next += NEXT_FRAME;
        });
    }

    fn word(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set_word(&self, word: u64) {
        self.0.store(word, Ordering::Relaxed);
    }
}

/// The only share of the frame.
impl From<Frame> for Share {
    fn from(frame: Frame) -> Self {
        Self(AtomicU64::new(word(frame.into_phys(), NO_SLOT)))
    }
}

/// The counts of shared frames.
#[derive(Debug)]
pub(crate) struct Shares {
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
    /// bytes that the heap does not have in a row, or that no block may have any more.
    pub(crate) fn new(block_count: usize) -> Result<Self, usize> {
        let (mut block, mut blocks) = (Vec::new(), Vec::<Block>::new());
        let most_slots = if block_count < MOST_BLOCKS { BLOCK_SLOTS } else { usize::MAX };
        block.try_reserve_exact(most_slots).map_err(|_| BLOCK_SLOTS * size_of::<Slot>())?;
        let list_bytes = (block_count + 1) * size_of::<Block>();
        blocks.try_reserve_exact(block_count + 1).map_err(|_| list_bytes)?;
        let first = u32::try_from(block_count * BLOCK_SLOTS).expect("the number of blocks is small");
        block.extend((first + 1..).take(BLOCK_SLOTS).map(|next| Slot { count: next, payer: 0 }));
        Ok(Self { first, block: block.try_into().ok(), blocks })
    }
}

impl Shares {
    pub(crate) const fn new() -> Self {
        Self { blocks: Vec::new(), first_free: NO_MORE, free_slots: 0 }
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
            block[BLOCK_SLOTS - 1].count = mem::replace(&mut self.first_free, room.first);
            self.free_slots += BLOCK_SLOTS;
            room.blocks.append(&mut self.blocks);
            room.blocks.push(block);
            mem::swap(&mut self.blocks, &mut room.blocks);
        }
        room
    }

    /// Makes each share of `to`, which are vacant, one more of the frame of the same share of
    /// `from`, which are not. A frame for which it is the second one has this payer.
    ///
    /// # Panics
    ///
    /// If there are fewer free slots than frames without one.
    pub(crate) fn share(&mut self, from: &[Share], payer: u32, to: &[Share]) {
        // The compiler would load and store the field again around each store to a share.
        let mut first_free = self.first_free;
        let blocks = self.blocks.as_mut_slice();
        let mut taken = 0;
        for (from, to) in from.iter().zip(to) {
            debug_assert!(!from.is_vacant() && to.is_vacant(), "a frame would be lost");
            let mut shared = from.word();
            if slot_of(shared) == NO_SLOT {
                shared = shared - u64::from(NO_SLOT) + u64::from(first_free);
                from.set_word(shared);
                first_free = mem::replace(slot_in(blocks, first_free), Slot { count: 2, payer }).count;
                taken += 1;
            } else {
                slot_in(blocks, slot_of(shared)).count += 1;
            }
            to.set_word(shared);
        }
        self.first_free = first_free;
        self.free_slots -= taken;
    }

    /// Makes a share vacant. Returns the frame if this was its last share.
    pub(crate) fn give_up(&mut self, share: &Share) -> Option<Frame> {
        let word = share.word();
        if word == VACANT {
            return None;
        }
        share.set_word(VACANT);
        let slot = slot_of(word);
        if slot != NO_SLOT {
            let next_free = self.first_free;
            let Slot { count, .. } = self.slot(slot);
            *count -= 1;
            if *count > 0 {
                return None;
            }
            *count = next_free;
            self.first_free = slot;
            self.free_slots += 1;
        }
        // SAFETY: the first share took the frame from its owner. All shares have been given up, by
        // the count, and are vacant. None is left to make another.
        Some(unsafe { Frame::from_phys(frame_of(word)) })
    }

    /// The payer of the share's frame. A frame that was never shared has the payer `only`.
    pub(crate) fn payer(&mut self, share: &Share, only: u32) -> u32 {
        let word = share.word();
        let was_shared = word != VACANT && slot_of(word) != NO_SLOT;
        if was_shared { self.slot(slot_of(word)).payer } else { only }
    }

    fn slot(&mut self, slot: u32) -> &mut Slot {
        slot_in(&mut self.blocks, slot)
    }
}

fn slot_in(blocks: &mut [Block], slot: u32) -> &mut Slot {
    let slot = slot as usize;
    &mut blocks[slot / BLOCK_SLOTS][slot % BLOCK_SLOTS]
}

/// The slot in the word of a share.
const fn slot_of(word: u64) -> u32 {
    // It fits, because it has 24 bits.
    (word % NEXT_FRAME) as u32
}

#[cfg(test)]
mod tests {
    use core::slice;

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

    fn shared(shares: &mut Shares, from: &Share) -> Share {
        let to = Share::vacant();
        shares.share(slice::from_ref(from), 7, slice::from_ref(&to));
        to
    }

    #[test]
    fn a_frame_is_returned_with_its_last_share() {
        let mut shares = with_room();
        let first = Share::from(frame(7));
        let [second, third] = [shared(&mut shares, &first), shared(&mut shares, &first)];
        let fourth = shared(&mut shares, &third);
        assert_eq!(shares.free_slots(), BLOCK_SLOTS - 1);
        assert_eq!(fourth.frame(), PhysFrame::from_pfn(7));
        assert_eq!((shares.payer(&first, 8), shares.payer(&fourth, 8)), (7, 7));
        for share in [first, fourth, second] {
            assert!(shares.give_up(&share).is_none() && share.is_vacant());
        }
        let last = shares.give_up(&third).map(Frame::into_phys);
        assert_eq!((last, shares.free_slots()), (Some(PhysFrame::from_pfn(7)), BLOCK_SLOTS));
        assert!(shares.give_up(&third).is_none(), "a vacant share has no frame");
    }

    #[test]
    fn a_frame_of_one_share_takes_no_slot() {
        let mut shares = Shares::new();
        for number in [0, 7, (1 << 40) - 1] {
            let only = Share::from(frame(number));
            assert_eq!(shares.payer(&only, 8), 8);
            let only = shares.give_up(&only).map(Frame::into_phys);
            assert_eq!((only, shares.free_slots()), (Some(PhysFrame::from_pfn(number)), 0));
        }
    }

    #[test]
    fn slots_are_used_again_and_added_in_blocks() {
        let mut shares = with_room();
        let firsts: Vec<Share> = (0..BLOCK_SLOTS as u64).map(|number| frame(number).into()).collect();
        let seconds: Vec<Share> = firsts.iter().map(|first| shared(&mut shares, first)).collect();
        assert_eq!(shares.free_slots(), 0);
        let unused = shares.add(Room::new(0).expect("the host has heap"));
        assert_eq!((unused.block.is_some(), shares.block_count()), (true, 1), "it is for no second block");
        drop(shares.add(Room::new(1).expect("the host has heap")));
        assert_eq!((shares.free_slots(), shares.block_count()), (BLOCK_SLOTS, 2));
        seconds.iter().for_each(|second| assert!(shares.give_up(second).is_none()));
        for first in firsts {
            let frame = shares.give_up(&first);
            let _ = frame.expect("it is the last share").into_phys();
        }
        assert_eq!(shares.free_slots(), 2 * BLOCK_SLOTS);
    }

    #[test]
    fn there_are_no_more_slots_than_a_share_can_have() {
        assert!(Room::new(MOST_BLOCKS - 1).is_ok() && Room::new(MOST_BLOCKS).is_err());
    }
}
