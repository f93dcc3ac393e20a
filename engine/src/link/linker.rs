//! The linker: a map from the names of imports to definitions.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};
use core::{cell::OnceCell, fmt};
use wasmi::{FuncType, Val};

use super::{
    error::{DuplicateDefinition, InstantiateError},
    instantiate,
};
use crate::{
    module::Module,
    store::{
        AsContext, AsContextMut, Caller, Extern, Func, ImporterMemory, Instance, IntoFunc, StoreContextMut,
    },
};

/// Definitions of what modules import. It belongs to no engine and no store, as long as it defines
/// only host functions.
pub struct Linker<T: 'static> {
    /// By the import's module name, then by its own name.
    definitions: BTreeMap<Box<str>, BTreeMap<Box<str>, Definition<T>>>,
}

/// Allocates a host function in a store, for a module with this memory.
type MakeFunc<T> = dyn Fn(StoreContextMut<'_, T>, &Arc<ImporterMemory>) -> Func + Send + Sync;

/// The definition of a name.
enum Definition<T: 'static> {
    /// An item of a store.
    Extern(Extern),
    /// A host function, allocated for each instance that imports it.
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
    /// Creates a linker without definitions.
    #[must_use]
    pub fn new() -> Self {
        Self { definitions: BTreeMap::new() }
    }

    /// Defines an item of a store. Afterwards the linker can instantiate modules in that store
    /// only.
    ///
    /// # Errors
    ///
    /// [`DuplicateDefinition`] if the name is already defined.
    pub fn define(
        &mut self,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Self, DuplicateDefinition> {
        self.insert(module, name, Definition::Extern(item.into()))
    }

    /// Defines a host function from a closure, whose parameters and results are the function's
    /// type.
    ///
    /// The closure may take a [`Caller`] first. If it returns an error, the guest ends with that
    /// error.
    ///
    /// # Errors
    ///
    /// [`DuplicateDefinition`] if the name is already defined.
    ///
    /// # Examples
    ///
    /// A host function must check numbers that come from a guest before it uses them, and must not
    /// allocate as many bytes as a guest requests:
    ///
    /// ```
    /// # use palimpsest_engine::{Caller, Linker, TrapCode};
    /// # fn put(_byte: u8) {}
    /// let mut linker = Linker::<()>::new();
    /// linker.func_wrap("kernel", "print", |caller: Caller<'_, ()>, start: u32, len: u32| {
    ///     let memory = caller.memory().ok_or(TrapCode::MemoryOutOfBounds)?;
    ///     let rest = memory.data(&caller).get(start as usize..);
    ///     let text = rest.and_then(|rest| rest.get(..len as usize));
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

    /// Defines a host function of type `ty` from a closure over untyped values.
    ///
    /// # Errors
    ///
    /// [`DuplicateDefinition`] if the name is already defined.
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
        let make = move |ctx: StoreContextMut<'_, T>, memory: &Arc<ImporterMemory>| {
            Func::new(ctx, ty.clone(), Arc::clone(memory), func.clone())
        };
        self.insert(module, name, Definition::Host(Arc::new(make)))
    }

    /// Defines all exports of `instance` under `module`.
    ///
    /// # Errors
    ///
    /// [`DuplicateDefinition`] if one of the names is already defined. Others may have been defined
    /// by then.
    pub fn instance(
        &mut self,
        ctx: impl AsContext<Data = T>,
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
    /// The engine itself provides the imports `palimpsest.clear_pages`, `palimpsest.discard`,
    /// `env.__wbindgen_memory_discard` and `palimpsest.snapshot_ready`, unless the linker defines
    /// their names.
    ///
    /// # Errors
    ///
    /// Found before memories are created. Only host functions that were allocated for imports stay
    /// in the store:
    ///
    /// - [`InstantiateError::UnknownImports`] if imports are not defined.
    /// - [`InstantiateError::ImportType`] if a definition has another type than the import.
    /// - [`InstantiateError::NoMemory`] if the module imports a function of the engine that acts on
    ///   its memory, and has none.
    /// - [`InstantiateError::OtherEngine`] if the module belongs to another engine than the store.
    /// - [`InstantiateError::Entry`] if another call uses the engine, or if the native stack is too
    ///   small.
    /// - [`InstantiateError::TooManyInstances`], [`InstantiateError::TooManyTables`],
    ///   [`InstantiateError::TableTooLarge`], [`InstantiateError::TablesTooLarge`],
    ///   [`InstantiateError::TooManyEntries`] or [`InstantiateError::Memory`] if a limit is
    ///   exceeded or the backing has no room.
    ///
    /// Found later. What was created stays in the store, and memories and tables that the module
    /// imports keep what its segments wrote (Wasm core specification, "Instantiation"):
    ///
    /// - [`InstantiateError::Link`] if wasmi refuses the instance.
    /// - [`InstantiateError::Segment`] if a segment does not fit.
    /// - [`InstantiateError::Start`] if the start function trapped.
    pub fn instantiate(
        &self,
        mut ctx: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<Instance, InstantiateError> {
        instantiate::instantiate(self, ctx.as_context_mut(), module)
    }

    /// Returns whether something is defined under the name.
    pub(crate) fn defines(&self, module: &str, name: &str) -> bool {
        self.definitions.get(module).is_some_and(|names| names.contains_key(name))
    }

    /// Returns what is defined under the name, as an item of the store. `memory` is that of the
    /// module that imports it.
    pub(crate) fn resolve(
        &self,
        ctx: StoreContextMut<'_, T>,
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

#[cfg(test)]
mod tests {
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
        let engine = Engine::new(Config::default(), Fixed::new(bytes)).expect("a test build is flat");
        let text = r#"(module (memory (export "m") 1) (table (export "t") 1 funcref)
            (global (export "g") (mut i32) (i32.const 1)) (func (export "f") (result i32) (i32.const 7)))"#;
        let module = Module::new(&engine, &wat::parse_str(text).expect("the text is a module"))
            .expect("the module is valid");
        let earlier = Store::new(&engine, ());
        let mut later = Store::new(&engine, ());
        let instance = Linker::new().instantiate(&mut later, &module).expect("nothing is imported");
        let stale = |item: Extern| {
            let earlier = earlier.as_context().into_wasmi();
            let later = later.as_context().into_wasmi();
            Extern::from_wasmi(item.to_wasmi(later.data()), earlier.data())
        };
        let find = |name| instance.get_export(&later, name).expect("it is exported");
        let [func, memory, table, global] = ["f", "m", "t", "g"].map(|name| stale(find(name)));
        let func: Func = func.into_func().expect("it is a function");
        let memory: Memory = memory.into_memory().expect("it is a memory");
        let table: Table = table.into_table().expect("it is a table");
        let global: Global = global.into_global().expect("it is a global");
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
            linker.define("e", "i", item).expect("the name is new");
            let import = match item {
                Extern::Func(_) => "(func (result i32))",
                Extern::Memory(_) => "(memory 1)",
                Extern::Table(_) => "(table 1 funcref)",
                Extern::Global(_) => "(global (mut i32))",
            };
            let text = std::format!(r#"(module (import "e" "i" {import}))"#);
            let importer = Module::new(&engine, &wat::parse_str(text).expect("the text is a module"))
                .expect("the module is valid");
            refused(import, panic_of(|| linker.instantiate(&mut later, &importer)));
        }
        let fresh = Global::new(&mut later, Val::I32(3), Mutability::Const);
        assert!(matches!(fresh.get(&later), Val::I32(3)));
        assert_eq!(own.data(&later).downcast_ref(), Some(&5_u8));
    }
}
