//! The frame pool with a cache for each CPU.
//!
//! A thread is a CPU here: [`on_cpu`] sets the number that the pool reads.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::thread;

use palimpsest_paging::x86_64::PhysAddr;
use palimpsest_paging::x86_64::structures::paging::PhysFrame;
use palimpsest_paging::{CachedPool, Frame, FrameBatch, FramePool, FrameReserveError, FrameSource, Request};

use crate::model::Random;
use crate::world::{Memory, PAGE};

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

pub(crate) fn cpu() -> usize {
    CPU.get()
}

pub(crate) fn on_cpu<R>(cpu: usize, work: impl FnOnce() -> R) -> R {
    let before = CPU.replace(cpu);
    let result = work();
    CPU.set(before);
    result
}

/// A pool of `frames - 2` frames: one is at address zero, and one contains the bookkeeping.
fn pool(frames: usize, cpus: usize) -> (Memory, CachedPool) {
    let memory = Memory::new(frames);
    memory.poison_all();
    let usable = PhysAddr::new(PAGE)..PhysAddr::new(frames as u64 * PAGE);
    // SAFETY: the memory is leaked, unused, and mapped at its offset.
    let pool = unsafe { FramePool::new(&[usable], memory.offset()) }.expect("the range is sound");
    (memory, CachedPool::new(pool, cpus, cpu))
}

const ANY: Request = Request { frames: 1, zeroed: false, reserved: false };
const RESERVED: Request = Request { reserved: true, ..ANY };
const ZEROED: Request = Request { zeroed: true, ..ANY };

fn take(pool: &CachedPool, request: Request) -> Option<Frame> {
    pool.allocate(request)?.frames.next()
}

fn take_all(pool: &CachedPool, request: Request) -> Vec<Frame> {
    std::iter::from_fn(|| take(pool, request)).collect()
}

fn release(pool: &CachedPool, frame: Frame, reserved: bool) {
    pool.release(&mut FrameBatch::from(frame), reserved);
}

fn release_all(pool: &CachedPool, frames: Vec<Frame>) {
    frames.into_iter().for_each(|frame| release(pool, frame, false));
}

fn cached(pool: &CachedPool, cpu: usize) -> u64 {
    pool.cache(cpu).expect("the CPU has a cache").free_frames
}

#[test]
fn a_cached_frame_is_a_free_frame() {
    let (_, pool) = pool(1000, 2);
    assert_eq!((pool.total_frames(), pool.free_frames()), (998, 998));
    let frame = take(&pool, ANY).expect("the pool is full");
    assert_eq!((cached(&pool, 0), pool.free_frames(), pool.available_frames()), (63, 997, Some(997)));
    on_cpu(1, || release(&pool, frame, false));
    assert_eq!((cached(&pool, 1), pool.free_frames()), (1, 998));
}

#[test]
fn one_cpu_and_unknown_cpus_use_the_pool_directly() {
    let (_, alone) = pool(100, 1);
    let frame = take(&alone, ANY).expect("the pool is full");
    assert_eq!((alone.cache(0), alone.free_frames()), (None, 97));
    release(&alone, frame, false);
    assert_eq!(alone.free_frames(), 98);
    let (_, pool) = pool(100, 2);
    let frame = on_cpu(2, || take(&pool, ANY)).expect("the pool is full");
    assert_eq!((cached(&pool, 0), cached(&pool, 1), pool.free_frames()), (0, 0, 97));
    on_cpu(2, || release(&pool, frame, false));
}

