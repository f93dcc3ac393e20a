//! The directives of one file, in their own store.

use alloc::{borrow::ToOwned, boxed::Box, collections::BTreeMap, string::ToString, sync::Arc, vec, vec::Vec};
use palimpsest_engine::{
    Backing, Config, Engine, Error, Instance, InstantiateError, Linker, Module, ModuleError, Store, Val,
};

use super::{Failure, Modules, RunError, setup, spectest, traps, values};
use crate::stream::{Action, Command, Invoke, Pattern, Suite};

/// What the directives of a file have made so far.
pub(super) struct Session<'a> {
    store: Store<()>,
    /// The configuration for which modules are prepared before they are loaded, if they are.
    prepared_for: Option<Config>,
    linker: Linker<()>,
    definitions: Named<'a, Arc<Module>>,
    instances: Named<'a, Instance>,
}

/// Things that a file names, or refers to as the last one.
struct Named<'a, T> {
    by_name: BTreeMap<&'a str, T>,
    last: Option<T>,
}

impl<'a, T: Clone> Named<'a, T> {
    const fn new() -> Self {
        Self { by_name: BTreeMap::new(), last: None }
    }

    fn add(&mut self, name: Option<&'a str>, item: T) {
        if let Some(name) = name {
            self.by_name.insert(name, item.clone());
        }
        self.last = Some(item);
    }

    fn get(&self, name: Option<&str>) -> Option<T> {
        match name {
            Some(name) => self.by_name.get(name).cloned(),
            None => self.last.clone(),
        }
    }
}

impl<'a> Session<'a> {
    /// A session with nothing but the module `spectest`.
    pub(super) fn new(suite: Suite, backing: Backing, modules: Modules) -> Result<Self, RunError> {
        let config = setup::config(suite).fuel(modules.fuel);
        let prepared_for = modules.is_prepared.then(|| config.clone());
        let engine = Engine::new(config, backing)?;
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new();
        spectest::define(&mut linker, &mut store)?;
        Ok(Self { store, prepared_for, linker, definitions: Named::new(), instances: Named::new() })
    }

    /// Executes a directive.
    ///
    /// # Errors
    ///
    /// [`Failure`]: why the directive failed.
    pub(super) fn execute(&mut self, command: &Command<'a>) -> Result<(), Failure> {
        match command {
            Command::Module { name, wasm } => {
                let module = self.load(wasm)?;
                self.instantiate(*name, &module)
            }
            Command::Define { name, wasm } => {
                self.definitions.add(*name, Arc::new(self.load(wasm)?));
                Ok(())
            }
            Command::Instantiate { name, definition } => {
                let module = self.definition(*definition)?;
                self.instantiate(*name, &module)
            }
            Command::Register { module, instance } => self.register(module, *instance),
            Command::Invoke(invoke) => self.invoke(invoke)?.map(drop).map_err(Failure::Call),
            Command::AssertReturn { action, results } => self.assert_return(action, results),
            Command::AssertTrap { invoke, message } | Command::AssertExhaustion { invoke, message } => {
                let outcome = self.invoke(invoke)?.map(drop);
                fails_as(message, outcome, |error| traps::is_called(error, message))
            }
            Command::AssertModuleTraps { wasm, message } => self.assert_module_traps(wasm, message),
            Command::AssertMalformed { wasm, message } | Command::AssertInvalid { wasm, message } => {
                fails_as(message, self.load(wasm).map(drop), is_refusal)
            }
            Command::AssertUnlinkable { wasm, message } => self.assert_unlinkable(wasm, message),
            Command::TextOnly => Ok(()),
        }
    }

    fn load(&self, wasm: &[u8]) -> Result<Module, ModuleError> {
        let Some(config) = &self.prepared_for else { return Module::new(self.store.engine(), wasm) };
        let file = Module::prepare(config, wasm)?.leak();
        // SAFETY: `prepare` has just returned the bytes.
        unsafe { Module::from_prepared(self.store.engine(), file) }
    }

