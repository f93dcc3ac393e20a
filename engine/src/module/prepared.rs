//! Prepared modules: what [`Module::new`] makes of a Wasm binary, in a file.
//!
//! A module is prepared on the build machine, or in a kernel when it is loaded for the first time.
//! Its loading then takes neither a validator nor the splice, and little more than wasmi itself.
//! wasmi gets the spliced module out of the file. The active data segments at constant offsets are
//! not in it: instances get their bytes out of the file, so they stay in flash where the file is.
//! Custom sections are left out.
//!
//! A file consists of a head, the spliced module, the bytes of data segments, and numbers. A number
//! has 64 bits and is little-endian, except for the version, which has 32. Offsets count from the
//! start of the file.
//!
//! | offset | what |
//! | --- | --- |
//! | 0 | `\0plm`, and the version of the format |
//! | 8 | the length of the file |
//! | 16 | the checksum: a [`hash`] of everything else |
//! | 24 | the [`identity`] of the splice |
//! | 32 | the length of the spliced module |
//! | 40 | the offset of the numbers |
//! | 48 | the spliced module |
//!
//! The numbers are, in this order:
//!
//! - 1 if the splice has divided and charged instructions for metered engines, else 0;
//! - 1 if instances of the module can be recorded, else 0;
//! - the bits of the [`Features`] with which the module was validated;
//! - the [`Counts`], the [`ModuleSize`], and the bytes of heap that loading takes;
//! - the number of imported memories;
//! - the number of all memories, and for each its flags, minimum and maximum;
//! - the number of tables that the module defines, and for each its index and initial elements;
//! - the number of slots of the host table, and for each its operation, the operand and the slot;
//! - if instances can be recorded, [what of them is](Recorded): the hash of the guest's module,
//!   the kind and the index of the import that prevents it, the number of globals, and for each
//!   its index and type, 1 if tables are recorded, else 0, and the number of functions and their
//!   indices;
//! - the number of [`Parts`], and for each the memory, the offset there, and the offset and length
//!   of its bytes in the file.

pub(crate) mod hash;
mod head;
mod identity;
mod parts;
mod reader;

use wasmi::ValType;

pub(super) use self::{head::Head, parts::Parts};
use self::{head::MAGIC, reader::Reader};
use super::{
    HostOp, IndexType, MemoryImages, MemoryType, Module, ModuleError, PreparedError, Shared, Slots,
    counts::Counts,
    image::Imaged,
    loading::Loading,
    recorded::{Recorded, SharedImport},
};
use crate::{
    config::{Config, Features, Fuel, Images},
    engine::{Engine, ModuleSize},
    units::WasmPageSize,
};

/// The bits of a memory's flags.
pub(super) const IS_64_BIT: u64 = 1;
pub(super) const HAS_MAXIMUM: u64 = 2;
pub(super) const HAS_BYTE_PAGES: u64 = 4;

/// The numbers for the operations of the host table.
pub(super) const MEMORY_GROW: u64 = 0;
pub(super) const MEMORY_DISCARD: u64 = 1;
pub(super) const TABLE_GROW: u64 = 2;
pub(super) const AFTER_PIECE: u64 = 3;

/// The numbers for the import that prevents a recording.
pub(super) const NO_IMPORT: u64 = 0;
pub(super) const MEMORY_IMPORT: u64 = 1;
pub(super) const TABLE_IMPORT: u64 = 2;
pub(super) const GLOBAL_IMPORT: u64 = 3;

/// The types of globals, by their numbers.
pub(super) const VALUE_TYPES: [ValType; 7] = [
    ValType::I32,
    ValType::I64,
    ValType::F32,
    ValType::F64,
    ValType::V128,
    ValType::FuncRef,
    ValType::ExternRef,
];

/// The contents of a prepared module.
#[derive(Debug)]
struct Prepared {
    wasm: &'static [u8],
    fuel: Fuel,
    is_recorded: bool,
    features: Features,
    counts: Counts,
    size: ModuleSize,
    /// The bytes of heap that wasmi takes for the sections while the module is loaded, at most.
    loading_bytes: usize,
    /// The rest of the numbers.
    lists: Reader<'static>,
    file: &'static [u8],
}

