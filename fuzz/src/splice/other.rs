//! The guest in wasmtime.

use std::sync::OnceLock;
use wasmtime::{
    AsContextMut, Config, Engine, Error, Extern, Instance, Linker, Module, OptLevel, Ref, Store, Trap, Val,
    ValType,
};

use super::{
    Guest, host,
    trace::{CALLS, Item, Outcome, State, Step, Trace, Value, argument},
};

pub(super) fn run(guest: &Guest) -> Trace {
    let module = Module::new(engine(), &guest.wasm).expect("wasmtime loads a valid module");
    let host = Module::new(engine(), host()).expect("wasmtime loads a valid module");
    let mut store = Store::new(engine(), ());
    let mut linker = Linker::new(engine());
    let host = linker.instantiate(&mut store, &host).expect("the host module has no imports");
    linker.instance(&mut store, "host", host).expect("the names are different");
    let instance = linker.instantiate(&mut store, &module);
    let mut trace = Trace::default();
    let outcome = instance.as_ref().map(|_| Vec::new()).map_err(code);
    let instance = instance.ok();
    let step = step("instantiate", outcome, &mut store, host, instance);
    trace.0.push(step);
    let Some(instance) = instance else { return trace };
    let mut functions: Vec<_> =
        module.exports().filter_map(|export| Some((export.name(), export.ty().func()?.clone()))).collect();
    functions.sort_by_key(|(name, _)| *name);
    for (number, (name, ty)) in functions.into_iter().take(CALLS).enumerate() {
        let func = instance.get_func(&mut store, name).expect("it is exported");
        let arguments: Vec<_> =
            ty.params().enumerate().map(|(index, ty)| argument_of(&ty, guest, number, index)).collect();
        let mut results = vec![Val::I32(0); ty.results().len()];
        let called = func.call(&mut store, &arguments, &mut results);
        let outcome = called.map(|()| results).map_err(|error| code(&error));
        let step = self::step(name, outcome, &mut store, host, Some(instance));
        trace.0.push(step);
    }
    trace
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::None);
        config.memory_reservation(0).memory_guard_size(0).memory_reservation_for_growth(0);
        // wasmtime refuses a stack for guests that is larger than the one for asynchronous calls.
        config.max_wasm_stack(4 << 20).async_stack_size(8 << 20);
        config.wasm_custom_page_sizes(true).wasm_memory64(true).wasm_multi_memory(true);
        config.wasm_tail_call(true).wasm_wide_arithmetic(true).wasm_extended_const(true);
        Engine::new(&config).expect("the configuration is consistent")
    })
}

fn argument_of(ty: &ValType, guest: &Guest, call: usize, index: usize) -> Val {
    let bits = argument(guest.arguments, call, index);
    match ty {
        ValType::I32 => Val::I32((bits as u32).cast_signed()),
        ValType::I64 => Val::I64((bits as u64).cast_signed()),
        ValType::F32 => Val::F32(bits as u32),
        ValType::F64 => Val::F64(bits as u64),
        ValType::V128 => Val::V128(bits.into()),
        ValType::Ref(ty) => Val::null_ref(ty.heap_type()),
    }
}

/// Returns the trap code of wasmi that has the same meaning.
fn code(error: &Error) -> Outcome {
    let trap = error.downcast_ref::<Trap>().unwrap_or_else(|| panic!("not a trap: {error:?}"));
    let name = match trap {
        Trap::StackOverflow => return Outcome::StackOverflow,
        Trap::MemoryOutOfBounds => "MemoryOutOfBounds",
        Trap::TableOutOfBounds => "TableOutOfBounds",
        Trap::IndirectCallToNull => "IndirectCallToNull",
        Trap::BadSignature => "BadSignature",
        Trap::IntegerOverflow => "IntegerOverflow",
        Trap::IntegerDivisionByZero => "IntegerDivisionByZero",
        Trap::BadConversionToInteger => "BadConversionToInteger",
        Trap::UnreachableCodeReached => "UnreachableCodeReached",
        _ => panic!("no guest can cause {trap}"),
    };
    Outcome::Trap(name.into())
}

fn step(
    function: &str,
    outcome: Result<Vec<Val>, Outcome>,
    store: &mut Store<()>,
    host: Instance,
    guest: Option<Instance>,
) -> Step {
    let outcome = match outcome {
        Ok(values) => Outcome::Values(values.iter().map(value).collect()),
        Err(outcome) => outcome,
    };
    Step { function: function.into(), outcome, state: state(store, host, guest) }
}

fn value(value: &Val) -> Value {
    match value {
        Val::I32(value) => Value::I32(value.cast_unsigned()),
        Val::I64(value) => Value::I64(value.cast_unsigned()),
        Val::F32(bits) => Value::F32(*bits),
        Val::F64(bits) => Value::F64(*bits),
        Val::V128(value) => Value::V128(value.as_u128()),
        Val::FuncRef(reference) => Value::Reference { is_null: reference.is_none() },
        Val::ExternRef(reference) => Value::Reference { is_null: reference.is_none() },
        other => panic!("no proposal that is on has {other:?}"),
    }
}

fn state(store: &mut Store<()>, host: Instance, guest: Option<Instance>) -> State {
    let mut state = State::new();
    for (module, instance) in [("host", Some(host)), ("guest", guest)] {
        let Some(instance) = instance else { continue };
        let exports: Vec<_> = instance
            .exports(store.as_context_mut())
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect();
        for (name, item) in exports {
            let item = match item {
                Extern::Global(global) => Item::Global(value(&global.get(&mut *store))),
                Extern::Memory(memory) => Item::memory(memory.data(&*store)),
                Extern::Table(table) => {
                    let elements = 0..table.size(&*store);
                    let is_null = |index| match table.get(&mut *store, index).expect("it is inside") {
                        Ref::Func(reference) => reference.is_none(),
                        Ref::Extern(reference) => reference.is_none(),
                        other => panic!("no proposal that is on has {other:?}"),
                    };
                    Item::Table(elements.map(is_null).collect())
                }
                _ => continue,
            };
            state.insert((module, name), item);
        }
    }
    state
}
