//! Which pages a guest's or the host's access to a linear memory commits.

use alloc::format;

use kernel_demo::{
    Machine, clock,
    memory::{FaultEntry, set_fault_entry},
};
use palimpsest_engine::{Linker, Store};

use crate::{
    harness::{Checks, VmTest, commit_nothing_ahead},
    wasm::{Program, config, engine, guest, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("four-gib-memory-holds-no-data-frame", 8, four_gib_memory_holds_no_data_frame),
    VmTest::new("guest-stores-commit-their-pages-only", 9, guest_stores_commit_their_pages_only),
    VmTest::new("guest-loads-commit-no-page", 3, guest_loads_commit_no_page),
    VmTest::new("bulk-instructions-commit-the-pages-they-write", 9, bulk_instructions),
    VmTest::new("host-accesses-commit-like-the-guests", 6, host_accesses_commit_like_the_guests),
    VmTest::new("floats-survive-faults-between-them", 2, floats_survive_faults_between_them),
    VmTest::counting("instantiating-four-gib-costs-no-more-than-one-page", 1, instantiation_cost),
    VmTest::counting("a-handler-without-registers-refuses-long-fills", 9, long_fills),
    VmTest::counting("growing-by-all-costs-no-more-than-growing-by-one", 2, growth_cost),
];

/// The last address of a 4 GiB memory.
const LAST: u32 = u32::MAX;
/// The middle of it, off the start of its page.
const MIDDLE: u32 = 0x8000_0123;
const PAGE: u32 = 4096;
/// The Wasm pages of 1 TiB.
const TIB_WASM_PAGES: u64 = 1 << 24;

fn four_gib_memory_holds_no_data_frame(checks: &mut Checks, machine: &Machine) {
    for entry in [FaultEntry::RegisterAware, FaultEntry::Plain] {
        set_fault_entry(entry);
        let program = Program::start(machine, guest!("four-gib"));
        let held = program.residency();
        checks.equal("data frames", held.resident_frames, 0);
        checks.equal("data frames at any time", held.peak_resident_frames, 0);
        checks.equal("table frames", held.table_frames, 0);
        checks.equal("the last byte", program.memory().data(&program.store)[LAST as usize], 0);
    }
}

/// A handler without registers has to write every byte of a new range.
fn long_fills(checks: &mut Checks, machine: &Machine) {
    const WASM_PAGE: u64 = 65_536;
    set_fault_entry(FaultEntry::Plain);
    let refused = Program::try_start(machine, guest!("four-gib")).err();
    let is_named = refused.is_some_and(|error| format!("{error:#?}").contains("Unfillable"));
    checks.equal("a memory that starts with 4 GiB is refused by name", is_named, true);
    let mut program = Program::start(machine, guest!("growing"));
    let memory = program.memory();
    let mut grow = |bytes| memory.grow(&mut program.store, bytes / WASM_PAGE).ok();
    let before = clock::ticks();
    checks.equal("growing by 4 GiB less a page", grow((4 << 30) - WASM_PAGE), None);
    checks.at_most("instructions of the refusal", clock::ticks() - before, 20_000);
    checks.equal("growing by 64 MiB and a page", grow((64 << 20) + WASM_PAGE), None);
    checks.equal("growing by 64 MiB", grow(64 << 20), Some(1));
    let mut wide = Program::start(machine, guest!("growing-64"));
    let before = clock::ticks();
    let grown = wide.memory().grow(&mut wide.store, TIB_WASM_PAGES).ok();
    checks.at_most("instructions of refusing 1 TiB", clock::ticks() - before, 20_000);
    checks.equal("growing by 1 TiB", grown, None);
    set_fault_entry(FaultEntry::RegisterAware);
    checks.equal("growing by 1 GiB with the registers", grow(1 << 30), Some(1 + 1024));
    let resident = program.residency().resident_frames;
    checks.equal("resident frames", resident, 0);
}

fn guest_stores_commit_their_pages_only(checks: &mut Checks, machine: &Machine) {
    let mut program = Program::start(machine, guest!("accesses"));
    for (frames, at) in (1..).zip([0, MIDDLE, LAST]) {
        program.must::<u32, ()>("store", at);
        checks.equal("data frames", program.residency().resident_frames, frames);
        checks.equal("the byte", program.must::<u32, u32>("load", at), 0x5a);
    }
    program.must::<u32, ()>("store", 7);
    checks.equal("data frames after a second store to a page", program.residency().resident_frames, 3);
    // Eight bytes, the border between two pages in their middle.
    program.must::<u32, ()>("store_wide", 16 * PAGE - 4);
    checks.equal("data frames after a store across a border", program.residency().resident_frames, 5);
    checks.equal("the bytes across it", program.must::<u32, u64>("load_wide", 16 * PAGE - 4), u64::MAX);
}

fn guest_loads_commit_no_page(checks: &mut Checks, machine: &Machine) {
    let mut program = Program::start(machine, guest!("accesses"));
    let sum: u32 = [0, PAGE, MIDDLE, LAST].into_iter().map(|at| program.must::<u32, u32>("load", at)).sum();
    checks.equal("the sum of untouched bytes", sum, 0);
    checks.equal("the bytes across a border", program.must::<u32, u64>("load_wide", MIDDLE | 0xfff), 0);
    checks.equal("data frames", program.residency().resident_frames, 0);
}

fn bulk_instructions(checks: &mut Checks, machine: &Machine) {
    // Three pages in a row are a run.
    commit_nothing_ahead(machine);
    let mut program = Program::start(machine, guest!("accesses"));
    program.must::<(u32, u32), ()>("fill", (2 * PAGE - 1, PAGE + 2));
    checks.equal("data frames after memory.fill over three pages", program.residency().resident_frames, 3);
    program.must::<(u32, u32), ()>("init", (MIDDLE | 0xfff, 16));
    checks.equal("data frames after memory.init across a border", program.residency().resident_frames, 5);
    checks.equal("what it wrote", program.must::<u32, u32>("load", MIDDLE | 0xfff), u32::from(b'0'));
    program.must::<(u32, u32, u32), ()>("copy", (64 * PAGE - 8, MIDDLE | 0xfff, 16));
    checks.equal("data frames after memory.copy across a border", program.residency().resident_frames, 7);
    checks.equal("what it copied", program.must::<u32, u32>("load", 64 * PAGE), u32::from(b'8'));
    program.must::<(u32, u32, u32), ()>("copy", (128 * PAGE, 256 * PAGE, 2 * PAGE));
    checks.equal("the copy of untouched pages", program.must::<u32, u32>("load", 129 * PAGE), 0);
    checks.equal("data frames after it", program.residency().resident_frames, 9);
    program.must::<(u32, u32), ()>("fill", (LAST - PAGE, PAGE + 1));
    checks.equal("the last byte", program.must::<u32, u32>("load", LAST), 0x5a);
    checks.equal("data frames at the end", program.residency().resident_frames, 11);
}

fn host_accesses_commit_like_the_guests(checks: &mut Checks, machine: &Machine) {
    let mut program = Program::start(machine, guest!("accesses"));
    let memory = program.memory();
    let mut bytes = [0xff; 2];
    memory.read(&program.store, LAST as usize - 1, &mut bytes).expect("the range is inside");
    checks.equal("the bytes read", bytes, [0; 2]);
    checks.equal("data frames after the read", program.residency().resident_frames, 0);
    memory.write(&mut program.store, PAGE as usize - 1, &[1, 2]).expect("the range is inside");
    checks.equal("data frames after a write across a border", program.residency().resident_frames, 2);
    memory.data_mut(&mut program.store)[LAST as usize] = 3;
    checks.equal("data frames after a write through the slice", program.residency().resident_frames, 3);
    checks.equal("what the guest sees", program.must::<u32, u32>("load", PAGE), 2);
    checks.equal("what the guest sees at the end", program.must::<u32, u32>("load", LAST), 3);
}

fn floats_survive_faults_between_them(checks: &mut Checks, machine: &Machine) {
    let mut program = Program::start(machine, guest!("floats"));
    let sum: f64 = program.must("run", ());
    checks.equal("half for each of 4096 pages", sum.to_bits(), 2048_f64.to_bits());
    let again: f64 = program.must("run", ());
    checks.equal("the same without faults", again.to_bits(), sum.to_bits());
}

/// The instructions of the cheapest of several instantiations of `wasm`.
fn instructions_to_instantiate(machine: &Machine, wasm: &[u8]) -> u64 {
    let engine = engine(machine, config(machine));
    let module = module(&engine, wasm);
    let costs = (0..8).map(|_| {
        let mut store = Store::new(&engine, ());
        let before = clock::ticks();
        Linker::new().instantiate(&mut store, &module).expect("the guest links");
        clock::ticks() - before
    });
    costs.min().unwrap_or(u64::MAX)
}

fn instantiation_cost(checks: &mut Checks, machine: &Machine) {
    let one = instructions_to_instantiate(machine, guest!("one-page"));
    let all = instructions_to_instantiate(machine, guest!("four-gib"));
    kernel_demo::println!("instantiating 1 Wasm page: {one} instructions; 65536: {all}");
    checks.at_most("instructions for 65536 Wasm pages", all, one + 1_000);
}

/// The instructions of the cheapest of several growths of `wasm`'s memory by `wasm_pages`.
fn instructions_to_grow(machine: &Machine, wasm: &[u8], wasm_pages: u64) -> u64 {
    let costs = (0..8).map(|_| {
        let mut program = Program::start(machine, wasm);
        let memory = program.memory();
        let before = clock::ticks();
        memory.grow(&mut program.store, wasm_pages).expect("the memory may have so many Wasm pages");
        clock::ticks() - before
    });
    costs.min().unwrap_or(u64::MAX)
}

fn growth_cost(checks: &mut Checks, machine: &Machine) {
    let by_one = instructions_to_grow(machine, guest!("growing"), 1);
    let by_all = instructions_to_grow(machine, guest!("growing"), 65_535);
    let by_a_tib = instructions_to_grow(machine, guest!("growing-64"), TIB_WASM_PAGES);
    kernel_demo::println!("growing by 1 Wasm page: {by_one} instructions; by 65535: {by_all}");
    kernel_demo::println!("growing by 1 TiB: {by_a_tib} instructions");
    // The search for a page that is present walks a table for each 512 GiB, 1 GiB, 2 MiB: a few
    // entries more.
    checks.at_most("instructions to grow by 65535", by_all, by_one + 500);
    // It walks the 1,024 entries of two level-3 tables.
    checks.at_most("instructions to grow by 1 TiB", by_a_tib, by_one + 20_000);
}