#[test]
fn a_cpu_meets_the_pool_once_in_64_allocations_and_not_at_all_in_its_own_rounds() {
    let (_, pool) = pool(4000, 2);
    let refills = || pool.cache(0).expect("there is a cache").refills;
    let mut held: Vec<Frame> = (0..256).filter_map(|_| take(&pool, ANY)).collect();
    // The pool's words of 64 frames do not start with its first frame.
    assert!(refills() <= 5, "{} refills", refills());
    let before = refills();
    for _ in 0..10 {
        release_all(&pool, std::mem::take(&mut held));
        held.extend((0..256).filter_map(|_| take(&pool, ANY)));
    }
    let usage = pool.cache(0).expect("there is a cache");
    assert_eq!((held.len(), usage.refills, usage.spills, usage.recalls), (256, before, 0, 0));
    release_all(&pool, held);
}

#[test]
fn a_cache_spills_the_frames_that_exceed_its_share() {
    let (_, pool) = pool(4000, 2);
    let held = take_all(&pool, ANY);
    release_all(&pool, held);
    let usage = pool.cache(0).expect("there is a cache");
    assert!(usage.free_frames <= 512 && usage.spills > 0, "{usage:?}");
    assert_eq!(pool.free_frames(), 3998);
}

#[test]
fn frames_that_are_released_in_scattered_order_are_all_free_once() {
    let (_, pool) = pool(1000, 2);
    let held = take_all(&pool, ANY);
    let (even, odd): (Vec<_>, Vec<_>) = held.into_iter().partition(|frame| frame.phys().pfn() % 2 == 0);
    release_all(&pool, even);
    release_all(&pool, odd);
    assert_eq!(pool.free_frames(), 998);
    let numbers: BTreeSet<u64> =
        take_all(&pool, ANY).into_iter().map(|frame| frame.into_phys().pfn()).collect();
    assert_eq!(numbers.len(), 998);
}

#[test]
fn a_shortage_gets_the_frames_that_other_cpus_have_cached() {
    let (_, pool) = pool(300, 4);
    let mut held: Vec<Frame> = (0..4).filter_map(|cpu| on_cpu(cpu, || take(&pool, ANY))).collect();
    assert!((0..4).all(|cpu| cached(&pool, cpu) > 0));
    held.extend(take_all(&pool, ANY));
    assert_eq!((held.len(), pool.free_frames()), (298, 0));
    assert!(pool.cache(3).is_some_and(|usage| usage.recalls > 0));
    on_cpu(3, || release_all(&pool, held));
    assert_eq!(pool.free_frames(), 298);
}

#[test]
fn a_contiguous_run_is_found_among_cached_frames() {
    let (_, pool) = pool(300, 2);
    let held = take_all(&pool, ANY);
    on_cpu(1, || release_all(&pool, held));
    assert!(cached(&pool, 1) > 200);
    let run = pool.allocate_contiguous(298).expect("all frames are free");
    assert_eq!(run.into_phys().len(), 298);
}

#[test]
fn cached_frames_can_be_reserved_and_are_kept_for_reserved_requests() {
    let (_, pool) = pool(300, 2);
    let other = on_cpu(1, || take(&pool, ANY)).expect("the pool is full");
    let too_few = FrameReserveError::TooFew { requested_frames: 298, available_frames: 297 };
    assert_eq!(pool.reserve(298), Err(too_few));
    assert_eq!(pool.reserve(297), Ok(()));
    assert!(take(&pool, ANY).is_none() && on_cpu(1, || take(&pool, ANY)).is_none());
    let reserved: Vec<Frame> =
        (0..297).filter_map(|number| on_cpu(number % 2, || take(&pool, RESERVED))).collect();
    assert_eq!((reserved.len(), pool.reserved_frames(), pool.free_frames()), (297, 0, 0));
    on_cpu(1, || reserved.into_iter().for_each(|frame| release(&pool, frame, true)));
    assert_eq!((pool.reserved_frames(), pool.free_frames()), (297, 297));
    assert!(take(&pool, ANY).is_none(), "all free frames are reserved");
    pool.unreserve(297);
    assert_eq!((pool.reserved_frames(), pool.available_frames()), (0, Some(297)));
    on_cpu(1, || release(&pool, other, false));
}

