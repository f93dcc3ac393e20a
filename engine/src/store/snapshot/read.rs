//! Reads a snapshot that was written as bytes.
//!
//! The bytes may come from an attacker. Sizes, types and indices are checked as those of a module
//! are, so a fork of what was read can do nothing that an instance of the module cannot.
//!
//! The memories are made in a store that is dropped afterwards: each gets the image of the base,
//! and the pages that differ are written to it. Then an image is made of it, as for any other
//! snapshot. So what is read shares the frames of its base.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{iter, ops::Range};
use thiserror::Error;
use wasmi::ValType;

use super::{
    FrozenMemory, Recording, Reference, Snapshot, SnapshotError, Value, check_own,
    write::{Base, Checksum, END, EXTERN, F32, F64, FUNC, I32, I64, MAGIC, V128, VERSION},
};
use crate::{
    backing::{LiveBytes, SnapshotBudget},
    module::{MemoryType, Module, Recorded},
    store::{
        AsContextMut, DataError, Memory, MemoryError, MemoryRecord, StateBytes, Store,
        memory::{freeze, require_room},
    },
    units::FRAME_LEN,
};

/// Why bytes were not read as a snapshot.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotReadError {
    /// The bytes are not a snapshot.
    #[error("not a snapshot: it starts with {found:02x?}, not with `\\0pls`; pass what `write_to` wrote")]
    NotSnapshot {
        /// The first bytes, four at most.
        found: Box<[u8]>,
    },
    /// The bytes have another version of the format.
    #[error("the snapshot has version {found} of the format, and this engine reads version {expected}")]
    OtherVersion {
        /// The version in the bytes.
        found: u32,
        /// The version of this engine.
        expected: u32,
    },
    /// The bytes have changed, or some are missing.
    #[error("the snapshot is damaged: its checksum is {found:#018x}, not {expected:#018x}; write it again")]
    Damaged {
        /// The checksum of the bytes.
        found: u64,
        /// The checksum at the end.
        expected: u64,
    },
    /// The snapshot is of another module.
    #[error("the snapshot is of the module {found:#018x}, not of {expected:#018x}; load that module")]
    OtherModule {
        /// The hash of the module in the bytes.
        found: u64,
        /// The hash of the module that was passed.
        expected: u64,
    },
    /// The pages are the difference to something else.
    #[error(
        "the snapshot is the difference to {found:#018x}, not to {expected:#018x}; pass the snapshot that was \
         passed to `write_since`, or load the module with the same `Config::images`"
    )]
    OtherBase {
        /// The hash of the base in the bytes.
        found: u64,
        /// The hash of the base that was passed.
        expected: u64,
    },
    /// A number is not possible for an instance of the module.
    #[error("the snapshot is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// A memory was not made.
    #[error("memory {index}: {cause}")]
    Memory {
        /// The index of the memory in the module.
        index: usize,
        /// The cause.
        #[source]
        cause: MemoryError,
    },
    /// The frames for the pages were not available.
    #[error("no frames for the pages of the snapshot: {0}")]
    OutOfFrames(#[source] wasmi::Error),
    /// The module cannot be recorded, or the images have no room.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The state of the embedder's data was not read.
    #[error("the data was not read: {0}")]
    Data(#[source] DataError),
}

impl<S: StateBytes> Snapshot<S> {
    /// Reads a snapshot of `module` that [`write_to`](Self::write_to) has written.
    ///
    /// The bytes need not be trusted. A checksum finds accidents, and every number is checked.
    ///
    /// # Errors
    ///
    /// See [`SnapshotReadError`]. Nothing was created then.
    pub fn read_from(module: &Module, bytes: &[u8]) -> Result<Self, SnapshotReadError> {
        Self::read(module, &Base::Module(module), None, bytes)
    }

    /// As [`read_from`](Self::read_from), with the frames charged to `budget` and not to the
    /// engine.
    ///
    /// # Errors
    ///
    /// See [`SnapshotReadError`]. Nothing was created then.
    pub fn read_from_within(
        module: &Module,
        bytes: &[u8],
        budget: &SnapshotBudget,
    ) -> Result<Self, SnapshotReadError> {
        Self::read(module, &Base::Module(module), Some(budget), bytes)
    }

    /// Reads a snapshot that [`write_since`](Self::write_since) has written with the same `base`.
    ///
    /// # Errors
    ///
    /// See [`SnapshotReadError`]. Nothing was created then.
    pub fn read_since<B>(base: &Snapshot<B>, bytes: &[u8]) -> Result<Self, SnapshotReadError> {
        Self::read(base.module(), &Base::Snapshot(base.recording()), None, bytes)
    }

    /// As [`read_since`](Self::read_since), with the frames that `base` does not have charged to
    /// `budget` and not to the engine.
    ///
    /// # Errors
    ///
    /// See [`SnapshotReadError`]. Nothing was created then.
    pub fn read_since_within<B>(
        base: &Snapshot<B>,
        bytes: &[u8],
        budget: &SnapshotBudget,
    ) -> Result<Self, SnapshotReadError> {
        Self::read(base.module(), &Base::Snapshot(base.recording()), Some(budget), bytes)
    }

    fn read(
        module: &Module,
        base: &Base<'_>,
        budget: Option<&SnapshotBudget>,
        bytes: &[u8],
    ) -> Result<Self, SnapshotReadError> {
        let recorded = module.recorded().ok_or(SnapshotError::NotConfigured)?;
        check_own(module, recorded, module.engine().backing().shares_images())?;
        let mut input = Input::new(bytes)?;
        let found = input.number()?;
        let expected = recorded.hash;
        if found != expected {
            return Err(SnapshotReadError::OtherModule { found, expected });
        }
        let found = input.number()?;
        let expected = base.hash();
        if found != expected {
            return Err(SnapshotReadError::OtherBase { found, expected });
        }
        let memories = memories(&mut input, module, base, budget)?;
        let globals = globals(&mut input, recorded)?;
        let tables = tables(&mut input, module, recorded)?;
        let state = input.length("the length of the state is that of the rest")?;
        let state = S::read_from(input.take(state)?).map_err(SnapshotReadError::Data)?;
        if !input.rest.is_empty() {
            return Err(malformed("bytes follow the state"));
        }
        let recording = Recording { module: module.clone(), memories, globals, tables };
        Ok(Self { instance: Arc::new(recording), data: Arc::new(state) })
    }
}

fn malformed(what: &'static str) -> SnapshotReadError {
    SnapshotReadError::Malformed { what }
}

/// The bytes that were not read yet.
#[derive(Clone)]
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Checks what the bytes start and end with.
    fn new(bytes: &'a [u8]) -> Result<Self, SnapshotReadError> {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else {
            return Err(SnapshotReadError::NotSnapshot { found: bytes[..bytes.len().min(4)].into() });
        };
        let (version, _) = rest.split_first_chunk().ok_or(malformed("the version is missing"))?;
        let found = u32::from_le_bytes(*version);
        if found != VERSION {
            return Err(SnapshotReadError::OtherVersion { found, expected: VERSION });
        }
        let (content, checksum) = bytes.split_last_chunk().ok_or(malformed("the checksum is missing"))?;
        let found = Checksum::of(content);
        let expected = u64::from_le_bytes(*checksum);
        if found != expected {
            return Err(SnapshotReadError::Damaged { found, expected });
        }
        let head = MAGIC.len() + size_of_val(&VERSION);
        Ok(Self { rest: content.get(head..).ok_or(malformed("the numbers are missing"))? })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], SnapshotReadError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(malformed("bytes are missing"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], SnapshotReadError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(malformed("bytes are missing"))?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn number(&mut self) -> Result<u64, SnapshotReadError> {
        Ok(u64::from_le_bytes(self.chunk()?))
    }

    fn small(&mut self) -> Result<usize, SnapshotReadError> {
        Ok(u16::from_le_bytes(self.chunk()?).into())
    }

    /// Reads the number of things that take at least a byte each. So a length that is read never
    /// makes the engine allocate more than the bytes justify.
    fn length(&mut self, what: &'static str) -> Result<usize, SnapshotReadError> {
        let length = usize::try_from(self.number()?).ok();
        length.filter(|length| *length <= self.rest.len()).ok_or(malformed(what))
    }

    /// Reads the next page, if there is one: its offset and its pieces.
    fn page(&mut self) -> Result<Option<(u64, usize)>, SnapshotReadError> {
        let offset = self.number()?;
        if offset == END {
            return Ok(None);
        }
        Ok(Some((offset, self.length("a page has more pieces than bytes follow")?)))
    }

    /// Reads a piece of a page: its place and its bytes.
    fn piece(&mut self) -> Result<(Range<usize>, &'a [u8]), SnapshotReadError> {
        let start = self.small()?;
        let len = self.small()?;
        if start + len > FRAME_LEN {
            return Err(malformed("a piece ends past its page"));
        }
        Ok((start..start + len, self.take(len)?))
    }
}

