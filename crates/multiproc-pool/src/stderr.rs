//! A worker's standard error on its way to ours, of which the last is kept.
//!
//! Only where the pool's maker asked for it: the worker writes into a pipe then, and a thread of this
//! process passes on what comes. Whoever buries the worker takes what still lies in the pipe: it is
//! dead, so its last word is there.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use multiproc_sys::clock::Deadline;
use multiproc_sys::poll;
use parking_lot::Mutex;

/// So much is kept.
const KEPT: usize = 4 << 10;

/// How often to read before looking up: others of the worker's family may go on writing.
const READS: u32 = 64;

/// The reading end of one worker's pipe.
pub(crate) struct LastWords {
    pipe: PipeReader,
    tail: Mutex<Vec<u8>>,
}

impl LastWords {
    pub(crate) fn new() -> io::Result<(Arc<LastWords>, PipeWriter)> {
        let (pipe, writer) = io::pipe()?;
        let tail = Mutex::default();
        Ok((Arc::new(LastWords { pipe, tail }), writer))
    }

    /// Passes on what comes, until `end` is readable or everybody has closed the pipe.
    pub(crate) fn relay(&self, end: BorrowedFd<'_>) {
        let fds = [self.pipe.as_fd(), end];
        while let Ok(ready) = poll::any_readable(&fds, Deadline::NEVER) {
            if !self.take_in() || ready.contains(&1) {
                return;
            }
        }
    }

    /// Passes on what is there. `false`: no more will come.
    fn take_in(&self) -> bool {
        let mut tail = self.tail.lock();
        for _ in 0..READS {
            // Under the lock: what is readable now, nobody else takes.
            if poll::readable(self.pipe.as_fd(), Deadline::NOW) != Ok(true) {
                return true;
            }
            let mut buffer = [0; KEPT];
            let Ok(len @ 1..) = (&self.pipe).read(&mut buffer) else {
                return false;
            };
            // If ours is closed, there is nobody to tell.
            let _ = io::stderr().write_all(&buffer[..len]);
            tail.extend_from_slice(&buffer[..len]);
            let surplus = tail.len().saturating_sub(KEPT);
            tail.drain(..surplus);
        }
        true
    }

    /// The last that was written. When the worker is dead.
    pub(crate) fn text(&self) -> String {
        self.take_in();
        String::from_utf8_lossy(&self.tail.lock()).into_owned()
    }
}
