//! The import by which a guest marks the point of a snapshot.

use crate::support::{engine, engine_with, instance, module};
use palimpsest_engine::{Config, Fuel, InstantiateError, Linker, Poll, Store, Task};

const GUEST: &str = r#"(module
    (import "palimpsest" "snapshot_ready" (func $ready))
    (func (export "initialize") (result i32) (call $ready) (i32.const 7)))"#;

#[test]
fn a_call_sets_the_flag_once_and_needs_no_memory() {
    let (mut store, instance) = instance(GUEST);
    assert!(!store.take_snapshot_ready());
    let initialize = instance.get_typed_func::<(), i32>(&store, "initialize").unwrap();
    assert_eq!(initialize.call(&mut store, ()).unwrap(), 7);
    assert!(store.take_snapshot_ready());
    assert!(!store.take_snapshot_ready());
    initialize.call(&mut store, ()).unwrap();
    assert!(store.take_snapshot_ready());
}

#[test]
fn a_task_is_not_interrupted() {
    let (engine, _) = engine_with(Config::default().fuel(Fuel::Metered));
    let module = module(&engine, GUEST);
    let store = Store::new(&engine, ());
    let mut task = Task::instantiate(store, &Linker::new(), &module, "initialize", &[]).unwrap();
    assert!(matches!(task.run(1_000_000), Poll::Returned(_)));
    assert!(task.kill().take_snapshot_ready());
}

#[test]
fn an_embedder_can_define_the_import() {
    let engine = engine();
    let mut linker = Linker::new();
    linker.func_wrap("palimpsest", "snapshot_ready", || {}).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module(&engine, GUEST)).unwrap();
    instance.get_typed_func::<(), i32>(&store, "initialize").unwrap().call(&mut store, ()).unwrap();
    assert!(!store.take_snapshot_ready());
}

#[test]
fn another_type_is_refused() {
    let engine = engine();
    let text = r#"(module (import "palimpsest" "snapshot_ready" (func (result i32))))"#;
    let refused = Linker::new().instantiate(Store::new(&engine, ()), &module(&engine, text));
    assert!(matches!(refused, Err(InstantiateError::ImportType { .. })), "{refused:?}");
}
