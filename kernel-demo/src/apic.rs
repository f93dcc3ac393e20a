//! The local APIC: interrupts between CPUs, and the pin of the interrupt controller.
//!
//! Every CPU accesses the registers of its APIC at the same addresses (SDM Vol 3A 12.4). They are
//! in xAPIC mode, as firmware leaves them. The crate `x2apic` is not used, because its `enable`
//! unmasks both local pins with vector 0.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;

use crate::memory::PHYSICAL_OFFSET;

/// The physical address of the registers after reset (SDM Vol 3A 12.4.1).
pub(crate) const LOCAL_APIC: u64 = 0xfee0_0000;

/// The vector that the APIC uses if an interrupt is withdrawn (SDM Vol 3A 12.9).
pub(crate) const SPURIOUS_VECTOR: u8 = 0xff;
/// The vector that wakes a CPU that halts.
pub(crate) const WAKE_VECTOR: u8 = 33;
/// The vector of the timer.
pub(crate) const TIMER_VECTOR: u8 = 34;

/// The offsets of registers (SDM Vol 3A, table 12-1).
#[derive(Clone, Copy)]
#[repr(u64)]
enum Register {
    Id = 0x20,
    EndOfInterrupt = 0xb0,
    SpuriousVector = 0xf0,
    CommandLow = 0x300,
    CommandHigh = 0x310,
    Timer = 0x320,
    /// The pin to which the interrupt controller is wired.
    Lint0 = 0x350,
    TimerInitialCount = 0x380,
    TimerCurrentCount = 0x390,
    TimerDivider = 0x3e0,
}

/// In the register of the spurious vector: the APIC is enabled.
const ENABLED: u32 = 1 << 8;

/// Fields of the interrupt command register (SDM Vol 3A 12.6.1).
const DELIVERY_PENDING: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;
const NON_MASKABLE: u32 = 0b100 << 8;
const INIT: u32 = 0b101 << 8;
const START_UP: u32 = 0b110 << 8;
const ALL_OTHERS: u32 = 0b11 << 18;

/// Of the timer (SDM Vol 3A 12.5.4): it counts every 16th cycle of the APIC's clock.
const DIVIDE_BY_16: u32 = 0b0011;

/// Why a CPU interrupts another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// To start it.
    Start,
    /// Because there is work for it.
    Work,
    /// Because the kernel is ending.
    End,
    /// Because memory was discarded, and it may cache translations to it. No code sends such an
    /// interrupt: docs/architecture.md states why none is necessary.
    Discard,
}

impl Reason {
    const COUNT: usize = 4;
}

/// The interrupts that were sent, by [`Reason`]. One that is sent to several CPUs counts for each.
static SENT: [AtomicU64; Reason::COUNT] = [const { AtomicU64::new(0) }; Reason::COUNT];

/// Returns the number of interrupts that CPUs have sent to each other for this reason.
pub(crate) fn sent(reason: Reason) -> u64 {
    SENT[reason as usize].load(Ordering::Relaxed)
}

/// How the pin of the interrupt controller interrupts the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Delivery {
    /// As an interrupt, which code can disable. The value is that of the firmware: the interrupt
    /// controller provides the vector.
    Maskable = 0x700,
    /// As an interrupt that reaches code with interrupts disabled too, for example the page-fault
    /// handler.
    NonMaskable = 0x400,
}

/// Returns the ID of this CPU's APIC.
pub(crate) fn id() -> u32 {
    read(Register::Id) >> 24
}

/// Enables the APIC of this CPU, so that it receives [`wake_others`]. The firmware has enabled
/// that of the first CPU.
pub(crate) fn enable() {
    write(Register::SpuriousVector, ENABLED | u32::from(SPURIOUS_VECTOR));
}

/// Acknowledges an interrupt that came from an APIC.
pub(crate) fn end_of_interrupt() {
    write(Register::EndOfInterrupt, 0);
}

/// Resets the CPU with this ID. It then waits for [`send_start_up`].
pub(crate) fn send_init(id: u32) {
    send(id, INIT | ASSERT, Reason::Start, 1);
}

/// Makes a CPU that was reset execute the code in frame number `frame`, in real mode.
pub(crate) fn send_start_up(id: u32, frame: u8) {
    send(id, START_UP | ASSERT | u32::from(frame), Reason::Start, 1);
}

/// Interrupts the CPU with this ID, because it has work, so that it continues after a `hlt`.
pub(crate) fn wake(id: u32) {
    send(id, ASSERT | u32::from(WAKE_VECTOR), Reason::Work, 1);
}

/// Interrupts all `others`, because they have work, so that they continue after a `hlt`.
pub(crate) fn wake_others(others: usize) {
    send(0, ALL_OTHERS | ASSERT | u32::from(WAKE_VECTOR), Reason::Work, others);
}

/// Interrupts all `others`, even those that have interrupts disabled, because the kernel ends.
pub(crate) fn send_non_maskable_to_others(others: usize) {
    send(0, ALL_OTHERS | NON_MASKABLE | ASSERT, Reason::End, others);
}

/// Lets the timer of this CPU count down from `count`, and interrupt the CPU once, with
/// [`TIMER_VECTOR`], when it arrives at 0. With 0 it stops.
pub(crate) fn start_timer(count: u32) {
    write(Register::TimerDivider, DIVIDE_BY_16);
    write(Register::Timer, u32::from(TIMER_VECTOR));
    write(Register::TimerInitialCount, count);
}

/// Returns the current count of this CPU's timer.
pub(crate) fn timer_count() -> u32 {
    read(Register::TimerCurrentCount)
}

/// Sets how the interrupts of the interrupt controller reach this CPU.
pub(crate) fn set_pin(delivery: Delivery) {
    write(Register::Lint0, delivery as u32);
}

/// Sends an interrupt to `targets` CPUs. Every interrupt between CPUs is sent here.
fn send(id: u32, command: u32, reason: Reason, targets: usize) {
    SENT[reason as usize].fetch_add(targets as u64, Ordering::Relaxed);
    write(Register::CommandHigh, id << 24);
    write(Register::CommandLow, command);
    while read(Register::CommandLow) & DELIVERY_PENDING != 0 {
        spin_loop();
    }
}

fn address(register: Register) -> VirtAddr {
    PHYSICAL_OFFSET + LOCAL_APIC + register as u64
}

fn read(register: Register) -> u32 {
    // SAFETY: the boot mapped the registers there, uncached. Reading one of these has no effect.
    unsafe { address(register).as_ptr::<u32>().read_volatile() }
}

fn write(register: Register, value: u32) {
    // SAFETY: the boot mapped the registers there, uncached and writable. The functions above
    // write values that the SDM defines for these registers, none of which changes memory.
    unsafe { address(register).as_mut_ptr::<u32>().write_volatile(value) };
}
