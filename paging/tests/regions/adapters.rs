//! The adapters between frame sources and the allocators of the `x86_64` crate.

use palimpsest_paging::x86_64::structures::paging::{FrameAllocator, FrameDeallocator, PhysFrame, Size4KiB};
use palimpsest_paging::{Frame, FrameSource, FromX86, ToX86};

use crate::world::{Memory, Source};

/// A kernel's allocator, as many have it: a stack of frames.
struct Stack(Vec<PhysFrame>);

// SAFETY: a frame that is popped is not in the stack any more.
unsafe impl FrameAllocator<Size4KiB> for Stack {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        self.0.pop()
    }
}

impl FrameDeallocator<Size4KiB> for Stack {
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame) {
        self.0.push(frame);
    }
}

#[test]
fn an_x86_allocator_is_a_frame_source() {
    let frames: Vec<PhysFrame> = (1..4).map(PhysFrame::from_pfn).collect();
    let source = FromX86::new(Stack(frames.clone()));
    let taken: Vec<Frame> = std::iter::from_fn(|| source.allocate()).collect();
    assert_eq!(taken.iter().map(|frame| frame.phys().pfn()).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(source.with(|stack| stack.0.len()), 0);
    taken.into_iter().rev().for_each(|frame| source.release(frame));
    assert_eq!(source.into_inner().0, frames);
}

#[test]
fn a_frame_source_is_an_x86_allocator() {
    let (_, source) = Source::new(Memory::new(64));
    let mut allocator = ToX86::new(source);
    let frame = allocator.allocate_frame().expect("the source is full");
    assert_eq!(source.allocated(), 1);
    // SAFETY: the frame was allocated just now, and nobody uses it.
    unsafe { allocator.deallocate_frame(frame) };
    assert_eq!(source.allocated(), 0);
}
