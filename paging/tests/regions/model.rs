//! Random operations on a few regions, compared with a model that knows bytes and page states only.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use palimpsest_paging::{Account, Decommitted, LimitError, NotOurs, Recommitted};

use crate::world::{GIB, KIB, MIB, PAGE, TestRegion, World, account, address, pages, reserved_account};

/// A xorshift generator: the same numbers on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }
}

/// What a page holds that is not absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// A frame, with the byte that was written last.
    Resident(u8),
    Deferred,
}

/// A region, and what each page of it must hold.
struct Modelled<'a> {
    region: TestRegion<'a>,
    account: Arc<Account>,
    limit_pages: u64,
    pages: BTreeMap<u64, Content>,
}

const SIZES: [u64; 7] = [PAGE, 64 * KIB, MIB, 2 * MIB, 5 * MIB, 900 * MIB, 4 * GIB];

/// Up to this size a region may have a reserved account: the machine has frames for all of them.
const RESERVED_BYTES: u64 = 5 * MIB;

impl<'a> Modelled<'a> {
    fn new(world: &'a World, random: &mut Random) -> Self {
        let bytes = SIZES[random.index(SIZES.len())];
        let is_reserved = bytes <= RESERVED_BYTES && random.below(2) == 0;
        let account = if is_reserved { reserved_account() } else { account() };
        let region = world.region_of(bytes, &account);
        Self { region, account, limit_pages: bytes / PAGE, pages: BTreeMap::new() }
    }

    fn page_count(&self) -> u64 {
        self.region.capacity_bytes() / PAGE
    }

    /// Pages that are worth touching: near borders of tables, and a few others.
    fn some_page(&self, random: &mut Random) -> u64 {
        let near = [0, 511, 512, 1023, 262_143, 262_144, self.page_count() / 2, self.page_count() - 1];
        (near[random.index(near.len())] + random.below(4)) % self.page_count()
    }

    fn some_range(&self, random: &mut Random) -> Range<u64> {
        let start = self.some_page(random);
        start..start + 1 + random.below(self.page_count() - start)
    }

    fn count(&self, range: &Range<u64>, is_wanted: impl Fn(Content) -> bool) -> u64 {
        self.pages.range(range.clone()).filter(|(_, content)| is_wanted(**content)).count() as u64
    }

    fn residents(&self, range: &Range<u64>) -> u64 {
        self.count(range, |content| content != Content::Deferred)
    }

    /// Changes what the resident pages of the range hold.
    fn replace_residents(&mut self, range: Range<u64>, by: Content) {
        let residents = self.pages.range_mut(range).filter(|(_, content)| **content != Content::Deferred);
        residents.for_each(|(_, content)| *content = by);
    }

    /// Forgets the lowest deferred pages, up to `most`, and tells how many there were.
    fn forget_deferred(&mut self, most: u64) -> u64 {
        let deferred = self.pages.iter().filter(|(_, content)| **content == Content::Deferred);
        let wanted = usize::try_from(most).unwrap_or(usize::MAX);
        let lowest: Vec<u64> = deferred.map(|(page, _)| *page).take(wanted).collect();
        self.pages.retain(|page, _| !lowest.contains(page));
        lowest.len() as u64
    }

    fn check(&self, seed: u64) {
        let all = 0..self.page_count();
        let residency = self.region.residency();
        let (resident, deferred) = (self.residents(&all), self.count(&all, |held| held == Content::Deferred));
        assert_eq!(
            (residency.resident_frames, residency.deferred_frames),
            (resident, deferred),
            "seed {seed}"
        );
        let held = residency.set_aside_frames + residency.table_frames + resident + deferred;
        assert_eq!(self.account.held_frames(), held, "seed {seed}");
        assert!(!self.account.is_lost(), "seed {seed}");
    }
}

fn write(world: &World, random: &mut Random, modelled: &mut Modelled<'_>) {
    let page = modelled.some_page(random);
    let (place, value) = (address(&modelled.region, page) + 77, random.next().to_le_bytes()[0]);
    if page < modelled.limit_pages {
        world.write(place, value);
        modelled.pages.insert(page, Content::Resident(value));
    } else {
        assert_eq!(world.cpu.write(world.space(), place, value), Err(NotOurs::BeyondLimit));
    }
}

fn read(world: &World, random: &mut Random, modelled: &mut Modelled<'_>) {
    let page = modelled.some_page(random);
    let place = address(&modelled.region, page) + 77;
    if page >= modelled.limit_pages {
        assert_eq!(world.cpu.read(world.space(), place), Err(NotOurs::BeyondLimit));
        return;
    }
    let expected = match modelled.pages.get_mut(&page) {
        Some(Content::Resident(value)) => *value,
        Some(content @ Content::Deferred) => {
            *content = Content::Resident(0);
            0
        }
        None => 0,
    };
    assert_eq!(world.read(place), expected);
}

