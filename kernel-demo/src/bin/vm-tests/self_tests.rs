//! Three ways to fail that a runner must recognise: each really does it.

use core::arch::asm;

use kernel_demo::println;
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

/// Something that must be reported as failed.
pub(crate) struct SelfTest {
    /// What the machine does.
    pub(crate) name: &'static str,
    /// Does it.
    pub(crate) run: fn() -> !,
}

impl SelfTest {
    /// Prints the line of the list.
    pub(crate) fn announce(&self) {
        println!("SELFTEST {}", self.name);
    }
}

pub(crate) const ALL: &[SelfTest] = &[
    SelfTest { name: "selftest-triple-fault", run: triple_fault },
    SelfTest { name: "selftest-hang", run: hang },
    SelfTest { name: "selftest-panic", run: panic },
];

/// With an empty IDT no exception can be delivered, and not the double fault of that either.
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
