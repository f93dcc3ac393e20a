//! A WebAssembly engine for kernels, unikernels and firmware in which linear memory *is* virtual
//! memory.
//!
//! A [`Memory`] of any size is created in constant time and holds no frame. The first touch of a
//! page commits that page. [`Memory::clear_pages`] zeroes whole Wasm pages and releases their
//! frames to the kernel's frame source before it returns. Guests do the same with the import
//! `palimpsest.clear_pages` and with the instruction `memory.discard`, and the crate
//! `palimpsest-heap` gives them a `malloc` whose `free` releases frames.
//!
//! wasmi interprets. This crate rewrites modules so that their memories are the engine's, and keeps
//! what a memory is made of in a [`Backing`].
//!
//! # Examples
//!
//! ```
//! use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
//! # use std::{boxed::Box, mem::MaybeUninit};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let wasm = wat::parse_str(r#"(module (memory (export "memory") 2)
//! #     (func (export "run") (i32.store (i32.const 65536) (i32.const 7))))"#)?;
//! # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
//! // A kernel has `Paged::new(space)` here, with the address space of `palimpsest-paging`.
//! let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
//! let module = Module::new(&engine, &wasm)?;
//! let mut store = Store::new(&engine, ());
//! let instance = Linker::new().instantiate(&mut store, &module)?;
//! instance.get_typed_func::<(), ()>(&store, "run")?.call(&mut store, ())?;
//!
//! let memory = instance.get_memory(&store, "memory").ok_or("the guest exports no memory")?;
//! assert_eq!(memory.data(&store)[65_536], 7);
//! memory.clear_pages(&mut store, 1, 1)?;
//! assert_eq!(memory.data(&store)[65_536], 0);
//! # Ok(())
//! # }
//! ```
//!
//! # The life of a page
//!
//! ```text
//!             reserve           first write            clear_pages
//! (addresses) ──────► reserved ────────────► resident ───────────────┐
//!                        ▲     memory.grow                           │ decommit: entries cleared,
//!                        │     moves the     frame zeroed by         │ TLB flushed, frames and
//!                        │     limit only    the #PF handler         │ emptied tables released
//!                        └───────────────────────────────────────────┘
//! ```
//!
//! # What an embedder provides
//!
//! - A global allocator. A [`HeapBudget`] around it, or [`Limits::for_heap`], keeps a hostile guest
//!   from exhausting it.
//! - For `Paged`: an address space of `palimpsest-paging`, which needs a frame source, a window of
//!   virtual addresses, and one line in the #PF handler. For [`Fixed`]: byte slices or
//!   the global allocator, and no MMU.
//! - A profile with opt-level 2 or 3, and with LTO or one codegen unit. [`Engine::new`] refuses a
//!   build whose interpreter uses up native stack.
//! - Native stack: in a release build 12 KiB where guests are called, and 32 KiB where engines are
//!   made and modules loaded, besides what host functions take. [`Config::stack`] makes the engine
//!   check that enough is left.
//!
//! # Design
//!
//! 1. One program has one [`Engine`] and one [`Store`], because wasmi frees code with its engine
//!    and instances with their store.
//! 2. A store is entered by one CPU at a time.
//! 3. A guest cannot make the host panic: its numbers are checked in `units`, its module is held to
//!    [`Limits`], and what it exhausts ends that guest alone.
//! 4. Names follow wasmi and wasmtime. wasmi's types are re-exported where they take no store.
//! 5. `unsafe` code is denied, except for items that carry a permission with its reason.
//!
//! # Layers
//!
//! A file imports only from its own layer and from the layers to the left of it here. A test reads
//! this line and checks every source file.
//!
//! ```text
//! units, budget < config < backing < engine < module < store < link < task
//! ```

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod backing;
mod budget;
mod config;
mod engine;
mod link;
mod module;
mod store;
mod task;
mod units;

#[cfg(all(feature = "paging", target_arch = "x86_64"))]
pub use backing::Paged;
#[cfg(feature = "snapshots")]
pub use backing::SnapshotBudget;
pub use backing::{
    Backing, BackingError, Cleared, Fixed, FrameShortage, GuardedPages, LendError, Lent, MemoryResidency,
    PageGuard,
};
pub use budget::{HeapBudget, HeapMeter, HeapMeters, ReserveError};
pub use config::{Commit, Config, Features, Fuel, Images, Limits, NativeStack, Strategy};
pub use engine::{Engine, EngineError, EntryError};
#[cfg(feature = "snapshots")]
pub use link::ForkError;
pub use link::{DuplicateDefinition, InstantiateError, Linker, UnknownImports};
pub use module::{IndexType, MemoryType, Module, ModuleError, PreparedError};
pub use store::{
    AsContext, AsContextMut, Caller, DataError, Extern, ExternRef, Func, Global, GrowError, Instance,
    IntoFunc, LentPageTouched, Lost, Memory, MemoryAccessError, MemoryError, Migration, OutOfFrames,
    OutOfHeap, Pause, ReentryTooDeep, SnapshotData, StateBytes, Store, StoreContext, StoreContextMut,
    StoreOptions, StoreReport, Table, TypedFunc,
};
#[cfg(feature = "snapshots")]
pub use store::{Snapshot, SnapshotError, SnapshotReadError, Unrecordable};
pub use task::{Poll, Task, TaskError};
pub use units::{ClearError, WasmPageSize};
/// The interpreter. Its types are in this crate's signatures. No function of it accepts a store, a
/// context or a caller of this crate.
pub use wasmi;
pub use wasmi::{
    Error, ExportType, ExternType, F32, F64, FuncType, GlobalType, ImportType, Mutability, Nullable, Ref,
    RefType, TableType, TrapCode, V128, Val, ValType, WasmParams, WasmResults, WasmRet, WasmTy,
    errors::{ErrorKind, GlobalError, HostError, TableError},
};
