//! The state after the boot: the memory map, the frame pool, and the protections of the CPU.

use core::hint::black_box;

use kernel_demo::{Machine, MemoryKind, stack};
use raw_cpuid::CpuId;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags};
use x86_64::structures::paging::{PageSize, Size4KiB};

use crate::harness::{Checks, VmTest};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("memory-map-contains-the-pool", 3, memory_map_contains_the_pool),
    VmTest::new("pool-counts-its-free-frames", 4, pool_counts_its_free_frames),
    VmTest::new("cpu-enforces-protection", 3, cpu_enforces_protection),
    VmTest::new("stack-probe-sees-a-deep-call", 2, stack_probe_sees_a_deep_call),
];

fn memory_map_contains_the_pool(checks: &mut Checks, machine: &Machine) {
    let ram = machine.memory_map().iter().filter(|range| range.kind == MemoryKind::Ram);
    let ram_bytes: u64 = ram.map(|range| range.addresses.end - range.addresses.start).sum();
    let pool_bytes = machine.frames().total_frames() * Size4KiB::SIZE;
    checks.equal("the pool is not larger than the RAM", pool_bytes <= ram_bytes, true);
    checks.equal("the pool is more than half of the RAM", pool_bytes > ram_bytes / 2, true);
    let heap_bytes = machine.heap().size_bytes as u64;
    let taken_bytes = (machine.frames().total_frames() - machine.frames().free_frames()) * Size4KiB::SIZE;
    checks.equal("the heap is out of the pool", heap_bytes <= taken_bytes, true);
}

fn pool_counts_its_free_frames(checks: &mut Checks, machine: &Machine) {
    let pool = machine.frames();
    let free = pool.free_frames();
    let first = pool.allocate_frame().expect("a machine that boots has free frames");
    let second = pool.allocate_frame().expect("a machine that boots has free frames");
    checks.equal("two frames have two addresses", first.phys() == second.phys(), false);
    checks.equal("free frames after two allocations", pool.free_frames(), free - 2);
    pool.release_frame(first);
    checks.equal("free frames after one release", pool.free_frames(), free - 1);
    pool.release_frame(second);
    checks.equal("free frames after both releases", pool.free_frames(), free);
}

fn cpu_enforces_protection(checks: &mut Checks, _machine: &Machine) {
    checks.equal("CR0.WP", Cr0::read().contains(Cr0Flags::WRITE_PROTECT), true);
    checks.equal("EFER.NXE", Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE), true);
    let features = CpuId::new().get_extended_feature_info();
    let cr4 = Cr4::read();
    let enforced = [
        cr4.contains(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
        cr4.contains(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        cr4.contains(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
    ];
    let offered = features.map_or([false; 3], |cpu| [cpu.has_smep(), cpu.has_smap(), cpu.has_umip()]);
    checks.equal("SMEP, SMAP and UMIP as CPUID offers them", enforced, offered);
}

fn stack_probe_sees_a_deep_call(checks: &mut Checks, _machine: &Machine) {
    const BYTES: usize = 128 * 1024;
    #[inline(never)]
    fn deep_call() {
        black_box([0xff_u8; BYTES]);
    }
    checks.equal("the boot needs less than the call", stack::peak_bytes() < BYTES, true);
    deep_call();
    checks.equal("the probe sees the call", stack::peak_bytes() > BYTES, true);
}
