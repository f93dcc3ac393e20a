//! The GDT, the TSS and the IDT, which are allocated once and never freed.
//!
//! Page faults have a separate stack, because they occur wherever the interpreter touches a guest's
//! memory. Without the other gates of the exceptions, each of them becomes a double fault (Intel
//! SDM Vol 3A, 7.15).

use alloc::boxed::Box;
use core::arch::naked_asm;

use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::idt::{Entry, InterruptDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// The index of the stack for page faults in the TSS.
const PAGE_FAULT_STACK: u16 = 0;
/// The index of the stack for double faults in the TSS.
const DOUBLE_FAULT_STACK: u16 = 1;

/// 16 KiB, aligned to 16 bytes. That is enough because the handlers print but do not recurse.
type Stack = [u128; 1024];

/// Loads the GDT and the TSS, and returns an IDT with the gates of page faults and double faults.
/// The caller may set other gates, and loads it.
///
/// # Safety
///
/// The caller guarantees that
/// 1. `page_fault` is the address of an entry for vector 14, which removes the error code, restores
///    all registers and ends in IRETQ, and that it causes no page fault, and
/// 2. this function is called once.
#[must_use = "the IDT does nothing until the caller loads it"]
pub unsafe fn load(page_fault: u64) -> &'static mut InterruptDescriptorTable {
    let mut tss = TaskStateSegment::new();
    tss.interrupt_stack_table[usize::from(PAGE_FAULT_STACK)] = new_stack();
    tss.interrupt_stack_table[usize::from(DOUBLE_FAULT_STACK)] = new_stack();

    let gdt = Box::leak(Box::new(GlobalDescriptorTable::new()));
    let code = gdt.append(Descriptor::kernel_code_segment());
    let tss = gdt.append(Descriptor::tss_segment(Box::leak(Box::new(tss))));
    gdt.load();
    // SAFETY: `code` is the 64-bit code segment of the table that was just loaded.
    unsafe { CS::set_reg(code) };
    // IRETQ loads SS with what it was at the exception. A selector of the loader's GDT may not
    // exist in this one.
    // SAFETY: SS may be null in 64-bit mode in ring 0 (Intel SDM Vol 3A, 5.4.1.1).
    unsafe { SS::set_reg(SegmentSelector::NULL) };
    // SAFETY: `tss` is the task state segment of that table, and was not loaded before.
    unsafe { load_tss(tss) };

    let idt = Box::leak(Box::new(InterruptDescriptorTable::new()));
    set(&mut idt.page_fault, VirtAddr::new(page_fault), PAGE_FAULT_STACK);
    set(&mut idt.double_fault, VirtAddr::from_ptr(double_fault_entry as *const ()), DOUBLE_FAULT_STACK);
    idt
}

/// Returns the end of a new stack.
fn new_stack() -> VirtAddr {
    let stack: &Stack = Box::leak(Box::new([0; _]));
    VirtAddr::from_ptr(stack) + size_of::<Stack>() as u64
}

/// Sets an interrupt gate with the stack at this index.
fn set<F>(gate: &mut Entry<F>, entry: VirtAddr, stack: u16) {
    // SAFETY: both entries are those of exceptions with an error code. The one of page faults
    // returns as guarantee 1 of `load` requires, and the other never does.
    let options = unsafe { gate.set_handler_addr(entry) };
    // SAFETY: the TSS has a stack at each index, and each is used for one exception only.
    unsafe { options.set_stack_index(stack) };
}

/// Saves no registers, because it does not return.
#[unsafe(naked)]
extern "sysv64" fn double_fault_entry() {
    naked_asm!("cld", "call {double_fault}", double_fault = sym double_fault)
}

extern "sysv64" fn double_fault() -> ! {
    panic!("double fault: an exception other than a page fault, or one in its handler");
}
