//! Zeroed frames for somebody's account, and their way back.
//!
//! Invariants: a frame is charged before it is taken and uncharged after it went back; a frame for a reserved
//! account was promised before, and is promised again when it goes back, until the promise is given up.
//! Frames that no owner pays for (the zero frame, the tables of the space, the tables that regions share, the
//! two sides of an exchange) come without an account.
//!
//! What takes one frame is inlined whatever its size, down to the pool: nearly all of it goes away where it is
//! known that one frame is wanted, and a fault is little more than that.
//!
//! Called by: whoever needs a frame: reserve, the limit, the fault path, recommit, decommit.

mod account;

use thiserror::Error;

pub use self::account::Account;
use crate::frame::{
    Blank, Frame, FrameBatch, FrameSource, Fresh, PhysicalMemory, PromiseError, Promises, Shortage,
};

/// A frame source together with whoever pays.
#[derive(Debug)]
pub(crate) struct Supply<'a, S> {
    pub(crate) memory: PhysicalMemory,
    pub(crate) source: &'a S,
    pub(crate) account: Option<&'a Account>,
}

impl<'a, S: FrameSource> Supply<'a, S> {
    /// Takes a frame and fills it with zeros. It never fails for a reserved account that was charged for it.
    #[inline]
    pub(crate) fn take(&self) -> Result<Blank, Shortage> {
        self.take_one(|mut blanks| blanks.next())
    }

    /// As [`take`](Self::take), for who overwrites all of the frame: it may hold anything.
    pub(crate) fn take_to_overwrite(&self) -> Result<Frame, Shortage> {
        self.take_one(|Blanks { fresh: Fresh::Blank(mut run) | Fresh::Used(mut run), .. }| run.next())
    }

    #[inline(always)]
    fn take_one<F>(&self, first: impl FnOnce(Blanks) -> Option<F>) -> Result<F, Shortage> {
        if let Some(account) = self.account {
            account.hold().map_err(|cap| Shortage::CapReached { cap_frames: cap.cap_frames })?;
        }
        self.blanks(1).and_then(first).ok_or_else(|| {
            self.let_go(1);
            Shortage::SourceEmpty
        })
    }

    /// Takes as many frames as are free to be taken, up to `most`, which is not zero, and gives each to
    /// `put`, filled with zeros; tells how many there were.
    pub(crate) fn take_up_to(&self, most: u64, put: &mut dyn FnMut(Blank)) -> u64 {
        let charged = self.account.map_or(most, |account| account.hold_up_to(most));
        let mut taken = 0;
        while taken < charged
            && let Some(blanks) = self.blanks(charged - taken)
        {
            taken += blanks.len();
            blanks.for_each(&mut *put);
        }
        self.let_go(charged - taken);
        taken
    }

    /// Up to `most` frames of zeros: some that were zeroed ahead of need, or that are zeroed when they come
    /// out.
    #[inline(always)]
    fn blanks(&self, most: u64) -> Option<Blanks> {
        let fresh = match self.promises() {
            Some(promises) => promises.allocate_promised_fresh(most),
            None => self.source.allocate_fresh(most)?,
        };
        Some(Blanks { memory: self.memory, fresh })
    }

    pub(crate) fn give_back(&self, frame: Frame) {
        match self.promises() {
            Some(promises) => promises.release_promised(frame),
            None => self.source.release(frame),
        }
        self.let_go(1);
    }

    /// Gives back all frames of the batch.
    pub(crate) fn give_back_all(&self, frames: &mut FrameBatch) {
        let count = frames.len();
        match self.promises() {
            Some(promises) => promises.release_all_promised(frames),
            None => self.source.release_all(frames),
        }
        debug_assert!(frames.is_empty(), "the source has not taken all frames back");
        self.let_go(count);
    }

    /// Charges a reserved account for frames, which the source then promises. Others are charged on touch.
    pub(crate) fn promise(&self, frames: u64) -> Result<(), ChargeError> {
        let Some(account) = self.account.filter(|account| account.is_reserved()) else { return Ok(()) };
        let promises = self.source.promises().ok_or(ChargeError::NoPromises)?;
        account.charge(frames).map_err(|cap| ChargeError::CapReached {
            requested_frames: frames,
            charged_frames: cap.charged_frames,
            cap_frames: cap.cap_frames,
        })?;
        promises.promise(frames).inspect_err(|_| account.uncharge(frames))?;
        Ok(())
    }

    /// Gives up a promise, of frames that went back.
    pub(crate) fn withdraw(&self, frames: u64) {
        if let (Some(promises), Some(account)) = (self.promises(), self.account) {
            promises.withdraw(frames);
            account.uncharge(frames);
        }
    }

    /// The promises of the source, if the frames come out of them.
    fn promises(&self) -> Option<&'a dyn Promises> {
        self.account.filter(|account| account.is_reserved())?;
        Some(self.source.promises().expect("a reserve for such an account was refused"))
    }

    fn let_go(&self, frames: u64) {
        if let Some(account) = self.account {
            account.let_go(frames);
        }
    }
}

/// Frames that come out filled with zeros.
struct Blanks {
    memory: PhysicalMemory,
    fresh: Fresh,
}

impl Blanks {
    fn len(&self) -> u64 {
        let (Fresh::Blank(run) | Fresh::Used(run)) = &self.fresh;
        run.phys().len()
    }
}

impl Iterator for Blanks {
    type Item = Blank;

    #[inline]
    fn next(&mut self) -> Option<Blank> {
        match &mut self.fresh {
            Fresh::Used(run) => run.next().map(|frame| self.memory.blank(frame)),
            // SAFETY: the frames hold zeros, by guarantee 3 of `FrameSource`.
            Fresh::Blank(run) => run.next().map(|frame| unsafe { Blank::new_unchecked(frame) }),
        }
    }
}

/// Why a reserved account cannot be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChargeError {
    /// The account would be charged for more frames than it may.
    #[error(
        "{requested_frames} frames on top of the {charged_frames} that the account is charged for exceed \
         its cap of {cap_frames}"
    )]
    CapReached {
        /// Frames that were to be charged.
        requested_frames: u64,
        /// Frames that the account is charged for already.
        charged_frames: u64,
        /// The account's cap in frames.
        cap_frames: u64,
    },
    /// The frame source has not enough frames.
    #[error("the frame source cannot promise the frames")]
    Unpromised(#[from] PromiseError),
    /// The frame source makes no promises at all.
    #[error("the account is reserved, and the frame source makes no promises")]
    NoPromises,
}