impl Module {
    /// Returns whether `bytes` start as a prepared module does.
    #[must_use]
    pub fn is_prepared(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Loads `file`, which [`Module::prepare`] has written.
    ///
    /// The module behaves as if [`Module::new`] had loaded the original. Loading takes much less
    /// time, because the module is neither validated nor spliced. The limits of `engine` apply and
    /// heap is set aside, both with what was counted when the module was prepared.
    ///
    /// The data segments are not copied to the heap, unless they are passive or their offset is not
    /// constant. Each new memory is filled out of `file`, or shares an image of it: see
    /// [`Images`]. Bytes after the end of the module are ignored, so `file` can be a section of
    /// flash that is not full.
    ///
    /// # Errors
    ///
    /// - [`ModuleError::Prepared`] if `file` is not a prepared module, is truncated or damaged, or
    ///   was prepared by another version or for other settings: see [`PreparedError`].
    /// - [`ModuleError::Limit`], [`ModuleError::OutOfHeap`], [`ModuleError::Entry`] and
    ///   [`ModuleError::Translate`] as in [`Module::new`].
    ///
    /// # Safety
    ///
    /// The bytes must be those that [`Module::prepare`] of this version of the crate returned, and
    /// must not have been changed since. The interpreter trusts them: other code than the validator
    /// has seen can read and write all memory of the program. The checksum finds accidents, and
    /// nothing that was done on purpose. So a file must come from where the program itself comes
    /// from.
    ///
    /// # Examples
    ///
    /// ```
    /// use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
    /// # use std::{boxed::Box, mem::MaybeUninit};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let text = r#"(module (memory (export "memory") 1) (data (i32.const 8) "in flash"))"#;
    /// # let wasm = wat::parse_str(text)?;
    /// // On the build machine. Firmware has `include_bytes!` of the file instead.
    /// let file: &'static [u8] = Module::prepare(&Config::default(), &wasm)?.leak();
    ///
    /// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
    /// // SAFETY: these are the bytes that `prepare` has just returned.
    /// let module = unsafe { Module::from_prepared(&engine, file)? };
    /// let mut store = Store::new(&engine, ());
    /// let instance = Linker::new().instantiate(&mut store, &module)?;
    /// let memory = instance.get_memory(&store, "memory").ok_or("the guest exports no memory")?;
    /// assert_eq!(&memory.data(&store)[8..16], b"in flash");
    /// # Ok(())
    /// # }
    /// ```
    #[allow(unsafe_code, reason = "the bytes are not validated")]
    pub unsafe fn from_prepared(engine: &Engine, file: &'static [u8]) -> Result<Self, ModuleError> {
        let load = || {
            let prepared = Prepared::read(file)?;
            prepared.check(engine.config())?;
            // SAFETY: the caller guarantees that [`Module::prepare`] has written the file, and that
            //         it has not been changed since.
            unsafe { prepared.load(engine) }
        };
        Self::in_engine(engine, load)
    }
}

impl Prepared {
    /// Checks that `file` is a whole prepared module of this version, and reads its first numbers.
    ///
    /// # Errors
    ///
    /// See [`PreparedError`].
    fn read(file: &'static [u8]) -> Result<Self, PreparedError> {
        let (head, file) = Head::read(file)?;
        let wasm = slice(file, Head::BYTES as u64, head.wasm_bytes)?;
        let numbers = usize::try_from(head.numbers_at).ok().and_then(|start| file.get(start..));
        let mut reader = Reader::new(numbers.ok_or(PreparedError::Malformed)?);
        let fuel = if reader.number()? == 0 { Fuel::Unmetered } else { Fuel::Metered };
        let is_recorded = reader.number()? != 0;
        let bits = u32::try_from(reader.number()?).map_err(|_| PreparedError::Malformed)?;
        let mut counts = Counts::default();
        for field in counts.fields() {
            *field = reader.number()?;
        }
        let mut size = [0; ModuleSize::FIELDS];
        for field in &mut size {
            *field = reader.number()?;
        }
        let loading_bytes = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
        Ok(Self {
            wasm,
            fuel,
            is_recorded,
            features: Features::from_bits_retain(bits),
            counts,
            size: ModuleSize::from_fields(size),
            loading_bytes,
            lists: reader,
            file,
        })
    }

    /// Checks that the module was prepared for an engine with this configuration.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Prepared`] for other settings, and [`ModuleError::Limit`] if the module
    /// exceeds a limit.
    fn check(&self, config: &Config) -> Result<(), ModuleError> {
        match (self.fuel, config.fuel) {
            (Fuel::Metered, Fuel::Unmetered) => return Err(PreparedError::Metered.into()),
            (Fuel::Unmetered, Fuel::Metered) => return Err(PreparedError::Unmetered.into()),
            (Fuel::Metered, Fuel::Metered) | (Fuel::Unmetered, Fuel::Unmetered) => {}
        }
        match (self.is_recorded, config.has_snapshots()) {
            (true, false) => return Err(PreparedError::Snapshots.into()),
            (false, true) => return Err(PreparedError::NoSnapshots.into()),
            (true, true) | (false, false) => {}
        }
        let missing = self.features.difference(config.features.available());
        if !missing.is_empty() {
            return Err(PreparedError::Features { missing }.into());
        }
        self.counts.check(&config.limits)
    }

