//! A guest's module: validated, spliced, and translated by wasmi.
//!
//! wasmi 2.0 keeps a memory that a module *defines* in a `Vec`, grows memories and tables inside
//! the interpreter, and copies any number of bytes in one step. Therefore the module that wasmi
//! gets differs from the guest's in six ways, and in no other:
//!
//! - Defined memories are imports.
//! - `memory.grow`, `memory.discard` and `table.grow` are calls into the host, through a table that
//!   the splice adds: the host table.
//! - Instructions without an effect are inserted where wasmi translates the guest's own code
//!   wrongly: [`repair`].
//! - Active segments are applied by a function after the instance is complete, or they are in the
//!   [`image`] that a memory starts with.
//! - If the engine is metered, [`bulk`] instructions are divided into pieces, and `nop`s are
//!   inserted where much is moved: [`surcharge`].
//!
//! [`scan`] validates and finds what has to change. [`segments`] and [`splice`] write the new
//! module. Without the feature `splice` this code is left out. Such a program loads modules that
//! were [`prepared`] elsewhere.

#[cfg(feature = "splice")]
mod body;
#[cfg(feature = "splice")]
mod bounds;
#[cfg(feature = "splice")]
mod bulk;
mod counts;
#[cfg(feature = "splice")]
mod emitted;
mod error;
mod host_op;
mod image;
#[cfg(feature = "splice")]
mod instruction;
mod loading;
mod memory_type;
#[cfg(feature = "splice")]
mod prepare;
mod prepared;
mod recorded;
#[cfg(feature = "splice")]
mod recording;
#[cfg(feature = "splice")]
mod repair;
#[cfg(feature = "splice")]
mod resources;
#[cfg(feature = "splice")]
mod scan;
#[cfg(feature = "splice")]
mod segments;
#[cfg(feature = "splice")]
mod splice;
#[cfg(feature = "splice")]
mod surcharge;
#[cfg(feature = "splice")]
mod validate;
#[cfg(feature = "splice")]
mod work;

use alloc::{format, string::String, sync::Arc, vec::Vec};

pub(crate) use self::host_op::{HostOp, Slots};
use self::prepared::Parts;
#[cfg(feature = "snapshots")]
pub(crate) use self::prepared::hash;
pub(crate) use self::recorded::Recorded;
#[cfg(feature = "snapshots")]
pub(crate) use self::recorded::{FUNCTIONS_AT_ONCE, RESTORER, SharedImport, functions_name, global_name};
pub use self::{
    error::{ModuleError, PreparedError},
    memory_type::{IndexType, MemoryType},
};
#[cfg(feature = "splice")]
use self::{image::Imaged, loading::Loading, scan::Scan, splice::Spliced};
#[cfg(feature = "splice")]
use crate::config::Images;
use crate::{
    backing::{DataImage, ImagePart},
    budget::{self, Verdict},
    config::Config,
    engine::Engine,
};

/// The prefix of all names that the engine adds to a module.
const RESERVED_PREFIX: &str = "\0palimpsest";
/// The module name of the imports that were memories of the module.
#[cfg(feature = "splice")]
const MEMORY_MODULE: &str = "\0palimpsest.memory";
/// The export name of the host table.
pub(crate) const HOST_TABLE: &str = "\0palimpsest.host-table";
/// The export name of the function that applies the active segments.
pub(crate) const INITIALIZER: &str = "\0palimpsest.initializer";
/// The export name of the start function.
pub(crate) const START: &str = "\0palimpsest.start";

#[cfg(feature = "splice")]
fn memory_name(index: usize) -> String {
    format!("{index}")
}

/// Returns the export name of a table that the guest grows, or that snapshots record.
pub(crate) fn table_name(index: u32) -> String {
    format!("{RESERVED_PREFIX}.table.{index}")
}

/// Returns whether `name` is the engine's own, which guests and embedders do not see.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

/// The images that memories start with, with the indices of the memories.
type MemoryImages = Vec<(usize, Arc<dyn DataImage>)>;

/// A valid module, ready to be instantiated in the stores of its engine. A clone is the same
/// module.
///
/// Function bodies are translated when they are first called.
#[derive(Clone, Debug)]
pub struct Module {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    inner: wasmi::Module,
    /// The number of entries in all sections.
    entries: u32,
    /// All memories, the imported ones first.
    memories: Vec<MemoryType>,
    imported_memories: usize,
    /// The images of the memories that have one.
    images: MemoryImages,
    /// The bytes that the other memories start with, if the module was prepared.
    parts: Parts,
    slots: Slots,
    /// The index and the initial number of elements of each table that the module defines.
    table_sizes: Vec<(usize, u64)>,
    /// What a snapshot records of an instance, unless the engine has no snapshots.
    recorded: Option<Recorded>,
}

