//! The attacks, by what they are after.

use palimpsest_engine::TrapCode;

use super::attack::Cause::{
    Bulk, Clear, Compute, Drop, Entry, Fault, Growth, Heap, Instantiate, Load, Translate, Wasi,
};
use super::attack::Expected::{
    HostFails, Invalid, NotInstantiated, OneOf, OutOfFrames, OutOfHeap, ReentryTooDeep, Refused, Returns,
    Runs, Traps,
};
use super::attack::Wasm::{Assembled, Made};
use super::attack::{Attack, Expected, Wasm};
use super::bombs;
use super::world::sum_of_unit;
use crate::wasm::guest;

const FAULTS: Wasm = Assembled(guest!("faults"));
const BULK: Wasm = Assembled(guest!("bulk-of-any-length"));
const BYTES: Wasm = Assembled(guest!("bytes"));
const GROWTH: Wasm = Assembled(guest!("growth"));
const STACK: Wasm = Assembled(guest!("stack"));
const LOOPS: Wasm = Assembled(guest!("loops"));
const ALLOCATIONS: Wasm = Assembled(guest!("allocations"));
const FILES: Wasm = Assembled(guest!("files"));
const EMBEDDER: Wasm = Assembled(guest!("embedder"));

/// Errors of WASI.
const EMFILE: i64 = 33;
const ENOSPC: i64 = 51;

const PAGE: i64 = 4096;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const TIB: i64 = 1 << 40;

/// What a unit of the neighbour adds up to.
const SUM: i64 = sum_of_unit().cast_signed();

/// What a guest may get that requests more of the heap than it may have.
const HEAP_IS_BOUNDED: Expected = OneOf(&[Returns(0), NotInstantiated, OutOfHeap]);

