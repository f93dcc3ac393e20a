//! The ranges of frames that a pool manages, and how their frames are numbered.
//!
//! Invariants: the spans are in the order of their addresses and do not overlap; their numbers follow each
//! other from 0 on, and no span is empty. A lookup tries the span that was found last, and then is a binary
//! search. Called by: the pool, for each frame that it takes or puts back; made by `carve`.

use core::ops::{Range, RangeInclusive};

use x86_64::structures::paging::frame::PhysFrameRange;
use x86_64::structures::paging::{PageSize, PhysFrame, Size4KiB};

use super::carve::to_usize;
use crate::frame::frame_behind;

/// Frames that follow each other in physical memory, and so do their numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: PhysFrame,
    first_number: usize,
    /// The number behind the last one.
    end_number: usize,
}

impl Span {
    /// These frames, numbered from 0 on.
    pub(super) fn new(frames: PhysFrameRange) -> Self {
        Self { start: frames.start, first_number: 0, end_number: to_usize(frames.len()) }
    }

    pub(super) const fn start(&self) -> PhysFrame {
        self.start
    }

    /// Numbers the frames from `first_number` on; tells the number behind the last one.
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
        let (from, to) = (self.start.start_address().as_u64(), frame.start_address().as_u64());
        let number = self.first_number + to_usize(to.checked_sub(from)? / Size4KiB::SIZE);
        (number < self.end_number).then_some(number)
    }

    /// The number of frames from this number on, which is one of the span's.
    #[inline]
    pub(super) const fn frames_behind(&self, number: usize) -> u64 {
        (self.end_number - number) as u64
    }

    /// The frames from this number on, `count` of them, all of which are the span's.
    #[inline]
    pub(super) fn frames_from(&self, number: usize, count: usize) -> PhysFrameRange {
        let start = frame_behind(self.start, (number - self.first_number) as u64);
        PhysFrame::range(start, frame_behind(start, count as u64))
    }
}

/// All spans of a pool.
#[derive(Debug)]
pub(super) struct Spans {
    spans: &'static [Span],
    /// The one that was found last: frames are taken from the lowest on, so it is mostly the same.
    last_found: usize,
}

impl Spans {
    /// These spans, in order.
    pub(super) const fn new(spans: &'static [Span]) -> Self {
        Self { spans, last_found: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Span> {
        self.spans.iter()
    }

    /// The span of a number that is used.
    #[inline]
    pub(super) fn with_number(&mut self, number: usize) -> &'static Span {
        match self.spans.get(self.last_found) {
            Some(span) if span.has_number(number) => span,
            Some(_) | None => self.search(|span| span.first_number <= number),
        }
    }

    /// The number of this frame, if it is one of the pool's.
    pub(super) fn number_of(&mut self, frame: PhysFrame) -> Option<usize> {
        self.with_frame(frame).number_of(frame)
    }

    /// The numbers of frames that follow each other, at least one, if all of them are in one span.
    #[inline]
    pub(super) fn numbers_of(&mut self, frames: PhysFrameRange) -> Option<RangeInclusive<usize>> {
        let span = self.with_frame(frames.start);
        let first = span.number_of(frames.start)?;
        let count = frames.len();
        (count <= span.frames_behind(first)).then(|| first..=first + to_usize(count) - 1)
    }

    /// The span of this frame, or some other one if it is in none.
    #[inline]
    fn with_frame(&mut self, frame: PhysFrame) -> &'static Span {
        match self.spans.get(self.last_found) {
            Some(span) if span.number_of(frame).is_some() => span,
            Some(_) | None => self.search(|span| span.start <= frame),
        }
    }

    /// The last of the spans that are like this, which come before those that are not; or else the first.
    #[cold]
    fn search(&mut self, is_before: impl FnMut(&Span) -> bool) -> &'static Span {
        self.last_found = self.spans.partition_point(is_before).saturating_sub(1);
        self.spans.get(self.last_found).expect("a pool has at least one span")
    }
}
