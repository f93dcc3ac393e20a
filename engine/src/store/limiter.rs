//! What wasmi asks before it makes or grows something.
//!
//! Owns the store's limits, and the gate that keeps memories from growing without the engine. Installed by the
//! store; the gate is opened by whoever makes or grows a memory.

use wasmi::ResourceLimiter;
use wasmi_core::LimiterError;

use crate::config::Limits;

/// Whether wasmi may make or grow a memory right now.
///
/// A memory that grows behind the engine's back would be zeroed beyond its region's limit, so the engine
/// opens the gate around its own calls and keeps it closed otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    Open,
    Closed,
}

/// The limits that wasmi asks for.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) limits: Limits,
    pub(crate) growth: Growth,
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
