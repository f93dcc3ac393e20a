//! The native stack that a call needs, and the check that it is there.
//!
//! What wasmi and its dependencies take depends on the profile that compiled them. Nearly all of it
//! is for translating a function at its first call: the translator has a variable for each of
//! wasmi's instructions, and without optimizations each has its own place in the stack frame.

use alloc::string::ToString;
use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};
use wasmi::errors::HostError;

use super::EntryError;
use crate::config::NativeStack;

/// Bytes of native stack that calls need, without what host functions and interrupts take.
///
/// The figures are those of docs/embedding.md, rounded up. They include what the allocator of a
/// host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// For making an engine, whose self-check runs a small guest.
    pub(super) engine: usize,
    /// For loading a module.
    pub(super) load: usize,
    /// For instantiating a module, and for a call or the resumption of one.
    pub(super) call: usize,
}

/// How the program was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Build {
    /// With optimizations.
    Release,
    /// wasmi with optimizations, and other crates perhaps without.
    Debug,
    /// wasmi without optimizations.
    Unoptimized,
}

impl Build {
    /// Returns how this program was compiled.
    ///
    /// The size of wasmi's frames is known for x86_64 only. Elsewhere wasmi is taken for optimized,
    /// because the devices of other targets have no room for a program that is not. Under Miri
    /// frames have no sizes.
    pub(super) fn of_program() -> Self {
        let is_known = cfg!(target_arch = "x86_64") && !cfg!(miri);
        if is_known && wasmi_frame_bytes() > OPTIMIZED_FRAME_BYTES {
            Self::Unoptimized
        } else if cfg!(debug_assertions) {
            Self::Debug
        } else {
            Self::Release
        }
    }

    pub(super) const fn needs(self) -> Needs {
        match self {
            Self::Release => Needs { engine: 24 << 10, load: 20 << 10, call: 8 << 10 },
            Self::Debug => Needs { engine: 80 << 10, load: 80 << 10, call: 80 << 10 },
            Self::Unoptimized => Needs { engine: 600 << 10, load: 600 << 10, call: 600 << 10 },
        }
    }
}

impl NativeStack {
    /// Checks that `needed_bytes` are left.
    ///
    /// # Errors
    ///
    /// [`EntryError::StackTooSmall`] if the end of the stack is known, and nearer.
    #[inline]
    pub(super) fn check(self, needed_bytes: usize) -> Result<(), EntryError> {
        let lowest = match self {
            Self::Unknown => return Ok(()),
            Self::EndsAt(lowest) => lowest,
            Self::Probe(probe) => probe(),
        };
        let remaining_bytes = stack_pointer().saturating_sub(lowest);
        if remaining_bytes < needed_bytes {
            return Err(EntryError::StackTooSmall { remaining_bytes, needed_bytes });
        }
        Ok(())
    }
}

/// Returns an address in the current stack frame.
#[inline(never)]
pub(super) fn stack_pointer() -> usize {
    let local = 0_u8;
    core::hint::black_box(&raw const local).addr()
}

/// The most bytes of stack that wasmi's formatter of errors takes in a build with optimizations. It
/// takes 128 at level 0, 32 at level 1, 16 at level 2, and none in a release build.
const OPTIMIZED_FRAME_BYTES: usize = 96;

/// Returns the bytes of stack that wasmi's formatter of errors takes, until it calls that of a host
/// error. It is the smallest code of wasmi that calls back.
fn wasmi_frame_bytes() -> usize {
    /// Records the stack pointer when it is formatted.
    #[derive(Debug, Default)]
    struct Probe(AtomicUsize);

    impl fmt::Display for Probe {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.store(stack_pointer(), Ordering::Relaxed);
            Ok(())
        }
    }

    impl HostError for Probe {}

    /// Returns the bytes of stack between this call and the formatter of `probe`, which is in
    /// `text`.
    fn depth(text: &dyn fmt::Display, probe: &Probe) -> usize {
        let outer = stack_pointer();
        let _empty = text.to_string();
        outer.saturating_sub(probe.0.load(Ordering::Relaxed))
    }

    let plain = Probe::default();
    let error = wasmi::Error::host(Probe::default());
    let inner = error.downcast_ref().expect("the error contains the probe");
    depth(&error, inner).saturating_sub(depth(&plain, &plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "its frames have no sizes")]
    fn the_profile_of_the_tests_optimizes_wasmi() {
        let bytes = wasmi_frame_bytes();
        std::println!("wasmi's formatter of errors takes {bytes} bytes of stack");
        assert!(bytes <= OPTIMIZED_FRAME_BYTES, "{bytes}");
        assert_eq!(Build::of_program(), Build::Debug);
    }

    #[test]
    fn a_stack_is_compared_with_what_is_needed() {
        let lowest = stack_pointer() - 10_000;
        assert_eq!(NativeStack::EndsAt(lowest).check(5_000), Ok(()));
        assert_eq!(NativeStack::Unknown.check(usize::MAX), Ok(()));
        let refused = NativeStack::EndsAt(lowest).check(20_000);
        let Err(EntryError::StackTooSmall { remaining_bytes, needed_bytes: 20_000 }) = refused else {
            panic!("{refused:?}")
        };
        assert!((5_000..10_000).contains(&remaining_bytes), "{remaining_bytes}");
        let nothing_left = EntryError::StackTooSmall { remaining_bytes: 0, needed_bytes: 1 };
        assert_eq!(NativeStack::Probe(|| usize::MAX).check(1), Err(nothing_left));
    }
}
