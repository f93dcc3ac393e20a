//! Defines and runs a test.
//!
//! A check that fails prints a line `FAILED` and ends the machine. A test declares how many checks
//! it makes, so that a test that returns early cannot pass. A test in which the kernel must die
//! declares the text that the kernel must print. After every test the harness makes two more
//! checks: as many frames are free, and as many bytes of the heap are in use, as before.
//!
//! On a machine with several CPUs each call of a guest, and each turn of a task, is on a CPU that
//! is chosen at random (`kernel_demo::errands`). So stores move, and are cleared on other CPUs than
//! those that ran them. A test that counts frames does it with [`free_frames`].
//!
//! Tests of guests' memory are booted twice, with all policies of the address space off and with
//! all of them on. The name of a test ends with the policies of the boot. A test that counts frames
//! which a policy affects sets that policy itself, and states why.

use alloc::format;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::panic::Location;

use kernel_demo::{ExitStatus, Machine, errands, exit, println};
use palimpsest_paging::{FaultAround, Policies};
use palimpsest_protocol::console::TestsComplete;
use palimpsest_protocol::{self as protocol, Clock, ListedTest};
use spin::Mutex;

use crate::fixture::{GIB, Guest, MIB, PAGE_BYTES};

/// The number of checks after every test: free frames, and heap.
const ACCOUNTING_CHECKS: u32 = 2;

/// The policies of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BootPolicies {
    /// The default policies. The name has no suffix.
    Standing,
    /// All off, and no images of data segments, which are a policy of the engine.
    Off,
    /// All on.
    On,
}

impl BootPolicies {
    /// For tests that have nothing to do with guests' memory, or set all policies themselves.
    pub(crate) const ANY: &[Self] = &[Self::Standing];
    /// For tests that touch guests' memory.
    pub(crate) const BOTH: &[Self] = &[Self::Off, Self::On];

    /// The end of the names of tests in such a boot.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Standing => "",
            Self::Off => "/policies-off",
            Self::On => "/policies-on",
        }
    }

    fn policies(self) -> Policies {
        match self {
            // Every policy is on by default.
            Self::Standing | Self::On => Policies::default(),
            Self::Off => Policies::OFF,
        }
    }
}

/// Tests that are booted with the same policies.
pub(crate) struct Topic {
    pub(crate) tests: &'static [VmTest],
    /// There is a boot for each of these.
    pub(crate) policies: &'static [BootPolicies],
}

impl Topic {
    /// All tests with the policies of their boots.
    pub(crate) fn boots(&self) -> impl Iterator<Item = (&'static VmTest, BootPolicies)> {
        let (tests, policies) = (self.tests, self.policies);
        tests.iter().flat_map(move |test| policies.iter().map(move |policies| (test, *policies)))
    }
}

/// One behaviour, tested in its own boot.
pub(crate) struct VmTest {
    /// The behaviour, in words joined by dashes.
    name: &'static str,
    /// How it ends.
    expected: Expected,
    /// What the clock counts meanwhile.
    clock: Clock,
    /// The number of CPUs of the machine.
    cpus: u32,
    run: fn(&mut Checks, &Machine),
}

/// How a test ends.
enum Expected {
    /// It returns after this many checks, besides those of the harness.
    Checks(u32),
    /// The kernel prints this text and ends the machine.
    Death(&'static str),
}

impl VmTest {
    /// A test that makes `checks` checks.
    pub(crate) const fn new(name: &'static str, checks: u32, run: fn(&mut Checks, &Machine)) -> Self {
        Self { name, expected: Expected::Checks(checks), clock: Clock::Host, cpus: 1, run }
    }

    /// A test that compares instruction counts.
    pub(crate) const fn counting(name: &'static str, checks: u32, run: fn(&mut Checks, &Machine)) -> Self {
        Self { name, expected: Expected::Checks(checks), clock: Clock::Instructions, cpus: 1, run }
    }

    /// A test in which the kernel must print `text` and end the machine.
    pub(crate) const fn death(
        name: &'static str,
        text: &'static str,
        run: fn(&mut Checks, &Machine),
    ) -> Self {
        Self { name, expected: Expected::Death(text), clock: Clock::Host, cpus: 1, run }
    }

    /// The same test on a machine with `cpus` CPUs.
    pub(crate) const fn on_cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    /// Whether this is its name in a boot with such policies.
    pub(crate) fn is_named(&self, name: &str, policies: BootPolicies) -> bool {
        name.strip_suffix(policies.suffix()) == Some(self.name)
    }

    /// Describes the test in a boot with such policies.
    pub(crate) fn listed(&self, policies: BootPolicies) -> ListedTest {
        let expected = match self.expected {
            Expected::Checks(checks) => protocol::Expected::Checks(checks + ACCOUNTING_CHECKS),
            Expected::Death(text) => protocol::Expected::Death(text.into()),
        };
        ListedTest {
            name: format!("{}{}", self.name, policies.suffix()),
            expected,
            clock: self.clock,
            cpus: self.cpus,
        }
    }

