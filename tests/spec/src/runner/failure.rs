//! Why a directive failed.

use alloc::{boxed::Box, string::String, vec::Vec};
use palimpsest_engine::{DuplicateDefinition, Error, InstantiateError, ModuleError, Val};
use thiserror::Error;

use crate::stream::Pattern;

/// Why a directive failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// A module is not loaded, or not for a reason that the directive allows.
    #[error("the module is not loaded: {0}")]
    Module(#[from] ModuleError),
    /// A module is not instantiated.
    #[error("the module is not instantiated: {0}")]
    Instantiate(#[from] InstantiateError),
    /// An instance is not registered.
    #[error("the instance is not registered: {0}")]
    Register(#[from] DuplicateDefinition),
    /// A call that must return does not.
    #[error("the call failed: {0}")]
    Call(#[from] Error),
    /// The file names an instance that it has not made.
    #[error("the file has no instance {name:?}")]
    NoInstance {
        /// Its name; nothing for the last one.
        name: Option<Box<str>>,
    },
    /// The file names a module that it has not defined.
    #[error("the file has no module {name:?}")]
    NoDefinition {
        /// Its name; nothing for the last one.
        name: Option<Box<str>>,
    },
    /// The instance lacks an export.
    #[error("the instance exports no such thing as `{name}`")]
    NoExport {
        /// The export's name.
        name: Box<str>,
    },
    /// An action that must fail succeeds.
    #[error("succeeded, where `{expected}` is expected")]
    Succeeded {
        /// The specification's message.
        expected: Box<str>,
    },
    /// An action fails with another error than expected.
    #[error("failed with `{found}`, where `{expected}` is expected")]
    OtherFailure {
        /// The specification's message.
        expected: Box<str>,
        /// The engine's message.
        found: String,
    },
    /// An action has other results.
    #[error("returned {found:?}, where {expected:?} is expected")]
    OtherResults {
        /// One pattern for each result.
        expected: Vec<Pattern>,
        /// The results.
        found: Vec<Val>,
    },
    /// The directive is listed among those that fail.
    #[error("is listed as a known miss and passes: take it off the list")]
    PassesNow,
}
