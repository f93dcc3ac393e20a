//! The limits that wasmi checks before it creates or grows something, and the lock on growth.

use wasmi::ResourceLimiter;
use wasmi_core::LimiterError;

use crate::config::Limits;

/// Whether wasmi may create or grow a memory at present.
///
/// wasmi zeroes what a memory grows by. If a memory grew without the engine, those writes would go
/// past the limit of its region. So growth is open only during the engine's own calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    Open,
    Closed,
}

/// The limits of a store, and whether its memories may grow at present.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) limits: Limits,
    pub(crate) growth: Growth,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, growth: Growth::Closed }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        Ok(self.growth == Growth::Open)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        Ok(desired <= self.limits.table_elements)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}
