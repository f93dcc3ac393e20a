//! Why a store was not snapshotted.

use thiserror::Error;

use crate::{backing::FrameShortage, engine::EntryError, store::DataError};

/// Why a snapshot was not made. The guest is as it was before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The engine has no snapshots.
    #[error("the engine has no snapshots; configure `Config::snapshots(true)` and load the module again")]
    NotConfigured,
    /// A call of the store is suspended.
    #[error("a call of the store is suspended; run its task to the end, or kill it")]
    Suspended,
    /// The instance imports a memory, a table or a mutable global, which belongs to another
    /// instance or to the embedder.
    #[error("the instance imports {kind} {index}, which is not its own; let the module define it")]
    Imported {
        /// A memory, a table, or a mutable global.
        kind: &'static str,
        /// The index in the module.
        index: u32,
    },
    /// A memory whose Wasm pages have one byte cannot share frames.
    #[error("memory {index} has pages of one byte, which cannot share frames; use pages of 64 KiB")]
    BytePages {
        /// The index in the module.
        index: usize,
    },
    /// An element of a table cannot be recorded.
    #[error("element {element} of table {table} is {what}; set it to null before the snapshot")]
    Element {
        /// The index of the table in the module.
        table: usize,
        /// The index in the table.
        element: u64,
        /// What it is.
        what: Unrecordable,
    },
    /// The value of a mutable global cannot be recorded.
    #[error("global {global} is {what}; set it to null before the snapshot")]
    Global {
        /// The index in the module.
        global: u32,
        /// What it is.
        what: Unrecordable,
    },
    /// The images of the engine would hold more frames than
    /// [`Limits::image_frames`](crate::Limits::image_frames).
    #[error(
        "the images of the engine cannot hold {needed} more frames; raise the limit `image_frames`, which is \
         {limit}, or drop snapshots and modules"
    )]
    ImageFrames {
        /// Frames of the snapshot that no image holds yet.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// The [budget](crate::SnapshotBudget) that was passed has too few frames left.
    #[error(
        "the snapshot takes {needed} frames, but its budget has {limit}, of which {charged} are charged; drop \
         snapshots that are charged to it, or pass a larger one"
    )]
    Budget {
        /// Frames of the snapshot that no image holds yet.
        needed: u64,
        /// Frames that are charged.
        charged: u64,
        /// The frames that it has.
        limit: u64,
    },
    /// The kernel heap has no room for the snapshot.
    #[error("out of heap: the kernel heap has no room for the snapshot; drop snapshots or stores")]
    OutOfHeap,
    /// The store commits with [`Commit::Reserved`](crate::Commit::Reserved), and the frame source
    /// cannot reserve frames in place of those that the snapshot would take over.
    #[error("no frames can be reserved in place of those of the snapshot: {0}; drop stores or snapshots")]
    OutOfFrames(#[source] FrameShortage),
    /// Two functions of the module have the same handle in the interpreter.
    #[error("two functions have the same handle in the interpreter; use the version of wasmi that is tested")]
    Indistinct,
    /// Pages of the store are lent.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The store is lost, or the engine could not call into the guest.
    #[error("the store cannot be called: {0}")]
    Call(#[source] wasmi::Error),
    /// The embedder's data was not recorded.
    #[error("the data of the store was not recorded: {0}")]
    Data(#[source] DataError),
}

/// A reference that means nothing in another store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unrecordable {
    /// A function of the host or of another instance.
    #[error("a function of the host or of another instance")]
    Function,
    /// An object of the embedder.
    #[error("a reference to an object of the embedder")]
    Object,
}
