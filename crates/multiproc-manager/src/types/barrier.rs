//! A place to meet, in the server.

use std::time::{Duration, Instant};

use multiproc_sync::{BarrierError, BarrierWaitResult, BrokenWhy};
use multiproc_sys::clock::Deadline;

use super::{count, proxy, unit, wait_until};
use crate::client::Trouble;
use crate::error::{CallError, ProxyError};
use crate::manager::Manager;
use crate::message::{Answer, BarrierEnd, BarrierOp, Failure, Make, Op};

proxy! {
    /// A barrier that lives in a manager's server: so many threads, of any processes, wait for each
    /// other.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let barrier = manager.barrier(2)?;
    /// let other = std::thread::spawn({
    ///     let barrier = barrier.clone();
    ///     move || barrier.wait().unwrap()
    /// });
    /// let mine = barrier.wait()?;
    /// assert!(mine.is_leader() != other.join().unwrap().is_leader());
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # If a process dies
    ///
    /// While it waits here, the barrier breaks for all.
    BarrierProxy
}

impl Manager {
    /// A new barrier for so many threads.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn barrier(&self, parties: usize) -> Result<BarrierProxy, CallError> {
        let parties = parties as u64;
        self.make(Make::Barrier { parties }).map(BarrierProxy::of)
    }
}

fn barrier_error(trouble: Trouble) -> ProxyError<BarrierError> {
    let why = match trouble {
        Trouble::Failed(Failure::TimedOut) => {
            return ProxyError::Object(BarrierError::TimedOut);
        }
        Trouble::Failed(Failure::Broken(end)) => match end {
            BarrierEnd::TimedOut => BrokenWhy::TimedOut,
            BarrierEnd::Aborted => BrokenWhy::Aborted,
            BarrierEnd::Reset => BrokenWhy::Reset,
            BarrierEnd::Died => BrokenWhy::Died,
        },
        other => return CallError::from(other).into(),
    };
    ProxyError::Object(BarrierError::Broken { why })
}

impl BarrierProxy {
    /// Waits until all have come; the index is the place in which this thread came, from 0.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] as for the barrier of processes, or [`CallError`].
    pub fn wait(&self) -> Result<BarrierWaitResult, ProxyError<BarrierError>> {
        self.wait_until(Deadline::NEVER)
    }

    /// As [`BarrierProxy::wait`]; if not all come within `timeout`, the barrier breaks.
    ///
    /// # Errors
    ///
    /// As [`BarrierProxy::wait`].
    pub fn wait_timeout(
        &self,
        timeout: Duration,
    ) -> Result<BarrierWaitResult, ProxyError<BarrierError>> {
        self.wait_until(Deadline::after(timeout))
    }

    /// As [`BarrierProxy::wait_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`BarrierProxy::wait`].
    pub fn wait_deadline(
        &self,
        deadline: Instant,
    ) -> Result<BarrierWaitResult, ProxyError<BarrierError>> {
        self.wait_until(Deadline::at(deadline))
    }

    fn wait_until(
        &self,
        deadline: Deadline,
    ) -> Result<BarrierWaitResult, ProxyError<BarrierError>> {
        let wait = wait_until(deadline);
        let answer = self.handle.ask(Op::Barrier(BarrierOp::Wait { wait }));
        let index = count(answer.map_err(barrier_error)?)?;
        Ok(BarrierWaitResult::of(index))
    }

    /// Makes it sound and empty. Whoever waits gets [`BarrierError::Broken`].
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn reset(&self) -> Result<(), CallError> {
        unit(self.handle.ask(Op::Barrier(BarrierOp::Reset))?)
    }

    /// Breaks it, for all, until it is reset.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn abort(&self) -> Result<(), CallError> {
        unit(self.handle.ask(Op::Barrier(BarrierOp::Abort))?)
    }

    fn state(&self) -> Result<[u64; 3], CallError> {
        match self.handle.ask(Op::Barrier(BarrierOp::State))? {
            Answer::Counts(counts) => {
                <[u64; 3]>::try_from(counts).map_err(|counts| CallError::unexpected(&counts))
            }
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// How many threads it waits for.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn parties(&self) -> Result<usize, CallError> {
        Ok(self.state()?[0] as usize)
    }

    /// How many wait now.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn waiting(&self) -> Result<usize, CallError> {
        Ok(self.state()?[1] as usize)
    }

    /// Whether it is broken.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn is_broken(&self) -> Result<bool, CallError> {
        Ok(self.state()?[2] != 0)
    }
}
