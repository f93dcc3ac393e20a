//! Copies a file while another process writes to it.
//!
//! QEMU writes a guest's streams to files, because a serial port can be a file on every system and
//! a pipe only on some. [`follow`] looks for new bytes a hundred times a second and copies them as
//! they are.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// The time between two looks at the file.
const PAUSE: Duration = Duration::from_millis(10);

/// Copies the file's bytes, and those that are appended until the other end of `ended` is dropped.
///
/// # Errors
/// The file cannot be read, or `to` cannot be written.
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

    /// Sends a message at each write.
    struct Noisy<'a>(&'a mut Vec<u8>, mpsc::Sender<()>);

    impl Write for Noisy<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend(bytes);
            // The test may have ended already.
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
