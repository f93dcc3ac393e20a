//! The ranges of frames that a pool manages, and the numbers of their frames.
//!
//! The sets of free frames contain numbers from zero on without gaps, whereas RAM has gaps. A
//! [`Span`] maps the frames of one range to a range of numbers.
//!
//! Invariants: the spans are sorted by address, do not overlap, and none is empty. Their numbers
//! follow each other from zero on.

use core::ops::{Range, RangeInclusive};

use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::frame::PhysFrameRange;

use super::carve::to_usize;
use crate::pages::{PAGE_BYTES, frame_after};

/// Frames that follow each other in physical memory, with numbers that follow each other too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: PhysFrame,
    first_number: usize,
    /// One more than the last number.
    end_number: usize,
}

impl Span {
    /// The span of these frames, numbered from zero on.
    pub(super) fn new(frames: PhysFrameRange) -> Self {
        Self { start: frames.start, first_number: 0, end_number: to_usize(frames.len()) }
    }

    pub(super) const fn start(&self) -> PhysFrame {
        self.start
    }

    /// Numbers the frames from `first_number` on, and returns the first number after them.
    pub(super) const fn renumber(&mut self, first_number: usize) -> usize {
        self.end_number = first_number + (self.end_number - self.first_number);
        self.first_number = first_number;
        self.end_number
    }

    pub(super) const fn numbers(&self) -> Range<usize> {
        self.first_number..self.end_number
    }

    #[inline]
    fn has_number(&self, number: usize) -> bool {
        self.first_number <= number && number < self.end_number
    }

    #[inline]
    fn number_of(&self, frame: PhysFrame) -> Option<usize> {
        let from = self.start.start_address().as_u64();
        let to = frame.start_address().as_u64();
        let number = self.first_number + to_usize(to.checked_sub(from)? / PAGE_BYTES);
        (number < self.end_number).then_some(number)
    }

    /// How many frames the span has from this number on, which is one of its numbers.
    #[inline]
    pub(super) const fn count_from(&self, number: usize) -> u64 {
        (self.end_number - number) as u64
    }

    /// The frame with this number, which is one of the span's.
    #[inline]
    pub(super) fn frame(&self, number: usize) -> PhysFrame {
        frame_after(self.start, (number - self.first_number) as u64)
    }
}

/// All spans of a pool.
#[derive(Debug)]
pub(super) struct Spans {
    spans: &'static [Span],
    /// The index of the span that a lookup found last. The next lookup tries it first, because
    /// consecutive allocations are mostly from one span.
    last_found: usize,
}

impl Spans {
    /// All spans of a pool, which are sorted and numbered.
    pub(super) const fn new(spans: &'static [Span]) -> Self {
        Self { spans, last_found: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Span> {
        self.spans.iter()
    }

    /// The span that contains this number, which is one of the pool's.
    #[inline]
    pub(super) fn with_number(&mut self, number: usize) -> &'static Span {
        match self.spans.get(self.last_found) {
            Some(span) if span.has_number(number) => span,
            Some(_) | None => self.search(|span| span.first_number <= number),
        }
    }

    /// The number of this frame, or `None` if it is not one of the pool's.
    pub(super) fn number_of(&mut self, frame: PhysFrame) -> Option<usize> {
        self.with_frame(frame).number_of(frame)
    }

    /// The numbers of these frames, or `None` if they are not all in one span. There is at least
    /// one frame.
    #[inline]
    pub(super) fn numbers_of(&mut self, frames: PhysFrameRange) -> Option<RangeInclusive<usize>> {
        let span = self.with_frame(frames.start);
        let first = span.number_of(frames.start)?;
        let count = frames.len();
        (count <= span.count_from(first)).then(|| first..=first + to_usize(count) - 1)
    }

    /// The span that contains this frame, or any span if none does.
    #[inline]
    fn with_frame(&mut self, frame: PhysFrame) -> &'static Span {
        match self.spans.get(self.last_found) {
            Some(span) if span.number_of(frame).is_some() => span,
            Some(_) | None => self.search(|span| span.start <= frame),
        }
    }

    /// Returns the last span for which `is_before` holds, or the first span if there is none.
    #[cold]
    fn search(&mut self, is_before: impl FnMut(&Span) -> bool) -> &'static Span {
        self.last_found = self.spans.partition_point(is_before).saturating_sub(1);
        self.spans.get(self.last_found).expect("a pool has at least one span")
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use x86_64::PhysAddr;

    use super::*;

    fn frame(number: u64) -> PhysFrame {
        PhysFrame::containing_address(PhysAddr::new(number * PAGE_BYTES))
    }

    /// Frames 16 to 19, 32 and 64 to 127, which are the numbers 0 to 3, 4 and 5 to 68.
    fn spans() -> Spans {
        let mut spans = vec![(16, 20), (32, 33), (64, 128)]
            .into_iter()
            .map(|(start, end)| Span::new(PhysFrame::range(frame(start), frame(end))))
            .collect::<vec::Vec<_>>();
        spans.iter_mut().fold(0, |next, span| span.renumber(next));
        Spans::new(spans.leak())
    }

    #[test]
    fn a_number_and_its_frame_are_converted_whichever_span_was_found_before() {
        for before in [0, 4, 68] {
            for (number, expected) in [(0, 16), (3, 19), (4, 32), (5, 64), (68, 127)] {
                let mut spans = spans();
                spans.with_number(before);
                let found = spans.with_number(number).frame(number);
                assert_eq!(found, frame(expected), "{number} after {before}");
                assert_eq!(spans.number_of(found), Some(number));
            }
        }
    }

    #[test]
    fn frames_between_the_spans_have_no_number() {
        for outside in [0, 15, 20, 31, 33, 63, 128] {
            for before in [0, 4, 68] {
                let mut spans = spans();
                spans.with_number(before);
                assert_eq!(spans.number_of(frame(outside)), None, "{outside} after {before}");
            }
        }
    }

    #[test]
    fn a_run_has_numbers_if_it_is_in_one_span() {
        let numbers = |start, end| spans().numbers_of(PhysFrame::range(frame(start), frame(end)));
        assert_eq!([numbers(16, 20), numbers(65, 128)], [Some(0..=3), Some(6..=68)]);
        assert_eq!(
            [numbers(16, 21), numbers(15, 17), numbers(32, 65), numbers(127, 129)],
            [const { None }; 4]
        );
    }

    #[test]
    fn the_frames_from_a_number_on_end_with_its_span() {
        let mut spans = spans();
        assert_eq!([0, 4, 66].map(|number| spans.with_number(number).count_from(number)), [4, 1, 3]);
    }
}
