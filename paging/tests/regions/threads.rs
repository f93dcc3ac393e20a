//! Several CPUs fault and clear in one space at once, each in its own region.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use palimpsest_paging::x86_64::structures::idt::PageFaultErrorCode;
use palimpsest_paging::x86_64::structures::paging::{Page, PhysFrame};
use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
use palimpsest_paging::{
    Account, AddressSpace, Allocation, CachedPool, Fault, FrameBatch, FramePool, FrameReserveError,
    FrameSource, Layout, Outcome, Platform, Policies, Region, Request, Usage,
};

use crate::cached_pool::{cpu, on_cpu};
use crate::world::{GIB, KIB, MIB, Memory, PAGE, WINDOW_START};

/// Miri takes some thousand times as long for everything.
const FRAMES: usize = if cfg!(miri) { 1024 } else { 8192 };
const ROUNDS: usize = if cfg!(miri) { 2 } else { 50 };
const WRITES: usize = if cfg!(miri) { 4 } else { 100 };

const CPUS: usize = 4;

/// The zero frame, the sinks and the one level-3 table.
const FIXED_FRAMES: u64 = 1 + 5 * CPUS as u64 + 1;

/// CPUs that only handle faults.
struct Untranslating<S>(S);

// SAFETY: nothing in this file translates addresses by the tables. The threads that use a space at
// the same time have different numbers.
unsafe impl<S: FrameSource> Platform for Untranslating<S> {
    type Frames = S;

    fn frames(&self) -> &S {
        &self.0
    }

    fn flush(&self, _page: Page) {}

    fn flush_all(&self) {}

    fn cpu(&self) -> usize {
        cpu()
    }

    fn cpus(&self) -> usize {
        CPUS
    }
}

type SharedSpace<S = CachedPool> = AddressSpace<Untranslating<S>>;

fn space() -> SharedSpace {
    space_with(FRAMES, |pool| CachedPool::new(pool, CPUS, cpu as fn() -> usize))
}

fn space_with<S: FrameSource>(frames: usize, source: impl FnOnce(FramePool) -> S) -> SharedSpace<S> {
    let memory = Memory::new(frames);
    let usable = PhysAddr::new(PAGE)..PhysAddr::new(frames as u64 * PAGE);
    // SAFETY: the memory is leaked, unused, and mapped at its offset.
    let pool = unsafe { FramePool::new(&[usable], memory.offset()) }.expect("the memory has room for a pool");
    let window = VirtAddr::new(WINDOW_START)..VirtAddr::new(WINDOW_START + 64 * GIB);
    let root = PhysFrame::containing_address(PhysAddr::zero());
    let layout = Layout { window, physical_offset: memory.offset(), root };
    // SAFETY: the memory is leaked and mapped at its offset; the root is its first frame, which the
    // pool leaves out; no CPU translates.
    let space = unsafe { AddressSpace::new(layout, Untranslating(source(pool))) };
    space.expect("the pool has frames for the tables")
}

/// Runs `work` on each CPU at once. Then each CPU flushes, so that no table waits for it.
fn on_each_cpu<S: FrameSource + Sync>(space: &SharedSpace<S>, work: impl Fn(usize) + Sync) {
    let work = &work;
    thread::scope(|scope| {
        for cpu in 0..CPUS {
            scope.spawn(move || on_cpu(cpu, || work(cpu)));
        }
    });
    flush_each_cpu(space);
}

/// Lets every CPU flush, so that no table waits any more.
fn flush_each_cpu<S: FrameSource>(space: &SharedSpace<S>) {
    (0..CPUS).for_each(|cpu| on_cpu(cpu, || space.flush_before_idle()));
}

