//! The adapters from frame allocators: those of the `x86_64` crate, and two functions.

use std::cell::{Cell, RefCell};

use palimpsest_paging::x86_64::VirtAddr;
use palimpsest_paging::x86_64::structures::idt::PageFaultErrorCode;
use palimpsest_paging::x86_64::structures::paging::{FrameAllocator, FrameDeallocator, PhysFrame, Size4KiB};
use palimpsest_paging::{
    AddressSpace, Fault, Frame, FrameBatch, FrameReserveError, FrameSource, FromFns, FromX86, Layout,
    Outcome, Policies, Request, Shortage,
};

use crate::world::{GIB, MIB, Machine, Memory, Mmu, PAGE, WINDOW_START, account};

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

/// Writes and clears a page until the source, which forgets what is released to it, is empty.
#[test]
fn a_source_that_never_frees_shows_in_the_turnover() {
    const FRAMES: u64 = 32;
    let memory = Memory::new(1 + usize::try_from(FRAMES).expect("a small number"));
    let next = Cell::new(PAGE);
    let allocate = || (next.get() <= FRAMES * PAGE).then(|| next.replace(next.get() + PAGE));
    // SAFETY: the memory is leaked and unused, and each frame is allocated once.
    let frames = unsafe { FromFns::new(allocate, |_| ()) };
    let root = PhysFrame::from_pfn(0);
    let mmu: &'static Mmu = Box::leak(Box::new(Mmu::new(memory, root)));
    let window = VirtAddr::new(WINDOW_START)..VirtAddr::new(WINDOW_START + GIB);
    let layout = Layout { window, physical_offset: memory.offset(), root };
    // SAFETY: the memory is leaked and mapped at its offset; the MMU is the only CPU.
    let space = unsafe { AddressSpace::new(layout, Machine { frames, mmu }) }.expect("7 frames are enough");
    space.set_policies(Policies::OFF);
    let account = account();
    let mut region = space.reserve(2 * MIB, &account).expect("the window has room");
    region.set_limit(PAGE).expect("the region is larger");
    while !account.is_lost() {
        let fault = Fault { address: region.base(), code: PageFaultErrorCode::CAUSED_BY_WRITE };
        assert_eq!(space.handle_fault(fault), Outcome::Handled);
        region.decommit(region.pages()).expect("the range is the region");
    }
    assert_eq!(account.lost_to(), Some(Shortage::SourceEmpty));
    let turnover = space.turnover();
    // The space has 7 frames, and the region shares one table. All others went back.
    assert_eq!((turnover.taken_frames, turnover.released_frames), (FRAMES, FRAMES - 8));
    assert_eq!((turnover.held_frames(), account.held_frames()), (8, 0));
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
