//! Random operations on stores that move between CPUs, compared with the bytes that every page
//! must contain.
//!
//! Each CPU has its own TLB and its own cache of tables. Both stay stale until this CPU flushes,
//! and the CPU may use them at any time: it guesses an address that code on it has accessed since
//! its last flush, walks from the lowest table that it has cached, and caches what it finds. These
//! are failures:
//!
//! - a guess finds a present entry in a frame that is not a table: the frame was reused while a CPU
//!   could walk it, and the CPU may set the Accessed bit of the entry;
//! - a frame is released that a CPU has cached as a table, or to which the CPU that releases it
//!   translates a page;
//! - a CPU that uses a store has cached something of its regions that the tables do not say;
//! - a page contains another byte than was written.
//!
//! `MODEL_STEPS` sets the number of steps, and `MODEL_SEED` the first of the four seeds. A million
//! steps are run by
//!
//! ```text
//! MODEL_STEPS=1000000 cargo test --release -p palimpsest-paging --test regions cpus_model
//! ```
//!
//! `cargo xtask mutants` checks that the model fails without each of the flushes and waits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Arc;

use palimpsest_paging::x86_64::VirtAddr;
use palimpsest_paging::{Account, Decommitted, Image, LimitError};

use crate::model::{Random, policies};
use crate::world::{
    Entry, GIB, KIB, MIB, Machine, PAGE, REP_STOSQ, StringStore, TestRegion, World, address, pages,
};

const CPUS: usize = 4;

/// Few enough that frames run out while the rest of the kernel holds some.
const FRAMES: usize = 1200;

const STORES: usize = 7;

/// The seeds that the steps of a run are divided among.
const SEEDS: u64 = 4;

/// Capacities, up to several tables. Small regions share tables.
const CAPACITIES: [u64; 6] = [64 * KIB, 64 * KIB, 600 * KIB, 4 * MIB, GIB, 2 * GIB];

/// The pages that the image has bytes for, and the bytes.
const IMAGE: [(u64, u8); 3] = [(0, 20), (3, 30), (14, 40)];

/// Which CPUs use a store.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seat {
    Free,
    /// The store runs there.
    On(usize),
    /// These CPUs read its memories.
    Readers(BTreeSet<usize>),
}

/// A store: an account, and regions with the bytes that their pages contain.
struct Store<'a> {
    account: Arc<Account>,
    seat: Seat,
    regions: Vec<Known<'a>>,
}

struct Known<'a> {
    region: TestRegion<'a>,
    limit_pages: u64,
    /// The pages that do not contain zeros.
    bytes: BTreeMap<u64, u8>,
}

impl Known<'_> {
    /// A page: near the borders of tables, or one of the first.
    fn page(&self, random: &mut Random) -> u64 {
        let near = [0, 0, 0, 509, 1022, 1534, 2046, 262_142, self.limit_pages - 1];
        (near[random.index(near.len())] + random.below(8)) % self.limit_pages
    }

    fn range(&self, random: &mut Random) -> (u64, u64) {
        let page = self.page(random);
        let count = if random.below(4) == 0 { u64::MAX } else { 1 + random.below(20) };
        (page, count.min(self.limit_pages - page))
    }

    fn forget(&mut self, (page, count): (u64, u64)) {
        self.bytes.retain(|held, _| !(page..page + count).contains(held));
    }

    fn address(&self, page: u64) -> VirtAddr {
        address(&self.region, page) + 77
    }
}

struct Model<'a> {
    world: &'a World,
    random: Random,
    stores: Vec<Store<'a>>,
    image: Option<KnownImage<'a>>,
    figures: Figures,
}

/// An image, and the bytes that its pages contain.
type KnownImage<'a> = (Arc<Image<'a, Machine>>, BTreeMap<u64, u8>);

/// What has happened.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    /// Data frames that clears have released.
    released_frames: u64,
    /// Tables that had to wait for other CPUs.
    waited_tables: u64,
    /// Stores that found no frame.
    lost_stores: u64,
    /// Regions that became images.
    frozen_regions: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, more: Self) {
        self.released_frames += more.released_frames;
        self.waited_tables += more.waited_tables;
        self.lost_stores += more.lost_stores;
        self.frozen_regions += more.frozen_regions;
    }
}

impl<'a> Model<'a> {
    fn new(world: &'a World, seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { world, random, stores: Vec::new(), image: None, figures: Figures::default() }
    }

