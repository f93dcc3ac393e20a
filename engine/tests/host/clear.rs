//! Clears by the host's methods, the guest's imports and the instruction, on the fixed backing.

use crate::support::instance;
use palimpsest_engine::{
    Caller, ClearError, Error, Instance, Linker, Memory, MemoryType, Store, Strategy, WasmPageSize,
};

const GUEST: &str = r#"(module
    (import "palimpsest" "clear_pages" (func $clear (param i32 i32) (result i32)))
    (import "palimpsest" "discard" (func $discard (param i32 i32) (result i32)))
    (import "env" "__wbindgen_memory_discard" (func $void (param i32 i32)))
    (memory (export "m") 3 8)
    (func (export "fill") (memory.fill (i32.const 0) (i32.const 0xAA) (i32.const 196608)))
    (func (export "clear") (param i32 i32) (result i32) (call $clear (local.get 0) (local.get 1)))
    (func (export "discard") (param i32 i32) (result i32) (call $discard (local.get 0) (local.get 1)))
    (func (export "void") (param i32 i32) (result i32) (call $void (local.get 0) (local.get 1)) (i32.const 1))
    (func (export "instruction") (param i32 i32) (result i32)
        (memory.discard (local.get 0) (local.get 1)) (i32.const 1)))"#;

fn filled() -> (Store<()>, Instance) {
    // `wat` encodes `memory.discard` as in the proposal.
    let (mut store, instance) = instance(GUEST);
    instance.get_typed_func::<(), ()>(&store, "fill").unwrap().call(&mut store, ()).unwrap();
    (store, instance)
}

fn call(store: &mut Store<()>, instance: Instance, form: &str, args: (u32, u32)) -> Result<i32, Error> {
    instance.get_typed_func::<(u32, u32), i32>(&*store, form).unwrap().call(store, args)
}

fn nonzero_range(store: &Store<()>, instance: Instance) -> Vec<(usize, u8)> {
    let memory = instance.get_memory(store, "m").unwrap();
    let bytes = memory.data(store);
    [0, 65_535, 65_536, 131_071, 131_072, 196_607].into_iter().map(|at| (at, bytes[at])).collect()
}

#[test]
fn every_form_zeroes_its_range_and_nothing_else() {
    for (form, args) in [
        ("clear", (1, 1)),
        ("discard", (65_536, 65_536)),
        ("void", (65_536, 65_536)),
        ("instruction", (65_536, 65_536)),
    ] {
        let (mut store, instance) = filled();
        // The imports return 1, because the fixed backing retains its frames.
        assert_eq!(call(&mut store, instance, form, args).unwrap(), 1, "{form}");
        let expected =
            [(0, 0xAA), (65_535, 0xAA), (65_536, 0), (131_071, 0), (131_072, 0xAA), (196_607, 0xAA)];
        assert_eq!(nonzero_range(&store, instance), expected, "{form}");
    }
}

#[test]
fn bad_arguments_trap_with_the_named_error_and_change_nothing() {
    let oob = |start, count, size| ClearError::OutOfBounds { start, count, size };
    let unaligned = |start, len| ClearError::Unaligned { start, len, alignment: 65_536 };
    for (form, args, expected) in [
        ("clear", (3, 1), oob(3, 1, 3)),
        ("clear", (4, 0), oob(4, 0, 3)),
        ("clear", (u32::MAX, u32::MAX), oob(0xFFFF_FFFF, 0xFFFF_FFFF, 3)),
        ("discard", (1, 65_536), unaligned(1, 65_536)),
        ("discard", (0, 65_535), unaligned(0, 65_535)),
        ("void", (131_072, 131_072), oob(131_072, 131_072, 196_608)),
        ("instruction", (0xFFFF_0000, 0xFFFF_0000), oob(0xFFFF_0000, 0xFFFF_0000, 196_608)),
        ("instruction", (0xFFFF_0001, 0), unaligned(0xFFFF_0001, 0)),
    ] {
        let (mut store, instance) = filled();
        let error = call(&mut store, instance, form, args).unwrap_err();
        assert_eq!(error.downcast_ref::<ClearError>(), Some(&expected), "{form} {args:?}");
        assert!(nonzero_range(&store, instance).iter().all(|(_, byte)| *byte == 0xAA), "{form} {args:?}");
    }
}

#[test]
fn an_empty_range_at_the_end_is_allowed() {
    let (mut store, instance) = filled();
    assert_eq!(call(&mut store, instance, "clear", (3, 0)).unwrap(), 0);
    assert_eq!(call(&mut store, instance, "instruction", (196_608, 0)).unwrap(), 1);
}

#[test]
fn the_host_gets_what_was_done() {
    let (mut store, instance) = filled();
    let memory = instance.get_memory(&store, "m").unwrap();
    let cleared = memory.clear_pages(&mut store, 1, 2).unwrap();
    assert_eq!((cleared.frames_released, cleared.frames_retained), (32, 0));
    assert_eq!(memory.size(&store), 3);
    assert_eq!(
        memory.clear_pages(&mut store, 2, 2),
        Err(ClearError::OutOfBounds { start: 2, count: 2, size: 3 })
    );
}

