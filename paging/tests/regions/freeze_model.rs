//! A tree of regions and images, made by random freezes, forks, writes, clears and drops, compared
//! with plain copies of their bytes.
//!
//! Frames run short at times. A region whose account is lost ends. In the end everything is dropped
//! in a random order, and no frame is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use palimpsest_paging::x86_64::structures::paging::page::PageRange;
use palimpsest_paging::{Account, FreezeError, Image};

use crate::model::{Random, policies};
use crate::world::{GIB, KIB, MIB, Machine, PAGE, TestRegion, World, address, pages};

const FRAMES: usize = 4000;
const MOST_REGIONS: usize = 8;
const MOST_IMAGES: usize = 8;
const CAPACITIES: [u64; 5] = [64 * KIB, 600 * KIB, 4 * MIB, GIB, 2 * GIB];

/// The pages that do not contain zeros, each with its byte.
type Bytes = BTreeMap<u64, u8>;

struct Known<'w> {
    region: TestRegion<'w>,
    account: Arc<Account>,
    limit_pages: u64,
    bytes: Bytes,
    /// What the region contained when it was frozen last, or forked.
    base: Bytes,
    /// What has happened since the last mark, or since the last freeze without one.
    interval: Interval,
}

struct Interval {
    is_marked: bool,
    /// What the region contained when the interval began.
    bytes: Bytes,
    /// The pages that were written, and not cleared after that.
    dirty: BTreeSet<u64>,
    /// The ranges of pages that were cleared.
    cleared: Vec<Range<u64>>,
}

impl Interval {
    fn new(is_marked: bool, bytes: &Bytes) -> Self {
        Self { is_marked, bytes: bytes.clone(), dirty: BTreeSet::new(), cleared: vec![] }
    }

    fn clear(&mut self, pages: Range<u64>) {
        self.dirty.retain(|page| !pages.contains(page));
        self.cleared.push(pages);
    }
}

struct Frozen<'w> {
    image: Arc<Image<'w, Machine>>,
    bytes: Bytes,
}

struct Model<'w> {
    world: &'w World,
    random: Random,
    regions: Vec<Known<'w>>,
    images: Vec<Frozen<'w>>,
    figures: Figures,
}

/// What has happened.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    freezes: u64,
    forks: u64,
    /// Frames that an image got from the one before it.
    shared_frames: u64,
    lost: u64,
    refused: u64,
}

impl Known<'_> {
    fn page(&self, random: &mut Random) -> u64 {
        let near = [0, 0, 62, 126, 510, 1022, 262_142, self.limit_pages - 1];
        (near[random.index(near.len())] + random.below(5)) % self.limit_pages
    }

    fn range(&self, random: &mut Random) -> (u64, u64) {
        let page = self.page(random);
        let count = if random.below(6) == 0 { u64::MAX } else { 1 + random.below(90) };
        (page, count.min(self.limit_pages - page))
    }

    fn write(&mut self, world: &World, random: &mut Random) {
        let (first, count) = self.range(random);
        let byte = random.next().to_le_bytes()[0] | 1;
        for page in first..first + count.min(40) {
            world.write(address(&self.region, page) + 77, byte);
            self.bytes.insert(page, byte);
            self.interval.dirty.insert(page);
        }
    }

    fn check(&self, world: &World, page: u64) {
        let read = world.read(address(&self.region, page) + 77);
        let expected = self.bytes.get(&page).copied().unwrap_or(0);
        assert!(read == expected || self.account.is_lost(), "page {page} contains {read}, not {expected}");
    }

    fn clear(&mut self, random: &mut Random) {
        let (first, count) = self.range(random);
        let range = pages(&self.region, first, count);
        let region = &mut self.region;
        match random.below(4) {
            0 => drop(region.decommit(range).expect("the range is inside")),
            1 => drop(region.recommit(range).expect("the range is inside")),
            2 => drop(region.zero_in_place(range).expect("the range is inside")),
            _ => drop(region.defer(range).expect("the range is inside")),
        }
        self.bytes.retain(|page, _| !(first..first + count).contains(page));
        self.interval.clear(first..first + count);
    }

    /// All pages that differ from the last image were written or cleared, as far as the region
    /// reports it, and all that differ from the last mark after that.
    fn check_written(&self) {
        let written = self.visited(|region, visit| region.each_written(visit));
        let since_mark = self.visited(|region, visit| region.each_written_since_mark(visit));
        let Interval { is_marked, bytes, dirty, cleared } = &self.interval;
        for page in self.bytes.keys().chain(self.base.keys()).chain(bytes.keys()) {
            let differs =
                |before: &Bytes| *page < self.limit_pages && self.bytes.get(page) != before.get(page);
            assert!(!differs(&self.base) || written.contains(page), "page {page} was written or cleared");
            assert!(!differs(bytes) || since_mark.contains(page), "page {page} changed since the mark");
        }
        assert!(since_mark.is_superset(dirty), "{since_mark:?} is not all of {dirty:?}");
        if !is_marked {
            assert_eq!(since_mark, written);
        } else if cleared.len() <= 8 {
            let is_cleared = |page: &u64| cleared.iter().any(|pages| pages.contains(page));
            let unchanged = since_mark.iter().find(|page| !written.contains(page) && !is_cleared(page));
            assert_eq!(unchanged, None, "neither written nor cleared");
        }
    }

    /// The pages that are visited, in ascending order.
    fn visited(&self, each: impl FnOnce(&TestRegion<'_>, &mut dyn FnMut(PageRange))) -> BTreeSet<u64> {
        let (mut visited, mut least) = (BTreeSet::new(), 0);
        each(&self.region, &mut |run| {
            let [start, end] = [run.start, run.end].map(|page| page - self.region.pages().start);
            assert!(least <= start && start < end && end <= self.limit_pages, "{start}..{end} after {least}");
            visited.extend(start..end);
            // Runs do not touch.
            least = end + 1;
        });
        visited
    }
}

