//! The engine: wasmi with a configuration, and the backing of its stores' memories.

mod entry;
mod error;
mod heap;
mod self_check;
mod set_aside;
mod stack;

use alloc::sync::Arc;

pub(crate) use self::entry::Pass;
pub(crate) use self::set_aside::ModuleSize;
pub use self::{entry::EntryError, error::EngineError};
use self::{
    entry::Gate,
    set_aside::SetAside,
    stack::{Build, Needs},
};
use crate::{
    backing::{Backing, ImageBudget, Provider},
    config::{Config, Limits, NativeStack},
};

/// The state that modules and stores share. A clone is the same engine.
///
/// Code is freed with its engine. Give every program its own engine, and drop both together.
///
/// An engine is `Send` and `Sync`, and serves one call of each CPU at a time. A call that finds it
/// in use fails with [`EntryError::InUse`] and does not wait, because in an interrupt handler it
/// would wait forever. The platform of the address space, or
/// [`Fixed::on_cpus`](crate::Fixed::on_cpus), states which CPU makes the call. A call lasts from
/// its start to its return, and includes the host functions that its guest calls. Those can call
/// into the same store. Loading and instantiating a module count as calls.
///
/// A kernel that moves a thread to another CPU during a call must not call guests of the engine in
/// interrupt handlers, because the call counts for the CPU on which it began.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: wasmi::Engine,
    config: Config,
    backing: Backing,
    images: Arc<ImageBudget>,
    gate: Gate,
    /// Whether the calls of several CPUs are distinguished.
    has_many_cpus: bool,
    needs: Needs,
    /// Declared after the interpreter, and so dropped after it, because it covers the code.
    set_aside: SetAside,
}

impl Engine {
    /// Creates an engine over `backing`.
    ///
    /// The first call of a program checks that the build interprets without using up native stack.
    ///
    /// # Errors
    ///
    /// - [`EngineError::Unoptimized`] if wasmi was compiled without optimizations, and
    ///   [`Config::stack`] does not state where the stack ends.
    /// - [`EngineError::Entry`] if the stack is too small.
    /// - [`EngineError::HeapTooSmall`] if the heap has no room for an engine.
    /// - [`EngineError::DispatchNotFlat`] if the profile of the build lost wasmi's tail calls.
    /// - [`EngineError::SelfCheck`] if the module of the check did not run.
    ///
    /// # Examples
    ///
    /// ```
    /// use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
    /// use std::{boxed::Box, mem::MaybeUninit};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
    /// let text = r#"(module (memory 1) (func (export "size") (result i32) memory.size))"#;
    /// let wasm = wat::parse_str(text)?;
    /// let module = Module::new(&engine, &wasm)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Linker::new().instantiate(&mut store, &module)?;
    /// assert_eq!(instance.get_typed_func::<(), i32>(&store, "size")?.call(&mut store, ())?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(config: Config, backing: impl Into<Backing>) -> Result<Self, EngineError> {
        let build = Build::of_program();
        let needs = build.needs();
        if build == Build::Unoptimized && matches!(config.stack, NativeStack::Unknown) {
            return Err(EngineError::Unoptimized { needed_bytes: needs.call });
        }
        config.stack.check(needs.engine)?;
        heap::check(!self_check::has_passed())?;
        self_check::check()?;
        let inner = wasmi::Engine::new(&config.to_wasmi());
        let images = Arc::new(ImageBudget::new(config.limits.image_frames));
        let backing = backing.into();
        let shared = Shared {
            inner,
            config,
            has_many_cpus: backing.provider().has_many_cpus(),
            backing,
            images,
            gate: Gate::default(),
            needs,
            set_aside: SetAside::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns whether a call of this CPU uses the engine. An interrupt handler can look before it
    /// makes a call, because the error of a call is allocated on the heap.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.shared.gate.is_taken(self.cpu())
    }

    /// Returns what a guest of this engine may use up.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.config.limits
    }

    /// Returns whether `self` and `other` are clones of one engine.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Checks that the native stack has room for loading a module.
    ///
    /// # Errors
    ///
    /// [`EntryError::StackTooSmall`].
    pub(crate) fn check_stack_for_load(&self) -> Result<(), EntryError> {
        self.shared.config.stack.check(self.shared.needs.load)
    }

    /// Checks that the native stack has room for a call.
    ///
    /// # Errors
    ///
    /// [`EntryError::StackTooSmall`].
    #[inline]
    pub(crate) fn check_stack_for_call(&self) -> Result<(), EntryError> {
        self.shared.config.stack.check(self.shared.needs.call)
    }

    /// Takes the engine until the result is dropped.
    ///
    /// # Errors
    ///
    /// [`EntryError::InUse`] if a call has it.
    pub(crate) fn enter_scope(&self) -> Result<Scope<'_>, EntryError> {
        self.enter().map(|pass| Scope { engine: self, pass })
    }

    /// Takes the engine for a call, which must [`leave`](Self::leave) it when it returns.
    ///
    /// # Errors
    ///
    /// [`EntryError::InUse`] if another call of this CPU has it.
    #[inline]
    pub(crate) fn enter(&self) -> Result<Pass, EntryError> {
        self.shared.gate.enter(self.cpu())
    }

    /// Frees the engine at the end of the call that has [entered](Self::enter) it.
    #[inline]
    pub(crate) fn leave(&self, pass: &Pass) {
        self.shared.gate.leave(pass);
    }

    /// Returns the number of the calling CPU, or 0 if the backing has only one.
    #[inline]
    fn cpu(&self) -> usize {
        if self.shared.has_many_cpus { self.backing().cpu() } else { 0 }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn wasmi(&self) -> &wasmi::Engine {
        &self.shared.inner
    }

    /// Returns the budget of the images that the engine's modules have together.
    pub(crate) fn images(&self) -> &Arc<ImageBudget> {
        &self.shared.images
    }

    /// Sets aside the heap that a guest with one more module can allocate between two boundaries.
    /// Returns whether there is room for it. Without a budget there is nothing to set aside.
    pub(crate) fn set_aside(&self, module: ModuleSize) -> bool {
        let Config { heap, limits, .. } = &self.shared.config;
        // More are refused when the module is instantiated.
        let table_elements = module.table_elements.min(limits.store_table_elements as u64);
        let module = ModuleSize { table_elements, ..module };
        heap.is_none_or(|ledger| self.shared.set_aside.add(ledger, limits, module))
    }

    pub(crate) fn backing(&self) -> &dyn Provider {
        self.shared.backing.provider()
    }
}

/// The use of an engine, which ends when this is dropped.
#[must_use]
pub(crate) struct Scope<'a> {
    engine: &'a Engine,
    pass: Pass,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.engine.leave(&self.pass);
    }
}
