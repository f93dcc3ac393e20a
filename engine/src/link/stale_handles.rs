//! Tests of handles that outlive their store. They need a linker.

use crate::{
    backing::Fixed,
    config::Config,
    engine::Engine,
    link::Linker,
    module::Module,
    store::{AsContext, Extern, ExternRef, Func, Global, Memory, Store, Table},
};
use core::mem::MaybeUninit;
use std::{
    boxed::Box,
    panic::{AssertUnwindSafe, catch_unwind},
    string::String,
    vec,
};
use wasmi::{Mutability, Ref, RefType, Val};

/// Returns the message of the panic of `action`.
fn panic_of<R>(action: impl FnOnce() -> R) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(action)).err()?;
    payload.downcast_ref::<&str>().map(|message| (*message).into())
}

/// In a program that creates more than 2^32 stores, wasmi gives a later store the number of an
/// earlier one. Here the handles have wasmi's number of one store and are another one's.
#[test]
fn a_handle_is_refused_by_a_later_store_with_the_same_number_in_wasmi() {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    let engine = Engine::new(Config::default(), Fixed::new(bytes, 1 << 18)).expect("a test build is flat");
    let text = r#"(module (memory (export "m") 1) (table (export "t") 1 funcref)
        (global (export "g") (mut i32) (i32.const 1)) (func (export "f") (result i32) (i32.const 7)))"#;
    let module = Module::new(&engine, &wat::parse_str(text).unwrap()).unwrap();
    let earlier = Store::new(&engine, ());
    let mut later = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut later, &module).unwrap();
    let stale = |item: Extern| {
        let (earlier, later) = (earlier.as_context().into_wasmi(), later.as_context().into_wasmi());
        Extern::from_wasmi(item.to_wasmi(later.data()), earlier.data())
    };
    let find = |name| instance.get_export(&later, name).unwrap();
    let [func, memory, table, global] = ["f", "m", "t", "g"].map(|name| stale(find(name)));
    let func: Func = func.into_func().unwrap();
    let memory: Memory = memory.into_memory().unwrap();
    let table: Table = table.into_table().unwrap();
    let global: Global = global.into_global().unwrap();
    let own = ExternRef::new(&mut later, 5_u8);
    let Val::ExternRef(wasmi::Nullable::Val(inner)) = Val::from(own) else { panic!("it is not null") };
    let object = ExternRef::of_store(&earlier, inner);
    let refused = |name: &str, message: Option<String>| {
        let message = message.unwrap_or_else(|| panic!("{name} is accepted"));
        assert!(message.starts_with("an item was used with another store"), "{name}: {message}");
    };
    refused("call", panic_of(|| func.call(&mut later, &[], &mut [Val::I32(0)])));
    refused("typed", panic_of(|| func.typed::<(), u32>(&later)));
    refused("ty", panic_of(|| func.ty(&later)));
    refused("size", panic_of(|| memory.size(&later)));
    refused("data", panic_of(|| memory.data(&later).len()));
    refused("data_mut", panic_of(|| memory.data_mut(&mut later).len()));
    refused("write", panic_of(|| memory.write(&mut later, 0, &[1])));
    refused("clear", panic_of(|| memory.clear_pages(&mut later, 0, 1)));
    refused("grow", panic_of(|| memory.grow(&mut later, 1)));
    refused("table size", panic_of(|| table.size(&later)));
    refused("table grow", panic_of(|| table.grow(&mut later, 1, Ref::null(RefType::Func))));
    refused("table set", panic_of(|| table.set(&mut later, 0, Ref::null(RefType::Func))));
    refused("global", panic_of(|| global.set(&mut later, Val::I32(1))));
    refused("object", panic_of(|| object.data(&later).is::<u8>()));
    for item in [Extern::from(func), memory.into(), table.into(), global.into()] {
        let mut linker = Linker::new();
        linker.define("e", "i", item).unwrap();
        let import = match item {
            Extern::Func(_) => "(func (result i32))",
            Extern::Memory(_) => "(memory 1)",
            Extern::Table(_) => "(table 1 funcref)",
            Extern::Global(_) => "(global (mut i32))",
        };
        let text = std::format!(r#"(module (import "e" "i" {import}))"#);
        let importer = Module::new(&engine, &wat::parse_str(text).unwrap()).unwrap();
        refused(import, panic_of(|| linker.instantiate(&mut later, &importer)));
    }
    let fresh = Global::new(&mut later, Val::I32(3), Mutability::Const);
    assert!(matches!(fresh.get(&later), Val::I32(3)));
    assert_eq!(own.data(&later).downcast_ref(), Some(&5_u8));
}
