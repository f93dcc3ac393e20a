//! The point at which a program is initialized.

/// Marks the point at which the program is initialized, so that the host may make a snapshot and
/// start forks of it.
///
/// The host makes the snapshot when the exported function that it has called returns, so this
/// should be the last thing that the function does. A host that makes no snapshots ignores it, and
/// outside WebAssembly it does nothing.
///
/// Forks start with the memory of the snapshot. What should differ between them must be read
/// afterwards, for example the seed of random numbers.
pub fn snapshot_ready() {
    #[cfg(target_family = "wasm")]
    crate::imports::snapshot_ready();
}
