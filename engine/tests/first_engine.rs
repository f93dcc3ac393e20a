//! The first engine of a program, with a heap that is too small for it, and then with one that is
//! just large enough.
//!
//! This is a separate binary because its allocator refuses, and because only the first engine of a
//! program checks the build. It has one test for the same reason.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_engine::{Config, Engine, EngineError, Fixed};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    boxed::Box,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The system's allocator, with a bound on what is allocated.
struct Bounded;

static USED: AtomicUsize = AtomicUsize::new(0);
static BOUND: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: every call is refused, or passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        if used > BOUND.load(Ordering::Relaxed) {
            USED.fetch_sub(layout.size(), Ordering::Relaxed);
            return ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(block, layout) };
    }
}

#[global_allocator]
static HEAP: Bounded = Bounded;

/// Makes an engine while `bytes` more can be allocated. A larger need ends the program.
fn engine_in(bytes: usize, fixed: &Fixed) -> Result<Engine, EngineError> {
    BOUND.store(USED.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    let made = Engine::new(Config::default(), fixed.clone());
    BOUND.store(usize::MAX, Ordering::Relaxed);
    made
}

fn needed_bytes(refused: Result<Engine, EngineError>) -> usize {
    match refused {
        Err(EngineError::HeapTooSmall { needed_bytes }) => needed_bytes,
        other => panic!("the heap is too small, and not {other:?}"),
    }
}

#[test]
fn an_engine_is_refused_by_a_heap_that_is_too_small_and_fits_into_what_the_error_names() {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    let fixed = Fixed::new(bytes);
    let first = needed_bytes(engine_in(1_000, &fixed));
    assert_eq!(needed_bytes(engine_in(first - 1, &fixed)), first);
    let engine = engine_in(first, &fixed).unwrap();
    let later = needed_bytes(engine_in(1_000, &fixed));
    assert!(later < first, "{later} bytes for a later engine, which checks no build");
    let later_engine = engine_in(later, &fixed).unwrap();
    drop((engine, later_engine));
}
