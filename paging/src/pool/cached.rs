//! A frame pool with a cache of free frames for each CPU, so that faults and clears on different
//! CPUs do not meet at the pool's lock.
//!
//! A cached frame is a free frame. A CPU that finds none, in its cache and in the pool, *recalls*
//! the frames of all caches into the pool, and then tries the pool again. While a recall is under
//! way all CPUs use the pool, so the CPU misses no free frame. A recall locks one cache at a time.
//!
//! Reserved frames are a number in the pool and in each cache. Where that number is, at least as
//! many frames are free. So a reserved frame and a place for it never have to be looked for in two
//! caches at once.
//!
//! Order of the locks: the caches, by their CPU, then the pool. Only the counts of free frames lock
//! more than one cache.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use spin::{Mutex, MutexGuard};

use super::cache::{Cache, MOST_BATCH_FRAMES};
use super::{FramePool, scrub};
use crate::frame::{
    Allocation, Frame, FrameBatch, FrameReserveError, FrameRun, FrameSource, PhysicalMemory, Request,
};

/// The most CPUs that can have a cache.
const MOST_CPUS: usize = 64;

/// A [`FramePool`] with a cache of free frames for each CPU.
///
/// A cache has up to about 2 MiB of frames. It is refilled and drained in batches, so that a CPU
/// takes the lock of the pool once in 64 faults, or less often if it releases as many frames as it
/// allocates. Frames that were zeroed ahead of need are apart from the others.
///
/// A cached frame is a free frame. It counts as free, and it backs reservations. A CPU that finds
/// no frame gets those in the caches of the others.
///
/// A pool for one CPU has no cache, and works as it does without this type. A kernel that never has
/// more CPUs can use a [`FramePool`].
///
/// Every method takes spin locks, so the kernel must call it with interrupts off if the calling
/// code can be interrupted by code that uses the pool or touches a region.
///
/// A frame that is released twice is refused when its cache is drained. Debug builds refuse it at
/// once if it is in the cache of the CPU that releases it.
///
/// # Examples
///
/// ```
/// use palimpsest_paging::{CachedPool, FramePool};
///
/// # fn cpu_number() -> usize { 0 }
/// fn add_caches(pool: FramePool, cpus: usize) -> CachedPool {
///     CachedPool::new(pool, cpus, cpu_number) // reads the local APIC's number, for example
/// }
/// ```
pub struct CachedPool<C = fn() -> usize> {
    pool: FramePool,
    memory: PhysicalMemory,
    caches: Box<[Mutex<Cache>]>,
    cpu: C,
    /// The number of recalls that are under way. A CPU that has locked its cache uses it only if
    /// this is zero. A recall raises it before it locks the first cache, so it is read up to date
    /// after the recall has unlocked that cache.
    recalls: AtomicUsize,
    scrub_depth_frames: AtomicU64,
}

impl<C: Fn() -> usize> CachedPool<C> {
    /// Gives each of `cpus` CPUs a cache, which is empty at first.
    ///
    /// `cpu` returns the number of the calling CPU, from zero on. It is called for each allocation
    /// and each release, by the page-fault handler as well. A CPU whose number is not below `cpus`
    /// uses the pool directly. A thread that moves to another CPU after the call uses the cache of
    /// the former one, which is correct.
    ///
    /// The caches are allocated on the heap here, and nothing is later.
    ///
    /// # Panics
    ///
    /// If there are more than 64 CPUs.
    pub fn new(pool: FramePool, cpus: usize, cpu: C) -> Self {
        assert!(cpus <= MOST_CPUS, "{cpus} CPUs: at most {MOST_CPUS} can have a cache");
        let count = if cpus > 1 { cpus } else { 0 };
        let memory = pool.state.lock().memory;
        Self {
            pool,
            memory,
            caches: (0..count).map(|_| Mutex::new(Cache::new())).collect(),
            cpu,
            recalls: AtomicUsize::new(0),
            scrub_depth_frames: AtomicU64::new(scrub::DEFAULT_DEPTH_FRAMES),
        }
    }