#[test]
fn growing_after_a_clear_works_and_reads_zero() {
    let (mut store, instance) = filled();
    let memory = instance.get_memory(&store, "m").unwrap();
    memory.clear_pages(&mut store, 0, 3).unwrap();
    assert_eq!(memory.grow(&mut store, 2).unwrap(), 3);
    assert!(memory.data(&store).iter().all(|byte| *byte == 0));
}

#[test]
fn a_module_without_a_memory_cannot_import_them() {
    let engine = crate::support::engine();
    let module = crate::support::module(
        &engine,
        r#"(module (import "palimpsest" "clear_pages" (func (param i32 i32) (result i32))))"#,
    );
    let error = Linker::new().instantiate(Store::new(&engine, ()), &module).unwrap_err();
    assert_eq!(
        error.to_string(),
        "import `palimpsest` `clear_pages` acts on memory 0, and the module has no memory"
    );
}

#[test]
fn every_other_strategy_zeroes_and_retains_without_an_mmu() {
    for strategy in [Strategy::Recommit, Strategy::ZeroNow, Strategy::Deferred] {
        let (mut store, instance) = filled();
        let memory = instance.get_memory(&store, "m").unwrap();
        let cleared = memory.clear_pages_with(&mut store, 1, 1, strategy).unwrap();
        assert_eq!((cleared.frames_released, cleared.frames_retained, cleared.is_released()), (0, 16, false));
        assert_eq!(nonzero_range(&store, instance)[2], (65_536, 0), "{strategy:?}");
        assert_eq!(store.reclaim(u64::MAX).frames_released, 0);
    }
}

#[test]
fn a_clear_in_a_host_function_that_the_guest_called_is_seen_by_the_guest() {
    let engine = crate::support::engine();
    let module = crate::support::module(
        &engine,
        r#"(module (import "env" "clear" (func $clear)) (memory (export "m") 1)
            (func (export "run") (result i32 i32)
                (i32.store (i32.const 8) (i32.const 5)) (i32.load (i32.const 8))
                (call $clear) (i32.load (i32.const 8))))"#,
    );
    let mut linker = Linker::new();
    linker
        .func_wrap("env", "clear", |mut caller: Caller<'_, Option<Memory>>| {
            let memory = (*caller.data()).expect("the test has put it there");
            memory.clear_pages(&mut caller, 0, 1).map(drop).map_err(Error::host)
        })
        .unwrap();
    let mut store = Store::new(&engine, None);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    *store.data_mut() = instance.get_memory(&store, "m");
    let run = instance.get_typed_func::<(), (i32, i32)>(&store, "run").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), (5, 0));
}

#[test]
fn a_release_zeroes_any_byte_range_and_nothing_else() {
    for (addr, len) in
        [(0, 0), (5, 1), (4_095, 2), (1, 65_535), (4_096, 8_192), (70_001, 100_003), (0, 196_608)]
    {
        let (mut store, instance) = filled();
        let memory = instance.get_memory(&store, "m").unwrap();
        let released = memory.release(&mut store, addr, len).unwrap();
        let bytes = memory.data(&store);
        let range = usize::try_from(addr).unwrap()..usize::try_from(addr + len).unwrap();
        let expected = |at| if range.contains(&at) { 0 } else { 0xAA };
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == expected(at)), "{addr} {len}");
        let is_whole = addr % 4_096 == 0 && len % 4_096 == 0;
        assert_eq!(released.is_released(), is_whole, "frames that the range has a part of are retained");
    }
}

#[test]
fn a_release_past_the_end_changes_nothing() {
    let (mut store, instance) = filled();
    let memory = instance.get_memory(&store, "m").unwrap();
    for (addr, len) in [(196_607, 2), (196_609, 0), (u64::MAX, 1), (1, u64::MAX)] {
        let expected = Err(ClearError::OutOfBounds { start: addr, count: len, size: 196_608 });
        assert_eq!(memory.release(&mut store, addr, len), expected);
        assert_eq!(memory.release_with(&mut store, addr, len, Strategy::ZeroNow), expected);
    }
    assert!(memory.data(&store).iter().all(|byte| *byte == 0xAA));
}

#[test]
fn a_memory_with_pages_of_one_byte_is_cleared_at_any_byte() {
    let mut store = Store::new(&crate::support::engine(), ());
    let ty = MemoryType::new(10, None).with_page_size(WasmPageSize::BYTE);
    let memory = Memory::new(&mut store, ty).unwrap();
    memory.write(&mut store, 0, &[0xAA; 10]).unwrap();
    memory.clear_pages(&mut store, 1, 2).unwrap();
    memory.discard(&mut store, 9, 1).unwrap();
    assert_eq!(memory.data(&store), [0xAA, 0, 0, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0]);
    let past = ClearError::OutOfBounds { start: 10, count: 1, size: 10 };
    assert_eq!(memory.discard(&mut store, 10, 1), Err(past));
}
