//! Physical memory out of the heap, and a frame source over it that keeps accounts and can be made to fail.

use std::alloc::{Layout, alloc_zeroed};
use std::cell::{Cell, OnceCell};
use std::thread::panicking;

use palimpsest_paging::x86_64::structures::paging::PhysFrame;
use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
use palimpsest_paging::{Frame, FramePool, FrameSource};

use super::Mmu;

const FRAME_BYTES: usize = 4096;
const POISON: u8 = 0xa5;

/// Physical memory: `frames` frames from physical address zero on, never freed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    start: *mut u8,
    frames: usize,
}

impl Memory {
    pub(crate) fn new(frames: usize) -> Self {
        let layout = Layout::from_size_align(frames * FRAME_BYTES, FRAME_BYTES).expect("a sensible size");
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        assert!(!start.is_null(), "the host has memory for the tests");
        Self { start, frames }
    }

    /// Where physical address zero is mapped.
    pub(crate) fn offset(self) -> VirtAddr {
        VirtAddr::new(self.start.expose_provenance() as u64)
    }

    /// The first byte of a frame.
    pub(crate) fn bytes(self, frame: PhysFrame) -> *mut u8 {
        let offset = usize::try_from(frame.start_address().as_u64()).expect("a 64-bit host");
        assert!(offset < self.frames * FRAME_BYTES, "{frame:?} is not in this machine");
        self.start.wrapping_add(offset)
    }

    fn poison(self, frame: &Frame) {
        // SAFETY: the frame is in the memory, and owned by the caller.
        unsafe { self.bytes(frame.phys()).write_bytes(POISON, FRAME_BYTES) };
    }
}

/// A frame pool that counts, that fills frames with rubbish whenever they change hands, and that fails on
/// demand.
#[derive(Debug)]
pub(crate) struct Source {
    memory: Memory,
    pool: FramePool,
    /// Allocations that still succeed.
    credit: Cell<Option<u64>>,
    allocations: Cell<u64>,
    cpu: OnceCell<&'static Mmu>,
}

impl Source {
    /// A source over all of the memory but its first frame, which becomes the root table.
    pub(crate) fn new(memory: Memory) -> (PhysFrame, &'static Self) {
        let root = PhysFrame::containing_address(PhysAddr::zero());
        let usable = PhysAddr::new(FRAME_BYTES as u64)..PhysAddr::new((memory.frames * FRAME_BYTES) as u64);
        // SAFETY: the memory is leaked, unused, and mapped at its offset.
        let pool =
            unsafe { FramePool::new(&[usable], memory.offset()) }.expect("the memory has room for a pool");
        let source =
            Self { memory, pool, credit: Cell::new(None), allocations: Cell::new(0), cpu: OnceCell::new() };
        (root, Box::leak(Box::new(source)))
    }

    /// From now on, refuses frames that this CPU still remembers.
    pub(crate) fn watch(&self, cpu: &'static Mmu) {
        self.cpu.set(cpu).expect("a machine has one CPU");
    }

    /// Frames that are not free now.
    pub(crate) fn allocated(&self) -> u64 {
        self.pool.total_frames() - self.pool.free_frames()
    }

    /// How many allocations have succeeded so far.
    pub(crate) fn allocations(&self) -> u64 {
        self.allocations.get()
    }

    /// Lets only the next `count` allocations succeed, or all.
    pub(crate) fn allow(&self, count: Option<u64>) {
        self.credit.set(count);
    }
}

// SAFETY: the pool gives the guarantees; a frame is written here only before it is handed out or after it
// came back.
unsafe impl FrameSource for Source {
    fn allocate(&self) -> Option<Frame> {
        if let Some(credit) = self.credit.get() {
            self.credit.set(Some(credit.checked_sub(1)?));
        }
        let frame = self.pool.allocate()?;
        self.allocations.set(self.allocations.get() + 1);
        self.memory.poison(&frame);
        Some(frame)
    }

    fn release(&self, frame: Frame) {
        let remembered = self.cpu.get().is_some_and(|cpu| cpu.remembers(frame.phys()));
        // A test that fails already is not to be aborted by a second panic while it unwinds.
        assert!(!remembered || panicking(), "{frame:?} is released before the CPU has forgotten it");
        self.memory.poison(&frame);
        self.pool.release(frame);
    }
}
