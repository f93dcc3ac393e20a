//! Exceptions. The address space resolves page faults in guests' memories. All others are fatal.
//!
//! The GDT, the TSS and the IDT are allocated once and never freed. Page faults have a separate
//! stack, because they occur wherever the interpreter touches a guest's memory. The IDT has two
//! gates. Any other exception becomes a double fault (Intel SDM Vol 3A, 7.15).

use alloc::boxed::Box;
use core::arch::naked_asm;

use palimpsest_paging::{Fault, Outcome, StringRegisters};
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::Cr2;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::{
    Entry, InterruptDescriptorTable, InterruptStackFrameValue, PageFaultErrorCode,
};
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
    set(&mut idt.page_fault, page_fault_entry, PAGE_FAULT_STACK);
    set(&mut idt.double_fault, double_fault_entry, DOUBLE_FAULT_STACK);
    idt.load();
}

/// Returns the end of a new stack.
fn new_stack() -> VirtAddr {
    let stack: &Stack = Box::leak(Box::new([0; _]));
    VirtAddr::from_ptr(stack) + size_of::<Stack>() as u64
}

fn set<F>(gate: &mut Entry<F>, entry: extern "sysv64" fn(), stack: u16) {
    let address = VirtAddr::from_ptr(entry as *const ());
    // SAFETY: 1. Both entries expect an error code, and the CPU pushes one for both exceptions. 2.
    // One restores all registers that it changes and ends in IRETQ, the other never returns.
    let options = unsafe { gate.set_handler_addr(address) };
    // SAFETY: the TSS has a stack at each index, and each is used for one exception only.
    unsafe { options.set_stack_index(stack) };
}

/// Saves the registers that a Rust function may change. The target has soft floats, so these are
/// all.
///
/// The CPU aligned the stack to 16 bytes and pushed 6 words, the error code last (Intel SDM Vol 3A,
/// 7.14.2). Ten more words keep it aligned for the call. RBP is saved for that reason only. The
/// handler gets a pointer to all of them, as a [`FaultFrame`].
#[unsafe(naked)]
extern "sysv64" fn page_fault_entry() {
    naked_asm!(
        ".irp register, rax,rcx,rdx,rsi,rdi,r8,r9,r10,r11,rbp",
        "push \\register",
        ".endr",
        "mov rdi, rsp",
        // The interrupted code may have set the direction flag.
        "cld",
        "call {page_fault}",
        ".irp register, rbp,r11,r10,r9,r8,rdi,rsi,rdx,rcx,rax",
        "pop \\register",
        ".endr",
        // Remove the error code.
        "add rsp, 8",
        "iretq",
        page_fault = sym page_fault,
    )
}

/// Saves no registers, because it does not return.
#[unsafe(naked)]
extern "sysv64" fn double_fault_entry() {
    naked_asm!("cld", "call {double_fault}", double_fault = sym double_fault)
}

/// What the entry and the CPU pushed. The last one that was pushed is the first.
#[repr(C)]
struct FaultFrame {
    rbp: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rax: u64,
    error_code: u64,
    interrupted: InterruptStackFrameValue,
}

/// Resolves a page fault. Returns if the interrupted instruction can be restarted.
extern "sysv64" fn page_fault(frame: &mut FaultFrame) {
    let address = Cr2::read().expect("the CPU stores only canonical addresses in CR2");
    let code = PageFaultErrorCode::from_bits_retain(frame.error_code);
    let mut registers = StringRegisters {
        rip: frame.interrupted.instruction_pointer,
        rax: frame.rax,
        rcx: frame.rcx,
        rdi: frame.rdi,
        rflags: frame.interrupted.cpu_flags,
    };
    let fault = Fault { address, code };
    // SAFETY: the entry has saved the registers of the code that raised this fault.
    let outcome = memory::space().map(|space| unsafe { space.handle_fault_with(fault, &mut registers) });
    (frame.rcx, frame.rdi) = (registers.rcx, registers.rdi);
    match outcome {
        Some(Outcome::Handled) => {}
        Some(Outcome::NotOurs(reason)) => panic!("page fault at {address:?}, {code:?}: {reason}"),
        None => panic!("page fault at {address:?}, {code:?}: the kernel is still booting"),
    }
}

extern "sysv64" fn double_fault() -> ! {
    panic!("double fault: an exception other than a page fault, or one in its handler");
}
