//! Data segments: the instances of a module share their frames until they write to them.

use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_engine::{Config, Images, Limits, Linker, Module, Store};

use crate::{
    harness::{Checks, VmTest},
    wasm::{Program, engine, guest, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("instances-share-the-frames-of-their-data", 11, shared),
    VmTest::new("without-images-each-instance-writes-its-data", 3, written),
    VmTest::new("a-module-without-frames-for-its-image-works-without-one", 3, no_frames),
    VmTest::new("the-images-of-an-engine-share-a-limit-of-frames", 9, limited),
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
