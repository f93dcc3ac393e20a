//! What a sweep does with an entry: two decisions, as pure functions over plain values.
//!
//! A sweep walks the tables twice, with a flush of the TLB in between. The first walk takes entries
//! out of the CPU's reach and leaves the frames in them; the second walk takes the frames out.
//! [`first_step`] and [`second_step`] decide what each walk does with one entry. An entry that a
//! decision does not name is kept as it is.

use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::EntryState;

/// The kind of pages that a sweep takes out of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Every page.
    Everything,
    /// The sink. An entry that leads to it is cleared as a whole, even if it covers pages outside
    /// of the range.
    Sink,
    /// Deferred pages.
    Deferred,
    /// Pages that show a shared frame.
    Shared,
}

/// Whether the CPU can walk a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It can: only detached entries are out of its reach.
    Within,
    /// A table above was detached, so everything in this table is out of the CPU's reach.
    CutOff,
}

/// How a region counts a data frame that one of its entries owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Mapped,
    Deferred,
}

/// Data frames, by the way in which a region counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FrameCounts {
    pub(crate) mapped: u64,
    pub(crate) deferred: u64,
}

impl FrameCounts {
    #[inline]
    pub(super) const fn add(&mut self, kind: FrameKind, frames: u64) {
        match kind {
            FrameKind::Mapped => self.mapped += frames,
            FrameKind::Deferred => self.deferred += frames,
        }
    }
}

/// The action of the first walk for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstStep {
    /// It leaves the entry alone.
    Keep,
    /// It goes on in the table that the entry owns.
    Descend,
    /// It clears the entry, which refers to something that it does not own.
    Clear,
    /// It detaches the data frame that the entry owns.
    Detach(FrameKind),
}

/// The action of the second walk for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecondStep {
    /// It leaves the entry alone.
    Keep,
    /// It goes on in the table that the entry owns, which the CPU can or cannot walk. It takes the
    /// table out if the CPU cannot.
    Descend(Reach),
    /// It takes out the data frame that the entry owns. The frame is still counted if the first
    /// walk did not reach the entry.
    Take(PhysFrame, Option<FrameKind>),
}

/// Decides what the first walk of a sweep does with an entry of a table at this level.
#[inline(always)]
pub(crate) fn first_step(state: EntryState, level: PageTableLevel, sweep: Sweep) -> FirstStep {
    match (state, sweep) {
        (EntryState::Owned(_), _) if level > PageTableLevel::One => FirstStep::Descend,
        (EntryState::Owned(_), Sweep::Everything) => FirstStep::Detach(FrameKind::Mapped),
        (EntryState::Deferred(_), Sweep::Everything | Sweep::Deferred) => {
            FirstStep::Detach(FrameKind::Deferred)
        }
        (EntryState::Shared, Sweep::Everything | Sweep::Shared) => FirstStep::Clear,
        (EntryState::Sink, Sweep::Everything | Sweep::Sink) => FirstStep::Clear,
        _ => FirstStep::Keep,
    }
}

/// Decides what the second walk of a sweep does with an entry of a table at this level.
#[inline(always)]
pub(crate) fn second_step(state: EntryState, level: PageTableLevel, reach: Reach) -> SecondStep {
    match (state, reach) {
        (EntryState::Owned(_), _) if level > PageTableLevel::One => SecondStep::Descend(reach),
        (EntryState::Detached(_), _) if level > PageTableLevel::One => SecondStep::Descend(Reach::CutOff),
        (EntryState::Detached(frame), _) => SecondStep::Take(frame, None),
        (EntryState::Owned(frame), Reach::CutOff) => SecondStep::Take(frame, Some(FrameKind::Mapped)),
        (EntryState::Deferred(frame), Reach::CutOff) => SecondStep::Take(frame, Some(FrameKind::Deferred)),
        _ => SecondStep::Keep,
    }
}

