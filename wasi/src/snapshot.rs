//! What a snapshot records of a [`Wasi`]: its descriptors and files.
//!
//! A recorded state shares its files with the program that it was made of, and with its forks.
//! Nothing is copied until one of them changes a file.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use palimpsest_engine::{DataError, SnapshotData, StateBytes};
use thiserror::Error;

use crate::{
    bytes::{Reader, StateError, Writer},
    fd::Descriptors,
    fs::{Access, VolumeState},
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
    /// The state was read from bytes and has an archive that the [`Wasi`] lacks.
    #[error("the snapshot has the archive `{guest_path}`; add the same archive with `archive`")]
    NoArchive {
        /// The guest's name for the directory.
        guest_path: String,
    },
    /// The state was read from bytes, and has another archive than the [`Wasi`].
    #[error("the snapshot has another archive `{guest_path}`; add the one that its program had")]
    OtherArchive {
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
        let places = self.places_of(state)?;
        let mut own: Vec<_> = core::mem::take(&mut self.volumes).into_iter().map(Some).collect();
        self.volumes.extend(state.volumes.iter().zip(places).map(|(saved, place)| {
            let own = place.and_then(|place| own[place].take());
            own.unwrap_or_else(|| saved.empty_archive()).restored(saved)
        }));
        self.descriptors.restore(&state.descriptors);
        Ok(())
    }
}

impl Wasi {
    /// Returns which of the own volumes gets the files of each volume of `state`. None of them does
    /// if the state has an archive with its files.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] if a volume has no place, or an own volume is left.
    fn places_of(&self, state: &WasiState) -> Result<Vec<Option<usize>>, RestoreError> {
        let mut left: Vec<usize> = (0..self.volumes.len()).collect();
        let mut place_of = |saved: &VolumeState| {
            let guest_path = || saved.guest_path().to_string();
            let is_its = |index: &usize| self.volumes[*index].is_for(saved);
            let Some(index) = left.iter().position(is_its).map(|position| left.remove(position)) else {
                return match saved.access() {
                    Access::ReadOnly if saved.has_files() => Ok(None),
                    Access::ReadOnly => Err(RestoreError::NoArchive { guest_path: guest_path() }),
                    Access::ReadWrite => Err(RestoreError::NoScratch { guest_path: guest_path() }),
                };
            };
            if !self.volumes[index].can_restore(saved) {
                return Err(RestoreError::OtherArchive { guest_path: guest_path() });
            }
            Ok(Some(index))
        };
        let places = state.volumes.iter().map(&mut place_of).collect::<Result<_, _>>()?;
        match left.first() {
            None => Ok(places),
            Some(new) => {
                let guest_path = self.volumes[*new].guest_path().to_string();
                Err(RestoreError::NewDirectory { guest_path })
            }
        }
    }
}

/// The version of the bytes.
const VERSION: u64 = 1;

/// The contents of scratch directories are written, and of an archive its path. A fork of a state
/// that was read must add the same archive again.
impl StateBytes for WasiState {
    fn write_to(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>) -> Result<(), DataError> {
        let mut writer = Writer::new(sink);
        writer.u64(VERSION)?;
        self.descriptors.write(&mut writer)?;
        writer.count(self.volumes.len())?;
        self.volumes.iter().try_for_each(|volume| volume.write(&mut writer))
    }

    /// # Errors
    ///
    /// [`StateError`].
    fn read_from(bytes: &[u8]) -> Result<Self, DataError> {
        Ok(read(bytes)?)
    }
}

fn read(bytes: &[u8]) -> Result<WasiState, StateError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u64()?;
    if version != VERSION {
        return Err(StateError::Number { what: "version", number: version });
    }
    let descriptors = Descriptors::read(&mut reader)?;
    let mut volumes = Vec::new();
    for _ in 0..reader.u64()? {
        volumes.push(VolumeState::read(&mut reader)?);
    }
    reader.end()?;
    for place in descriptors.places() {
        let number = place.volume as u64;
        let volume = volumes.get_mut(place.volume);
        volume.ok_or(StateError::Number { what: "directory of a descriptor", number })?.open(place.inode)?;
    }
    volumes.iter().try_for_each(VolumeState::require_used)?;
    Ok(WasiState { descriptors, volumes })
}
