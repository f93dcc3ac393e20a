//! Linking: names to definitions, and modules to instances.
//!
//! A [`Linker`] maps the names of imports to host functions and to what stores own. [`instantiate`]
//! resolves a module's imports against it and against [`guest_imports`], which the engine provides,
//! and fills the [`host_table`] that stands in for the spliced instructions. `fork` does the same
//! with the state of a snapshot.

mod error;
#[cfg(feature = "snapshots")]
mod fork;
mod guest_imports;
mod host_table;
mod instantiate;
mod linker;
mod matching;

#[cfg(feature = "snapshots")]
pub use self::fork::ForkError;
pub(crate) use self::instantiate::{Unstarted, prepare};
pub use self::{
    error::{DuplicateDefinition, InstantiateError, UnknownImports},
    linker::Linker,
};
