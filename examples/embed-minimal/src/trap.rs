//! Exceptions: a page fault is the address space's or ends the kernel, every other exception ends it.
//!
//! Owns the GDT, the TSS and the IDT, which come from the heap and stay. Page faults have a stack of their
//! own: they are taken wherever the interpreter touches a guest's memory. There are two gates; the CPU turns
//! an exception that finds none into a double fault (Intel SDM Vol 3A, 7.15). `main` calls `init` once.

use alloc::boxed::Box;
use core::arch::naked_asm;

use palimpsest_paging::{Fault, Outcome};
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::Cr2;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::{Entry, InterruptDescriptorTable, PageFaultErrorCode};
use x86_64::structures::tss::TaskStateSegment;

use crate::memory;

/// Where the TSS has the stack for page faults.
const PAGE_FAULT_STACK: u16 = 0;
/// Where the TSS has the stack for double faults.
const DOUBLE_FAULT_STACK: u16 = 1;

/// 16 KiB, aligned to 16 bytes: the handlers print, and do not recurse.
type Stack = [u128; 1024];

/// Loads the tables.
pub(crate) fn init() {
    let mut tss = TaskStateSegment::new();
    tss.interrupt_stack_table[usize::from(PAGE_FAULT_STACK)] = new_stack();
    tss.interrupt_stack_table[usize::from(DOUBLE_FAULT_STACK)] = new_stack();

    let gdt = Box::leak(Box::new(GlobalDescriptorTable::new()));
    let code = gdt.append(Descriptor::kernel_code_segment());
    let tss = gdt.append(Descriptor::tss_segment(Box::leak(Box::new(tss))));
    gdt.load();
    // SAFETY: it is the 64-bit code segment of the table that was just loaded.
    unsafe { CS::set_reg(code) };
    // SAFETY: it is the task state of the same table, and is loaded for the first time.
    unsafe { load_tss(tss) };

    let idt = Box::leak(Box::new(InterruptDescriptorTable::new()));
    set(&mut idt.page_fault, page_fault_entry, PAGE_FAULT_STACK);
    set(&mut idt.double_fault, double_fault_entry, DOUBLE_FAULT_STACK);
    idt.load();
}

/// The address just above a new stack.
fn new_stack() -> VirtAddr {
    let stack: &Stack = Box::leak(Box::new([0; _]));
    VirtAddr::from_ptr(stack) + size_of::<Stack>() as u64
}

fn set<F>(gate: &mut Entry<F>, entry: extern "sysv64" fn(), stack: u16) {
    let address = VirtAddr::from_ptr(entry as *const ());
    // SAFETY: 1. Both entries expect an error code, and the CPU pushes one for both exceptions. 2. One restores
    // what it changes and ends in IRETQ, the other never ends.
    let options = unsafe { gate.set_handler_addr(address) };
    // SAFETY: the TSS has a stack at both numbers, each for one exception alone.
    unsafe { options.set_stack_index(stack) };
}

/// Saves what a Rust function may change. The target has soft floats, so there are no more registers.
///
/// The CPU aligned the stack to 16 bytes and pushed 6 words, the error code last (Intel SDM Vol 3A, 7.14.2);
/// ten more keep it aligned for the call. RBP is among them for that reason only.
#[unsafe(naked)]
extern "sysv64" fn page_fault_entry() {
    naked_asm!(
        ".irp register, rax,rcx,rdx,rsi,rdi,r8,r9,r10,r11,rbp",
        "push \\register",
        ".endr",
        "mov rdi, [rsp + 10 * 8]",
        // The interrupted code may be copying backwards.
        "cld",
        "call {page_fault}",
        ".irp register, rbp,r11,r10,r9,r8,rdi,rsi,rdx,rcx,rax",
        "pop \\register",
        ".endr",
        // The error code.
        "add rsp, 8",
        "iretq",
        page_fault = sym page_fault,
    )
}

/// Saves nothing: there is no way back.
#[unsafe(naked)]
extern "sysv64" fn double_fault_entry() {
    naked_asm!("cld", "call {double_fault}", double_fault = sym double_fault)
}

/// Returns if the interrupted instruction can run again.
extern "sysv64" fn page_fault(error_code: u64) {
    let address = Cr2::read().expect("the CPU reports canonical addresses");
    let code = PageFaultErrorCode::from_bits_retain(error_code);
    match memory::space().map(|space| space.handle_fault(Fault { address, code })) {
        Some(Outcome::Handled) => {}
        Some(Outcome::NotOurs(reason)) => panic!("page fault at {address:?}, {code:?}: {reason}"),
        None => panic!("page fault at {address:?}, {code:?}: the kernel is still booting"),
    }
}

extern "sysv64" fn double_fault() -> ! {
    panic!("double fault: an exception other than a page fault, or one in its handler");
}
