//! Prepares modules: validates and splices them, and writes the file that is loaded later.

use alloc::vec::Vec;

use super::{
    HostOp, IndexType, MemoryType, Module, ModuleError,
    image::Imaged,
    loading::Loading,
    prepared::{
        AFTER_PIECE, GLOBAL_IMPORT, HAS_BYTE_PAGES, HAS_MAXIMUM, Head, IS_64_BIT, MEMORY_DISCARD,
        MEMORY_GROW, MEMORY_IMPORT, NO_IMPORT, TABLE_GROW, TABLE_IMPORT, VALUE_TYPES,
    },
    recorded::{Recorded, SharedImport},
    scan,
    splice::{self, Spliced},
    validate,
};
use crate::{
    config::{Config, Fuel},
    units::WasmPageSize,
};

impl Module {
    /// Prepares the Wasm binary `wasm` for engines with the fuel mode of `config`: validates it and
    /// rewrites it for the interpreter. [`Module::from_prepared`] loads the result.
    ///
    /// The engine that loads it holds the module to its own limits. It must accept all proposals
    /// that `config` accepts.
    ///
    /// This takes no engine, so a build script can call it in an unoptimized build.
    ///
    /// # Errors
    ///
    /// Those of [`Module::new`]. The limits are those of `config`.
    ///
    /// # Examples
    ///
    /// See [`Module::from_prepared`].
    pub fn prepare(config: &Config, wasm: &[u8]) -> Result<Vec<u8>, ModuleError> {
        Self::within_heap(config, || prepare(config, wasm))
    }
}

fn prepare(config: &Config, wasm: &[u8]) -> Result<Vec<u8>, ModuleError> {
    let mut loading = Loading::new(config.heap);
    let mut scan = scan::scan(wasm, config, &mut loading)?;
    let kept = Imaged::constant(&scan);
    let spliced = splice::splice(&scan, &kept, &config.limits)?;
    let refused = |refusal| ModuleError::Translate(wasmi::Error::from(refusal));
    validate::validate(&spliced.wasm, &scan, &spliced.slots).map_err(refused)?;
    let Spliced { wasm, slots, added_bytes, function_bytes, mut counts, recorded, added_entries, added_work } =
        spliced;
    counts.module_entries += u64::from(added_entries);
    scan.function_work = scan.function_work.max(added_work);
    scan.entries = scan.entries.saturating_add(added_entries);
    let mut end = Head::BYTES + wasm.len();
    let parts = kept.parts().iter().map(|(memory, part)| {
        let start = end as u64;
        let len = part.bytes.len();
        end += len;
        [*memory as u64, part.offset, start, len as u64]
    });
    let mut numbers = Numbers::default();
    numbers.push(u64::from(config.fuel == Fuel::Metered));
    numbers.push(u64::from(recorded.is_some()));
    numbers.push(config.features.available().bits().into());
    counts.fields().into_iter().for_each(|field| numbers.push(*field));
    scan.size(added_bytes, function_bytes).to_fields().into_iter().for_each(|field| numbers.push(field));
    numbers.push(scan.loading_bytes as u64);
    numbers.push(scan.imported_memories as u64);
    numbers.list(scan.memories.iter().copied().map(memory_type));
    numbers.list(scan.table_sizes().map(|(index, elements)| [index as u64, elements]));
    numbers.list(slots.iter().map(|(op, number)| slot(*op, *number)));
    if let Some(recorded) = &recorded {
        numbers.recorded(recorded);
    }
    numbers.list(parts);
    let Numbers(numbers) = numbers;
    let mut file = Vec::new();
    file.try_reserve_exact(end + numbers.len()).map_err(|_| ModuleError::OutOfHeap)?;
    file.extend([0; Head::BYTES]);
    file.extend_from_slice(&wasm);
    kept.parts().iter().for_each(|(_, part)| file.extend_from_slice(part.bytes));
    file.extend_from_slice(&numbers);
    Head { wasm_bytes: wasm.len() as u64, numbers_at: end as u64 }.write(&mut file);
    Ok(file)
}

/// Numbers at the end of a file.
#[derive(Default)]
struct Numbers(Vec<u8>);

impl Numbers {
    fn push(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    /// Adds a list, which starts with its length.
    fn list<const N: usize>(&mut self, entries: impl ExactSizeIterator<Item = [u64; N]>) {
        self.push(entries.len() as u64);
        entries.flatten().for_each(|number| self.push(number));
    }
}

impl Numbers {
    fn recorded(&mut self, recorded: &Recorded) {
        let Recorded { hash, shared, globals, has_tables, functions } = recorded;
        self.push(*hash);
        let (import, index) = match *shared {
            None => (NO_IMPORT, 0),
            Some(SharedImport::Memory(index)) => (MEMORY_IMPORT, index),
            Some(SharedImport::Table(index)) => (TABLE_IMPORT, index),
            Some(SharedImport::Global(index)) => (GLOBAL_IMPORT, index),
        };
        self.push(import);
        self.push(index.into());
        self.list(globals.iter().map(|(index, ty)| {
            let number = VALUE_TYPES.iter().position(|other| other == ty);
            [(*index).into(), number.expect("all types are listed") as u64]
        }));
        self.push(u64::from(*has_tables));
        self.list(functions.iter().map(|function| [u64::from(*function)]));
    }
}

fn memory_type(ty: MemoryType) -> [u64; 3] {
    let flags = [
        (ty.index == IndexType::I64, IS_64_BIT),
        (ty.maximum.is_some(), HAS_MAXIMUM),
        (ty.page_size == WasmPageSize::BYTE, HAS_BYTE_PAGES),
    ];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
    [flags, ty.minimum, ty.maximum.unwrap_or_default()]
}

fn slot(op: HostOp, number: u32) -> [u64; 3] {
    let (operation, operand) = match op {
        HostOp::MemoryGrow(memory) => (MEMORY_GROW, memory),
        HostOp::MemoryDiscard(memory) => (MEMORY_DISCARD, memory),
        HostOp::TableGrow(table) => (TABLE_GROW, table),
        HostOp::AfterPiece => (AFTER_PIECE, 0),
    };
    [operation, operand.into(), number.into()]
}
