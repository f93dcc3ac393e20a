//! A guest's module: validated as it came, spliced, and handed to wasmi.
//!
//! wasmi 2.0 keeps a memory that a module *defines* in a `Vec`, and grows memories and tables inside the
//! interpreter. So the module that wasmi gets differs from the guest's in this and nothing else: its defined
//! memories are imports; `memory.grow`, `memory.discard` and `table.grow` are calls through an extra table into
//! the host; and its active segments are applied by a function, once the instance is whole, or are in the [`image`]
//! that a memory is made with. [`scan`] decides what has to change, [`segments`] and [`splice`] write it.

mod bounds;
mod error;
mod image;
mod memory_type;
mod scan;
mod segments;
mod splice;

use alloc::{format, string::String, sync::Arc, vec::Vec};

pub use self::{
    error::ModuleError,
    memory_type::{IndexType, MemoryType},
};
use self::{image::Imaged, scan::Scan};
pub(crate) use self::{scan::HostOp, splice::Slots};
use crate::{backing::DataImage, config::Images, engine::Engine};

/// What every name starts with that the engine puts into a spliced module.
const RESERVED_PREFIX: &str = "\0palimpsest";
/// The module name of the imports that were the guest's own memories.
const MEMORY_MODULE: &str = "\0palimpsest.memory";
/// The export of the host table.
pub(crate) const HOST_TABLE: &str = "\0palimpsest.host-table";
/// The export of the function that applies the active segments.
pub(crate) const INITIALIZER: &str = "\0palimpsest.initializer";
/// The export of the start function.
pub(crate) const START: &str = "\0palimpsest.start";

fn memory_name(index: usize) -> String {
    format!("{index}")
}

/// The export of a table that the guest grows.
pub(crate) fn grown_table_name(index: u32) -> String {
    format!("{RESERVED_PREFIX}.table.{index}")
}

/// Whether `name` is one that guests and embedders do not see.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

/// The images of memories, with their indices.
type MemoryImages = Vec<(usize, Arc<dyn DataImage>)>;

/// A validated and spliced module, ready to be instantiated in the stores of its engine.
///
/// Function bodies are translated when they are first called.
#[derive(Debug)]
pub struct Module {
    engine: Engine,
    inner: wasmi::Module,
    /// All memories, the imported ones first.
    memories: Vec<MemoryType>,
    imported_memories: usize,
    /// What memories are made with.
    images: MemoryImages,
    slots: Slots,
    /// Elements that each table which the module defines starts with, with the table's index.
    table_sizes: Vec<(usize, u64)>,
}

impl Module {
    /// Loads the Wasm binary `wasm`.
    ///
    /// # Errors
    ///
    /// - [`ModuleError::Empty`], [`ModuleError::NotWasm`], [`ModuleError::Truncated`]: not a whole Wasm binary.
    /// - [`ModuleError::Invalid`]: malformed, or invalid with the engine's features.
    /// - [`ModuleError::Limit`]: above one of the engine's limits.
    /// - [`ModuleError::ReservedName`]: it uses a name that the engine keeps for itself.
    /// - [`ModuleError::Translate`]: wasmi has a limit of its own that the module exceeds.
    pub fn new(engine: &Engine, wasm: &[u8]) -> Result<Self, ModuleError> {
        let scan = scan::scan(wasm, engine.config())?;
        let (imaged, images) = images(engine, &scan);
        let (spliced, slots) = splice::splice(&scan, &imaged);
        let inner = wasmi::Module::new(engine.wasmi(), &spliced).map_err(ModuleError::Translate)?;
        let sizes = scan.tables.iter().map(|table| table.initial).enumerate();
        Ok(Self {
            engine: engine.clone(),
            table_sizes: sizes.skip(scan.imported_tables).collect(),
            inner,
            imported_memories: scan.imported_memories,
            memories: scan.memories,
            images,
            slots,
        })
    }

    /// The engine that the module belongs to.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The frames of the images that instances of the module share. Each is counted once, however many instances map
    /// it, and is no store's: they are freed with the module and the last of its instances.
    #[must_use]
    pub fn image_frames(&self) -> u64 {
        self.images.iter().map(|(_, image)| image.frames()).sum()
    }

    /// What the module imports: functions, then tables, memories and globals, each kind in the module's order.
    pub fn imports(&self) -> impl Iterator<Item = wasmi::ImportType<'_>> {
        self.inner.imports().filter(|import| !is_reserved(import.module()))
    }

    /// What the module exports.
    pub fn exports(&self) -> impl Iterator<Item = wasmi::ExportType<'_>> {
        self.inner.exports().filter(|export| !is_reserved(export.name()))
    }

    pub(crate) fn wasmi(&self) -> &wasmi::Module {
        &self.inner
    }

    /// The type of the memory with this index.
    pub(crate) fn memory_type(&self, index: usize) -> Option<MemoryType> {
        self.memories.get(index).copied()
    }

    /// The types of the memories that the module defines, with their indices.
    pub(crate) fn defined_memories(&self) -> impl Iterator<Item = (usize, MemoryType)> {
        self.memories.iter().copied().enumerate().skip(self.imported_memories)
    }

    /// The tables that the module defines: index, and elements from the start.
    pub(crate) fn defined_tables(&self) -> impl Iterator<Item = (usize, u64)> {
        self.table_sizes.iter().copied()
    }

    /// What memories are made with, with their indices.
    pub(crate) fn images(&self) -> impl Iterator<Item = (usize, &Arc<dyn DataImage>)> {
        self.images.iter().map(|(index, image)| (*index, image))
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }
}

/// Makes the images of the memories that `scan` defines: of all that have one, or of none.
fn images<'a>(engine: &Engine, scan: &Scan<'a>) -> (Imaged<'a>, MemoryImages) {
    let imaged = match engine.config().images {
        Images::Off => Imaged::default(),
        Images::CopyOnWrite => Imaged::of(scan),
    };
    let mut images = MemoryImages::new();
    for memory in scan.imported_memories..scan.memories.len() {
        let parts = imaged.parts_of(memory);
        if parts.is_empty() {
            continue;
        }
        let Some(image) = engine.backing().image(&parts) else {
            return (Imaged::default(), MemoryImages::new());
        };
        images.push((memory, image));
    }
    (imaged, images)
}
