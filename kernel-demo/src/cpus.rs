//! All CPUs of the machine: how they are started, and how work reaches them.
//!
//! The boot starts the others one after the other, as the SDM describes (Vol 3A 9.4.4.1). Each runs
//! [`run_other`], which halts until [`distribute`] has work. Only the first CPU calls it, and it
//! returns after all of them have done the work. The kernel does not need more: what runs on a CPU
//! for long is a closure with a loop.

use alloc::boxed::Box;
use core::hint::spin_loop;
use core::mem;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use core::time::Duration;

use spin::Mutex;
use thiserror::Error;
use x86_64::instructions::interrupts;
use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{FrameAllocator, OffsetPageTable, PageTable, PhysFrame, Size4KiB};

use crate::apic;
use crate::boot::{MAX_CPUS, Processors, REAL_MODE_CODE, UsableRam, place_code, set_parameters};
use crate::cpu::{self, Cpu};
use crate::memory::{self, PHYSICAL_OFFSET};
use crate::stack::{self, CpuStacks};
use crate::timer;

/// The time between the reset of a CPU and its start-up interrupt (SDM Vol 3A 9.4.4.1).
const AFTER_INIT: Duration = Duration::from_millis(10);
/// The time after which the start-up interrupt is sent again.
const AFTER_START_UP: Duration = Duration::from_micros(200);
/// How often the kernel waits for [`AFTER_INIT`] until a CPU must have started. An emulator on a
/// busy machine may take seconds.
const PATIENCE: u32 = 1000;

/// The number of CPUs that were started, and the one that booted.
static COUNT: AtomicUsize = AtomicUsize::new(1);
/// The IDs of their APICs, by the numbers of the CPUs.
static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
/// The number of the latest piece of work.
static LATEST: AtomicUsize = AtomicUsize::new(0);
/// The number of CPUs that have not finished it.
static BUSY: AtomicUsize = AtomicUsize::new(0);
/// Held while work is distributed and done.
static DISTRIBUTING: Mutex<()> = Mutex::new(());
/// The latest piece of work.
static WORK: Mutex<Option<Work>> = Mutex::new(None);

/// Why a CPU was not started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum CpusError {
    /// The frame for the real-mode code has another use.
    #[error("the CPUs cannot be started: {REAL_MODE_CODE:?} is not free memory")]
    NoLowMemory,
    /// The stacks cannot be mapped.
    #[error("the stacks of CPU {index} cannot be mapped: {cause:?}")]
    Stacks { index: usize, cause: MapToError<Size4KiB> },
    /// The CPU does not answer.
    #[error("CPU {index} (APIC ID {id}) was sent its start-up interrupts, and did not start")]
    Silent { index: usize, id: u32 },
}

/// Work for all CPUs.
#[derive(Clone, Copy)]
struct Work(*const (dyn Fn(usize) + Sync));

// SAFETY: the closure is `Sync`, and `distribute` keeps it alive until every CPU has returned from
// it.
unsafe impl Send for Work {}

/// Starts all CPUs of the list but the calling one.
///
/// # Errors
///
/// See [`CpusError`].
///
/// # Safety
///
/// The caller guarantees that
/// 1. `ram` is RAM that is mapped at [`PHYSICAL_OFFSET`], and nothing uses its part in
///    [`REAL_MODE_CODE`],
/// 2. `root` is the active level-4 table, and
/// 3. this function is called once, by the CPU that booted, with heap and frame pool in place.
pub(crate) unsafe fn start(
    processors: &Processors,
    ram: &UsableRam,
    root: PhysFrame,
) -> Result<(), CpusError> {
    let own = apic::id();
    APIC_IDS[0].store(own, Ordering::Relaxed);
    let mut others = processors.iter().copied().filter(|&id| id != own).peekable();
    if others.peek().is_none() {
        return Ok(());
    }
    if !ram.contains(&REAL_MODE_CODE) {
        return Err(CpusError::NoLowMemory);
    }
    // SAFETY: the frame is mapped RAM without another use, by the caller's guarantee 1.
    let frame = unsafe { place_code() };
    for (index, id) in (1..).zip(others) {
        // SAFETY: the caller's guarantee 2; nothing else changes the kernel's part of the tables.
        unsafe { map_stacks(index, root) }.map_err(|cause| CpusError::Stacks { index, cause })?;
        APIC_IDS[index].store(id, Ordering::Relaxed);
        let cpu = Box::leak(Box::new(Cpu::new(index)));
        set_parameters(root, CpuStacks::of(index).kernel, cpu);
        start_one(id, frame, || COUNT.load(Ordering::Acquire) > index)
            .map_err(|Silent| CpusError::Silent { index, id })?;
    }
    Ok(())
}

/// A CPU did not start.
struct Silent;

