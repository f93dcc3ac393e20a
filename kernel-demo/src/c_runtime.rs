//! Functions that compiled code calls implicitly: those of a C library and of the compiler.
//!
//! The hosted target expects a C library: its `core` and `alloc` refer to memory functions
//! (`memory`) and to the unwinder (`unwinder`). The bare target provides all functions that it
//! needs.

#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod unwinder;
