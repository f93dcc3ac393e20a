//! Guests on small native stacks: a call that may not fit is refused, and none overflows.
//!
//! The stacks are painted, and have a painted margin below, so that a test sees what was used.

use alloc::{boxed::Box, vec};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicUsize, Ordering};

use kernel_demo::{Machine, errands, println};
use palimpsest_engine::{
    Caller, Engine, EngineError, EntryError, Error, Extern, Linker, NativeStack, Paged, Store,
};

use crate::harness::{Checks, VmTest};
use crate::wasm::{self, Program};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("a-stack-of-8-kib-is-refused-by-name", 4, small_stack_is_refused),
    VmTest::new("a-stack-of-16-kib-is-enough-for-calls", 5, small_stack_is_enough),
    VmTest::new("nested-calls-end-before-the-stack", 2, nested_calls_end),
];

const KIB: usize = 1024;

/// Bytes of paint below each stack.
const MARGIN_BYTES: usize = 32 * KIB;

const PAINT: u64 = u64::from_le_bytes(*b"unused! ");

/// The lowest byte of the stack in use, or 0 for that of the kernel, which has a guard page.
static LOWEST: AtomicUsize = AtomicUsize::new(0);

/// A stack that is not the kernel's.
struct SmallStack {
    words: Box<[u64]>,
}

impl SmallStack {
    fn new(bytes: usize) -> Self {
        Self { words: vec![PAINT; (MARGIN_BYTES + bytes) / size_of::<u64>()].into() }
    }

    /// Runs `work` on the stack.
    fn run<R, F: FnOnce() -> R>(&mut self, work: F) -> R {
        let mut job: Job<F, R> = (Some(work), None);
        let end = self.words.as_mut_ptr_range().end;
        let top = end.map_addr(|address| address & !15).cast();
        LOWEST.store(self.words.as_ptr().addr() + MARGIN_BYTES, Ordering::Relaxed);
        errands::here(|| {
            // SAFETY: 1. The words are a stack that nothing else uses, and `top` is its aligned
            // end. 2. `run_job` gets the job that it is made for.
            unsafe { call_on(top, run_job::<R, F>, (&raw mut job).cast()) };
        });
        LOWEST.store(0, Ordering::Relaxed);
        job.1.expect("`run_job` stores the result")
    }

    /// Returns the bytes that were written to, counted from the end. They are more than the stack
    /// has if it has overflowed.
    fn used_bytes(&self) -> u64 {
        let untouched = self.words.iter().take_while(|word| **word == PAINT).count();
        ((self.words.len() - untouched) * size_of::<u64>()) as u64
    }
}

/// What runs on a stack, and its result.
type Job<F, R> = (Option<F>, Option<R>);

extern "sysv64" fn run_job<R, F: FnOnce() -> R>(job: *mut ()) {
    // SAFETY: `SmallStack::run` passes a job of this type, which it does not use meanwhile.
    let (work, result) = unsafe { &mut *job.cast::<Job<F, R>>() };
    *result = work.take().map(|work| work());
}

/// Calls `function` with `argument` on the stack that ends at `top`.
///
/// # Safety
///
/// The caller guarantees that `top` is the end of a stack that has no other use, a multiple of 16,
/// and that `argument` is one for `function`.
#[unsafe(naked)]
unsafe extern "sysv64" fn call_on(top: *mut u8, function: extern "sysv64" fn(*mut ()), argument: *mut ()) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
    )
}

/// An engine that checks the stack in use.
fn engine(machine: &Machine) -> Result<Engine, EngineError> {
    let stack = NativeStack::Probe(|| LOWEST.load(Ordering::Relaxed));
    Engine::new(wasm::config(machine).stack(stack), Paged::new(machine.space()))
}

/// Returns the bytes of stack that were left, and those that a call needs.
fn too_small(error: &Error) -> Option<(usize, usize)> {
    let error = error.downcast_ref::<EntryError>()?;
    let EntryError::StackTooSmall { remaining_bytes, needed_bytes } = error else { return None };
    Some((*remaining_bytes, *needed_bytes))
}