    fn step(&mut self) {
        let cpu = self.random.index(CPUS);
        self.world.run_on(cpu);
        match self.random.below(32) {
            0 => self.add_store(),
            1 => self.replace_image(),
            2 => self.world.space().flush_before_idle(),
            3 => self.world.space().flush_if_awaited(),
            4 => drop(self.world.space().reclaim(self.random.below(20))),
            5 => self.change_shortage(),
            6 => self.world.space().set_policies(policies(&mut self.random)),
            _ => self.use_store(cpu),
        }
        self.guess();
    }

    /// Every CPU guesses some addresses.
    fn guess(&mut self) {
        let cpu = self.random.index(CPUS);
        self.world.run_on(cpu);
        let mmu = self.world.cpu.mmu();
        if self.random.below(8) == 0 {
            mmu.evict_tables();
        }
        for _ in 0..2 {
            if let Some(page) = mmu.accessed(self.random.index(1 << 16)) {
                mmu.speculate(page);
            }
        }
        // What runs on the CPU may access any page of its store, also one that was committed ahead.
        let is_here = |store: &&Store<'_>| store.seat == Seat::On(cpu);
        if let Some(known) = self.stores.iter().find(is_here).and_then(|store| store.regions.first()) {
            let page = known.page(&mut self.random);
            for page in [page, (page + self.random.below(64)) % known.limit_pages] {
                mmu.speculate(known.region.pages().start + page);
            }
        }
    }

    /// The rest of the kernel takes nearly all frames, or releases some.
    fn change_shortage(&mut self) {
        match self.random.below(3) {
            0 => self.world.source.hoard(self.random.below(30)),
            _ => self.world.source.unhoard(self.random.index(FRAMES)),
        }
    }

    fn replace_image(&mut self) {
        let bytes = IMAGE.map(|(_, byte)| [byte; 4096]);
        let parts = IMAGE.iter().zip(&bytes).map(|((page, _), bytes)| (page * PAGE, bytes.as_slice()));
        // The stores that have attached the old one keep it.
        self.image = match self.random.below(2) {
            0 => None,
            _ => self.world.space().image(parts).ok().map(Arc::new).map(|image| (image, IMAGE.into())),
        };
    }

    fn add_store(&mut self) {
        if self.stores.len() < STORES {
            let account = Arc::new(match self.random.below(4) {
                0 => Account::reserved(None),
                1 => Account::new(Some(60)),
                _ => Account::new(None),
            });
            self.stores.push(Store { account, seat: Seat::Free, regions: Vec::new() });
        }
    }

    /// Lets a store run on this CPU, or on the one that it is on.
    fn use_store(&mut self, cpu: usize) {
        if self.stores.is_empty() {
            return;
        }
        let index = self.random.index(self.stores.len());
        if self.stores[index].seat == Seat::Free
            && self.stores[index].regions.len() < 3
            && self.random.below(8) == 0
        {
            self.begin_elsewhere(index);
        } else {
            self.seat(index, cpu);
        }
        if self.stores[index].seat == Seat::Free {
            return;
        }
        let (world, store) = (self.world, &self.stores[index]);
        store.regions.iter().for_each(|known| world.cpu.mmu().check_caches(known.region.pages()));
        match self.stores[index].seat {
            Seat::On(_) => self.run(index),
            Seat::Readers(_) => self.read(index),
            Seat::Free => {}
        }
        self.stores[index].regions.iter().for_each(|known| {
            world.cpu.mmu().check_caches(known.region.pages());
        });
        if matches!(self.stores[index].seat, Seat::On(_)) && self.random.below(3) == 0 {
            self.world.space().leave(&self.stores[index].account);
            self.stores[index].seat = Seat::Free;
        }
        if self.stores[index].account.is_lost() || self.random.below(60) == 0 {
            self.end(index);
        }
    }

    /// Reserves a region on one CPU, and uses it on another one. Nothing happens if there are too
    /// few frames.
    fn begin_elsewhere(&mut self, index: usize) {
        let store = &mut self.stores[index];
        let Some(region) = reserve(self.world, store, &mut self.random) else { return };
        let cpu = self.random.index(CPUS);
        self.world.run_on(cpu);
        self.world.space().enter(&store.account);
        store.seat = Seat::On(cpu);
        add_region(store, region, self.image.as_ref(), &mut self.random);
    }

