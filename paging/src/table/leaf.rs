//! Many entries of a level-1 table at once: the inner loops of a clear, and of a fault that commits
//! ahead.
//!
//! The loops count in indices, write each entry once, and change the owner's count once for all
//! entries.

use core::ops::Range;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{PageTable, PageTableFlags};

use super::entry::{
    AHEAD, KIND, OWNED_AHEAD, OWNED_NUMBER, count_down, count_up, detach, forget_use, is_accessed,
    is_untouched, is_written, kind_bits, occupancy, owned_number, state,
};
use super::sweep::{FirstStep, FrameKind, SecondStep, first_step, second_step};
use super::{FrameCounts, Reach, Sweep, Table};
use crate::frame::{FrameRun, ZeroedFrame};
use crate::pages::{PAGE_BYTES, indices, page_at};
use crate::tlb::{FlushBatch, Flushed};

/// The number of neighbouring entries that are examined together. A power of two.
const GROUP: usize = 8;

/// Masks a place in a table of 512 entries to the first place of its group.
const GROUPS: usize = 512 - GROUP;

/// Bits of an entry, and the values that they have.
type Bits = (PageTableFlags, PageTableFlags);

/// The bits of nearly every entry that owns a frame within the CPU's reach.
const OWNED_BITS: Bits = (KIND, PageTableFlags::PRESENT);

/// The bits of nearly every such entry whose frame was written.
const WRITTEN_BITS: Bits = (OWNED_BITS.0.union(AHEAD), OWNED_BITS.1);

/// The bits of every such entry whose frame was written since its use was forgotten.
const DIRTY_BITS: Bits =
    (OWNED_BITS.0.union(PageTableFlags::DIRTY), OWNED_BITS.1.union(PageTableFlags::DIRTY));

/// The bits of nearly every such entry whose page was used since that was forgotten.
const ACCESSED_BITS: Bits =
    (WRITTEN_BITS.0.union(PageTableFlags::ACCESSED), WRITTEN_BITS.1.union(PageTableFlags::ACCESSED));