/// Zeros are written under the guard where nothing is resident.
fn fill(world: &World, random: &mut Random, modelled: &mut Modelled<'_>) {
    let page = modelled.some_page(random);
    let is_resident = matches!(modelled.pages.get(&page), Some(Content::Resident(_)));
    if is_resident || page >= modelled.limit_pages {
        return;
    }
    let (place, range) = (address(&modelled.region, page), pages(&modelled.region, page, 1));
    let guard = modelled.region.zero_fill(range).expect("the range is inside");
    world.write(place, 0);
    drop(guard);
    modelled.pages.remove(&page);
}

fn clear(random: &mut Random, modelled: &mut Modelled<'_>) {
    let range = modelled.some_range(random);
    let pages = pages(&modelled.region, range.start, range.end - range.start);
    let (residents, all) = (modelled.residents(&range), modelled.count(&range, |_| true));
    match random.below(4) {
        0 => {
            let released = modelled.region.decommit(pages).map(|released| released.frames_released);
            assert_eq!(released, Ok(all));
            modelled.pages.retain(|page, _| !range.contains(page));
        }
        1 => {
            let (frames_released, frames_committed) = (residents, residents);
            let expected = Recommitted { frames_released, frames_committed, frames_retained: 0 };
            assert_eq!(modelled.region.recommit(pages), Ok(expected));
            modelled.replace_residents(range, Content::Resident(0));
        }
        2 => {
            assert_eq!(modelled.region.zero_in_place(pages), Ok(residents));
            modelled.replace_residents(range, Content::Resident(0));
        }
        _ => {
            assert_eq!(modelled.region.defer(pages), Ok(residents));
            modelled.replace_residents(range, Content::Deferred);
        }
    }
}

fn set_limit(random: &mut Random, modelled: &mut Modelled<'_>) {
    let whole = modelled.page_count();
    let limit_pages = if random.below(2) == 0 { whole } else { modelled.some_page(random) };
    let given_up = modelled.pages.range(limit_pages..);
    let resident =
        given_up.filter(|(_, content)| **content != Content::Deferred).map(|(page, _)| *page).min();
    let expected = match resident {
        Some(page) => Err(LimitError::Resident { page: modelled.region.pages().start + page }),
        None => Ok(()),
    };
    assert_eq!(modelled.region.set_limit(limit_pages * PAGE), expected);
    if expected.is_ok() {
        modelled.limit_pages = limit_pages;
        modelled.pages.retain(|page, _| *page < limit_pages);
    }
}

fn step(world: &World, random: &mut Random, modelled: &mut Modelled<'_>) {
    match random.below(16) {
        0..7 => write(world, random, modelled),
        7..11 => read(world, random, modelled),
        11 => fill(world, random, modelled),
        12 => set_limit(random, modelled),
        13 => {
            let budget = random.below(20);
            let released = modelled.region.reclaim(budget).frames_released;
            assert_eq!(released, modelled.forget_deferred(budget));
        }
        _ => clear(random, modelled),
    }
}

fn reclaim_everywhere(world: &World, random: &mut Random, regions: &mut [Modelled<'_>]) {
    let budget = random.below(40);
    regions.sort_by_key(|modelled| modelled.region.base());
    let expected = regions
        .iter_mut()
        .fold(0, |released, modelled| released + modelled.forget_deferred(budget - released));
    assert_eq!(world.space().reclaim(budget).frames_released, expected);
}

/// What reserved accounts are charged for and do not hold is what the source has promised.
fn check_promises(world: &World, regions: &[Modelled<'_>], seed: u64) {
    let accounts = regions.iter().map(|modelled| &modelled.account);
    let owed: u64 = accounts.map(|account| account.charged_frames() - account.held_frames()).sum();
    assert_eq!(world.source.promised(), owed, "seed {seed}");
}

fn check_at_the_end(world: &World, modelled: &mut Modelled<'_>, seed: u64) {
    modelled.region.set_limit(modelled.region.capacity_bytes()).expect("it is the capacity");
    let all = 0..modelled.page_count();
    let frames_released = modelled.count(&all, |_| true);
    for (page, content) in &modelled.pages {
        let expected = match content {
            Content::Resident(value) => *value,
            Content::Deferred => 0,
        };
        assert_eq!(world.read(address(&modelled.region, *page) + 77), expected, "seed {seed}");
    }
    let tables_released = modelled.region.residency().table_frames;
    let released = modelled.region.decommit(modelled.region.pages()).expect("the range is the region");
    assert_eq!(released, Decommitted { frames_released, tables_released }, "seed {seed}");
}

#[test]
fn random_operations_agree_with_the_model() {
    for seed in 1..=24_u64 {
        let world = World::with(2 << 40, 32_768);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut regions: Vec<Modelled<'_>> = Vec::new();
        for _ in 0..3000 {
            let choice = random.below(100);
            if regions.is_empty() || (choice < 2 && regions.len() < 12) {
                regions.push(Modelled::new(&world, &mut random));
            } else if choice < 4 {
                regions.swap_remove(random.index(regions.len()));
            } else if choice < 6 {
                reclaim_everywhere(&world, &mut random, &mut regions);
            } else {
                let chosen = random.index(regions.len());
                step(&world, &mut random, &mut regions[chosen]);
                regions[chosen].check(seed);
            }
            check_promises(&world, &regions, seed);
        }
        regions.iter_mut().for_each(|modelled| check_at_the_end(&world, modelled, seed));
    }
}
