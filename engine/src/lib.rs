//! A WebAssembly engine for kernels, unikernels and firmware, in which linear memory *is* virtual memory.
//!
//! A memory of any size is address space and nothing else; the first touch of a page commits that page, and
//! [`Memory::clear_pages`] zeroes whole Wasm pages *and* has their frames back in the kernel's frame source
//! when it returns. Guests reach the same through the import `palimpsest.clear_pages` and the instruction
//! `memory.discard`; the crate `palimpsest-heap` gives them a `malloc` whose `free` does it. Interpreting is wasmi's
//! work; this crate rewrites modules so that wasmi's memories are ours, and speaks to memory through one seam, [`Backing`].
//!
//! # The life of a page
//!
//! ```text
//!              reserve            first write              clear_pages
//!  (addresses) ──────► reserved ─────────────► resident ─────────────────┐
//!                         ▲      memory.grow                             │ decommit: entries cleared,
//!                         │      moves the     frame zeroed by the       │ TLB flushed, frames released,
//!                         │      limit only    #PF handler               │ emptied tables released
//!                         └──────────────────────────────────────────────┘
//! ```
//!
//! # What an embedder provides
//!
//! - A global allocator, and the `palimpsest-paging` crate's address space: a frame source, a window of
//!   virtual addresses, one line in the #PF handler. Then `Paged` is the backing.
//! - Or a `&'static mut` slice and no MMU at all: [`Fixed`].
//! - A profile with opt-level 2 or 3 and with LTO or one codegen unit; [`Engine::new`] refuses a build whose
//!   interpreter uses up native stack.
//! - 64 KiB of native stack for a call that does not re-enter the host, and heap for what guests are allowed:
//!   the default [`Limits`] fit 32 MiB.
//!
//! See [`Engine::new`] for an example that runs.
//!
//! # Rules of the house
//!
//! - One program, one [`Engine`], one [`Store`]: wasmi frees code with its engine and instances with their
//!   store.
//! - A store is entered by one CPU at a time.
//! - Names follow wasmi and wasmtime; wasmi's own types are re-exported where nothing is added.
//! - `unsafe` is denied but for `backing.rs` and `live.rs`.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod backing;
mod config;
mod engine;
mod link;
mod module;
mod store;
mod task;
mod units;

#[cfg(all(feature = "paging", target_arch = "x86_64"))]
pub use backing::Paged;
pub use backing::{Backing, BackingError, Cleared, Fixed, FrameShortage, MemoryResidency};
pub use config::{Commit, Config, Features, Fuel, Images, Limits, Strategy};
pub use engine::{Engine, EngineError};
pub use link::{DuplicateDefinition, InstantiateError, IntoFunc, Linker};
pub use module::{IndexType, MemoryType, Module, ModuleError};
pub use store::{
    Caller, Extern, GrowError, Instance, Memory, MemoryAccessError, MemoryError, OutOfFrames, ReentryTooDeep,
    Store, StoreOptions, StoreReport, StoreState,
};
pub use task::{Pause, Poll, Task, TaskError};
pub use units::{ClearError, WasmPageSize};
/// The interpreter. Its types are in this crate's signatures.
pub use wasmi;
pub use wasmi::{
    AsContext, AsContextMut, Error, ExportType, ExternRef, ExternType, F32, F64, Func, FuncType, Global,
    GlobalType, ImportType, Mutability, Nullable, Ref, RefType, Table, TableType, TrapCode, TypedFunc, V128,
    Val, ValType, WasmParams, WasmResults, WasmRet, WasmTy,
    errors::{ErrorKind, HostError},
};
