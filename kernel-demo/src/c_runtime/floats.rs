//! Floating point by SSE2, for code that was compiled for a CPU without it.
//!
//! On `x86_64-unknown-none` a float is an integer register's bits, and every operation on it a call of a
//! function that GCC's manual lists ("Routines for floating point emulation"). `compiler_builtins` has them in
//! integer instructions, some 30 to 200 each, as weak symbols: those here are linked in their stead. They move
//! the bits to XMM0 and XMM1, execute the one instruction, and move the result back. Any kernel for that target
//! can do the same on two conditions. SSE is on before the first float (CR4.OSFXSR, CR0.EM clear; SDM Vol 3A
//! 2.5) with MXCSR as a reset leaves it: round to nearest, exceptions masked. And whatever interrupts a function
//! of these either uses no floats or saves XMM0, XMM1 and MXCSR, as `trap::stubs` does.
//!
//! Results are those of IEEE 754, and where that leaves a choice, of the CPU: the NaN of an invalid operation is
//! negative and quiet, and a signalling NaN that is converted comes out quiet. Square roots and roundings are no
//! such calls: the `libm` crate builds them out of these and of integers.

mod arithmetic;
mod comparison;
mod from_integer;
mod to_integer;
