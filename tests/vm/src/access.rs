//! Single accesses to addresses outside of Rust's memory: in regions, or where nothing may be
//! mapped.
//!
//! The accesses are in assembly, so that each is exactly one access and none is optimised away.

use core::arch::asm;

use x86_64::VirtAddr;

/// Reads a byte, or ends the machine if nothing is mapped at `address`.
pub(crate) fn load(address: VirtAddr) -> u8 {
    let byte: u8;
    // SAFETY: no device is mapped, so that reading changes nothing; a read that cannot be done ends
    // the machine.
    unsafe { asm!("mov {}, [{}]", out(reg_byte) byte, in(reg) address.as_u64(), options(nostack, readonly)) };
    byte
}

/// Writes a byte, or ends the machine if that is not allowed.
///
/// # Safety
///
/// The address is in a region that the caller owns, or it cannot be written.
pub(crate) unsafe fn store(address: VirtAddr, byte: u8) {
    // SAFETY: the caller guarantees that no other memory changes.
    unsafe { asm!("mov [{}], {}", in(reg) address.as_u64(), in(reg_byte) byte, options(nostack)) };
}

/// Jumps to an address.
///
/// # Safety
///
/// The address is not executable, so that the jump ends the machine.
pub(crate) unsafe fn execute(address: VirtAddr) -> ! {
    // SAFETY: the caller's fact: nothing runs after the jump but the kernel's fault handler.
    unsafe { asm!("jmp {}", in(reg) address.as_u64(), options(noreturn)) }
}
