//! Physical memory on the heap, and a frame source over it that counts frames and can be made to
//! fail.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::{Cell, OnceCell, RefCell};
use std::thread::panicking;

use palimpsest_paging::x86_64::structures::paging::PhysFrame;
use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
use palimpsest_paging::{
    Allocation, Frame, FrameBatch, FramePool, FrameReserveError, FrameSource, Request, Turnover,
};

use super::Mmu;

const FRAME_BYTES: usize = 4096;
const POISON: u8 = 0xa5;

/// Physical memory: `frames` frames from physical address zero on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// What the heap returned.
    block: *mut u8,
    start: *mut u8,
    frames: usize,
}

impl Memory {
    pub(crate) fn new(frames: usize) -> Self {
        // With its usual alignment, the heap returns pages that the host zeroes when they are
        // touched. With a larger alignment it would zero all of them now. One more frame is
        // allocated to align the start.
        // SAFETY: the layout is not empty.
        let block = unsafe { alloc_zeroed(Self::layout(frames)) };
        assert!(!block.is_null(), "the host has memory for the tests");
        Self { block, start: block.wrapping_add(block.align_offset(FRAME_BYTES)), frames }
    }

    fn layout(frames: usize) -> Layout {
        Layout::array::<u64>((frames + 1) * FRAME_BYTES / 8).expect("a sensible size")
    }

    /// Returns the memory to the heap.
    ///
    /// # Safety
    ///
    /// The caller guarantees that no copy of it is used afterwards, and no pointer into it.
    pub(crate) unsafe fn free(self) {
        // SAFETY: the block was allocated with this layout, and by the caller's guarantee it is
        // freed once.
        unsafe { dealloc(self.block, Self::layout(self.frames)) };
    }

    /// Where physical address zero is mapped.
    pub(crate) fn offset(self) -> VirtAddr {
        VirtAddr::new(self.start.expose_provenance() as u64)
    }

    /// Whether a byte of the memory is mapped at this address.
    pub(crate) fn contains(self, address: VirtAddr) -> bool {
        (self.offset().as_u64()..).contains(&address.as_u64())
            && address.as_u64() - self.offset().as_u64() < (self.frames * FRAME_BYTES) as u64
    }

    /// The first byte of a frame.
    pub(crate) fn bytes(self, frame: PhysFrame) -> *mut u8 {
        let offset = usize::try_from(frame.start_address().as_u64()).expect("a 64-bit host");
        assert!(offset < self.frames * FRAME_BYTES, "{frame:?} is not in this machine");
        self.start.wrapping_add(offset)
    }

    /// Fills the whole memory with bytes that are not zero.
    pub(crate) fn poison_all(self) {
        // SAFETY: the bytes are in the memory, and nothing uses them yet.
        unsafe { self.start.write_bytes(POISON, self.frames * FRAME_BYTES) };
    }

    fn poison(self, frame: &Frame) {
        // SAFETY: the frame is in the memory, and owned by the caller.
        unsafe { self.bytes(frame.phys()).write_bytes(POISON, FRAME_BYTES) };
    }
}

/// A frame pool that counts allocations, poisons frames whenever they are allocated or released,
/// and fails on demand.
#[derive(Debug)]
pub(crate) struct Source {
    memory: Memory,
    pool: FramePool,
    /// Allocations that still succeed.
    credit: Cell<Option<u64>>,
    allocations: Cell<u64>,
    releases: Cell<u64>,
    /// Frames that the rest of the kernel holds and could release.
    cache: RefCell<Vec<Frame>>,
    presses: Cell<u64>,
    cpu: OnceCell<&'static Mmu>,
}

impl Source {
    /// A source over all of the memory except for its first frame, which becomes the root table.
    pub(crate) fn new(memory: Memory) -> (PhysFrame, &'static Self) {
        let root = PhysFrame::containing_address(PhysAddr::zero());
        let usable = PhysAddr::new(FRAME_BYTES as u64)..PhysAddr::new((memory.frames * FRAME_BYTES) as u64);
        // SAFETY: the memory is leaked, unused, and mapped at its offset.
        let pool =
            unsafe { FramePool::new(&[usable], memory.offset()) }.expect("the memory has room for a pool");
        let source = Self {
            memory,
            pool,
            credit: Cell::new(None),
            allocations: Cell::new(0),
            releases: Cell::new(0),
            cache: RefCell::default(),
            presses: Cell::new(0),
            cpu: OnceCell::new(),
        };
        (root, Box::leak(Box::new(source)))
    }

