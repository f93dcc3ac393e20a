//! The two functions of an unwinder that the prebuilt `core` and `alloc` of the hosted target refer
//! to.
//!
//! Panics abort in this kernel, so neither is ever called.

use crate::exit::die;

/// The unwind tables of the prebuilt `core` refer to it. It is never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// A landing pad in the prebuilt `alloc` ends with a call to it. Only an unwinder enters landing
/// pads.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    die(format_args!("kernel entered a landing pad although panics abort"))
}
