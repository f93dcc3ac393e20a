//! What a preemptive kernel with several CPUs must do for a call that continues on another CPU.

use alloc::boxed::Box;

use crate::backing::{Arena, Presence};

/// Moves a call of a store to another CPU.
///
/// A call that starts, and a task that is resumed, may be on any CPU, and the engine prepares it. A
/// kernel that interrupts a thread in the middle of a call, and continues it on another CPU, must
/// call [`arrive`](Self::arrive) there before it switches to the thread. The same is true for a
/// thread that uses bytes of a memory which it got from [`Memory::data`](super::Memory::data).
///
/// [`Store::migration`](super::Store::migration) returns it before the call, so that the kernel can
/// keep it with the thread.
#[derive(Debug)]
pub struct Migration {
    arena: Box<dyn Arena>,
}

impl Migration {
    pub(super) fn new(arena: Box<dyn Arena>) -> Self {
        Self { arena }
    }

    /// Prepares the calling CPU for the thread. It does nothing if the thread was on the same CPU
    /// before, and may be called if the thread makes no call of the store. It must not be called
    /// while another thread makes one: that is guarantee 3 of `AddressSpace::new`.
    ///
    /// It uses no heap, and waits at most for the lock of the address space.
    pub fn arrive(&self) {
        self.arena.attend(Presence::Migrate);
    }
}

impl Clone for Migration {
    fn clone(&self) -> Self {
        Self { arena: self.arena.again() }
    }
}
