//! The memory of all guests.

use palimpsest_engine::Fixed;
use std::{mem::MaybeUninit, sync::OnceLock};

/// Bytes of the slice. They are more than the guests of a target use.
const SLICE_BYTES: usize = 32 << 20;

/// Returns the backing that all engines share. What one guest has written is not zeroed before the
/// next one gets it.
pub(crate) fn backing() -> &'static Fixed {
    static BACKING: OnceLock<Fixed> = OnceLock::new();
    BACKING.get_or_init(|| {
        let bytes = Box::leak(vec![MaybeUninit::uninit(); SLICE_BYTES].into_boxed_slice());
        Fixed::new(bytes)
    })
}
