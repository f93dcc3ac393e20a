//! Which pages of a region were written or used.
//!
//! A page that was written since the last freeze owns a frame. One that was cleared is not taken
//! from the image any more. Both are seen without a record of writes. For shorter intervals a mark
//! clears the accessed and dirty bits of the entries, and the CPU sets them again. Clears are
//! recorded apart from then on, because a cleared page may have no entry. A visit takes time for
//! the tables that exist.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use super::cleared::ClearedPages;
use super::{RELEASE_BATCH, Region};
use crate::clear::Block;
use crate::pages::{ENTRIES, page_after};
use crate::platform::Platform;
use crate::state::Mapping;

impl<P: Platform> Region<'_, P> {
    /// Visits the pages that were written since the last [`freeze`](Self::freeze) or
    /// [`attach`](Self::attach), and those of the image that were cleared, in ascending order.
    ///
    /// All other pages read as in the image, or as zero if there is none.
    pub fn each_written(&self, visit: impl FnMut(PageRange)) {
        self.each_run(|mapping, from| mapping.next_written(from), &[], visit);
    }

    /// Begins an interval in which the use of pages is recorded, for
    /// [`each_written_since_mark`](Self::each_written_since_mark) and
    /// [`each_accessed_since_mark`](Self::each_accessed_since_mark).
    ///
    /// It clears the accessed and dirty bits of all entries, and flushes the TLB. It neither takes
    /// nor releases a frame. It allocates 144 bytes for the ranges of cleared pages. If the heap
    /// has none, all pages count as cleared. A [`freeze`](Self::freeze) ends the interval and
    /// begins another.
    pub fn mark(&mut self) {
        self.in_batches(self.pages, RELEASE_BATCH, |mapping, pages| mapping.forget_use(pages));
        self.cleared = Some(ClearedPages::new(self.pages));
    }

    /// Visits the pages that were written or cleared since the last [`mark`](Self::mark), in
    /// ascending order and each once. All other pages have the bytes that they had at the mark, up
    /// to the limit of that time. Pages that a higher limit has added read as zero until they are
    /// visited.
    ///
    /// Cleared pages are recorded as up to eight ranges. If there were more, the pages between two
    /// of them may be visited too. So may pages that were cleared and contained zeros before. The
    /// pages of an image that was attached after the mark count as cleared, and so do those that a
    /// lower limit has given up.
    ///
    /// If no mark was made since the last [`freeze`](Self::freeze), or ever, this is
    /// [`each_written`](Self::each_written).
    pub fn each_written_since_mark(&self, visit: impl FnMut(PageRange)) {
        match &self.cleared {
            Some(cleared) => self.each_run(|mapping, from| mapping.next_dirty(from), cleared.ranges(), visit),
            None => self.each_written(visit),
        }
    }

    /// Visits the pages that were read or written since the last [`mark`](Self::mark), in ascending
    /// order. A page that was cleared after that, and not used again, is not among them. As an
    /// estimate of the working set this may include pages that the CPU has guessed.
    pub fn each_accessed_since_mark(&self, visit: impl FnMut(PageRange)) {
        self.each_run(|mapping, from| mapping.next_accessed(from), &[], visit);
    }

    /// Visits the runs of pages in the blocks that `next` finds, and the pages of `others` below
    /// the limit, which are in ascending order. No lock is held during a visit.
    fn each_run(
        &self,
        next: fn(&mut Mapping<'_, P>, u64) -> Option<Block>,
        others: &[PageRange],
        mut visit: impl FnMut(PageRange),
    ) {
        let usable_end = self.with_mapping(|mapping| mapping.record.usable_end());
        let others = others.iter().take_while(|pages| pages.start < usable_end);
        let mut others = others.map(|pages| Page::range(pages.start, pages.end.min(usable_end))).peekable();
        let mut run = Page::range(self.pages.start, self.pages.start);
        // Their starts ascend, so a range touches the run or lies after it.
        let mut add = |pages: PageRange| {
            if pages.start > run.end {
                if !run.is_empty() {
                    visit(run);
                }
                run.start = pages.start;
            }
            run.end = run.end.max(pages.end);
        };
        let mut from = 0;
        while let Some((first, bits)) = self.with_mapping(|mut mapping| next(&mut mapping, from)) {
            for (number, length) in
                (first..).step_by(64).zip(bits).flat_map(|(first, bits)| runs(first, bits))
            {
                let start = page_after(self.pages.start, number);
                while let Some(pages) = others.next_if(|pages| pages.start <= start) {
                    add(pages);
                }
                add(Page::range(start, page_after(start, length)));
            }
            from = first + ENTRIES as u64;
        }
        others.for_each(&mut add);
        if !run.is_empty() {
            visit(run);
        }
    }
}

/// The runs of bits that are set, each with its length. The lowest bit has the number `first`.
fn runs(first: u64, bits: u64) -> impl Iterator<Item = (u64, u64)> {
    let (mut number, mut rest) = (first, bits);
    core::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let skipped = rest.trailing_zeros();
        let length = (rest >> skipped).trailing_ones();
        let start = number + u64::from(skipped);
        number = start + u64::from(length);
        rest = rest.checked_shr(skipped + length).unwrap_or(0);
        Some((start, length.into()))
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn runs_are_found_to_both_ends_of_a_word() {
        let found = |bits| runs(100, bits).collect::<Vec<_>>();
        assert_eq!(found(0), []);
        assert_eq!(found(u64::MAX), [(100, 64)]);
        assert_eq!(found(1 << 63 | 0b0110_0001), [(100, 1), (105, 2), (163, 1)]);
        assert_eq!(found(u64::MAX << 60), [(160, 4)]);
    }
}
