//! Several CPUs fault and clear in one space at once, each in its own region.

use std::sync::Arc;
use std::thread;

use palimpsest_paging::x86_64::structures::idt::PageFaultErrorCode;
use palimpsest_paging::x86_64::structures::paging::{Page, PhysFrame};
use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
use palimpsest_paging::{
    Account, AddressSpace, CachedPool, Fault, FramePool, Layout, Outcome, Platform, Usage,
};

use crate::cached_pool::{cpu, on_cpu};
use crate::world::{GIB, KIB, MIB, Memory, PAGE, WINDOW_START};

const FRAMES: usize = 8192;
const CPUS: usize = 4;

/// CPUs that only handle faults.
struct Untranslating(CachedPool);

// SAFETY: nothing in this test translates addresses by the tables.
unsafe impl Platform for Untranslating {
    type Frames = CachedPool;

    fn frames(&self) -> &CachedPool {
        &self.0
    }

    fn flush(&self, _page: Page) {}

    fn flush_all(&self) {}
}

type SharedSpace = AddressSpace<Untranslating>;

fn space() -> SharedSpace {
    let memory = Memory::new(FRAMES);
    let usable = PhysAddr::new(PAGE)..PhysAddr::new(FRAMES as u64 * PAGE);
    // SAFETY: the memory is leaked, unused, and mapped at its offset.
    let pool = unsafe { FramePool::new(&[usable], memory.offset()) }.expect("the memory has room for a pool");
    let window = VirtAddr::new(WINDOW_START)..VirtAddr::new(WINDOW_START + 64 * GIB);
    let root = PhysFrame::containing_address(PhysAddr::zero());
    let layout = Layout { window, physical_offset: memory.offset(), root };
    // SAFETY: the memory is leaked and mapped at its offset; the root is its first frame, which the
    // pool leaves out; no CPU translates.
    unsafe { AddressSpace::new(layout, Untranslating(CachedPool::new(pool, CPUS, cpu))) }
        .expect("the pool has frames for the tables")
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
        for (cpu, bytes) in [64 * KIB, 64 * KIB, 600 * KIB, 4 * GIB].into_iter().enumerate() {
            scope.spawn(move || on_cpu(cpu, || work(space, bytes)));
        }
    });
    assert_eq!((space.usage(), space.frames().free_frames()), new);
    assert_eq!(new.0, Usage { fixed_frames: 5, ..Usage::default() });
}

fn touch(space: &SharedSpace, page: Page, code: PageFaultErrorCode) {
    assert_eq!(space.handle_fault(Fault { address: page.start_address(), code }), Outcome::Handled);
}

/// Defers pages and touches some of them again, whether or not they were reclaimed meanwhile.
fn defer_and_touch(space: &SharedSpace, account: &Arc<Account>) {
    for _ in 0..50 {
        let mut region = space.reserve(4 * MIB, account).expect("there is room for all threads");
        region.set_limit(4 * MIB).expect("there are frames for all threads");
        let all = region.pages();
        all.step_by(7).for_each(|page| touch(space, page, PageFaultErrorCode::CAUSED_BY_WRITE));
        let resident = region.residency().resident_frames;
        assert_eq!(region.defer(all), Ok(resident));
        all.step_by(21).for_each(|page| touch(space, page, PageFaultErrorCode::CAUSED_BY_WRITE));
        let residency = region.residency();
        assert_eq!(residency.resident_frames, all.step_by(21).count() as u64);
        assert!(residency.resident_frames + residency.deferred_frames <= resident);
        region.recommit(all).expect("the range is the region");
        assert_eq!(region.residency().resident_frames, residency.resident_frames);
    }
}

#[test]
fn a_reclaim_by_another_cpu_does_not_disturb_regions_that_defer() {
    let space = space();
    let (space, new) = (&space, (space.usage(), space.frames().free_frames()));
    let accounts = [Account::new(None), Account::reserved(None), Account::reserved(None)].map(Arc::new);
    thread::scope(|scope| {
        let mut cpus = 1..CPUS;
        let workers = accounts.each_ref().map(|account| {
            let cpu = cpus.next().expect("there are as many CPUs as workers and this one");
            scope.spawn(move || on_cpu(cpu, || defer_and_touch(space, account)))
        });
        while !workers.iter().all(|worker| worker.is_finished()) {
            space.reclaim(10);
            thread::yield_now();
        }
    });
    assert_eq!((space.usage(), space.frames().free_frames()), new);
    assert_eq!(space.frames().reserved_frames(), 0);
    assert!(accounts.iter().all(|account| !account.is_lost() && account.held_frames() == 0));
}
