//! XMM0-15 and MXCSR survive a page fault that is handled in the middle of float code.

use core::arch::naked_asm;

use kernel_demo::Machine;
use kernel_demo::memory::{FaultEntry, set_fault_entry};
use x86_64::VirtAddr;
use x86_64::registers::mxcsr::MxCsr;

use crate::fixture::{Guest, PAGE_BYTES};
use crate::harness::{Checks, VmTest};

pub(crate) const TESTS: &[VmTest] =
    &[VmTest::new("xmm-and-mxcsr-survive-a-fault", 6, xmm_and_mxcsr_survive_a_fault)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct State {
    xmm: [[u64; 2]; 16],
    mxcsr: u32,
}

fn xmm_and_mxcsr_survive_a_fault(checks: &mut Checks, machine: &Machine) {
    for entry in [FaultEntry::RegisterAware, FaultEntry::Plain] {
        survive(checks, machine, entry);
    }
}

fn survive(checks: &mut Checks, machine: &Machine, entry: FaultEntry) {
    set_fault_entry(entry);
    let guest = Guest::new(machine, PAGE_BYTES);
    // Not the control word that Rust code runs with: another rounding mode, and a status flag set.
    let mxcsr = MxCsr::default() | MxCsr::ROUNDING_CONTROL_ZERO | MxCsr::FLUSH_TO_ZERO | MxCsr::PRECISION;
    let mut wanted = State { xmm: [[0; 2]; 16], mxcsr: mxcsr.bits() };
    for (number, word) in (1..).zip(wanted.xmm.as_flattened_mut()) {
        *word = 0xfedc_ba98_7654_3211_u64.wrapping_mul(number);
    }
    let mut found = State { xmm: [[0; 2]; 16], mxcsr: 0 };
    // SAFETY: the test owns the page, and MXCSR has no exception unmasked.
    unsafe { store_with(&wanted, &mut found, guest.address(0)) };
    checks.equal("XMM0-15", found.xmm, wanted.xmm);
    checks.equal("MXCSR", found.mxcsr, wanted.mxcsr);
    checks.equal("faults", guest.residency().faults, 1);
}

/// Loads `wanted` into the registers, writes a byte to `address` and saves the registers to
/// `found`.
///
/// # Safety
///
/// The caller owns the byte at `address`, and `wanted.mxcsr` masks all exceptions.
#[unsafe(naked)]
unsafe extern "sysv64" fn store_with(wanted: &State, found: &mut State, address: VirtAddr) {
    naked_asm!(
        "push rax",
        "stmxcsr [rsp]",
        "ldmxcsr [rdi + 256]",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movups xmm\\n, [rdi + 16 * \\n]",
        ".endr",
        "mov byte ptr [rdx], 1",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movups [rsi + 16 * \\n], xmm\\n",
        ".endr",
        "stmxcsr [rsi + 256]",
        "ldmxcsr [rsp]",
        "pop rax",
        "ret",
    )
}
