//! Why a task is not made, or does not run.

use alloc::{string::String, vec::Vec};
use thiserror::Error;
use wasmi::{ValType, errors::HostError};

use crate::link::InstantiateError;

/// Why a [`Task`](crate::Task) was not created, or does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The engine is not metered, so it has no fuel to divide into slices.
    #[error("the engine does not count fuel; create it with `Config::fuel(Fuel::Metered)`")]
    Unmetered,
    /// The module was not instantiated.
    #[error(transparent)]
    Instantiate(#[from] InstantiateError),
    /// The module does not export the function.
    #[error("the module exports no function `{name}`")]
    NoExport {
        /// The name.
        name: String,
    },
    /// The function has other parameters.
    #[error("the function has parameters of the types {expected:?}; the arguments are {given:?}")]
    Arguments {
        /// The types of the parameters.
        expected: Vec<ValType>,
        /// The types of the arguments.
        given: Vec<ValType>,
    },
    /// The call has already returned or failed.
    #[error("the task is over; create another one for another call")]
    Over,
}

impl HostError for TaskError {}
