//! The atomics and the lock that the tested files use, made of loom's.

use loom::sync::{Mutex as LoomMutex, MutexGuard};

pub(crate) mod atomic {
    use std::ops::Deref;
    use std::sync::OnceLock;

    use loom::sync::atomic;
    pub(crate) use loom::sync::atomic::{Ordering, fence};

    /// An atomic that becomes one of loom's when it is first used, because loom's have no constant
    /// constructors. That must happen before threads share it, or loom reports a race.
    macro_rules! define {
        ($name:ident, $value:ty) => {
            #[derive(Debug)]
            pub(crate) struct $name {
                initial: $value,
                atomic: OnceLock<atomic::$name>,
            }

            impl $name {
                pub(crate) const fn new(initial: $value) -> Self {
                    Self { initial, atomic: OnceLock::new() }
                }
            }

            impl Deref for $name {
                type Target = atomic::$name;

                fn deref(&self) -> &Self::Target {
                    self.atomic.get_or_init(|| atomic::$name::new(self.initial))
                }
            }
        };
    }

    define!(AtomicBool, bool);
    define!(AtomicU32, u32);
    define!(AtomicU64, u64);
}

/// A lock with the interface of `spin`.
#[derive(Debug)]
pub(crate) struct Mutex<T>(LoomMutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(LoomMutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a thread that panics ends the test")
    }
}
