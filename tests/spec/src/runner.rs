//! Runs a command stream on the engine, over any backing.
//!
//! Every file gets its own engine and store, which are dropped before its [`Event::FileDone`]. The
//! caller can then check that all memory was released. A directive that fails does not end the run.
//! A known miss that passes counts as failed, so that the list stays exact.

mod failure;
mod session;
mod setup;
mod spectest;
mod traps;
mod values;

use core::fmt;
use palimpsest_engine::{Backing, EngineError, Fuel};
use thiserror::Error;

pub use failure::Failure;
pub use spectest::SpectestError;

use self::session::Session;
use crate::{
    Totals,
    stream::{Command, Directive, Expected, File, Reader, StreamError},
};

/// Whether functions of the compiler's library compute with floats. The kernel for x86_64 without
/// SSE replaces them.
const SOFT_FLOATS: bool = cfg!(all(target_arch = "riscv32", not(target_feature = "d")));

/// An event while a stream runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A directive failed.
    Failed {
        /// Its file.
        file: File<'a>,
        /// Its line there.
        line: u32,
        /// What went wrong.
        failure: Failure,
    },
    /// A file is done, and everything that it made is dropped.
    FileDone {
        /// The file.
        file: File<'a>,
        /// The figures of the file.
        totals: Totals,
    },
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { file, line, failure } => write!(f, "FAILED {file}:{line}: {failure}"),
            Self::FileDone { file, totals } => write!(f, "{file}: {totals}"),
        }
    }
}

/// Why a run ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The stream cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The engine cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The module `spectest` cannot be made.
    #[error("the module `spectest` cannot be made: {0}")]
    Spectest(#[from] SpectestError),
}

/// Calls its argument once, where it chooses to, and returns after that.
pub type Place = fn(&mut (dyn FnMut() + Send));

/// Runs all files of `stream` over `backing`. Stores of a metered engine have enough fuel for them.
///
/// # Errors
///
/// [`RunError`]. A test that fails is reported as an event and counted.
pub fn run(
    stream: &[u8],
    backing: &Backing,
    fuel: Fuel,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Totals, RunError> {
    run_files(stream, backing, Modules { fuel, is_prepared: false }, |work| work(), on_event)
}

/// Runs all files of `stream` over `backing`, and each directive where `place` chooses to, for
/// example on another CPU than the one before.
///
/// # Errors
///
/// As [`run`].
pub fn run_moved(
    stream: &[u8],
    backing: &Backing,
    place: Place,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Totals, RunError> {
    run_files(stream, backing, Modules { fuel: Fuel::Unmetered, is_prepared: false }, place, on_event)
}

/// Runs all files of `stream` over `backing`, with modules that are prepared first. The prepared
/// ones are leaked.
///
/// # Errors
///
/// As [`run`].
pub fn run_prepared(
    stream: &[u8],
    backing: &Backing,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Totals, RunError> {
    run_files(stream, backing, Modules { fuel: Fuel::Unmetered, is_prepared: true }, |work| work(), on_event)
}

/// How the modules of a run are loaded.
#[derive(Clone, Copy)]
struct Modules {
    fuel: Fuel,
    is_prepared: bool,
}

fn run_files(
    stream: &[u8],
    backing: &Backing,
    modules: Modules,
    place: Place,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Totals, RunError> {
    let mut reader = Reader::new(stream)?;
    let mut totals = Totals::default();
    while let Some(file) = reader.next_file()? {
        let of_file = run_file(&mut reader, file, backing, modules, place, on_event)?;
        on_event(Event::FileDone { file, totals: of_file });
        totals += of_file;
    }
    Ok(totals)
}

fn run_file<'a>(
    reader: &mut Reader<'a>,
    file: File<'a>,
    backing: &Backing,
    modules: Modules,
    place: Place,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Totals, RunError> {
    let mut session = Session::new(file.suite, backing.clone(), modules)?;
    let mut totals = Totals::default();
    while let Some(Directive { line, expected, command }) = reader.next_directive()? {
        let mut outcome = None;
        place(&mut || outcome = Some(session.execute(&command)));
        let outcome = outcome.expect("a place calls its argument");
        if let Err(failure) = count(&mut totals, &command, expected, outcome) {
            on_event(Event::Failed { file, line, failure });
        }
    }
    Ok(totals)
}

/// Counts an outcome, and returns it if it counts as failed.
fn count(
    totals: &mut Totals,
    command: &Command<'_>,
    expected: Expected,
    outcome: Result<(), Failure>,
) -> Result<(), Failure> {
    let is_listed = match expected {
        Expected::Pass => false,
        Expected::KnownMiss => true,
        Expected::SoftFloatMiss => SOFT_FLOATS,
    };
    let outcome = match (is_listed, outcome) {
        (false, outcome) => outcome,
        (true, Err(_)) => {
            totals.known_misses += 1;
            return Ok(());
        }
        (true, Ok(())) => Err(Failure::PassesNow),
    };
    let counter = match (&outcome, command) {
        (Err(_), _) => &mut totals.failed,
        (Ok(()), Command::TextOnly) => &mut totals.text_only,
        (Ok(()), command) if command.is_assertion() => &mut totals.passed,
        (Ok(()), _) => &mut totals.actions,
    };
    *counter += 1;
    outcome
}

#[cfg(test)]
mod tests;
