//! Many entries of a level-1 table at once: the inner loops of a clear, and of a fault that commits ahead.
//!
//! They count in indices and write each entry once; the owner's count is changed once for all of them.
//!
//! Invariant: as for the single steps of [`Table`]: what an entry owns stays in it until it is taken out, and
//! is taken out after the TLB was flushed. Called by: `decommit`, for both of its walks, and `resolve`.

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::entry::{OWNED_AHEAD, count_down, count_up, detach, held};
use super::{Held, Table, indices, page_at};
use crate::decommit::Sweep;
use crate::frame::Frame;
use crate::memory::Blank;
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
        let indices = indices(pages, self.level);
        let first = indices.start;
        for index in indices {
            let entry = &mut self.entries[index];
            match (held(entry), what) {
                (Held::Absent | Held::Detached(_), _)
                | (Held::Shared, Sweep::Sink | Sweep::Deferred)
                | (Held::Owned(_), Sweep::Sink | Sweep::Deferred | Sweep::Shared)
                | (Held::Sink, Sweep::Deferred | Sweep::Shared)
                | (Held::Deferred(_), Sweep::Sink | Sweep::Shared) => continue,
                // Its page was flushed when it was deferred.
                (Held::Deferred(_), Sweep::Everything | Sweep::Deferred) => {
                    detach(entry);
                    (emptied, detached.deferred_frames) = (emptied + 1, detached.deferred_frames + 1);
                    continue;
                }
                (Held::Shared, Sweep::Everything | Sweep::Shared)
                | (Held::Sink, Sweep::Everything | Sweep::Sink) => {
                    entry.set_unused();
                }
                (Held::Owned(_), Sweep::Everything) => {
                    detach(entry);
                    detached.resident_frames += 1;
                }
            }
            emptied += 1;
            batch.add_with(|| page_at(pages, index - first));
        }
        count_down(self.owner, emptied);
        detached
    }

    /// Takes all frames out of their entries that the CPU does not reach for good, and tells which of them
    /// were not detached one by one.
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
        mut take: impl FnMut(Frame),
    ) -> Detached {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut detached = Detached::default();
        for index in indices(pages, self.level) {
            let entry = &mut self.entries[index];
            let frame = match (held(entry), reach) {
                (Held::Absent | Held::Shared | Held::Sink, _)
                | (Held::Owned(_) | Held::Deferred(_), Reach::Within) => continue,
                (Held::Detached(frame), _) => frame,
                (Held::Owned(frame), Reach::CutOff) => {
                    detached.resident_frames += 1;
                    frame
                }
                (Held::Deferred(frame), Reach::CutOff) => {
                    detached.deferred_frames += 1;
                    frame
                }
            };
            entry.set_unused();
            // SAFETY: the entry owned the frame and is cleared; by this function's contract no CPU translates
            // by the entry any more.
            take(unsafe { Frame::from_phys(frame) });
        }
        detached
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
