//! How a range of pages falls onto the entries of a table.
//!
//! Called by: every walk. A walk over absent tables takes one step for each entry that covers a part of the
//! range, whatever number of pages that is.

use x86_64::VirtAddr;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{Page, PageSize, Size4KiB};

/// Entries in a table.
const ENTRIES: u64 = 512;

/// The number of pages that one entry at this level covers.
const fn pages_per_entry(level: PageTableLevel) -> u64 {
    match level {
        PageTableLevel::One => 1,
        PageTableLevel::Two => ENTRIES,
        PageTableLevel::Three => ENTRIES * ENTRIES,
        PageTableLevel::Four => ENTRIES * ENTRIES * ENTRIES,
    }
}

/// The number of pages that a whole table at this level covers.
pub(crate) const fn pages_per_table(level: PageTableLevel) -> u64 {
    pages_per_entry(level) * ENTRIES
}

/// Cuts a range of pages at the borders of the entries of tables at this level.
///
/// It counts in page numbers, because it is the inner loop of every walk: adding to a [`Page`] checks each
/// sum.
pub(crate) fn pieces(pages: PageRange, level: PageTableLevel) -> impl Iterator<Item = PageRange> {
    let last_of_entry = pages_per_entry(level) - 1;
    let (mut next, end) = (number_of(pages.start), number_of(pages.end));
    core::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let start = next;
        next = end.min((start | last_of_entry) + 1);
        Some(Page::range(page_of(start), page_of(next)))
    })
}

fn number_of(page: Page) -> u64 {
    page.start_address().as_u64() / Size4KiB::SIZE
}

fn page_of(number: u64) -> Page {
    Page::containing_address(VirtAddr::new_truncate(number * Size4KiB::SIZE))
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
