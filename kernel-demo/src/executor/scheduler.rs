//! Runs many guests on all CPUs: a queue of tasks for each CPU, from which idle CPUs steal.
//!
//! A CPU takes its next task from its own queue, or from that of another CPU if its own has none
//! that can run. A CPU that finds no task at all halts, after it has flushed its TLB, because table
//! frames may wait for that. It is interrupted when another CPU has queued a task, or when a task
//! of its queue has waited long enough.
//!
//! Each queue has a lock. It is held while a task is put in or taken out, never while a guest runs,
//! and never together with the lock of another queue.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use palimpsest_engine::{Store, Task};
use spin::Mutex;
use x86_64::instructions::interrupts;

use super::entry::{After, Entry};
use super::queue::Queue;
use super::{Ended, TaskId};
use crate::clock;
use crate::cpus;
use crate::machine::Machine;
use crate::memory;
use crate::timer::{LocalTimer, TickRate};

/// Where a task goes after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// To the queue of the CPU that ran it. Another CPU runs it only if it has nothing else to run.
    IfIdle,
    /// To the queue of a CPU that is chosen at random, so that every CPU runs every guest.
    Random,
}

/// Runs tasks in turns on all CPUs.
#[derive(Debug)]
pub struct Scheduler<T: 'static> {
    cpus: Box<[PerCpu<T>]>,
    moves: Moves,
    next: AtomicUsize,
    /// The number of tasks that have not ended.
    alive: AtomicUsize,
    /// The CPUs that halt, or are about to, as a set of bits.
    idle: AtomicU64,
    local_timer: LocalTimer,
    rate: TickRate,
    slice_ticks: u64,
}

/// What a scheduler has for each CPU, in its own cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct PerCpu<T: 'static> {
    queue: Mutex<Queue<T>>,
    /// The state of its random numbers.
    random: AtomicU64,
    /// Turns of tasks that had their previous turn on another CPU.
    moved: AtomicU64,
}

