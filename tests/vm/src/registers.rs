//! The general registers and RFLAGS survive a page fault that is handled.

use core::arch::naked_asm;

use kernel_demo::Machine;
use kernel_demo::memory::{FaultEntry, set_fault_entry};
use x86_64::registers::rflags::RFlags;

use crate::fixture::{Guest, PAGE_BYTES};
use crate::harness::{Checks, VmTest};

pub(crate) const TESTS: &[VmTest] =
    &[VmTest::new("general-registers-survive-a-fault", 8, general_registers_survive_a_fault)];

/// RAX, RCX, RDX, RBX, RBP, RSI, RDI, R8 to R15, then RFLAGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct State {
    registers: [u64; 15],
    flags: u64,
}

/// The address that is written to.
const RAX: usize = 0;
/// Its lowest byte is what is written.
const RCX: usize = 1;

/// Every flag that code can set and that does not change what the CPU does next, and the direction
/// flag.
const FLAGS: RFlags = RFlags::CARRY_FLAG
    .union(RFlags::PARITY_FLAG)
    .union(RFlags::AUXILIARY_CARRY_FLAG)
    .union(RFlags::ZERO_FLAG)
    .union(RFlags::SIGN_FLAG)
    .union(RFlags::DIRECTION_FLAG)
    .union(RFlags::OVERFLOW_FLAG);

fn general_registers_survive_a_fault(checks: &mut Checks, machine: &Machine) {
    for entry in [FaultEntry::RegisterAware, FaultEntry::Plain] {
        survive(checks, machine, entry);
    }
}

fn survive(checks: &mut Checks, machine: &Machine, entry: FaultEntry) {
    set_fault_entry(entry);
    let guest = Guest::new(machine, PAGE_BYTES);
    let mut wanted = State { registers: [0; 15], flags: FLAGS.bits() };
    for (number, register) in (1..).zip(&mut wanted.registers) {
        *register = 0x0123_4567_89ab_cdef * number;
    }
    wanted.registers[RAX] = guest.address(0).as_u64();
    let mut found = State { registers: [0; 15], flags: 0 };
    // SAFETY: RAX is the address of a page that this test owns.
    unsafe { store_with(&wanted, &mut found) };
    checks.equal("general registers", found.registers, wanted.registers);
    checks.equal("flags", RFlags::from_bits_truncate(found.flags), FLAGS);
    checks.equal("faults", guest.residency().faults, 1);
    checks.equal("the byte", guest.load(0), wanted.registers[RCX].to_le_bytes()[0]);
}

/// Loads `wanted` into the registers, writes CL to the address in RAX and saves the registers to
/// `found`.
///
/// # Safety
///
/// The caller owns the byte at the address in RAX, and the flags change nothing but those in
/// [`FLAGS`].
#[unsafe(naked)]
unsafe extern "sysv64" fn store_with(wanted: &State, found: &mut State) {
    naked_asm!(
        ".irp saved, rbx,rbp,r12,r13,r14,r15",
        "push \\saved",
        ".endr",
        "push rsi",
        "push [rdi + 120]",
        "mov rax, [rdi]",
        "mov rcx, [rdi + 8]",
        "mov rdx, [rdi + 16]",
        "mov rbx, [rdi + 24]",
        "mov rbp, [rdi + 32]",
        "mov rsi, [rdi + 40]",
        ".irp n, 8,9,10,11,12,13,14,15",
        "mov r\\n, [rdi + 8 * \\n - 8]",
        ".endr",
        "mov rdi, [rdi + 48]",
        "popfq",
        "mov [rax], cl",
        "pushfq",
        "push rdi",
        "mov rdi, [rsp + 16]",
        "mov [rdi], rax",
        "mov [rdi + 8], rcx",
        "mov [rdi + 16], rdx",
        "mov [rdi + 24], rbx",
        "mov [rdi + 32], rbp",
        "mov [rdi + 40], rsi",
        "pop qword ptr [rdi + 48]",
        ".irp n, 8,9,10,11,12,13,14,15",
        "mov [rdi + 8 * \\n - 8], r\\n",
        ".endr",
        "pop qword ptr [rdi + 120]",
        "cld",
        "add rsp, 8",
        ".irp saved, r15,r14,r13,r12,rbp,rbx",
        "pop \\saved",
        ".endr",
        "ret",
    )
}