impl Table<'_> {
    /// Takes the entries that are to be swept out of the CPU's reach, and returns how many frames
    /// they own.
    pub(crate) fn detach_pages(
        &mut self,
        pages: PageRange,
        sweep: Sweep,
        batch: &mut FlushBatch,
    ) -> FrameCounts {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut detached = FrameCounts::default();
        let mut emptied = 0;
        let places = indices(pages, self.level);
        let entries = self.whole();
        let mut next = places.start;
        loop {
            next = skip_absent(entries, next..places.end);
            if next == places.end {
                break;
            }
            let entry = &mut entries[next];
            match first_step(state(entry), PageTableLevel::One, sweep) {
                FirstStep::Keep | FirstStep::Descend => next += 1,
                FirstStep::Clear => {
                    entry.set_unused();
                    batch.add(page_at(pages, next - places.start));
                    emptied += 1;
                    next += 1;
                }
                FirstStep::Detach(kind) => {
                    let run = detach_run(entries, next..places.end);
                    // Deferred pages were flushed when they were deferred.
                    if kind != FrameKind::Deferred {
                        batch.add_run(page_at(pages, next - places.start), run);
                    }
                    detached.add(kind, run as u64);
                    emptied += run as u64;
                    next += run;
                }
            }
        }
        count_down(self.owner, emptied);
        detached
    }

    /// Takes all frames out of their entries that the CPU cannot reach any more, and returns the
    /// number of those that were not detached one by one. Hands frames to `take` together that
    /// follow each other in both.
    ///
    /// Of the frames that were `detached` one by one it subtracts those that it takes. With the
    /// last of them the walk ends.
    #[inline]
    pub(crate) fn take_pages(
        &mut self,
        pages: PageRange,
        reach: Reach,
        detached: &mut u64,
        _: &Flushed,
        mut take: impl FnMut(FrameRun),
    ) -> FrameCounts {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut uncounted = FrameCounts::default();
        let places = indices(pages, self.level);
        // A table that was cut off still has its count, and all of its entries are taken.
        let mut left = if reach == Reach::CutOff { self.used_entries() } else { *detached };
        let entries = self.whole();
        let mut next = places.start;
        while left > 0 {
            next = skip_absent(entries, next..places.end);
            if next == places.end {
                break;
            }
            let step = second_step(state(&entries[next]), PageTableLevel::One, reach);
            let SecondStep::Take(frame, kind) = step else {
                next += 1;
                left -= u64::from(reach == Reach::CutOff);
                continue;
            };
            let taken = empty_run(entries, next..places.end);
            next += taken;
            left -= taken as u64;
            match kind {
                Some(kind) => uncounted.add(kind, taken as u64),
                None => *detached -= taken as u64,
            }
            // SAFETY: the entries owned the frames and are cleared. `second_step` names entries
            // only that are out of the CPU's reach, and the TLB was flushed after they went out of
            // it.
            take(unsafe { FrameRun::from_phys(frame, taken as u64) });
        }
        uncounted
    }

    /// Returns a bit for each page of the range that owns a frame within the CPU's reach. The first
    /// page has the lowest one.
    pub(crate) fn owned_bits(&mut self, pages: PageRange) -> PageBits {
        self.bits(pages, OWNED_BITS, |entry| kind_bits(entry) == PageTableFlags::PRESENT)
    }

    /// As [`owned_bits`](Self::owned_bits), without frames that were committed ahead and never
    /// written.
    pub(crate) fn written_bits(&mut self, pages: PageRange) -> PageBits {
        let is_wanted =
            |entry: &PageTableEntry| kind_bits(entry) == PageTableFlags::PRESENT && !is_untouched(entry);
        self.bits(pages, WRITTEN_BITS, is_wanted)
    }

    /// Returns a bit for each page of the range that was written since its use was last forgotten.
    pub(crate) fn dirty_bits(&mut self, pages: PageRange) -> PageBits {
        self.bits(pages, DIRTY_BITS, is_written)
    }

    /// As [`dirty_bits`](Self::dirty_bits), for pages that were read or written.
    pub(crate) fn accessed_bits(&mut self, pages: PageRange) -> PageBits {
        self.bits(pages, ACCESSED_BITS, is_accessed)
    }

    /// Forgets which pages of the range were used. The CPU records it again after the flush.
    pub(crate) fn forget_use(&mut self, pages: PageRange, batch: &mut FlushBatch) {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let places = indices(pages, self.level);
        let entries = self.whole().iter_mut().skip(places.start).take(places.len());
        for (number, entry) in entries.enumerate() {
            if forget_use(entry) {
                batch.add_with(|| page_at(pages, number));
            }
        }
    }

    /// Returns a bit for each page of the range whose entry is wanted. No absent entry is, and
    /// every entry with the `usual` bits is.
    fn bits(
        &mut self,
        pages: PageRange,
        usual: Bits,
        is_wanted: impl Fn(&PageTableEntry) -> bool,
    ) -> PageBits {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut bits = PageBits::default();
        let places = indices(pages, self.level);
        let mut left = self.used_entries();
        let entries = self.whole();
        let mut next = places.start;
        while left > 0 {
            next = skip_absent(entries, next..places.end);
            if next == places.end {
                break;
            }
            let run = count_run(entries, next..places.end, usual, &is_wanted);
            set_bits(&mut bits, next - places.start, run);
            next += run.max(1);
            left -= run.max(1) as u64;
        }
        bits
    }

    /// Returns the most entries of the table that are not absent. A walk may end after so many.
    ///
    /// An emptied table has no count while its entries are detached, so for such a table this is
    /// the largest number.
    fn used_entries(&self) -> u64 {
        match occupancy(self.owner) {
            0 => u64::MAX,
            count => count,
        }
    }

    /// Commits absent pages ahead of their first touch, from the first page of the range on.
    ///
    /// `take` gets the number of absent pages, takes up to so many frames, and passes each to its
    /// second argument. Returns the number of frames.
    pub(crate) fn put_ahead(
        &mut self,
        pages: PageRange,
        take: impl FnOnce(u64, &mut dyn FnMut(ZeroedFrame)) -> u64,
    ) -> u64 {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut places = indices(pages, self.level);
        let entries = self.whole();
        let absent = places.clone().take_while(|index| entries[*index].is_unused()).count();
        if absent == 0 {
            return 0;
        }
        let frames = take(absent as u64, &mut |zeroed| {
            let index = places.next().expect("no more frames are taken than there are absent pages");
            entries[index].set_frame(zeroed.into_frame().into_phys(), OWNED_AHEAD);
        });
        count_up(self.owner, frames);
        frames
    }
}

/// A bit for each of 512 pages.
pub(crate) type PageBits = [u64; 8];

/// Sets `count` bits from number `first` on.
fn set_bits(bits: &mut PageBits, first: usize, count: usize) {
    let mut next = first;
    let end = first + count;
    while next < end {
        let word = next / 64;
        let bit = next % 64;
        let more = (64 - bit).min(end - next);
        bits[word] |= u64::MAX >> (64 - more) << bit;
        next += more;
    }
}

