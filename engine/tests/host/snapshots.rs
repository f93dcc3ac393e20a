//! Forks go on where their snapshot was made, and what cannot be recorded is refused with its name.

use crate::support::{engine_with, load_prepared, module};
use palimpsest_engine::{
    Caller, Config, DataError, Engine, Error, ExternRef, ForkError, Fuel, Func, Global, Images, Instance,
    InstantiateError, Limits, Linker, Memory, MemoryType, Module, ModuleError, Mutability, Pause, Poll,
    PreparedError, Ref, RefType, Snapshot, SnapshotBudget, SnapshotData, SnapshotError, SnapshotReadError,
    StateBytes, Store, StoreOptions, Table, TableType, Task, Unrecordable, Val, ValType,
};
use std::sync::Arc;

fn engine() -> Engine {
    engine_with(Config::default().snapshots(true)).0
}

fn start(engine: &Engine, wat: &str) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    let instance = Linker::new().instantiate(&mut store, &module(engine, wat)).unwrap();
    (store, instance)
}

fn fork(snapshot: &Snapshot) -> (Store<()>, Instance) {
    let mut store = Store::new(snapshot.module().engine(), ());
    let instance = Linker::new().fork(&mut store, snapshot).unwrap();
    (store, instance)
}

fn call(store: &mut Store<()>, instance: Instance, name: &str) -> i32 {
    let func = instance.get_typed_func::<(), i32>(&*store, name).unwrap();
    func.call(store, ()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A guest with state of every kind.
const GUEST: &str = r#"(module
    (type $i (func (result i32)))
    (memory $m (export "m") 1 9) (memory $n 1 2)
    (table $t 3 20 funcref) (table $u 1 1 externref)
    (global $i (mut i32) (i32.const 1)) (global $l (mut i64) (i64.const 2))
    (global $f (mut f32) (f32.const 3)) (global $d (mut f64) (f64.const 4))
    (global $v (mut v128) (v128.const i64x2 5 6)) (global $r (mut funcref) (ref.null func))
    (global $e (mut externref) (ref.null extern)) (global (export "constant") i32 (i32.const 77))
    (data $active (i32.const 8) "active") (data $passive "passive") (data $kept "kept")
    (elem $one (table $t) (i32.const 0) func $seven) (elem $list func $seven $eight)
    (func $seven (result i32) (i32.const 7))
    (func $eight (result i32) (global.get $i))
    (func $started (global.set $i (i32.add (global.get $i) (i32.const 100))))
    (start $started)
    (func (export "advance") (result i32)
        (global.set $i (i32.add (global.get $i) (i32.const 1)))
        (global.set $l (i64.const -7)) (global.set $f (f32.const nan:0x200001)) (global.set $d (f64.const -0))
        (global.set $v (v128.const i64x2 1 -1)) (global.set $r (ref.func $eight))
        (memory.init $m $passive (i32.const 70000) (i32.const 0) (i32.const 7))
        (i32.store $n (i32.const 65532) (i32.const 0x1234))
        (i32.store8 $m (i32.const 8) (i32.const 65))
        (data.drop $passive)
        (table.init $t $list (i32.const 1) (i32.const 0) (i32.const 2))
        (elem.drop $list)
        (table.grow $t (ref.func $eight) (i32.const 4)))
    (func (export "grow") (result i32) (memory.grow $m (i32.const 3)))
    (func (export "sum") (result i32)
        (i32.add (global.get $i) (i32.add (call_indirect $t (type $i) (i32.const 1))
            (i32.add (call_indirect $t (type $i) (i32.const 6)) (i32.load $n (i32.const 65532))))))
    (func (export "bits") (result i32)
        (i32.and (i64.eq (global.get $l) (i64.const -7))
        (i32.and (i32.eq (i32.reinterpret_f32 (global.get $f)) (i32.const 0x7fa00001))
        (i32.and (i64.eq (i64.reinterpret_f64 (global.get $d)) (i64.const 0x8000000000000000))
        (i32.and (i8x16.all_true (i64x2.eq (global.get $v) (v128.const i64x2 1 -1)))
        (i32.and (i32.eqz (ref.is_null (global.get $r))) (ref.is_null (global.get $e))))))))
    (func (export "size") (result i32) (table.size $t))
    (func (export "passive") (result i32) (memory.init $m $passive (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const 0))
    (func (export "active") (result i32) (memory.init $m $active (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const 0))
    (func (export "list") (result i32) (table.init $t $list (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const 0))
    (func (export "one") (result i32) (table.init $t $one (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const 0))
    (func (export "kept") (result i32) (memory.init $m $kept (i32.const 0) (i32.const 0) (i32.const 1)) (i32.load8_u $m (i32.const 0)))
    (func (export "null") (result i32) (call_indirect $t (type $i) (i32.const 0))))"#;

/// Checks what [`GUEST`] sees after `grow` and `advance`.
fn check(store: &mut Store<()>, instance: Instance) {
    let sums = [102 + 7 + 102 + 0x1234, 1, 7, 7, i32::from(b'k')];
    assert_eq!(["sum", "bits", "size", "null", "kept"].map(|name| call(store, instance, name)), sums);
    for dropped in ["passive", "active", "list", "one"] {
        let init = instance.get_typed_func::<(), i32>(&*store, dropped).unwrap();
        assert!(init.call(&mut *store, ()).is_err(), "{dropped}");
    }
    let memory = instance.get_memory(&*store, "m").unwrap();
    assert_eq!(memory.size(&*store), 4);
    assert_eq!(
        (&memory.data(&*store)[8..14], &memory.data(&*store)[70_000..70_007]),
        (&b"Active"[..], &b"passive"[..])
    );
    assert_eq!(instance.get_global(&*store, "constant").unwrap().get(&*store).i32(), Some(77));
}

#[test]
fn a_fork_has_all_of_the_state_and_writes_to_its_own() {
    for fuel in [Fuel::Unmetered, Fuel::Metered] {
        let (engine, backing) = engine_with(Config::default().snapshots(true).fuel(fuel));
        let free = backing.free_bytes();
        let wasm = wat::parse_str(GUEST).unwrap();
        let file = Module::prepare(&Config::default().snapshots(true).fuel(fuel), &wasm).unwrap();
        for module in [Module::new(&engine, &wasm).unwrap(), load_prepared(&engine, &file).unwrap()] {
            let mut store = Store::new(&engine, ());
            let _ = store.set_fuel(1 << 30);
            let instance = Linker::new().instantiate(&mut store, &module).unwrap();
            assert_eq!(["grow", "advance"].map(|name| call(&mut store, instance, name)), [1, 3]);
            let left = store.get_fuel().ok();
            let snapshot = store.snapshot(instance).unwrap();
            assert_eq!(store.get_fuel().ok(), left, "a snapshot costs the guest nothing");
            assert_eq!(snapshot.memory_bytes(), 5 * 65_536);
            let mut forks: Vec<_> = (0..3)
                .map(|_| {
                    let mut store = Store::new(&engine, ());
                    let _ = store.set_fuel(1 << 30);
                    let instance = Linker::new().fork(&mut store, &snapshot).unwrap();
                    assert!(store.get_fuel().is_err() || store.get_fuel().unwrap() == 1 << 30);
                    (store, instance)
                })
                .collect();
            drop(snapshot);
            check(&mut store, instance);
            for (store, instance) in &mut forks {
                check(store, *instance);
                let memory = instance.get_memory(&*store, "m").unwrap();
                memory.write(store, 100, b"own").unwrap();
            }
            let memory = instance.get_memory(&store, "m").unwrap();
            assert_eq!(memory.data(&store)[100..103], [0; 3]);
            let (mut fork, instance) = forks.pop().unwrap();
            let again = fork.snapshot(instance).unwrap();
            drop((fork, forks, store));
            let mut store = Store::new(&engine, ());
            let _ = store.set_fuel(1 << 30);
            let instance = Linker::new().fork(&mut store, &again).unwrap();
            check(&mut store, instance);
            assert_eq!(instance.get_memory(&store, "m").unwrap().data(&store)[100..103], *b"own");
        }
        assert_eq!(backing.free_bytes(), free);
    }
}

#[test]
fn tables_that_no_instruction_changes_are_filled_by_their_segments() {
    let engine = engine();
    let text = r#"(module (type $i (func (result i32))) (table 2 2 funcref) (elem (i32.const 1) $nine)
        (func $nine (result i32) (i32.const 9)) (global $n (mut i32) (i32.const 0))
        (func (export "run") (result i32)
            (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (i32.add (global.get $n) (call_indirect (type $i) (i32.const 1)))))"#;
    let (mut store, instance) = start(&engine, text);
    assert_eq!(call(&mut store, instance, "run"), 10);
    let snapshot = store.snapshot(instance).unwrap();
    let (mut store, instance) = fork(&snapshot);
    assert_eq!(call(&mut store, instance, "run"), 11);
    let exports: Vec<_> = snapshot.module().exports().map(|export| export.name().to_owned()).collect();
    assert_eq!(exports, ["run"]);
    assert_eq!(instance.exports(&store).len(), 1);
}

/// Functions that the module imports can be in its tables, and are those of the new store there.
#[test]
fn an_imported_function_in_a_table_is_resolved_anew() {
    let engine = engine();
    let module = module(
        &engine,
        r#"(module (type $i (func (result i32)))
        (import "host" "number" (func $number (result i32)))
        (table 2 funcref) (elem declare func $number)
        (func (export "put") (result i32) (table.set (i32.const 1) (ref.func $number)) (i32.const 0))
        (func (export "run") (result i32) (call_indirect (type $i) (i32.const 1))))"#,
    );
    let linker = |number: i32| {
        let mut linker = Linker::<()>::new();
        linker.func_wrap("host", "number", move || number).unwrap();
        linker
    };
    let mut store = Store::new(&engine, ());
    let instance = linker(5).instantiate(&mut store, &module).unwrap();
    call(&mut store, instance, "put");
    let snapshot = store.snapshot(instance).unwrap();
    let mut other = Store::new(&engine, ());
    let forked = linker(6).fork(&mut other, &snapshot).unwrap();
    assert_eq!((call(&mut store, instance, "run"), call(&mut other, forked, "run")), (5, 6));
    let error = Linker::new().fork(&mut Store::new(&engine, ()), &snapshot).unwrap_err();
    assert!(matches!(error, ForkError::Instantiate(InstantiateError::UnknownImports(_))), "{error}");
}

#[test]
fn references_that_mean_nothing_elsewhere_are_refused_by_name() {
    let engine = engine();
    let text = r#"(module (table (export "f") 3 funcref) (table (export "e") 2 externref)
        (global (export "g") (mut funcref) (ref.null func)) (global (export "o") (mut externref) (ref.null extern)))"#;
    let (mut store, instance) = start(&engine, text);
    let host = Func::wrap(&mut store, || {});
    let object: Ref = ExternRef::new(&mut store, 5).into();
    let [f, e] = ["f", "e"].map(|name| instance.get_table(&store, name).unwrap());
    let [g, o] = ["g", "o"].map(|name| instance.get_global(&store, name).unwrap());
    store.snapshot(instance).expect("null can be recorded");
    let null = [Ref::null(RefType::Func), Ref::null(RefType::Extern)];
    e.set(&mut store, 1, object).unwrap();
    let error = store.snapshot(instance).unwrap_err();
    assert!(
        matches!(error, SnapshotError::Element { table: 1, element: 1, what: Unrecordable::Object }),
        "{error}"
    );
    e.set(&mut store, 1, null[1]).unwrap();
    f.set(&mut store, 2, host.into()).unwrap();
    let error = store.snapshot(instance).unwrap_err();
    let what = Unrecordable::Function;
    assert!(
        matches!(error, SnapshotError::Element { table: 0, element: 2, what: found } if found == what),
        "{error}"
    );
    f.set(&mut store, 2, null[0]).unwrap();
    g.set(&mut store, Val::from(host)).unwrap();
    let error = store.snapshot(instance).unwrap_err();
    assert!(matches!(error, SnapshotError::Global { global: 0, what: found } if found == what), "{error}");
    g.set(&mut store, Val::default_for_ty(ValType::FuncRef)).unwrap();
    let object = ExternRef::new(&mut store, 6);
    o.set(&mut store, object.into()).unwrap();
    let error = store.snapshot(instance).unwrap_err();
    assert!(matches!(error, SnapshotError::Global { global: 1, what: Unrecordable::Object }), "{error}");
}

#[test]
fn an_instance_that_imports_state_is_not_recorded() {
    let engine = engine();
    let cases = [
        ("(memory 1)", "memory", 0),
        ("(table 1 funcref)", "table", 0),
        ("(global (mut i32))", "mutable global", 0),
    ];
    for (import, expected, number) in cases {
        let text = format!(r#"(module (import "e" "i" {import}))"#);
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new();
        let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
        let ty = TableType::new(RefType::Func, 1, None);
        let table = Table::new(&mut store, ty, Ref::null(RefType::Func)).unwrap();
        let global = Global::new(&mut store, Val::I32(1), Mutability::Var);
        match expected {
            "memory" => linker.define("e", "i", memory).unwrap(),
            "table" => linker.define("e", "i", table).unwrap(),
            _ => linker.define("e", "i", global).unwrap(),
        };
        let instance = linker.instantiate(&mut store, &module(&engine, &text)).unwrap();
        let error = store.snapshot(instance).unwrap_err();
        assert!(
            matches!(error, SnapshotError::Imported { kind, index } if kind == expected && index == number),
            "{error}"
        );
    }
}

#[test]
fn an_engine_without_snapshots_makes_none() {
    let (engine, _) = engine_with(Config::default());
    let (mut store, instance) = start(&engine, GUEST);
    assert!(matches!(store.snapshot(instance), Err(SnapshotError::NotConfigured)));
}

#[test]
fn a_prepared_module_needs_an_engine_with_the_same_setting() {
    let [with, without] = [true, false].map(|snapshots| Config::default().snapshots(snapshots));
    let wasm = wat::parse_str(GUEST).unwrap();
    let load = |prepared: &Config, engine: &Config| {
        let file = Module::prepare(prepared, &wasm).unwrap();
        load_prepared(&engine_with(engine.clone()).0, &file).map(|_| ())
    };
    let refused = load(&with, &without);
    assert!(matches!(refused, Err(ModuleError::Prepared(PreparedError::Snapshots))), "{refused:?}");
    let refused = load(&without, &with);
    assert!(matches!(refused, Err(ModuleError::Prepared(PreparedError::NoSnapshots))), "{refused:?}");
    load(&with, &with).unwrap();
}

#[test]
fn a_suspended_call_has_no_snapshot() {
    let (engine, _) = engine_with(Config::default().snapshots(true).fuel(Fuel::Metered));
    let module = module(
        &engine,
        r#"(module (import "host" "wait" (func $wait))
        (memory 1) (global $n (mut i32) (i32.const 0))
        (func (export "run") (loop (call $wait) (br 0)))
        (func (export "n") (result i32) (global.get $n)))"#,
    );
    let mut linker = Linker::<()>::new();
    linker.func_wrap("host", "wait", |_: Caller<'_, ()>| Err::<(), _>(Error::host(Pause::now(&[])))).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_func(&store, "run").unwrap();
    let mut task = Task::new(store, run, &[]).unwrap();
    task.store_mut().snapshot(instance).expect("the call has not begun");
    assert!(matches!(task.run(1000), Poll::Runnable));
    let error = task.store_mut().snapshot(instance).unwrap_err();
    assert!(matches!(error, SnapshotError::Suspended), "{error}");
    let mut store = task.kill();
    store.snapshot(instance).expect("the call is over");
}

/// Data with a part that belongs to the guest, and one that belongs to the embedder.
#[derive(Debug, Default)]
struct Host {
    guests: Arc<Vec<u32>>,
    own: u32,
    refuses: bool,
}

impl SnapshotData for Host {
    type State = Arc<Vec<u32>>;

    fn save(&mut self) -> Result<Self::State, DataError> {
        if self.refuses { Err("refused".into()) } else { Ok(Arc::clone(&self.guests)) }
    }

    fn restore(&mut self, state: &Self::State) -> Result<(), DataError> {
        if self.refuses {
            return Err("refused".into());
        }
        self.guests = Arc::clone(state);
        Ok(())
    }
}

#[test]
fn the_data_of_a_fork_has_the_recorded_part() {
    let engine = engine();
    let module = module(&engine, "(module (memory 1))");
    let host = Host { guests: Arc::new(vec![1, 2]), own: 3, refuses: false };
    let mut store = Store::new(&engine, host);
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let snapshot = store.snapshot(instance).unwrap();
    assert!(Arc::ptr_eq(snapshot.data(), &store.data().guests));
    let mut other = Store::new(&engine, Host { own: 4, ..Host::default() });
    Linker::new().fork(&mut other, &snapshot).unwrap();
    assert_eq!((other.data().guests.as_slice(), other.data().own), (&[1, 2][..], 4));
    store.data_mut().refuses = true;
    assert!(matches!(store.snapshot(instance), Err(SnapshotError::Data(_))));
    let mut refusing = Store::new(&engine, Host { refuses: true, ..Host::default() });
    assert!(matches!(Linker::new().fork(&mut refusing, &snapshot), Err(ForkError::Data(_))));
    assert_eq!(refusing.memories().count(), 0);
}

#[test]
fn a_fork_is_held_to_the_limits_of_its_store() {
    let engine = engine();
    let text = r#"(module (memory (export "m") 1 9) (table (export "t") 1 funcref))"#;
    let (mut store, instance) = start(&engine, text);
    instance.get_memory(&store, "m").unwrap().grow(&mut store, 4).unwrap();
    instance.get_table(&store, "t").unwrap().grow(&mut store, 9, Ref::null(RefType::Func)).unwrap();
    let snapshot = store.snapshot(instance).unwrap();
    let limited = |limits: Limits| {
        let options = StoreOptions { limits: Some(limits), ..StoreOptions::default() };
        Linker::new().fork(&mut Store::with_options(&engine, (), options), &snapshot).map(|_| ())
    };
    let mut limits = *engine.limits();
    limits.memory_bytes = 4 * 65_536;
    let error = limited(limits).unwrap_err();
    assert!(matches!(error, ForkError::Instantiate(InstantiateError::Memory { index: 0, .. })), "{error}");
    let mut limits = *engine.limits();
    limits.table_elements = 9;
    let error = limited(limits).unwrap_err();
    assert!(matches!(error, ForkError::Table { table: 0, elements: 10, .. }), "{error}");
    let other = engine_with(Config::default().snapshots(true)).0;
    let error = Linker::new().fork(&mut Store::new(&other, ()), &snapshot).unwrap_err();
    assert!(matches!(error, ForkError::Instantiate(InstantiateError::OtherEngine)), "{error}");
}

#[test]
fn lent_pages_are_taken_back_before_a_snapshot_or_refuse_it() {
    let engine = engine();
    let (mut store, instance) = start(&engine, r#"(module (memory (export "m") 3))"#);
    let memory = instance.get_memory(&store, "m").unwrap();
    memory.write(&mut store, 5, b"five").unwrap();
    let lent = memory.lend_pages(&mut store, 1, 1).unwrap();
    assert!(matches!(store.snapshot(instance), Err(SnapshotError::Entry(_))));
    drop(lent);
    let snapshot = store.snapshot(instance).unwrap();
    let (store, instance) = fork(&snapshot);
    assert_eq!(instance.get_memory(&store, "m").unwrap().data(&store)[5..9], *b"five");
}

/// Returns the bytes of a snapshot.
fn written<S: StateBytes>(snapshot: &Snapshot<S>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    snapshot.write_to(sink).unwrap();
    bytes
}

fn written_since(snapshot: &Snapshot, base: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    let sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    snapshot.write_since(base, sink).unwrap();
    bytes
}

/// Returns a snapshot of [`GUEST`] after it has changed its state.
fn advanced(engine: &Engine) -> Snapshot {
    let (mut store, instance) = start(engine, GUEST);
    for name in ["grow", "advance"] {
        call(&mut store, instance, name);
    }
    store.snapshot(instance).unwrap()
}

#[test]
fn a_snapshot_goes_on_in_another_engine() {
    let bytes = written(&advanced(&engine()));
    assert!(bytes.len() < 1000, "{} bytes of state and of differences to the module", bytes.len());
    for images in [Images::CopyOnWrite, Images::Off] {
        let other = engine_with(Config::default().snapshots(true).images(images)).0;
        let read = Snapshot::read_from(&module(&other, GUEST), &bytes);
        if images == Images::Off {
            // Its instances do not start with the images that the pages are the difference to.
            assert!(matches!(read, Err(SnapshotReadError::OtherBase { .. })), "{read:?}");
            continue;
        }
        let read: Snapshot = read.unwrap();
        assert_eq!(written(&read), bytes);
        let (mut store, instance) = fork(&read);
        check(&mut store, instance);
    }
}

#[test]
fn what_changed_since_another_snapshot_is_written_alone() {
    let engine = engine();
    let text = r#"(module (memory (export "m") 4 8) (data (i32.const 5) "start") (global (export "g") (mut i32) (i32.const 1)))"#;
    let (mut store, instance) = start(&engine, text);
    let memory = instance.get_memory(&store, "m").unwrap();
    memory.data_mut(&mut store)[..200_000].fill(7);
    let first = store.snapshot(instance).unwrap();
    memory.write(&mut store, 70_000, b"changed").unwrap();
    memory.clear_pages(&mut store, 2, 1).unwrap();
    memory.grow(&mut store, 1).unwrap();
    memory.write(&mut store, 5 * 65_536 - 4, b"last").unwrap();
    let second = store.snapshot(instance).unwrap();
    let (whole, since) = (written(&second), written_since(&second, &first));
    assert!(whole.len() > 130_000 && since.len() < 5_000, "{} {}", whole.len(), since.len());

    let other = engine_with(Config::default().snapshots(true)).0;
    let module = module(&other, text);
    let base: Snapshot = Snapshot::read_from(&module, &written(&first)).unwrap();
    let read: Snapshot = Snapshot::read_since(&base, &since).unwrap();
    drop(base);
    let (other, instance) = fork(&read);
    let forked = instance.get_memory(&other, "m").unwrap();
    assert!(forked.data(&other) == memory.data(&store));
    assert_eq!(written(&read), whole);

    let refused = Snapshot::<()>::read_since(&read, &since);
    assert!(matches!(refused, Err(SnapshotReadError::OtherBase { .. })), "{refused:?}");
    let refused = Snapshot::<()>::read_from(&module, &since);
    assert!(matches!(refused, Err(SnapshotReadError::OtherBase { .. })), "{refused:?}");
    assert!(first.write_since(&second, |_| Ok(())).is_err(), "a memory of the base is larger");
    assert!(first.write_since(&advanced(&engine), |_| Ok(())).is_err(), "another module");
}

/// Data whose state has bytes.
#[derive(Debug, Default)]
struct Name(String);

impl SnapshotData for Name {
    type State = Saved;

    fn save(&mut self) -> Result<Saved, DataError> {
        Ok(Saved(self.0.clone()))
    }

    fn restore(&mut self, state: &Saved) -> Result<(), DataError> {
        self.0.clone_from(&state.0);
        Ok(())
    }
}

#[derive(Debug)]
struct Saved(String);

impl StateBytes for Saved {
    fn write_to(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>) -> Result<(), DataError> {
        self.0.as_bytes().chunks(3).try_for_each(sink)
    }

    fn read_from(bytes: &[u8]) -> Result<Self, DataError> {
        Ok(Self(String::from_utf8(bytes.to_vec())?))
    }
}

#[test]
fn the_state_of_the_data_is_part_of_the_bytes() {
    let engine = engine();
    let module = module(&engine, "(module (memory 1))");
    let mut store = Store::new(&engine, Name("a name".into()));
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let bytes = written(&store.snapshot(instance).unwrap());
    let read = Snapshot::<Saved>::read_from(&module, &bytes).unwrap();
    let mut other = Store::new(&engine, Name::default());
    Linker::new().fork(&mut other, &read).unwrap();
    assert_eq!(other.data().0, "a name");
    let refused = Snapshot::<()>::read_from(&module, &bytes);
    assert!(matches!(refused, Err(SnapshotReadError::Data(_))), "{refused:?}");
    let failing = |_: &[u8]| Err("the disk is full".into());
    assert_eq!(
        store.snapshot(instance).unwrap().write_to(failing).unwrap_err().to_string(),
        "the disk is full"
    );
}

/// Sets the checksum of changed bytes.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let content = bytes.len() - 8;
    let step = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let hash = bytes[..content].chunks(4096).fold(0, |hash, block| {
        let (words, rest) = block.as_chunks();
        let hash = words.iter().fold(hash, |hash, word| step(hash, u64::from_le_bytes(*word)));
        let last = (0..).zip(rest).fold(0, |last, (place, byte)| last | u64::from(*byte) << (8 * place));
        step(hash, last)
    });
    bytes[content..].copy_from_slice(&hash.to_le_bytes());
    bytes
}

#[test]
fn bytes_that_are_not_a_snapshot_are_refused() {
    let engine = engine();
    let module = module(&engine, GUEST);
    let bytes = written(&advanced(&engine));
    assert_eq!(sealed(bytes.clone()), bytes);
    let read = |bytes: &[u8]| Snapshot::<()>::read_from(&module, bytes).map(|_| ());
    read(&bytes).unwrap();
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{len}");
    }
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1;
        assert!(read(&damaged).is_err(), "{position}");
    }
    let other = self::module(&engine, "(module)");
    let refused = Snapshot::<()>::read_from(&other, &bytes);
    assert!(matches!(refused, Err(SnapshotReadError::OtherModule { .. })), "{refused:?}");
    let without = self::module(&engine_with(Config::default()).0, GUEST);
    let refused = Snapshot::<()>::read_from(&without, &bytes);
    assert!(matches!(refused, Err(SnapshotReadError::Snapshot(SnapshotError::NotConfigured))), "{refused:?}");
}

/// Changes each byte of a snapshot and seals it. What is read then is a state that the module could
/// have: its forks run and end.
#[test]
fn a_forged_snapshot_is_refused_or_is_a_state_of_the_module() {
    let (engine, backing) = engine_with(Config::default().snapshots(true).fuel(Fuel::Metered));
    let module = module(&engine, GUEST);
    let mut store = Store::new(&engine, ());
    store.set_fuel(1 << 30).unwrap();
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    for name in ["grow", "advance"] {
        call(&mut store, instance, name);
    }
    let bytes = written(&store.snapshot(instance).unwrap());
    drop(store);
    let free = backing.free_bytes();
    let (mut read, mut refused) = (0, 0);
    for position in 4..bytes.len() - 8 {
        for change in [1, 0x10, 0x80, 0xff] {
            let mut forged = bytes.clone();
            forged[position] ^= change;
            match Snapshot::<()>::read_from(&module, &sealed(forged)) {
                Err(_) => refused += 1,
                Ok(snapshot) => {
                    read += 1;
                    let mut store = Store::new(&engine, ());
                    store.set_fuel(10_000).unwrap();
                    let Ok(instance) = Linker::new().fork(&mut store, &snapshot) else { continue };
                    for name in ["sum", "bits", "size", "null", "kept", "one", "advance", "grow"] {
                        let func = instance.get_typed_func::<(), i32>(&store, name).unwrap();
                        // It may trap.
                        let _ = func.call(&mut store, ());
                    }
                    store.snapshot(instance).unwrap();
                }
            }
        }
    }
    assert!(read > 100 && refused > 100, "{read} {refused}");
    assert_eq!(backing.free_bytes(), free);
}

/// `seven` is only exported, so nothing else declares it for its `ref.func`.
const EXPORTING: &str = r#"(module
    (type $i (func (result i32)))
    (table $t (export "table") 1 funcref)
    (func $seven (export "seven") (result i32) (i32.const 7))
    (func (export "set") (result i32) (table.set $t (i32.const 0) (ref.func $seven)) (i32.const 0))
    (func (export "call") (result i32) (call_indirect $t (type $i) (i32.const 0))))"#;

#[test]
fn a_function_whose_export_is_left_out_can_be_in_a_table_of_a_fork() {
    let config = Config::default().snapshots(true).exports(&["set", "call", "other"]);
    let wasm = wat::parse_str(EXPORTING).unwrap();
    let file = Module::prepare(&config, &wasm).unwrap();
    let engine = engine_with(config).0;
    for module in [Module::new(&engine, &wasm).unwrap(), load_prepared(&engine, &file).unwrap()] {
        let mut store = Store::new(&engine, ());
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        let mut names: Vec<_> = instance.exports(&store).into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(names, ["call", "set"]);
        call(&mut store, instance, "set");
        let snapshot = store.snapshot(instance).unwrap();
        let (mut other, copy) = fork(&snapshot);
        assert_eq!(call(&mut other, copy, "call"), 7);
    }
}

#[test]
fn a_snapshot_belongs_to_the_exports_that_its_module_kept() {
    let engine = engine();
    let (mut store, instance) = start(&engine, EXPORTING);
    call(&mut store, instance, "set");
    let mut bytes = Vec::new();
    let sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    store.snapshot(instance).unwrap().write_to(sink).unwrap();
    let other = engine_with(Config::default().snapshots(true).exports(&["call"])).0;
    let read = Snapshot::<()>::read_from(&module(&other, EXPORTING), &bytes);
    assert!(matches!(read, Err(SnapshotReadError::OtherModule { .. })), "{read:?}");
    assert!(Snapshot::<()>::read_from(&module(&engine, EXPORTING), &bytes).is_ok());
}

/// A guest whose memories have 3 pages that are not zero.
const THREE_PAGES: &str = r#"(module (memory (export "m") 1) (memory $n 1)
    (data (i32.const 0) "first") (data (i32.const 65532) "last") (data $n (i32.const 5000) "other"))"#;

