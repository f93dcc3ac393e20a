//! Page faults and the timer. All other exceptions are fatal.

use example_support::tables;
use palimpsest_paging::{Outcome, PageFault, page_fault_entry};
use x86_64::VirtAddr;

use crate::{memory, timer};

/// Loads the CPU's tables, with the entries of page faults and of the timer.
pub(crate) fn init() {
    // SAFETY: 1. `page_fault` accesses only memory that is always mapped. 2. `kernel_main` calls
    // this once.
    let idt = unsafe { tables::load(page_fault_entry(page_fault)) };
    let entry = VirtAddr::from_ptr(timer::entry as *const ());
    // An interrupt gate without an IST stack: the registers of a thread stay on its own stack.
    // SAFETY: no error code is pushed for this vector, and the entry expects none. It restores all
    // registers of the thread that it returns to. The target has no red zone.
    unsafe { idt[timer::VECTOR].set_handler_addr(entry) };
    idt.load();
}

/// Resolves a page fault. Returns if the interrupted instruction can be restarted. Interrupts are
/// off, so the thread stays the same until the stack of page faults is free again.
fn page_fault(fault: &mut PageFault) {
    match memory::space().map(|space| space.handle_page_fault(fault)) {
        Some(Outcome::Handled) => {}
        Some(Outcome::NotOurs(reason)) => panic!("{fault}: {reason}"),
        None => panic!("{fault}: the kernel is still booting"),
    }
}
