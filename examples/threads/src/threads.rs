//! Preemptive threads on one CPU, in turn.
//!
//! A thread that does not run has its registers on its own stack, as the entry of the timer pushes
//! and pops them. The boot is a thread as well: it waits for the others.

use alloc::string::String;
use alloc::string::ToString;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

use palimpsest_engine::HeapMeter;
use spin::Mutex;
use x86_64::instructions::hlt;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::registers::rflags::RFlags;
use x86_64::structures::paging::PhysFrame;

use crate::memory::BOOT_STACK_END;
use crate::wasm::Guest;
use crate::worker;

/// The size of each stack.
pub(crate) const STACK_BYTES: usize = 16 << 10;

/// A word of a stack that was never written.
const PAINT: u64 = 0x5a5a_5a5a_5a5a_5a5a;

/// The threads that run guests.
pub(crate) static THREADS: [Thread; 4] = [const { Thread::new() }; 4];

/// The number of the boot, which has none of these stacks.
const BOOT: usize = THREADS.len();

/// The number of the thread that runs.
static CURRENT: AtomicUsize = AtomicUsize::new(BOOT);

static BOOT_METER: HeapMeter = HeapMeter::new();

/// The threads that can run, except for the one that runs. It is used with interrupts off only.
static WAITING: Mutex<[Option<Saved>; BOOT + 1]> = Mutex::new([None; BOOT + 1]);

/// What a thread has, and what it has done.
pub(crate) struct Thread {
    stack: Stack,
    meter: HeapMeter,
    has_ended: AtomicBool,
    /// Whether it is calling its guest.
    pub(crate) is_in_guest: AtomicBool,
    /// How often the timer interrupted it in a call of its guest.
    pub(crate) preemptions: AtomicU32,
    /// Rounds of its guest.
    pub(crate) rounds: AtomicU32,
    /// Its guest, until it starts.
    pub(crate) guest: Mutex<Option<Guest>>,
    /// The error with which it ended.
    pub(crate) failure: Mutex<Option<String>>,
}

/// The CPU writes to it without Rust's knowledge, so its words are atomic.
#[repr(C, align(16))]
struct Stack([AtomicU64; STACK_BYTES / 8]);

/// A thread that does not run.
#[derive(Clone, Copy)]
struct Saved {
    stack_pointer: u64,
    root: PhysFrame,
}

impl Thread {
    const fn new() -> Self {
        Self {
            stack: Stack([const { AtomicU64::new(PAINT) }; STACK_BYTES / 8]),
            meter: HeapMeter::new(),
            has_ended: AtomicBool::new(false),
            is_in_guest: AtomicBool::new(false),
            preemptions: AtomicU32::new(0),
            rounds: AtomicU32::new(0),
            guest: Mutex::new(None),
            failure: Mutex::new(None),
        }
    }

    /// Returns how many bytes of the stack were ever written. A thread that used all of them may
    /// have written below it as well.
    pub(crate) fn stack_bytes_used(&self) -> usize {
        let unused = self.stack.0.iter().take_while(|word| word.load(Relaxed) == PAINT).count();
        STACK_BYTES - unused * 8
    }
}

/// Makes the thread with this number ready to run, with a level-4 table. Interrupts are off.
pub(crate) fn start(number: usize, root: PhysFrame) {
    let words = &THREADS[number].stack.0;
    // What the entry of the timer pops, and then IRETQ: the registers from R15 to RAX, RIP, CS,
    // RFLAGS, RSP and SS. A function expects its return address at the top of an aligned stack.
    let mut frame = [0; 15 + 5];
    let top = &raw const words[words.len() - 1];
    frame[RDI] = number as u64;
    frame[15] = thread_main as *const () as u64;
    frame[16] = CS::get_reg().0.into();
    frame[17] = RFlags::INTERRUPT_FLAG.bits();
    frame[18] = top as u64;
    let start = words.len() - 2 - frame.len();
    for (word, value) in words[start..].iter().zip(frame) {
        word.store(value, Relaxed);
    }
    let stack_pointer = (&raw const words[start]) as u64;
    WAITING.lock()[number] = Some(Saved { stack_pointer, root });
}

/// The position of RDI among the registers that the entry of the timer pops.
const RDI: usize = 9;

/// The first function of each thread.
extern "sysv64" fn thread_main(number: usize) -> ! {
    let thread = &THREADS[number];
    if let Err(error) = worker(number) {
        *thread.failure.lock() = Some(error.to_string());
    }
    thread.has_ended.store(true, Relaxed);
    loop {
        hlt();
    }
}

/// Waits for the ends of all threads.
pub(crate) fn wait_for_all() {
    while !THREADS.iter().all(|thread| thread.has_ended.load(Relaxed)) {
        hlt();
    }
}

/// Switches to the next thread: takes the stack pointer of the interrupted one, and returns that of
/// the next. The entry of the timer calls it, with interrupts off.
pub(crate) extern "sysv64" fn switch(stack_pointer: u64) -> u64 {
    let current = CURRENT.load(Relaxed);
    let (root, _) = Cr3::read();
    let mut waiting = WAITING.lock();
    if let Some(thread) = THREADS.get(current).filter(|thread| thread.is_in_guest.load(Relaxed)) {
        thread.preemptions.fetch_add(1, Relaxed);
    }
    if !THREADS.get(current).is_some_and(|thread| thread.has_ended.load(Relaxed)) {
        waiting[current] = Some(Saved { stack_pointer, root });
    }
    let mut following = (1..=waiting.len()).map(|step| (current + step) % (BOOT + 1));
    let next = following.find(|number| waiting[*number].is_some()).expect("the boot never ends");
    let saved = waiting[next].take().expect("it was just found");
    if saved.root != root {
        // SAFETY: both level-4 tables map the kernel, all stacks and the window alike.
        unsafe { Cr3::write(saved.root, Cr3Flags::empty()) };
    }
    CURRENT.store(next, Relaxed);
    saved.stack_pointer
}

/// Returns the lowest address of the running thread's stack.
pub(crate) fn stack_end() -> usize {
    THREADS.get(CURRENT.load(Relaxed)).map_or(BOOT_STACK_END, |thread| (&raw const thread.stack).addr())
}

/// Returns the meter of the running thread.
pub(crate) fn current_meter() -> &'static HeapMeter {
    THREADS.get(CURRENT.load(Relaxed)).map_or(&BOOT_METER, |thread| &thread.meter)
}