#[test]
fn a_snapshot_is_charged_to_its_budget_or_to_the_engine_until_it_is_dropped() {
    let mut limits = Limits::default();
    limits.image_frames = 3;
    let engine = engine_with(Config::default().snapshots(true).limits(limits)).0;
    let (mut store, instance) = start(&engine, THREE_PAGES);
    let [tenant, small] = [8, 2].map(SnapshotBudget::new);
    let first = store.snapshot_within(instance, &tenant).unwrap();
    assert_eq!((first.image_frames(), tenant.charged_frames(), tenant.limit_frames()), (3, 3, 8));
    let own = store.snapshot(instance).unwrap();
    let error = store.snapshot(instance).unwrap_err();
    assert!(matches!(error, SnapshotError::ImageFrames { needed: 3, limit: 3 }), "{error}");
    let error = store.snapshot_within(instance, &small).unwrap_err();
    assert!(matches!(error, SnapshotError::Budget { needed: 3, charged: 0, limit: 2 }), "{error}");
    let second = store.snapshot_within(instance, &tenant.clone()).unwrap();
    let error = store.snapshot_within(instance, &tenant).unwrap_err();
    assert!(matches!(error, SnapshotError::Budget { needed: 3, charged: 6, limit: 8 }), "{error}");
    assert_eq!((tenant.charged_frames(), small.charged_frames()), (6, 0));
    drop((first, own));
    store.snapshot(instance).expect("the engine has room again");
    assert_eq!(tenant.charged_frames(), 3);
    drop((second, store));
    assert_eq!(tenant.charged_frames(), 0);
}