    /// Whether other CPUs call the guests as well.
    ///
    /// A test that is about several CPUs uses them itself.
    fn is_moved(&self, machine: &Machine) -> bool {
        let ends = matches!(self.expected, Expected::Checks(_));
        machine.cpus() > 1 && self.cpus == 1 && ends
    }

    /// Runs the test. Returns only if no check failed.
    pub(crate) fn run_on(&self, machine: &Machine, policies: BootPolicies) -> ExitStatus {
        machine.space().set_policies(policies.policies());
        warm_up(machine);
        machine.on_all_cpus(|_| {});
        let mut checks = Checks::new();
        let before = Accounts::of(machine);
        if self.is_moved(machine) {
            errands::lend(machine, || (self.run)(&mut checks, machine));
            println!("seed {:#x}: {} calls on other CPUs", errands::SEED, errands::done());
        } else {
            (self.run)(&mut checks, machine);
        }
        match self.expected {
            Expected::Checks(declared) => {
                // Every CPU flushes its TLB afterwards, for which table frames may wait.
                machine.on_all_cpus(|_| {});
                let after = Accounts::of(machine);
                checks.equal("free frames after the test", after.free_frames, before.free_frames);
                checks.equal("heap bytes in use after the test", after.heap_bytes, before.heap_bytes);
                checks.complete(declared + ACCOUNTING_CHECKS)
            }
            Expected::Death(text) => {
                println!("FAILED the kernel survived an error that must end it with the text: {text}");
                ExitStatus::GuestFailed
            }
        }
    }
}

/// Makes a write commit its page and no other for the rest of the boot, for a test that counts
/// every frame.
pub(crate) fn commit_nothing_ahead(machine: &Machine) {
    let space = machine.space();
    space.set_policies(Policies { fault_around: FaultAround::Off, ..space.policies() });
}

/// Reserves as many regions at once as any test does, on each CPU, and makes two images that share
/// a frame. The lists of the address space never shrink, so their growth would otherwise count as a
/// leak of the test.
pub(crate) fn warm_up(machine: &Machine) {
    /// Of each size. Those of 256 GiB fill the window, and the largest ones have several entries of
    /// the level-4 table.
    const REGIONS: [(usize, u64); 5] =
        [(100, PAGE_BYTES), (100, 64 * MIB), (100, 4 * GIB), (64, 256 * GIB), (2, 2048 * GIB)];
    let turn = Mutex::new(());
    machine.on_all_cpus(|_| {
        let _turn = turn.lock();
        for (count, bytes) in REGIONS {
            let guests: Vec<_> = (0..count).map(|_| Guest::new(machine, bytes)).collect();
            // A space also lists the addresses of ended regions that a CPU has used.
            guests.iter().for_each(|guest| machine.space().enter(&guest.account));
            drop(guests);
        }
    });
    let mut guest = Guest::new(machine, 2 * PAGE_BYTES);
    let images = [0, PAGE_BYTES].map(|offset| {
        guest.store(offset, 1);
        guest.region.freeze().expect("the heap has room for an image")
    });
    drop(images);
}

/// What must be the same before and after a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accounts {
    pub(crate) free_frames: u64,
    pub(crate) heap_bytes: usize,
}

impl Accounts {
    pub(crate) fn of(machine: &Machine) -> Self {
        Self { free_frames: free_frames(machine), heap_bytes: machine.heap().used_bytes }
    }
}

/// Returns the number of free frames, after all CPUs that call guests have flushed their TLBs, so
/// that no table frame waits.
pub(crate) fn free_frames(machine: &Machine) -> u64 {
    errands::flush_all();
    machine.frames().free_frames()
}

/// Counts the checks that passed. The first one that fails ends the machine.
pub(crate) struct Checks {
    passed: u32,
}

impl Checks {
    pub(crate) fn new() -> Self {
        Self { passed: 0 }
    }

    /// Checks that `actual` is `expected`.
    #[track_caller]
    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, what: &str, actual: T, expected: T) {
        if actual != expected {
            println!("FAILED {what}: {actual:?} instead of {expected:?}, at {}", Location::caller());
            exit(ExitStatus::GuestFailed);
        }
        self.passed += 1;
    }

    /// Checks that `actual` is not above `limit`.
    #[track_caller]
    pub(crate) fn at_most(&mut self, what: &str, actual: u64, limit: u64) {
        if actual > limit {
            println!("FAILED {what}: {actual} are more than {limit}, at {}", Location::caller());
            exit(ExitStatus::GuestFailed);
        }
        self.passed += 1;
    }

    /// Prints the completion line and compares the number of checks with the declared one.
    pub(crate) fn complete(self, declared: u32) -> ExitStatus {
        println!("{}", TestsComplete(self.passed));
        if self.passed == declared {
            return ExitStatus::Success;
        }
        println!("FAILED {} checks were declared", declared);
        ExitStatus::GuestFailed
    }
}
