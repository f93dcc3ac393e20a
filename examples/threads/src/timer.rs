//! The timer: 1,000 interrupts a second from the PIT, through the PIC.

use core::arch::naked_asm;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use x86_64::instructions::port::Port;

use crate::threads;

/// The vector of the timer, after those of the exceptions.
pub(crate) const VECTOR: u8 = 32;

/// The frequency of the PIT, divided by 1,000 Hz.
const DIVISOR: u16 = 1193;

/// Commands and data of the two PICs (Intel 8259A).
const PIC_COMMAND: [u16; 2] = [0x20, 0xa0];
const PIC_DATA: [u16; 2] = [0x21, 0xa1];
/// The start of an initialization with four words.
const INITIALIZE: u8 = 0x11;
const MODE_8086: u8 = 1;
const END_OF_INTERRUPT: u8 = 0x20;

/// The command register of the PIT (Intel 8254), and the data register of its first channel.
const PIT_COMMAND: u16 = 0x43;
const PIT_DATA: u16 = 0x40;
/// Channel 0, two bytes, rate generator.
const PERIODIC: u8 = 0x34;

static TICKS: AtomicU32 = AtomicU32::new(0);

/// Sets the timer up. The first interrupt comes when interrupts are enabled.
pub(crate) fn start() {
    // For each PIC: the first vector, and the line to the other one.
    for (pic, (vector, wiring)) in [(VECTOR, 4), (VECTOR + 8, 2)].into_iter().enumerate() {
        let words = [vector, wiring, MODE_8086];
        write(PIC_COMMAND[pic], INITIALIZE);
        words.into_iter().for_each(|word| write(PIC_DATA[pic], word));
    }
    // Only the timer, which is the first input of the first PIC.
    write(PIC_DATA[0], !1);
    write(PIC_DATA[1], !0);
    write(PIT_COMMAND, PERIODIC);
    DIVISOR.to_le_bytes().into_iter().for_each(|byte| write(PIT_DATA, byte));
}

/// Returns the number of interrupts so far.
pub(crate) fn ticks() -> u32 {
    TICKS.load(Relaxed)
}

fn write(port: u16, value: u8) {
    // SAFETY: the port is one of the PICs or the PIT, which do not access memory. Their interrupts
    // have a gate.
    unsafe { Port::new(port).write(value) };
}

/// Saves the registers of the running thread on its stack, and restores those of the next thread
/// from its stack. The target has soft floats, so these are all.
///
/// The CPU aligned the stack to 16 bytes and pushed 5 words (Intel SDM Vol 3A, 7.14.2). Fifteen
/// more keep it aligned for the call.
#[unsafe(naked)]
pub(crate) extern "sysv64" fn entry() {
    naked_asm!(
        ".irp register, rax,rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15",
        "push \\register",
        ".endr",
        "mov rdi, rsp",
        // The interrupted code may have set the direction flag.
        "cld",
        "call {interrupt}",
        "mov rsp, rax",
        ".irp register, r15,r14,r13,r12,r11,r10,r9,r8,rbp,rdi,rsi,rdx,rcx,rbx,rax",
        "pop \\register",
        ".endr",
        "iretq",
        interrupt = sym interrupt,
    )
}

extern "sysv64" fn interrupt(stack_pointer: u64) -> u64 {
    TICKS.fetch_add(1, Relaxed);
    write(PIC_COMMAND[0], END_OF_INTERRUPT);
    threads::switch(stack_pointer)
}
