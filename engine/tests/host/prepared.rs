//! A prepared module behaves like the original, and a file that an engine cannot load is refused
//! with the reason.

use crate::support::{engine, engine_with, load_prepared};
use palimpsest_engine::{
    Config, Engine, Error, Features, Fuel, Global, Images, InstantiateError, Limits, Linker, Memory,
    MemoryType, Module, ModuleError, Mutability, PreparedError, Store, Val,
};

fn prepare(config: &Config, text: &str) -> Vec<u8> {
    Module::prepare(config, &wat::parse_str(text).unwrap()).unwrap()
}

/// Returns the module of `text`, loaded as it is and after it was prepared.
fn both(engine: &Engine, config: &Config, text: &str) -> [Module; 2] {
    let original = Module::new(engine, &wat::parse_str(text).unwrap()).unwrap();
    [original, load_prepared(engine, &prepare(config, text)).unwrap()]
}

/// A guest that grows, discards, divides and starts, with segments of every kind.
const GUEST: &str = r#"(module
    (import "env" "offset" (global $offset i32))
    (import "env" "shared" (memory $shared 1))
    (memory $m (export "m") 2 5) (memory $n i64 1) (memory $bytes 64 (pagesize 1))
    (table $grown 1 9 funcref)
    (global $started (mut i32) (i32.const 0))
    (data $active (memory $m) (i32.const 10) "active") (data $passive "passive")
    (data (memory $n) (i64.const 65530) "64-bit") (data (memory $bytes) (i32.const 60) "tiny")
    (data (memory $m) (i32.const 12) "XY")
    (data $imported (memory $shared) (i32.const 3) "shared")
    (data (memory $m) (global.get $offset) "moved") (data (memory $m) (i32.const 21) "last")
    (elem (table $grown) (i32.const 0) func $seven)
    (type $i (func (result i32)))
    (func $seven (result i32) (i32.const 7))
    (func $start (global.set $started (i32.add (i32.load8_u $m (i32.const 10)) (i32.load8_u $m (i32.const 21)))))
    (start $start)
    (func (export "run") (param $len i32) (result i32 i32 i32 i64 i32 i32)
        (memory.init $m $passive (i32.const 100) (i32.const 1) (i32.const 6))
        (data.drop $passive)
        (memory.discard $m (i32.const 65536) (i32.const 65536))
        (memory.fill $m (i32.const 65536) (i32.const 9) (local.get $len))
        (global.get $started)
        (i32.load8_u $m (i32.const 100))
        (memory.grow $m (i32.const 2))
        (memory.grow $n (i64.const 1))
        (table.grow $grown (ref.func $seven) (i32.const 3))
        (call_indirect $grown (type $i) (i32.const 3)))
    (func (export "init_active") (memory.init $m $active (i32.const 0) (i32.const 0) (i32.const 1)))
    (func (export "init_passive") (memory.init $m $passive (i32.const 0) (i32.const 0) (i32.const 1))))"#;

type Results = (i32, i32, i32, i64, i32, i32);

/// Runs [`GUEST`], and returns what it can see.
fn run(module: &Module) -> (Results, Vec<u8>, Vec<u8>, Result<u64, Error>) {
    let mut store = Store::new(module.engine(), ());
    let is_metered = store.set_fuel(1 << 20).is_ok();
    let shared = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let offset = Global::new(&mut store, Val::I32(20), Mutability::Const);
    let mut linker = Linker::new();
    linker.define("env", "shared", shared).unwrap().define("env", "offset", offset).unwrap();
    let instance = linker.instantiate(&mut store, module).unwrap();
    let memory = instance.get_memory(&store, "m").unwrap();
    let results = instance.get_typed_func::<i32, Results>(&store, "run").unwrap();
    let results = results.call(&mut store, 65_536).unwrap();
    for dropped in ["init_active", "init_passive"] {
        let init = instance.get_typed_func::<(), ()>(&store, dropped).unwrap();
        assert!(init.call(&mut store, ()).is_err(), "{dropped}");
    }
    let bytes = (memory.data(&store).to_vec(), shared.data(&store)[..16].to_vec());
    assert_eq!(store.get_fuel().is_ok(), is_metered);
    (results, bytes.0, bytes.1, store.get_fuel())
}

