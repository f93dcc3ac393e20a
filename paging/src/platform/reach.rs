//! Whether an address is mapped: the attempt to read it.
//!
//! A physical-memory offset that is wrong, or that does not cover all RAM, would end in a page
//! fault of the kernel, and often before the kernel has a handler for one. So the byte is read
//! while a temporary IDT is loaded, whose gates end the attempt.

use core::arch::naked_asm;

use x86_64::instructions::interrupts;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::{lidt, sidt};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::idt::{Entry, HandlerFunc};
use x86_64::{PrivilegeLevel, VirtAddr};

/// The vectors of a read that fails: general protection and page faults. Both have an error code.
const GENERAL_PROTECTION: usize = 13;
const PAGE_FAULT: usize = 14;

/// The gates up to that of page faults.
type Gates = [Entry<HandlerFunc>; PAGE_FAULT + 1];

/// The offset of the last byte of these gates.
const LIMIT: u16 = 16 * 15 - 1;
const _: () = assert!(size_of::<Gates>() == LIMIT as usize + 1);

/// Returns whether the calling CPU can read the byte at this address.
///
/// Interrupts are off meanwhile, for less than a microsecond. An NMI would find no gate, so this is
/// for the boot. Outside of ring 0, where no other IDT can be loaded, it returns true. The byte
/// should not be one of a device, because some change when they are read.
pub(crate) fn is_mapped(address: VirtAddr) -> bool {
    if cfg!(miri) || CS::get_reg().rpl() != PrivilegeLevel::Ring0 {
        return true;
    }
    let mut gates: Gates = [const { Entry::missing() }; _];
    for vector in [GENERAL_PROTECTION, PAGE_FAULT] {
        let entry = VirtAddr::from_ptr(give_up as *const ());
        // SAFETY: the exceptions of both vectors push an error code, which `give_up` removes.
        unsafe { gates[vector].set_handler_addr(entry) };
    }
    let temporary = DescriptorTablePointer { limit: LIMIT, base: VirtAddr::from_ptr(&raw const gates) };
    let were_enabled = interrupts::are_enabled();
    interrupts::disable();
    let own = sidt();
    // SAFETY: the gates live until the kernel's own table is loaded again. Until then interrupts
    // are off, and the only exceptions are those of the read, which have a gate.
    unsafe { lidt(&temporary) };
    let found = read(address.as_u64());
    // SAFETY: it is the table that the kernel had loaded.
    unsafe { lidt(&own) };
    if were_enabled {
        interrupts::enable();
    }
    found
}

/// Reads the byte at `address`, and returns true. Returns false if the read raises an exception
/// whose gate leads to [`give_up`].
///
/// A function that calls has no red zone in use, so the exception may push its frame below the
/// return address.
#[unsafe(naked)]
extern "sysv64" fn read(address: u64) -> bool {
    naked_asm!("xor eax, eax", "mov cl, byte ptr [rdi]", "mov al, 1", "ret")
}

/// Makes [`read`] return at once. RAX is zero there, and the stack pointer of the interrupted code
/// is at the return address.
#[unsafe(naked)]
extern "sysv64" fn give_up() {
    naked_asm!(
        // Remove the error code.
        "add rsp, 8",
        "lea rcx, [rip + 2f]",
        "mov qword ptr [rsp], rcx",
        "iretq",
        "2:",
        "ret",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri executes no assembly")]
    fn a_byte_that_can_be_read_is_mapped() {
        let byte = 7_u8;
        assert!(read((&raw const byte).addr() as u64));
    }
}
