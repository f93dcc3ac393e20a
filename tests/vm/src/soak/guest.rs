//! A program that is a guest of these tests, called with random arguments: honest ones that check
//! their files or blocks themselves, and hostile ones.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_engine::{
    Fuel, Limits, Linker, Module, Poll, Store, StoreOptions, StoreReport, Task, TrapCode, Val,
};

use super::program::{CAP_FRAMES, Turn};
use crate::hostile::{End, Expected, Units, World, end_of_call};
use crate::random::Random;
use crate::wasm::{engine, guest};

/// Bytes that the files of a guest may have.
const SCRATCH_BYTES: u64 = 1 << 20;

/// Bytes of heap for a hostile guest. All of them together leave enough to the honest ones.
const HOSTILE_HEAP_BYTES: usize = 3 << 20;

/// Bytes of addresses for a guest. The window has room for all of them.
const ADDRESS_BYTES: u64 = 1 << 40;

/// The most fuel of a slice. A guest that is lost runs on until its slice ends, and each unit may
/// then be a fault that finds no frame.
const MOST_FUEL: u64 = 1 << 13;

/// A guest that has not ended.
pub(super) struct Guest {
    task: Task<World>,
    kind: Kind,
}

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes, reads, truncates and removes a file, and compares it with a copy.
    Files,
    /// Allocates, moves and frees blocks of the host's heap, and checks their contents.
    Blocks,
    /// Writes to pages that lie a random distance apart.
    Writes,
    /// Reads pages, for which the backing needs tables.
    Reads,
    /// Writes pages and clears them, again and again.
    Clears,
    /// Fills memory with a number of bytes.
    Fills,
    /// Copies memory onto memory that overlaps.
    Copies,
    /// Grows its memory, and writes to each new part.
    Grows,
    /// Recurses until its stack is used up.
    Recurses,
    /// Enters itself through the host.
    Enters,
    /// Moves directories in cycles.
    Directories,
    /// Writes files with holes until the quota is used up.
    Holes,
    /// Allocates blocks of the host's heap and frees none.
    Hoards,
    /// The module of another kind, with some bytes changed.
    Damaged,
}

const KINDS: [Kind; 14] = [
    Kind::Files,
    Kind::Blocks,
    Kind::Writes,
    Kind::Reads,
    Kind::Clears,
    Kind::Fills,
    Kind::Copies,
    Kind::Grows,
    Kind::Recurses,
    Kind::Enters,
    Kind::Directories,
    Kind::Holes,
    Kind::Hoards,
    Kind::Damaged,
];

/// A guest that was not started.
pub(super) enum NotStarted {
    /// It had to be refused, or may be.
    Refused,
    /// It is honest, and was refused for this reason.
    Wrong(String),
}

impl Guest {
    /// Chooses a kind and its arguments, and instantiates the guest.
    ///
    /// # Errors
    ///
    /// [`NotStarted`].
    pub(super) fn start(
        machine: &Machine,
        random: &mut Random,
        linker: &Linker<World>,
    ) -> Result<Self, NotStarted> {
        let kind = any_of(&KINDS, random);
        let (wasm, export, arguments) = kind.call(random);
        let refused = |error: &dyn ToString| {
            if kind == Kind::Damaged {
                return NotStarted::Refused;
            }
            NotStarted::Wrong(format!("a guest that is {kind:?}: {}", error.to_string()))
        };
        let engine = engine(machine, machine.engine_config(Limits::default()).fuel(Fuel::Metered));
        let module = Module::new(&engine, &wasm).map_err(|error| refused(&error))?;
        let mut limits = *engine.limits();
        limits.resident_frames = Some(CAP_FRAMES);
        limits.address_bytes = Some(ADDRESS_BYTES);
        if !kind.is_honest() {
            limits.heap_bytes = limits.heap_bytes.min(HOSTILE_HEAP_BYTES);
        }
        let options = StoreOptions { limits: Some(limits), ..StoreOptions::default() };
        let world = World::with_scratch(&Arc::new(Units::default()), SCRATCH_BYTES);
        let store = Store::with_options(&engine, world, options);
        let task =
            Task::instantiate(store, linker, &module, export, &arguments).map_err(|error| refused(&error))?;
        Ok(Self { task, kind })
    }

    /// Runs for a slice of at most `fuel`.
    pub(super) fn turn(&mut self, fuel: u64) -> Turn {
        let result = match self.task.run(fuel.min(MOST_FUEL)) {
            Poll::Runnable | Poll::Waiting { .. } => return Turn::Runs,
            Poll::Returned(values) => Ok(values),
            Poll::Failed(error) => Err(error),
        };
        let end = end_of_call(result);
        if !self.kind.admits(&end) {
            return Turn::Wrong(format!("{end:?} of a guest that is {:?}", self.kind));
        }
        if matches!(end, End::Returned(_)) { Turn::Returned } else { Turn::Stopped }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn reclaim(&mut self, budget_frames: u64) {
        self.task.store_mut().reclaim(budget_frames);
    }

    pub(super) fn report(&self) -> StoreReport {
        self.task.store().report()
    }
}

impl Kind {
    fn is_honest(self) -> bool {
        matches!(self, Self::Files | Self::Blocks)
    }