#[test]
fn a_prepared_module_behaves_as_the_original_does() {
    for fuel in [Fuel::Unmetered, Fuel::Metered] {
        for images in [Images::CopyOnWrite, Images::Off] {
            let config = Config::default().fuel(fuel).images(images);
            let engine = engine_with(config.clone()).0;
            let [original, prepared] = both(&engine, &config, GUEST).map(|module| run(&module));
            assert_eq!(original.0, (205, i32::from(b'a'), 2, 1, 1, 7));
            assert_eq!(&original.1[10..26], b"acXYve\0\0\0\0mlast\0");
            assert_eq!(prepared.0, original.0);
            assert!(prepared.1 == original.1 && prepared.2 == original.2);
            assert_eq!(prepared.3.ok(), original.3.ok());
        }
    }
}

#[test]
fn images_and_limits_are_those_of_the_engine_that_loads() {
    let file = prepare(&Config::default(), "(module (func nop nop))");
    let refused = |set: fn(&mut Limits)| {
        let mut limits = Limits::default();
        set(&mut limits);
        load_prepared(&engine_with(Config::default().limits(limits)).0, &file).unwrap_err().to_string()
    };
    let code = refused(|limits| limits.code_bytes = 4);
    assert_eq!(code, "the module has 5 bytes of function bodies; the limit `code_bytes` is 4");
    let entries = refused(|limits| limits.module_entries = 1);
    assert_eq!(entries, "the module has 2 entries in its sections; the limit `module_entries` is 1");
}

#[test]
fn an_instance_that_does_not_link_is_an_error_with_the_reason() {
    let text = r#"(module (import "env" "f" (func)) (memory 1) (data (i32.const 0) "a"))"#;
    let engine = engine();
    for module in both(&engine, &Config::default(), text) {
        let mut store = Store::new(&engine, ());
        let error = Linker::<()>::new().instantiate(&mut store, &module).unwrap_err();
        assert!(matches!(error, InstantiateError::UnknownImports(_)), "{error}");
    }
}

#[test]
fn a_segment_that_does_not_fit_ends_the_instantiation() {
    let text = r#"(module (memory 1) (data (i32.const 0) "in") (data (i32.const 65535) "out"))"#;
    let engine = engine();
    for module in both(&engine, &Config::default(), text) {
        let mut store = Store::new(&engine, ());
        let error = Linker::new().instantiate(&mut store, &module).unwrap_err();
        assert!(matches!(error, InstantiateError::Segment(_)), "{error}");
    }
}

#[test]
fn names_are_not_stored() {
    let wasm = wat::parse_str("(module (func $a_very_long_name))").unwrap();
    let file = Module::prepare(&Config::default(), &wasm).unwrap();
    let contains = |bytes: &[u8]| bytes.windows(16).any(|window| window == b"a_very_long_name");
    assert!(contains(&wasm) && !contains(&file));
}

#[test]
fn bytes_after_the_end_are_ignored() {
    let mut file = prepare(&Config::default(), "(module)");
    file.extend([0xff; 100]);
    load_prepared(&engine(), &file).unwrap();
}

/// A module that has something of everything in its numbers.
const SMALL: &str = r#"(module (memory 1) (table 1 funcref) (data (i32.const 0) "data")
    (func (drop (memory.grow (i32.const 1)))))"#;

#[test]
fn a_file_that_ends_early_is_refused_at_every_length() {
    let (engine, file) = (engine(), prepare(&Config::default(), SMALL));
    for len in 0..file.len() {
        let error = load_prepared(&engine, &file[..len]).unwrap_err();
        if let ModuleError::Prepared(PreparedError::Truncated { bytes, expected }) = error {
            let whole = if len < 48 { 48 } else { file.len() as u64 };
            assert_eq!((bytes, expected), (len, whole));
            continue;
        }
        let is_none = matches!(error, ModuleError::Prepared(PreparedError::NotPrepared { .. }));
        assert!(is_none && len == 0, "{len}: {error}");
    }
}

