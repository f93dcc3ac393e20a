//! Which store an item belongs to.
//!
//! wasmi numbers stores with 32 bits and compares the number whenever an item is used. A handle
//! that is kept while 2^32 more stores are created would pass that check in a store of others. So
//! the engine's handles also have the number of their store among all stores of the program, which
//! has 64 bits and does not repeat.

#[cfg(target_has_atomic = "64")]
use core::sync::atomic::{AtomicU64, Ordering};

use super::StoreState;

/// The number of a store. No other store of the program ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreId(u64);

impl StoreId {
    /// Returns the number of a new store.
    #[cfg(target_has_atomic = "64")]
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the number of a new store. An interrupt handler must not create stores, because it
    /// may have interrupted the holder of the lock.
    #[cfg(not(target_has_atomic = "64"))]
    pub(super) fn next() -> Self {
        static NEXT: spin::Mutex<u64> = spin::Mutex::new(0);
        let mut next = NEXT.lock();
        let id = *next;
        *next = id.wrapping_add(1);
        Self(id)
    }

    /// Checks that `state` is that of the store with this number.
    ///
    /// # Panics
    ///
    /// Panics if it is another store's.
    #[inline]
    #[track_caller]
    pub(crate) fn check<T>(self, state: &StoreState<T>) {
        if self != state.id {
            other_store();
        }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn other_store() -> ! {
    panic!("an item was used with another store; use it with the store that it belongs to")
}

/// A handle of wasmi, and the store that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned<I> {
    item: I,
    owner: StoreId,
}

impl<I: Copy> Owned<I> {
    /// Wraps an item of the store with this state.
    pub(super) fn new<T>(item: I, state: &StoreState<T>) -> Self {
        Self { item, owner: state.id }
    }

    /// Returns wasmi's handle, for use with the store that has this state.
    ///
    /// # Panics
    ///
    /// Panics if the item belongs to another store.
    #[inline]
    #[track_caller]
    pub(super) fn of<T>(self, state: &StoreState<T>) -> I {
        self.owner.check(state);
        self.item
    }

    /// Returns wasmi's handle for values and references, which are wasmi's types and which wasmi
    /// checks.
    pub(super) fn unchecked(self) -> I {
        self.item
    }

    /// Returns another handle of the same item.
    pub(super) fn map<J>(self, map: impl FnOnce(I) -> J) -> Owned<J> {
        Owned { item: map(self.item), owner: self.owner }
    }
}