    /// Frames that are free now, cached or not, reserved or not.
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.totals().free_frames
    }

    /// Free frames that are reserved.
    #[must_use]
    pub fn reserved_frames(&self) -> u64 {
        self.totals().reserved_frames
    }

    /// Free frames that are zeroed.
    #[must_use]
    pub fn scrubbed_frames(&self) -> u64 {
        self.totals().scrubbed_frames
    }

    /// Frames that the pool manages, free or allocated. Its own bookkeeping is not among them.
    #[must_use]
    pub const fn total_frames(&self) -> u64 {
        self.pool.total_frames()
    }

    /// What the cache of a CPU contains and how often it met the pool, or `None` if the CPU has no
    /// cache.
    #[must_use]
    pub fn cache(&self, cpu: usize) -> Option<CacheUsage> {
        let cache = self.caches.get(cpu)?.lock();
        let counts = cache.counts();
        Some(CacheUsage {
            free_frames: cache.frames(),
            scrubbed_frames: cache.zeroed_frames(),
            reserved_frames: cache.reserved_frames(),
            refills: counts.refills,
            spills: counts.spills,
            recalls: counts.recalls,
        })
    }

    /// Allocates one frame, which may hold anything, or returns `None` if none is free and not
    /// reserved.
    pub fn allocate_frame(&self) -> Option<Frame> {
        self.allocate(Request { frames: 1, zeroed: false, reserved: false })?.frames.next()
    }

    /// Releases one frame.
    ///
    /// # Panics
    ///
    /// As for [`release`](FrameSource::release).
    pub fn release_frame(&self, frame: Frame) {
        self.release(&mut FrameBatch::from(frame), false);
    }

    /// As [`FramePool::allocate_contiguous`]. If the pool has no such run, the frames of all caches
    /// are recalled first.
    pub fn allocate_contiguous(&self, frames: u64) -> Option<FrameRun> {
        let pool = &self.pool;
        pool.allocate_contiguous(frames).or_else(|| self.recall(|| pool.allocate_contiguous(frames)))
    }

    /// Zeroes up to `budget_frames` free frames, and returns how many it zeroed.
    ///
    /// The frames are in the cache of the calling CPU, which is locked for one frame at a time. As
    /// many are zeroed as [`set_scrub_depth`](Self::set_scrub_depth) allows for each cache, and at
    /// most 256. Without a cache it is [`FramePool::scrub`].
    pub fn scrub(&self, budget_frames: u64) -> u64 {
        let depth_frames = self.scrub_depth_frames.load(Ordering::Relaxed);
        let scrub_one = |_: &u64| match self.own_cache() {
            Some(mut cache) => cache.scrub_one(self.memory, depth_frames, &self.pool, self.cpus()),
            None => self.pool.scrub(1) == 1,
        };
        (0..budget_frames).take_while(scrub_one).count() as u64
    }

    /// Sets the number of zeroed frames in each cache at which [`scrub`](Self::scrub) stops. Zero
    /// switches it off.
    pub fn set_scrub_depth(&self, frames: u64) {
        self.scrub_depth_frames.store(frames, Ordering::Relaxed);
        self.pool.set_scrub_depth(frames);
    }

    /// Locks the cache of the calling CPU. Returns `None` if the pool must be used.
    #[inline(always)]
    fn own_cache(&self) -> Option<MutexGuard<'_, Cache>> {
        if self.caches.is_empty() {
            return None;
        }
        let cache = self.caches.get((self.cpu)())?.lock();
        (self.recalls.load(Ordering::Relaxed) == 0).then_some(cache)
    }

    const fn cpus(&self) -> u64 {
        self.caches.len() as u64
    }

    /// Calls `work` while all free frames are in the pool.
    #[cold]
    fn recall<R>(&self, work: impl FnOnce() -> R) -> R {
        self.recalls.fetch_add(1, Ordering::Relaxed);
        self.caches.iter().for_each(|cache| cache.lock().recall(&self.pool));
        let result = work();
        self.recalls.fetch_sub(1, Ordering::Release);
        result
    }

    /// Allocates from the own cache, or from the pool.
    ///
    /// Never inlined: the copy of the pool's code in it would keep the compiler from knowing that a
    /// pool without caches allocates one frame.
    #[inline(never)]
    fn allocate_nearby(&self, request: Request) -> Option<Allocation> {
        match self.own_cache() {
            Some(mut cache) => cache.take(request).or_else(|| {
                cache.refill(request, &self.pool, self.cpus());
                cache.take(request)
            }),
            None => self.pool.allocate(request),
        }
    }

    /// Allocates from the pool, with the frames of all caches in it.
    #[cold]
    fn allocate_recalled(&self, request: Request) -> Option<Allocation> {
        self.recall(|| self.pool.allocate(request))
    }

    fn totals(&self) -> Totals {
        // All locks are held at once, so that no frame moves from one to the other meanwhile.
        let caches: ArrayVec<_, MOST_CPUS> = self.caches.iter().map(Mutex::lock).collect();
        let state = self.pool.state.lock();
        let in_pool = Totals {
            free_frames: state.free_frames,
            reserved_frames: state.reserved_frames,
            scrubbed_frames: state.scrubbed_frames,
        };
        caches.iter().fold(in_pool, |totals, cache| Totals {
            free_frames: totals.free_frames + cache.frames(),
            reserved_frames: totals.reserved_frames + cache.reserved_frames(),
            scrubbed_frames: totals.scrubbed_frames + cache.zeroed_frames(),
        })
    }
}