#[cfg(test)]
mod tests {
    use x86_64::PhysAddr;

    use super::*;

    const SWEEPS: [Sweep; 4] = [Sweep::Everything, Sweep::Sink, Sweep::Deferred, Sweep::Shared];

    fn frame() -> PhysFrame {
        PhysFrame::containing_address(PhysAddr::new(0x5000))
    }

    fn states() -> [EntryState; 6] {
        [
            EntryState::Absent,
            EntryState::Owned(frame()),
            EntryState::Shared,
            EntryState::Sink,
            EntryState::Deferred(frame()),
            EntryState::Detached(frame()),
        ]
    }

    #[test]
    fn the_first_walk_decides_the_same_for_an_entry_wherever_it_is_written_down() {
        use FirstStep::{Clear, Descend, Detach, Keep};
        let mapped = Detach(FrameKind::Mapped);
        let deferred = Detach(FrameKind::Deferred);
        // In the order of `states`.
        let of_pages = [
            (Sweep::Everything, [Keep, mapped, Clear, Clear, deferred, Keep]),
            (Sweep::Sink, [Keep, Keep, Keep, Clear, Keep, Keep]),
            (Sweep::Deferred, [Keep, Keep, Keep, Keep, deferred, Keep]),
            (Sweep::Shared, [Keep, Keep, Clear, Keep, Keep, Keep]),
        ];
        for (sweep, expected) in of_pages {
            assert_eq!(
                states().map(|state| first_step(state, PageTableLevel::One, sweep)),
                expected,
                "{sweep:?}"
            );
        }
        for level in [PageTableLevel::Two, PageTableLevel::Three] {
            for sweep in SWEEPS {
                let steps = states().map(|state| first_step(state, level, sweep));
                let sink = if matches!(sweep, Sweep::Everything | Sweep::Sink) { Clear } else { Keep };
                assert_eq!(
                    (steps[0], steps[1], steps[3], steps[5]),
                    (Keep, Descend, sink, Keep),
                    "{sweep:?}"
                );
            }
        }
    }

    #[test]
    fn the_second_walk_takes_what_is_detached_and_all_frames_of_a_table_that_is_cut_off() {
        use SecondStep::{Descend, Keep, Take};
        let take = |kind| Take(frame(), kind);
        let of_pages = [
            (Reach::Within, [Keep, Keep, Keep, Keep, Keep, take(None)]),
            (
                Reach::CutOff,
                [
                    Keep,
                    take(Some(FrameKind::Mapped)),
                    Keep,
                    Keep,
                    take(Some(FrameKind::Deferred)),
                    take(None),
                ],
            ),
        ];
        for (reach, expected) in of_pages {
            assert_eq!(
                states().map(|state| second_step(state, PageTableLevel::One, reach)),
                expected,
                "{reach:?}"
            );
            for level in [PageTableLevel::Two, PageTableLevel::Three] {
                let steps = states().map(|state| second_step(state, level, reach));
                let expected = (Keep, Descend(reach), Keep, Descend(Reach::CutOff));
                assert_eq!((steps[0], steps[1], steps[3], steps[5]), expected, "{reach:?}");
            }
        }
    }

    #[test]
    fn a_sweep_of_everything_leaves_nothing_to_the_cpu() {
        for state in states() {
            let is_out_of_reach = matches!(state, EntryState::Absent | EntryState::Detached(_));
            let is_kept = first_step(state, PageTableLevel::One, Sweep::Everything) == FirstStep::Keep;
            assert_eq!(is_kept, is_out_of_reach, "{state:?}");
        }
    }

    #[test]
    fn no_frame_is_taken_while_the_cpu_can_use_it() {
        for state in states() {
            let taken = second_step(state, PageTableLevel::One, Reach::Within) != SecondStep::Keep;
            assert_eq!(taken, matches!(state, EntryState::Detached(_)), "{state:?}");
        }
    }
}
