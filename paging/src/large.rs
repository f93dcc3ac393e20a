//! Splitting large pages where pages are to be looked at one by one.
//!
//! It takes no frame, because a table was set aside for each of them, and changes nothing that can be read, counted or
//! charged. Called by: the ways to clear pages that keep each page's entry.

use x86_64::structures::paging::page::PageRange;

use crate::directory::Record;
use crate::space::Host;
use crate::tlb::Tlb;
use crate::window::WindowTables;

/// Puts tables of small pages in the place of the large pages that have a page in the range.
pub(crate) fn split_large<S, T: Tlb>(
    pages: PageRange,
    record: &mut Record,
    tables: &mut WindowTables,
    host: Host<'_, S, T>,
) {
    let spares = &mut record.spares;
    if !spares.is_empty() {
        tables.each_large(pages, |table, part| table.split(part.start, spares, host.tlb));
    }
}
