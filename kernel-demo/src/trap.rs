//! Exceptions: a page fault in a region is resolved, an interrupt that `interrupts` asked for is
//! counted, and every other exception ends the kernel.
//!
//! The assembly in `stubs` saves the registers of the interrupted code and calls `dispatch`.
//! `table` stores the stubs in the IDT. A fatal exception is printed and ends the emulator with a
//! failing status. A resolved fault uses neither the console nor the heap, and only the lock of the
//! address space.

mod stubs;
mod table;

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::{ExceptionVector, InterruptStackFrameValue, PageFaultErrorCode};

use crate::exit::die;
use crate::interrupts;
use crate::memory;
use crate::stack;

pub(crate) use table::load_table;

/// The registers that the stubs push, in this order: those general registers of the interrupted
/// code that a call may change (System V ABI, "Registers"). Rust functions preserve the others.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct TrapFrame {
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    /// The fault handler changes it when it fast-forwards a string instruction.
    pub(crate) rdi: u64,
    rsi: u64,
    rdx: u64,
    /// The fault handler changes it when it fast-forwards a string instruction.
    pub(crate) rcx: u64,
    pub(crate) rax: u64,
    vector: u64,
    error_code: u64,
    /// What the CPU pushed: RIP, CS, RFLAGS, RSP, SS.
    pub(crate) interrupted: InterruptStackFrameValue,
}

/// Handles an exception or an interrupt. The stubs call it. It returns only after a page fault that
/// was resolved, and after an interrupt that was asked for.
extern "sysv64" fn dispatch(frame: &mut TrapFrame) {
    match exception(frame.vector) {
        Some(ExceptionVector::Page) => page_fault(frame),
        _ if interrupts::handle(frame.vector) => {}
        Some(vector) => die(format_args!(
            "exception {} ({vector:?}): error code {:#x}, at {}",
            frame.vector,
            frame.error_code,
            Place(frame)
        )),
        None => die(format_args!(
            "interrupt {} that the kernel did not ask for, at {}",
            frame.vector,
            Place(frame)
        )),
    }
}

fn exception(vector: u64) -> Option<ExceptionVector> {
    u8::try_from(vector).ok().and_then(|vector| ExceptionVector::try_from(vector).ok())
}

fn page_fault(frame: &mut TrapFrame) {
    static HANDLING: AtomicBool = AtomicBool::new(false);
    let address = VirtAddr::new_truncate(Cr2::read_raw());
    let code = PageFaultErrorCode::from_bits_retain(frame.error_code);
    // A second fault would wait forever for the lock that the handler of the first one holds.
    if HANDLING.swap(true, Ordering::Relaxed) {
        die(format_args!(
            "page fault at {address:#x} inside the page-fault handler ({code:?}), at {}",
            Place(frame)
        ));
    }
    // SAFETY: 1. CR2 and the error code are those of this fault. There was no later one, because
    // `HANDLING` was not set. 2. The stubs saved the registers in `frame`.
    let outcome = unsafe { memory::handle_fault(address, code, frame) };
    HANDLING.store(false, Ordering::Relaxed);
    let Err(reason) = outcome else { return };
    if stack::guard_pages().iter().any(|guard| guard.start_address() == address.align_down(guard.size())) {
        die(format_args!(
            "stack overflow: {address:#x} is in the guard page of a kernel stack, at {}",
            Place(frame)
        ));
    }
    die(format_args!(
        "page fault at {address:#x}: {reason}; error code {:#x} {code:?}, at {}",
        frame.error_code,
        Place(frame)
    ))
}

/// Prints where the interrupted code was.
struct Place<'f>(&'f TrapFrame);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interrupted = &self.0.interrupted;
        write!(f, "RIP {:#x} RSP {:#x}", interrupted.instruction_pointer, interrupted.stack_pointer)
    }
}
