//! Which pages a region has written.
//!
//! A page that was written owns a frame, and one that was cleared is not taken from the image any
//! more. Both are seen without a record of writes. A visit takes time for the tables that exist.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use super::Region;
use crate::pages::{ENTRIES, page_after};
use crate::platform::Platform;
use crate::record::each_bit;
use crate::state::Mapping;
use crate::table::PageBits;

impl<P: Platform> Region<'_, P> {
    /// Visits the pages that were written since the last [`freeze`](Self::freeze) or
    /// [`attach`](Self::attach), and those of the image that were cleared, in ascending order.
    ///
    /// All other pages read as in the image, or as zero if there is none.
    pub fn each_written(&self, visit: impl FnMut(PageRange)) {
        self.each_run(|mapping, from| mapping.next_written(from), visit);
    }

    /// Visits the runs of pages that `next` finds, with no lock held. `next` gets the number of a
    /// page, and returns that of the next 512 pages with a bit for each.
    fn each_run(
        &self,
        mut next: impl FnMut(&mut Mapping<'_, P>, u64) -> Option<(u64, PageBits)>,
        mut visit: impl FnMut(PageRange),
    ) {
        let mut run = Page::range(self.pages.start, self.pages.start);
        let mut from = 0;
        while let Some((first, bits)) = self.with_mapping(|mut mapping| next(&mut mapping, from)) {
            let numbers = (first..)
                .step_by(64)
                .zip(bits)
                .flat_map(|(first, bits)| each_bit(bits).map(move |bit| first + bit));
            for page in numbers.map(|number| page_after(self.pages.start, number)) {
                if page != run.end {
                    if !run.is_empty() {
                        visit(run);
                    }
                    run.start = page;
                }
                run.end = page_after(page, 1);
            }
            from = first + ENTRIES as u64;
        }
        if !run.is_empty() {
            visit(run);
        }
    }
}