/// Makes images of the memories.
fn memories(
    input: &mut Input<'_>,
    module: &Module,
    base: &Base<'_>,
    budget: Option<&SnapshotBudget>,
) -> Result<Vec<FrozenMemory>, SnapshotReadError> {
    let defined = module.defined_memories();
    if input.number()? != defined.len() as u64 {
        return Err(malformed("the module defines another number of memories"));
    }
    let mut memories = Vec::new();
    memories.try_reserve_exact(defined.len()).map_err(|_| SnapshotError::OutOfHeap)?;
    // The memories are in a store of their own, which holds the limits of the engine.
    let mut store = Store::new(module.engine(), ());
    for (position, (index, ty)) in defined.enumerate() {
        let bytes = input.number()?;
        if base.bytes(position).is_none_or(|least| bytes < least)
            || !bytes.is_multiple_of(ty.page_size().bytes())
        {
            return Err(malformed("a memory has a size that its type does not allow"));
        }
        let record = memory(&mut store, ty, bytes, base, position)
            .map_err(|cause| SnapshotReadError::Memory { index, cause })?;
        // Few bytes can be many pages. Those of too many must not take frames first.
        require_room(module.engine(), budget, frames_of(input.clone(), module)?)?;
        write_pages(input, &mut store, record.memory())?;
        let mut ctx = store.as_context_mut().into_wasmi();
        ctx.data().refuse_lost().map_err(SnapshotReadError::OutOfFrames)?;
        freeze(&mut ctx, iter::once(&*record), budget, |bytes, image| {
            memories.push(FrozenMemory { bytes, image: Some(image) });
        })?;
    }
    Ok(memories)
}

