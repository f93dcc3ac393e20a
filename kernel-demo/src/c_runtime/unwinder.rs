//! The two functions of the unwinder that the prebuilt `core` and `alloc` of the hosted target name.
//!
//! Panics abort in this kernel, so neither is ever of use: the first is only named, the second says that
//! something is badly wrong.

use crate::exit::die;

/// Named in the unwind tables of the prebuilt `core`; there is nothing to be unwound, since panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Called at the end of a landing pad in the prebuilt `alloc`, which only an unwinder enters.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    die(format_args!("kernel entered a landing pad, although panics abort"))
}