fn work(space: &SharedSpace, bytes: u64) {
    for _ in 0..ROUNDS {
        let account = Arc::new(Account::new(None));
        space.enter(&account);
        let mut region = space.reserve(bytes, &account).expect("there is room for all threads");
        region.set_limit(bytes).expect("it is the capacity");
        for page in region.pages().step_by(3).take(WRITES) {
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
    let new = (space.usage(), space.frames().free_frames());
    on_each_cpu(&space, |cpu| work(&space, [64 * KIB, 64 * KIB, 600 * KIB, 4 * GIB][cpu]));
    assert_eq!((space.usage(), space.frames().free_frames()), new);
    assert_eq!(new.0, Usage { fixed_frames: FIXED_FRAMES, ..Usage::default() });
    assert_eq!(space.turnover().held_frames(), FIXED_FRAMES);
}

fn touch<S: FrameSource>(space: &SharedSpace<S>, page: Page, code: PageFaultErrorCode) {
    assert_eq!(space.handle_fault(Fault { address: page.start_address(), code }), Outcome::Handled);
}

/// A region whose limit is its capacity.
fn region<'a, S: FrameSource>(
    space: &'a SharedSpace<S>,
    bytes: u64,
    account: &Arc<Account>,
) -> Region<'a, Untranslating<S>> {
    let mut region = space.reserve(bytes, account).expect("there is room for all threads");
    region.set_limit(bytes).expect("it is the capacity");
    region
}

#[test]
fn small_regions_of_different_cpus_share_no_table() {
    let space = space();
    let account = Arc::new(Account::new(None));
    let regions: Vec<_> =
        (0..2 * CPUS).map(|number| on_cpu(number % CPUS, || region(&space, 64 * KIB, &account))).collect();
    let usage = space.usage();
    assert_eq!(usage.shared_table_frames, 2 * CPUS as u64, "a level-2 and a level-1 table for each CPU");
    let gib = |number: usize| regions[number].base().as_u64() / GIB;
    for (one, other) in (0..CPUS).flat_map(|one| (0..CPUS).map(move |other| (one, other))) {
        assert_eq!(gib(one) == gib(CPUS + other), one == other);
    }
}

/// A pool whose next release waits for a message, once it is armed.
struct Gate {
    pool: FramePool,
    armed: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

// SAFETY: the pool gives the guarantees.
unsafe impl FrameSource for Gate {
    fn allocate(&self, request: Request) -> Option<Allocation> {
        self.pool.allocate(request)
    }

    fn release(&self, frames: &mut FrameBatch, reserved: bool) {
        let armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((reached, opened)) = armed {
            reached.send(()).expect("the test waits for the release");
            opened.recv_timeout(Duration::from_secs(20)).expect("the other region does not wait");
        }
        self.pool.release(frames, reserved);
    }

    fn reserve(&self, frames: u64) -> Result<(), FrameReserveError> {
        self.pool.reserve(frames)
    }

