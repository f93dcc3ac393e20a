//! The policies of an address space: work that it does beyond what it must.
//!
//! A policy changes costs, and never what a page reads: a page that was committed ahead reads as
//! zero, as an absent one does.

use core::sync::atomic::{AtomicU32, Ordering};

/// The policies of an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policies {
    /// Whether a first write to a page also commits pages after it.
    pub fault_around: FaultAround,
    /// How a fill of zeros treats pages that read as zero.
    pub zero_stores: ZeroStores,
}

impl Policies {
    /// Every policy switched off: a first write commits its page and no other, even if it writes
    /// zeros.
    pub const OFF: Self = Self { fault_around: FaultAround::Off, zero_stores: ZeroStores::Off };
}

/// Whether pages are committed before they are touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAround {
    /// A first write commits its page and no other.
    Off,
    /// A run of first writes to neighbouring pages, in ascending order, commits pages ahead of it.
    ///
    /// The third write of a run commits the rest of its 64 KiB. Each further write that finds an
    /// absent page commits twice as many pages as the one before, up to `limit_pages`, and up to
    /// the end of its level-1 table. A run never has more than `limit_pages - 1` pages ahead of it.
    /// With the default limit of 64 that is at most 1/8 of what it has written, or 64 pages if it
    /// has written less than 512.
    ///
    /// A page that is not absent, or is beyond the limit of the region, ends the window. Frames are
    /// taken only while the source and the account have some. Frames of pages that were never
    /// written are counted as [`ahead_frames`](crate::Residency::ahead_frames), and released before
    /// any allocation fails.
    Adaptive {
        /// The largest number of pages that one fault commits, its own page included.
        limit_pages: u16,
    },
}

/// A fault costs less than zeroing a page. With 64 pages per fault its cost hardly counts, and more
/// pages would hold more frames for little gain: `cargo xtask bench` compares several limits.
const DEFAULT_LIMIT_PAGES: u16 = 64;

impl Default for FaultAround {
    fn default() -> Self {
        Self::Adaptive { limit_pages: DEFAULT_LIMIT_PAGES }
    }
}

/// How the fault handler treats a `rep stosb` or `rep stosq` of zeros over pages that read as zero.
///
/// It applies to a handler that has the registers, as with the entry of
/// [`page_fault_entry`](crate::page_fault_entry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZeroStores {
    /// It commits the pages, as any other write does, unless a [`ZeroFill`](crate::ZeroFill) guard
    /// is up.
    Off,
    /// It is moved to the end of the pages, which stay as they are.
    #[default]
    StepOver,
}

/// The policies of a space in one word, which faults read without a lock.
///
/// A fault that runs while they are set may apply the old ones or the new ones.
#[derive(Debug)]
pub(crate) struct PoliciesInForce(AtomicU32);

/// The largest number of pages that one fault commits. It is 1 if fault-around is off.
const LIMIT_PAGES: u32 = 0xffff;
const FAULT_AROUND_OFF: u32 = 1 << 16;
const STEP_OVER: u32 = 1 << 17;

impl PoliciesInForce {
    pub(crate) fn new(policies: Policies) -> Self {
        Self(AtomicU32::new(pack(policies)))
    }

    pub(crate) fn set(&self, policies: Policies) {
        self.0.store(pack(policies), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Policies {
        let word = self.0.load(Ordering::Relaxed);
        let is_off = word & FAULT_AROUND_OFF != 0;
        let limit_pages = self.limit_pages();
        Policies {
            fault_around: if is_off { FaultAround::Off } else { FaultAround::Adaptive { limit_pages } },
            zero_stores: self.zero_stores(),
        }
    }

    /// The largest number of pages that one fault commits.
    #[inline]
    pub(crate) fn limit_pages(&self) -> u16 {
        (self.0.load(Ordering::Relaxed) & LIMIT_PAGES) as u16
    }

    #[inline]
    pub(crate) fn zero_stores(&self) -> ZeroStores {
        let steps_over = self.0.load(Ordering::Relaxed) & STEP_OVER != 0;
        if steps_over { ZeroStores::StepOver } else { ZeroStores::Off }
    }
}

fn pack(policies: Policies) -> u32 {
    let fault_around = match policies.fault_around {
        FaultAround::Off => FAULT_AROUND_OFF | 1,
        FaultAround::Adaptive { limit_pages } => limit_pages.into(),
    };
    let zero_stores = match policies.zero_stores {
        ZeroStores::Off => 0,
        ZeroStores::StepOver => STEP_OVER,
    };
    fault_around | zero_stores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_in_force_are_those_that_were_set() {
        let in_force = PoliciesInForce::new(Policies::OFF);
        assert_eq!((in_force.get(), in_force.limit_pages()), (Policies::OFF, 1));
        for limit_pages in [0, 1, 64, u16::MAX] {
            for zero_stores in [ZeroStores::Off, ZeroStores::StepOver] {
                let policies = Policies { fault_around: FaultAround::Adaptive { limit_pages }, zero_stores };
                in_force.set(policies);
                assert_eq!((in_force.get(), in_force.limit_pages()), (policies, limit_pages));
            }
        }
    }
}
