//! Frames that are zeroed ahead of need.

use palimpsest_paging::x86_64::PhysAddr;
use palimpsest_paging::{Frame, FramePool, FrameSource, Fresh, Promises};

use crate::world::{Memory, PAGE};

/// A pool over memory full of rubbish.
fn pool() -> (Memory, FramePool) {
    let memory = Memory::new(128);
    memory.spoil();
    let usable = [PhysAddr::new(PAGE)..PhysAddr::new(128 * PAGE)];
    // SAFETY: the memory is leaked, unused, and mapped at its offset.
    let pool = unsafe { FramePool::new(&usable, memory.offset()) }.expect("the range is sound");
    (memory, pool)
}

fn is_zero(memory: Memory, frame: &Frame) -> bool {
    // SAFETY: the frame is in the memory, and owned.
    (0..4096).all(|byte| unsafe { memory.bytes(frame.phys()).wrapping_add(byte).read() } == 0)
}

/// The frames that the pool gives for a wish of `most`, and whether it says that they are blank.
fn fresh(pool: &FramePool, most: u64) -> Option<(bool, Vec<Frame>)> {
    Some(match pool.allocate_fresh(most)? {
        Fresh::Blank(run) => (true, run.collect()),
        Fresh::Used(run) => (false, run.collect()),
    })
}

#[test]
fn scrubbed_frames_hold_zeros_and_go_first_to_whoever_wants_zeros() {
    let (memory, pool) = pool();
    let free = pool.free_frames();
    assert_eq!((pool.scrub(10), pool.scrubbed_frames(), pool.free_frames()), (10, 10, free));
    let other = pool.allocate().expect("the pool is full");
    assert!(!is_zero(memory, &other), "whoever wants any frame leaves them alone");
    let (is_blank, frames) = fresh(&pool, 16).expect("the pool is full");
    assert_eq!((is_blank, frames.len(), pool.scrubbed_frames()), (true, 10, 0));
    assert!(frames.iter().all(|frame| is_zero(memory, frame)));
    let (is_blank, frames) = fresh(&pool, 16).expect("the pool is full");
    assert_eq!((is_blank, frames.len()), (false, 16));
    assert_eq!(pool.free_frames(), free - 1 - 10 - 16);
}

#[test]
fn a_frame_that_comes_back_is_not_taken_for_a_scrubbed_one() {
    let (memory, pool) = pool();
    pool.scrub(1);
    let (_, mut frames) = fresh(&pool, 1).expect("the pool is full");
    let frame = frames.pop().expect("one was asked for");
    // SAFETY: the frame is in the memory, and owned.
    unsafe { memory.bytes(frame.phys()).write(1) };
    pool.release(frame);
    let (is_blank, _) = fresh(&pool, 1).expect("the pool is full");
    assert!(!is_blank);
}

#[test]
fn the_depth_bounds_how_many_are_scrubbed_and_zero_switches_it_off() {
    let (_, pool) = pool();
    pool.set_scrub_depth(7);
    assert_eq!((pool.scrub(5), pool.scrub(5), pool.scrub(5)), (5, 2, 0));
    pool.set_scrub_depth(0);
    let (_, frames) = fresh(&pool, 7).expect("the pool is full");
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
    run.for_each(|frame| pool.release(frame));
    pool.scrub(3);
    assert_eq!(pool.promise(free), Ok(()));
    assert!(pool.allocate().is_none() && pool.allocate_fresh(1).is_none(), "all are promised");
    let (Fresh::Blank(run) | Fresh::Used(run)) = pool.allocate_promised_fresh(2);
    assert_eq!((run.count(), pool.promised_frames(), pool.scrubbed_frames()), (2, free - 2, 1));
    let rest = std::iter::repeat_with(|| pool.allocate_promised()).take(2).count();
    assert_eq!((rest, pool.promised_frames()), (2, free - 4));
}

#[test]
#[should_panic(expected = "is free already")]
fn a_double_release_of_a_scrubbed_frame_is_refused() {
    let (_, pool) = pool();
    let frame = pool.allocate().expect("the pool is full");
    // SAFETY: the pool refuses it, which is what the test is about.
    let second = unsafe { Frame::from_phys(frame.phys()) };
    pool.release(frame);
    pool.scrub(u64::MAX);
    pool.release(second);
}