    /// Decides which CPU uses the store in this step, and how.
    fn seat(&mut self, index: usize, cpu: usize) {
        let store = &mut self.stores[index];
        let space = self.world.space();
        let choice = self.random.below(8);
        match &mut store.seat {
            Seat::On(there) if *there != cpu => match choice {
                0..2 => {
                    space.migrate(&store.account);
                    store.seat = Seat::On(cpu);
                }
                2 => {
                    space.look(&store.account);
                    store.seat = Seat::Readers(BTreeSet::from([*there, cpu]));
                }
                _ => self.world.run_on(*there),
            },
            Seat::On(_) => {}
            // It reads on, as it has begun.
            Seat::Readers(readers) if choice < 4 && readers.contains(&cpu) => {}
            Seat::Readers(readers) if choice < 4 => {
                space.look(&store.account);
                readers.insert(cpu);
            }
            Seat::Free if choice == 0 => {
                space.look(&store.account);
                store.seat = Seat::Readers(BTreeSet::from([cpu]));
            }
            Seat::Free | Seat::Readers(_) => {
                space.enter(&store.account);
                store.seat = Seat::On(cpu);
            }
        }
    }

    /// Ends a store on any CPU. The one that has used it may not have left, and the one that ends
    /// it need not enter.
    fn end(&mut self, index: usize) {
        let mut store = self.stores.swap_remove(index);
        self.figures.lost_stores += u64::from(store.account.is_lost());
        let space = self.world.space();
        let [leaves, enters] = [0, 1].map(|_| self.random.below(2) == 0);
        if matches!(store.seat, Seat::On(_)) && leaves {
            space.leave(&store.account);
        }
        self.world.run_on(self.random.index(CPUS));
        if enters {
            space.enter(&store.account);
            store.regions.clear();
            space.leave(&store.account);
        } else {
            // The thread may move meanwhile.
            let mmu = self.world.cpu.mmu();
            mmu.move_after(self.random.below(8), self.random.index(CPUS));
            store.regions.clear();
            mmu.stay();
        }
        assert_eq!(store.account.held_frames(), 0, "the account holds frames after its regions");
    }

    fn read(&mut self, index: usize) {
        let store = &self.stores[index];
        if store.regions.is_empty() {
            return;
        }
        let known = &store.regions[self.random.index(store.regions.len())];
        for _ in 0..4 {
            check(self.world, &store.account, known, known.page(&mut self.random));
        }
    }

    fn run(&mut self, index: usize) {
        let store = &mut self.stores[index];
        if store.regions.is_empty() || (store.regions.len() < 3 && self.random.below(20) == 0) {
            if let Some(region) = reserve(self.world, store, &mut self.random) {
                add_region(store, region, self.image.as_ref(), &mut self.random);
            }
            return;
        }
        let chosen = self.random.index(store.regions.len());
        if self.random.below(40) == 0 {
            drop(store.regions.swap_remove(chosen));
            return;
        }
        let (account, known) = (&store.account, &mut store.regions[chosen]);
        match self.random.below(15) {
            0..4 => write(self.world, known, &mut self.random),
            4..7 => (0..6).for_each(|_| check(self.world, account, known, known.page(&mut self.random))),
            7 => fill(self.world, known, &mut self.random),
            8 => self.world.space().yield_frames(account),
            9 => move_limit(known, &mut self.random),
            10 if self.random.below(4) == 0 => known.region.mark(),
            // A reserved account may find too few frames to be reserved.
            10 => {
                if let Ok(frozen) = known.region.freeze() {
                    self.image = Some((frozen.image, known.bytes.clone()));
                    self.figures.frozen_regions += u64::from(frozen.frames_moved > 0);
                }
            }
            _ => {
                let released = clear(self.world, known, &mut self.random);
                self.figures.released_frames += released.frames_released;
                self.figures.waited_tables += released.tables_waiting;
            }
        }
    }

    /// Checks all pages, ends all stores, and releases everything.
    fn finish(mut self) -> Figures {
        self.world.source.unhoard(usize::MAX);
        while let Some(index) = self.stores.len().checked_sub(1) {
            let Store { account, seat, regions } = &mut self.stores[index];
            if let Seat::On(cpu) = *seat {
                self.world.run_on(cpu);
            } else {
                self.world.space().enter(account);
                *seat = Seat::On(self.world.cpu.mmu().cpu());
            }
            for known in regions.iter() {
                known.bytes.keys().for_each(|page| check(self.world, account, known, *page));
            }
            self.end(index);
        }
        self.figures
    }
}

/// It fails if there are no frames for the tables.
fn reserve<'a>(world: &'a World, store: &Store<'a>, random: &mut Random) -> Option<TestRegion<'a>> {
    world.space().reserve(CAPACITIES[random.index(CAPACITIES.len())], &store.account).ok()
}

