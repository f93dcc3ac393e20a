//! Random operations on a few regions, compared with a model that consists of bytes and page
//! states.

mod modelled;

use palimpsest_paging::{FaultAround, LimitError, NotOurs, Policies, ZeroStores};

pub(crate) use self::modelled::Random;
use self::modelled::{Content, Counting, Modelled};
use crate::world::{PAGE, World, address, pages};

/// Writes a few pages in a row, but never a zero: a page of zeros may be treated like one that was
/// never written.
/// Returns policies that are chosen at random.
pub(crate) fn policies(random: &mut Random) -> Policies {
    let zero_stores = if random.below(2) == 0 { ZeroStores::Off } else { ZeroStores::StepOver };
    let fault_around = match random.below(2) {
        0 => FaultAround::Off,
        _ => FaultAround::Adaptive { limit_pages: 64 },
    };
    Policies { fault_around, zero_stores }
}

fn write(world: &World, random: &mut Random, modelled: &mut Modelled<'_>) {
    let first = modelled.some_page(random);
    let count = 1 + random.below(5);
    for page in first..(first + count).min(modelled.page_count()) {
        let (place, value) = (address(&modelled.region, page) + 77, random.next().to_le_bytes()[0] | 1);
        if page < modelled.limit_pages {
            world.write(place, value);
            modelled.pages.insert(page, Content::Resident(value));
        } else {
            assert_eq!(world.cpu.write(world.space(), place, value), Err(NotOurs::BeyondLimit));
        }
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
            let released = modelled.region.decommit(pages).expect("the range is inside");
            modelled.count_as(released.frames_released, all);
            modelled.pages.retain(|page, _| !range.contains(page));
        }
        1 => {
            let done = modelled.region.recommit(pages).expect("the range is inside");
            modelled.count_as(done.frames_committed, residents);
            assert_eq!((done.frames_released, done.frames_retained), (done.frames_committed, 0));
            modelled.replace_residents(range, Content::Resident(0));
        }
        2 => {
            let zeroed = modelled.region.zero_in_place(pages).expect("the range is inside");
            modelled.count_as(zeroed, residents);
            modelled.replace_residents(range, Content::Resident(0));
        }
        _ => {
            let deferred = modelled.region.defer(pages).expect("the range is inside");
            modelled.count_as(deferred, residents);
            modelled.replace_residents(range, Content::Deferred);
        }
    }
}

fn set_limit(random: &mut Random, modelled: &mut Modelled<'_>) {
    let whole = modelled.page_count();
    let limit_pages = match (modelled.counting, random.below(2)) {
        (Counting::Exact, 1) => modelled.some_page(random),
        (Counting::Exact | Counting::AtLeast, _) => whole,
    };
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
            let expected = modelled.forget_deferred(budget);
            modelled.count_as(released, expected);
        }
        _ => clear(random, modelled),
    }
}

fn reclaim_everywhere(
    world: &World,
    random: &mut Random,
    regions: &mut [Modelled<'_>],
    counting: Counting,
    seed: u64,
) {
    let budget = random.below(40);
    regions.sort_by_key(|modelled| modelled.region.base());
    let expected = regions
        .iter_mut()
        .fold(0, |released, modelled| released + modelled.forget_deferred(budget - released));
    counting.check(world.space().reclaim(budget).frames_released, expected, seed);
}

/// What reserved accounts are charged for and do not hold is what the source has reserved.
fn check_reservations(world: &World, regions: &[Modelled<'_>], seed: u64) {
    let accounts = regions.iter().map(|modelled| &modelled.account);
    let owed: u64 = accounts.map(|account| account.charged_frames() - account.held_frames()).sum();
    assert_eq!(world.source.reserved(), owed, "seed {seed}");
}

fn check_at_the_end(world: &World, modelled: &mut Modelled<'_>) {
    let seed = modelled.seed;
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
    modelled.count_as(released.frames_released, frames_released);
    assert_eq!(released.tables_released, tables_released, "seed {seed}");
}

#[test]
fn random_operations_agree_with_the_model() {
    agree(Policies::OFF, Counting::Exact);
}

#[test]
fn random_operations_agree_with_the_model_while_zeros_are_stepped_over() {
    agree(Policies { zero_stores: ZeroStores::StepOver, ..Policies::OFF }, Counting::Exact);
}

#[test]
fn random_operations_agree_with_the_model_while_pages_are_committed_ahead() {
    let fault_around = FaultAround::Adaptive { limit_pages: 16 };
    agree(Policies { fault_around, ..Policies::OFF }, Counting::AtLeast);
}

#[test]
fn random_operations_agree_with_the_model_under_the_default_policies() {
    agree(Policies::default(), Counting::AtLeast);
}

fn agree(policies: Policies, counting: Counting) {
    for seed in 1..=16_u64 {
        let world = World::with(2 << 40, 32_768).with_policies(policies);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut regions: Vec<Modelled<'_>> = Vec::new();
        for _ in 0..2000 {
            let choice = random.below(100);
            if regions.is_empty() || (choice < 2 && regions.len() < 12) {
                regions.push(Modelled::new(&world, &mut random, counting, seed));
            } else if choice < 4 {
                regions.swap_remove(random.index(regions.len()));
            } else if choice < 6 {
                reclaim_everywhere(&world, &mut random, &mut regions, counting, seed);
            } else {
                let chosen = random.index(regions.len());
                step(&world, &mut random, &mut regions[chosen]);
                regions[chosen].check();
            }
            check_reservations(&world, &regions, seed);
        }
        regions.iter_mut().for_each(|modelled| check_at_the_end(&world, modelled));
    }
}