#[test]
fn what_is_read_is_charged_to_its_budget() {
    let engine = engine();
    let module = module(&engine, THREE_PAGES);
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let first = store.snapshot(instance).unwrap();
    instance.get_memory(&store, "m").unwrap().write(&mut store, 9000, b"a fourth page").unwrap();
    let second = store.snapshot(instance).unwrap();
    let [budget, small] = [10, 3].map(SnapshotBudget::new);
    let read = Snapshot::<()>::read_from_within(&module, &written(&second), &budget).unwrap();
    assert_eq!((read.image_frames(), budget.charged_frames()), (4, 4));
    let since = Snapshot::<()>::read_since_within(&first, &written_since(&second, &first), &budget).unwrap();
    assert_eq!(budget.charged_frames(), 8, "this backing shares nothing");
    let error = Snapshot::<()>::read_from_within(&module, &written(&second), &small).unwrap_err();
    assert!(matches!(error, SnapshotReadError::Snapshot(SnapshotError::Budget { .. })), "{error}");
    assert_eq!(small.charged_frames(), 0);
    let (store, _fork) = fork(&since);
    drop((read, since));
    assert_eq!(budget.charged_frames(), 4, "the fork has the image of its memory");
    drop(store);
    assert_eq!(budget.charged_frames(), 0);
}