#[test]
fn a_changed_bit_is_found_in_every_byte() {
    let (engine, file) = (engine(), prepare(&Config::default(), SMALL));
    for byte in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[byte] ^= 1 << bit;
            let error = load_prepared(&engine, &changed).unwrap_err();
            let ModuleError::Prepared(error) = error else { panic!("{byte}: {error}") };
            match byte {
                0..4 => assert!(matches!(error, PreparedError::NotPrepared { .. }), "{byte}: {error}"),
                4..8 => assert!(matches!(error, PreparedError::OtherVersion { .. }), "{byte}: {error}"),
                8..16 => assert!(
                    matches!(
                        error,
                        PreparedError::Truncated { .. }
                            | PreparedError::Damaged { .. }
                            | PreparedError::Malformed
                    ),
                    "{byte}: {error}"
                ),
                _ => assert!(matches!(error, PreparedError::Damaged { .. }), "{byte}: {error}"),
            }
        }
    }
}

/// Changes a file in every number after its head, and corrects the checksum.
#[test]
fn numbers_that_point_out_of_the_file_are_malformed() {
    let (engine, file) = (engine(), prepare(&Config::default(), SMALL));
    let with = |offset: usize, number: u64| {
        let mut changed = file.clone();
        changed[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
        let checksum = hashed(hashed(0, &changed[..16]), &changed[24..]);
        changed[16..24].copy_from_slice(&checksum.to_le_bytes());
        load_prepared(&engine, &changed).err()
    };
    assert!(matches!(with(24, 5), Some(ModuleError::Prepared(PreparedError::OtherSplice { found: 5, .. }))));
    let malformed = |offset: usize| {
        matches!(with(offset, u64::MAX - 7), Some(ModuleError::Prepared(PreparedError::Malformed)))
    };
    // The spliced module, the numbers, and the part at the end: its offset and its length.
    for offset in [32, 40, file.len() - 16, file.len() - 8] {
        assert!(malformed(offset), "{offset}");
    }
}

/// Continues the hash that a file contains.
fn hashed(hash: u64, bytes: &[u8]) -> u64 {
    let words =
        bytes.chunks(8).map(|word| word.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    let last = bytes.len().is_multiple_of(8).then_some(0);
    let step = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    words.chain(last).fold(hash, step)
}

#[test]
fn a_wasm_binary_is_not_a_prepared_module() {
    let wasm = wat::parse_str("(module)").unwrap();
    assert!(!Module::is_prepared(&wasm));
    assert_eq!(
        load_prepared(&engine(), &wasm).unwrap_err().to_string(),
        "not a prepared module: it starts with [00, 61, 73, 6d], not with `\\0plm`; prepare a Wasm binary \
         with `cargo xtask prepare`, or load it with `Module::new`"
    );
}

#[test]
fn a_module_for_another_fuel_mode_is_refused() {
    let metered = Config::default().fuel(Fuel::Metered);
    let error = load_prepared(&engine(), &prepare(&metered, "(module)")).unwrap_err();
    assert!(matches!(error, ModuleError::Prepared(PreparedError::Metered)), "{error}");
    let error = load_prepared(&engine_with(metered).0, &prepare(&Config::default(), "(module)")).unwrap_err();
    assert!(matches!(error, ModuleError::Prepared(PreparedError::Unmetered)), "{error}");
}

#[test]
fn a_module_with_proposals_that_the_engine_refuses_is_refused() {
    let file = prepare(&Config::default(), "(module)");
    let features = Features::all() - (Features::SIMD | Features::TAIL_CALL);
    let error = load_prepared(&engine_with(Config::default().features(features)).0, &file).unwrap_err();
    let ModuleError::Prepared(PreparedError::Features { missing }) = error else { panic!("{error}") };
    assert_eq!(missing, Features::SIMD | Features::TAIL_CALL);
    let file = prepare(&Config::default().features(features), "(module)");
    load_prepared(&engine(), &file).unwrap();
}
