//! Why a guest did not return: one line each, which begins with `error: ` if it was never called.

use alloc::string::String;

use palimpsest_engine::{DuplicateDefinition, EngineError, Error, InstantiateError, ModuleError, TaskError};
use palimpsest_protocol::{Outcome, files};
use palimpsest_wasi::ArchiveError;
use thiserror::Error;

use crate::{slices::SliceError, values::ArgumentError};

/// Why a guest did not return.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error("error: there is no {} in the boot archive; pass a Wasm file", files::GUEST)]
    NoGuest,
    #[error("error: {0}")]
    Engine(#[from] EngineError),
    #[error("error: {0}")]
    Module(#[from] ModuleError),
    #[error("error: the directory of the guest: {0}")]
    Archive(#[from] ArchiveError),
    #[error("error: {0}")]
    Link(#[from] DuplicateDefinition),
    #[error("error: {0}")]
    Instantiate(InstantiateError),
    #[error("trap: {0}")]
    Start(InstantiateError),
    #[error("error: the module exports no function `{name}`; {hint}")]
    NoExport { name: String, hint: String },
    #[error("error: this is another library than the one that it was run as: it exports no `{name}`")]
    OtherLibrary { name: String },
    #[error("trap: the library names {bytes} bytes at {address:#x}, and its memory ends before")]
    OutOfBounds { address: u32, bytes: usize },
    #[error("error: {0}")]
    Arguments(#[from] ArgumentError),
    #[error("error: {0}")]
    Task(TaskError),
    #[error("trap: {cause}, in the call of `{name}`")]
    Trap { name: String, cause: Error },
}

impl From<InstantiateError> for RunError {
    fn from(error: InstantiateError) -> Self {
        if matches!(error, InstantiateError::Start(_)) {
            Self::Start(error)
        } else {
            Self::Instantiate(error)
        }
    }
}

impl RunError {
    /// What `error`, of a call of `name`, is for the whole run.
    pub(crate) fn of_call(name: &str, error: SliceError) -> Self {
        match error {
            SliceError::Task(TaskError::Instantiate(error)) => error.into(),
            SliceError::Task(error) => Self::Task(error),
            SliceError::Guest(cause) => Self::Trap { name: name.into(), cause },
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Start(_) | Self::Trap { .. } | Self::OutOfBounds { .. } => Outcome::Trap,
            Self::NoGuest
            | Self::Engine(_)
            | Self::Module(_)
            | Self::Archive(_)
            | Self::Link(_)
            | Self::Instantiate(_)
            | Self::NoExport { .. }
            | Self::OtherLibrary { .. }
            | Self::Arguments(_)
            | Self::Task(_) => Outcome::Error,
        }
    }
}
