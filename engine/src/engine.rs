//! The engine: wasmi with a configuration, and the backing of its stores' memories.

mod error;
mod self_check;

use alloc::sync::Arc;

pub use self::error::EngineError;
use crate::{
    backing::{Backing, ImageBudget, Provider},
    config::{Config, Limits},
};

/// The state that modules and stores share. A clone is the same engine.
///
/// Code is freed with its engine. Give every program its own engine, and drop both together.
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
}

impl Engine {
    /// Creates an engine over `backing`.
    ///
    /// The first call of a program checks that the build interprets without using up native stack.
    ///
    /// # Errors
    ///
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
    /// let engine = Engine::new(Config::default(), Fixed::new(bytes, 1 << 16))?;
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
        self_check::check()?;
        let inner = wasmi::Engine::new(&config.to_wasmi());
        let images = Arc::new(ImageBudget::new(config.limits.image_frames));
        Ok(Self { shared: Arc::new(Shared { inner, config, backing: backing.into(), images }) })
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

    pub(crate) fn backing(&self) -> &dyn Provider {
        self.shared.backing.provider()
    }
}