fn small_stack_is_refused(checks: &mut Checks, machine: &Machine) {
    let bytes = 8 * KIB;
    let mut stack = SmallStack::new(bytes);
    let refused = stack.run(|| engine(machine)).map(drop);
    println!("{refused:?}");
    let has_figures = matches!(
        refused,
        Err(EngineError::Entry(EntryError::StackTooSmall { remaining_bytes, needed_bytes }))
            if remaining_bytes < bytes && needed_bytes > bytes
    );
    checks.equal("the error has both figures", has_figures, true);
    let mut guest = guest(machine);
    let refused = stack.run(|| guest.call::<u32, u32>("count", 10));
    let has_figures = refused.as_ref().err().and_then(too_small);
    let is_consistent =
        has_figures.is_some_and(|(remaining, needed)| remaining < bytes && needed > remaining);
    checks.equal("so has that of a call", is_consistent, true);
    checks.at_most("bytes used", stack.used_bytes(), bytes as u64);
    checks.equal("the call works on the kernel's stack", guest.must::<u32, u32>("count", 10), 10);
}

fn guest(machine: &Machine) -> Program {
    let engine = engine(machine).expect("the kernel's stack is large");
    let module = wasm::module(&engine, wasm::guest!("count"));
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).expect("the guest links");
    Program::new(store, instance)
}

fn small_stack_is_enough(checks: &mut Checks, machine: &Machine) {
    let (bytes, engine_bytes) = (16 * KIB, 32 * KIB);
    let measure = |bytes: usize, what: &str, work: &mut dyn FnMut()| {
        let mut stack = SmallStack::new(bytes);
        stack.run(work);
        println!("{what}: {} bytes of stack", stack.used_bytes());
        stack.used_bytes()
    };
    let mut made = None;
    let used = measure(engine_bytes, "Engine::new", &mut || made = engine(machine).ok());
    checks.at_most("bytes used by Engine::new", used, engine_bytes as u64);
    let engine = made.expect("32 KiB are enough");
    let module = wasm::module(&engine, wasm::guest!("count"));
    let mut store = Store::new(&engine, ());
    let mut made = None;
    let used =
        measure(bytes, "instantiate", &mut || made = Linker::new().instantiate(&mut store, &module).ok());
    checks.at_most("bytes used by an instantiation", used, bytes as u64);
    let mut guest = Program::new(store, made.expect("16 KiB are enough"));
    let mut result = None;
    let used = measure(bytes, "a first call", &mut || result = guest.call::<u32, u32>("count", 10).ok());
    checks.at_most("bytes used by a first call", used, bytes as u64);
    checks.equal("its result", result, Some(10));
    let used = measure(bytes, "a second call", &mut || result = guest.call::<u32, u32>("count", 10).ok());
    checks.at_most("bytes used by a second call", used, bytes as u64);
}

fn nested_calls_end(checks: &mut Checks, machine: &Machine) {
    const DEPTH: u32 = 1000;
    let bytes = 32 * KIB;
    let mut limits = wasm::limits();
    limits.reentry_depth = DEPTH;
    let stack = NativeStack::Probe(|| LOWEST.load(Ordering::Relaxed));
    let engine = wasm::engine(machine, wasm::config(machine).limits(limits).stack(stack));
    let module = wasm::module(&engine, wasm::guest!("reentrant"));
    let mut linker = Linker::new();
    let again = |mut caller: Caller<'_, ()>| -> Result<(), Error> {
        let run = caller.get_export("run").and_then(Extern::into_func).expect("the guest exports it");
        run.call(&mut caller, &[], &mut [])
    };
    linker.func_wrap("host", "again", again).expect("the name is new");
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).expect("the guest links");
    let mut guest = Program::new(store, instance);
    let mut stack = SmallStack::new(bytes);
    let error = stack.run(|| guest.call::<(), ()>("run", ())).expect_err("the guest calls itself for ever");
    println!("{error}");
    checks.equal("the error is that of the stack", too_small(&error).is_some(), true);
    checks.at_most("bytes used", stack.used_bytes(), bytes as u64);
}
