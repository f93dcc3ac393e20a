//! Memories with 64-bit addresses or other page sizes, and several memories of an instance.

use kernel_demo::{Machine, clock, println};

use crate::{
    harness::{Checks, VmTest, free_frames},
    wasm::{Program, guest},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("a-guest-touches-byte-2-to-the-40", 8, byte_2_to_the_40),
    VmTest::counting("clearing-an-absent-tib-walks-no-pages", 1, absent_tib),
    VmTest::new("byte-pages-release-the-whole-frames-inside", 9, byte_pages),
];

/// Bytes of a TiB.
const TIB: u64 = 1 << 40;
/// Wasm pages of a TiB.
const TIB_WASM_PAGES: u64 = TIB >> 16;

fn byte_2_to_the_40(checks: &mut Checks, machine: &Machine) {
    let mut program = Program::start(machine, guest!("beyond-4-gib"));
    let free = free_frames(machine);
    checks.equal("data frames of 1 TiB", program.residency().resident_frames, 0);
    program.must::<(u64, u64), ()>("store", (TIB, 7));
    program.must::<(u64, u64), ()>("store", (5 << 30, 8));
    checks.equal("data frames", program.residency().resident_frames, 2);
    checks.equal("what is there", program.must::<u64, u64>("load", TIB), 7);
    checks.equal("memory.grow", program.must::<u64, u64>("grow", 1), TIB_WASM_PAGES + 1);
    checks.equal("memory.grow above the maximum", program.must::<u64, u64>("grow", 1), u64::MAX);
    checks.equal("clear_pages", program.must::<(u64, u64), u32>("clear", (0, TIB_WASM_PAGES + 2)), 0);
    checks.equal("free frames", free_frames(machine), free);
    checks.equal("what is there then", program.must::<u64, u64>("load", 5 << 30), 0);
}

fn absent_tib(checks: &mut Checks, machine: &Machine) {
    let mut program = Program::start(machine, guest!("beyond-4-gib"));
    let memory = program.memory();
    let cost = |store: &mut _| {
        let before = clock::ticks();
        memory.clear_pages(store, 0, TIB_WASM_PAGES).expect("the range is inside");
        clock::ticks() - before
    };
    let instructions = (0..4).map(|_| cost(&mut program.store)).min().unwrap_or(u64::MAX);
    println!("clearing an absent 1 TiB: {instructions} instructions");
    // 2^28 pages; the level-3 tables have 1,024 entries for them, each looked at twice.
    checks.at_most("instructions", instructions, 80_000);
}

fn byte_pages(checks: &mut Checks, machine: &Machine) {
    let mut program = Program::start(machine, guest!("byte-pages"));
    checks.equal("data frames of a new memory", program.residency().resident_frames, 0);
    program.must::<(), ()>("fill", ());
    checks.equal("data frames", program.residency().resident_frames, 6);
    program.must::<(u32, u32), ()>("discard", (4_000, 10_000));
    checks.equal("two whole frames are released", program.residency().resident_frames, 4);
    let look = [3_999, 4_000, 13_999, 14_000].map(|at| program.must::<u32, u32>("load", at));
    checks.equal("bytes at the edges", look, [0xaa, 0, 0, 0xaa]);
    checks.equal("reading them took no frame", program.residency().resident_frames, 4);
    program.must::<(u32, u32), ()>("discard", (5_000, 100));
    checks.equal("nor does clearing absent bytes", program.residency().resident_frames, 4);
    checks.equal("memory.grow by a byte", program.must::<u32, u32>("grow", 1), 22_528);
    program.must::<(u32, u32), ()>("discard", (0, 22_529));
    checks.equal("the frame at the end stays", program.residency().resident_frames, 1);
    checks.equal("and reads zero", program.must::<u32, u32>("load", 22_528), 0);
}
