//! Exceptions: what is saved, who handles a page fault, and how every other one ends.
//!
//! Owns the trap frame and the dispatch. `stubs` (assembly) saves the interrupted code's registers and calls
//! `dispatch`; `table` puts the stubs into the IDT. A page fault in a region is handled and returned from;
//! any other one, and every other exception, is printed and ends the emulator with a failing status. On the
//! way of a handled fault there is no console, no heap and no lock but that of the address space.

mod stubs;
mod table;

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::{ExceptionVector, InterruptStackFrameValue, PageFaultErrorCode};

use crate::exit::die;
use crate::memory;
use crate::stack;

pub(crate) use table::load_table;

/// What the stubs push: those of the interrupted code's general registers that a call may change (System V ABI,
/// "Registers"), in this order. The others are kept by whatever Rust function would use them.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct TrapFrame {
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    /// Changed by the fault handler when it fast-forwards a string instruction.
    pub(crate) rdi: u64,
    rsi: u64,
    rdx: u64,
    /// Changed by the fault handler when it fast-forwards a string instruction.
    pub(crate) rcx: u64,
    pub(crate) rax: u64,
    vector: u64,
    error_code: u64,
    /// What the CPU pushed: RIP, CS, RFLAGS, RSP, SS.
    pub(crate) interrupted: InterruptStackFrameValue,
}

/// Called by the stubs; returns only for a page fault that was handled.
extern "sysv64" fn dispatch(frame: &mut TrapFrame) {
    match exception(frame.vector) {
        Some(ExceptionVector::Page) => page_fault(frame),
        Some(vector) => die(format_args!(
            "exception {} ({vector:?}): error code {:#x}, at {}",
            frame.vector,
            frame.error_code,
            Place(frame)
        )),
        None => die(format_args!(
            "interrupt {} on a machine that enables none, at {}",
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
    // The handler holds the lock that a second fault would wait for.
    if HANDLING.swap(true, Ordering::Relaxed) {
        die(format_args!(
            "page fault at {address:#x} inside of the page-fault handler ({code:?}), at {}",
            Place(frame)
        ));
    }
    // SAFETY: CR2 and the error code are of this fault: no other one can have been taken since, or `HANDLING`
    // would tell. The stubs saved the registers.
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

/// Where the interrupted code was, for a reader with a symbol table.
struct Place<'f>(&'f TrapFrame);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interrupted = &self.0.interrupted;
        write!(f, "RIP {:#x} RSP {:#x}", interrupted.instruction_pointer, interrupted.stack_pointer)
    }
}