    /// Returns a module, the export that is called, and random arguments for it.
    fn call(self, random: &mut Random) -> (Vec<u8>, &'static str, Vec<Val>) {
        const PAGE: u64 = 4096;
        const TIB: u64 = 1 << 40;
        let mut up_to =
            |most: u64| Val::I64(i64::from(random.below(u32::try_from(most).unwrap_or(u32::MAX))) + 1);
        let (wasm, export, arguments): (&[u8], _, _) = match self {
            Self::Files => (guest!("file-keeper"), "run", alloc::vec![up_to(1 << 30), Val::I32(5_000)]),
            Self::Blocks => (guest!("block-keeper"), "run", alloc::vec![up_to(1 << 30), Val::I32(5_000)]),
            Self::Writes | Self::Reads | Self::Clears => {
                let stride = PAGE << random.below(12);
                let most = u32::try_from(TIB / stride).unwrap_or(u32::MAX).min(20_000);
                let count = Val::I64(i64::from(random.below(most)) + 1);
                let stride = Val::I64(stride.cast_signed());
                let (export, arguments) = if self == Self::Clears {
                    ("write_and_clear", alloc::vec![stride, count])
                } else {
                    let export = if self == Self::Writes { "write" } else { "read" };
                    (export, alloc::vec![Val::I64(0), stride, count])
                };
                (guest!("faults"), export, arguments)
            }
            Self::Fills => (guest!("bulk-of-any-length"), "fill_forever", alloc::vec![up_to(16 << 20)]),
            Self::Copies => (
                guest!("bulk-of-any-length"),
                "copy_forever",
                alloc::vec![up_to(PAGE), Val::I64(0), up_to(16 << 20)],
            ),
            Self::Grows => (guest!("growth"), "again", alloc::vec![up_to(64)]),
            Self::Recurses => (guest!("stack"), "endless", Vec::new()),
            Self::Enters => (
                guest!("stack"),
                "enter_below_frames",
                alloc::vec![Val::I32(random.below(100).cast_signed())],
            ),
            Self::Directories => (guest!("files"), "cycles", Vec::new()),
            Self::Holes => (guest!("files"), "holes", Vec::new()),
            Self::Hoards => {
                let bytes = 1 << random.below(16);
                (guest!("allocations"), "exhaust", alloc::vec![Val::I32(bytes)])
            }
            Self::Damaged => return damaged(random),
        };
        (wasm.to_vec(), export, arguments)
    }

    /// Returns whether a guest of this kind may end like this.
    fn admits(self, end: &End) -> bool {
        const ENOSPC: i64 = 51;
        match self {
            Self::Files | Self::Blocks => Expected::Returns(0),
            Self::Writes | Self::Reads => Expected::OneOf(&[Expected::Returns(0), Expected::OutOfFrames]),
            Self::Clears | Self::Fills | Self::Copies | Self::Grows => Expected::OutOfFrames,
            Self::Recurses => Expected::Traps(TrapCode::StackOverflow),
            // A nested call cannot be suspended, so the end of a slice ends it.
            Self::Enters => {
                Expected::OneOf(&[Expected::ReentryTooDeep, Expected::Traps(TrapCode::OutOfFuel)])
            }
            Self::Directories => Expected::Runs,
            Self::Holes => Expected::OneOf(&[Expected::Returns(ENOSPC), Expected::OutOfHeap]),
            Self::Hoards => {
                Expected::OneOf(&[Expected::Returns(0), Expected::OutOfHeap, Expected::OutOfFrames])
            }
            // It may do anything but harm others.
            Self::Damaged => return true,
        }
        .admits(end)
    }
}

fn any_of(kinds: &[Kind], random: &mut Random) -> Kind {
    let count = u32::try_from(kinds.len()).expect("there are few kinds");
    kinds[random.below(count) as usize]
}

/// Returns a module of one of the other kinds, which are all but the last, with up to four bytes
/// changed.
fn damaged(random: &mut Random) -> (Vec<u8>, &'static str, Vec<Val>) {
    let (_, others) = KINDS.split_last().expect("there are kinds");
    let (mut wasm, export, arguments) = any_of(others, random).call(random);
    for _ in 0..=random.below(4) {
        let place = random.below(u32::try_from(wasm.len()).expect("these guests are small")) as usize;
        wasm[place] = random.next().to_le_bytes()[0];
    }
    (wasm, export, arguments)
}
