//! The bytes that the memories of a prepared module start with, in the file.

use super::{reader::Reader, slice};
use crate::{backing::ImagePart, module::PreparedError};

/// The active segments at constant offsets, in the order in which they are applied. All of them
/// fit into their memories, which the module defines.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::module) struct Parts {
    count: u64,
    /// The numbers of all parts.
    table: Reader<'static>,
    file: &'static [u8],
}

impl Parts {
    /// Reads the list of the parts, which is the last in `reader`, and checks it.
    ///
    /// # Errors
    ///
    /// [`PreparedError::Malformed`] if a part is not in `file`.
    pub(super) fn read(reader: &mut Reader<'static>, file: &'static [u8]) -> Result<Self, PreparedError> {
        let count = reader.number()?;
        let mut table = *reader;
        (0..count).try_for_each(|_| part(&mut table, file).map(|_| ()))?;
        Ok(Self { count, table: *reader, file })
    }

    /// Returns the memory index and the bytes of each part.
    pub(in crate::module) fn iter(self) -> impl Iterator<Item = (usize, ImagePart<'static>)> {
        let mut table = self.table;
        (0..self.count).map_while(move |_| part(&mut table, self.file).ok())
    }
}

fn part(
    table: &mut Reader<'static>,
    file: &'static [u8],
) -> Result<(usize, ImagePart<'static>), PreparedError> {
    let memory = table.index()?;
    let offset = table.number()?;
    let bytes = slice(file, table.number()?, table.number()?)?;
    Ok((memory, ImagePart { offset, bytes }))
}
