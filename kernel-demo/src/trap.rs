//! Exceptions: a page fault in a region is resolved, an interrupt that `interrupts` requested is
//! counted, and every other exception ends the kernel.
//!
//! `palimpsest_paging` has the entry of page faults, which calls `page_fault`. For all other
//! vectors the assembly in `stubs` saves the registers of the interrupted code and calls
//! `dispatch`. `table` stores both in the IDT. A fatal exception is printed and ends the emulator
//! with a failing status. A resolved fault uses neither the console nor the heap, and only the lock
//! of the address space.

mod stubs;
mod table;

use core::fmt;
use core::sync::atomic::Ordering;

use palimpsest_paging::PageFault;
use x86_64::structures::idt::{ExceptionVector, InterruptStackFrameValue};
use x86_64::structures::paging::Page;

use crate::cpu;
use crate::exit::die;
use crate::interrupts;
use crate::memory;
use crate::stack;

pub(crate) use table::load_table;

/// The registers that the stubs push, in this order: those general registers of the interrupted
/// code that a call may change (System V ABI, "Registers"). Rust functions preserve the others.
#[derive(Debug)]
#[repr(C)]
struct TrapFrame {
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rax: u64,
    vector: u64,
    error_code: u64,
    /// What the CPU pushed: RIP, CS, RFLAGS, RSP, SS.
    interrupted: InterruptStackFrameValue,
}

/// Handles an exception or an interrupt. The stubs call it. It returns only after an interrupt that
/// was requested.
extern "sysv64" fn dispatch(frame: &TrapFrame) {
    if interrupts::handle(frame.vector) {
        return;
    }
    match exception(frame.vector) {
        Some(vector) => die(format_args!(
            "exception {} ({vector:?}): error code {:#x}, at {}",
            frame.vector,
            frame.error_code,
            Place(frame)
        )),
        None => die(format_args!(
            "interrupt {} that the kernel did not request, at {}",
            frame.vector,
            Place(frame)
        )),
    }
}

fn exception(vector: u64) -> Option<ExceptionVector> {
    u8::try_from(vector).ok().and_then(|vector| ExceptionVector::try_from(vector).ok())
}

/// Handles a page fault. It returns only after one that was resolved.
fn page_fault(fault: &mut PageFault) {
    let handling = cpu::this().handling_page_fault();
    // A second fault would wait forever for the lock that the handler of the first one holds.
    if handling.swap(true, Ordering::Relaxed) {
        die(format_args!("{fault}: inside the page-fault handler"));
    }
    let outcome = memory::handle_fault(fault);
    handling.store(false, Ordering::Relaxed);
    let Err(reason) = outcome else { return };
    if stack::is_guard(Page::containing_address(fault.fault().address)) {
        die(format_args!("stack overflow: the address is in the guard page of a kernel stack: {fault}"));
    }
    die(format_args!("{fault}: {reason}"))
}

/// Prints where the interrupted code was.
struct Place<'f>(&'f TrapFrame);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interrupted = &self.0.interrupted;
        write!(f, "RIP {:#x} RSP {:#x}", interrupted.instruction_pointer, interrupted.stack_pointer)
    }
}
