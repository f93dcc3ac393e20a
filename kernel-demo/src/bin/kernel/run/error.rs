//! Why a guest did not return. Each is one line, which starts with `error: ` if the guest never
//! ran.

use alloc::string::String;

use palimpsest_engine::{
    DataError, DuplicateDefinition, EngineError, Error, ForkError, InstantiateError, ModuleError,
    SnapshotError, SnapshotReadError, TaskError,
};
use palimpsest_protocol::{Outcome, files};
use palimpsest_wasi::{ArchiveError, Exit};
use thiserror::Error;

use super::limits::LimitTooLarge;
use crate::{slices::SliceError, values::ArgumentError};

/// Why a guest did not return.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error("error: the boot archive does not contain {}; pass a Wasm file", files::GUEST)]
    NoGuest,
    #[error("error: {0}")]
    Limit(#[from] LimitTooLarge),
    #[error("error: {0}")]
    Engine(#[from] EngineError),
    #[error("error: {0}")]
    Module(#[from] ModuleError),
    #[error("error: the guest's directory: {0}")]
    Archive(#[from] ArchiveError),
    #[error("error: {0}")]
    Link(#[from] DuplicateDefinition),
    #[error("error: {0}")]
    Instantiate(InstantiateError),
    #[error("trap: {0}")]
    Start(InstantiateError),
    #[error("error: the module exports no function `{name}`; {hint}")]
    NoExport { name: String, hint: String },
    #[error("error: the module does not export `{name}`, so it is not the library that --program names")]
    OtherLibrary { name: String },
    #[error("trap: the library returned {bytes} bytes at {address:#x}, which is out of bounds")]
    OutOfBounds { address: u32, bytes: usize },
    #[error("error: {0}")]
    Arguments(#[from] ArgumentError),
    #[error("error: this program cannot be forked; use --program quickjs, or name a function with --invoke")]
    NoSnapshots,
    #[error(
        "error: `_initialize` does not call `palimpsest.snapshot_ready`, which marks the point for the snapshot"
    )]
    NotReady,
    #[error("error: no snapshot was made: {0}")]
    Snapshot(#[from] SnapshotError),
    #[error("error: the snapshot was not written: {0}")]
    SnapshotWrite(DataError),
    #[error("error: the boot archive does not contain {}; pass a snapshot", files::SNAPSHOT)]
    NoSnapshot,
    #[error("error: {0}")]
    SnapshotRead(#[from] SnapshotReadError),
    #[error("error: {0}")]
    Fork(#[from] ForkError),
    #[error("error: {0}")]
    Task(TaskError),
    #[error("trap: {cause}, in the call of `{name}`")]
    Trap { name: String, cause: Error },
    /// The guest ended itself, in whichever of its functions.
    #[error(transparent)]
    Exit(Exit),
}

impl From<InstantiateError> for RunError {
    fn from(error: InstantiateError) -> Self {
        let InstantiateError::Start(cause) = &error else { return Self::Instantiate(error) };
        match cause.downcast_ref::<Exit>() {
            Some(exit) => Self::Exit(*exit),
            None => Self::Start(error),
        }
    }
}

impl RunError {
    /// Converts an error of a call of `name` to that of the run.
    pub(crate) fn of_call(name: &str, error: SliceError) -> Self {
        match error {
            SliceError::Task(TaskError::Instantiate(error)) => error.into(),
            SliceError::Task(error) => Self::Task(error),
            SliceError::Guest(cause) => match cause.downcast_ref::<Exit>() {
                Some(exit) => Self::Exit(*exit),
                None => Self::Trap { name: name.into(), cause },
            },
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Exit(_) => Outcome::Exited,
            Self::Start(_) | Self::Trap { .. } | Self::OutOfBounds { .. } => Outcome::Trap,
            Self::NoGuest
            | Self::Limit(_)
            | Self::Engine(_)
            | Self::Module(_)
            | Self::Archive(_)
            | Self::Link(_)
            | Self::Instantiate(_)
            | Self::NoExport { .. }
            | Self::OtherLibrary { .. }
            | Self::Arguments(_)
            | Self::NoSnapshots
            | Self::NotReady
            | Self::Snapshot(_)
            | Self::SnapshotWrite(_)
            | Self::NoSnapshot
            | Self::SnapshotRead(_)
            | Self::Fork(_)
            | Self::Task(_) => Outcome::Error,
        }
    }
}
