//! Pieces of work that the first CPU lets another one do, chosen at random for each piece.
//!
//! So code that was written for one CPU can call a guest on any of them: it [lends](lend) the other
//! CPUs to a program, which passes each call of a guest to [`anywhere`]. It waits for the result,
//! so one piece is done at a time. A CPU that waits for a piece does not flush its TLB, unlike one
//! that is idle. So it keeps translations of stores that are cleared elsewhere meanwhile.
//!
//! The numbers are the same in every run. What the CPUs do at the same time is not.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use spin::Mutex;
use x86_64::instructions::interrupts;

use crate::boot::MAX_CPUS;
use crate::cpu;
use crate::cpus;
use crate::heap;
use crate::machine::Machine;
use crate::memory;

/// The seed of the random numbers.
pub const SEED: usize = 0x9e37_79b9_7f4a_7c15;

/// After one piece in so many the CPU has a tick, and flushes if a table frame waits for it.
const PIECES_OF_A_TICK: u64 = 8;

/// The number of CPUs that may do a piece, or zero if none but the calling one may.
static LENT: AtomicUsize = AtomicUsize::new(0);
/// Whether the CPUs that were lent go back.
static IS_OVER: AtomicBool = AtomicBool::new(false);
/// The state of the random numbers.
static RANDOM: AtomicUsize = AtomicUsize::new(SEED);
/// The piece that each CPU has to do.
static PIECES: [Mutex<Option<Piece>>; MAX_CPUS] = [const { Mutex::new(None) }; MAX_CPUS];
/// Whether the latest piece is done.
static IS_DONE: AtomicBool = AtomicBool::new(false);
/// The number of pieces that other CPUs than the first have done.
static DONE: AtomicU64 = AtomicU64::new(0);

/// A piece of work.
struct Piece(*mut (dyn FnMut() + Send));

// SAFETY: the closure is `Send`. `send` has the only other reference to it, and waits until the CPU
// that got the piece has done it.
unsafe impl Send for Piece {}

/// Calls `work` with all other CPUs lent to [`anywhere`], and returns what it returns. No engine
/// that it makes may be used afterwards, because the heap's reserve is meanwhile for one store.
///
/// # Panics
///
/// Panics if it is called on another CPU than the first, or in work for all CPUs.
pub fn lend<R>(machine: &Machine, work: impl FnOnce() -> R) -> R {
    IS_OVER.store(false, Ordering::Relaxed);
    cpus::distribute(&serve, || {
        LENT.store(machine.cpus(), Ordering::Relaxed);
        let result = heap::one_at_a_time(work);
        LENT.store(0, Ordering::Relaxed);
        IS_OVER.store(true, Ordering::Release);
        cpus::wake_all();
        result
    })
}

/// Calls `work` on a CPU that is chosen at random, if the calling one is the first and has the
/// others [at its disposal](lend). Otherwise it calls it here.
pub fn anywhere<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let cpus = LENT.load(Ordering::Relaxed);
    if cpus == 0 || cpu::this().index() != 0 {
        return work();
    }
    match random() % cpus {
        0 => work(),
        cpu => on(cpu, work),
    }
}

/// Calls `work` here, and does not pass what it passes to [`anywhere`] to other CPUs.
pub fn here<R>(work: impl FnOnce() -> R) -> R {
    let cpus = LENT.swap(0, Ordering::Relaxed);
    let result = work();
    LENT.store(cpus, Ordering::Relaxed);
    result
}

/// Flushes the TLBs of all CPUs that are lent, so that no table frame waits for one of them.
pub fn flush_all() {
    let cpus = LENT.load(Ordering::Relaxed);
    if cpus > 0 && cpu::this().index() == 0 {
        (1..cpus).for_each(|cpu| on(cpu, || memory::space().flush_before_idle()));
        memory::space().flush_before_idle();
    }
}

/// Returns the number of pieces that other CPUs than the first have done.
#[must_use]
pub fn done() -> u64 {
    DONE.load(Ordering::Relaxed)
}

/// Calls `work` on this CPU, which is not the first.
fn on<R: Send>(cpu: usize, work: impl FnOnce() -> R + Send) -> R {
    let mut work = Some(work);
    let mut result = None;
    send(cpu, &mut || result = work.take().map(|work| work()));
    DONE.fetch_add(1, Ordering::Relaxed);
    result.expect("the piece is done once")
}

/// Lets this CPU do the piece, and waits until it has.
fn send(cpu: usize, piece: &mut (dyn FnMut() + Send)) {
    IS_DONE.store(false, Ordering::Relaxed);
    // SAFETY: only the lifetime changes. The pointer is not used after this function has returned,
    // because it waits for the CPU that gets it.
    let piece = unsafe {
        core::mem::transmute::<*mut (dyn FnMut() + Send), *mut (dyn FnMut() + Send + 'static)>(piece)
    };
    *PIECES[cpu].lock() = Some(Piece(piece));
    cpus::wake_one(cpu);
    while !IS_DONE.load(Ordering::Acquire) {
        spin_loop();
    }
}

/// What every CPU but the first does while it is lent.
fn serve(cpu: usize) {
    let mut pieces = 0_u64;
    while let Some(piece) = next(cpu) {
        // SAFETY: `send` keeps the closure alive, and does not use it, until `IS_DONE` is set.
        unsafe { (*piece.0)() };
        pieces += 1;
        if pieces.is_multiple_of(PIECES_OF_A_TICK) {
            memory::space().flush_if_awaited();
        }
        IS_DONE.store(true, Ordering::Release);
    }
}

/// Halts until there is a piece for this CPU. Returns `None` when it is lent no more.
fn next(cpu: usize) -> Option<Piece> {
    loop {
        let piece = PIECES[cpu].lock().take();
        if piece.is_some() || IS_OVER.load(Ordering::Acquire) {
            return piece;
        }
        // Interrupts are disabled until the CPU halts, so a wake-up after the loads is not missed.
        interrupts::enable_and_hlt();
        interrupts::disable();
    }
}

fn random() -> usize {
    let mut random = RANDOM.load(Ordering::Relaxed);
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    RANDOM.store(random, Ordering::Relaxed);
    random >> 16
}
