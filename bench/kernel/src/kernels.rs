//! Running Wasm: the functions of the request, and a few loops that are always there.
//!
//! A function is called once before anything is measured, which translates it and makes its pages resident;
//! then again and again, as often and for as long as the peers' runner does it. What it returned goes with
//! the figure, so that a fast wrong answer is seen.

use alloc::format;
use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_protocol::{Instances, Job};

use crate::figures::{Figures, timed};
use crate::guest::{Loaded, Running, guest};
use crate::{BenchError, doing};

/// A function is called this often at least, and more often until it has run for so long.
const LEAST_CALLS: usize = 3;
const MOST_CALLS: usize = 25;
const LEAST_MILLISECONDS: u64 = 100;

/// The exports of `guests/loops.wat` with their arguments: some 100,000 instructions of Wasm each.
const LOOPS: [(&str, i32); 5] =
    [("calls", 18), ("arithmetic", 20_000), ("memory_words", 2), ("table_calls", 10_000), ("floats", 20_000)];

/// Measures the functions of the request.
pub(crate) fn measure(machine: &Machine, jobs: &[Job], figures: &mut Figures) -> Result<(), BenchError> {
    for job in jobs {
        let wasm = machine.file(&job.file).ok_or("a module is not in the boot archive");
        let loaded = Loaded::new(machine, doing("kernels", wasm)?)?;
        let (mut readings, result) = readings(&loaded, job, figures)?;
        figures.call(format!("kernel/{}", job.name), &mut readings, result);
    }
    Ok(())
}

/// Measures the loops.
pub(crate) fn measure_loops(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    let loaded = Loaded::new(machine, guest!("loops"))?;
    for (function, argument) in LOOPS {
        let mut running = loaded.instantiate()?;
        let result = running.call(function, argument)?;
        let mut readings = Vec::new();
        for _ in 0..figures.runs() {
            readings.push(again(&mut running, function, argument, result)?);
        }
        figures.call(format!("loop/{function}"), &mut readings, result);
    }
    Ok(())
}

/// The ticks of each call, and what all of them returned.
fn readings(loaded: &Loaded, job: &Job, figures: &Figures) -> Result<(Vec<u64>, i32), BenchError> {
    let mut running = loaded.instantiate()?;
    let result = running.call(&job.function, job.argument)?;
    let (mut readings, mut sum) = (Vec::new(), 0);
    while readings.len() < LEAST_CALLS
        || (readings.len() < MOST_CALLS && !figures.is_enough(sum, LEAST_MILLISECONDS))
    {
        let ticks = match job.instances {
            Instances::One => again(&mut running, &job.function, job.argument, result)?,
            Instances::New => {
                drop(running);
                let (instantiated, new) = timed(|| loaded.instantiate());
                running = new?;
                instantiated + again(&mut running, &job.function, job.argument, result)?
            }
        };
        sum += ticks;
        readings.push(ticks);
    }
    Ok((readings, result))
}

/// The ticks of one more call, which must return `expected`.
fn again(running: &mut Running, function: &str, argument: i32, expected: i32) -> Result<u64, BenchError> {
    let (ticks, result) = timed(|| running.call::<i32, i32>(function, argument));
    let differs = format!("`{function}` returned something else than before");
    doing("calling a guest", (result? == expected).then_some(ticks).ok_or(differs))
}
