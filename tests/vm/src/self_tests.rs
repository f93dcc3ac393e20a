//! Tests of the runner: kernels that fail in three ways, each of which the runner must recognise.

use core::arch::asm;

use palimpsest_protocol::{Clock, Expected, Flaw, ListedTest};
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

/// A test that the runner must report as failed.
pub(crate) struct SelfTest {
    /// The test's name.
    pub(crate) name: &'static str,
    /// What the machine does.
    flaw: Flaw,
    /// Does it.
    pub(crate) run: fn() -> !,
}

impl SelfTest {
    /// Describes the test.
    pub(crate) fn listed(&self) -> ListedTest {
        let expected = Expected::Flaw(self.flaw);
        ListedTest { name: self.name.into(), expected, clock: Clock::Host, cpus: 1 }
    }
}

pub(crate) const ALL: &[SelfTest] = &[
    SelfTest { name: "selftest-triple-fault", flaw: Flaw::TripleFault, run: triple_fault },
    SelfTest { name: "selftest-hang", flaw: Flaw::Hang, run: hang },
    SelfTest { name: "selftest-panic", flaw: Flaw::Panic, run: panic },
];

/// With an empty IDT the CPU can deliver neither the exception nor the double fault that follows.
fn triple_fault() -> ! {
    let empty = DescriptorTablePointer { limit: 0, base: VirtAddr::zero() };
    // SAFETY: the machine resets at the next exception, which is the purpose.
    unsafe { lidt(&empty) };
    // SAFETY: as before; nothing runs after it.
    unsafe { asm!("ud2", options(noreturn)) }
}

fn hang() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

fn panic() -> ! {
    panic!("the runner's self-test panics")
}
