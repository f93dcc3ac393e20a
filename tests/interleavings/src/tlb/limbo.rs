//! A queue of tables that stays empty, in place of the one of `paging`, which needs their memory.

use crate::frame::PhysicalMemory;

/// What a frame waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) cpus: u64,
    pub(crate) stamp: u64,
}

#[derive(Debug)]
pub(crate) struct Limbo;

impl Limbo {
    pub(super) fn new(_: PhysicalMemory) -> Self {
        Self
    }

    pub(super) fn append(&mut self, _: Self) {}

    pub(super) fn frames(&self) -> u64 {
        0
    }

    pub(super) fn release<S>(&mut self, _: u64, _: &S, _: impl Fn(Wait) -> u64) -> (u64, u64) {
        (0, 0)
    }
}
