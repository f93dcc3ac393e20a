//! CPUs with a TLB of one entry, and the page-table entry that it caches.

use std::array::from_fn;
use std::cell::Cell as StdCell;
use std::rc::Rc;

use loom::cell::Cell;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::thread;
use palimpsest_paging::x86_64::structures::paging::Page;
use palimpsest_paging::{Allocation, FrameBatch, FrameSource, Platform, Request};

use crate::frame::PhysicalMemory;
use crate::tlb::{Cpus, Seat, new_seat};

const CPUS: usize = 3;
const FRAMES: usize = 4;

/// What the CPUs share.
pub(crate) struct Machine {
    pub(crate) cpus: Cpus,
    pub(crate) seat: Seat,
    /// What a guest writes when it runs, and a CPU when it relieves.
    region: Cell<u32>,
    /// The number of the frame that the page-table entry leads to.
    entry: AtomicUsize,
    /// Whether the frame has another owner than the page.
    is_reused: [Cell<bool>; FRAMES],
    /// The frame that each CPU caches for the page.
    tlbs: [Cell<Option<usize>>; CPUS],
}

/// A CPU of the machine.
#[derive(Clone)]
pub(crate) struct Cpu {
    pub(crate) machine: Rc<Machine>,
    number: usize,
    /// The CPU on which the thread reads a number, before it moves to this one
    first: StdCell<Option<usize>>,
}

/// Runs the test once for each interleaving, each time on a new machine.
pub(crate) fn in_every_order(test: impl Fn([Cpu; CPUS]) + Sync + Send + 'static) {
    loom::model(move || {
        let machine = Rc::new(Machine {
            cpus: Cpus::new(PhysicalMemory, &Unused),
            seat: new_seat(),
            region: Cell::new(0),
            entry: AtomicUsize::new(0),
            is_reused: from_fn(|_| Cell::new(false)),
            tlbs: from_fn(|_| Cell::new(None)),
        });
        let cpus = from_fn(|number| Cpu { machine: Rc::clone(&machine), number, first: StdCell::new(None) });
        for cpu in &cpus {
            machine.cpus.flush_this(cpu);
            machine.cpus.take_wanted(cpu);
        }
        machine.cpus.record_reuse(&new_seat(), &cpus[0]);
        test(cpus);
    });
}

/// Runs these at the same time, and returns what they return.
pub(crate) fn join<A: 'static, B: 'static>(
    one: impl FnOnce() -> A + 'static,
    other: impl FnOnce() -> B + 'static,
) -> (A, B) {
    let one = thread::spawn(one);
    let other = other();
    (one.join().expect("a thread that panics ends the test"), other)
}

impl Cpu {
    /// Returns the CPU for a thread that is on `first` when it reads the number of its CPU, and
    /// then moves to this one.
    pub(crate) fn moved_from(&self, first: &Self) -> Self {
        Self { first: StdCell::new(Some(first.number)), ..self.clone() }
    }

    pub(crate) fn enter(&self) {
        self.machine.cpus.enter(&self.machine.seat, self);
    }

    pub(crate) fn look(&self) {
        self.machine.cpus.look(&self.machine.seat, self);
    }

    pub(crate) fn leave(&self) {
        self.machine.cpus.leave(&self.machine.seat, self);
    }

    pub(crate) fn migrate(&self) {
        self.machine.cpus.migrate(&self.machine.seat, self);
    }

    /// Whether another CPU has requested frames of the account from this one since the last call.
    pub(crate) fn take_wanted(&self) -> bool {
        self.machine.cpus.take_wanted(self) && self.machine.seat.take_wanted()
    }

    /// Does the work if the region can be relieved. Returns whether it can.
    pub(crate) fn relieve(&self, work: impl FnOnce()) -> bool {
        let Machine { cpus, seat, .. } = &*self.machine;
        let Some(relief) = cpus.begin_relief(seat, self) else { return false };
        work();
        cpus.end_relief(relief, seat, self);
        true
    }

    /// Writes what one CPU at a time may write.
    pub(crate) fn write_region(&self) {
        self.machine.region.set(self.machine.region.get() + 1);
    }

    /// Reads what one CPU at a time may write.
    pub(crate) fn read_region(&self) {
        self.machine.region.get();
    }

    /// Accesses the page, by what the TLB caches or else by the entry.
    pub(crate) fn access(&self) {
        let frame = self.guess();
        assert!(!self.machine.is_reused[frame].get(), "the CPU has used a stale translation");
    }

    /// Caches the entry, unless the TLB does already, as a CPU may do at any time. Returns the
    /// number of the frame that the TLB leads to.
    pub(crate) fn guess(&self) -> usize {
        let tlb = &self.machine.tlbs[self.number];
        let frame = tlb.get().unwrap_or_else(|| self.machine.entry.load(Ordering::Relaxed));
        tlb.set(Some(frame));
        frame
    }

    /// Leads the entry to the next frame, and returns the number of the one before.
    pub(crate) fn change_entry(&self) -> usize {
        self.machine.entry.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes the entry as a sweep does, and gives the frame to another owner.
    pub(crate) fn replace_frame(&self) {
        let frame = self.change_entry();
        self.flush_all();
        self.machine.cpus.record_change(&self.machine.seat, self);
        self.reuse(frame);
    }

    /// Ends the region, and gives its frame to another owner.
    pub(crate) fn end_region(&self) {
        let frame = self.change_entry();
        self.flush_all();
        self.machine.cpus.record_end(self);
        self.reuse(frame);
    }

    /// Makes a region of the account at the same addresses.
    pub(crate) fn reserve(&self) {
        self.machine.cpus.record_reuse(&self.machine.seat, self);
    }

    /// Gives the frame to another owner.
    pub(crate) fn reuse(&self, frame: usize) {
        self.machine.is_reused[frame].set(true);
    }
}

// SAFETY: no address space uses the platform.
unsafe impl Platform for Cpu {
    type Frames = Unused;

    fn frames(&self) -> &Unused {
        &Unused
    }

    fn flush(&self, _: Page) {
        self.flush_all();
    }

    fn flush_all(&self) {
        self.machine.tlbs[self.number].set(None);
        fence(Ordering::SeqCst);
    }

    fn cpu(&self) -> usize {
        let Some(first) = self.first.take() else { return self.number };
        self.migrate();
        first
    }

    fn cpus(&self) -> usize {
        CPUS
    }
}

/// A source of no frames, and the platform of the CPU that makes the machine.
pub(crate) struct Unused;

// SAFETY: it has no frame.
unsafe impl FrameSource for Unused {
    fn allocate(&self, _: Request) -> Option<Allocation> {
        None
    }

    fn release(&self, _: &mut FrameBatch, _: bool) {}
}

// SAFETY: no address space uses the platform.
unsafe impl Platform for Unused {
    type Frames = Self;

    fn frames(&self) -> &Self {
        self
    }

    fn flush(&self, _: Page) {}

    fn flush_all(&self) {}

    fn cpus(&self) -> usize {
        CPUS
    }
}