    /// Makes the module.
    ///
    /// # Errors
    ///
    /// [`ModuleError::OutOfHeap`], [`ModuleError::Translate`], or [`PreparedError::Malformed`].
    ///
    /// # Safety
    ///
    /// As [`Module::from_prepared`].
    #[allow(unsafe_code, reason = "the bytes are not validated")]
    unsafe fn load(mut self, engine: &Engine) -> Result<Module, ModuleError> {
        let mut loading = Loading::new(engine.config().heap);
        // wasmi copies the code and the names.
        loading.cover(self.loading_bytes.saturating_add(self.wasm.len()))?;
        let imported_memories = self.lists.index()?;
        let memories = self.lists.list(memory_type)?;
        let table_sizes = self.lists.list(|reader| Ok((reader.index()?, reader.number()?)))?;
        let slots: Slots = self.lists.list(slot)?.into_iter().collect();
        let is_recorded = cfg!(feature = "snapshots") && self.is_recorded;
        let recorded = if is_recorded { Some(recorded(&mut self.lists)?) } else { None };
        let parts = Parts::read(&mut self.lists, self.file)?;
        let images = images(engine, parts, &memories);
        // SAFETY: 1. The caller guarantees that the bytes are those that [`Module::prepare`] wrote,
        //            which it has validated with all proposals that wasmi accepts.
        //         2. [`Config::to_wasmi`] switches on the same proposals in `engine`, and
        //            configures no other restriction of modules.
        let inner = unsafe { wasmi::Module::new_unchecked(engine.wasmi(), self.wasm) };
        let inner = inner.map_err(ModuleError::Translate)?;
        drop(loading);
        if !engine.set_aside(self.size) {
            return Err(ModuleError::OutOfHeap);
        }
        let entries = u32::try_from(self.counts.module_entries).unwrap_or(u32::MAX);
        let engine = engine.clone();
        Ok(Module::from_shared(Shared {
            engine,
            inner,
            entries,
            memories,
            imported_memories,
            images,
            parts,
            slots,
            table_sizes,
            recorded,
        }))
    }
}

/// Returns `len` bytes of the file at `offset`.
///
/// # Errors
///
/// [`PreparedError::Malformed`] if they end past the file.
fn slice(file: &[u8], offset: u64, len: u64) -> Result<&[u8], PreparedError> {
    let start = usize::try_from(offset).ok().and_then(|start| file.get(start..));
    let bytes = start.zip(usize::try_from(len).ok()).and_then(|(rest, len)| rest.get(..len));
    bytes.ok_or(PreparedError::Malformed)
}

fn memory_type(reader: &mut Reader<'_>) -> Result<MemoryType, PreparedError> {
    let flags = reader.number()?;
    let minimum = reader.number()?;
    let maximum = reader.number()?;
    let has = |flag: u64| flags & flag != 0;
    Ok(MemoryType {
        index: if has(IS_64_BIT) { IndexType::I64 } else { IndexType::I32 },
        minimum,
        maximum: has(HAS_MAXIMUM).then_some(maximum),
        page_size: if has(HAS_BYTE_PAGES) { WasmPageSize::BYTE } else { WasmPageSize::STANDARD },
    })
}

fn slot(reader: &mut Reader<'_>) -> Result<(HostOp, u32), PreparedError> {
    let operation = reader.number()?;
    let mut index = || u32::try_from(reader.number()?).map_err(|_| PreparedError::Malformed);
    let operand = index()?;
    let slot = index()?;
    let op = match operation {
        MEMORY_GROW => HostOp::MemoryGrow(operand),
        MEMORY_DISCARD => HostOp::MemoryDiscard(operand),
        TABLE_GROW => HostOp::TableGrow(operand),
        AFTER_PIECE => HostOp::AfterPiece,
        _ => return Err(PreparedError::Malformed),
    };
    Ok((op, slot))
}

fn recorded(reader: &mut Reader<'_>) -> Result<Recorded, PreparedError> {
    fn small(reader: &mut Reader<'_>) -> Result<u32, PreparedError> {
        u32::try_from(reader.number()?).map_err(|_| PreparedError::Malformed)
    }
    let hash = reader.number()?;
    let import = reader.number()?;
    let index = small(reader)?;
    let shared = match import {
        NO_IMPORT => None,
        MEMORY_IMPORT => Some(SharedImport::Memory(index)),
        TABLE_IMPORT => Some(SharedImport::Table(index)),
        GLOBAL_IMPORT => Some(SharedImport::Global(index)),
        _ => return Err(PreparedError::Malformed),
    };
    let globals = reader.list(|reader| {
        let index = small(reader)?;
        let ty = VALUE_TYPES.get(reader.index()?).ok_or(PreparedError::Malformed)?;
        Ok((index, *ty))
    })?;
    let has_tables = reader.number()? != 0;
    let functions = reader.list(small)?;
    Ok(Recorded { hash, shared, globals, has_tables, functions })
}

/// Makes images of `parts`, if the backing shares the frames of images. Memories without an image
/// get their parts when they are created.
fn images(engine: &Engine, parts: Parts, memories: &[MemoryType]) -> MemoryImages {
    let is_shared = engine.config().images == Images::CopyOnWrite && engine.backing().shares_images();
    if !is_shared {
        return MemoryImages::new();
    }
    Imaged::of_parts(parts.iter(), memories).make(engine).unwrap_or_default()
}
