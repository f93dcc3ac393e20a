//! Random operations on a few regions, compared with a model that knows bytes and page states only.

use std::collections::HashMap;

use palimpsest_paging::Decommitted;

use crate::world::{GIB, KIB, MIB, PAGE, TestRegion, World, address, pages};

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
}

/// A region, and what each page of it must hold: the byte that was written last, if it was.
struct Modelled<'a> {
    region: TestRegion<'a>,
    resident: HashMap<u64, u8>,
}

const SIZES: [u64; 7] = [PAGE, 64 * KIB, MIB, 2 * MIB, 5 * MIB, 900 * MIB, 4 * GIB];

/// Pages that are worth touching: near borders of tables, and a few others.
fn some_page(random: &mut Random, page_count: u64) -> u64 {
    let near = [0, 511, 512, 1023, 262_143, 262_144, page_count / 2, page_count - 1];
    let base = near[usize::try_from(random.below(8)).expect("below 8")];
    (base + random.below(4)) % page_count
}

fn step(world: &World, random: &mut Random, modelled: &mut Modelled<'_>) {
    let page_count = modelled.region.capacity_bytes() / PAGE;
    let page = some_page(random, page_count);
    let place = address(&modelled.region, page) + 77;
    match random.below(8) {
        0..4 => {
            let value = random.next().to_le_bytes()[0];
            world.write(place, value);
            modelled.resident.insert(page, value);
        }
        4..6 => assert_eq!(world.read(place), modelled.resident.get(&page).copied().unwrap_or(0)),
        6 => {
            let count = 1 + random.below(page_count - page);
            let range = pages(&modelled.region, page, count);
            let released = modelled.region.decommit(range).expect("the range is inside");
            let before = modelled.resident.len();
            modelled.resident.retain(|resident, _| !(page..page + count).contains(resident));
            assert_eq!(released.frames_released, (before - modelled.resident.len()) as u64);
        }
        _ => {
            // Zeros are written under the guard where nothing is resident.
            if !modelled.resident.contains_key(&page) {
                let range = pages(&modelled.region, page, 1);
                let guard = modelled.region.zero_fill(range).expect("the range is inside");
                world.write(place, 0);
                drop(guard);
            }
        }
    }
    let resident = modelled.resident.len() as u64;
    assert_eq!(modelled.region.residency().resident_frames, resident);
}

#[test]
fn random_operations_agree_with_the_model() {
    for seed in 1..=24_u64 {
        let world = World::new();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut regions: Vec<Modelled<'_>> = Vec::new();
        for _ in 0..3000 {
            let choice = random.below(100);
            if regions.is_empty() || (choice < 2 && regions.len() < 12) {
                let bytes = SIZES[usize::try_from(random.below(7)).expect("below 7")];
                regions.push(Modelled { region: world.region(bytes), resident: HashMap::new() });
            } else if choice < 4 {
                let victim = random.below(regions.len() as u64);
                regions.swap_remove(usize::try_from(victim).expect("an index"));
            } else {
                let chosen = random.below(regions.len() as u64);
                step(&world, &mut random, &mut regions[usize::try_from(chosen).expect("an index")]);
            }
        }
        for modelled in &mut regions {
            for (page, value) in &modelled.resident {
                assert_eq!(world.read(address(&modelled.region, *page) + 77), *value, "seed {seed}");
            }
            let all = modelled.region.pages();
            let tables_released = modelled.region.residency().table_frames;
            let frames_released = modelled.resident.len() as u64;
            let released = modelled.region.decommit(all).expect("the range is the region");
            assert_eq!(released, Decommitted { frames_released, tables_released }, "seed {seed}");
        }
    }
}