#[test]
#[should_panic(expected = "3 frames unreserved, and only 2 are reserved")]
fn more_than_is_reserved_cannot_be_unreserved() {
    let (_, pool) = pool(300, 2);
    pool.reserve(2).expect("the pool is full");
    pool.unreserve(3);
}

fn is_zero(memory: Memory, frame: &Frame) -> bool {
    // SAFETY: the frame is in the memory, and owned by the caller.
    (0..4096).all(|byte| unsafe { memory.bytes(frame.phys()).wrapping_add(byte).read() } == 0)
}

#[test]
fn each_cpu_scrubs_its_own_frames_and_they_stay_zeroed_in_the_pool() {
    let (memory, pool) = pool(600, 2);
    pool.set_scrub_depth(100);
    assert_eq!((pool.scrub(70), pool.scrub(70), pool.scrub(70)), (70, 30, 0));
    assert_eq!(on_cpu(1, || pool.scrub(1000)), 100);
    assert_eq!((pool.scrubbed_frames(), pool.free_frames()), (200, 598));
    // The recall moves all frames of both caches into the pool.
    assert!(pool.allocate_contiguous(599).is_none());
    assert_eq!((cached(&pool, 0), pool.scrubbed_frames()), (0, 200));
    let mut zeroed = Vec::new();
    for _ in 0..200 {
        let allocation = pool.allocate(ZEROED).expect("the pool has frames");
        assert!(allocation.zeroed);
        zeroed.extend(allocation.frames);
    }
    assert!(zeroed.iter().all(|frame| is_zero(memory, frame)));
    assert_eq!(pool.scrubbed_frames(), 0);
    release_all(&pool, zeroed);
    pool.set_scrub_depth(0);
    assert_eq!(pool.scrub(10), 0);
}

/// The model of the pool in the test below: all frames are free or held.
struct Holder {
    any: Vec<Frame>,
    reserved: Vec<Frame>,
    /// Frames that are reserved and not allocated.
    owed: u64,
}

impl Holder {
    fn held(&self) -> u64 {
        (self.any.len() + self.reserved.len()) as u64
    }
}

/// One operation on a CPU that is chosen at random. Each answer must be the one of a pool without
/// caches.
fn step(pool: &CachedPool, random: &mut Random, holder: &mut Holder) {
    let unreserved = pool.total_frames() - holder.held() - holder.owed;
    match random.below(8) {
        0 | 1 => {
            let frames = 1 + random.below(100);
            let request = Request { frames, zeroed: random.below(2) == 0, reserved: false };
            let taken: Vec<Frame> =
                pool.allocate(request).into_iter().flat_map(|allocation| allocation.frames).collect();
            assert_eq!(taken.is_empty(), unreserved == 0, "{unreserved} frames are free and not reserved");
            assert!(taken.len() as u64 <= frames.min(unreserved));
            holder.any.extend(taken);
        }
        2 | 3 => {
            for _ in 0..random.below(40) {
                let Some(frame) = take(pool, RESERVED) else {
                    assert_eq!(holder.owed, 0, "a reserved frame was refused");
                    return;
                };
                assert!(holder.owed > 0, "a frame was allocated that was not reserved");
                holder.owed -= 1;
                holder.reserved.push(frame);
            }
        }
        4 => {
            let count = random.index(holder.any.len() + 1);
            (0..count).for_each(|_| {
                let index = random.index(holder.any.len());
                release(pool, holder.any.swap_remove(index), false);
            });
        }
        5 => {
            let count = random.index(holder.reserved.len() + 1);
            holder.reserved.drain(..count).for_each(|frame| release(pool, frame, true));
            holder.owed += count as u64;
        }
        6 => {
            let frames = random.below(60);
            assert_eq!(pool.reserve(frames).is_ok(), frames <= unreserved);
            holder.owed += if frames <= unreserved { frames } else { 0 };
        }
        _ => {
            let frames = random.below(holder.owed + 1);
            pool.unreserve(frames);
            holder.owed -= frames;
            pool.scrub(random.below(5));
        }
    }
}

