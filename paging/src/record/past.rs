//! The CPUs that may still access addresses of regions that have ended speculatively, in shards
//! that were closed.
//!
//! If another region gets the addresses, such a CPU may walk its tables, although it never entered
//! the region. With one CPU there are none.

use alloc::vec::Vec;

use x86_64::structures::paging::page::PageRange;

use crate::tlb::Wait;

/// Ranges of pages, each with the CPUs that have used it and not flushed since.
#[derive(Debug, Default)]
pub(crate) struct Pasts(Vec<(PageRange, Wait)>);

impl Pasts {
    /// Adds a range that has been closed, and forgets the CPUs that `unflushed` does not return any
    /// more.
    pub(crate) fn add(&mut self, pages: PageRange, past: Wait, unflushed: impl Fn(Wait) -> u64) {
        let Self(pasts) = self;
        pasts.retain_mut(|(_, past)| {
            past.cpus = unflushed(*past);
            past.cpus != 0
        });
        if past.cpus == 0 {
            return;
        }
        match pasts.iter_mut().find(|(other, _)| *other == pages) {
            Some((_, before)) => *before = before.and(past),
            None => pasts.push((pages, past)),
        }
    }

    /// The CPUs that may access an address of these pages speculatively, of those that `unflushed`
    /// returns.
    pub(crate) fn of(&self, pages: PageRange, unflushed: impl Fn(Wait) -> u64) -> Wait {
        let overlaps = |other: &PageRange| other.start < pages.end && pages.start < other.end;
        let overlapping = self.0.iter().filter(|(other, _)| overlaps(other));
        overlapping.fold(Wait::NOTHING, |all, (_, past)| all.and(Wait { cpus: unflushed(*past), ..*past }))
    }
}

#[cfg(test)]
mod tests {
    use x86_64::VirtAddr;
    use x86_64::structures::paging::Page;

    use super::*;

    fn pages(first: u64, count: u64) -> PageRange {
        let start = Page::containing_address(VirtAddr::new(0x4000_0000));
        Page::range(start + first, start + first + count)
    }

    #[test]
    fn a_range_has_the_past_of_all_that_it_overlaps_until_the_cpus_have_flushed() {
        let mut pasts = Pasts::default();
        for (range, cpus, stamp) in [(pages(0, 4), 1, 5), (pages(4, 4), 2, 6), (pages(0, 4), 4, 7)] {
            pasts.add(range, Wait { cpus, stamp }, |past| past.cpus);
        }
        let of = |pasts: &Pasts, pages| pasts.of(pages, |past| past.cpus);
        assert_eq!(of(&pasts, pages(0, 2)), Wait { cpus: 5, stamp: 7 });
        assert_eq!(of(&pasts, pages(2, 4)), Wait { cpus: 7, stamp: 7 });
        assert_eq!(of(&pasts, pages(8, 8)), Wait::NOTHING);
        pasts.add(pages(8, 8), Wait::NOTHING, |past| past.cpus & !5);
        assert_eq!(of(&pasts, pages(0, 4)), Wait::NOTHING);
        assert_eq!(of(&pasts, pages(0, 16)), Wait { cpus: 2, stamp: 6 });
    }
}
