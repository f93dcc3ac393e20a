//! Why a task is not made, or does not run.

use alloc::{string::String, vec::Vec};
use thiserror::Error;
use wasmi::{ValType, errors::HostError};

use crate::link::InstantiateError;

/// Why a [`Task`](crate::Task) was not made, or does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// There is no fuel to divide into slices.
    #[error("the engine does not count fuel; make it with `Config::fuel(Fuel::Metered)`")]
    Unmetered,
    /// The module was not instantiated.
    #[error(transparent)]
    Instantiate(#[from] InstantiateError),
    /// There is nothing to call.
    #[error("the module exports no function `{name}`")]
    NoExport {
        /// The name.
        name: String,
    },
    /// The function takes other values.
    #[error("the function takes parameters of the types {expected:?}, not {given:?}")]
    Arguments {
        /// The types of its parameters.
        expected: Vec<ValType>,
        /// The types of the arguments.
        given: Vec<ValType>,
    },
    /// The call has returned or failed already.
    #[error("the task is over; make another one for another call")]
    Over,
}

impl HostError for TaskError {}
