//! The order in which the pages of a region are first written, and what that tells about the next ones.
//!
//! A run is a number of first writes to neighbouring pages in the order of their addresses, each of which
//! found its page absent. Single pages that lie apart never make one, so they cost a frame each and no more.
//!
//! Invariant: a run that met a shortage commits nothing ahead until the region has released a frame.
//! Called by: the fault path, once for each page that it commits.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use crate::pages::page_after;

/// The write of a run that is the first to commit pages behind its own. Fewer neighbours are no evidence: two
/// pages in a row are what any object across a border takes.
const FIRST_AHEAD: u32 = 3;

/// The pages of 64 KiB, which are a Wasm page: a run commits them up to the next border.
const BLOCK_PAGES: u64 = 16;

/// The first writes of late.
#[derive(Debug)]
pub(crate) struct Run {
    /// The page that would continue the run.
    next: Page,
    /// How many writes it has.
    writes: u32,
    /// How many frames the region had released when it met a shortage.
    short_at: Option<u64>,
}

impl Run {
    /// No run, in a region with this first page.
    pub(crate) const fn new(start: Page) -> Self {
        Self { next: start, writes: 0, short_at: None }
    }

    /// Notes a first write; tells how many pages behind this one are worth committing.
    #[inline(always)]
    pub(crate) fn note(&mut self, page: Page, limit_pages: u16, frames_released: u64) -> u64 {
        self.writes = if page == self.next { self.writes.saturating_add(1) } else { 1 };
        self.next = page_after(page, 1);
        if self.writes < FIRST_AHEAD { 0 } else { self.pages_ahead(page, limit_pages, frames_released) }
    }

    /// How many pages behind this one are worth committing, which is the last one of a run.
    #[inline(never)]
    fn pages_ahead(&self, page: Page, limit_pages: u16, frames_released: u64) -> u64 {
        if limit_pages <= 1 || self.short_at == Some(frames_released) {
            return 0;
        }
        let windows_before = self.writes - FIRST_AHEAD;
        let window_pages = BLOCK_PAGES.checked_shl(windows_before).unwrap_or(u64::MAX);
        let most_pages = u64::from(limit_pages).min(window_pages).max(1);
        let into_block = u64::from(u16::from(page.p1_index())) % BLOCK_PAGES;
        (most_pages - 1).min(most_pages.next_multiple_of(BLOCK_PAGES) - 1 - into_block)
    }

    /// Notes which pages were committed ahead.
    pub(crate) fn note_ahead(&mut self, pages: PageRange) {
        self.next = pages.end;
    }

    /// Notes that the region met a shortage, having released so many frames.
    pub(crate) fn note_shortage(&mut self, frames_released: u64) {
        self.short_at = Some(frames_released);
    }
}

#[cfg(test)]
mod tests {
    use x86_64::VirtAddr;

    use super::*;

    const LIMIT: u16 = 64;

    fn page(number: u64) -> Page {
        Page::containing_address(VirtAddr::new(0x4000_0000 + number * 4096))
    }

    /// Writes `count` pages in a row as a CPU would, from this one on; tells how many each fault commits.
    fn walk(run: &mut Run, first: u64, count: u64) -> [u64; 10] {
        let (mut sizes, mut number) = ([0; 10], first);
        for size in &mut sizes {
            if number >= first + count {
                break;
            }
            let ahead = run.note(page(number), LIMIT, 0);
            if ahead > 0 {
                run.note_ahead(Page::range(page(number) + 1, page(number) + 1 + ahead));
            }
            *size = 1 + ahead;
            number += *size;
        }
        sizes
    }

    #[test]
    fn a_run_commits_the_rest_of_its_64_kib_and_then_twice_as_much_each_time() {
        let sizes = walk(&mut Run::new(page(0)), 0, 300);
        assert_eq!(sizes, [1, 1, 14, 32, 64, 64, 64, 64, 0, 0]);
    }

    #[test]
    fn a_run_from_anywhere_ends_its_windows_at_multiples_of_64_kib() {
        let sizes = walk(&mut Run::new(page(0)), 14, 200);
        assert_eq!(sizes, [1, 1, 16, 32, 64, 64, 64, 0, 0, 0]);
    }

    #[test]
    fn pages_that_lie_apart_are_no_run() {
        let mut run = Run::new(page(0));
        assert!((0..100).all(|number| run.note(page(number * 64), LIMIT, 0) == 0));
        assert!(
            (0..100).rev().all(|number| run.note(page(number), LIMIT, 0) == 0),
            "nor are descending ones"
        );
    }

    #[test]
    fn the_limit_counts_the_page_that_is_written() {
        for (limit_pages, expected) in [(0, 0), (1, 0), (2, 1), (10, 9), (16, 13), (17, 16)] {
            let mut run = Run::new(page(0));
            let ahead = (0..5).map(|number| run.note(page(number), limit_pages, 0)).max();
            assert_eq!(ahead, Some(expected), "{limit_pages}");
        }
    }

    #[test]
    fn a_run_that_met_a_shortage_goes_page_by_page_until_frames_were_released() {
        let mut run = Run::new(page(0));
        run.note_shortage(5);
        assert!((0..20).all(|number| run.note(page(number), LIMIT, 5) == 0));
        assert!(run.note(page(20), LIMIT, 6) > 0);
    }

    #[test]
    fn off_commits_nothing_ahead() {
        let mut run = Run::new(page(0));
        assert!((0..20).all(|number| run.note(page(number), 1, 0) == 0));
    }
}
