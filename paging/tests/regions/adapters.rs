//! The adapters from frame allocators: those of the `x86_64` crate, and two functions.

use std::cell::RefCell;

use palimpsest_paging::x86_64::structures::paging::{FrameAllocator, FrameDeallocator, PhysFrame, Size4KiB};
use palimpsest_paging::{Frame, FrameBatch, FrameReserveError, FrameSource, FromFns, FromX86, Request};

/// The allocator of a small kernel: a stack of frames.
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

fn stack_of(frames: &[PhysFrame]) -> FromX86<Stack> {
    FromX86::new(Stack(frames.to_vec()))
}

#[test]
fn an_x86_allocator_is_a_frame_source() {
    let frames: Vec<PhysFrame> = (1..4).map(PhysFrame::from_pfn).collect();
    let source = stack_of(&frames);
    let request = Request { frames: 16, zeroed: true, reserved: false };
    let taken: Vec<_> = std::iter::from_fn(|| source.allocate(request)).collect();
    assert!(taken.iter().all(|allocation| !allocation.zeroed), "the content is unknown");
    let taken: Vec<Frame> = taken.into_iter().flat_map(|allocation| allocation.frames).collect();
    assert_eq!(taken.iter().map(|frame| frame.phys().pfn()).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(source.with(|stack| stack.0.len()), 0);
    taken.into_iter().rev().for_each(|frame| source.release(&mut FrameBatch::from(frame), false));
    source.with(|stack| assert_eq!(stack.0, frames));
}

#[test]
fn an_x86_allocator_refuses_to_reserve_frames() {
    let source = stack_of(&[]);
    for requested_frames in [0, 1] {
        let error = FrameReserveError::Unsupported { requested_frames };
        assert_eq!(source.reserve(requested_frames), Err(error));
    }
}

#[test]
fn two_closures_are_a_frame_source() {
    let free = RefCell::new(vec![0x3000, 0x1000]);
    let (allocate, release) = (|| free.borrow_mut().pop(), |frame| free.borrow_mut().push(frame));
    // SAFETY: nothing accesses the frames.
    let source = unsafe { FromFns::new(allocate, release) };
    let request = Request { frames: 16, zeroed: true, reserved: false };
    let taken: Vec<_> = std::iter::from_fn(|| source.allocate(request)).collect();
    assert!(taken.iter().all(|allocation| !allocation.zeroed), "the content is unknown");
    let taken: Vec<Frame> = taken.into_iter().flat_map(|allocation| allocation.frames).collect();
    assert_eq!(taken.iter().map(|frame| frame.phys().pfn()).collect::<Vec<_>>(), [1, 3]);
    assert!(free.borrow().is_empty());
    taken.into_iter().rev().for_each(|frame| source.release(&mut FrameBatch::from(frame), false));
    assert_eq!(*free.borrow(), [0x3000, 0x1000]);
    assert_eq!(source.reserve(1), Err(FrameReserveError::Unsupported { requested_frames: 1 }));
}

#[test]
fn functions_are_a_source_whose_type_can_be_named() {
    fn none() -> Option<u64> {
        None
    }
    fn never(frame: u64) {
        unreachable!("no frame was allocated, and {frame:#x} is released");
    }
    // SAFETY: no frame is ever allocated.
    static EMPTY: FromFns = unsafe { FromFns::new(none, never) };
    assert!(EMPTY.allocate(Request { frames: 1, zeroed: false, reserved: false }).is_none());
}
