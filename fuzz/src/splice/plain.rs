//! The guest in wasmi alone.

use wasmi::{
    CompilationMode, Config, Engine, Error, Extern, Instance, Linker, Module, Ref, Store, TrapCode, Val,
    ValType,
    errors::{ErrorKind, InstantiationError, MemoryError},
};

use super::{
    Guest, host,
    trace::{CALLS, Item, Outcome, State, Step, Trace, Value, argument},
};

pub(super) fn run(guest: &Guest) -> Trace {
    let mut config = Config::default();
    config.compilation_mode(CompilationMode::Lazy);
    config.set_max_recursion_depth(10_000);
    config.wasm_custom_page_sizes(true);
    config.wasm_wide_arithmetic(true);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, &guest.wasm).expect("wasmi loads a valid module");
    let host = Module::new(&engine, host()).expect("wasmi loads a valid module");
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    let host = linker.instantiate_and_start(&mut store, &host).expect("the host module has no imports");
    linker.instance(&mut store, "host", host).expect("the names are different");
    let instance = linker.instantiate_and_start(&mut store, &module);
    let outcome = instance.as_ref().map(|_| Vec::new()).map_err(code);
    let mut trace = Trace::default();
    let instance = instance.ok();
    trace.0.push(step("instantiate", outcome, state(&store, host, instance)));
    let Some(instance) = instance else { return trace };
    let mut functions: Vec<_> = module.exports().filter(|export| export.ty().func().is_some()).collect();
    functions.sort_by_key(|export| export.name());
    for (number, export) in functions.into_iter().take(CALLS).enumerate() {
        let func = instance.get_func(&store, export.name()).expect("it is exported");
        let ty = func.ty(&store);
        let arguments = arguments(ty.params(), guest.arguments, number);
        let mut results: Vec<_> = ty.results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
        let called = func.call(&mut store, &arguments, &mut results);
        let outcome = called.map(|()| results).map_err(|error| code(&error));
        trace.0.push(step(export.name(), outcome, state(&store, host, Some(instance))));
    }
    trace
}

pub(super) fn step(function: &str, outcome: Result<Vec<Val>, TrapCode>, state: State) -> Step {
    let outcome = match outcome {
        Ok(values) => Outcome::Values(values.iter().map(value).collect()),
        Err(TrapCode::StackOverflow) => Outcome::StackOverflow,
        Err(code) => Outcome::Trap(format!("{code:?}")),
    };
    Step { function: function.into(), outcome, state }
}

/// Returns why a guest ended. wasmi has other errors for segments that do not fit.
pub(super) fn code(error: &Error) -> TrapCode {
    let by_kind = || match error.kind() {
        ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }) => {
            Some(TrapCode::TableOutOfBounds)
        }
        ErrorKind::Memory(MemoryError::OutOfBoundsAccess) => Some(TrapCode::MemoryOutOfBounds),
        _ => None,
    };
    error.as_trap_code().or_else(by_kind).unwrap_or_else(|| panic!("not a trap: {error}"))
}

pub(super) fn arguments(types: &[ValType], seed: u64, call: usize) -> Vec<Val> {
    let argument = |(index, ty): (usize, &ValType)| {
        let bits = argument(seed, call, index);
        let (long, word) = (bits as u64, bits as u32);
        match ty {
            ValType::I32 => Val::I32(word.cast_signed()),
            ValType::I64 => Val::I64(long.cast_signed()),
            ValType::F32 => Val::F32(f32::from_bits(word).into()),
            ValType::F64 => Val::F64(f64::from_bits(long).into()),
            ValType::V128 => Val::V128(bits.into()),
            ValType::FuncRef | ValType::ExternRef => Val::default_for_ty(*ty),
        }
    };
    types.iter().enumerate().map(argument).collect()
}

pub(super) fn value(value: &Val) -> Value {
    match value {
        Val::I32(value) => Value::I32(value.cast_unsigned()),
        Val::I64(value) => Value::I64(value.cast_unsigned()),
        Val::F32(value) => Value::F32(value.to_bits()),
        Val::F64(value) => Value::F64(value.to_bits()),
        Val::V128(value) => Value::V128(value.as_u128()),
        Val::FuncRef(reference) => Value::Reference { is_null: reference.is_null() },
        Val::ExternRef(reference) => Value::Reference { is_null: reference.is_null() },
    }
}

fn state(store: &Store<()>, host: Instance, guest: Option<Instance>) -> State {
    let mut state = State::new();
    for (module, instance) in [("host", Some(host)), ("guest", guest)] {
        for export in instance.iter().flat_map(|instance| instance.exports(store)) {
            let name = export.name().to_owned();
            let item = match export.into_extern() {
                Extern::Global(global) => Item::Global(value(&global.get(store))),
                Extern::Memory(memory) => Item::memory(memory.data(store)),
                Extern::Table(table) => {
                    let is_null = |index| match table.get(store, index).expect("it is inside") {
                        Ref::Func(reference) => reference.is_null(),
                        Ref::Extern(reference) => reference.is_null(),
                    };
                    Item::Table((0..table.size(store)).map(is_null).collect())
                }
                Extern::Func(_) => continue,
            };
            state.insert((module, name), item);
        }
    }
    state
}
