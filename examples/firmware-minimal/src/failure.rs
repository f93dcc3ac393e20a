//! How the program ends if something fails: with a message, or with a status alone.

use core::error::Error;

use semihosting::process;

/// An error of the engine, as the program keeps it.
#[cfg(feature = "messages")]
pub(crate) struct Failure(alloc::boxed::Box<dyn Error>);

#[cfg(feature = "messages")]
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

#[cfg(feature = "messages")]
impl Failure {
    pub(crate) fn exit(self) -> ! {
        semihosting::eprintln!("{}", self.0);
        process::exit(2)
    }
}

/// The same without the error, so that the program needs no code that formats it.
#[cfg(not(feature = "messages"))]
pub(crate) struct Failure;

#[cfg(not(feature = "messages"))]
impl<E: Error> From<E> for Failure {
    fn from(_: E) -> Self {
        Self
    }
}

#[cfg(not(feature = "messages"))]
impl Failure {
    pub(crate) fn exit(self) -> ! {
        process::exit(2)
    }
}

/// Ends the program without a message. With messages `semihosting` has the handler.
#[cfg(not(feature = "messages"))]
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    process::exit(3)
}
