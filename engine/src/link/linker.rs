//! The linker: names to definitions, and instantiation by name.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};
use core::{cell::OnceCell, fmt};
use wasmi::{AsContext, AsContextMut, Func, FuncType, StoreContextMut, Val};

use super::{
    IntoFunc,
    error::{DuplicateDefinition, InstantiateError},
    instantiate,
};
use crate::{
    module::Module,
    store::{Caller, Extern, ImporterMemory, Instance, StoreState},
};

/// Defines what modules import. Independent of engines and stores as long as only host functions are defined.
pub struct Linker<T: 'static> {
    /// By module name, then by the import's own name.
    definitions: BTreeMap<Box<str>, BTreeMap<Box<str>, Definition<T>>>,
}

/// Makes a host function in a store, for a module with this memory.
type MakeFunc<T> = dyn Fn(StoreContextMut<'_, StoreState<T>>, &Arc<ImporterMemory>) -> Func + Send + Sync;

/// What a name stands for.
enum Definition<T: 'static> {
    /// Something that a store owns already.
    Extern(Extern),
    /// A host function, made anew for each instance that imports it.
    Host(Arc<MakeFunc<T>>),
}

impl<T: 'static> Clone for Definition<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Extern(item) => Self::Extern(*item),
            Self::Host(make) => Self::Host(Arc::clone(make)),
        }
    }
}

impl<T: 'static> Linker<T> {
    /// A linker without definitions.
    #[must_use]
    pub fn new() -> Self {
        Self { definitions: BTreeMap::new() }
    }

    /// Defines something that a store owns. The linker then serves instances of that store alone.
    ///
    /// # Errors
    ///
    /// [`DuplicateDefinition`] if the name is taken.
    pub fn define(
        &mut self,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Self, DuplicateDefinition> {
        self.insert(module, name, Definition::Extern(item.into()))
    }

    /// Defines a host function from a closure, with its type inferred. The closure may take a
    /// [`Caller`](crate::Caller) first, and may fail, which ends the guest.
    ///
    /// # Errors
    ///
    /// [`DuplicateDefinition`] if the name is taken.
    ///
    /// # Examples
    ///
    /// Numbers that come from a guest are checked before they are used, and nothing is allocated in a size that
    /// a guest chooses:
    ///
    /// ```
    /// # use palimpsest_engine::{Caller, Extern, Linker, TrapCode};
    /// # fn put(_byte: u8) {}
    /// let mut linker = Linker::<()>::new();
    /// linker.func_wrap("kernel", "print", |caller: Caller<'_, ()>, start: u32, len: u32| {
    ///     let memory = caller.get_export("memory").and_then(Extern::into_memory);
    ///     let memory = memory.ok_or(TrapCode::MemoryOutOfBounds)?;
    ///     let text = memory.data(&caller).get(start as usize..).and_then(|rest| rest.get(..len as usize));
    ///     text.ok_or(TrapCode::MemoryOutOfBounds)?.iter().for_each(|byte| put(*byte));
    ///     Ok::<(), palimpsest_engine::Error>(())
    /// })?;
    /// # Ok::<(), palimpsest_engine::DuplicateDefinition>(())
    /// ```
    pub fn func_wrap<Params, Results>(
        &mut self,
        module: &str,
        name: &str,
        func: impl IntoFunc<T, Params, Results> + Clone,
    ) -> Result<&mut Self, DuplicateDefinition> {
        self.insert(
            module,
            name,
            Definition::Host(Arc::new(move |ctx, memory| func.clone().into_func(ctx, memory))),
        )
    }

    /// Defines a host function of type `ty` over untyped values.
    ///
    /// # Errors
    ///
    /// [`DuplicateDefinition`] if the name is taken.
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<(), wasmi::Error>
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> Result<&mut Self, DuplicateDefinition> {
        let make = move |ctx: StoreContextMut<'_, _>, memory: &Arc<ImporterMemory>| {
            let func = func.clone();
            let memory = Arc::clone(memory);
            Func::new(ctx, ty.clone(), move |caller, params, results| {
                func(Caller::new(caller, &memory), params, results)
            })
        };
        self.insert(module, name, Definition::Host(Arc::new(make)))
    }

    /// Defines all exports of `instance` under `module`.
    ///
    /// # Errors
    ///
    /// [`DuplicateDefinition`] if one of the names is taken; the others may be defined by then.
    pub fn instance(
        &mut self,
        ctx: impl AsContext<Data = StoreState<T>>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Self, DuplicateDefinition> {
        for (name, item) in instance.exports(&ctx) {
            self.define(module, name, item)?;
        }
        Ok(self)
    }

    /// Instantiates `module` and runs its start function.
    ///
    /// The imports `palimpsest.clear_pages`, `palimpsest.discard` and `env.__wbindgen_memory_discard` are provided if
    /// the module imports them and the linker does not define their names.
    ///
    /// # Errors
    ///
    /// - [`InstantiateError::UnknownImport`], [`InstantiateError::ImportType`],
    ///   [`InstantiateError::NoMemory`], [`InstantiateError::OtherEngine`],
    ///   [`InstantiateError::TableTooLarge`], [`InstantiateError::Memory`]: found before anything was made, and nothing is left behind.
    /// - [`InstantiateError::Link`], [`InstantiateError::Segment`], [`InstantiateError::Start`]: what was made goes with the store; memories
    ///   and tables that the module imports keep what its segments wrote (Wasm core specification,
    ///   "Instantiation").
    pub fn instantiate(
        &self,
        mut ctx: impl AsContextMut<Data = StoreState<T>>,
        module: &Module,
    ) -> Result<Instance, InstantiateError> {
        instantiate::instantiate(self, ctx.as_context_mut(), module)
    }

    /// Returns what is defined under the name, as an item of the store. `memory` is made with the first host
    /// function.
    pub(crate) fn resolve(
        &self,
        ctx: StoreContextMut<'_, StoreState<T>>,
        module: &str,
        name: &str,
        memory: &OnceCell<Arc<ImporterMemory>>,
    ) -> Option<Extern> {
        match self.definitions.get(module)?.get(name)? {
            Definition::Extern(item) => Some(*item),
            Definition::Host(make) => Some(make(ctx, memory.get_or_init(Arc::default)).into()),
        }
    }

    fn insert(
        &mut self,
        module: &str,
        name: &str,
        definition: Definition<T>,
    ) -> Result<&mut Self, DuplicateDefinition> {
        let names = self.definitions.entry(module.into()).or_default();
        if names.contains_key(name) {
            return Err(DuplicateDefinition { module: module.into(), name: name.into() });
        }
        names.insert(name.into(), definition);
        Ok(self)
    }
}

impl<T: 'static> Default for Linker<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Self { definitions: self.definitions.clone() }
    }
}

impl<T: 'static> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            self.definitions.iter().flat_map(|(module, names)| names.keys().map(move |name| (module, name)));
        f.debug_set().entries(names).finish()
    }
}
