//! The parts of the example kernels that have nothing to do with Palimpsest.
//!
//! [`console`] prints lines and ends the emulator, [`checks`] counts what a kernel checks while it
//! runs, and [`tables`] loads the GDT, the TSS and the IDT. A kernel of your own has all of them in
//! some form.

#![no_std]

extern crate alloc;

pub mod checks;
pub mod console;
pub mod tables;