/// Frames in the pool and in all caches.
struct Totals {
    free_frames: u64,
    reserved_frames: u64,
    scrubbed_frames: u64,
}

/// The free frames of one CPU's cache, and how often the cache met the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheUsage {
    /// Free frames in the cache.
    pub free_frames: u64,
    /// Those of them that are zeroed.
    pub scrubbed_frames: u64,
    /// Those of them that only a request for reserved frames takes.
    pub reserved_frames: u64,
    /// How often the CPU got frames from the pool, because its cache had none for a request.
    pub refills: u64,
    /// How often the CPU released frames to the pool, because its cache had too many.
    pub spills: u64,
    /// How often a CPU took all frames of this cache, because it found none elsewhere.
    pub recalls: u64,
}

impl<C> fmt::Debug for CachedPool<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CachedPool").field("pool", &self.pool).finish_non_exhaustive()
    }
}

// SAFETY:
// 1. A cache gets its frames from the pool or from their owners, and a frame that it hands out is
//    not in it any more. All of this is done under its lock.
// 2. A cache keeps zeroed frames apart. They come from the pool as zeroed, or `Cache::scrub_one`
//    has zeroed them, and nothing writes a free frame.
// 3. The pool and the caches count reserved frames. The sum of their counts is the number of frames
//    that were reserved and are not allocated. The pool and each cache have at least as many free
//    frames as they count. If a cache cannot serve a request, all caches are emptied into the pool,
//    which then serves it.
unsafe impl<C: Fn() -> usize> FrameSource for CachedPool<C> {
    #[inline(always)]
    fn allocate(&self, request: Request) -> Option<Allocation> {
        let allocation =
            if self.caches.is_empty() { self.pool.allocate(request) } else { self.allocate_nearby(request) };
        match allocation {
            None => self.allocate_recalled(request),
            some => some,
        }
    }

    /// Takes the frames back into the cache of the calling CPU, or into the pool if there are many.
    ///
    /// # Panics
    ///
    /// As for [`FramePool`], when the frames get back into the pool.
    fn release(&self, frames: &mut FrameBatch, reserved: bool) {
        let cache = if frames.len() <= MOST_BATCH_FRAMES { self.own_cache() } else { None };
        match cache {
            Some(mut cache) => cache.release(frames, reserved, &self.pool),
            None => self.pool.release(frames, reserved),
        }
    }

    fn reserve(&self, frames: u64) -> Result<(), FrameReserveError> {
        self.pool.reserve(frames).or_else(|_| self.recall(|| self.pool.reserve(frames)))
    }

    /// Makes `frames` reserved frames available to all requests again.
    ///
    /// # Panics
    ///
    /// If fewer frames are reserved and free. The reservation belongs to another account then.
    fn unreserve(&self, frames: u64) {
        let nearby = self.own_cache().map_or(0, |mut cache| cache.unreserve(frames));
        let rest = frames - nearby;
        let is_done = self.pool.state.lock().try_unreserve(rest);
        if !is_done {
            self.recall(|| self.pool.unreserve(rest));
        }
    }

    fn available_frames(&self) -> Option<u64> {
        let totals = self.totals();
        Some(totals.free_frames - totals.reserved_frames)
    }
}
