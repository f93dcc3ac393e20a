//! Page faults. The address space resolves those in guests' memories. All others are fatal.

use example_support::tables;
use palimpsest_paging::{Outcome, PageFault, page_fault_entry};

use crate::memory;

/// Loads the CPU's tables, with the entry of page faults.
pub(crate) fn init() {
    // SAFETY: 1. `page_fault` accesses only memory that is always mapped. 2. `kernel_main` calls
    // this once.
    unsafe { tables::load(page_fault_entry(page_fault)) }.load();
}

/// Resolves a page fault. Returns if the interrupted instruction can be restarted.
fn page_fault(fault: &mut PageFault) {
    match memory::space().map(|space| space.handle_page_fault(fault)) {
        Some(Outcome::Handled) => {}
        Some(Outcome::NotOurs(reason)) => panic!("{fault}: {reason}"),
        None => panic!("{fault}: the kernel is still booting"),
    }
}
