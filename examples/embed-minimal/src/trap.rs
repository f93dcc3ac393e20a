//! Exceptions. The address space resolves page faults in guests' memories. All others are fatal.
//!
//! The GDT, the TSS and the IDT are allocated once and never freed. Page faults have a separate
//! stack, because they occur wherever the interpreter touches a guest's memory. The IDT has two
//! gates. Any other exception becomes a double fault (Intel SDM Vol 3A, 7.15).

use alloc::boxed::Box;
use core::arch::naked_asm;

use palimpsest_paging::{Outcome, PageFault, page_fault_entry};
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::{Entry, InterruptDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

use crate::memory;

/// The index of the stack for page faults in the TSS.
const PAGE_FAULT_STACK: u16 = 0;
/// The index of the stack for double faults in the TSS.
const DOUBLE_FAULT_STACK: u16 = 1;

/// 16 KiB, aligned to 16 bytes. That is enough because the handlers print but do not recurse.
type Stack = [u128; 1024];

/// Creates and loads the tables.
pub(crate) fn init() {
    let mut tss = TaskStateSegment::new();
    tss.interrupt_stack_table[usize::from(PAGE_FAULT_STACK)] = new_stack();
    tss.interrupt_stack_table[usize::from(DOUBLE_FAULT_STACK)] = new_stack();

    let gdt = Box::leak(Box::new(GlobalDescriptorTable::new()));
    let code = gdt.append(Descriptor::kernel_code_segment());
    let tss = gdt.append(Descriptor::tss_segment(Box::leak(Box::new(tss))));
    gdt.load();
    // SAFETY: `code` is the 64-bit code segment of the table that was just loaded.
    unsafe { CS::set_reg(code) };
    // SAFETY: `tss` is the task state segment of that table, and was not loaded before.
    unsafe { load_tss(tss) };

    let idt = Box::leak(Box::new(InterruptDescriptorTable::new()));
    set(&mut idt.page_fault, VirtAddr::new(page_fault_entry(page_fault)), PAGE_FAULT_STACK);
    set(&mut idt.double_fault, VirtAddr::from_ptr(double_fault_entry as *const ()), DOUBLE_FAULT_STACK);
    idt.load();
}

/// Returns the end of a new stack.
fn new_stack() -> VirtAddr {
    let stack: &Stack = Box::leak(Box::new([0; _]));
    VirtAddr::from_ptr(stack) + size_of::<Stack>() as u64
}

fn set<F>(gate: &mut Entry<F>, entry: VirtAddr, stack: u16) {
    // SAFETY: 1. Both entries expect an error code, and the CPU pushes one for both exceptions. 2.
    // The gates are interrupt gates. 3. One entry restores all registers that it changes and ends
    // in IRETQ, the other never returns. 4. The handler of page faults causes none.
    let options = unsafe { gate.set_handler_addr(entry) };
    // SAFETY: the TSS has a stack at each index, and each is used for one exception only.
    unsafe { options.set_stack_index(stack) };
}

/// Resolves a page fault. Returns if the interrupted instruction can be restarted.
fn page_fault(fault: &mut PageFault) {
    match memory::space().map(|space| space.handle_page_fault(fault)) {
        Some(Outcome::Handled) => {}
        Some(Outcome::NotOurs(reason)) => panic!("{fault}: {reason}"),
        None => panic!("{fault}: the kernel is still booting"),
    }
}

/// Saves no registers, because it does not return.
#[unsafe(naked)]
extern "sysv64" fn double_fault_entry() {
    naked_asm!("cld", "call {double_fault}", double_fault = sym double_fault)
}

extern "sysv64" fn double_fault() -> ! {
    panic!("double fault: an exception other than a page fault, or one in its handler");
}
