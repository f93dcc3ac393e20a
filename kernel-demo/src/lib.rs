//! A small kernel in QEMU, on which the demonstration runs.
//!
//! This library boots by PVH or Multiboot2, initializes memory and exceptions, and calls the `main`
//! of the program that links it, with a [`Machine`]. There are no processes and no user mode, and
//! interrupts are disabled unless a test enables them. It shows how little a kernel needs in order
//! to use `palimpsest-paging`: a frame pool, one [`Space`](memory::Space), and one call in the
//! page-fault handler.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! use kernel_demo::{ExitStatus, Machine, boot_main, println};
//!
//! boot_main!(main);
//!
//! fn main(machine: Machine) -> ExitStatus {
//!     println!("{} frames are free", machine.frames().free_frames());
//!     ExitStatus::Success
//! }
//! ```
//!
//! The address space, from low to high: page 0, never mapped; the kernel's sections at 2 MiB; the
//! window for regions at 16 TiB; all RAM at the start of the higher half. Only boot, memory, CPU
//! tables, stubs and ports use `unsafe`.

#![no_std]

extern crate alloc;

// Floating point on the target without SSE: only its symbols are used.
use palimpsest_sse2_floats as _;

mod apic;
mod boot;
mod c_runtime;
pub mod clock;
mod cpu;
mod cpus;
pub mod entropy;
pub mod errands;
pub mod executor;
mod exit;
mod files;
mod heap;
pub mod interrupts;
mod machine;
pub mod memory;
pub mod rtc;
pub mod serial;
pub mod stack;
pub mod timer;
mod trap;

pub use apic::Reason;
pub use boot::{MemoryKind, MemoryRange};
pub use exit::exit;
pub use heap::HeapUsage;
pub use machine::Machine;
pub use palimpsest_protocol::ExitStatus;

/// Makes `$main`, a `fn(Machine) -> ExitStatus`, the main function of the kernel.
#[macro_export]
macro_rules! boot_main {
    ($main:path) => {
        /// The boot code of `kernel_demo` calls it.
        // SAFETY: only `kernel_demo` declares this name, with the same signature.
        #[unsafe(no_mangle)]
        extern "Rust" fn palimpsest_kernel_main(machine: $crate::Machine) -> $crate::ExitStatus {
            let main: fn($crate::Machine) -> $crate::ExitStatus = $main;
            main(machine)
        }
    };
}
