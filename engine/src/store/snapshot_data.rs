//! What a snapshot records of the embedder's data, and what a fork gets of it.

use alloc::boxed::Box;

/// Why an embedder's data was not recorded, restored, written or read.
pub type DataError = Box<dyn core::error::Error + Send + Sync>;

/// An embedder's data whose state belongs to snapshots of its store.
///
/// A guest has state outside of its instance: the descriptors of WASI, for example, or the books of
/// a heap that the host keeps. [`save`](Self::save) records it when a snapshot of the store is
/// made. A fork starts in a new store, whose data the embedder makes as for any other guest, with
/// its own arguments and output. [`restore`](Self::restore) then gives it the recorded state.
///
/// Data without such state implements this with `type State = ()`.
///
/// # Examples
///
/// ```
/// use palimpsest_engine::{DataError, SnapshotData};
///
/// /// Handles that the guest has opened, and where it prints.
/// struct Host {
///     handles: Vec<u32>,
///     output: String,
/// }
///
/// impl SnapshotData for Host {
///     type State = Vec<u32>;
///
///     fn save(&mut self) -> Result<Self::State, DataError> {
///         Ok(self.handles.clone())
///     }
///
///     fn restore(&mut self, state: &Self::State) -> Result<(), DataError> {
///         self.handles.clone_from(state);
///         Ok(())
///     }
/// }
/// ```
pub trait SnapshotData {
    /// The recorded state. All forks of a snapshot share it.
    type State: Send + Sync + 'static;

    /// Records the state. No call of the store is active or suspended.
    ///
    /// The receiver is exclusive, so that large parts can become shared with the forks instead of
    /// being copied. The guest must not notice.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be recorded. No snapshot is made then, and the data must be as it
    /// was before.
    fn save(&mut self) -> Result<Self::State, DataError>;

    /// Replaces the guest's part of the data of a new store by `state`. No function of the fork has
    /// been called yet.
    ///
    /// # Errors
    ///
    /// Fails if the data cannot take the state. No fork is started then, and the data must be as it
    /// was before, because the store can still run another guest.
    fn restore(&mut self, state: &Self::State) -> Result<(), DataError>;
}

/// A recorded state that can be written to bytes and read back, by another kernel as well.
pub trait StateBytes: Sized {
    /// Passes the bytes of the state to `sink`, in any number of pieces.
    ///
    /// # Errors
    ///
    /// Fails if `sink` does, or if something exists on this machine only.
    fn write_to(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>) -> Result<(), DataError>;

    /// Reads a state that [`write_to`](Self::write_to) has written.
    ///
    /// The bytes may come from an attacker. The function must check every number in them, and must
    /// not allocate more than the length of `bytes` justifies.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a valid state.
    fn read_from(bytes: &[u8]) -> Result<Self, DataError>;
}

/// Data without state.
impl SnapshotData for () {
    type State = ();

    fn save(&mut self) -> Result<(), DataError> {
        Ok(())
    }

    fn restore(&mut self, (): &()) -> Result<(), DataError> {
        Ok(())
    }
}

/// No state has no bytes.
impl StateBytes for () {
    fn write_to(&self, _sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>) -> Result<(), DataError> {
        Ok(())
    }

    fn read_from(bytes: &[u8]) -> Result<Self, DataError> {
        if bytes.is_empty() { Ok(()) } else { Err("bytes of a state were passed to data without one".into()) }
    }
}
