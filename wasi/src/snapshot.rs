//! What a snapshot records of a [`Wasi`]: its descriptors and files.
//!
//! A recorded state shares its files with the program that it was made of, and with its forks.
//! Nothing is copied until one of them changes a file.

use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};
use palimpsest_engine::{DataError, SnapshotData};
use thiserror::Error;

use crate::{
    fd::Descriptors,
    fs::{Access, Volume, VolumeState},
    wasi::Wasi,
};

/// The descriptors of a program with their offsets, and the files of its directories.
///
/// Arguments, environment, streams, clock and random numbers are not a part of it. The state keeps
/// the blocks of its files until it is dropped.
#[derive(Clone, Debug)]
pub struct WasiState {
    descriptors: Descriptors,
    volumes: Vec<VolumeState>,
}

/// Why a [`Wasi`] cannot take a [`WasiState`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The state has a scratch directory that the [`Wasi`] lacks.
    #[error("the snapshot has the scratch directory `{guest_path}`; add it with `scratch`")]
    NoScratch {
        /// The guest's name for the directory.
        guest_path: String,
    },
    /// The [`Wasi`] has a directory that the state lacks.
    #[error("the snapshot has no directory `{guest_path}` of this kind; add it before the program starts")]
    NewDirectory {
        /// The guest's name for the directory.
        guest_path: String,
    },
}

/// A fork has the descriptors and files of its snapshot, and everything else from its builder.
///
/// Files are shared until the fork changes them. The fork has the archives of the snapshot, so its
/// builder need not add them. It must add each scratch directory under the same guest path, because
/// the blocks that the fork writes are its own. All files are charged to the fork, also those that
/// it shares. If they exceed its limits, it can only remove files.
///
/// Most programs read arguments and environment when they start, so a fork sees its own only if the
/// snapshot was made before that.
impl SnapshotData for Wasi {
    type State = WasiState;

    fn save(&mut self) -> Result<WasiState, DataError> {
        let volumes = self.volumes.iter().map(|volume| volume.save()).collect();
        Ok(WasiState { descriptors: self.descriptors.clone(), volumes })
    }

    /// # Errors
    ///
    /// [`RestoreError`].
    fn restore(&mut self, state: &WasiState) -> Result<(), DataError> {
        let mut own = core::mem::take(&mut self.volumes);
        for saved in &state.volumes {
            let (guest_path, access) = (saved.guest_path(), saved.access());
            let matches = |own: &Volume| **own.guest_path() == *guest_path && own.access() == access;
            let index = own.iter().position(matches);
            let volume = match (index, access) {
                (Some(index), _) => own.remove(index).restored(saved),
                (None, Access::ReadOnly) => saved.archive(),
                (None, Access::ReadWrite) => {
                    return Err(Box::new(RestoreError::NoScratch { guest_path: guest_path.to_string() }));
                }
            };
            self.volumes.push(volume);
        }
        if let Some(new) = own.first() {
            return Err(Box::new(RestoreError::NewDirectory { guest_path: new.guest_path().to_string() }));
        }
        self.descriptors.restore(&state.descriptors);
        Ok(())
    }
}
