//! An engine serves one call at a time. Another call fails, where it would wait for a lock.

use crate::support::{engine, module};
use palimpsest_engine::{
    Engine, EntryError, Error, Extern, InstantiateError, Linker, Module, ModuleError, Store, TypedFunc,
};
use std::{
    sync::{Mutex, mpsc},
    thread,
};

/// Exports `run`, which calls the host, and `plain`, which does not.
const TEXT: &str = r#"(module (import "host" "step" (func $step))
    (func (export "run") (call $step))
    (func (export "trap") unreachable)
    (func (export "plain") (result i32) (i32.const 7)))"#;

/// A store with an instance of [`TEXT`].
struct Guest {
    store: Store<()>,
    run: TypedFunc<(), ()>,
    plain: TypedFunc<(), i32>,
}

impl Guest {
    /// Instantiates [`TEXT`] with this import.
    fn new(engine: &Engine, linker: &Linker<()>) -> Self {
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate(&mut store, &module(engine, TEXT)).unwrap();
        let run = instance.get_typed_func(&store, "run").unwrap();
        let plain = instance.get_typed_func(&store, "plain").unwrap();
        Self { store, run, plain }
    }

    fn idle(engine: &Engine) -> Self {
        let mut linker = Linker::new();
        linker.func_wrap("host", "step", || ()).unwrap();
        Self::new(engine, &linker)
    }

    fn call_plain(&mut self) -> Result<i32, Error> {
        self.plain.call(&mut self.store, ())
    }
}

fn is_in_use<T: core::fmt::Debug>(result: Result<T, Error>) -> bool {
    result.unwrap_err().downcast_ref() == Some(&EntryError::InUse)
}

#[test]
fn a_call_in_another_thread_fails_while_the_engine_is_in_use() {
    let engine = engine();
    let (started, start) = mpsc::channel();
    let (finish, finished) = mpsc::channel();
    let finished = std::sync::Arc::new(Mutex::new(finished));
    let mut linker = Linker::new();
    linker
        .func_wrap("host", "step", move || {
            started.send(()).unwrap();
            finished.lock().unwrap().recv().unwrap();
        })
        .unwrap();
    let mut busy = Guest::new(&engine, &linker);
    let mut idle = Guest::idle(&engine);
    let mut own = Guest::idle(&crate::support::engine());
    let program = module(&engine, TEXT);
    thread::scope(|scope| {
        let call = scope.spawn(|| busy.run.call(&mut busy.store, ()));
        start.recv().unwrap();
        assert!(engine.is_in_use());
        assert!(is_in_use(idle.call_plain()));
        let loaded = Module::new(&engine, &wat::parse_str(TEXT).unwrap());
        assert!(matches!(loaded, Err(ModuleError::Entry(EntryError::InUse))));
        let instance = linker.instantiate(&mut idle.store, &program);
        assert!(matches!(instance, Err(InstantiateError::Entry(EntryError::InUse))));
        assert_eq!(own.call_plain().unwrap(), 7);
        finish.send(()).unwrap();
        call.join().unwrap().unwrap();
    });
    assert!(!engine.is_in_use());
    assert_eq!(idle.call_plain().unwrap(), 7);
}

#[test]
fn a_host_function_may_call_its_own_store_and_other_engines() {
    let engine = engine();
    let guests = [Guest::idle(&engine), Guest::idle(&crate::support::engine())];
    let guests = std::sync::Arc::new(Mutex::new(guests));
    let mut linker = Linker::new();
    linker
        .func_wrap(
            "host",
            "step",
            move |mut caller: palimpsest_engine::Caller<'_, ()>| -> Result<(), Error> {
                let plain = caller.get_export("plain").and_then(Extern::into_func).unwrap();
                assert_eq!(plain.typed::<(), i32>(&caller)?.call(&mut caller, ())?, 7);
                let [same, other] = &mut *guests.lock().unwrap();
                assert!(is_in_use(same.call_plain()));
                assert_eq!(other.call_plain()?, 7);
                Ok(())
            },
        )
        .unwrap();
    let mut guest = Guest::new(&engine, &linker);
    guest.run.call(&mut guest.store, ()).unwrap();
}

#[test]
fn a_call_that_fails_frees_the_engine() {
    let engine = engine();
    let mut guest = Guest::idle(&engine);
    let instance = {
        let mut linker = Linker::new();
        linker.func_wrap("host", "step", || ()).unwrap();
        linker.instantiate(&mut guest.store, &module(&engine, TEXT)).unwrap()
    };
    let trap = instance.get_typed_func::<(), ()>(&guest.store, "trap").unwrap();
    trap.call(&mut guest.store, ()).unwrap_err();
    Module::new(&engine, b"\0asm").unwrap_err();
    Linker::new().instantiate(&mut guest.store, &module(&engine, TEXT)).unwrap_err();
    assert!(!engine.is_in_use());
    assert_eq!(guest.call_plain().unwrap(), 7);
}

#[test]
fn what_threads_share_is_send_and_sync() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<Engine>();
    is_sync::<Engine>();
    is_send::<Module>();
    is_sync::<Module>();
    is_send::<Linker<()>>();
    is_sync::<Linker<()>>();
    is_send::<Store<()>>();
    is_send::<palimpsest_engine::Task<()>>();
}
