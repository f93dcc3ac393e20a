//! The kernel heap that a store takes.

use wasmi::{Error, errors::ErrorKind};

use super::OutOfHeap;
use crate::budget::{HeapMeter, Ledger, Stay, Verdict};

/// The account of a store with the engine's [`HeapBudget`](crate::HeapBudget). Stores of an engine
/// without a budget have none.
///
/// While the store is served, the budget's meter counts what is allocated and freed. The difference
/// is added here when the store is left.
#[derive(Debug)]
pub(crate) struct HeapAccount {
    ledger: &'static dyn Ledger,
    limit_bytes: usize,
    /// Bytes taken in the past stays. They are negative if a stay has freed what was allocated
    /// outside of one.
    taken: isize,
    /// The stay that has not ended.
    stay: Option<(&'static HeapMeter, Stay)>,
    lost: Option<OutOfHeap>,
}

impl HeapAccount {
    pub(super) fn new(ledger: &'static dyn Ledger, limit_bytes: usize) -> Self {
        Self { ledger, limit_bytes, taken: 0, stay: None, lost: None }
    }

    /// Starts a stay. Returns whether one was started: not if one has not ended, because a nested
    /// call is part of it.
    ///
    /// # Errors
    ///
    /// [`OutOfHeap::NoReserve`].
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<bool, OutOfHeap> {
        if self.stay.is_some() {
            return Ok(false);
        }
        if !self.ledger.has_reserve() {
            return Err(OutOfHeap::NoReserve);
        }
        let meter = self.ledger.meter();
        let limit = isize::try_from(self.limit_bytes).unwrap_or(isize::MAX);
        self.stay = Some((meter, meter.enter(limit.saturating_sub(self.taken))));
        Ok(true)
    }

    /// Ends the stay that was started last.
    ///
    /// `passed_on` is the number of bytes that were allocated in it and belong to the caller now.
    pub(crate) fn leave(&mut self, passed_on: usize) {
        if let Some((meter, stay)) = self.stay.take() {
            let (taken, verdict) = meter.leave(&stay);
            self.taken = self.taken.saturating_add(taken).saturating_sub_unsigned(passed_on);
            self.lost = self.lost.or(self.error(verdict, self.taken));
        }
    }

    /// Returns whether the stay that has not ended took too much.
    #[inline]
    pub(super) fn is_marked(&self) -> bool {
        self.stay.as_ref().is_some_and(|(meter, _)| meter.verdict() != Verdict::Sound)
    }

    /// Returns why the store is lost, if it is.
    pub(crate) fn lost(&self) -> Option<OutOfHeap> {
        match &self.stay {
            Some((meter, _)) => match meter.verdict() {
                Verdict::Sound => None,
                verdict @ (Verdict::AboveLimit | Verdict::Exhausted) => {
                    self.error(verdict, self.taken.saturating_add(meter.taken()))
                }
            },
            None => self.lost,
        }
    }

    /// Returns the bytes that the store takes.
    pub(crate) fn bytes(&self) -> usize {
        let in_stay = self.stay.as_ref().map_or(0, |(meter, _)| meter.taken());
        usize::try_from(self.taken.saturating_add(in_stay)).unwrap_or(0)
    }

    #[cold]
    fn error(&self, verdict: Verdict, taken: isize) -> Option<OutOfHeap> {
        let taken_bytes = usize::try_from(taken).unwrap_or(0);
        match verdict {
            Verdict::Sound => None,
            Verdict::AboveLimit => Some(OutOfHeap::AboveLimit { taken_bytes, limit: self.limit_bytes }),
            Verdict::Exhausted => Some(OutOfHeap::Exhausted { taken_bytes }),
        }
    }
}

/// Returns the bytes of heap that `error` takes, without what its host error owns.
///
/// A call that fails passes its error on to the caller, which frees it after the stay.
pub(super) fn bytes_of(error: &Error) -> usize {
    let host_error = if let ErrorKind::Host(host) = error.kind() { size_of_val(&**host) } else { 0 };
    size_of::<ErrorKind>() + host_error
}
