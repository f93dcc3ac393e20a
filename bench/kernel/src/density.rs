//! How many instances of a one-page module are alive when the machine is full.
//!
//! Each has its own store and has run a function that writes to its memory. At the end all are
//! called once more, and each must still have its own memory. Instances use frames and the kernel's
//! heap, and the count ends when either is exhausted.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_protocol::Unit;

use crate::BenchError;
use crate::figures::Figures;
use crate::guest::{Loaded, Running, guest};

const FRAME_BYTES: u64 = 4 << 10;

/// The heap that is kept free for the kernel's own allocations, in bytes.
const HEAP_RESERVE_BYTES: usize = 256 << 10;

/// The number of instances between two samples.
const SAMPLE_EVERY: usize = 100;

/// The memory in use.
struct Taken {
    frames: u64,
    heap_bytes: u64,
}

impl Taken {
    fn of(machine: &Machine) -> Self {
        let frames = machine.frames().total_frames() - machine.frames().free_frames();
        Self { frames, heap_bytes: machine.heap().used_bytes as u64 }
    }

    fn bytes_since(&self, before: &Self) -> u64 {
        (self.frames - before.frames) * FRAME_BYTES + (self.heap_bytes - before.heap_bytes)
    }
}

/// Two guests: the memory of one cannot grow beyond one Wasm page; that of the other may grow, and
/// therefore has its own page tables.
const GUESTS: [(&str, &[u8]); 2] = [("density", guest!("one-page")), ("density_growable", guest!("page"))];

/// Makes instances of each guest until the machine is full.
pub(crate) fn measure(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    GUESTS.into_iter().try_for_each(|(name, wasm)| fill(machine, name, &Loaded::new(machine, wasm)?, figures))
}

fn fill(machine: &Machine, name: &str, loaded: &Loaded, figures: &mut Figures) -> Result<(), BenchError> {
    // Each needs a frame at least, so the list never has to grow.
    let most =
        usize::try_from(machine.frames().free_frames()).expect("an address has as many bits as a usize");
    let mut alive: Vec<Box<Running>> = Vec::with_capacity(most);
    let before = Taken::of(machine);
    while let Some(running) = another(machine, loaded, &alive) {
        alive.push(running);
        if alive.len().is_multiple_of(SAMPLE_EVERY) {
            figures.sample(name, alive.len() as u64, Taken::of(machine).bytes_since(&before));
        }
    }
    let after = Taken::of(machine);
    let intact = alive.iter_mut().zip(0..).filter_map(|(running, number)| again(running, number));
    let instances = intact.count() as u64;
    figures.count(format!("{name}/instances"), Unit::Instances, instances);
    figures.count(format!("{name}/frames"), Unit::Frames, after.frames - before.frames);
    figures.count(format!("{name}/heap"), Unit::Bytes, after.heap_bytes - before.heap_bytes);
    figures.count(format!("{name}/free frames"), Unit::Frames, machine.frames().free_frames());
    Ok(())
}

/// Makes an instance and runs it. Returns `None` if the machine is full.
fn another(machine: &Machine, loaded: &Loaded, alive: &[Box<Running>]) -> Option<Box<Running>> {
    let heap = machine.heap();
    if heap.size_bytes - heap.used_bytes < HEAP_RESERVE_BYTES {
        return None;
    }
    let mut running = Box::new(loaded.instantiate().ok()?);
    let number = i32::try_from(alive.len()).ok()?;
    // Without a free frame the store is lost, and the call returns an error.
    running.call::<i32, i32>("run", number).ok().map(|_| running)
}

/// Returns `Some` if the instance still runs and its memory still contains what it wrote.
fn again(running: &mut Running, number: i32) -> Option<()> {
    let resident = running.residency().ok()?.resident_frames;
    let answer: i32 = running.call("run", number).ok()?;
    (resident == 1 && answer == number).then_some(())
}
