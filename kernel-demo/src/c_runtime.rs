//! What compiled code expects of a C library, on the target that would normally have one.
//!
//! Owns the symbols that `core` and `alloc` of the hosted target refer to: the memory functions (`memory`)
//! and the two of the unwinder. The bare target brings its own. Nobody calls these by name: the compiler
//! does.

mod memory;

use crate::exit::die;

/// Named in the unwind tables of the prebuilt `core`; there is nothing to be unwound, since panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Called at the end of a landing pad in the prebuilt `alloc`, which only an unwinder enters.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    die(format_args!("kernel entered a landing pad, although panics abort"))
}
