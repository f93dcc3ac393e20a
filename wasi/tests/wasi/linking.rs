//! What the linker defines, what a call requires, and what it costs.

use crate::{
    preview1::{FUNCTIONS, guest_wat},
    support::{Guest, engine, errno, linker},
    world::{Counting, ManualClock, Written},
};
use palimpsest_engine::{Config, Fuel, Limits, Linker, Module, Store, TrapCode};
use palimpsest_wasi::{Exit, NoMemory, Wait, Wasi, add_to_linker};

#[test]
fn every_function_of_preview_1_is_defined_and_nothing_else() {
    let mut expected: Vec<_> = FUNCTIONS.iter().map(|(name, _)| *name).chain(["proc_exit"]).collect();
    expected.sort_unstable();
    let expected: Vec<_> = expected.iter().map(|name| ("wasi_snapshot_preview1", *name)).collect();
    assert_eq!(format!("{:?}", linker()), format!("{{{}}}", list(&expected)));
    assert_eq!(expected.len(), 46);
}

fn list(names: &[(&str, &str)]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let mut linker: Linker<Wasi> = linker();
    let error = add_to_linker(&mut linker, |wasi| wasi).unwrap_err();
    assert_eq!((error.module.as_str(), error.name.as_str()), ("wasi_snapshot_preview1", "args_get"));
}

#[test]
fn unsupported_functions_return_enosys() {
    let mut guest = Guest::new(Wasi::builder());
    let unsupported = |(name, params): &&(&str, &[&str])| {
        let arguments = vec![1; params.len()];
        guest.call(name, &arguments) == errno(wasip1::ERRNO_NOSYS)
    };
    // Functions that return `ENOSYS` only because this guest has no clock and no random numbers are
    // not in the list.
    let without = ["clock_res_get", "clock_time_get", "random_get", "sched_yield"];
    let names: Vec<_> = FUNCTIONS.iter().filter(unsupported).map(|(name, _)| *name).collect();
    let names: Vec<_> = names.into_iter().filter(|name| !without.contains(name)).collect();
    assert_eq!(
        names,
        ["path_link", "path_symlink", "proc_raise", "sock_accept", "sock_recv", "sock_send", "sock_shutdown",]
    );
}

#[test]
fn the_exit_code_is_found_in_the_error() {
    for code in [0, 42, u32::MAX] {
        let guest = Guest::new(Wasi::builder());
        let exit = guest.instance.get_typed_func::<u32, ()>(&guest.store, "proc_exit").unwrap();
        let error = exit.call(guest.store, code).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Exit { code }));
    }
}

#[test]
fn a_call_without_an_exported_memory_fails() {
    let engine = engine(Config::default());
    let wat = guest_wat().replace(r#"(export "memory")"#, "");
    let module = Module::new(&engine, &wat::parse_str(wat).unwrap()).unwrap();
    let mut store = Store::new(&engine, Wasi::builder().build());
    let instance = linker().instantiate(&mut store, &module).unwrap();
    let close = instance.get_typed_func::<u32, u32>(&store, "fd_close").unwrap();
    let error = close.call(&mut store, 1).unwrap_err();
    assert!(error.downcast_ref::<NoMemory>().is_some(), "{error}");
}

#[test]
fn a_metered_guest_pays_for_the_bytes_that_it_reads_and_writes() {
    let mut limits = Limits::default();
    limits.fuel = Some(1_000_000);
    let engine = engine(Config::default().fuel(Fuel::Metered).limits(limits));
    let wasi = Wasi::builder().random(Counting(0)).stdout(Written::default());
    let mut guest = Guest::with_engine(&engine, wasi);
    let mut cost = |len: u64| {
        let before = guest.store.get_fuel().unwrap();
        guest.call("random_get", &[0, len]).unwrap();
        before - guest.store.get_fuel().unwrap()
    };
    assert_eq!(cost(65_536) - cost(0), 65_536 / 64);
    // A guest that cannot pay the full price ends, and nothing is written.
    guest.put(0, &[0; 65_536]);
    guest.store.set_fuel(1_000).unwrap();
    let error = guest.try_call("random_get", &[0, 65_536]).unwrap_err();
    assert_eq!(error.as_trap_code(), Some(TrapCode::OutOfFuel));
    assert!(guest.get(0, 65_536).iter().all(|byte| *byte == 0));
}

#[test]
fn two_programs_of_one_linker_have_a_world_each() {
    let engine = engine(Config::default());
    let outputs = [Written::default(), Written::default()];
    let mut guests = outputs.clone().map(|stdout| {
        Guest::with_engine(&engine, Wasi::builder().stdout(stdout).clock(ManualClock::new(0, Wait::Done)))
    });
    guests[0].write(1, b"first").unwrap();
    guests[1].write(1, b"second").unwrap();
    assert_eq!(outputs.map(|output| output.text()), ["first", "second"]);
}
