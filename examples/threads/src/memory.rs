//! The kernel's memory: its layout, the frames, the heap, the address space for guests, and the two
//! level-4 tables.
//!
//! | from | to | |
//! | --- | --- | --- |
//! | 0 | 2 MiB | not mapped, so that null pointers and stack overflows fault |
//! | 2 MiB | 3 MiB | the stack of the boot, on which `kernel_main` waits for the threads |
//! | 3 MiB | 16 MiB | the kernel (`kernel.ld`) |
//! | 16 MiB | 48 MiB | the heap, with the stacks of the threads |
//! | 48 MiB | 64 MiB | frames for guests |
//! | 96 TiB | + 4 KiB | a page that is another one in each level-4 table |
//! | `0xffff_a000_0000_0000` | + 16 TiB | the window: addresses for the memories of guests |
//!
//! `boot` maps the first 64 MiB at their own addresses.

use alloc::boxed::Box;
use core::error::Error;
use core::ops::Range;

use linked_list_allocator::LockedHeap;
use palimpsest_engine::{HeapBudget, HeapMeter, HeapMeters};
use palimpsest_paging::{AddressSpace, FramePool, Layout, SingleCpu};
use spin::Once;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::{PageTable, PageTableFlags, PhysFrame};
use x86_64::{PhysAddr, VirtAddr};

use crate::threads;

/// The end of the mapping of physical memory.
pub(crate) const MAPPED_BYTES: u64 = 64 << 20;

/// The lowest address of the boot's stack.
pub(crate) const BOOT_STACK_END: usize = 2 << 20;

const HEAP_START: usize = 16 << 20;
const HEAP_BYTES: usize = 32 << 20;
const FRAMES: Range<PhysAddr> = PhysAddr::new(48 << 20)..PhysAddr::new(MAPPED_BYTES);

const WINDOW: Range<VirtAddr> = VirtAddr::new(0xffff_a000_0000_0000)..VirtAddr::new(0xffff_b000_0000_0000);

/// The page that differs, at the start of what an entry of a level-4 table maps.
const PRIVATE: VirtAddr = VirtAddr::new(96 << 40);

const READ_WRITE: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE);

/// The heap from which guests are served when they have taken the rest.
const HEAP_RESERVE_BYTES: usize = 4 << 20;

/// The global allocator, which accounts for what each thread's guest takes. A thread that finds its
/// lock taken by a preempted one waits until its own slice ends.
#[global_allocator]
pub(crate) static HEAP: HeapBudget<LockedHeap, RunningThread> =
    HeapBudget::with_meters(LockedHeap::empty(), RunningThread);

/// Returns the meter of the running thread.
pub(crate) struct RunningThread;

// SAFETY: it loads one number, and neither unwinds, allocates nor frees.
unsafe impl HeapMeters for RunningThread {
    fn current(&self) -> &HeapMeter {
        threads::current_meter()
    }

    fn stores_at_once(&self) -> usize {
        threads::THREADS.len()
    }
}

/// The address space of all guests.
pub(crate) type Space = AddressSpace<SingleCpu<&'static FramePool>>;

static POOL: Once<FramePool> = Once::new();
static SPACE: Once<Space> = Once::new();

/// The two level-4 tables.
#[derive(Clone, Copy)]
pub(crate) struct Roots([PhysFrame; 2]);

impl Roots {
    /// Returns the table of the thread with this number.
    pub(crate) const fn of_thread(self, number: usize) -> PhysFrame {
        self.0[number % 2]
    }

    /// Returns the content of the private page in that table.
    pub(crate) const fn value_of_thread(number: usize) -> u64 {
        number as u64 % 2 + 1
    }
}

/// Initializes the heap.
///
/// # Safety
///
/// The caller guarantees that
/// 1. the first [`MAPPED_BYTES`] are mapped at their own addresses, and
/// 2. this function is called once.
pub(crate) unsafe fn init_heap() {
    // SAFETY: 1. By the table above, these addresses have no other use. 2. The caller guarantees
    // that they are mapped and that this is the only call.
    unsafe { HEAP.inner().lock().init(HEAP_START as *mut u8, HEAP_BYTES) };
}

