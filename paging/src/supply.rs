//! Zeroed frames for somebody's account, and their way back.
//!
//! Invariant: a frame is charged before it is taken and uncharged after it went back. Frames that no owner
//! pays for (the zero frame, the tables of the space, the tables that regions share) come without an account.
//!
//! Called by: whoever needs a frame: reserve, the fault path, decommit.

use thiserror::Error;

use crate::account::Account;
use crate::frame::{Frame, FrameSource};
use crate::memory::{Blank, PhysicalMemory};

/// A frame source together with whoever pays.
#[derive(Debug)]
pub(crate) struct Supply<'a, S> {
    pub(crate) memory: PhysicalMemory,
    pub(crate) source: &'a S,
    pub(crate) account: Option<&'a Account>,
}

impl<S: FrameSource> Supply<'_, S> {
    /// Takes a frame and fills it with zeros.
    pub(crate) fn take(&self) -> Result<Blank, Shortage> {
        self.charge()?;
        let Some(frame) = self.source.allocate() else {
            self.uncharge();
            return Err(Shortage::SourceEmpty);
        };
        Ok(self.memory.blank(frame))
    }

    pub(crate) fn give_back(&self, frame: Frame) {
        self.source.release(frame);
        self.uncharge();
    }

    fn charge(&self) -> Result<(), Shortage> {
        match self.account {
            Some(account) => {
                account.charge().map_err(|cap| Shortage::CapReached { cap_frames: cap.cap_frames })
            }
            None => Ok(()),
        }
    }

    fn uncharge(&self) {
        if let Some(account) = self.account {
            account.uncharge();
        }
    }
}

/// Why there was no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Shortage {
    /// The frame source has none left.
    #[error("the frame source is empty")]
    SourceEmpty,
    /// The account holds as many frames as it may.
    #[error("the account's cap of {cap_frames} frames is reached")]
    CapReached {
        /// The account's cap in frames.
        cap_frames: u64,
    },
}
