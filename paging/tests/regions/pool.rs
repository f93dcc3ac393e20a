//! The frame pool.

use std::collections::HashSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use palimpsest_paging::x86_64::PhysAddr;
use palimpsest_paging::x86_64::structures::paging::PhysFrame;
use palimpsest_paging::{Frame, FramePool, PoolError};

use crate::world::{Memory, PAGE};

fn range(start: u64, end: u64) -> Range<PhysAddr> {
    PhysAddr::new(start)..PhysAddr::new(end)
}

fn frames(first: u64, end: u64) -> Range<PhysAddr> {
    range(first * PAGE, end * PAGE)
}

fn pool(usable: &[Range<PhysAddr>]) -> Result<FramePool, PoolError> {
    let memory = Memory::new(1024);
    // SAFETY: the memory is leaked, unused, and mapped at its offset; the tests' ranges are inside.
    unsafe { FramePool::new(usable, memory.offset()) }
}

fn numbers(pool: &FramePool) -> Vec<u64> {
    std::iter::from_fn(|| pool.allocate_frame()).map(|frame| frame.into_phys().pfn()).collect()
}

/// A second owner of a frame, which only a mistake can make.
fn duplicate(frame: &Frame) -> Frame {
    // SAFETY: the pool refuses one of the two, and nothing accesses the frame.
    unsafe { Frame::from_phys(frame.phys()) }
}

#[test]
fn every_whole_frame_of_the_ranges_is_allocated_once() {
    let usable = [frames(500, 600), range(10 * PAGE + 1, 20 * PAGE - 1), frames(20, 30), range(700, 4000)];
    let pool = pool(&usable).expect("the ranges are sound");
    // The largest range keeps one frame for the bookkeeping.
    assert_eq!((pool.total_frames(), pool.free_frames()), (99 + 8 + 10, 117));
    let expected: Vec<u64> = (11..19).chain(20..30).chain(501..600).collect();
    assert_eq!(numbers(&pool), expected);
    assert_eq!(pool.free_frames(), 0);
}

#[test]
fn the_frame_at_address_zero_is_left_out() {
    let pool = pool(&[frames(0, 8)]).expect("the range is sound");
    assert!(!numbers(&pool).contains(&0));
}

#[test]
fn bad_memory_maps_are_named_errors() {
    let (first, second) = (PhysAddr::new(8 * PAGE), PhysAddr::new(9 * PAGE));
    let overlapping = pool(&[frames(8, 10), frames(20, 30), frames(9, 11)]).map(drop);
    assert_eq!(overlapping, Err(PoolError::Overlap { first, second }));
    assert!(pool(&[frames(8, 20), frames(9, 9), frames(20, 21)]).is_ok(), "they have no byte in common");
    assert_eq!(pool(&[]).map(drop), Err(PoolError::Empty));
    assert_eq!(pool(&[range(1, 4096), range(9000, 12_000)]).map(drop), Err(PoolError::Empty));
    let no_room = PoolError::NoRoom { needed_frames: 1, largest_frames: 1 };
    assert_eq!(pool(&[frames(3, 4), frames(5, 6)]).map(drop), Err(no_room));
}

#[test]
fn a_released_frame_is_allocated_again() {
    let pool = pool(&[frames(1, 100)]).expect("the range is sound");
    let held: Vec<Frame> = std::iter::from_fn(|| pool.allocate_frame()).collect();
    assert!(pool.allocate_frame().is_none());
    let mut released = HashSet::new();
    for (number, frame) in held.into_iter().enumerate() {
        if number % 3 == 0 {
            released.insert(frame.phys());
            pool.release_frame(frame);
        } else {
            let _ = frame.into_phys();
        }
    }
    let again: HashSet<PhysFrame> =
        std::iter::from_fn(|| pool.allocate_frame()).map(Frame::into_phys).collect();
    assert_eq!(released, again);
}

/// The message with which the pool refuses a frame.
fn refusal(pool: &FramePool, frame: Frame) -> String {
    let release = AssertUnwindSafe(|| pool.release_frame(frame));
    let panic = catch_unwind(release).expect_err("the pool refuses the frame");
    panic.downcast_ref::<String>().expect("the message has a frame in it").clone()
}

#[test]
fn a_double_release_is_refused() {
    let pool = pool(&[frames(1, 100)]).expect("the range is sound");
    let frame = pool.allocate_frame().expect("the pool is full");
    let second = duplicate(&frame);
    pool.release_frame(frame);
    let free = pool.free_frames();
    assert!(refusal(&pool, second).contains("is free already"));
    assert_eq!(pool.free_frames(), free);
}

#[test]
fn foreign_frames_and_those_of_the_bookkeeping_are_refused() {
    let pool = pool(&[frames(10, 100)]).expect("the range is sound");
    let free = pool.free_frames();
    for number in [9, 10, 100] {
        let frame = PhysFrame::containing_address(PhysAddr::new(number * PAGE));
        // SAFETY: the pool refuses the frame, and nothing accesses it.
        let foreign = unsafe { Frame::from_phys(frame) };
        assert!(refusal(&pool, foreign).contains("is not a frame of this pool"), "frame {number}");
    }
    assert_eq!(pool.free_frames(), free);
}

#[test]
fn a_contiguous_run_is_from_one_range_and_can_be_released() {
    let pool = pool(&[frames(1, 21), frames(30, 100)]).expect("the ranges are sound");
    let before = pool.free_frames();
    let gap = pool.allocate_frame().expect("the pool is full");
    let run = pool.allocate_contiguous(20).expect("the second range has as many");
    assert_eq!((run.phys().start.pfn(), run.phys().len()), (31, 20));
    assert_eq!(pool.free_frames(), before - 21);
    assert!(pool.allocate_contiguous(50).is_none(), "49 are left in a row");
    assert!(pool.allocate_contiguous(0).is_none());
    run.for_each(|frame| pool.release_frame(frame));
    pool.release_frame(gap);
    assert_eq!(pool.free_frames(), before);
    let all = pool.allocate_contiguous(69).expect("the second range is whole again");
    assert_eq!(all.into_phys().len(), 69);
}
