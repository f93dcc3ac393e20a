//! What is set aside of the kernel heap while a module is loaded.
//!
//! The validator and wasmi allocate in ways that cannot fail. What they take is bounded by sizes
//! that are known before they allocate, so the reserve is made large enough at each step.

use super::ModuleError;
use crate::budget::{Claim, Ledger, Verdict};

/// The claim on the reserve while a module is loaded, in an engine with a budget.
#[derive(Debug)]
pub(super) struct Loading {
    ledger: Option<&'static dyn Ledger>,
    covered_bytes: usize,
    claim: Option<Claim>,
}

impl Loading {
    pub(super) fn new(ledger: Option<&'static dyn Ledger>) -> Self {
        Self { ledger, covered_bytes: 0, claim: None }
    }

    /// Makes the reserve cover at least `bytes` for the next step.
    ///
    /// # Errors
    ///
    /// [`ModuleError::OutOfHeap`] if the heap has no block of that size, or is exhausted already.
    pub(super) fn cover(&mut self, bytes: usize) -> Result<(), ModuleError> {
        /// What the engine itself takes for a module without sections.
        const FIRST: usize = 8 << 10;
        let Some(ledger) = self.ledger else { return Ok(()) };
        if ledger.meter().verdict() == Verdict::Exhausted {
            return Err(ModuleError::OutOfHeap);
        }
        if self.claim.is_some() && bytes <= self.covered_bytes {
            return Ok(());
        }
        let bytes = bytes.saturating_add(FIRST);
        // A quarter more if there is room, so that functions of growing size take few steps.
        let claimed = [bytes.saturating_add(bytes / 4), bytes]
            .into_iter()
            .find_map(|bytes| Claim::new(ledger, bytes).map(|claim| (claim, bytes)));
        let (claim, bytes) = claimed.ok_or(ModuleError::OutOfHeap)?;
        self.claim = Some(claim);
        self.covered_bytes = bytes - FIRST;
        Ok(())
    }
}
