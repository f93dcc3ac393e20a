//! Several CPUs fault and decommit in one space at once, each in a region of its own.

use std::sync::Arc;
use std::thread;

use palimpsest_paging::x86_64::structures::idt::PageFaultErrorCode;
use palimpsest_paging::x86_64::structures::paging::{Page, PhysFrame};
use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
use palimpsest_paging::{Account, AddressSpace, Fault, FramePool, Layout, Outcome, Tlb, Usage};

use crate::world::{GIB, KIB, Memory, PAGE, WINDOW_START};

const FRAMES: usize = 8192;

/// The TLB of CPUs that only ever fault.
struct NoTranslations;

// SAFETY: nothing in this test translates by the tables.
unsafe impl Tlb for NoTranslations {
    fn flush(&self, _page: Page) {}

    fn flush_all(&self) {}
}

type SharedSpace = AddressSpace<FramePool, NoTranslations>;

fn space() -> SharedSpace {
    let memory = Memory::new(FRAMES);
    let usable = PhysAddr::new(PAGE)..PhysAddr::new(FRAMES as u64 * PAGE);
    // SAFETY: the memory is leaked, unused, and mapped at its offset.
    let pool = unsafe { FramePool::new(&[usable], memory.offset()) }.expect("the memory has room for a pool");
    let window = VirtAddr::new(WINDOW_START)..VirtAddr::new(WINDOW_START + 64 * GIB);
    let root = PhysFrame::containing_address(PhysAddr::zero());
    let layout = Layout { window, physical_offset: memory.offset(), root };
    // SAFETY: the memory is leaked and mapped at its offset; the root is its first frame, which the pool
    // leaves out; no CPU translates.
    unsafe { AddressSpace::new(layout, pool, NoTranslations) }.expect("the pool has frames for the tables")
}

fn work(space: &SharedSpace, bytes: u64) {
    for _ in 0..50 {
        let account = Arc::new(Account::new(None));
        let mut region = space.reserve(bytes, &account).expect("there is room for all threads");
        region.set_limit(bytes).expect("it is the capacity");
        for page in region.pages().step_by(3).take(100) {
            let fault = Fault { address: page.start_address(), code: PageFaultErrorCode::CAUSED_BY_WRITE };
            assert_eq!(space.handle_fault(fault), Outcome::Handled);
        }
        let resident = region.residency().resident_frames;
        let all = region.pages();
        assert_eq!(region.decommit(all).map(|released| released.frames_released), Ok(resident));
        assert!(!account.is_lost());
    }
}

#[test]
fn threads_do_not_disturb_each_other() {
    let space = space();
    let (space, new) = (&space, (space.usage(), space.frames().free_frames()));
    thread::scope(|scope| {
        for bytes in [64 * KIB, 64 * KIB, 600 * KIB, 4 * GIB] {
            scope.spawn(move || work(space, bytes));
        }
    });
    assert_eq!((space.usage(), space.frames().free_frames()), new);
    assert_eq!(new.0, Usage { fixed_frames: 2, ..Usage::default() });
}