    fn instantiate(&mut self, name: Option<&'a str>, module: &Module) -> Result<(), Failure> {
        let instance = self.linker.instantiate(&mut self.store, module)?;
        self.instances.add(name, instance);
        Ok(())
    }

    fn register(&mut self, module: &str, instance: Option<&str>) -> Result<(), Failure> {
        let instance = self.instance(instance)?;
        self.linker.instance(&self.store, module, instance)?;
        Ok(())
    }

    fn definition(&self, name: Option<&str>) -> Result<Arc<Module>, Failure> {
        self.definitions.get(name).ok_or_else(|| Failure::NoDefinition { name: name.map(Box::from) })
    }

    fn instance(&self, name: Option<&str>) -> Result<Instance, Failure> {
        self.instances.get(name).ok_or_else(|| Failure::NoInstance { name: name.map(Box::from) })
    }

    /// Calls a function. The inner result is the call's own, the outer one is the reason why there
    /// was none.
    fn invoke(&mut self, invoke: &Invoke<'_>) -> Result<Result<Vec<Val>, Error>, Failure> {
        let no_export = || Failure::NoExport { name: invoke.func.into() };
        let instance = self.instance(invoke.instance)?;
        let func = instance.get_func(&self.store, invoke.func).ok_or_else(no_export)?;
        let args: Vec<Val> =
            invoke.args.iter().map(|value| values::argument(&mut self.store, *value)).collect();
        let mut results = vec![Val::I32(0); func.ty(&self.store).results().len()];
        Ok(func.call(&mut self.store, &args, &mut results).map(|()| results))
    }

    fn assert_return(&mut self, action: &Action<'_>, expected: &[Pattern]) -> Result<(), Failure> {
        let found = match action {
            Action::Invoke(invoke) => self.invoke(invoke)??,
            Action::Get { instance, global } => {
                let no_export = || Failure::NoExport { name: (*global).into() };
                let instance = self.instance(*instance)?;
                let global = instance.get_global(&self.store, global).ok_or_else(no_export)?;
                [global.get(&self.store)].into()
            }
        };
        if values::all_match(&self.store, expected, &found) {
            return Ok(());
        }
        Err(Failure::OtherResults { expected: expected.to_owned(), found })
    }

    fn assert_unlinkable(&mut self, wasm: &[u8], message: &str) -> Result<(), Failure> {
        let module = self.load(wasm)?;
        let outcome = self.linker.instantiate(&mut self.store, &module).map(|_| ());
        fails_as(message, outcome, |error| traps::is_unlinkable(error, message))
    }

    fn assert_module_traps(&mut self, wasm: &[u8], message: &str) -> Result<(), Failure> {
        let module = self.load(wasm)?;
        let outcome = match self.linker.instantiate(&mut self.store, &module) {
            Err(InstantiateError::Segment(error) | InstantiateError::Start(error)) => Err(error),
            Err(error) => return Err(error.into()),
            Ok(_) => Ok(()),
        };
        fails_as(message, outcome, |error| traps::is_called(error, message))
    }
}

/// Whether `error` means that the module is wrong, and not that a limit of the engine is exceeded.
fn is_refusal(error: &ModuleError) -> bool {
    matches!(
        error,
        ModuleError::Empty
            | ModuleError::NotWasm { .. }
            | ModuleError::Truncated { .. }
            | ModuleError::Invalid { .. }
    )
}

/// Inverts an outcome that must be a failure. `is_expected` decides whether it is the expected one.
fn fails_as<E: ToString>(
    expected: &str,
    outcome: Result<(), E>,
    is_expected: impl FnOnce(&E) -> bool,
) -> Result<(), Failure> {
    match outcome {
        Ok(()) => Err(Failure::Succeeded { expected: expected.into() }),
        Err(error) if is_expected(&error) => Ok(()),
        Err(error) => Err(Failure::OtherFailure { expected: expected.into(), found: error.to_string() }),
    }
}