/// Creates the address space for guests, and the two level-4 tables, of which the first is active.
///
/// # Errors
///
/// Fails if the heap is smaller than its reserve, if the CPU is not configured for the address
/// space, or if it does not fit into the page tables.
///
/// # Safety
///
/// The caller guarantees that
/// 1. the active page tables map the first [`MAPPED_BYTES`] at their own addresses and nothing in
///    the window, and
/// 2. this function is called once.
pub(crate) unsafe fn init_spaces() -> Result<Roots, Box<dyn Error>> {
    HEAP.set_reserve(HEAP_RESERVE_BYTES)?;
    // SAFETY: 1. By the table above, these frames have no other use. 2. The caller guarantees that
    // they are mapped at their own addresses.
    let pool = unsafe { FramePool::new(&[FRAMES], VirtAddr::zero()) }?;
    let pool = POOL.call_once(|| pool);
    let boot_root = VirtAddr::new(Cr3::read().0.start_address().as_u64());
    // SAFETY: `boot` wrote this table, nothing changes it any more, and it is mapped at its own
    // address.
    let boot_root: &Root = unsafe { &*boot_root.as_ptr() };
    let [first, second] = [0, 1].map(|number| {
        let root = Box::leak(Box::new(boot_root.clone()));
        map_private(root, Roots::value_of_thread(number));
        root
    });
    let root = frame_of(first);
    // SAFETY: the table maps the same as the active one, and another page in addition.
    unsafe { Cr3::write(root, Cr3Flags::empty()) };

    let layout = Layout { window: WINDOW, physical_offset: VirtAddr::zero(), root };
    // SAFETY: 1. The window has no other use. 2. The frames and the tables are below
    // `MAPPED_BYTES`, where each address is mapped to itself. 3. There is one CPU. 4. The space
    // is never dropped. 5. `trap::init` set the page-fault handler, which uses the space.
    let space = unsafe { AddressSpace::new(layout, SingleCpu::new(pool)?) }?;
    let space = SPACE.call_once(|| space);

    // The address space has filled the entries of the window in the first table. They do not change
    // any more.
    for (index, entry) in space.root_entries() {
        second.0[index] = entry;
    }
    Ok(Roots([root, frame_of(second)]))
}

/// A level-4 table.
#[derive(Clone)]
#[repr(align(4096))]
struct Root([u64; 512]);

/// Maps a new page at [`PRIVATE`] that starts with `value`. The table is not active.
fn map_private(root: &mut Root, value: u64) {
    #[repr(align(4096))]
    struct Content([u64; 512]);
    let mut content = Box::new(Content([0; 512]));
    content.0[0] = value;
    let mut mapped = frame_of(Box::leak(content));
    for _ in 1..=3 {
        let table = Box::leak(Box::new(PageTable::new()));
        table[0].set_addr(mapped.start_address(), READ_WRITE);
        mapped = frame_of(table);
    }
    root.0[usize::from(PRIVATE.p4_index())] = mapped.start_address().as_u64() | READ_WRITE.bits();
}

/// Returns the frame of a value that fills it. The heap is mapped at its own addresses.
fn frame_of<T>(value: &T) -> PhysFrame {
    PhysFrame::containing_address(PhysAddr::new(VirtAddr::from_ptr(value).as_u64()))
}

/// Reads the private page of the active level-4 table.
pub(crate) fn private_value() -> u64 {
    // SAFETY: both level-4 tables map the page, and nothing writes to it.
    unsafe { PRIVATE.as_ptr::<u64>().read_volatile() }
}

/// Returns the frame pool.
///
/// # Panics
///
/// Panics if [`init_spaces`] was not called.
pub(crate) fn pool() -> &'static FramePool {
    POOL.get().expect("`init_spaces` makes the pool before anything else needs it")
}

/// Returns the address space for guests. Returns None before it is created.
pub(crate) fn space() -> Option<&'static Space> {
    SPACE.get()
}
