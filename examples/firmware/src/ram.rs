//! Divides the RAM into stack, heap and the guests' memories, and measures what is used of it.

use alloc::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use linked_list_allocator::LockedHeap;
use spin::{Mutex, MutexGuard};

/// The size of the heap, in bytes.
pub(crate) const HEAP_BYTES: usize = 768 << 10;

/// The size of the slice that the guests' memories are in, in bytes.
const GUEST_BYTES: usize = 1 << 20;

/// The value of every word of the stack before it is first written.
const PAINT: u32 = u32::from_le_bytes(*b"free");

static HEAP_RAM: Mutex<[MaybeUninit<u8>; HEAP_BYTES]> = Mutex::new([MaybeUninit::uninit(); HEAP_BYTES]);
static GUEST_RAM: Mutex<Aligned> = Mutex::new(Aligned([MaybeUninit::uninit(); GUEST_BYTES]));

/// Bytes at a multiple of the size of a Wasm page, so that a region of a memory protection unit
/// covers one.
#[repr(align(65_536))]
struct Aligned([MaybeUninit<u8>; GUEST_BYTES]);

#[global_allocator]
static HEAP: Heap =
    Heap { inner: LockedHeap::empty(), peak: AtomicUsize::new(0), peak_ever: AtomicUsize::new(0) };

// Symbols of the linker scripts, of which only the addresses are used.
unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
    static _flash_end: u32;
    static _flash_start: u32;
}

/// A heap that records the largest number of bytes that were in use at once.
struct Heap {
    inner: LockedHeap,
    /// Since the last call of [`heap_peak`].
    peak: AtomicUsize,
    peak_ever: AtomicUsize,
}

// SAFETY: the inner allocator does the work.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is that of the inner allocator.
        let block = unsafe { self.inner.alloc(layout) };
        let used = self.inner.lock().used();
        self.peak.fetch_max(used, Ordering::Relaxed);
        self.peak_ever.fetch_max(used, Ordering::Relaxed);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.inner.dealloc(block, layout) }
    }
}

/// Gives the heap its bytes, and paints the stack. It is called once.
pub(crate) fn init() {
    HEAP.inner.lock().init_from_slice(take::<[_; HEAP_BYTES]>(&HEAP_RAM));
    paint_stack();
}

/// Returns the bytes for the guests' memories. It is called once.
pub(crate) fn guest_bytes() -> &'static mut [MaybeUninit<u8>] {
    &mut take(&GUEST_RAM).0
}

/// Returns the bytes, which stay locked.
fn take<T>(ram: &'static Mutex<T>) -> &'static mut T {
    MutexGuard::leak(ram.lock())
}

/// Returns the bytes of the heap that are in use.
pub(crate) fn heap_used() -> usize {
    HEAP.inner.lock().used()
}

/// Returns the largest number of bytes of the heap that were in use since the last call.
pub(crate) fn heap_peak() -> usize {
    HEAP.peak.swap(heap_used(), Ordering::Relaxed)
}

/// Returns the largest number of bytes of the heap that were ever in use.
pub(crate) fn heap_peak_ever() -> usize {
    HEAP.peak_ever.load(Ordering::Relaxed)
}

/// Returns the bytes of code, constants and initial values of statics.
pub(crate) fn flash_used() -> usize {
    (&raw const _flash_end).addr() - (&raw const _flash_start).addr()
}

/// Returns the largest number of bytes of the stack that were in use at once.
pub(crate) fn stack_peak() -> usize {
    let (limit, start) = stack();
    let words = (start.addr() - limit.addr()) / size_of::<u32>();
    let untouched = (0..words).take_while(|&word| {
        // SAFETY: the word is part of the stack. What is volatile may change at any time.
        unsafe { ptr::read_volatile(limit.wrapping_add(word)) == PAINT }
    });
    (words - untouched.count()) * size_of::<u32>()
}

/// Writes the paint to the part of the stack below the caller.
#[inline(never)]
fn paint_stack() {
    /// The bytes below a local that this function itself may use.
    const OWN_BYTES: usize = 256;
    let local = 0_u32;
    let (limit, _) = stack();
    let words = ((&raw const local).addr() - OWN_BYTES - limit.addr()) / size_of::<u32>();
    for word in 0..words {
        // SAFETY: the word is part of the stack, and no call that has not ended uses it.
        unsafe { ptr::write_volatile(limit.wrapping_add(word), PAINT) }
    }
}

/// Returns the lowest address of the stack, and its end.
fn stack() -> (*mut u32, *const u32) {
    ((&raw const _stack_end).cast_mut(), &raw const _stack_start)
}
