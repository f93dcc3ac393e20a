//! Passes on what another process writes to a file, while it writes it.
//!
//! A guest's streams come out of QEMU as files, since a serial port can go to a file everywhere, and to a
//! pipe only on some systems. [`follow`] looks for new bytes a hundred times a second and passes them on as
//! they are. Called by `boot`, one thread for each stream.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How long new bytes may wait.
const PAUSE: Duration = Duration::from_millis(10);

/// Copies what is in the file and what comes until the other end of `ended` is dropped.
///
/// # Errors
/// The file cannot be read, or `to` not written.
pub(crate) fn follow(path: &Path, ended: Receiver<()>, to: &mut dyn Write) -> io::Result<()> {
    let mut file = File::open(path)?;
    loop {
        let over = match ended.recv_timeout(PAUSE) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        };
        if io::copy(&mut file, to)? > 0 {
            to.flush()?;
        }
        if over {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc;
    use std::thread;

    /// Says when it is written to.
    struct Noisy<'a>(&'a mut Vec<u8>, mpsc::Sender<()>);

    impl Write for Noisy<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend(bytes);
            // The test may have seen enough.
            let _ = self.1.send(());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_are_passed_on_before_the_end_and_none_is_lost_at_it() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("palimpsest-{}-follow", std::process::id()));
        let mut file = File::create(&path)?;
        let (end, ended) = mpsc::channel();
        let (noise, seen) = mpsc::channel();
        let mut bytes = Vec::new();
        let followed = thread::scope(|scope| {
            let follower = scope.spawn(|| follow(&path, ended, &mut Noisy(&mut bytes, noise)));
            file.write_all(b"early\xff")?;
            seen.recv_timeout(Duration::from_secs(60)).expect("the bytes are seen while the file is open");
            file.write_all(b", late")?;
            drop(end);
            follower.join().expect("nothing in there panics")
        });
        fs::remove_file(&path)?;
        followed?;
        assert_eq!(bytes, b"early\xff, late");
        Ok(())
    }
}