/// The pages that differ.
fn difference(one: &Bytes, other: &Bytes) -> BTreeMap<u64, u8> {
    let all = one.keys().chain(other.keys());
    let changed = all.filter(|page| one.get(page) != other.get(page));
    changed.map(|page| (*page, one.get(page).copied().unwrap_or(0))).collect()
}

impl<'w> Model<'w> {
    fn step(&mut self) {
        match self.random.below(40) {
            0 => self.add_region(),
            1..4 => self.fork(),
            4 => self.change_shortage(),
            5 => self.drop_image(),
            6 => self.compare_images(),
            7 => drop(self.world.space().reclaim(self.random.below(20))),
            8 => self.world.space().set_policies(policies(&mut self.random)),
            _ if self.regions.is_empty() => self.add_region(),
            choice => self.use_region(choice),
        }
    }

    fn use_region(&mut self, choice: u64) {
        let (world, random) = (self.world, &mut self.random);
        let index = random.index(self.regions.len());
        let known = &mut self.regions[index];
        match choice {
            9..14 => return self.freeze(index),
            14 => return drop(self.regions.swap_remove(index)),
            15..19 => known.clear(random),
            19 => known.move_limit(random),
            20 => known.mark(),
            21..28 => (0..6).for_each(|_| known.check(world, known.page(random))),
            _ => known.write(world, random),
        }
        if known.account.is_lost() {
            self.figures.lost += 1;
            self.regions.swap_remove(index);
        } else {
            known.check_written();
        }
    }

    fn freeze(&mut self, index: usize) {
        let known = &mut self.regions[index];
        let before = self.world.source.allocated();
        let freezable = known.region.freezable_frames();
        match known.region.freeze() {
            Ok(frozen) => {
                assert_eq!(frozen.frames_moved, freezable);
                assert!(self.world.source.allocated() <= before, "a freeze takes no frame");
                assert_eq!(known.region.residency().resident_frames, 0);
                known.base.clone_from(&known.bytes);
                known.interval = Interval::new(false, &known.bytes);
                self.figures.freezes += 1;
                self.figures.shared_frames += frozen.image.frames() - frozen.frames_moved;
                let image = frozen.image;
                self.images.push(Frozen { image, bytes: known.bytes.clone() });
            }
            Err(FreezeError::Unreserved(_)) => self.figures.refused += 1,
            Err(error) => panic!("{error}"),
        }
        known.check_written();
        if self.images.len() > MOST_IMAGES {
            self.drop_image();
        }
    }

    fn add_region(&mut self) {
        let capacity = CAPACITIES[self.random.index(CAPACITIES.len())];
        if let Some(known) = self.new_region(capacity) {
            self.regions.push(known);
        }
    }

