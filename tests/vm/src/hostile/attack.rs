//! What an attack is, and how it must end.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use kernel_demo::interrupts::Delivery;
use kernel_demo::memory::FaultEntry;
use palimpsest_engine::{Commit, Limits, TrapCode};

/// A hostile guest, and what it must get.
pub(crate) struct Attack {
    /// What it does, in words joined by dashes.
    pub(super) name: &'static str,
    /// What takes the time of its longest turn.
    pub(super) cause: Cause,
    pub(super) wasm: Wasm,
    /// The export that is called, with its arguments, which are converted to its types.
    pub(super) export: &'static str,
    pub(super) arguments: &'static [i64],
    /// How it must end.
    pub(super) end: Expected,
    /// How many of it run at once.
    pub(super) guests: u32,
    /// How often it is repeated at least.
    pub(super) lives: u32,
    pub(super) limits: fn(&mut Limits),
    pub(super) commit: Commit,
    pub(super) fault_entry: FaultEntry,
    pub(super) delivery: Delivery,
    /// How many instructions loading its module may take.
    pub(super) load_bound: u64,
}

/// How many instructions loading a module may take that the engine validates twice.
const TWICE_VALIDATED: u64 = 280_000_000;

impl Attack {
    /// An attack by one guest with the default limits, by its export `run` without arguments.
    pub(super) const fn new(name: &'static str, cause: Cause, wasm: Wasm, end: Expected) -> Self {
        Self {
            name,
            cause,
            wasm,
            export: "run",
            arguments: &[],
            end,
            guests: 1,
            lives: 1,
            limits: |_| {},
            commit: Commit::OnTouch,
            fault_entry: FaultEntry::RegisterAware,
            delivery: Delivery::Maskable,
            load_bound: Cause::Load.bound(),
        }
    }

    pub(super) const fn calls(mut self, export: &'static str, arguments: &'static [i64]) -> Self {
        self.export = export;
        self.arguments = arguments;
        self
    }

    pub(super) const fn guests(mut self, guests: u32) -> Self {
        self.guests = guests;
        self
    }

    pub(super) const fn lives(mut self, lives: u32) -> Self {
        self.lives = lives;
        self
    }

    pub(super) const fn limits(mut self, limits: fn(&mut Limits)) -> Self {
        self.limits = limits;
        self
    }

    pub(super) const fn reserved(mut self) -> Self {
        self.commit = Commit::Reserved;
        self
    }

    pub(super) const fn with_plain_fault_handler(mut self) -> Self {
        self.fault_entry = FaultEntry::Plain;
        self
    }

    /// Its module has so many tables that the interpreter does not validate what the engine has
    /// written, and the engine does.
    pub(super) const fn validated_twice(mut self) -> Self {
        self.load_bound = TWICE_VALIDATED;
        self
    }

    pub(super) const fn under_nmis(mut self) -> Self {
        self.delivery = Delivery::NonMaskable;
        self
    }
}

/// The bytes of a guest.
pub(super) enum Wasm {
    /// Assembled from a text.
    Assembled(&'static [u8]),
    /// Too large for a text.
    Made(fn() -> Vec<u8>),
}

impl Wasm {
    pub(super) fn bytes(&self) -> Cow<'static, [u8]> {
        match self {
            Self::Assembled(bytes) => Cow::Borrowed(bytes),
            Self::Made(make) => Cow::Owned(make()),
        }
    }
}

/// What takes the time in which nothing else can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Loading a module.
    Load,
    /// Instantiating it.
    Instantiate,
    /// Translating a function at its first call.
    Translate,
    /// Wasm instructions that the fuel pays for.
    Compute,
    /// Page faults.
    Fault,
    /// Clears of pages.
    Clear,
    /// Instructions that move many bytes or elements.
    Bulk,
    /// Growth of memories and tables.
    Growth,
    /// Functions of WASI.
    Wasi,
    /// The functions of the host's heap.
    Heap,
    /// Calls between guest and host.
    Entry,
    /// Freeing what a guest leaves.
    Drop,
}

impl Cause {
    /// How many instructions it may take: of a turn, those beyond its slice.
    ///
    /// The first call of a function translates it, as one instruction of the guest.
    pub(super) const fn bound(self) -> u64 {
        match self {
            Self::Load => 347_000_000,
            Self::Translate => 150_000_000,
            Self::Drop => 100_000_000,
            Self::Instantiate => 40_000_000,
            Self::Compute
            | Self::Fault
            | Self::Clear
            | Self::Bulk
            | Self::Growth
            | Self::Wasi
            | Self::Heap
            | Self::Entry => 3_000_000,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load",
            Self::Instantiate => "instantiate",
            Self::Translate => "translate",
            Self::Compute => "compute",
            Self::Fault => "fault",
            Self::Clear => "clear",
            Self::Bulk => "bulk",
            Self::Growth => "growth",
            Self::Wasi => "wasi",
            Self::Heap => "heap",
            Self::Entry => "entry",
            Self::Drop => "drop",
        })
    }
}

/// How an attack must end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// It runs until it is killed.
    Runs,
    /// It returns this number, or nothing for 0.
    Returns(i64),
    Traps(TrapCode),
    OutOfFrames,
    OutOfHeap,
    ReentryTooDeep,
    /// With the error of a host function.
    HostFails,
    /// The module is refused by the limit with this name.
    Refused(&'static str),
    /// The module is refused because it is not valid.
    Invalid,
    /// The module is not instantiated.
    NotInstantiated,
    /// One of these.
    OneOf(&'static [Expected]),
}

/// How an attack ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Runs,
    Returned(i64),
    Trapped(TrapCode),
    OutOfFrames,
    OutOfHeap,
    ReentryTooDeep,
    HostFailed,
    Refused(&'static str),
    Invalid,
    NotInstantiated(alloc::string::String),
    /// None of the above.
    Other(alloc::string::String),
}

impl Expected {
    /// Returns whether `end` is as expected.
    pub(crate) fn admits(self, end: &End) -> bool {
        match (self, end) {
            (Self::Runs, End::Runs)
            | (Self::OutOfFrames, End::OutOfFrames)
            | (Self::OutOfHeap, End::OutOfHeap)
            | (Self::ReentryTooDeep, End::ReentryTooDeep)
            | (Self::HostFails, End::HostFailed)
            | (Self::Invalid, End::Invalid)
            | (Self::NotInstantiated, End::NotInstantiated(_)) => true,
            (Self::Returns(expected), End::Returned(value)) => expected == *value,
            (Self::Traps(expected), End::Trapped(code)) => expected == *code,
            (Self::Refused(expected), End::Refused(limit)) => expected == *limit,
            (Self::OneOf(all), end) => all.iter().any(|expected| expected.admits(end)),
            _ => false,
        }
    }
}
