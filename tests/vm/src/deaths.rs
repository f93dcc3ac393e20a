//! Errors that must end the machine at once, with a line that states the cause.

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::AtomicU8;

use kernel_demo::Machine;
use kernel_demo::memory::PHYSICAL_OFFSET;
use x86_64::VirtAddr;
use x86_64::instructions::tables::{lidt, sidt};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::idt::ExceptionVector;

use crate::access::{execute, load, store};
use crate::harness::{Checks, VmTest};

/// The end of the kernel's report of a write to a read-only page.
const WRITE_REFUSED: &str = "PROTECTION_VIOLATION | CAUSED_BY_WRITE)";

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::death("reading-page-0-is-fatal", "page fault at 0x0,", read_page_0),
    VmTest::death("stack-overflow-is-reported-on-another-stack", "stack overflow:", overflow_the_stack),
    VmTest::death("text-is-not-writable", WRITE_REFUSED, write_text),
    VmTest::death("rodata-is-not-writable", WRITE_REFUSED, write_rodata),
    VmTest::death("data-is-not-executable", "INSTRUCTION_FETCH)", execute_data),
    VmTest::death("heap-is-not-executable", "INSTRUCTION_FETCH)", execute_heap),
    VmTest::death("text-has-no-second-mapping", "page fault at 0xffff800000", read_text_in_physical_memory),
    VmTest::death("division-by-zero-is-reported", "exception 0 (Division)", divide_by_zero),
    VmTest::death("invalid-opcode-is-reported", "exception 6 (InvalidOpcode)", invalid_opcode),
    VmTest::death("double-fault-is-reported", "exception 8 (Double)", double_fault),
    VmTest::death(
        "general-protection-fault-is-reported",
        "exception 13 (GeneralProtection)",
        non_canonical_access,
    ),
    VmTest::death("panic-is-reported", "kernel panicked at", panic),
];

fn read_page_0(_: &mut Checks, _: &Machine) {
    load(VirtAddr::zero());
}

fn overflow_the_stack(_: &mut Checks, _: &Machine) {
    fn descend(depth: u64) -> u64 {
        if black_box(depth) == u64::MAX { depth } else { black_box(descend(depth + 1)) + 1 }
    }
    black_box(descend(0));
}

fn write_text(_: &mut Checks, _: &Machine) {
    // SAFETY: the address cannot be written: the text is mapped read-only, and this test shows it.
    unsafe { store(VirtAddr::from_ptr(write_text as *const ()), 0) };
}

fn write_rodata(_: &mut Checks, _: &Machine) {
    static CONSTANT: [u8; 16] = [1; 16];
    // SAFETY: the address cannot be written: rodata is mapped read-only, and this test shows it.
    unsafe { store(VirtAddr::from_ptr(&raw const CONSTANT), 0) };
}

fn execute_data(_: &mut Checks, _: &Machine) {
    /// `ret`, but in a writable section.
    static CODE: AtomicU8 = AtomicU8::new(0xc3);
    // SAFETY: the address is not executable: data is mapped no-execute, and this test shows it.
    unsafe { execute(VirtAddr::from_ptr(&raw const CODE)) };
}

fn execute_heap(_: &mut Checks, _: &Machine) {
    let code = alloc::boxed::Box::new(0xc3_u8);
    // SAFETY: the address is not executable: physical memory is mapped no-execute, and this test
    // shows it.
    unsafe { execute(VirtAddr::from_ptr(&raw const *code)) };
}

fn read_text_in_physical_memory(_: &mut Checks, _: &Machine) {
    load(PHYSICAL_OFFSET + VirtAddr::from_ptr(read_text_in_physical_memory as *const ()).as_u64());
}

fn divide_by_zero(_: &mut Checks, _: &Machine) {
    // SAFETY: the instruction raises #DE and changes nothing.
    unsafe { asm!("div {:e}", in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _, options(nostack)) };
}

fn invalid_opcode(_: &mut Checks, _: &Machine) {
    // SAFETY: the instruction raises #UD and changes nothing.
    unsafe { asm!("ud2", options(nostack)) };
}

/// Loads an IDT that ends after the gate of the double fault, so that a page fault cannot be
/// delivered.
fn double_fault(_: &mut Checks, _: &Machine) {
    const GATE_BYTES: u16 = 16;
    let gates = ExceptionVector::Double as u16 + 1;
    let short = DescriptorTablePointer { limit: gates * GATE_BYTES - 1, base: sidt().base };
    // SAFETY: the table is the kernel's own, less the gates at its end.
    unsafe { lidt(&short) };
    load(VirtAddr::zero());
}

fn non_canonical_access(_: &mut Checks, _: &Machine) {
    // SAFETY: the load raises #GP: the address is not canonical (SDM Vol 1 3.3.7.1).
    unsafe { asm!("mov {0:e}, [{0:r}]", inout(reg) 1_u64 << 63 => _, options(nostack, readonly)) };
}

fn panic(_: &mut Checks, _: &Machine) {
    panic!("on purpose");
}