/// Sends a CPU the sequence that starts it, and waits until it runs.
fn start_one(id: u32, frame: u8, runs: impl Fn() -> bool) -> Result<(), Silent> {
    apic::send_init(id);
    timer::wait(AFTER_INIT);
    apic::send_start_up(id, frame);
    timer::wait(AFTER_START_UP);
    if !runs() {
        apic::send_start_up(id, frame);
    }
    for _ in 0..PATIENCE {
        if runs() {
            return Ok(());
        }
        timer::wait(AFTER_INIT);
    }
    Err(Silent)
}

/// Maps the stacks of a CPU, in frames that are never released.
///
/// # Safety
///
/// The caller guarantees that `root` is the active level-4 table, and that nothing else uses the
/// part of the tables for stacks.
unsafe fn map_stacks(index: usize, root: PhysFrame) -> Result<(), MapToError<Size4KiB>> {
    let table = (PHYSICAL_OFFSET + root.start_address().as_u64()).as_mut_ptr::<PageTable>();
    // SAFETY: the table is mapped there. The address space accesses it only while it is made or
    // dropped. It was made before, and is never dropped.
    let table = unsafe { &mut *table };
    // SAFETY: all RAM is mapped at the offset, and page tables are in RAM.
    let mut tables = unsafe { OffsetPageTable::new(table, PHYSICAL_OFFSET) };
    // SAFETY: the pool allocates each frame once.
    unsafe { stack::map(index, &mut tables, &mut PoolFrames) }
}

/// Frames of the pool that are never released.
struct PoolFrames;

// SAFETY: the pool allocates each frame once.
unsafe impl FrameAllocator<Size4KiB> for PoolFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        memory::pool().allocate_contiguous(1).map(|run| run.into_phys().start)
    }
}

/// Returns the number of CPUs that run.
pub(crate) fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

/// Calls `work` on every CPU, with the number of the CPU, and returns after all calls have.
///
/// # Panics
///
/// Panics if it is called on another CPU than the first, or by `work`.
pub(crate) fn on_all(work: &(dyn Fn(usize) + Sync)) {
    distribute(work, || work(0));
}

/// Calls `of_others` on every CPU but the first, with the number of the CPU, and `own` on the
/// first. Returns what `own` returns, after all calls have returned.
///
/// # Panics
///
/// Panics if it is called on another CPU than the first, or by the work.
pub(crate) fn distribute<R>(of_others: &(dyn Fn(usize) + Sync), own: impl FnOnce() -> R) -> R {
    assert_eq!(cpu::this().index(), 0, "work is distributed by the first CPU");
    let _distributing = DISTRIBUTING.try_lock().expect("work does not distribute work");
    let others = count() - 1;
    BUSY.store(others, Ordering::Relaxed);
    // SAFETY: only the lifetime changes. The pointer is not used after this function has returned,
    // because it waits for every CPU that received it.
    let of_others = unsafe {
        mem::transmute::<*const (dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync + 'static)>(of_others)
    };
    *WORK.lock() = Some(Work(of_others));
    LATEST.fetch_add(1, Ordering::Release);
    wake_all();
    let result = own();
    while BUSY.load(Ordering::Acquire) > 0 {
        spin_loop();
    }
    // The others have flushed. After this CPU has, no table frame waits for one of them.
    memory::space().flush_before_idle();
    *WORK.lock() = None;
    result
}

/// Interrupts the CPU with this number, so that it continues after a `hlt`.
pub(crate) fn wake_one(cpu: usize) {
    apic::wake(APIC_IDS[cpu].load(Ordering::Relaxed));
}

/// Interrupts all CPUs but the calling one, so that they continue after a `hlt`.
pub(crate) fn wake_all() {
    let others = count() - 1;
    if others > 0 {
        apic::wake_others(others);
    }
}

/// Stops all other CPUs for good, because the kernel is ending.
pub(crate) fn stop_others() {
    let others = count() - 1;
    if others > 0 {
        apic::send_non_maskable_to_others(others);
    }
}

/// What every CPU but the first runs.
pub(crate) fn run_other(cpu: &'static Cpu) -> ! {
    cpu.start();
    cpu::harden();
    apic::enable();
    let mut done = LATEST.load(Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Release);
    loop {
        done = wait_for_work(done);
        let work = WORK.lock().expect("it is set before `LATEST` is");
        // SAFETY: `distribute` keeps the closure alive until this CPU has decreased `BUSY`.
        unsafe { (*work.0)(cpu.index()) };
        memory::space().flush_before_idle();
        BUSY.fetch_sub(1, Ordering::Release);
    }
}

/// Halts until there is work after number `done`, and returns its number.
fn wait_for_work(done: usize) -> usize {
    loop {
        let latest = LATEST.load(Ordering::Acquire);
        if latest != done {
            return latest;
        }
        // Interrupts are disabled until the CPU halts, so a wake-up after the load is not missed.
        interrupts::enable_and_hlt();
        interrupts::disable();
    }
}
