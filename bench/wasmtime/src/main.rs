//! Instantiates a module in wasmtime again and again: alone or from a pool, with its data copied or
//! shared copy-on-write.
//!
//! `palimpsest-bench-wasmtime FILE` prints a line of JSON for each figure. The module exports
//! `touch(n)`, which writes to the first n pages. `instantiate` is the time of a new store with an
//! instance, and `life` includes one call of `touch(1)` and the end of the store.

use std::{
    env,
    error::Error,
    fs,
    time::{Duration, Instant},
};
use wasmtime::{
    Config, Engine, Instance, InstanceAllocationStrategy, Module, PoolingAllocationConfig, Store,
};

/// How often each way is measured, after as many runs that are not.
const RUNS: usize = 2_000;

/// A name, whether instances come from a pool, and whether they share the module's data.
type Way = (&'static str, bool, bool);

const WAYS: [Way; 3] = [("fresh", false, false), ("shared", false, true), ("pooled", true, true)];

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args_os().nth(1).ok_or("usage: palimpsest-bench-wasmtime FILE")?;
    let wasm = fs::read(path)?;
    for way in WAYS {
        let (name, ..) = way;
        let [instantiated, lived] = measure(way, &wasm)?;
        print("instantiate", name, instantiated);
        print("life", name, lived);
    }
    Ok(())
}

/// Returns the times of instantiating and of whole lives.
fn measure((_, is_pooled, is_shared): Way, wasm: &[u8]) -> Result<[Vec<Duration>; 2], Box<dyn Error>> {
    let mut config = Config::new();
    config.memory_init_cow(is_shared);
    if is_pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::default()));
    }
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, wasm)?;
    let [mut instantiated, mut lived] = [Vec::new(), Vec::new()];
    for run in 0..2 * RUNS {
        let start = Instant::now();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let instantiation = start.elapsed();
        instance.get_typed_func::<i32, ()>(&mut store, "touch")?.call(&mut store, 1)?;
        drop(store);
        let life = start.elapsed();
        if run >= RUNS {
            instantiated.push(instantiation);
            lived.push(life);
        }
    }
    Ok([instantiated, lived])
}

/// Prints the median and the minimum.
fn print(what: &str, way: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let [median, min] = [times[times.len() / 2], times[0]].map(|time| time.as_nanos());
    let runs = times.len();
    println!(r#"{{"name": "wasmtime_{what}/{way}", "ns": {median}, "min_ns": {min}, "runs": {runs}}}"#);
}
