//! Data segments: the instances of a module share their frames until they write to them.

use alloc::{boxed::Box, vec::Vec};

use kernel_demo::Machine;
use palimpsest_engine::{Config, Fuel, Images, Limits, Linker, Module, ModuleError, PreparedError, Store};

use crate::{
    harness::{Checks, VmTest},
    wasm::{Program, engine, guest, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("instances-share-the-frames-of-their-data", 11, shared),
    VmTest::new("without-images-each-instance-writes-its-data", 3, written),
    VmTest::new("a-module-without-frames-for-its-image-works-without-one", 3, no_frames),
    VmTest::new("the-images-of-an-engine-share-a-limit-of-frames", 9, limited),
    VmTest::new("a-prepared-module-starts-with-its-data-out-of-the-file", 13, prepared),
];

/// The addresses of the three strings in `tests/vm/guests/data.wat`.
const PLACES: [u32; 3] = [0, 4096, 65_536];

fn start(module: &Module) -> Program {
    let mut store = Store::new(module.engine(), ());
    let instance = Linker::new().instantiate(&mut store, module).expect("the guest imports nothing");
    Program::new(store, instance)
}

fn first_bytes(program: &mut Program) -> [u32; 3] {
    PLACES.map(|place| program.must("load", place))
}

fn shared(checks: &mut Checks, machine: &Machine) {
    let module = module(&engine(machine, Config::default()), guest!("data"));
    checks.equal("frames of the image", module.image_frames(), 3);
    checks.equal("frames of images in the space", machine.space().usage().image_frames, 3);
    let [mut first, mut second] = [start(&module), start(&module)];
    checks.equal("what the first reads", first_bytes(&mut first), [b'o', b't', b't'].map(u32::from));
    checks.equal("frames that it holds", first.residency().resident_frames, 0);
    first.must::<_, ()>("store", (4096, 7));
    checks.equal("frames after a write", first.residency().resident_frames, 1);
    checks.equal("the byte beside it", first.must::<u32, u32>("load", 4097), u32::from(b'w'));
    checks.equal("what the second reads", first_bytes(&mut second), [b'o', b't', b't'].map(u32::from));
    let memory = first.memory();
    let cleared = memory.clear_pages(&mut first.store, 0, 1).expect("the page is there");
    checks.equal("frames that a clear released", cleared.frames_released, 1);
    checks.equal("what the first reads then", first_bytes(&mut first), [0, 0, u32::from(b't')]);
    checks.equal("frames that it holds then", first.residency().resident_frames, 0);
    drop((first, module));
    checks.equal("the second still reads", first_bytes(&mut second), [b'o', b't', b't'].map(u32::from));
}

fn written(checks: &mut Checks, machine: &Machine) {
    let module = module(&engine(machine, Config::default().images(Images::Off)), guest!("data"));
    checks.equal("frames of the image", module.image_frames(), 0);
    let mut program = start(&module);
    checks.equal("frames that an instance holds", program.residency().resident_frames, 3);
    checks.equal("what it reads", first_bytes(&mut program), [b'o', b't', b't'].map(u32::from));
}

fn no_frames(checks: &mut Checks, machine: &Machine) {
    let engine = engine(machine, Config::default());
    let pool = machine.frames();
    let mut hoard = Vec::with_capacity(usize::try_from(pool.free_frames()).expect("addresses have 64 bits"));
    while let Some(frame) = pool.allocate_frame() {
        hoard.push(frame);
    }
    let module = module(&engine, guest!("data"));
    checks.equal("frames of the image", module.image_frames(), 0);
    hoard.into_iter().for_each(|frame| pool.release_frame(frame));
    let mut program = start(&module);
    checks.equal("what an instance reads", first_bytes(&mut program), [b'o', b't', b't'].map(u32::from));
    checks.equal("frames that it holds", program.residency().resident_frames, 3);
}

fn limited(checks: &mut Checks, machine: &Machine) {
    let mut limits = Limits::default();
    limits.image_frames = 5;
    let engine = engine(machine, Config::default().limits(limits));
    let first = module(&engine, guest!("data"));
    let second = module(&engine, guest!("data"));
    checks.equal("frames of the images", (first.image_frames(), second.image_frames()), (3, 0));
    let mut without = start(&second);
    checks.equal(
        "what an instance without reads",
        first_bytes(&mut without),
        [b'o', b't', b't'].map(u32::from),
    );
    checks.equal("frames that it holds", without.residency().resident_frames, 3);
    let mut with = start(&first);
    drop(first);
    let third = module(&engine, guest!("data"));
    checks.equal("frames while an instance shows the first image", third.image_frames(), 0);
    checks.equal("what that instance reads", first_bytes(&mut with), [b'o', b't', b't'].map(u32::from));
    drop(with);
    let fourth = module(&engine, guest!("data"));
    checks.equal("frames when it is gone", fourth.image_frames(), 3);
    limits.image_frames = 3;
    let exact = self::engine(machine, Config::default().limits(limits));
    checks.equal("frames at the limit", module(&exact, guest!("data")).image_frames(), 3);
    limits.image_frames = 2;
    let less = self::engine(machine, Config::default().limits(limits));
    checks.equal("frames one below it", module(&less, guest!("data")).image_frames(), 0);
    checks.equal("frames of images in the space", machine.space().usage().image_frames, 3);
}

/// Loads a prepared module in engines with and without images, and while no frame is free for one.
fn prepared(checks: &mut Checks, machine: &Machine) {
    let file = Module::prepare(&Config::default(), guest!("data")).expect("the guest is valid");
    let bytes = Box::into_raw(file.into_boxed_slice());
    // SAFETY: the bytes are freed at the end of the test, after all modules.
    let file: &'static [u8] = unsafe { &*bytes };
    let load = |config| {
        // SAFETY: `prepare` has just returned the bytes, and they are not changed.
        let module = unsafe { Module::from_prepared(&engine(machine, config), file) };
        module.expect("the module was prepared for this configuration")
    };
    let shared = load(Config::default());
    checks.equal("frames of the image", shared.image_frames(), 3);
    let [mut first, mut second] = [start(&shared), start(&shared)];
    checks.equal("what the first reads", first_bytes(&mut first), [b'o', b't', b't'].map(u32::from));
    checks.equal("frames that it holds", first.residency().resident_frames, 0);
    first.must::<_, ()>("store", (4096, 7));
    checks.equal("frames after a write", first.residency().resident_frames, 1);
    checks.equal("what the second reads", first_bytes(&mut second), [b'o', b't', b't'].map(u32::from));
    drop((first, second, shared));
    let written = load(Config::default().images(Images::Off));
    checks.equal("frames of the image without images", written.image_frames(), 0);
    let mut program = start(&written);
    checks.equal("frames that an instance holds", program.residency().resident_frames, 3);
    checks.equal("what it reads", first_bytes(&mut program), [b'o', b't', b't'].map(u32::from));
    drop((program, written));
    let mut limits = Limits::default();
    limits.image_frames = 2;
    let limited = load(Config::default().limits(limits));
    checks.equal("frames of an image above the limit", limited.image_frames(), 0);
    let mut program = start(&limited);
    checks.equal("what its instance reads", first_bytes(&mut program), [b'o', b't', b't'].map(u32::from));
    drop((program, limited));
    let metered = engine(machine, Config::default().fuel(Fuel::Metered));
    // SAFETY: the bytes are those of `prepare`.
    let refused = unsafe { Module::from_prepared(&metered, file) };
    let is_named = matches!(refused, Err(ModuleError::Prepared(PreparedError::Unmetered)));
    checks.equal("a metered engine refuses it by name", is_named, true);
    // SAFETY: the bytes are a part of those of `prepare`, which the engine finds out.
    let refused = unsafe { Module::from_prepared(&metered, &file[..file.len() - 1]) };
    let is_named = matches!(refused, Err(ModuleError::Prepared(PreparedError::Truncated { .. })));
    checks.equal("an engine refuses a part of it by name", is_named, true);
    let wasm = guest!("data");
    // SAFETY: the bytes are not a prepared module, which the engine finds out.
    let refused = unsafe { Module::from_prepared(&metered, wasm) };
    let is_named = matches!(refused, Err(ModuleError::Prepared(PreparedError::NotPrepared { .. })));
    checks.equal("an engine refuses the original by name", is_named, true);
    // SAFETY: the bytes come from `Box::into_raw`, and no module refers to them any more.
    drop(unsafe { Box::from_raw(bytes) });
}
