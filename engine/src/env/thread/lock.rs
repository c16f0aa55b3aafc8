//! The lock by which a process owns a directory: `flock` on a file called `LOCK` inside it.
//!
//! The kernel drops the lock when the last descriptor is closed, so a crash leaves nothing behind; but a process killed with
//! io_uring writes in flight keeps its descriptors until they complete, 70 ms and more. Hence the patience.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The name of the lock file within the directory. It stays when the lock goes: removing it would let two processes lock two files.
pub const LOCK_FILE_NAME: &str = "LOCK";

/// Longer than a killed process holds it as a rule.
const TOLD_AFTER: Duration = Duration::from_millis(500);
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Held while this process owns a directory; dropping it lets go.
#[derive(Debug)]
pub struct ThreadDirectoryLock {
    _file: File,
}

impl ThreadDirectoryLock {
    pub(super) fn acquire(directory: &Path, patience: Duration) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join(LOCK_FILE_NAME))?;
        let asked_at = Instant::now();
        let deadline = asked_at + patience;
        let mut was_told = false;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    if asked_at.elapsed() > TOLD_AFTER && !std::mem::replace(&mut was_told, true) {
                        let reason = held_by_another(&mut file, directory);
                        tracing::info!("{reason}; waiting up to {} s for it to end", patience.as_secs());
                    }
                    thread::sleep(RETRY_INTERVAL);
                }
                Err(Errno::WOULDBLOCK) => return Err(held_by_another(&mut file, directory)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Who holds it, for the message that another process will show. Not durable, and nobody relies on it.
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

fn held_by_another(file: &mut File, directory: &Path) -> io::Error {
    let mut holder = String::new();
    let holder = match file.take(32).read_to_string(&mut holder) {
        Ok(count) if count > 0 => format!("process {}", holder.trim()),
        _ => "another process".to_string(),
    };
    io::Error::new(io::ErrorKind::WouldBlock, format!("{} is held by {holder}", directory.display()))
}
