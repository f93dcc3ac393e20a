//! The machine under the demonstration: a small kernel for one CPU in QEMU.
//!
//! This library boots (PVH), owns the memory and the exceptions, and then calls the `main` of the program
//! that links it, with a [`Machine`]. It has no processes, no interrupts and no user mode: what it shows is
//! how little a kernel needs in order to use `palimpsest-paging`, namely a frame pool, one
//! [`Space`](memory::Space), and one line in the page-fault handler.
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
//! Memory, from low to high: page 0, never mapped; the kernel's sections at 2 MiB; the window of the regions
//! at 16 TiB; all RAM at the start of the higher half. `unsafe` is at the edges: boot, tables, ports, stubs.

#![no_std]

extern crate alloc;

mod boot;
mod c_runtime;
pub mod clock;
mod cpu;
pub mod entropy;
pub mod executor;
mod exit;
mod files;
mod heap;
mod machine;
pub mod memory;
pub mod rtc;
pub mod serial;
pub mod stack;
pub mod timer;
mod trap;

pub use boot::{MemoryKind, MemoryRange};
pub use exit::exit;
pub use heap::HeapUsage;
pub use machine::Machine;
pub use palimpsest_protocol::ExitStatus;

/// Makes `$main`, a `fn(Machine) -> ExitStatus`, the function that runs once the kernel has booted.
#[macro_export]
macro_rules! boot_main {
    ($main:path) => {
        /// Called by the boot code of `kernel_demo`.
        // SAFETY: the name is declared in `kernel_demo` only, with this very signature.
        #[unsafe(no_mangle)]
        extern "Rust" fn palimpsest_kernel_main(machine: $crate::Machine) -> $crate::ExitStatus {
            let main: fn($crate::Machine) -> $crate::ExitStatus = $main;
            main(machine)
        }
    };
}
