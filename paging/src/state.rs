//! What the fault path and the clears work on: the [`State`] of a space, under its lock, and the [`Env`] that its
//! embedder provides.

mod policy;

pub use self::policy::{CoveredTables, FaultAround, Policies, Releases, ZeroStores};
use crate::frame::Frame;
use crate::record::Directory;
use crate::table::{Sink, WindowTables};

/// What the fault path works on.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tables: WindowTables,
    pub(crate) directory: Directory,
    /// The frame of zeros that all untouched pages show when they are read.
    pub(crate) zero: Frame,
    pub(crate) sink: Sink,
    pub(crate) image_frames: u64,
    pub(crate) policies: Policies,
}

/// What the embedder gave to the space.
#[derive(Debug)]
pub(crate) struct Env<'a, S, T> {
    pub(crate) source: &'a S,
    pub(crate) tlb: &'a T,
    pub(crate) policies: Policies,
}

impl<S, T> Clone for Env<'_, S, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, T> Copy for Env<'_, S, T> {}