    /// A region with a limit below its capacity. It fails if frames are short.
    fn new_region(&mut self, capacity: u64) -> Option<Known<'w>> {
        if self.regions.len() == MOST_REGIONS {
            self.regions.swap_remove(self.random.index(MOST_REGIONS));
        }
        let account = Arc::new(match self.random.below(4) {
            0 if capacity <= 4 * MIB => Account::reserved(None),
            1 => Account::new(Some(300)),
            _ => Account::new(None),
        });
        let mut region = self.world.space().reserve(capacity, &account).ok()?;
        region.set_limit(capacity / 2).ok()?;
        let limit_pages = capacity / 2 / PAGE;
        let [bytes, base] = [Bytes::new(), Bytes::new()];
        let interval = Interval::new(false, &bytes);
        Some(Known { region, account, limit_pages, bytes, base, interval })
    }

    fn fork(&mut self) {
        if self.images.is_empty() {
            return;
        }
        let index = self.random.index(self.images.len());
        let smallest = 2 * self.images[index].image.end_bytes();
        let capacity = CAPACITIES.into_iter().filter(|capacity| *capacity >= smallest).min();
        let Some(mut known) = self.new_region(capacity.unwrap_or(smallest)) else { return };
        let Frozen { image, bytes } = &self.images[index];
        let is_marked = self.random.below(2) == 0;
        if is_marked {
            known.mark();
        }
        let held = self.world.source.allocated();
        known.region.attach(image).expect("the region is new and large enough");
        assert_eq!(self.world.source.allocated(), held, "a fork takes no frame");
        known.bytes.clone_from(bytes);
        known.base.clone_from(bytes);
        if is_marked {
            known.interval.clear(0..image.end_bytes() / PAGE);
        } else {
            known.interval = Interval::new(false, bytes);
        }
        self.figures.forks += 1;
        self.regions.push(known);
    }

    fn drop_image(&mut self) {
        if !self.images.is_empty() {
            self.images.swap_remove(self.random.index(self.images.len()));
        }
    }

    /// Compares what two images say that they differ in with what they contain.
    fn compare_images(&mut self) {
        if self.images.is_empty() {
            return;
        }
        let [one, other] = [(); 2].map(|()| self.random.index(self.images.len()));
        let (one, other) = (&self.images[one], &self.images[other]);
        assert_eq!(changes(&one.image, Some(&other.image)), difference(&one.bytes, &other.bytes));
        assert_eq!(changes(&one.image, None), one.bytes);
    }

    fn change_shortage(&mut self) {
        match self.random.below(3) {
            0 => self.world.source.hoard(self.random.below(60)),
            _ => self.world.source.unhoard(self.random.index(FRAMES)),
        }
    }

    /// Checks everything, and drops it in a random order.
    fn finish(mut self) -> Figures {
        self.world.source.unhoard(usize::MAX);
        for known in &self.regions {
            known.bytes.keys().chain(known.base.keys()).for_each(|page| known.check(self.world, *page));
        }
        while self.regions.len() + self.images.len() > 0 {
            let index = self.random.index(self.regions.len() + self.images.len());
            match index.checked_sub(self.regions.len()) {
                Some(image) => drop(self.images.swap_remove(image)),
                None => drop(self.regions.swap_remove(index)),
            }
            for Frozen { image, bytes } in &self.images {
                assert_eq!(changes(image, None), *bytes);
            }
        }
        assert_eq!(self.world.space().usage().image_frames, 0);
        self.figures
    }
}

impl Known<'_> {
    fn mark(&mut self) {
        self.region.mark();
        self.interval = Interval::new(true, &self.bytes);
    }

    /// Raises the limit, if a reserved account can be charged, or lowers it, if no page that is
    /// given up was written.
    fn move_limit(&mut self, random: &mut Random) {
        let whole = self.region.capacity_bytes() / PAGE;
        let lowest = self.limit_pages.saturating_sub(50).max(1);
        let limit_pages = (lowest + random.below(150)).min(whole);
        if self.region.set_limit(limit_pages * PAGE).is_err() {
            return;
        }
        if limit_pages < self.limit_pages {
            self.bytes.retain(|page, _| *page < limit_pages);
            self.interval.clear(limit_pages..self.limit_pages);
        }
        self.limit_pages = limit_pages;
    }
}

fn changes(image: &Arc<Image<'_, Machine>>, base: Option<&Arc<Image<'_, Machine>>>) -> Bytes {
    let mut changes = Bytes::new();
    let visited = image.each_change(base.map(|base| &**base), |page, bytes| {
        assert!(changes.insert(page, bytes[77]).is_none());
        assert!(bytes.iter().enumerate().all(|(at, byte)| at == 77 || *byte == 0));
        ControlFlow::Continue(())
    });
    assert!(visited.is_continue());
    changes
}

#[test]
fn a_tree_of_forks_agrees_with_plain_copies() {
    let steps = std::env::var("MODEL_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(4_000);
    let mut figures = [0; 5];
    for seed in 1..=4_u64 {
        let world = World::with(2 << 40, FRAMES);
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut model =
            Model { world: &world, random, regions: vec![], images: vec![], figures: Figures::default() };
        (0..steps / 4).for_each(|_| model.step());
        let Figures { freezes, forks, shared_frames, lost, refused } = model.finish();
        figures
            .iter_mut()
            .zip([freezes, forks, shared_frames, lost, refused])
            .for_each(|(sum, more)| *sum += more);
    }
    println!("{steps} steps: {figures:?}");
    // A model in which nothing happens would agree with anything.
    let [freezes, forks, shared_frames, lost, _] = figures;
    assert!(freezes > steps / 20 && forks > steps / 40 && shared_frames > steps && lost > 0, "{figures:?}");
}