#[test]
fn a_cached_pool_answers_as_a_pool_without_caches() {
    let (seeds, steps) = if cfg!(miri) { (1, 30) } else { (8, 5000) };
    for seed in 1..=seeds {
        let (_, pool) = pool(500, 4);
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let mut holder = Holder { any: Vec::new(), reserved: Vec::new(), owed: 0 };
        for _ in 0..steps {
            on_cpu(random.index(4), || step(&pool, &mut random, &mut holder));
            assert_eq!(pool.free_frames(), pool.total_frames() - holder.held());
            assert_eq!(pool.reserved_frames(), holder.owed);
        }
        release_all(&pool, holder.any);
        holder.reserved.into_iter().for_each(|frame| release(&pool, frame, true));
        assert_eq!(pool.free_frames(), pool.total_frames());
    }
}

/// Marks a frame as this CPU's, and checks later that no other CPU has written to it.
fn mark(memory: Memory, frame: PhysFrame, mark: u8) {
    // SAFETY: the frame is in the memory, and owned by the caller.
    unsafe { memory.bytes(frame).write(mark) };
}

fn is_marked(memory: Memory, frame: PhysFrame, mark: u8) -> bool {
    // SAFETY: the frame is in the memory, and owned by the caller.
    unsafe { memory.bytes(frame).read() == mark }
}

/// Allocates until half of the time there is nothing left, and releases some of it.
fn churn(memory: SharedMemory, pool: &CachedPool, cpu: usize, rounds: u64) {
    let memory = memory.0;
    let own = u8::try_from(cpu + 1).expect("few CPUs");
    let mut random = Random(own.into());
    let (mut held, mut reserved) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for _ in 0..random.below(60) {
            let request = if random.below(4) == 0 { ZEROED } else { ANY };
            let Some(frame) = take(pool, request) else { break };
            mark(memory, frame.phys(), own);
            held.push(frame);
        }
        if pool.reserve(10).is_ok() {
            for _ in 0..10 {
                let frame = take(pool, RESERVED).expect("ten frames are reserved for this CPU");
                mark(memory, frame.phys(), own);
                reserved.push(frame);
            }
        }
        assert!(held.iter().chain(&reserved).all(|frame| is_marked(memory, frame.phys(), own)));
        let kept = random.index(held.len() + 1);
        held.drain(kept..).for_each(|frame| release(pool, frame, false));
        let count = reserved.len() as u64;
        reserved.drain(..).for_each(|frame| release(pool, frame, true));
        pool.unreserve(count);
        pool.scrub(2);
    }
    release_all(pool, held);
}

/// The memory can be used on other threads, because each uses the frames that it owns.
#[derive(Clone, Copy)]
struct SharedMemory(Memory);

// SAFETY: it is an address. The threads access only frames that they have allocated.
unsafe impl Send for SharedMemory {}

#[test]
fn cpus_that_share_a_pool_never_own_the_same_frame() {
    let rounds = if cfg!(miri) { 3 } else { 3000 };
    let (memory, pool) = pool(400, 4);
    let (shared, pool) = (SharedMemory(memory), &pool);
    thread::scope(|scope| {
        for cpu in 0..4 {
            scope.spawn(move || on_cpu(cpu, || churn(shared, pool, cpu, rounds)));
        }
    });
    assert_eq!((pool.free_frames(), pool.reserved_frames()), (398, 0));
    let recalls: u64 = (0..4).filter_map(|cpu| pool.cache(cpu)).map(|usage| usage.recalls).sum();
    assert!(cfg!(miri) || recalls > 0, "the frames never ran out");
    let numbers: BTreeSet<u64> =
        take_all(pool, ANY).into_iter().map(|frame| frame.into_phys().pfn()).collect();
    assert_eq!(numbers.len(), 398, "each frame is free once");
}
