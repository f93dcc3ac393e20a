//! A random program: its script, its store, and what it must do.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_engine::{
    Caller, Config, Error, Fuel, Images, Limits, Linker, Memory, Module, OutOfFrames, Poll, Store,
    StoreOptions, StoreReport, Strategy, Task, TrapCode, Val,
};

use super::script::{Finish, Script};
use crate::random::Random;
use crate::wasm::engine;

/// The frames of a store: enough for every script, and too few for one that devours them.
pub(super) const CAP_FRAMES: u64 = 2_400;

const PAGE_BYTES: usize = 4096;

/// A program that has not ended.
pub(super) struct Program {
    task: Task<bool>,
    memory: Memory,
    finish: Finish,
    /// What it must return.
    sum: u64,
    /// The word of each page once the script is over.
    pages: Vec<u64>,
}

/// What a slice came to.
pub(super) enum Turn {
    Runs,
    /// It returned what it had to.
    Returned,
    /// It trapped or ran out of frames, as it had to.
    Stopped,
    /// It did anything else.
    Wrong(String),
}

impl Program {
    /// Generates and instantiates a program.
    ///
    /// # Errors
    ///
    /// It was not loaded or instantiated.
    pub(super) fn start(machine: &Machine, random: &mut Random) -> Result<Self, String> {
        let script = Script::random(random);
        let engine = engine(machine, config(machine, random));
        let module = Module::new(&engine, &script.encode()).map_err(|error| error.to_string())?;
        let mut limits = *engine.limits();
        limits.resident_frames = Some(CAP_FRAMES);
        let options = StoreOptions { limits: Some(limits), ..StoreOptions::default() };
        let store = Store::with_options(&engine, false, options);
        let task = Task::instantiate(store, &linker(), &module, "run", &[]);
        let task = task.map_err(|error| error.to_string())?;
        let memory = task.store().memories().next().ok_or("the program has no memory")?;
        let (pages, sum) = script.outcome();
        Ok(Self { task, memory, finish: script.finish, sum, pages })
    }

    /// Runs for a slice of `fuel`.
    pub(super) fn turn(&mut self, fuel: u64) -> Turn {
        match (self.task.run(fuel), self.finish) {
            (Poll::Runnable, _) => Turn::Runs,
            (Poll::Returned(values), Finish::Returns) => {
                let returned = values.first().and_then(Val::i64).map(i64::cast_unsigned);
                if returned == Some(self.sum) {
                    Turn::Returned
                } else {
                    Turn::Wrong(format!("returned {returned:?} instead of {}", self.sum))
                }
            }
            (Poll::Failed(error), finish) if is_right(&error, finish) => Turn::Stopped,
            (poll, finish) => Turn::Wrong(format!("{poll:?} of a program that {finish:?}")),
        }
    }

    /// Reads, writes or clears pages of a program that no longer does. Returns whether it cleared.
    ///
    /// # Errors
    ///
    /// A page has not the content that it must have.
    pub(super) fn touch(&mut self, random: &mut Random) -> Result<bool, String> {
        if !*self.task.store().data() {
            return Ok(false);
        }
        let count = u32::try_from(self.pages.len()).expect("a script has few pages");
        let page = random.below(count) as usize;
        let store = self.task.store_mut();
        match random.below(3) {
            0 => {
                let word = random.next();
                let written = self.memory.write(&mut *store, page * PAGE_BYTES, &word.to_le_bytes());
                written.map_err(|error| error.to_string())?;
                self.pages[page] = word;
                Ok(false)
            }
            1 => {
                let wasm_page = page / 16;
                let cleared = self.memory.clear_pages(&mut *store, wasm_page as u64, 1);
                cleared.map_err(|error| error.to_string())?;
                self.pages[wasm_page * 16..][..16].fill(0);
                Ok(true)
            }
            _ => self.check().map(|()| false),
        }
    }

    /// Compares all pages with what they must contain.
    fn check(&self) -> Result<(), String> {
        let bytes = self.memory.data(self.task.store());
        for (page, expected) in self.pages.iter().enumerate() {
            let word = bytes[page * PAGE_BYTES..].first_chunk().copied().map(u64::from_le_bytes);
            if word != Some(*expected) {
                return Err(format!("page {page} reads {word:x?} instead of {expected:#x}"));
            }
        }
        Ok(())
    }

    pub(super) fn reclaim(&mut self, budget_frames: u64) {
        self.task.store_mut().reclaim(budget_frames);
    }

    pub(super) fn report(&self) -> StoreReport {
        self.task.store().report()
    }
}

/// Returns a linker whose one function marks the store of a program that only loops from then on.
/// The host may then change its pages.
fn linker() -> Linker<bool> {
    let mut linker = Linker::new();
    linker
        .func_wrap("host", "settled", |mut caller: Caller<'_, bool>| *caller.data_mut() = true)
        .expect("the linker is empty");
    linker
}

fn config(machine: &Machine, random: &mut Random) -> Config {
    let strategy = match random.below(4) {
        0 => Strategy::Recommit,
        1 => Strategy::ZeroNow,
        2 => Strategy::Deferred,
        _ => Strategy::Decommit,
    };
    let images = if random.one_in(2) { Images::Off } else { Images::CopyOnWrite };
    machine.engine_config(Limits::default()).fuel(Fuel::Metered).strategy(strategy).images(images)
}

/// Whether a program that ends like this may fail with `error`.
fn is_right(error: &Error, finish: Finish) -> bool {
    match finish {
        Finish::Traps => error.as_trap_code() == Some(TrapCode::UnreachableCodeReached),
        Finish::Recurses => error.as_trap_code() == Some(TrapCode::StackOverflow),
        Finish::Devours => error.downcast_ref::<OutOfFrames>().is_some(),
        Finish::Returns | Finish::Loops => false,
    }
}