/// Returns the number of frames that the pages of the next memory take.
fn frames_of(mut input: Input<'_>, module: &Module) -> Result<u64, SnapshotReadError> {
    // A page of zeros is a frame that was written, unless the pages are copied.
    let zeros = u64::from(module.engine().backing().shares_images());
    let mut frames = 0;
    while let Some((_, pieces)) = input.page()? {
        (0..pieces).try_for_each(|_| input.piece().map(drop))?;
        frames += if pieces > 0 { 1 } else { zeros };
    }
    Ok(frames)
}

/// Makes a memory with the bytes of the base.
fn memory(
    store: &mut Store<()>,
    ty: MemoryType,
    bytes: u64,
    base: &Base<'_>,
    position: usize,
) -> Result<Arc<MemoryRecord>, MemoryError> {
    let memory = Memory::new(&mut *store, ty.starting_with(bytes))?;
    let record = MemoryRecord::of(memory, store.as_context_mut().into_wasmi());
    if let Some(image) = base.image(position) {
        let mut ctx = store.as_context_mut().into_wasmi();
        let live = LiveBytes::all(record.wasmi().data_mut(&mut ctx));
        record.region().with(|region| region.attach(image, live));
    }
    Ok(record)
}

/// Writes the pages that differ from those of the base.
fn write_pages(
    input: &mut Input<'_>,
    store: &mut Store<()>,
    memory: Memory,
) -> Result<(), SnapshotReadError> {
    let bytes = memory.data_mut(store.as_context_mut());
    let mut end = 0;
    while let Some((offset, pieces)) = input.page()? {
        let start =
            usize::try_from(offset).ok().filter(|start| *start >= end && start.is_multiple_of(FRAME_LEN));
        let start = start.ok_or(malformed("the pages are not in order"))?;
        let page = bytes.get_mut(start..).ok_or(malformed("a page is past its memory"))?;
        let len = page.len().min(FRAME_LEN);
        let page = &mut page[..len];
        if len == 0 {
            return Err(malformed("a page is past its memory"));
        }
        page.fill(0);
        for _ in 0..pieces {
            let (place, piece) = input.piece()?;
            let target = page.get_mut(place).ok_or(malformed("a piece is past its memory"))?;
            target.copy_from_slice(piece);
        }
        end = start + FRAME_LEN;
    }
    Ok(())
}