    /// Makes the source refuse frames that this CPU [remembers](Mmu::remembers).
    pub(crate) fn watch(&self, cpu: &'static Mmu) {
        self.cpu.set(cpu).expect("a machine has one CPU");
    }

    /// Frames that are allocated now.
    pub(crate) fn allocated(&self) -> u64 {
        self.pool.total_frames() - self.pool.free_frames()
    }

    /// Frames that are free and not reserved.
    pub(crate) fn unreserved(&self) -> u64 {
        self.pool.free_frames() - self.pool.reserved_frames()
    }

    /// Frames that are free and reserved.
    pub(crate) fn reserved(&self) -> u64 {
        self.pool.reserved_frames()
    }

    /// Allocates all frames but `left` for the rest of the kernel.
    pub(crate) fn hoard(&self, left: u64) {
        while self.unreserved() > left {
            self.cache.borrow_mut().extend(self.pool.allocate_frame());
        }
    }

    /// Releases up to `frames` frames of the rest of the kernel.
    pub(crate) fn unhoard(&self, frames: usize) {
        let mut cache = self.cache.borrow_mut();
        let kept = cache.len().saturating_sub(frames);
        cache.drain(kept..).for_each(|frame| self.pool.release_frame(frame));
    }

    /// A frame for the rest of the kernel.
    pub(crate) fn frame_for_kernel(&self) -> Frame {
        self.pool.allocate_frame().expect("the source has a frame")
    }

    /// Releases a frame of the rest of the kernel.
    pub(crate) fn release_of_kernel(&self, frame: Frame) {
        self.pool.release_frame(frame);
    }

    /// Counts a call of the pressure callback.
    pub(crate) fn press(&self) {
        self.presses.set(self.presses.get() + 1);
    }

    /// How often the pressure callback was called.
    pub(crate) fn presses(&self) -> u64 {
        self.presses.get()
    }

    /// The number of allocations that have succeeded so far.
    pub(crate) fn allocations(&self) -> u64 {
        self.allocations.get()
    }

    /// The frames that were allocated so far, and those that were released.
    pub(crate) fn turnover(&self) -> Turnover {
        Turnover { taken_frames: self.allocations.get(), released_frames: self.releases.get() }
    }

    /// Makes all allocations fail after the next `count`, or none.
    pub(crate) fn allow(&self, count: Option<u64>) {
        self.credit.set(count);
    }
}

// SAFETY: 1. The pool allocates the frames, and a frame is poisoned before it is returned and after
// it was released. 2. No allocation is marked as zeroed. 3. The credit does not apply to reserved
// frames.
unsafe impl FrameSource for Source {
    /// Allocates one frame, also if the request is for more.
    fn allocate(&self, request: Request) -> Option<Allocation> {
        if let Some(credit) = self.credit.get().filter(|_| !request.reserved) {
            self.credit.set(Some(credit.checked_sub(1)?));
        }
        let frame = self.pool.allocate(Request { frames: 1, ..request })?.frames.next()?;
        self.allocations.set(self.allocations.get() + 1);
        self.memory.poison(&frame);
        Some(frame.into())
    }

    fn release(&self, frames: &mut FrameBatch, reserved: bool) {
        let mut stale = None;
        for frame in frames.flatten() {
            if let Some(cached) = self.cpu.get().and_then(|cpu| cpu.remembers(frame.phys())) {
                stale = Some((frame.phys(), cached));
            }
            self.memory.poison(&frame);
            self.pool.release(&mut FrameBatch::from(frame), reserved);
            self.releases.set(self.releases.get() + 1);
        }
        // After the loop, because a second panic, of a frame that is dropped while the test
        // unwinds, would abort all tests. So would a second stale frame.
        assert!(stale.is_none() || panicking(), "{stale:?} is released before it was flushed");
    }

    fn reserve(&self, frames: u64) -> Result<(), FrameReserveError> {
        self.pool.reserve(frames)
    }

    fn unreserve(&self, frames: u64) {
        self.pool.unreserve(frames);
    }
}
