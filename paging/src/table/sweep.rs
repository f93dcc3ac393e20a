//! Which entries a sweep takes out.

/// What a sweep takes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Every page.
    Everything,
    /// The sink only; an entry that leads to it is removed whole, even if it reaches out of the range.
    Sink,
    /// Deferred pages only.
    Deferred,
    /// Pages only that show a shared frame.
    Shared,
}
