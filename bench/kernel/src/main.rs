//! The benchmark's kernel: measures one suite in a boot, and sends its figures.
//!
//! `cargo xtask bench` boots it once for each suite, which is part of the request. Everything is
//! measured through the public API of the two crates. A suite that cannot be measured ends the
//! machine with a failing status, after one line with the reason.

#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod cpus;
mod density;
mod figures;
mod freezes;
mod guest;
mod heap;
mod kernels;
mod lives;
mod load;
mod pages;
mod policies;
mod segments;
mod zeroing;

use alloc::string::{String, ToString};
use core::fmt;

use kernel_demo::{ExitStatus, Machine, boot_main, println};
use palimpsest_protocol::{Suite, Task};
use thiserror::Error;

use figures::Figures;

boot_main!(main);

/// Why a suite has no figures.
#[derive(Debug, Error)]
#[error("{what}: {cause}")]
struct BenchError {
    what: &'static str,
    cause: String,
}

/// Adds to an error what failed.
fn doing<V, E: fmt::Display>(what: &'static str, result: Result<V, E>) -> Result<V, BenchError> {
    result.map_err(|cause| BenchError { what, cause: cause.to_string() })
}

fn main(machine: Machine) -> ExitStatus {
    match measure(&machine) {
        Ok(figures) => {
            figures.send();
            ExitStatus::Success
        }
        Err(error) => {
            println!("cannot measure: {error}");
            ExitStatus::GuestFailed
        }
    }
}

fn measure(machine: &Machine) -> Result<Figures, BenchError> {
    let Task::Measure(suite) = &machine.request().task else {
        return doing("the request", Err("this kernel supports the task Measure only"));
    };
    if *suite == Suite::Boot {
        // Nothing comes before it, not even the calibration of the clock.
        let reached = boot::reach_the_first_instruction(machine)?;
        let mut figures = Figures::new(machine);
        figures.once("boot/first_instruction", reached);
        return Ok(figures);
    }
    let mut figures = Figures::new(machine);
    match suite {
        Suite::Boot => unreachable!("it has returned above"),
        Suite::Costs => costs(machine, &mut figures)?,
        Suite::Cpus => cpus::measure(machine, &mut figures)?,
        Suite::Density => density::measure(machine, &mut figures)?,
        Suite::Load(modules) => load::measure(machine, modules, &mut figures)?,
        Suite::Kernels(jobs) => kernels::measure(machine, jobs, &mut figures)?,
    }
    Ok(figures)
}

/// Measures everything that needs no files but the modules with segments.
fn costs(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    zeroing::measure(figures);
    pages::measure(machine, figures)?;
    lives::measure(machine, figures)?;
    segments::measure(machine, figures)?;
    heap::measure(machine, figures)?;
    kernels::measure_loops(machine, figures)?;
    policies::measure(machine, figures)?;
    freezes::measure(machine, figures)
}
