//! What compiled code calls without being told to: the functions of a C library and of the compiler's own.
//!
//! Owns the symbols that the toolchain does not bring for a target, or that this kernel has better ones for. The
//! hosted target would have a C library: its `core` and `alloc` refer to memory functions (`memory`) and to the
//! unwinder (`unwinder`). The bare target brings all that it calls, floating point in integer instructions
//! among it: `floats` takes that one's place. Nobody calls these by name: the compiler does.

#[cfg(not(target_feature = "sse2"))]
mod floats;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod unwinder;