    fn unreserve(&self, frames: u64) {
        self.pool.unreserve(frames);
    }
}

/// One CPU is in the middle of a clear, with the lock of its region held, while another faults,
/// clears and makes regions.
fn works_during_a_clear_of_another_region(bytes: [u64; 2]) {
    let space = space_with(FRAMES, |pool| Gate { pool, armed: Mutex::new(None) });
    space.set_policies(Policies::OFF);
    let accounts = [Account::new(None), Account::new(None)].map(Arc::new);
    let write = PageFaultErrorCode::CAUSED_BY_WRITE;
    let ((reached, is_reached), (open, opened)) = (channel(), channel());
    thread::scope(|scope| {
        let (space, account) = (&space, &accounts[0]);
        scope.spawn(move || {
            space.enter(account);
            let mut first = region(space, bytes[0], account);
            touch(space, first.pages().start, write);
            *space.frames().armed.lock().expect("no test has panicked") = Some((reached, opened));
            let all = first.pages();
            assert_eq!(first.decommit(all).map(|released| released.frames_released), Ok(1));
        });
        is_reached.recv_timeout(Duration::from_secs(20)).expect("the clear releases a frame");
        on_cpu(1, || {
            space.enter(&accounts[1]);
            let mut second = region(space, bytes[1], &accounts[1]);
            second.pages().take(100).for_each(|page| touch(space, page, write));
            let all = second.pages();
            let released = second.decommit(all).map(|released| released.frames_released);
            assert_eq!(released, Ok(all.take(100).count() as u64));
        });
        open.send(()).expect("the clear waits");
    });
    flush_each_cpu(&space);
    assert_eq!(space.usage(), Usage { fixed_frames: FIXED_FRAMES, ..Usage::default() });
}

#[test]
fn a_clear_of_one_region_does_not_hold_up_another() {
    works_during_a_clear_of_another_region([4 * GIB, 4 * GIB]);
    works_during_a_clear_of_another_region([64 * KIB, 4 * GIB]);
    works_during_a_clear_of_another_region([4 * GIB, 64 * KIB]);
}

#[test]
fn a_clear_of_a_small_region_does_not_hold_up_one_of_another_cpu() {
    works_during_a_clear_of_another_region([64 * KIB, 64 * KIB]);
}

/// Writes more pages than there are frames, so that each CPU takes frames back from the others, and
/// loses accounts.
fn exhaust(space: &SharedSpace, cpu: usize) {
    let bytes = [64 * MIB, 4 * MIB, 4 * MIB, GIB][cpu];
    for round in 0..20 {
        let account = Arc::new(Account::new(None));
        space.enter(&account);
        // No frame may be left for a table that small regions share.
        let Ok(mut mine) = space.reserve(bytes, &account) else { continue };
        mine.set_limit(bytes).expect("it is the capacity");
        for page in mine.pages().take(300) {
            touch(space, page, PageFaultErrorCode::CAUSED_BY_WRITE);
        }
        let all = mine.pages();
        if round % 2 == 0 {
            mine.defer(all).expect("the range is the region");
        }
        space.leave(&account);
        thread::yield_now();
        drop(mine);
        assert_eq!(account.held_frames(), 0);
    }
}

#[test]
fn cpus_that_run_out_of_frames_together_leak_none() {
    let space = space_with(700, |pool| CachedPool::new(pool, CPUS, cpu as fn() -> usize));
    let new = (space.usage(), space.frames().free_frames());
    on_each_cpu(&space, |cpu| exhaust(&space, cpu));
    assert_eq!((space.usage(), space.frames().free_frames()), new);
    assert_eq!(space.turnover().held_frames(), FIXED_FRAMES);
}

const SINK_WRITES: u64 = if cfg!(miri) { 1 } else { 16 };

/// The accounts of all CPUs are at their caps, so each write goes into a sink.
#[test]
fn each_cpu_has_a_sink() {
    let space = space();
    on_each_cpu(&space, |_| {
        let account = Arc::new(Account::new(Some(0)));
        space.enter(&account);
        for _ in 0..ROUNDS {
            let regions = [64 * KIB, 4 * GIB].map(|bytes| region(&space, bytes, &account));
            for page in (0..SINK_WRITES).flat_map(|page| [0, 1].map(|of| regions[of].pages().start + page)) {
                touch(&space, page, PageFaultErrorCode::CAUSED_BY_WRITE);
            }
        }
        assert!(account.is_lost());
    });
    flush_each_cpu(&space);
    assert_eq!(space.usage(), Usage { fixed_frames: FIXED_FRAMES, ..Usage::default() });
}

/// Defers pages and touches some of them again, whether or not they were reclaimed meanwhile.
fn defer_and_touch(space: &SharedSpace, account: &Arc<Account>) {
    space.enter(account);
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
    flush_each_cpu(space);
    assert_eq!((space.usage(), space.frames().free_frames()), new);
    assert_eq!(space.frames().reserved_frames(), 0);
    assert!(accounts.iter().all(|account| !account.is_lost() && account.held_frames() == 0));
}