/// Reads the values of the mutable globals.
fn globals(input: &mut Input<'_>, recorded: &Recorded) -> Result<Vec<Value>, SnapshotReadError> {
    let count = recorded.globals.len();
    if input.number()? != count as u64 {
        return Err(malformed("the module has another number of mutable globals"));
    }
    let mut globals = Vec::new();
    globals.try_reserve_exact(count).map_err(|_| SnapshotError::OutOfHeap)?;
    for (_, expected) in &recorded.globals {
        let ty = input.number()?;
        let value = u128::from_le_bytes(input.chunk()?);
        let low = u64::try_from(value).ok();
        let half =
            || low.and_then(|value| u32::try_from(value).ok()).ok_or(malformed("a value is too large"));
        let whole = || low.ok_or(malformed("a value is too large"));
        globals.push(match (ty, expected) {
            (I32, ValType::I32) => Value::I32(half()?.cast_signed()),
            (I64, ValType::I64) => Value::I64(whole()?.cast_signed()),
            (F32, ValType::F32) => Value::F32(half()?),
            (F64, ValType::F64) => Value::F64(whole()?),
            (V128, ValType::V128) => Value::V128(value),
            (FUNC, ValType::FuncRef) => Value::Func(reference(half()?, recorded)?),
            (EXTERN, ValType::ExternRef) if value == 0 => Value::NullExtern,
            _ => return Err(malformed("a global has another type")),
        });
    }
    Ok(globals)
}

/// Reads the elements of the tables.
fn tables(
    input: &mut Input<'_>,
    module: &Module,
    recorded: &Recorded,
) -> Result<Vec<Vec<Reference>>, SnapshotReadError> {
    let expected = if recorded.has_tables { module.defined_tables().count() } else { 0 };
    if input.number()? != expected as u64 {
        return Err(malformed("the module has another number of tables that change"));
    }
    let mut tables = Vec::new();
    tables.try_reserve_exact(expected).map_err(|_| SnapshotError::OutOfHeap)?;
    for (index, initial) in module.defined_tables().take(expected) {
        let count = input.length("a table has more elements than bytes follow")?;
        if (count as u64) < initial {
            return Err(malformed("a table is smaller than its type allows"));
        }
        let has_functions = module.has_functions(index);
        let mut elements = Vec::new();
        elements.try_reserve_exact(count).map_err(|_| SnapshotError::OutOfHeap)?;
        for _ in 0..count {
            let element = reference(u32::from_le_bytes(input.chunk()?), recorded)?;
            if element.index().is_some() && !has_functions {
                return Err(malformed("a function is in a table of other references"));
            }
            elements.push(element);
        }
        tables.push(elements);
    }
    Ok(tables)
}

/// Checks a reference.
fn reference(bits: u32, recorded: &Recorded) -> Result<Reference, SnapshotReadError> {
    let reference = Reference::from_bits(bits);
    let is_valid = reference.index().is_none_or(|index| recorded.functions.binary_search(&index).is_ok());
    is_valid.then_some(reference).ok_or(malformed("a reference is to a function that has none"))
}