/// Detaches the first entry at these places and those that follow it in the same state, and
/// returns their number.
#[inline]
fn detach_run(entries: &mut PageTable, places: Range<usize>) -> usize {
    let kind = kind_bits(&entries[places.start]);
    let entries = entries.iter_mut().skip(places.start).take(places.len());
    entries.take_while(|entry| kind_bits(entry) == kind).map(detach).count()
}

/// Returns the first of these places whose entry is not absent, or the end of the places.
///
/// A clear examines all entries of a table twice, and in a sparsely touched table most of them
/// are absent.
#[inline]
pub(super) fn skip_absent(entries: &PageTable, places: Range<usize>) -> usize {
    let mut next = places.start;
    while next < places.end && entries[next].is_unused() {
        next = skip_absent_groups(entries, next + 1..places.end);
    }
    next
}

/// Returns the first of these places that is not in a group without entries. The groups follow each
/// other, and the first place is that of a group, or none is skipped.
#[inline]
pub(super) fn skip_absent_groups(entries: &PageTable, places: Range<usize>) -> usize {
    let mut next = places.start;
    while is_group(&(next..places.end)) && is_group_absent(entries, next) {
        next += GROUP;
    }
    next
}

/// Whether a group of entries, of which this is the first place, is absent.
///
/// It takes little more than one instruction per entry, because it does not branch for each.
/// The mask shows the compiler that all places are in the table.
#[inline]
fn is_group_absent(entries: &PageTable, first: usize) -> bool {
    differences(entries, first, 0, 0) == 0
}

/// Returns the bits in which entries of a group, of which this is the first place, differ from
/// numbers. The first number is compared with the first entry, and each one is `step` greater than
/// the one before.
#[inline]
fn differences(entries: &PageTable, first: usize, number: u64, step: u64) -> u64 {
    (0..GROUP).fold(0, |bits, place| {
        let entry = &entries[(first & GROUPS) | place];
        bits | (entry.addr().as_u64() | entry.flags().bits()) ^ (number + place as u64 * step)
    })
}

/// Whether a whole group starts at the first of these places.
#[inline]
fn is_group(places: &Range<usize>) -> bool {
    places.start.is_multiple_of(GROUP) && places.len() >= GROUP
}

/// Returns the number of entries that are wanted, from the first of these places on and without a
/// gap. In a densely written table nearly all entries have the `usual` bits and are wanted, so
/// groups are examined at once.
#[inline]
fn count_run(
    entries: &PageTable,
    places: Range<usize>,
    usual: Bits,
    is_wanted: impl Fn(&PageTableEntry) -> bool,
) -> usize {
    let mask = usual.0.bits();
    let value = usual.1.bits();
    let mut next = places.start;
    while next < places.end && is_wanted(&entries[next]) {
        next += 1;
        while is_group(&(next..places.end)) && differences(entries, next, value, 0) & mask == 0 {
            next += GROUP;
        }
    }
    next - places.start
}

/// Clears the first entry at these places, which owns a frame, and those after it that own the
/// frames after it in the same state. Returns their number.
#[inline]
fn empty_run(entries: &mut PageTable, places: Range<usize>) -> usize {
    let mut expected = owned_number(&entries[places.start]);
    let mut next = places.start;
    while next < places.end && owned_number(&entries[next]) == expected {
        entries[next].set_unused();
        expected += PAGE_BYTES;
        next += 1;
        if is_group(&(next..places.end)) {
            let emptied = empty_groups(entries, next..places.end, expected);
            expected += emptied as u64 * PAGE_BYTES;
            next += emptied;
        }
    }
    next - places.start
}

/// Clears whole groups, from the first of these places on, whose entries have these numbers: the
/// first one `expected`, and each that of the frame after. Returns the number of entries.
///
/// Never inlined, because a run of few entries does not call it, and then keeps more values in
/// registers.
#[inline(never)]
fn empty_groups(entries: &mut PageTable, places: Range<usize>, expected: u64) -> usize {
    let mut next = places.start;
    let mut expected = expected;
    while is_group(&(next..places.end))
        && differences(entries, next, expected, PAGE_BYTES) & OWNED_NUMBER == 0
    {
        (0..GROUP).for_each(|place| entries[(next & GROUPS) | place].set_unused());
        expected += GROUP as u64 * PAGE_BYTES;
        next += GROUP;
    }
    next - places.start
}
