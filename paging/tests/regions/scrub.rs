//! Frames that are zeroed ahead of need.

use palimpsest_paging::x86_64::PhysAddr;
use palimpsest_paging::x86_64::structures::paging::PhysFrame;
use palimpsest_paging::{Frame, FramePool, FrameSource, Request};

use crate::world::{Memory, PAGE};

/// A pool over memory that is not zero.
fn pool() -> (Memory, FramePool) {
    let memory = Memory::new(128);
    memory.poison_all();
    let usable = [PhysAddr::new(PAGE)..PhysAddr::new(128 * PAGE)];
    // SAFETY: the memory is leaked, unused, and mapped at its offset.
    let pool = unsafe { FramePool::new(&usable, memory.offset()) }.expect("the range is sound");
    (memory, pool)
}

fn is_zero(memory: Memory, frame: PhysFrame) -> bool {
    // SAFETY: the frame is in the memory and allocated, and nothing else uses it.
    (0..4096).all(|byte| unsafe { memory.bytes(frame).wrapping_add(byte).read() } == 0)
}

/// Requests up to `frames` zeroed frames of the pool. Returns whether they were zeroed ahead of
/// need, and the frames.
fn allocate(pool: &FramePool, frames: u64, reserved: bool) -> Option<(bool, Vec<PhysFrame>)> {
    let allocation = pool.allocate(Request { frames, zeroed: true, reserved })?;
    Some((allocation.zeroed, allocation.frames.into_phys().collect()))
}

#[test]
fn requests_for_zeroed_frames_get_scrubbed_ones_first() {
    let (memory, pool) = pool();
    let free = pool.free_frames();
    assert_eq!((pool.scrub(10), pool.scrubbed_frames(), pool.free_frames()), (10, 10, free));
    let other = pool.allocate_frame().expect("the pool is full").into_phys();
    assert!(!is_zero(memory, other), "an allocation of any frame leaves them alone");
    let (is_zeroed, frames) = allocate(&pool, 16, false).expect("the pool is full");
    assert_eq!((is_zeroed, frames.len(), pool.scrubbed_frames()), (true, 10, 0));
    assert!(frames.iter().all(|frame| is_zero(memory, *frame)));
    let (is_zeroed, frames) = allocate(&pool, 16, false).expect("the pool is full");
    assert_eq!((is_zeroed, frames.len()), (false, 16));
    assert_eq!(pool.free_frames(), free - 1 - 10 - 16);
}

#[test]
fn a_frame_that_comes_back_is_not_taken_for_a_scrubbed_one() {
    let (memory, pool) = pool();
    pool.scrub(1);
    let frame = pool.allocate(Request { frames: 1, zeroed: true, reserved: false });
    let frame = frame.and_then(|mut allocation| allocation.frames.next()).expect("the pool is full");
    // SAFETY: the frame is in the memory, and owned.
    unsafe { memory.bytes(frame.phys()).write(1) };
    pool.release_frame(frame);
    let (is_zeroed, _) = allocate(&pool, 1, false).expect("the pool is full");
    assert!(!is_zeroed);
}

#[test]
fn the_depth_bounds_how_many_are_scrubbed_and_zero_switches_it_off() {
    let (_, pool) = pool();
    pool.set_scrub_depth(7);
    assert_eq!((pool.scrub(5), pool.scrub(5), pool.scrub(5)), (5, 2, 0));
    pool.set_scrub_depth(0);
    let (_, frames) = allocate(&pool, 7, false).expect("the pool is full");
    assert_eq!((frames.len(), pool.scrub(5), pool.scrubbed_frames()), (7, 0, 0));
}

#[test]
fn scrubbed_frames_are_free_frames_like_others() {
    let (_, pool) = pool();
    let free = pool.free_frames();
    pool.scrub(free);
    assert_eq!((pool.scrubbed_frames(), pool.free_frames()), (free, free));
    let run = pool.allocate_contiguous(free).expect("all of them follow each other");
    assert_eq!((pool.scrubbed_frames(), pool.free_frames()), (0, 0));
    run.for_each(|frame| pool.release_frame(frame));
    pool.scrub(3);
    assert_eq!(pool.reserve(free), Ok(()));
    assert!(pool.allocate_frame().is_none() && allocate(&pool, 1, false).is_none(), "all are reserved");
    let (_, frames) = allocate(&pool, 2, true).expect("all are reserved");
    assert_eq!((frames.len(), pool.reserved_frames(), pool.scrubbed_frames()), (2, free - 2, 1));
    let any = Request { frames: 1, zeroed: false, reserved: true };
    let any = pool.allocate(any).expect("all others are reserved");
    assert_eq!((any.zeroed, pool.reserved_frames(), pool.scrubbed_frames()), (false, free - 3, 1));
    any.frames.for_each(|frame| pool.release_frame(frame));
}

#[test]
#[should_panic(expected = "is free already")]
fn a_double_release_of_a_scrubbed_frame_is_refused() {
    let (_, pool) = pool();
    let frame = pool.allocate_frame().expect("the pool is full");
    // SAFETY: the pool refuses one of the two, and nothing accesses the frame.
    let second = unsafe { Frame::from_phys(frame.phys()) };
    pool.release_frame(frame);
    pool.scrub(u64::MAX);
    pool.release_frame(second);
}