/// Adds a region, unless there are no frames to be reserved for it. It may start with the image.
fn add_region<'a>(
    store: &mut Store<'a>,
    mut region: TestRegion<'a>,
    image: Option<&KnownImage<'a>>,
    random: &mut Random,
) {
    let bytes = region.capacity_bytes();
    if region.set_limit(bytes).is_err() {
        return;
    }
    let mut known = Known { region, limit_pages: bytes / PAGE, bytes: BTreeMap::new() };
    if let Some((image, bytes)) = image
        && random.below(2) == 0
        && known.region.attach(image).is_ok()
    {
        known.bytes.extend(bytes);
    }
    store.regions.push(known);
}

fn write(world: &World, known: &mut Known<'_>, random: &mut Random) {
    let (first, count) = known.range(random);
    let byte = random.next().to_le_bytes()[0] | 1;
    for page in first..first + count.min(24) {
        world.write(known.address(page), byte);
        known.bytes.insert(page, byte);
    }
}

fn check(world: &World, account: &Account, known: &Known<'_>, page: u64) {
    let read = world.read(known.address(page));
    let expected = known.bytes.get(&page).copied().unwrap_or(0);
    assert!(read == expected || account.is_lost(), "page {page} contains {read}, and {expected} was written");
}

/// Writes zeros under the guard, where the pages contain zeros. The handler steps over them, or
/// leads them into the sink.
fn fill(world: &World, known: &mut Known<'_>, random: &mut Random) {
    let (page, count) = known.range(random);
    let count = count.min(40);
    if known.bytes.range(page..page + count).next().is_some() {
        return;
    }
    let (range, start) = (pages(&known.region, page, count), address(&known.region, page));
    let guard = known.region.zero_fill(range).expect("the range is inside");
    let store = StringStore { code: &REP_STOSQ, element_bytes: 8, value: 0, start, count: count * PAGE / 8 };
    let entry = if random.below(2) == 0 { Entry::Plain } else { Entry::WithRegisters };
    world.cpu.string_store(world.space(), entry, store).expect("the range can be written");
    drop(guard);
}

/// Lowers the limit if no page beyond the new one owns a frame, and then raises it again. The pages
/// in between read as zero from then on.
fn move_limit(known: &mut Known<'_>, random: &mut Random) {
    let lowered_pages = 1 + known.page(random);
    match known.region.set_limit(lowered_pages * PAGE) {
        Ok(()) => {
            known.forget((lowered_pages, known.limit_pages - lowered_pages));
            if known.region.set_limit(known.limit_pages * PAGE).is_err() {
                known.limit_pages = lowered_pages;
            }
        }
        Err(error) => assert!(matches!(error, LimitError::Resident { .. }), "{error}"),
    }
}

/// Clears a range in one of the ways, and checks that what it reports as released is free.
fn clear(world: &World, known: &mut Known<'_>, random: &mut Random) -> Decommitted {
    let range = known.range(random);
    let pages = pages(&known.region, range.0, range.1);
    let allocated = world.source.allocated();
    let mut released = Decommitted::default();
    let region = &mut known.region;
    match random.below(8) {
        0..3 => released = region.decommit(pages).expect("the range is inside"),
        3 => drop(region.recommit(pages).expect("the range is inside")),
        4 => drop(region.zero_in_place(pages).expect("the range is inside")),
        5 | 6 => drop(region.defer(pages).expect("the range is inside")),
        _ => {
            released = region.reclaim(random.below(20));
            assert_free(world, allocated, released);
            return released;
        }
    }
    assert_free(world, allocated, released);
    known.forget(range);
    released
}

/// Checks that the frames are free, of those that were allocated before the clear.
fn assert_free(world: &World, allocated: u64, released: Decommitted) {
    let freed = released.frames_released + released.tables_released;
    assert!(world.source.allocated() + freed <= allocated, "{released:?} are not all free");
}

fn run(seed: u64, steps: u64) -> Figures {
    let world = World::with_cpus_and_frames(CPUS, FRAMES);
    let mut model = Model::new(&world, seed);
    for _ in 0..steps {
        model.step();
    }
    model.finish()
}

/// The number in an environment variable, if it is set.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: set it to a number")))
}

#[test]
fn stores_that_move_between_cpus_agree_with_the_model() {
    let steps = number("MODEL_STEPS").unwrap_or(20_000);
    let first = number("MODEL_SEED").unwrap_or(1);
    let mut figures = Figures::default();
    for seed in first..first + SEEDS {
        figures += run(seed, steps / SEEDS);
    }
    println!("{steps} steps from seed {first}: {figures:?}");
    // A model in which nothing happens would agree with anything.
    let Figures { released_frames, waited_tables, lost_stores, frozen_regions } = figures;
    assert!(released_frames > steps / 10 && waited_tables > steps / 400 && lost_stores > 0, "{figures:?}");
    assert!(frozen_regions > steps / 100, "{figures:?}");
}
