//! Sequential runs of first writes, and how many pages are worth committing ahead of them.
//!
//! A run is a series of first writes to neighbouring pages, in ascending order, each of which found
//! its page absent. Scattered writes make no run, so they cost one frame each.
//!
//! Invariant: a run that met a shortage commits nothing ahead until the region has released a
//! frame.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use crate::pages::page_after;

/// The first write of a run that commits pages after its own. Two neighbours prove nothing, because
/// any object that crosses a border between pages touches two.
const FIRST_AHEAD: u32 = 3;

/// The pages of 64 KiB, a Wasm page. Windows end at multiples of it.
const BLOCK_PAGES: u64 = 16;

/// The recent first writes.
#[derive(Debug)]
pub(crate) struct Run {
    /// The page that would continue the run.
    next: Page,
    /// The number of its writes.
    writes: u32,
    /// The number of frames that the region had released when it met a shortage.
    short_at: Option<u64>,
}

impl Run {
    /// The state of a new region with this first page.
    pub(crate) const fn new(start: Page) -> Self {
        Self { next: start, writes: 0, short_at: None }
    }

    /// Records a first write, and returns how many pages after this one are worth committing.
    #[inline(always)]
    pub(crate) fn record_write(&mut self, page: Page, limit_pages: u16, frames_released: u64) -> u64 {
        self.writes = if page == self.next { self.writes.saturating_add(1) } else { 1 };
        self.next = page_after(page, 1);
        if self.writes < FIRST_AHEAD { 0 } else { self.pages_ahead(page, limit_pages, frames_released) }
    }

    /// How many pages are worth committing after this one, the last page of a run.
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

    /// Records which pages were committed ahead.
    pub(crate) fn record_ahead(&mut self, pages: PageRange) {
        self.next = pages.end;
    }

    /// Records that the region met a shortage, having released so many frames.
    pub(crate) fn record_shortage(&mut self, frames_released: u64) {
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

    /// Writes `count` pages from this one on, as a CPU would. Returns how many pages each fault
    /// commits.
    fn walk(run: &mut Run, first: u64, count: u64) -> [u64; 10] {
        let mut sizes = [0; 10];
        let mut number = first;
        for size in &mut sizes {
            if number >= first + count {
                break;
            }
            let ahead = run.record_write(page(number), LIMIT, 0);
            if ahead > 0 {
                run.record_ahead(Page::range(page(number) + 1, page(number) + 1 + ahead));
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
        assert!((0..100).all(|number| run.record_write(page(number * 64), LIMIT, 0) == 0));
        assert!(
            (0..100).rev().all(|number| run.record_write(page(number), LIMIT, 0) == 0),
            "nor are descending ones"
        );
    }

    #[test]
    fn the_limit_counts_the_page_that_is_written() {
        for (limit_pages, expected) in [(0, 0), (1, 0), (2, 1), (10, 9), (16, 13), (17, 16)] {
            let mut run = Run::new(page(0));
            let ahead = (0..5).map(|number| run.record_write(page(number), limit_pages, 0)).max();
            assert_eq!(ahead, Some(expected), "{limit_pages}");
        }
    }

    #[test]
    fn a_run_that_met_a_shortage_goes_page_by_page_until_frames_were_released() {
        let mut run = Run::new(page(0));
        run.record_shortage(5);
        assert!((0..20).all(|number| run.record_write(page(number), LIMIT, 5) == 0));
        assert!(run.record_write(page(20), LIMIT, 6) > 0);
    }

    #[test]
    fn off_commits_nothing_ahead() {
        let mut run = Run::new(page(0));
        assert!((0..20).all(|number| run.record_write(page(number), 1, 0) == 0));
    }
}
