//! Data segments in images: an instance cannot distinguish them from segments that are written.

use crate::support::{engine_with, module};
use palimpsest_engine::{
    Config, Engine, Global, Images, InstantiateError, Linker, Memory, Module, Mutability, Store, Val,
};

/// Engines with each setting of `Images`.
fn engines() -> [Engine; 2] {
    [Images::CopyOnWrite, Images::Off].map(|images| engine_with(Config::default().images(images)).0)
}

/// Returns the memory `m` of a new instance in a new store.
fn start(module: &Module) -> (Store<()>, Memory) {
    let mut store = Store::new(module.engine(), ());
    let instance = Linker::new().instantiate(&mut store, module).unwrap();
    let memory = instance.get_memory(&store, "m").unwrap();
    (store, memory)
}

#[test]
fn instances_start_with_the_segments_and_share_no_write() {
    const TEXT: &str = r#"(module (memory (export "m") 2)
        (data (i32.const 10) "abcdef") (data "passive") (data (i32.const 12) "XY")
        (data (i32.const 65534) "ends") (data (i32.const 131072) ""))"#;
    for engine in engines() {
        let module = module(&engine, TEXT);
        let (mut first_store, first) = start(&module);
        first.write(&mut first_store, 10, b"......").unwrap();
        let (second_store, second) = start(&module);
        assert_eq!(&first.data(&first_store)[9..17], b"\0......\0");
        assert_eq!(&second.data(&second_store)[9..17], b"\0abXYef\0");
        assert_eq!(&second.data(&second_store)[65533..65539], b"\0ends\0");
    }
}

#[test]
fn a_clone_is_the_same_module() {
    for engine in engines() {
        let original = module(&engine, r#"(module (memory (export "m") 1) (data (i32.const 8) "kept"))"#);
        let clone = original.clone();
        let frames = original.image_frames();
        drop(original);
        assert_eq!(clone.image_frames(), frames);
        let (store, memory) = start(&clone);
        assert_eq!(&memory.data(&store)[8..12], b"kept");
    }
}

#[test]
fn clearing_leaves_zeros_and_not_the_image() {
    for engine in engines() {
        let module =
            module(&engine, r#"(module (memory (export "m") 2) (data (i32.const 65530) "0123456789"))"#);
        let (mut store, memory) = start(&module);
        memory.clear_pages(&mut store, 0, 1).unwrap();
        assert_eq!(&memory.data(&store)[65530..65540], b"\0\0\0\0\0\x006789");
        memory.clear_pages(&mut store, 1, 1).unwrap();
        assert!(memory.data(&store).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn an_applied_segment_is_dropped_and_a_passive_one_is_not() {
    const TEXT: &str = r#"(module (memory (export "m") 1)
        (data $active (i32.const 0) "abc") (data $passive "xyz")
        (func (export "again") (memory.init $active (i32.const 8) (i32.const 0) (i32.const 1)))
        (func (export "nothing") (memory.init $active (i32.const 8) (i32.const 0) (i32.const 0)))
        (func (export "first") (memory.init $passive (i32.const 8) (i32.const 0) (i32.const 3))))"#;
    for engine in engines() {
        let module = module(&engine, TEXT);
        let mut store = Store::new(&engine, ());
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        let mut call = |name| instance.get_typed_func::<(), ()>(&store, name).unwrap().call(&mut store, ());
        assert!(call("again").is_err());
        assert!(call("nothing").is_ok());
        assert!(call("first").is_ok());
        let memory = instance.get_memory(&store, "m").unwrap();
        assert_eq!(&memory.data(&store)[..12], b"abc\0\0\0\0\0xyz\0");
    }
}

#[test]
fn segments_after_one_that_is_not_constant_are_written_over_the_image() {
    const TEXT: &str = r#"(module (global $at (import "env" "at") i32) (memory (export "m") 1)
        (data (i32.const 0) "aaaaaa") (data (global.get $at) "bb") (data (i32.const 3) "c"))"#;
    for engine in engines() {
        let module = module(&engine, TEXT);
        let mut store = Store::new(&engine, ());
        let at = Global::new(&mut store, Val::I32(2), Mutability::Const);
        let mut linker = Linker::new();
        linker.define("env", "at", at).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&store, "m").unwrap();
        assert_eq!(&memory.data(&store)[..7], b"aabcaa\0");
    }
}

/// An element segment that does not fit ends the instantiation before any data segment is applied.
/// A function that an earlier segment put into an imported table can observe this.
#[test]
fn what_a_failed_instantiation_left_in_a_table_finds_no_data() {
    const TEXT: &str = r#"(module (import "env" "t" (table 2 funcref)) (memory 1) (data (i32.const 0) "\07")
        (func $peek (result i32) (i32.load8_u (i32.const 0)))
        (elem (i32.const 0) $peek) (elem (i32.const 2) $peek))"#;
    const CALLER: &str = r#"(module (table (export "t") 2 funcref)
        (func (export "call") (result i32) (call_indirect (result i32) (i32.const 0))))"#;
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let caller = Linker::new().instantiate(&mut store, &module(&engine, CALLER)).unwrap();
        let mut linker = Linker::new();
        linker.instance(&store, "env", caller).unwrap();
        let failed = linker.instantiate(&mut store, &module(&engine, TEXT));
        assert!(matches!(failed, Err(InstantiateError::Segment(_))));
        let call = caller.get_typed_func::<(), i32>(&store, "call").unwrap();
        assert_eq!(call.call(&mut store, ()).unwrap(), 0);
    }
}

#[test]
fn a_segment_that_does_not_fit_ends_the_instantiation() {
    for engine in engines() {
        let module = module(
            &engine,
            r#"(module (memory 1) (data (i32.const 0) "in") (data (i32.const 65535) "out"))"#,
        );
        let failed = Linker::new().instantiate(&mut Store::new(&engine, ()), &module);
        assert!(matches!(failed, Err(InstantiateError::Segment(_))));
    }
}
