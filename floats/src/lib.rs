//! Floating point by SSE2 instructions, for code that was compiled for soft floats.
//!
//! On `x86_64-unknown-none` a float is an integer register's bits, and every operation on floats is
//! a call of a function of GCC's ["Routines for floating point emulation"][gcc].
//! `compiler_builtins` implements these functions with integer instructions, some 30 to 200 each.
//! This crate implements them with SSE2: a function moves the bits to XMM0 and XMM1, executes one
//! instruction, and moves the result back. An interpreter such as wasmi executes the floats of its
//! guests through these functions.
//!
//! # Use
//!
//! The functions have strong symbols. `compiler_builtins` has weak ones, which the linker then
//! drops. The crate has no public items: link it, in a crate that the kernel links anyway.
//!
//! ```
//! use palimpsest_sse2_floats as _;
//! ```
//!
//! On a target with SSE2 the compiler calls no such functions, and the crate is empty.
//!
//! # What the kernel must do
//!
//! 1. Enable SSE before the first operation on floats: set CR4.OSFXSR and clear CR0.EM (Intel SDM
//!    Vol 3A 2.5). MXCSR must be as a reset leaves it: round to nearest, all exceptions masked.
//! 2. Save and restore XMM0, XMM1 and MXCSR in every interrupt and exception handler that uses
//!    floats or runs other code that does, and when it switches threads. The compiler saves no XMM
//!    register on this target, because it does not know that these functions use two.
//!
//! # Results
//!
//! Results are those of IEEE 754. Where the standard leaves a choice, they are the CPU's: the NaN
//! of an invalid operation is negative and quiet, and a conversion makes a signalling NaN quiet.
//! Square roots and roundings are not among the functions: the crate `libm` builds them from these
//! and from integer operations.
//!
//! [gcc]: https://gcc.gnu.org/onlinedocs/gccint/Soft-float-library-routines.html

#![no_std]
#![cfg(all(target_arch = "x86_64", not(target_feature = "sse2")))]

mod arithmetic;
mod comparison;
mod from_integer;
mod to_integer;