#[cfg(feature = "splice")]
impl Module {
    /// Loads the Wasm binary `wasm`.
    ///
    /// In an engine with a [`HeapBudget`](crate::HeapBudget) this also sets heap aside, until the
    /// engine is dropped: as much as the module's guest can allocate between two boundaries. Most
    /// of it is for translated code, by what each instruction becomes at most: 7 to 9 bytes for
    /// each byte of code in real modules. What the modules of several engines set aside overlaps,
    /// and does not add up.
    ///
    /// # Errors
    ///
    /// - [`ModuleError::Empty`], [`ModuleError::NotWasm`] or [`ModuleError::Truncated`] if the
    ///   bytes are not a whole Wasm binary.
    /// - [`ModuleError::Invalid`] if the module is malformed, or invalid with the engine's
    ///   features.
    /// - [`ModuleError::Limit`] if it exceeds one of the engine's limits.
    /// - [`ModuleError::ReservedName`] if it uses a name that is reserved for the engine.
    /// - [`ModuleError::OutOfHeap`] if the kernel heap has no room for it, or for what must be set
    ///   aside.
    /// - [`ModuleError::Entry`] if a call uses the engine, or if the native stack is too small.
    /// - [`ModuleError::Translate`] if it exceeds a limit of wasmi.
    pub fn new(engine: &Engine, wasm: &[u8]) -> Result<Self, ModuleError> {
        Self::in_engine(engine, || Self::load(engine, wasm))
    }

    fn load(engine: &Engine, wasm: &[u8]) -> Result<Self, ModuleError> {
        let mut loading = Loading::new(engine.config().heap);
        let mut scan = scan::scan(wasm, engine.config(), &mut loading)?;
        let (imaged, images) = images(engine, &scan);
        let Spliced {
            wasm: spliced,
            slots,
            added_bytes,
            function_bytes,
            recorded,
            added_entries,
            added_work,
            ..
        } = splice::splice(&scan, &imaged, engine.limits())?;
        scan.entries = scan.entries.saturating_add(added_entries);
        scan.function_work = scan.function_work.max(added_work);
        // wasmi takes the most heap, and the splice was the last to need these.
        scan.bodies = Vec::new();
        scan.sections = Vec::new();
        let size = scan.size(added_bytes, function_bytes);
        // wasmi copies the code, the data and the names.
        loading.cover(scan.loading_bytes.saturating_add(spliced.len()))?;
        let inner = parse(engine.wasmi(), &scan, &spliced, &slots).map_err(ModuleError::Translate)?;
        drop((spliced, loading));
        if !engine.set_aside(size) {
            return Err(ModuleError::OutOfHeap);
        }
        Ok(Self::from_shared(Shared {
            engine: engine.clone(),
            table_sizes: scan.table_sizes().collect(),
            inner,
            entries: scan.entries,
            imported_memories: scan.imported_memories,
            memories: scan.memories,
            images,
            parts: Parts::default(),
            slots,
            recorded,
        }))
    }
}

impl Module {
    fn from_shared(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Runs `load` in the engine's scope, and holds it to what a load may take of the heap.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Entry`], those of [`within_heap`](Self::within_heap), and what `load` fails
    /// with.
    fn in_engine(
        engine: &Engine,
        load: impl FnOnce() -> Result<Self, ModuleError>,
    ) -> Result<Self, ModuleError> {
        engine.check_stack_for_load()?;
        let _scope = engine.enter_scope()?;
        Self::within_heap(engine.config(), load)
    }

    /// Holds `work` to what a load may take of the heap.
    ///
    /// # Errors
    ///
    /// [`ModuleError::OutOfHeap`], [`ModuleError::Limit`], and what `work` fails with.
    fn within_heap<T>(
        config: &Config,
        work: impl FnOnce() -> Result<T, ModuleError>,
    ) -> Result<T, ModuleError> {
        let Some(ledger) = config.heap else { return work() };
        let limit = config.limits.heap_bytes;
        let (done, taken_bytes, verdict) =
            budget::measure(ledger, limit, work).ok_or(ModuleError::OutOfHeap)?;
        match verdict {
            Verdict::Sound => done,
            Verdict::Exhausted => Err(ModuleError::OutOfHeap),
            Verdict::AboveLimit => Err(ModuleError::Limit {
                limit: "heap_bytes",
                value: limit as u64,
                found: taken_bytes.max(limit + 1) as u64,
                what: "or more bytes of heap to take",
            }),
        }
    }
}

impl Module {
    /// Returns the engine that the module belongs to.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// Returns the number of frames in the images that the module's instances share.
    ///
    /// Each frame is counted once, even if many instances map it. The frames are not charged to a
    /// store, but count against [`Limits::image_frames`](crate::Limits::image_frames). They are
    /// freed with the module and the last of its instances.
    #[must_use]
    pub fn image_frames(&self) -> u64 {
        self.shared.images.iter().map(|(_, image)| image.frames()).sum()
    }

    /// Returns the imports: functions, then tables, memories and globals, each kind in the module's
    /// order.
    pub fn imports(&self) -> impl Iterator<Item = wasmi::ImportType<'_>> {
        self.shared.inner.imports().filter(|import| !is_reserved(import.module()))
    }

