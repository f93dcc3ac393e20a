//! The least firmware that runs a Wasm guest on Palimpsest. Copy from it.
//!
//! It runs on a Cortex-M4, as QEMU emulates it, and loads one guest, which calls a function of the
//! host. `cargo xtask bench --size` measures its flash, which is nearly all the engine's. QEMU
//! exits with 33 if the guest returns the right number. To run it by hand, in this directory:
//!
//! ```text
//! cargo build --release --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -display none -semihosting -kernel \
//!     ../../target/thumbv7em-none-eabihf/release/firmware-minimal
//! ```

#![no_std]
#![no_main]

extern crate alloc;

mod failure;

use core::mem::MaybeUninit;

use cortex_m_rt::entry;
use linked_list_allocator::LockedHeap;
use palimpsest_engine::{Config, Engine, Fixed, Limits, Linker, Module, Store};
use semihosting::process;
use spin::{Mutex, MutexGuard};

use failure::Failure;

/// The size of the heap, in bytes.
const HEAP_BYTES: usize = 64 << 10;

/// The size of the slice that the guest's memory is in, in bytes: one Wasm page, and what the
/// alignment takes.
const GUEST_BYTES: usize = 65 << 10;

/// The exit code of QEMU for success. Every failure ends QEMU with another one.
const SUCCESS: i32 = 33;

static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest"));

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

static HEAP_RAM: Ram<HEAP_BYTES> = Mutex::new([MaybeUninit::uninit(); HEAP_BYTES]);
static GUEST_RAM: Ram<GUEST_BYTES> = Mutex::new([MaybeUninit::uninit(); GUEST_BYTES]);

type Ram<const BYTES: usize> = Mutex<[MaybeUninit<u8>; BYTES]>;

#[entry]
fn main() -> ! {
    HEAP.lock().init_from_slice(take(&HEAP_RAM));
    match answer() {
        Ok(42) => process::exit(SUCCESS),
        Ok(_) => process::exit(1),
        Err(failure) => failure.exit(),
    }
}

/// Runs the guest. It is called once, because the guest's RAM is taken.
fn answer() -> Result<i32, Failure> {
    let fixed = Fixed::new(take(&GUEST_RAM));
    let engine = Engine::new(Config::default().limits(Limits::for_heap(HEAP_BYTES)), fixed)?;
    let module = module(&engine)?;
    let mut linker = Linker::new();
    linker.func_wrap("host", "double", |number: i32| number * 2)?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    Ok(instance.get_typed_func::<(), i32>(&store, "answer")?.call(&mut store, ())?)
}

/// Returns the bytes, which stay locked.
fn take<const BYTES: usize>(ram: &'static Ram<BYTES>) -> &'static mut [MaybeUninit<u8>] {
    MutexGuard::leak(ram.lock()).as_mut_slice()
}

#[cfg(feature = "splice")]
fn module(engine: &Engine) -> Result<Module, Failure> {
    Ok(Module::new(engine, GUEST)?)
}

#[cfg(not(feature = "splice"))]
fn module(engine: &Engine) -> Result<Module, Failure> {
    // SAFETY: the build script has prepared the guest with the same version of the engine, and it
    //         is a part of the program.
    Ok(unsafe { Module::from_prepared(engine, GUEST)? })
}