/// All attacks. Each has a boot.
pub(crate) const ATTACKS: &[Attack] = &[
    // Time.
    Attack::new("empty-loop", Compute, LOOPS, Runs).calls("empty", &[]),
    Attack::new("jump-table-loop", Compute, LOOPS, Runs).calls("jumps", &[]),
    Attack::new("division-loop", Compute, LOOPS, Runs).calls("divisions", &[]),
    Attack::new("indirect-call-loop", Compute, LOOPS, Runs).calls("indirect", &[]),
    Attack::new("tail-call-loop", Compute, LOOPS, Runs).calls("tail", &[]),
    Attack::new("endless-start-function", Compute, Assembled(guest!("endless-start")), Runs),
    Attack::new("out-of-fuel", Compute, LOOPS, Traps(TrapCode::OutOfFuel))
        .calls("jumps", &[])
        .limits(|limits| limits.fuel = Some(300_000)),
    Attack::new("cheap-fuel-then-faults", Fault, FAULTS, Runs).calls("lull_and_fault", &[300_000, 512]),
    Attack::new("cheap-fuel-then-wide-frames", Compute, Made(bombs::lull_and_wide_frames), Runs),
    Attack::new("cheap-fuel-then-wide-branches", Compute, Made(bombs::lull_and_wide_branches), Runs),
    // Instructions that move gigabytes.
    Attack::new("fill-of-16-gib", Bulk, BULK, OutOfFrames).calls("fill", &[7, 16 * GIB]),
    Attack::new("fill-of-16-gib-with-zeros", Bulk, BULK, OneOf(&[OutOfFrames, Returns(0)]))
        .calls("fill", &[0, 16 * GIB]),
    Attack::new("copy-of-16-gib", Bulk, BULK, OutOfFrames).calls("copy", &[0, PAGE, 16 * GIB]),
    Attack::new("copy-of-16-gib-backwards", Bulk, BULK, OutOfFrames).calls("copy", &[PAGE, 0, 16 * GIB]),
    Attack::new("fill-of-a-few-mib-forever", Bulk, BULK, Runs).calls("fill_forever", &[8 * MIB]),
    Attack::new("copy-of-a-few-mib-forever", Bulk, BULK, Runs).calls("copy_forever", &[5, 0, 8 * MIB]),
    Attack::new("table-fill-forever", Bulk, BULK, Runs).calls("table_fill_forever", &[]),
    Attack::new("table-copy-forever", Bulk, BULK, Runs).calls("table_copy_forever", &[]),
    Attack::new("table-init-forever", Bulk, BULK, Runs).calls("table_init_forever", &[]),
    // Frames.
    Attack::new("every-frame", Fault, FAULTS, OutOfFrames).calls("write", &[0, PAGE, GIB / PAGE]),
    Attack::new("writes-after-the-last-frame", Fault, FAULTS, OutOfFrames).calls("write_on", &[]),
    Attack::new("sparse-writes", Fault, FAULTS, OutOfFrames).calls("write", &[0, 2 * MIB, 300_000]),
    Attack::new("sparse-reads", Fault, FAULTS, OutOfFrames).calls("read", &[0, 2 * MIB, 300_000]),
    Attack::new("sparse-reads-by-gib", Fault, FAULTS, Returns(0)).calls("read", &[0, GIB, 1000]),
    Attack::new("all-frames-but-one", Fault, FAULTS, Runs).calls("hold", &[20_000]),
    Attack::new("sixteen-guests-take-all-frames", Fault, Assembled(guest!("eater")), OutOfFrames).guests(16),
    Attack::new("runs-far-apart", Fault, FAULTS, Runs).calls("runs_apart", &[9_000, 17 * GIB]),
    Attack::new("more-than-can-be-reserved", Instantiate, FAULTS, NotInstantiated).reserved(),
    // Clears.
    Attack::new("write-and-clear", Clear, FAULTS, Runs).calls("write_and_clear", &[PAGE, 16]),
    Attack::new("clear-of-64-mib", Clear, FAULTS, Runs).calls("write_and_clear", &[PAGE, 16_384]),
    Attack::new("clear-of-a-tib", Clear, FAULTS, Runs).calls("clear_everything", &[GIB, 1000]),
    Attack::new("clear-of-scattered-pages", Clear, FAULTS, Runs).calls("clear_everything", &[2 * MIB, 4000]),
    Attack::new("clear-of-pages-that-were-only-read", Clear, FAULTS, Runs)
        .calls("read_and_clear", &[PAGE, 4096]),
    Attack::new("clear-of-parts-of-pages", Clear, BYTES, Runs).calls("discard_forever", &[]),
    Attack::new("clear-of-parts-of-pages-without-a-frame", Clear, BYTES, Returns(1))
        .calls("discard_when_full", &[2_000])
        // The pages, and the tables for 8 MiB of them.
        .limits(|limits| limits.resident_frames = Some(2_000 + 4 + 1)),
    // Growth.
    Attack::new("growth-by-one-forever", Growth, Assembled(guest!("small-growth")), Runs),
    Attack::new("growth-refused-forever", Growth, GROWTH, Runs).calls("refused_forever", &[]),
    Attack::new("growth-with-a-write-each", Growth, GROWTH, OneOf(&[Runs, OutOfFrames])).calls("again", &[1]),
    Attack::new("growth-by-a-tib", Growth, GROWTH, Returns(TIB / 65_536 + 1)).calls("far", &[TIB / 65_536]),
    Attack::new("growth-by-a-mib-with-the-plain-fault-handler", Growth, GROWTH, Returns(17))
        .calls("far", &[16])
        .with_plain_fault_handler(),
    Attack::new("largest-memory64", Growth, Assembled(guest!("largest-memory64")), Returns(1)),
    Attack::new("bytes-to-the-end", Growth, Assembled(guest!("bytes-to-the-end")), Returns(1)),
    Attack::new(
        "all-addresses",
        Instantiate,
        Assembled(guest!("addresses")),
        OneOf(&[Runs, NotInstantiated]),
    ),
    Attack::new("table-growth-forever", Growth, BULK, Runs).calls("table_grow_forever", &[]),
    // The heap.
    Attack::new("ninety-tables-that-grow", Growth, Made(bombs::growing_tables), HEAP_IS_BOUNDED),
    Attack::new("ninety-tables-that-start-large", Instantiate, Made(bombs::large_tables), NotInstantiated),
    Attack::new("tables-beyond-the-heap", Growth, Made(bombs::growing_tables), OutOfHeap).limits(|limits| {
        limits.table_elements = usize::MAX;
        limits.store_table_elements = usize::MAX;
    }),
    Attack::new("blocks-of-one-byte", Heap, ALLOCATIONS, OneOf(&[Runs, Returns(0)])).calls("exhaust", &[1]),
    Attack::new("blocks-of-a-page", Heap, ALLOCATIONS, Returns(0)).calls("exhaust", &[PAGE]),
    Attack::new("malloc-and-free-forever", Heap, ALLOCATIONS, Runs).calls("ping_pong", &[3_000]),
    Attack::new("realloc-of-a-block-that-cannot-grow", Heap, ALLOCATIONS, Runs).calls("move", &[8 * MIB]),
    Attack::new("deep-recursion", Compute, STACK, Traps(TrapCode::StackOverflow)).calls("endless", &[]),
    Attack::new("recursion-with-wide-frames", Compute, STACK, Traps(TrapCode::StackOverflow))
        .calls("wide_recursion", &[]),
    // The host's stack.
    Attack::new("endless-re-entry", Entry, STACK, ReentryTooDeep),
    Attack::new("re-entry-below-frames", Entry, STACK, ReentryTooDeep).calls("enter_below_frames", &[10]),
    Attack::new("calls-back-forever", Entry, STACK, OneOf(&[Runs, Traps(TrapCode::OutOfFuel)]))
        .calls("leaf_forever", &[]),
    Attack::new("every-host-function-at-the-deepest-entry", Entry, EMBEDDER, Returns(0))
        .calls("at_the_deepest_entry", &[]),
    // Mistakes of the embedder.
    Attack::new("data-exchanged-between-entries", Entry, EMBEDDER, ReentryTooDeep)
        .calls("exchange_between_entries", &[]),
    Attack::new("memory-while-ring-0-ignores-read-only-pages", Entry, EMBEDDER, Returns(1))
        .calls("unprotected", &[]),
    // A host function that fails at its first call, then at its second, and so on.
    Attack::new(
        "host-fails-at-every-point",
        Entry,
        Assembled(guest!("script")),
        OneOf(&[HostFails, Returns(0)]),
    )
    .lives(24),
    // Loading.
    Attack::new("wide-jump-table", Load, Made(bombs::wide_jump_table), Refused("function_work")),
    Attack::new("many-jump-tables", Load, Made(bombs::many_jump_tables), Refused("function_work")),
    Attack::new(
        "branches-over-constants",
        Load,
        Made(bombs::branches_over_constants),
        Refused("function_work"),
    ),
    Attack::new("wide-calls", Load, Made(bombs::wide_calls), Refused("function_work")),
    Attack::new("wide-blocks", Load, Made(bombs::wide_blocks), Refused("function_work")),
    Attack::new("wide-loops", Load, Made(bombs::wide_loops), Refused("function_work")),
    Attack::new(
        "preserved-locals",
        Translate,
        Made(bombs::preserved_locals),
        OneOf(&[Returns(0), Refused("function_work")]),
    ),
    Attack::new("nested-blocks", Load, Made(bombs::nested_blocks), Refused("nesting")),
    Attack::new("many-locals", Load, Made(bombs::many_locals), OneOf(&[Returns(0), Refused("locals")])),
    Attack::new(
        "locals-everywhere",
        Load,
        Made(bombs::locals_everywhere),
        OneOf(&[Returns(0), Refused("locals"), Traps(TrapCode::StackOverflow)]),
    ),
    Attack::new("lying-section", Load, Made(bombs::lying_section), Refused("section_entries")),
    Attack::new(
        "truncated-module",
        Load,
        Made(bombs::truncated),
        OneOf(&[Invalid, Refused("function_work")]),
    ),
    Attack::new("too-many-bytes", Load, Made(bombs::too_long), Refused("module_bytes")),
    Attack::new("most-code", Load, Made(bombs::most_code), Returns(0)),
    Attack::new("most-code-with-a-hundred-tables", Load, Made(bombs::most_code_with_tables), Returns(0))
        .validated_twice(),
    Attack::new("too-much-code", Load, Made(bombs::too_much_code), OutOfHeap),
    Attack::new("first-calls-of-much-code", Translate, Made(bombs::first_calls), OutOfHeap)
        .limits(|limits| limits.heap_bytes = 1 << 20),
    Attack::new("most-functions", Load, Made(bombs::most_functions), Returns(0)),
    Attack::new("most-types", Load, Made(bombs::most_types), Returns(0)),
    Attack::new("long-function", Translate, Made(bombs::long_function), Returns(0)),
    Attack::new("scattered-data", Load, Made(bombs::scattered_data), OneOf(&[Runs, Refused("image_frames")])),
    // Instantiating.
    Attack::new("most-globals", Instantiate, Made(bombs::most_globals), Returns(0)),
    Attack::new("most-memories", Instantiate, Made(bombs::most_memories), Returns(0)),
    Attack::new("hundred-tables", Instantiate, Made(bombs::hundred_tables), Returns(0)),
    Attack::new("sixteen-instances-again-and-again", Drop, Assembled(guest!("neighbour")), Returns(SUM))
        .calls("once", &[])
        .guests(16)
        .lives(4),
    // Files.
    Attack::new("move-into-a-removed-directory", Wasi, FILES, Returns(1)).calls("into_removed", &[]),
    Attack::new("move-in-cycles", Wasi, FILES, Runs).calls("cycles", &[]),
    Attack::new("deep-directories", Wasi, FILES, Runs).calls("deep", &[]),
    Attack::new("files-of-holes", Wasi, FILES, Returns(ENOSPC)).calls("holes", &[]),
    Attack::new("files-of-holes-forever", Wasi, FILES, Runs).calls("holes_forever", &[]),
    Attack::new("vast-holes", Wasi, FILES, Runs).calls("vast_holes", &[]),
    Attack::new("lists-of-many-names", Wasi, FILES, Runs).calls("names", &[]),
    Attack::new("descriptors", Wasi, FILES, Returns(EMFILE)).calls("descriptors", &[]),
    Attack::new("random-bytes-forever", Wasi, FILES, Runs).calls("random", &[MIB]),
    Attack::new("console-output-of-64-mib", Wasi, FILES, Runs).calls("print", &[]),
    Attack::new("a-million-vectors", Wasi, FILES, Runs).calls("vectors", &[]),
    Attack::new("many-subscriptions", Wasi, FILES, OneOf(&[Runs, OutOfFrames])).calls("subscriptions", &[]),
    // Non-maskable interrupts, which reach the fault handler and the clears.
    Attack::new("write-and-clear-under-nmis", Clear, FAULTS, Runs)
        .calls("write_and_clear", &[PAGE, 16])
        .under_nmis(),
    Attack::new("sparse-writes-under-nmis", Fault, FAULTS, OutOfFrames)
        .calls("write", &[0, 2 * MIB, 300_000])
        .under_nmis(),
    Attack::new("clear-of-scattered-pages-under-nmis", Clear, FAULTS, Runs)
        .calls("clear_everything", &[2 * MIB, 4000])
        .under_nmis(),
];
