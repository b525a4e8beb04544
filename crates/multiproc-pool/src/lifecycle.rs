//! The end of a pool, and looking at it while it lives.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use multiproc_sys::clock::Deadline;

use crate::book::Phase;
use crate::error::{PoolJoinError, TaskErrorKind};
use crate::handle::PoolHandle;
use crate::stats::PoolStats;

/// How long the end of a pool may take. Killed processes end at once; one that hangs in the kernel
/// is left to it.
const END: Duration = Duration::from_secs(5);

/// What became of the work when a pool was [shut down](PoolHandle::shutdown).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Tasks that were answered since the shutdown began.
    pub finished: u64,
    /// Tasks that were not, and ended as cancelled.
    pub cancelled: u64,
}

impl<S> PoolHandle<S> {
    /// The process ids of the workers that are alive now.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.hub.crew.pids()
    }

    /// Accepts no more work. What has been handed in is finished, then the workers leave.
    ///
    /// A [`PoolHandle::map`] that runs, and an [`PoolHandle::imap`] that was begun, still get through all their
    /// items.
    pub fn close(&self) {
        self.hub.close();
    }

    /// Waits until all work is done, the workers have left and all callbacks have run (called from a
    /// callback, it does not wait for them). Call [`PoolHandle::close`] or
    /// [`PoolHandle::terminate`] first.
    ///
    /// # Errors
    ///
    /// [`PoolJoinError`].
    pub fn join(&self) -> Result<(), PoolJoinError> {
        self.join_until(Deadline::NEVER)
    }

    /// As [`PoolHandle::join`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`PoolJoinError`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), PoolJoinError> {
        self.join_until(Deadline::after(timeout))
    }

    /// As [`PoolHandle::join`], until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`PoolJoinError`].
    pub fn join_deadline(&self, deadline: Instant) -> Result<(), PoolJoinError> {
        self.join_until(Deadline::at(deadline))
    }

    fn join_until(&self, deadline: Deadline) -> Result<(), PoolJoinError> {
        if matches!(self.hub.phase(), Phase::Open) {
            return Err(PoolJoinError::Open);
        }
        if !self.hub.crew.wait_until_over(deadline) || !self.hub.callbacks.wait(deadline) {
            return Err(PoolJoinError::TimedOut);
        }
        self.write_trace();
        match self.hub.phase() {
            Phase::Over(TaskErrorKind::Broken { cause }) => Err(PoolJoinError::Broken { cause }),
            _ => Ok(()),
        }
    }

    /// Kills the workers. What is not finished ends as [`Cancelled`](TaskErrorKind::Cancelled).
    ///
    /// Returns once the workers are gone, after 5 s at the latest. Calling it again does nothing.
    /// Threads cannot be killed: those of a [`ThreadPool`](crate::ThreadPool) leave after the task in hand, and
    /// this does not wait for them.
    pub fn terminate(&self) {
        self.hub.finish(TaskErrorKind::Cancelled);
        // A process that hangs in the kernel is left to it, and a thread to its task.
        let patience = if self.hub.crew.has_processes() {
            END
        } else {
            Duration::ZERO
        };
        let _ = self.hub.crew.wait_until_over(Deadline::after(patience));
        self.write_trace();
    }

    /// Lets the work finish for at most `grace`, then ends what is left: what a program does when it is
    /// asked to end. Says how much was finished meanwhile, and how much was not.
    pub fn shutdown(&self, grace: Duration) -> Shutdown {
        self.hub.drain();
        let done = || {
            (0..self.hub.workers())
                .map(|slot| self.hub.done(slot))
                .sum()
        };
        let before: u64 = done();
        self.close();
        // Whether it was in time shows in the tally.
        let _ = self.join_timeout(grace);
        self.terminate();
        Shutdown {
            finished: done() - before,
            cancelled: self.hub.book().cancelled(),
        }
    }

    /// What the pool is doing now.
    pub fn stats(&self) -> PoolStats {
        self.hub.stats()
    }

    /// Draws a timeline of what is handed in from now on: the workers as rows, tasks as boxes, deaths
    /// and retries as marks. The file is written when the pool ends, and opens in Perfetto
    /// (<https://ui.perfetto.dev>) or `chrome://tracing`.
    ///
    /// Each task costs some 100 ns more, and 64 bytes until the file is written; after a million events
    /// no more are kept.
    ///
    /// # Errors
    ///
    /// The file cannot be made; or the last one, if there was one, cannot be written.
    pub fn trace(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.hub.trace.begin(path.as_ref(), self.hub.crew.name())
    }

    fn write_trace(&self) {
        if let Err(error) = self.hub.trace.write(self.hub.crew.name()) {
            eprintln!("multiproc: the pool's timeline could not be written: {error}");
        }
    }
}