impl<T: 'static> Scheduler<T> {
    /// Creates a scheduler without tasks for all CPUs of `machine`, whose turns take about `slice`.
    /// The first CPU calls it, because it measures the rate of the local timers.
    #[must_use]
    pub fn new(machine: &Machine, rate: TickRate, slice: Duration, moves: Moves) -> Self {
        Self::on_cpus(machine.cpus(), rate, slice, moves)
    }

    /// Creates one that leaves all CPUs but the first `cpus` without work.
    #[must_use]
    pub fn on_cpus(cpus: usize, rate: TickRate, slice: Duration, moves: Moves) -> Self {
        let slice_ticks = rate.ticks_in(slice).max(1);
        let per_cpu = |cpu| PerCpu {
            queue: Mutex::new(Queue::new(slice_ticks)),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(cpu as u64 + 1)),
            moved: AtomicU64::new(0),
        };
        Self {
            cpus: (0..cpus).map(per_cpu).collect(),
            moves,
            next: AtomicUsize::new(0),
            alive: AtomicUsize::new(0),
            idle: AtomicU64::new(0),
            local_timer: LocalTimer::calibrate(),
            rate,
            slice_ticks,
        }
    }

    /// Adds a task. The tasks are distributed evenly over the CPUs. The function that
    /// [`run`](Self::run) calls at the end of a task may add others.
    pub fn spawn(&self, task: Task<T>) -> TaskId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = TaskId(number as u64);
        let cpu = number % self.cpus.len();
        self.alive.fetch_add(1, Ordering::SeqCst);
        self.cpus[cpu].queue.lock().push(Entry::new(id, task));
        self.wake_idle(cpu);
        id
    }

    /// Runs all tasks until they end. Passes each result to `on_end`, with the number of the CPU
    /// that ran the last turn, on that CPU.
    pub fn run(&self, machine: &Machine, on_end: impl Fn(usize, Box<Ended<T>>) + Sync)
    where
        T: Send,
    {
        self.run_until(machine, u64::MAX, on_end);
    }

    /// Like [`run`](Self::run), but no turn begins after this time, in nanoseconds since reset.
    pub fn run_until(&self, machine: &Machine, until_ns: u64, on_end: impl Fn(usize, Box<Ended<T>>) + Sync)
    where
        T: Send,
    {
        machine.on_all_cpus(|cpu| {
            if cpu < self.cpus.len() {
                self.run_on(cpu, until_ns, &on_end);
            }
        });
    }

    /// Ends all tasks, and returns their stores in the order of the queues.
    pub fn kill_all(self) -> impl Iterator<Item = (TaskId, Store<T>)> {
        let entries = self.cpus.into_iter().flat_map(|cpu| cpu.queue.into_inner().into_entries());
        entries.map(|entry| (entry.id, entry.task.kill()))
    }

    /// Returns the number of turns of tasks that had their previous turn on another CPU.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.cpus.iter().map(|cpu| cpu.moved.load(Ordering::Relaxed)).sum()
    }

    fn run_on(&self, cpu: usize, until_ns: u64, on_end: &impl Fn(usize, Box<Ended<T>>)) {
        while self.alive.load(Ordering::SeqCst) > 0 && self.now_ns() < until_ns {
            let Some(mut entry) = self.next_task(cpu) else {
                self.halt(cpu, until_ns);
                continue;
            };
            let previous = entry.cpu.replace(cpu);
            if previous.is_some_and(|previous| previous != cpu) {
                self.cpus[cpu].moved.fetch_add(1, Ordering::Relaxed);
            }
            let after = entry.take_turn(self.slice_ticks);
            memory::space().flush_if_awaited();
            match after {
                After::Queue(entry) => self.requeue(cpu, entry),
                After::Ended(ended) => {
                    on_end(cpu, ended);
                    if self.alive.fetch_sub(1, Ordering::SeqCst) == 1 {
                        cpus::wake_all();
                    }
                }
            }
            // The ends of turns are the ticks of this kernel.
            memory::space().flush_if_awaited();
        }
        self.local_timer.stop();
    }

    /// Takes the next task of this CPU's queue, or of the first other queue that has one.
    fn next_task(&self, cpu: usize) -> Option<Box<Entry<T>>> {
        let now_ns = self.now_ns();
        self.from(cpu).find_map(|cpu| self.cpus[cpu].queue.lock().next_ready(now_ns))
    }

    /// Returns the numbers of all CPUs, beginning with `first`.
    fn from(&self, first: usize) -> impl Iterator<Item = usize> {
        let cpus = self.cpus.len();
        (first..first + cpus).map(move |cpu| cpu % cpus)
    }

    fn requeue(&self, cpu: usize, entry: Box<Entry<T>>) {
        let to = match self.moves {
            Moves::IfIdle => cpu,
            Moves::Random => self.random_cpu(cpu),
        };
        let now_ns = self.now_ns();
        let mut queue = self.cpus[to].queue.lock();
        queue.push(entry);
        // This CPU runs one of its queue next.
        let for_others = queue.ready(now_ns) > usize::from(to == cpu);
        drop(queue);
        if for_others {
            self.wake_idle(to);
        }
    }

    /// Returns the number of a CPU that is chosen at random.
    fn random_cpu(&self, cpu: usize) -> usize {
        let state = &self.cpus[cpu].random;
        let mut random = state.load(Ordering::Relaxed);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        state.store(random, Ordering::Relaxed);
        usize::try_from(random >> 32).expect("a usize has 64 bits") % self.cpus.len()
    }

    /// Interrupts the first CPU from `first` on that halts, if there is one.
    fn wake_idle(&self, first: usize) {
        if self.idle.load(Ordering::SeqCst) == 0 {
            return;
        }
        let idle =
            self.from(first).find(|&cpu| self.idle.fetch_and(!bit(cpu), Ordering::SeqCst) & bit(cpu) != 0);
        if let Some(cpu) = idle {
            cpus::wake_one(cpu);
        }
    }

    /// Halts this CPU until there may be a task for it.
    ///
    /// Every code that queues a task looks at `idle` after it has released the queue's lock. So
    /// either this function finds the task, or that code finds the bit.
    fn halt(&self, cpu: usize, until_ns: u64) {
        self.idle.fetch_or(bit(cpu), Ordering::SeqCst);
        let first_ns = |cpu: usize| self.cpus[cpu].queue.lock().first_ns();
        let now_ns = self.now_ns();
        let has_work = self.from(cpu).filter_map(first_ns).any(|first_ns| first_ns <= now_ns);
        if !has_work && self.alive.load(Ordering::SeqCst) > 0 {
            memory::space().flush_before_idle();
            let wait_ns = first_ns(cpu).unwrap_or(u64::MAX).min(until_ns).saturating_sub(now_ns);
            self.local_timer.interrupt_after(Duration::from_nanos(wait_ns));
            // Interrupts are disabled until the CPU halts, so one that was sent since the bit was
            // set ends the halt.
            interrupts::enable_and_hlt();
            interrupts::disable();
        }
        self.idle.fetch_and(!bit(cpu), Ordering::SeqCst);
    }

    fn now_ns(&self) -> u64 {
        self.rate.nanoseconds_in(clock::ticks())
    }
}

/// The set of CPUs with this one.
fn bit(cpu: usize) -> u64 {
    1 << cpu
}
