//! Modules for the benchmark's kernel: some of other projects, and some that are generated.

use anyhow::Result;
use palimpsest_guest_recipes::registry::{
    self, AVIF, AVIF_WASM, LODEPNG, LODEPNG_WASM, QUICKJS, QUICKJS_WASM,
};
use palimpsest_host::setup::MissingPolicy;
use palimpsest_host::workspace::Workspace;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, Function, FunctionSection,
    MemArg, MemorySection, MemoryType, TypeSection, ValType,
};

const WASM_PAGE_BYTES: usize = 64 << 10;

/// The sizes of the data segments in bytes. What instantiating costs should not depend on them.
const SEGMENTS: [usize; 2] = [1 << 20, 8 << 20];

/// A file of the boot archive.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Module {
    /// Its name there
    pub(crate) file: String,
    /// The module
    pub(crate) bytes: Vec<u8>,
}

/// Small and large modules of other projects. One that is not available is skipped with a message.
///
/// # Errors
/// In CI, a module is not available.
pub(crate) fn real(workspace: &Workspace, policy: MissingPolicy) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    for (package, path) in [(LODEPNG, LODEPNG_WASM), (QUICKJS, QUICKJS_WASM), (AVIF, AVIF_WASM)] {
        if let Some(package) = registry::find(workspace, package, policy)? {
            let (_, file) = path.rsplit_once('/').unwrap_or(("", path));
            modules.push(Module { file: file.to_owned(), bytes: package.read(path)? });
        }
    }
    Ok(modules)
}

/// Modules whose data segments fill their memory.
pub(crate) fn with_segments() -> Vec<Module> {
    let module = |bytes| Module { file: format!("segments-{bytes}.wasm"), bytes: with_segment(bytes) };
    SEGMENTS.into_iter().map(module).collect()
}

/// A module with a memory of `bytes` bytes, a segment that fills it, and the function `touch(n)`,
/// which writes one byte into each of the first n pages.
fn with_segment(bytes: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut memories = MemorySection::new();
    let minimum = (bytes / WASM_PAGE_BYTES) as u64;
    memories.memory(MemoryType {
        minimum,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0).export("touch", ExportKind::Func, 0);
    let mut code = CodeSection::new();
    code.function(&touch());
    let mut data = DataSection::new();
    // No zeros, which could be skipped.
    let content: Vec<u8> = (1..=u8::MAX).cycle().take(bytes).collect();
    data.active(0, &ConstExpr::i32_const(0), content);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&memories).section(&exports);
    module.section(&code).section(&data);
    module.finish()
}

/// `touch(n)`: counts n down and writes into each page.
fn touch() -> Function {
    const PAGE_BITS: i32 = 12;
    let mut function = Function::new([]);
    let at = MemArg { offset: 0, align: 0, memory_index: 0 };
    let mut code = function.instructions();
    code.loop_(BlockType::Empty);
    code.local_get(0).i32_const(1).i32_sub().local_tee(0);
    code.i32_const(PAGE_BITS).i32_shl().i32_const(0).i32_store8(at);
    code.local_get(0).br_if(0);
    code.end().end();
    function
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_made_modules_are_as_large_as_their_names_say() {
        for (module, bytes) in with_segments().iter().zip(SEGMENTS) {
            assert_eq!(module.file, format!("segments-{bytes}.wasm"));
            assert!(module.bytes.starts_with(b"\0asm"));
            assert!((bytes..bytes + 128).contains(&module.bytes.len()));
        }
    }
}
