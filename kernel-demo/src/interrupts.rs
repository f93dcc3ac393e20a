//! Periodic interrupts, for programs that test what an interrupt may interrupt.
//!
//! The kernel itself runs with interrupts disabled. [`start`] programs channel 0 of the
//! programmable interval timer (PIT) and enables interrupts, and [`stop`] disables them again. The
//! handlers count, measure the time since the previous interrupt, and return. They take no lock and
//! use no heap, so they may interrupt any code. A program can add a handler, which must do the
//! same, or run only while nothing else uses those.
//!
//! The longest time between two interrupts is a probe: it is the period, plus the longest time for
//! which the kernel had interrupts disabled.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spin::Mutex;
use x86_64::instructions::interrupts;
use x86_64::instructions::port::{Port, PortWriteOnly};

use crate::apic;
pub use crate::apic::Delivery;
use crate::clock;
use crate::exit;

/// The vector of the timer's interrupts: the first after the exceptions.
pub(crate) const TIMER_VECTOR: u8 = 32;

/// The vector of non-maskable interrupts.
const NMI_VECTOR: u8 = 2;

/// PIT command: channel 0, low byte then high byte, mode 2 (periodic), binary.
const CHANNEL_0_PERIODIC: u8 = 0b0011_0100;
/// PIT command: channel 0, low byte then high byte, mode 0 (one shot), binary. Without a count the
/// channel stops.
const CHANNEL_0_STOPPED: u8 = 0b0011_0000;

/// What happened between [`start`] and [`stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// The number of interrupts.
    pub count: u64,
    /// The longest time between two of them, in ticks of the [`clock`].
    pub longest_gap_ticks: u64,
}

/// What the program adds to each maskable interrupt.
static HANDLER: Mutex<Option<fn()>> = Mutex::new(None);

static RUNNING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static LAST_TICKS: AtomicU64 = AtomicU64::new(0);
static LONGEST_GAP_TICKS: AtomicU64 = AtomicU64::new(0);

/// Interrupts the CPU every `period` cycles of the PIT, which has 1,193,182 a second.
pub fn start(period: u16, delivery: Delivery) {
    COUNT.store(0, Ordering::Relaxed);
    LONGEST_GAP_TICKS.store(0, Ordering::Relaxed);
    LAST_TICKS.store(clock::ticks(), Ordering::Relaxed);
    RUNNING.store(true, Ordering::Relaxed);
    apic::set_pin(delivery);
    initialize_controllers();
    let [low, high] = period.to_le_bytes();
    command_timer(CHANNEL_0_PERIODIC);
    write_count(low);
    write_count(high);
    interrupts::enable();
}

/// Sets what each maskable interrupt calls, with interrupts disabled. Called while none can arrive.
pub fn set_handler(handler: Option<fn()>) {
    *HANDLER.lock() = handler;
}

/// Returns the number of interrupts since [`start`].
#[must_use]
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Ends the interrupts.
#[must_use]
pub fn stop() -> Interrupted {
    interrupts::disable();
    command_timer(CHANNEL_0_STOPPED);
    mask_controllers();
    apic::set_pin(Delivery::Maskable);
    RUNNING.store(false, Ordering::Relaxed);
    record_gap();
    Interrupted {
        count: COUNT.load(Ordering::Relaxed),
        longest_gap_ticks: LONGEST_GAP_TICKS.load(Ordering::Relaxed),
    }
}

/// Handles an interrupt that [`start`] requested, or that another CPU has sent. Returns false for
/// any other.
pub(crate) fn handle(vector: u64) -> bool {
    if vector == u64::from(NMI_VECTOR) {
        exit::halt_if_dying();
    }
    if [apic::WAKE_VECTOR, apic::TIMER_VECTOR].map(u64::from).contains(&vector) {
        apic::end_of_interrupt();
        return true;
    }
    // An interrupt that was withdrawn must not be acknowledged (SDM Vol 3A 12.9).
    if vector == u64::from(apic::SPURIOUS_VECTOR) {
        return true;
    }
    if !RUNNING.load(Ordering::Relaxed) {
        return false;
    }
    if vector == u64::from(NMI_VECTOR) {
        // The CPU acknowledges a maskable interrupt itself. For this one the handler has to.
        poll_controller();
    } else if vector != u64::from(TIMER_VECTOR) {
        return false;
    }
    record_gap();
    COUNT.fetch_add(1, Ordering::Relaxed);
    if vector == u64::from(TIMER_VECTOR)
        && let Some(handler) = *HANDLER.lock()
    {
        handler();
    }
    end_interrupt();
    true
}

fn record_gap() {
    let now = clock::ticks();
    let gap = now - LAST_TICKS.swap(now, Ordering::Relaxed);
    LONGEST_GAP_TICKS.fetch_max(gap, Ordering::Relaxed);
}

/// Gives the interrupts of both controllers the vectors from [`TIMER_VECTOR`], and enables only the
/// timer's (Intel 8259A data sheet, "Initialization Command Words").
fn initialize_controllers() {
    let second_vector = TIMER_VECTOR + 8;
    // Each word: begin, first vector, wiring of the two, 8086 mode, mask.
    for (command, words) in
        [(0x20, [0x11, TIMER_VECTOR, 4, 1, 0xfe]), (0xa0, [0x11, second_vector, 2, 1, 0xff])]
    {
        let [begin, rest @ ..] = words;
        write_controller(command, begin);
        rest.into_iter().for_each(|word| write_controller(command + 1, word));
    }
}

/// Masks all interrupts of both controllers. Firmware may have left that of the PIT enabled, with a
/// vector of an exception, and a CPU that halts enables interrupts.
pub(crate) fn mask_controllers() {
    write_controller(0x21, 0xff);
    write_controller(0xa1, 0xff);
}

fn end_interrupt() {
    const END_OF_INTERRUPT: u8 = 0x20;
    write_controller(0x20, END_OF_INTERRUPT);
}

/// Acknowledges the first controller's interrupt, as the CPU does before a maskable one.
fn poll_controller() {
    const POLL: u8 = 0x0c;
    write_controller(0x20, POLL);
    let mut port = Port::<u8>::new(0x20);
    // SAFETY: after the command, the read acknowledges the pending interrupt.
    let _level: u8 = unsafe { port.read() };
}

fn write_controller(port: u16, word: u8) {
    let mut port = PortWriteOnly::<u8>::new(port);
    // SAFETY: the callers pass the ports of the two 8259 interrupt controllers, which no other code
    // uses, and words of their data sheet.
    unsafe { port.write(word) };
}

fn command_timer(command: u8) {
    let mut port = PortWriteOnly::<u8>::new(0x43);
    // SAFETY: the callers pass commands for channel 0 of the PIT, which no other code uses.
    unsafe { port.write(command) };
}

fn write_count(byte: u8) {
    let mut port = PortWriteOnly::<u8>::new(0x40);
    // SAFETY: the last command announced two bytes of count for channel 0, and this is one of them.
    unsafe { port.write(byte) };
}
