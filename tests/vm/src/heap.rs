//! Compares the blocks that guests allocate from `palimpsest-heap` with the frames that their
//! memories hold.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use kernel_demo::{Machine, clock, println};
use palimpsest_engine::{Linker, Store};
use palimpsest_heap::{Heap, HeapOptions};

use crate::fixture::{MIB, PAGE_BYTES};
use crate::random::Random;
use crate::{
    harness::{Checks, VmTest, commit_nothing_ahead},
    wasm::{Program, config, engine, guest, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("heap-holds-the-pages-of-live-blocks-and-a-few", 3, footprint),
    VmTest::new("heap-without-hysteresis-holds-live-pages-only", 3, exact_footprint),
    VmTest::new("heap-ping-pong-costs-no-fault", 2, ping_pong),
    VmTest::new("heap-leaves-untouched-pages-alone", 5, untouched_pages),
    VmTest::new("heap-moves-a-long-block-without-a-second-one", 3, moving),
    VmTest::new("heap-entries-bound-what-the-kernel-spends", 3, entries),
    VmTest::counting("heap-calls-cost-some-hundred-instructions", 2, cost),
];

/// Starts the guest with a heap of these options.
fn start(machine: &Machine, options: HeapOptions) -> Program<Heap> {
    let engine = engine(machine, config(machine));
    let module = module(&engine, guest!("heap"));
    let mut store = Store::new(&engine, Heap::new(options));
    let mut linker = Linker::new();
    palimpsest_heap::add_to_linker(&mut linker, |heap| heap).expect("the linker is empty");
    let instance = linker.instantiate(&mut store, &module).expect("the guest links");
    Program::new(store, instance)
}

/// Returns options with a threshold of `idle_pages`.
fn keeping(idle_pages: u64) -> HeapOptions {
    let mut options = HeapOptions::default();
    options.idle_pages = idle_pages;
    options
}

/// Returns 1 byte to 64 MiB. One size in a hundred is large, and one in a thousand may be very
/// large.
fn random_size(random: &mut Random) -> u32 {
    let magnitude = match random.below(1000) {
        0 => 20 + random.below(7),
        1..10 => 13 + random.below(8),
        _ => random.below(14),
    };
    1 + random.below(1 << magnitude)
}

/// The live blocks of a guest, which has touched all of their pages.
struct Blocks {
    program: Program<Heap>,
    /// The address and the length of each block, and the byte that was written to each of its
    /// pages.
    live: Vec<(u32, u32, u8)>,
    live_bytes: u64,
    /// The number of live blocks with a byte in each page.
    pages: BTreeMap<u32, u32>,
    wrong_bytes: u64,
}

/// While live blocks have more bytes than this, blocks are freed and none is allocated.
const MOST_BYTES: u64 = 96 * MIB;
/// The number of operations between two comparisons with the frames.
const INTERVAL: u32 = 250;

fn pages_of(address: u32, bytes: u32) -> impl Iterator<Item = u32> {
    let page_bytes = 4096;
    address / page_bytes..=(address + (bytes - 1)) / page_bytes
}

impl Blocks {
    fn new(program: Program<Heap>) -> Self {
        Self { program, live: Vec::new(), live_bytes: 0, pages: BTreeMap::new(), wrong_bytes: 0 }
    }

    /// Returns the offsets that are touched: the block's first byte in each page.
    fn touched(address: u32, bytes: u32) -> impl Iterator<Item = usize> {
        pages_of(address, bytes).map(move |page| (page << 12).max(address) as usize)
    }

    fn make(&mut self, bytes: u32, tag: u8) {
        let address = self.program.must::<u32, u32>("malloc", bytes);
        assert!(address != 0, "4 GiB of addresses are enough");
        let memory = self.program.memory().data_mut(&mut self.program.store);
        Self::touched(address, bytes).for_each(|offset| memory[offset] = tag);
        pages_of(address, bytes).for_each(|page| *self.pages.entry(page).or_default() += 1);
        self.live.push((address, bytes, tag));
        self.live_bytes += u64::from(bytes);
    }

    fn free(&mut self, index: usize) {
        let (address, bytes, tag) = self.live.swap_remove(index);
        let memory = self.program.memory().data(&self.program.store);
        self.wrong_bytes +=
            Self::touched(address, bytes).filter(|offset| memory[*offset] != tag).count() as u64;
        self.program.must::<u32, ()>("free", address);
        for page in pages_of(address, bytes) {
            let count = self.pages.get_mut(&page).expect("the block was entered");
            *count -= 1;
            if *count == 0 {
                self.pages.remove(&page);
            }
        }
        self.live_bytes -= u64::from(bytes);
    }

    fn step(&mut self, random: &mut Random) {
        let is_full = self.live_bytes > MOST_BYTES;
        if self.live.is_empty() || (!is_full && random.below(2) == 0) {
            let bytes = random_size(random);
            self.make(bytes, random.below(256).to_le_bytes()[0]);
        } else {
            let count = u32::try_from(self.live.len()).expect("there are fewer than operations");
            self.free(random.below(count) as usize);
        }
    }

    /// Returns the number of resident frames beyond the live blocks' pages, or `None` if there are
    /// fewer.
    fn surplus(&self) -> Option<u64> {
        self.program.residency().resident_frames.checked_sub(self.pages.len() as u64)
    }
}

/// Runs random operations, and regularly compares the frames with the live blocks' pages.
fn random_operations(checks: &mut Checks, program: Program<Heap>, operations: u32, most_surplus: u64) {
    let mut random = Random::new(0);
    let mut blocks = Blocks::new(program);
    let mut largest = 0;
    for number in 1..=operations {
        blocks.step(&mut random);
        if number % INTERVAL == 0 {
            largest = largest.max(blocks.surplus().unwrap_or(u64::MAX));
        }
    }
    checks.at_most("frames beside those of live blocks", largest, most_surplus);
    (0..blocks.live.len()).rev().for_each(|index| blocks.free(index));
    checks.equal("bytes that were changed", blocks.wrong_bytes, 0);
    checks.at_most("frames at the end", blocks.program.residency().resident_frames, most_surplus);
}

fn footprint(checks: &mut Checks, machine: &Machine) {
    let options = HeapOptions::default();
    // Frames committed ahead of a block are not the heap's.
    commit_nothing_ahead(machine);
    random_operations(checks, start(machine, options), 100_000, options.idle_pages);
}

fn exact_footprint(checks: &mut Checks, machine: &Machine) {
    // Frames committed ahead of a block are not the heap's.
    commit_nothing_ahead(machine);
    random_operations(checks, start(machine, keeping(0)), 20_000, 0);
}

fn ping_pong(checks: &mut Checks, machine: &Machine) {
    let faults = |options| {
        let mut program = start(machine, options);
        program.must::<(u32, u32), ()>("ping_pong", (1, 100));
        let before = program.residency().faults;
        program.must::<(u32, u32), ()>("ping_pong", (1000, 100));
        program.residency().faults - before
    };
    checks.equal("faults of a thousand objects", faults(keeping(1)), 0);
    checks.equal("without hysteresis", faults(keeping(0)), 1000);
}

fn untouched_pages(checks: &mut Checks, machine: &Machine) {
    const BYTES: u32 = 64 << 20;
    let mut program = start(machine, HeapOptions::default());
    let block = program.must::<(u32, u32), u32>("calloc", (BYTES / 64, 64));
    checks.equal("frames of a fresh calloc", program.residency().resident_frames, 0);
    program.memory().data_mut(&mut program.store)[block as usize + 5_000_000] = 7;
    let next = program.must::<u32, u32>("malloc", 4096);
    let moved = program.must::<(u32, u32), u32>("realloc", (block, 2 * BYTES));
    checks.equal("it has moved", moved > next, true);
    checks.equal("its only byte", program.memory().data(&program.store)[moved as usize + 5_000_000], 7);
    checks.equal("frames of the moved block", program.residency().resident_frames, 1);
    program.must::<u32, ()>("free", moved);
    checks.equal("frames after it was freed", program.residency().resident_frames, 0);
}

fn moving(checks: &mut Checks, machine: &Machine) {
    const BYTES: u32 = 32 << 20;
    // Frames committed ahead of the block would count as a part of it.
    commit_nothing_ahead(machine);
    let mut program = start(machine, HeapOptions::default());
    let block = program.must::<u32, u32>("malloc", BYTES);
    program.must::<u32, u32>("malloc", 4096);
    program.memory().data_mut(&mut program.store)[block as usize..][..BYTES as usize].fill(0x5a);
    let moved = program.must::<(u32, u32), u32>("realloc", (block, BYTES + 1));
    checks.equal("it has moved", moved > block, true);
    let pages = u64::from(BYTES) / PAGE_BYTES;
    checks.equal("frames", program.residency().resident_frames, pages);
    checks.at_most("frames at any time", program.residency().peak_resident_frames, pages + 256);
}

fn entries(checks: &mut Checks, machine: &Machine) {
    let options = HeapOptions::default();
    let entries = options.entries as u64;
    let mut program = start(machine, options);
    let before = machine.heap().used_bytes;
    let objects = program.must::<u32, u32>("exhaust", 3840);
    let report = program.store.data().report();
    checks.equal("objects, 16 in a slab", u64::from(objects), report.slabs * 16);
    checks.at_most("slabs", report.slabs, entries);
    let spent = (machine.heap().used_bytes - before) as u64;
    println!("{} bytes of heap for each of {} slabs", spent / report.slabs, report.slabs);
    checks.at_most("bytes of heap", spent, entries * 350);
}

fn cost(checks: &mut Checks, machine: &Machine) {
    const COUNT: u32 = 10_000;
    let mut program = start(machine, HeapOptions::default());
    // Another block of the same class keeps the slab.
    program.must::<u32, u32>("malloc", 100);
    let mut instructions = |name: &str, size: Option<u32>| {
        let before = clock::ticks();
        match size {
            Some(size) => program.must::<(u32, u32), ()>(name, (COUNT, size)),
            None => program.must::<u32, ()>(name, COUNT),
        }
        (clock::ticks() - before) / u64::from(COUNT)
    };
    let nothing = instructions("nothing", None);
    for size in [100, 3000] {
        instructions("ping_pong", Some(size));
        let pair = instructions("ping_pong", Some(size));
        println!("malloc and free of {size} bytes: {pair} instructions, {nothing} without the heap's work");
        checks.at_most("instructions of a malloc and a free, beside the calls", pair - nothing, 1_200);
    }
}
