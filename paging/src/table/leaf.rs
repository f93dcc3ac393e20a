//! Many entries of a level-1 table at once: the inner loops of a clear, and of a fault that commits ahead.
//!
//! They count in indices and write each entry once; the owner's count is changed once for all of them.
//!
//! Invariant: as for the single steps of [`Table`]: what an entry owns stays in it until it is taken out, and
//! is taken out after the TLB was flushed. Called by: `decommit`, for both of its walks, and `resolve`.

use core::ops::Range;

use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};

use super::entry::{OWNED_AHEAD, count_down, count_up, detach, held};
use super::{Held, Sweep, Table};
use crate::frame::{Blank, FrameRun};
use crate::pages::{frame_after, indices, page_at};
use crate::tlb::FlushBatch;

/// What entries owned that do not reach it, or do not own it, any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Detached {
    pub(crate) resident_frames: u64,
    pub(crate) deferred_frames: u64,
}

/// Whether the CPU can walk a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It can: of the entries, only those that are detached are out of its reach.
    Within,
    /// A table above does not lead here any more, so everything below is out of its reach.
    CutOff,
}

impl Table<'_> {
    /// Takes out of the CPU's reach what is to be swept, and tells what the entries own that it reached.
    pub(crate) fn detach_pages(&mut self, pages: PageRange, what: Sweep, batch: &mut FlushBatch) -> Detached {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let (mut detached, mut emptied) = (Detached::default(), 0);
        let places = indices(pages, self.level);
        let mut next = places.start;
        while next < places.end {
            if self.entries[next].is_unused() {
                next += 1;
                continue;
            }
            let run = if what == Sweep::Everything { self.detach_run(next..places.end) } else { 0 };
            if run > 0 {
                batch.add_run(page_at(pages, next - places.start), run);
                (emptied, detached.resident_frames) =
                    (emptied + run as u64, detached.resident_frames + run as u64);
                next += run;
                continue;
            }
            match detach_other(&mut self.entries[next], what) {
                Effect::None => {}
                // Its page was flushed when it was deferred.
                Effect::Deferred => {
                    (emptied, detached.deferred_frames) = (emptied + 1, detached.deferred_frames + 1);
                }
                Effect::Shown => {
                    emptied += 1;
                    batch.add(page_at(pages, next - places.start));
                }
            }
            next += 1;
        }
        count_down(self.owner, emptied);
        detached
    }

    /// Detaches the entries at these places, from the first on, that own a frame within the CPU's reach, up to one that
    /// does not; tells how many.
    #[inline]
    fn detach_run(&mut self, places: Range<usize>) -> usize {
        let entries = self.entries.iter_mut().skip(places.start).take(places.len());
        entries.take_while(|entry| matches!(held(entry), Held::Owned(_))).map(detach).count()
    }

    /// Takes all frames out of their entries that the CPU does not reach for good, and tells which of them
    /// were not detached one by one. Frames that follow each other in both are handed to `take` together.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for the pages after they were taken out of the CPU's
    /// reach: by [`detach_pages`](Self::detach_pages), or by the [`detach`](Self::detach) of a table above if
    /// this one is cut off.
    #[inline]
    pub(crate) unsafe fn take_pages(
        &mut self,
        pages: PageRange,
        reach: Reach,
        mut take: impl FnMut(FrameRun),
    ) -> Detached {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut detached = Detached::default();
        let places = indices(pages, self.level);
        let mut next = places.start;
        while next < places.end {
            let (frame, counted) = match (held(&self.entries[next]), reach) {
                (Held::Absent | Held::Shared | Held::Sink, _)
                | (Held::Owned(_) | Held::Deferred(_), Reach::Within) => {
                    next += 1;
                    continue;
                }
                (Held::Detached(frame), _) => (frame, None),
                (Held::Owned(frame), Reach::CutOff) => (frame, Some(&mut detached.resident_frames)),
                (Held::Deferred(frame), Reach::CutOff) => (frame, Some(&mut detached.deferred_frames)),
            };
            let taken = self.empty_run(next..places.end, frame);
            next += taken;
            if let Some(frames) = counted {
                *frames += taken as u64;
            }
            let run = PhysFrame::range(frame, frame_after(frame, taken as u64));
            // SAFETY: the entries owned the frames and are cleared; by this function's contract no CPU translates
            // by the entries any more.
            take(unsafe { FrameRun::from_phys(run) });
        }
        detached
    }

    /// Empties the entries at these places, from the first on, that say what it says of frames that follow this one,
    /// which is its own; tells how many.
    #[inline]
    fn empty_run(&mut self, places: Range<usize>, frame: PhysFrame) -> usize {
        let flags = self.entries[places.start].flags();
        let mut next = frame;
        let follows = |entry: &&mut PageTableEntry| {
            let is_next = entry.flags() == flags && entry.addr() == next.start_address();
            next = frame_after(next, 1);
            is_next
        };
        let entries = self.entries.iter_mut().skip(places.start).take(places.len());
        entries.take_while(follows).map(PageTableEntry::set_unused).count()
    }

    /// Gives absent pages frames that were not asked for, from the first page on: `take` takes up to so many
    /// and hands each to the function that it is given. Tells how many there were.
    pub(crate) fn put_ahead(
        &mut self,
        pages: PageRange,
        take: impl FnOnce(u64, &mut dyn FnMut(Blank)) -> u64,
    ) -> u64 {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut places = indices(pages, self.level);
        let absent = places.clone().take_while(|index| self.entries[*index].is_unused()).count();
        if absent == 0 {
            return 0;
        }
        let frames = take(absent as u64, &mut |blank| {
            let index = places.next().expect("no more frames are taken than there are absent pages");
            self.entries[index].set_frame(blank.into_frame().into_phys(), OWNED_AHEAD);
        });
        count_up(self.owner, frames);
        frames
    }
}

/// What became of an entry that owns no frame within the CPU's reach.
enum Effect {
    /// It is as it was.
    None,
    /// It led to a frame that it did not own, and is absent.
    Shown,
    /// It was deferred, and is detached.
    Deferred,
}

/// Takes such an entry out of the CPU's reach, if it is to be swept.
fn detach_other(entry: &mut PageTableEntry, what: Sweep) -> Effect {
    match (held(entry), what) {
        (Held::Absent | Held::Owned(_) | Held::Detached(_), _)
        | (Held::Shared, Sweep::Sink | Sweep::Deferred)
        | (Held::Sink, Sweep::Deferred | Sweep::Shared)
        | (Held::Deferred(_), Sweep::Sink | Sweep::Shared) => Effect::None,
        (Held::Deferred(_), Sweep::Everything | Sweep::Deferred) => {
            detach(entry);
            Effect::Deferred
        }
        (Held::Shared, Sweep::Everything | Sweep::Shared) | (Held::Sink, Sweep::Everything | Sweep::Sink) => {
            entry.set_unused();
            Effect::Shown
        }
    }
}
