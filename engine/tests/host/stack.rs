//! The native stack of a thread: what is checked is what calls take.

use crate::support::{SLICE_BYTES, module};
use palimpsest_engine::{
    Config, Engine, EngineError, EntryError, Error, Fixed, Instance, InstantiateError, Linker, Module,
    ModuleError, NativeStack, Store,
};
use std::{
    cell::Cell,
    hint::black_box,
    mem::MaybeUninit,
    ptr::{with_exposed_provenance, with_exposed_provenance_mut},
    thread,
};

/// Exports functions of several kinds, and a name for each, so that a map of them is large.
fn text() -> String {
    let plain = |number: u32| {
        format!(
            r#"(func (export "f{number}") (param i32 f64) (result i64)
                (local i64 f32)
                (local.set 2 (i64.extend_i32_u (local.get 0)))
                (loop $again (br_if $again (i32.eqz (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))
                (if (i32.lt_s (local.get 0) (i32.const 3)) (then (return (i64.const 3))))
                (i32.store offset=8 (i32.const 0) (memory.grow (i32.const 0)))
                (i64.add (local.get 2) (i64.trunc_sat_f64_s (f64.sqrt (local.get 1)))))"#
        )
    };
    let functions: String = (0..64).map(plain).collect();
    format!(r#"(module (memory (export "m") 1) (table 4 funcref) (data (i32.const 8) "data") {functions})"#)
}

const PAINT: u8 = 0xa7;

/// Bytes of the stack below a test that are painted.
const PAINTED_BYTES: usize = 1 << 20;

/// Calls `work`, and returns how many bytes below this function's frame were written to.
#[inline(never)]
fn used_bytes(work: impl FnOnce()) -> usize {
    let local = Cell::new(0_u8);
    let top = local.as_ptr().expose_provenance();
    paint(top - PAINTED_BYTES, top - 512);
    black_box(work)();
    top - first_written(top - PAINTED_BYTES)
}

#[inline(never)]
fn paint(from: usize, to: usize) {
    for address in from..to {
        // SAFETY: the thread's stack is larger, and these bytes are below all frames.
        unsafe { with_exposed_provenance_mut::<u8>(address).write_volatile(PAINT) };
    }
}

#[inline(never)]
fn first_written(from: usize) -> usize {
    // SAFETY: the thread's stack contains a byte without paint above.
    let is_painted = |address| unsafe { with_exposed_provenance::<u8>(address).read_volatile() } == PAINT;
    (from..).find(|address| !is_painted(*address)).unwrap()
}

fn engine(stack: NativeStack) -> Result<Engine, EngineError> {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); SLICE_BYTES].into_boxed_slice());
    Engine::new(Config::default().stack(stack), Fixed::new(bytes))
}

/// Checks that no more bytes were used than the error of a call without stack states.
fn check(what: &str, used: usize, refused: EntryError) {
    let EntryError::StackTooSmall { remaining_bytes: 0, needed_bytes } = refused else { panic!("{refused}") };
    println!("{what}: {used} of {needed_bytes} bytes");
    assert!(used <= needed_bytes, "{what}: {used} bytes used, {needed_bytes} checked");
}

/// The end of the stack that [`NativeStack::Probe`] reports. A stack that ends above everything has
/// no byte left.
fn probe() -> usize {
    LOWEST.get()
}

thread_local! {
    static LOWEST: Cell<usize> = const { Cell::new(0) };
}

fn without_stack<R>(work: impl FnOnce() -> R) -> R {
    LOWEST.set(usize::MAX);
    let result = work();
    LOWEST.set(0);
    result
}

fn call(store: &mut Store<()>, instance: Instance) -> Result<i64, Error> {
    let func = instance.get_func(&mut *store, "f7").unwrap().typed::<(i32, f64), i64>(&mut *store).unwrap();
    func.call(store, (3, 4.0))
}

#[test]
#[cfg_attr(miri, ignore = "it has no stack that can be painted")]
fn what_is_checked_is_what_is_needed() {
    thread::Builder::new().stack_size(4 << 20).spawn(measure).unwrap().join().unwrap();
}

fn measure() {
    let Err(EngineError::Entry(refused)) = engine(NativeStack::EndsAt(usize::MAX)) else { panic!() };
    let mut made = None;
    let used = used_bytes(|| made = engine(NativeStack::Probe(probe)).ok());
    check("Engine::new", used, refused);
    let engine = made.unwrap();

    let wasm = wat::parse_str(text()).unwrap();
    let Err(ModuleError::Entry(refused)) = without_stack(|| Module::new(&engine, &wasm)) else { panic!() };
    let mut made = None;
    let used = used_bytes(|| made = Module::new(&engine, &wasm).ok());
    check("Module::new", used, refused);
    let program = made.unwrap();

    let mut store = Store::new(&engine, ());
    let refused = without_stack(|| Linker::new().instantiate(&mut store, &program)).unwrap_err();
    let InstantiateError::Entry(refused) = refused else { panic!("{refused}") };
    let mut made = None;
    let used = used_bytes(|| made = Linker::new().instantiate(&mut store, &program).ok());
    check("Linker::instantiate", used, refused);
    let instance = made.unwrap();

    for which in ["the first call", "the second call"] {
        let error = without_stack(|| call(&mut store, instance)).unwrap_err();
        let refused = *error.downcast_ref::<EntryError>().unwrap();
        let mut returned = None;
        let used = used_bytes(|| returned = call(&mut store, instance).ok());
        check(which, used, refused);
        assert_eq!(returned, Some(5));
    }
}

#[test]
fn a_stack_of_unknown_size_is_not_checked() {
    let engine = engine(NativeStack::Unknown).unwrap();
    let program = module(&engine, &text());
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &program).unwrap();
    assert_eq!(call(&mut store, instance).unwrap(), 5);
}
