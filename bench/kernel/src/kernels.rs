//! Running Wasm: the functions of the request, and a few loops that are part of every measurement.
//!
//! A first call, which is not measured, translates a function and makes its pages resident. Then
//! the function is called as often and for as long as the peers' runner calls it. Its result is
//! part of the figure, because a wrong result that was computed fast is not a measurement.

use alloc::format;
use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_protocol::{Instances, Job};

use crate::figures::{Figures, timed};
use crate::guest::{Loaded, Running, guest};
use crate::{BenchError, doing};

/// A function is called at least [`LEAST_CALLS`] times, and then until it has run for
/// [`LEAST_MILLISECONDS`] or [`MOST_CALLS`] times.
const LEAST_CALLS: usize = 3;
const MOST_CALLS: usize = 25;
const LEAST_MILLISECONDS: u64 = 100;

/// The exports of `guests/loops.wat` with their arguments: about 100,000 Wasm instructions each.
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

/// Returns the ticks of each call, and the result of all of them.
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

/// Calls the function once more and returns the ticks. The result must be `expected`.
fn again(running: &mut Running, function: &str, argument: i32, expected: i32) -> Result<u64, BenchError> {
    let (ticks, result) = timed(|| running.call::<i32, i32>(function, argument));
    let differs = format!("`{function}` returned another result than before");
    doing("calling a guest", (result? == expected).then_some(ticks).ok_or(differs))
}