    /// Returns the exports.
    pub fn exports(&self) -> impl Iterator<Item = wasmi::ExportType<'_>> {
        self.shared.inner.exports().filter(|export| !is_reserved(export.name()))
    }

    pub(crate) fn wasmi(&self) -> &wasmi::Module {
        &self.shared.inner
    }

    /// Returns the number of entries in all sections of the guest's module.
    pub(crate) fn entries(&self) -> usize {
        self.shared.entries as usize
    }

    /// Returns the number of memories, imported ones included.
    pub(crate) fn memory_count(&self) -> usize {
        self.shared.memories.len()
    }

    /// Returns the type of a memory, imported ones included.
    pub(crate) fn memory_type(&self, index: usize) -> Option<MemoryType> {
        self.shared.memories.get(index).copied()
    }

    /// Returns the index and the type of each memory that the module defines.
    pub(crate) fn defined_memories(&self) -> impl ExactSizeIterator<Item = (usize, MemoryType)> {
        self.shared.memories.iter().copied().enumerate().skip(self.shared.imported_memories)
    }

    /// Returns the index and the initial number of elements of each table that the module defines.
    pub(crate) fn defined_tables(&self) -> impl Iterator<Item = (usize, u64)> {
        self.shared.table_sizes.iter().copied()
    }

    /// Returns the memory index and the image of each memory that starts with one.
    pub(crate) fn images(&self) -> impl Iterator<Item = (usize, &Arc<dyn DataImage>)> {
        self.shared.images.iter().map(|(index, image)| (*index, image))
    }

    /// Returns the memory index and the bytes of each segment of a prepared module that is written
    /// into new instances.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, ImagePart<'static>)> {
        let has_image = |memory| self.shared.images.iter().any(|(index, _)| *index == memory);
        self.shared.parts.iter().filter(move |(memory, _)| !has_image(*memory))
    }

    /// Returns what a snapshot records of an instance, unless the engine has no snapshots.
    pub(crate) fn recorded(&self) -> Option<&Recorded> {
        self.shared.recorded.as_ref()
    }

    /// Returns whether `other` is a clone of the same module.
    #[cfg(feature = "snapshots")]
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Returns the image with which a memory starts, by its position among those that the module
    /// defines.
    #[cfg(feature = "snapshots")]
    pub(crate) fn defined_image(&self, position: usize) -> Option<&Arc<dyn DataImage>> {
        let index = self.shared.imported_memories + position;
        self.images().find(|(memory, _)| *memory == index).map(|(_, image)| image)
    }

    /// Returns whether the elements of a recorded table are functions.
    #[cfg(feature = "snapshots")]
    pub(crate) fn has_functions(&self, table: usize) -> bool {
        let index = u32::try_from(table).expect("the validator bounds the number of tables");
        let ty = self.shared.inner.get_export(&table_name(index));
        ty.as_ref().and_then(wasmi::ExternType::table).is_some_and(|ty| ty.element() == wasmi::RefType::Func)
    }

    /// Returns the number of functions that the module imports.
    #[cfg(feature = "snapshots")]
    pub(crate) fn imported_functions(&self) -> u32 {
        let functions = self.imports().filter(|import| import.ty().func().is_some());
        u32::try_from(functions.count()).expect("the format counts a module's bytes in 32 bits")
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.shared.slots
    }
}

/// Passes the spliced module to wasmi.
///
/// The spliced module is validated too, so that a defect of the splice is an error. With the
/// feature `lazy-validation` wasmi does so, each function before its first call, unless the host
/// table is one table more than its validator accepts in a module. Otherwise [`validate`] does.
#[cfg(feature = "splice")]
#[allow(unsafe_code, reason = "wasmi does not validate what has been validated")]
fn parse(
    engine: &wasmi::Engine,
    scan: &Scan<'_>,
    spliced: &[u8],
    slots: &Slots,
) -> Result<wasmi::Module, wasmi::Error> {
    #[cfg(feature = "lazy-validation")]
    if slots.is_empty() || u64::from(scan.table_count()) < counts::MOST_OF_A_KIND {
        return wasmi::Module::new(engine, spliced);
    }
    validate::validate(spliced, scan, slots)?;
    // SAFETY: 1. [`validate::validate`] has validated all sections and function bodies of exactly
    //            these bytes, with the version of the validator that wasmi uses.
    //         2. [`Config::wasmi_features`] returns the proposals that it was given, and
    //            [`Config::to_wasmi`] switches on the same ones in `engine`. The configuration has
    //            no other restriction of modules.
    unsafe { wasmi::Module::new_unchecked(engine, spliced) }
}

/// Selects the segments that go into images, and makes the images. If one of them cannot be made,
/// none is.
#[cfg(feature = "splice")]
fn images<'a>(engine: &Engine, scan: &Scan<'a>) -> (Imaged<'a>, MemoryImages) {
    let imaged = match engine.config().images {
        Images::Off => Imaged::default(),
        Images::CopyOnWrite => Imaged::of(scan),
    };
    match imaged.make(engine) {
        Some(images) => (imaged, images),
        None => (Imaged::default(), MemoryImages::new()),
    }
}
