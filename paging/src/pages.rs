//! Arithmetic on page and frame numbers, and how a range of pages falls onto the entries of a
//! table.
//!
//! The functions compute on numbers, because they are in the inner loop of every walk, and
//! additions to a [`Page`] or a [`PhysFrame`] check every sum. The caller guarantees that a result
//! stays in the same half of the address space, or in RAM.

use core::ops::Range;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{Page, PageSize, PhysFrame, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

/// The bytes of a page, and of a frame.
pub(crate) const PAGE_BYTES: u64 = Size4KiB::SIZE;

/// The same, as the length of a slice.
pub(crate) const PAGE_LEN: usize = 4096;

/// The base-2 logarithm of the number of entries in a table.
const TABLE_BITS: u32 = 9;

/// The number of entries in a table.
pub(crate) const ENTRIES: usize = 1 << TABLE_BITS;

/// The base-2 logarithm of the number of pages that one entry at this level covers.
const fn entry_bits(level: PageTableLevel) -> u32 {
    // The levels count from 1. A `match` would cost a jump or two in each step of a walk.
    (level as u32 - 1) * TABLE_BITS
}

/// The number of pages that a whole table at this level covers.
pub(crate) const fn pages_per_table(level: PageTableLevel) -> u64 {
    1 << (entry_bits(level) + TABLE_BITS)
}

/// The number of the entry for this page, among those of all tables at this level.
#[inline]
pub(crate) fn entry_number(page: Page, level: PageTableLevel) -> u64 {
    number_of(page) >> entry_bits(level)
}

/// The first page after those that the entry for this page covers in a table at this level.
#[inline]
pub(crate) fn entry_end(page: Page, level: PageTableLevel) -> Page {
    page_of((entry_number(page, level) + 1) << entry_bits(level))
}

/// All pages that the entry for this page covers in a table at this level.
pub(crate) fn entry_pages(page: Page, level: PageTableLevel) -> PageRange {
    let first = entry_number(page, level) << entry_bits(level);
    Page::range(page_of(first), page_of(first + (1 << entry_bits(level))))
}

/// The indices of the entries that a range falls on, in the table at this level that its first page
/// is in.
#[inline]
pub(crate) fn indices(pages: PageRange, level: PageTableLevel) -> Range<usize> {
    let start = number_of(pages.start);
    let end = number_of(pages.end);
    if start >= end {
        return 0..0;
    }
    let first = start >> entry_bits(level);
    let last = (end - 1) >> entry_bits(level);
    let index = usize::from(pages.start.page_table_index(level));
    // One table has 512 of them.
    let count = usize::try_from(last - first).map_or(usize::MAX, |entries| entries + 1);
    index..index.saturating_add(count).min(1 << TABLE_BITS)
}

/// The first page of the range that falls on the entry `skipped` entries after its first one, or
/// the range's end.
#[inline]
pub(crate) fn part_start(pages: PageRange, level: PageTableLevel, skipped: usize) -> Page {
    let start = number_of(pages.start);
    let end = number_of(pages.end);
    let entry = (start >> entry_bits(level)) + skipped as u64;
    page_of((entry << entry_bits(level)).clamp(start, end))
}

/// The part of the range that falls on the entry `skipped` entries after its first one.
pub(crate) fn part(pages: PageRange, level: PageTableLevel, skipped: usize) -> PageRange {
    let start = number_of(pages.start);
    let end = number_of(pages.end);
    let entry = (start >> entry_bits(level)) + skipped as u64;
    let part_start = start.max(entry << entry_bits(level));
    let part_end = end.min((entry + 1) << entry_bits(level));
    Page::range(page_of(part_start), page_of(part_end))
}

/// The page `skipped` pages after the first one of a range.
pub(crate) fn page_at(pages: PageRange, skipped: usize) -> Page {
    page_after(pages.start, skipped as u64)
}

/// The page `count` pages after this one.
#[inline]
pub(crate) fn page_after(page: Page, count: u64) -> Page {
    page_of(number_of(page) + count)
}

/// The frame `count` frames after this one.
#[inline]
pub(crate) fn frame_after(frame: PhysFrame, count: u64) -> PhysFrame {
    let address = frame.start_address().as_u64() + count * PAGE_BYTES;
    PhysFrame::containing_address(PhysAddr::new_truncate(address))
}

/// The number of pages of a range.
pub(crate) fn count(pages: PageRange) -> u64 {
    number_of(pages.end).saturating_sub(number_of(pages.start))
}

/// The smallest range that has the pages of both. An empty range has no page.
pub(crate) fn hull(one: PageRange, other: PageRange) -> PageRange {
    match (one.is_empty(), other.is_empty()) {
        (true, _) => other,
        (_, true) => one,
        (false, false) => Page::range(one.start.min(other.start), one.end.max(other.end)),
    }
}

/// Cuts a range of pages at the borders of the entries of tables at this level.
pub(crate) fn pieces(pages: PageRange, level: PageTableLevel) -> impl Iterator<Item = PageRange> {
    let last_of_entry = (1 << entry_bits(level)) - 1;
    let mut next = number_of(pages.start);
    let end = number_of(pages.end);
    core::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let start = next;
        next = end.min((start | last_of_entry) + 1);
        Some(Page::range(page_of(start), page_of(next)))
    })
}

#[inline]
fn number_of(page: Page) -> u64 {
    page.start_address().as_u64() / PAGE_BYTES
}

#[inline]
fn page_of(number: u64) -> Page {
    Page::containing_address(VirtAddr::new_truncate(number * PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn pages(start: u64, end: u64) -> PageRange {
        Page::range(page_of(start), page_of(end))
    }

    fn cut(range: PageRange, level: PageTableLevel) -> Vec<(u16, u64)> {
        pieces(range, level).map(|piece| (piece.start.page_table_index(level).into(), piece.len())).collect()
    }

    #[test]
    fn a_range_is_cut_at_the_borders_of_entries() {
        assert_eq!(cut(pages(510, 1025), PageTableLevel::Two), [(0, 2), (1, 512), (2, 1)]);
        assert_eq!(cut(pages(510, 513), PageTableLevel::One), [(510, 1), (511, 1), (0, 1)]);
    }

    #[test]
    fn an_empty_range_has_no_piece() {
        assert_eq!(cut(pages(7, 7), PageTableLevel::One), []);
    }

    #[test]
    fn a_tebibyte_has_1024_pieces_at_level_3() {
        assert_eq!(cut(pages(0x1000_0000, 0x2000_0000), PageTableLevel::Three).len(), 1024);
    }

    #[test]
    fn the_last_entries_of_both_halves_do_not_overflow() {
        let low_end = pages(0x7_ffff_fe00, 0x7_ffff_ffff);
        assert_eq!(cut(low_end, PageTableLevel::Three), [(511, 511)]);
        let high_end = pages(0xf_ffff_fe00, 0xf_ffff_ffff);
        assert_eq!(cut(high_end, PageTableLevel::Three), [(511, 511)]);
    }
}
